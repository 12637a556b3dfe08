"""Checkpoints and data sets from the Hugging Face hub: what is fetched, from where, to where.

Weights are safetensors only: nothing that would run code when it is loaded is ever fetched. What
was fetched is hashed, against the hub's own hashes where it has them, into SHA256SUMS.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from pathlib import Path, PurePosixPath
from typing import Any

from medr1.checkpoints.finding import LOADED_SUFFIXES
from medr1.checkpoints.integrity import CHECKSUMS, checksum_line
from medr1.errors import InputError, Medr1Error, OutputError
from medr1.files import in_gb, sha256_of, to_json, write_atomic

MED_R1 = "yuxianglai117/Med-R1"
DEFAULT_VARIANT = "Qwen_2.5_3B_nothink"
CHECKPOINT_FILES = (*(f"*{ending}" for ending in LOADED_SUFFIXES), "*README.md")
_PICTURES = ("png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp", "PNG", "JPG", "JPEG")
DATA_FILES = tuple(
    f"*.{ending}"
    for ending in ("json", "jsonl", "csv", "tsv", "parquet", "txt", "md", "zip", *_PICTURES)
)
FETCH_SCHEMA = "medr1.fetch/1"

logger = logging.getLogger("medr1")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository; its hash where the hub keeps it as a large file."""

    name: str
    size: int
    sha256: str | None


@dataclass(frozen=True)
class Plan:
    """What is to be fetched: files of one revision of a repository, into `root`.

    `folder` is the part of the repository that is wanted, "" for all of it. It comes to lie under
    the same name in `root`.
    """

    repo: str
    revision: str
    folder: str
    files: tuple[RemoteFile, ...]
    root: Path
    is_data: bool

    @property
    def destination(self) -> Path:
        return self.root / self.folder

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def missing(self) -> int:
        """Bytes that are not here yet, judged by the files' sizes."""
        return sum(file.size for file in self.files if not _is_here(self.root / file.name, file))


