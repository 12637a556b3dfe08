"""Which files of a checkpoint decide what it answers, their fingerprint, and SHA256SUMS."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from medr1.checkpoints.adapters import find_base
from medr1.checkpoints.finding import LOADED_SUFFIXES, is_adapter
from medr1.errors import InputError
from medr1.files import read_text, sha256_of, write_atomic

CHECKSUMS = "SHA256SUMS"
_NOT_READ = {"training.json", "trainer_state.json", "medr1-fetch.json", "COMPLETE.json"}
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def loaded_files(folder: Path) -> list[Path]:
    """The files that loading reads, in name order; no README, no state of a training."""
    top = [p for p in folder.iterdir() if p.suffix in LOADED_SUFFIXES and p.name not in _NOT_READ]
    more = (folder / "additional_chat_templates").glob("*.jinja")
    return sorted(path for path in (*top, *more) if path.is_file())


def checkpoint_sha256(folder: Path) -> str:
    """The fingerprint of what a checkpoint answers with; an adapter's covers its base."""
    digest = hashlib.sha256()
    for path in loaded_files(folder):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256_of(path)}\n".encode())
    if is_adapter(folder):
        digest.update(checkpoint_sha256(find_base(folder, offline=True)).encode())
    return digest.hexdigest()


def write_checksums(folder: Path) -> None:
    """Write SHA256SUMS over the files that loading reads; `sha256sum -c` reads it too."""
    write_atomic(folder / CHECKSUMS, "".join(_line(folder, path) for path in loaded_files(folder)))


def _line(folder: Path, path: Path) -> str:
    return checksum_line(sha256_of(path), path.relative_to(folder))


def checksum_line(digest: str, name: Path) -> str:
    """One line of SHA256SUMS: a file's hash in hex and its name in the folder."""
    return f"{digest}  {name.as_posix()}\n"


def checksum_faults(folder: Path) -> list[str] | None:
    """What differs from SHA256SUMS, a phrase a file; None where there is no SHA256SUMS."""
    file = folder / CHECKSUMS
    if not file.is_file():
        return None
    known: dict[str, str] = {}
    for number, line in enumerate(read_text(file).splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None or match[2].startswith("/") or ".." in Path(match[2]).parts:
            raise InputError(
                f"{file}, line {number}: not `<sha256>  <file in this folder>`. Fetch it again."
            )
        known[match[2]] = match[1]
    faults = []
    for name, expected in known.items():
        if not (folder / name).is_file():
            faults.append(f"{name} is missing")
        elif sha256_of(folder / name) != expected:
            faults.append(f"{name} is not what it was")
    here = {path.relative_to(folder).as_posix() for path in loaded_files(folder)}
    return faults + [f"{name} is extra" for name in sorted(here - known.keys())]
