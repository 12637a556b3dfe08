"""The integrity of a checkpoint: the fingerprint of its files, and SHA256SUMS.

Only the files that loading reads count, because only they decide what the model answers.
"""

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
"""Files with a known suffix that loading does not read."""
_CHECKSUM_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def loaded_files(folder: Path) -> list[Path]:
    """The files that loading reads, in the order of their names; no README, no training state."""
    top = [p for p in folder.iterdir() if p.suffix in LOADED_SUFFIXES and p.name not in _NOT_READ]
    more = (folder / "additional_chat_templates").glob("*.jinja")
    return sorted(path for path in (*top, *more) if path.is_file())


def checkpoint_sha256(folder: Path) -> str:
    """One SHA-256 over the names and contents of all loaded files, and of an adapter's base."""
    digest = hashlib.sha256()
    for path in loaded_files(folder):
        # the zero byte separates name and hash, so that no other name and hash read the same
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256_of(path)}\n".encode())
    if is_adapter(folder):
        digest.update(checkpoint_sha256(find_base(folder, offline=True)).encode())
    return digest.hexdigest()


def write_checksums(folder: Path) -> None:
    """Write SHA256SUMS for the files that loading reads; `sha256sum -c SHA256SUMS` can check it."""
    write_atomic(folder / CHECKSUMS, "".join(_line(folder, path) for path in loaded_files(folder)))


def _line(folder: Path, path: Path) -> str:
    """The line of SHA256SUMS for a file of the folder."""
    return checksum_line(sha256_of(path), path.relative_to(folder))


def checksum_line(digest: str, name: Path) -> str:
    """A line of SHA256SUMS.

    Args:
        digest: The file's SHA-256 in hex.
        name: Its path relative to the folder.
    """
    return f"{digest}  {name.as_posix()}\n"


def checksum_faults(folder: Path) -> list[str] | None:
    """The differences from SHA256SUMS, one phrase for each file: "x.json is missing".

    None where the folder has no SHA256SUMS; InputError where it has invalid lines.
    """
    file = folder / CHECKSUMS
    if not file.is_file():
        return None
    expected_sums: dict[str, str] = {}
    for number, line in enumerate(read_text(file).splitlines(), 1):
        match = _CHECKSUM_LINE.fullmatch(line)
        # a name may not lead out of the folder
        if match is None or match[2].startswith("/") or ".." in Path(match[2]).parts:
            raise InputError(
                f"{file}, line {number}: not `<sha256>  <file in this folder>`. Fetch it again."
            )
        expected_sums[match[2]] = match[1]
    faults = []
    for name, expected in expected_sums.items():
        if not (folder / name).is_file():
            faults.append(f"{name} is missing")
        elif sha256_of(folder / name) != expected:
            faults.append(f"{name} has changed")
    # a file that was added counts too, because loading would read it
    present = {path.relative_to(folder).as_posix() for path in loaded_files(folder)}
    return faults + [f"{name} is extra" for name in sorted(present - expected_sums.keys())]