def _is_here(path: Path, file: RemoteFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size


def split_name(name: str, *, is_data: bool = False) -> tuple[str, str]:
    """(repository, folder or "") for `owner/name[/folder]`, or a checkpoint's name in Med-R1.

    An owner on the hub has neither dots nor underscores, so `Qwen_2.5_3B_nothink/VQA_CT` is a
    folder of Med-R1.
    """
    parts = name.strip("/").split("/")
    if not all(parts) or ".." in parts:
        raise InputError(f"{name!r} is no name on the hub; give owner/name, or one like VQA_CT.")
    if len(parts) > 1 and not set(parts[0]) & set("._"):
        return "/".join(parts[:2]), "/".join(parts[2:])
    if is_data:
        raise InputError(f"{name}: a data set is named owner/name, as foreverbeliever/OmniMedVQA.")
    return MED_R1, "/".join(parts)


def plan(name: str, output_dir: Path, *, is_data: bool = False) -> Plan:
    """What `name` stands for on the hub now. InputError where there is no such thing."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError
    from huggingface_hub.utils import filter_repo_objects

    repo, asked = split_name(name, is_data=is_data)
    api = HfApi()
    try:
        info = (api.dataset_info if is_data else api.model_info)(repo, files_metadata=True)
    except (HTTPError, OSError, ValueError) as error:
        raise _refusal(repo, error, is_data) from None
    listed = [
        RemoteFile(s.rfilename, s.size or 0, s.lfs.sha256 if s.lfs else None)
        for s in info.siblings or ()
    ]
    if outside := next((f.name for f in listed if ".." in PurePosixPath(f.name).parts), None):
        raise InputError(f"{repo} names a file outside its folder, {outside}; it is not fetched.")
    folder = _folder(repo, asked, [file.name for file in listed])
    wanted = filter_repo_objects(
        listed, allow_patterns=_patterns(folder, is_data), key=lambda file: file.name
    )
    files = tuple(sorted(wanted, key=lambda file: file.name))
    if not files:
        raise InputError(f"{repo} holds no file that medr1 reads; see its page on the hub.")
    root = output_dir / repo.split("/")[1]
    return Plan(repo, str(info.sha), folder, files, root, is_data)


def _patterns(folder: str, is_data: bool) -> list[str]:
    from glob import escape

    prefix = f"{escape(folder)}/" if folder else ""
    return [prefix + pattern for pattern in (DATA_FILES if is_data else CHECKPOINT_FILES)]


def _folder(repo: str, asked: str, names: Iterable[str]) -> str:
    """The folder of the repository that is meant: as spelled, else by its last part."""
    if not asked:
        return ""
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents} - {"."}
    short = repo == MED_R1 and "/" not in asked
    if short and (usual := f"{DEFAULT_VARIANT}/{asked}") in folders:
        return usual
    if asked in folders:
        return asked
    last = asked.split("/")[-1].lower()
    alike = sorted(f for f in folders if f.split("/")[-1].lower() == last)
    if short and len(alike) == 1:
        return alike[0]
    known = alike or sorted(n[: -len("/config.json")] for n in names if n.endswith("/config.json"))
    hint = f"Name one of: {', '.join(known[:40])}." if known else "See its page on the hub."
    raise InputError(f"{repo} has no folder {asked}. {hint}")


def require_space(wanted: Plan) -> int:
    """The free bytes where it goes; OutputError where what is still missing does not fit."""
    place = wanted.root.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if wanted.missing > free:
        raise OutputError(
            f"{wanted.repo} needs {in_gb(wanted.missing)} and {place} has {in_gb(free)} free. "
            "Free space, or choose another place with --output-dir."
        )
    return free


def fetch(wanted: Plan) -> Path:
    """The folder, complete: what is missing is downloaded, and every hash is checked.

    A connection that breaks is taken up again where it broke, some times; after that, or a kill,
    the next call keeps the files that are whole and begins the others anew. Both are
    snapshot_download's own.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError

    try:
        snapshot_download(
            wanted.repo,
            repo_type="dataset" if wanted.is_data else "model",
            revision=wanted.revision,
            local_dir=wanted.root,
            allow_patterns=_patterns(wanted.folder, wanted.is_data),
        )
    except (HTTPError, OSError, ValueError) as error:
        raise _refusal(wanted.repo, error, wanted.is_data) from None
    sums = []
    for file in wanted.files:
        path = wanted.root / file.name
        if not _is_here(path, file):
            raise Medr1Error(f"{path} did not arrive whole. Run the same command again.")
        digest = sha256_of(path)
        if file.sha256 not in (None, digest):
            raise Medr1Error(f"{path} is not what the hub has (SHA-256). Delete it, fetch again.")
        sums.append(checksum_line(digest, path.relative_to(wanted.destination)))
    record = {"schema": FETCH_SCHEMA, "repo": wanted.repo, "revision": wanted.revision}
    write_atomic(wanted.destination / "medr1-fetch.json", to_json(record))
    write_atomic(wanted.destination / CHECKSUMS, sums)
    return wanted.destination


def _refusal(repo: str, error: Exception, is_data: bool) -> Medr1Error:
    """One sentence for what the hub, or the way to it, said."""
    from huggingface_hub import errors

    kind = "data set" if is_data else "model"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return InputError("HF_HUB_OFFLINE forbids the network. Unset it to fetch.")
    if isinstance(error, errors.GatedRepoError):
        return InputError(
            f"{repo} is gated. Ask for access on its page on the hub, then set HF_TOKEN to a token "
            "of yours."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        other = "without --data" if is_data else "with --data"
        return InputError(
            f"the hub has no {kind} {repo} that you may read. Check its spelling, try {other}, or "
            "set HF_TOKEN if it is private."
        )
    if isinstance(error, errors.HfHubHTTPError) and error.response is not None:
        return InputError(
            f"the hub refused {repo} (HTTP {error.response.status_code}). Try again later; "
            "HF_TOKEN is read where it wants one."
        )
    if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT):
        return OutputError(f"no space left while fetching {repo}. Free some, then run it again.")
    if isinstance(error, OSError) and error.errno is not None and error.filename:
        return OutputError(f"cannot write {error.filename}: {error.strerror}.")
    reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return InputError(
        f"{repo} could not be fetched ({reason[:200]}). Check the network, then run the same "
        "command again: files that arrived whole are kept."
    )


def summary(wanted: Plan) -> dict[str, Any]:
    """A plan as a plain document."""
    return {
        "repo": wanted.repo,
        "revision": wanted.revision,
        "folder": str(wanted.destination),
        "n_files": len(wanted.files),
        "bytes": wanted.size,
        "bytes_missing": wanted.missing,
    }
