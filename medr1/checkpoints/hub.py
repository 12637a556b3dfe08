"""Downloading checkpoints and data sets from the Hugging Face hub.

First a plan is made (`plan_fetch`): which files of which revision, and where to. Then it is carried
out (`fetch`). Of weights only safetensors files are downloaded, because other formats can run code
when they are loaded. The SHA-256 of each downloaded file is compared with the hub's, where the hub
has one, and written to SHA256SUMS.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from pathlib import Path, PurePosixPath

from medr1.checkpoints.finding import LOADED_SUFFIXES
from medr1.checkpoints.integrity import CHECKSUMS, checksum_line
from medr1.errors import InputError, Medr1Error, OutputError
from medr1.files import in_gb, sha256_of, to_json, write_atomic

MED_R1 = "yuxianglai117/Med-R1"
"""The repository of the authors' checkpoints; each is a folder in it."""
DEFAULT_VARIANT = "Qwen_2.5_3B_nothink"
"""The folder of Med-R1 in which a short name such as VQA_CT is looked for first."""
CHECKPOINT_FILES = (*(f"*{ending}" for ending in LOADED_SUFFIXES), "*README.md")
"""Patterns of the files of a checkpoint that are downloaded."""
_IMAGE_ENDINGS = ("png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp", "PNG", "JPG", "JPEG")
DATA_FILES = tuple(
    f"*.{ending}"
    for ending in ("json", "jsonl", "csv", "tsv", "parquet", "txt", "md", "zip", *_IMAGE_ENDINGS)
)
"""Patterns of the files of a data set that are downloaded."""
FETCH_SCHEMA = "medr1.fetch/1"

logger = logging.getLogger("medr1")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository on the hub."""

    name: str
    """Its path in the repository, with forward slashes."""
    size: int
    """In bytes."""
    sha256: str | None
    """In hex; None for a small file, for which the hub has no SHA-256."""


@dataclass(frozen=True)
class FetchPlan:
    """What will be downloaded: files of one revision of a repository, into a local folder."""

    repo: str
    """owner/name."""
    revision: str
    """The commit hash."""
    folder: str
    """The part of the repository that is downloaded; "" for all of it."""
    files: tuple[RemoteFile, ...]
    root: Path
    """The local folder for the repository; files keep their paths below it."""
    is_data: bool
    """Whether it is a data set, not a model."""

    @property
    def destination(self) -> Path:
        """The local folder that will hold the checkpoint or data set."""
        return self.root / self.folder

    @property
    def size(self) -> int:
        """The size of all files in bytes."""
        return sum(file.size for file in self.files)

    @property
    def missing(self) -> int:
        """Bytes still to be downloaded; a local file of the right size counts as present."""
        return sum(file.size for file in self.files if not _is_here(self.root / file.name, file))


def _is_here(path: Path, file: RemoteFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size


def split_name(name: str, *, is_data: bool = False) -> tuple[str, str]:
    """(repository, folder) of a name as `medr1 fetch` takes it; the folder is "" for all of it.

    "Qwen/Qwen2.5-VL-3B-Instruct" -> ("Qwen/Qwen2.5-VL-3B-Instruct", "")
    "VQA_CT" -> (MED_R1, "VQA_CT")

    An owner on the hub has neither dots nor underscores in its name. So
    "Qwen_2.5_3B_nothink/VQA_CT" is a folder of Med-R1, not a repository.

    Args:
        name: owner/name[/folder], or the name of a checkpoint of Med-R1.
        is_data: Whether it names a data set, for which there are no short names.

    Raises:
        InputError: If it is no such name.
    """
    parts = name.strip("/").split("/")
    if not all(parts) or ".." in parts:
        raise InputError(f"{name!r} is no name on the hub; give owner/name, or one like VQA_CT.")
    if len(parts) > 1 and not set(parts[0]) & set("._"):
        return "/".join(parts[:2]), "/".join(parts[2:])
    if is_data:
        raise InputError(f"{name}: a data set is named owner/name, as foreverbeliever/OmniMedVQA.")
    return MED_R1, "/".join(parts)


def plan_fetch(name: str, output_dir: Path, *, is_data: bool = False) -> FetchPlan:
    """What has to be downloaded for a name, as the hub has it now.

    Args:
        name: As `split_name` takes it.
        output_dir: The folder in which the repository gets a folder of its own name.
        is_data: Whether the name is a data set's.

    Raises:
        InputError: If the hub has nothing of that name, or no file that medr1 reads.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of httpx
    from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined]  # imported

    repo, requested = split_name(name, is_data=is_data)
    api = HfApi()
    try:
        info = (api.dataset_info if is_data else api.model_info)(repo, files_metadata=True)
    except (HTTPError, OSError, ValueError) as error:
        raise _refusal(repo, error, is_data) from None
    listed = [
        RemoteFile(s.rfilename, s.size or 0, s.lfs.sha256 if s.lfs else None)
        for s in info.siblings or ()
    ]
    # such a name would be written outside the local folder
    if outside := next((f.name for f in listed if ".." in PurePosixPath(f.name).parts), None):
        raise InputError(f"{repo} names a file outside its folder, {outside}; it is not fetched.")
    folder = _folder(repo, requested, [file.name for file in listed])
    selected = filter_repo_objects(
        listed, allow_patterns=_patterns(folder, is_data), key=lambda file: file.name
    )
    files = tuple(sorted(selected, key=lambda file: file.name))
    if not files:
        raise InputError(f"{repo} holds no file that medr1 reads; see its page on the hub.")
    root = output_dir / repo.split("/")[1]  # "owner/name" goes to the folder "name"
    return FetchPlan(repo, str(info.sha), folder, files, root, is_data)


def _patterns(folder: str, is_data: bool) -> list[str]:
    """The patterns of the files to be downloaded, limited to a folder."""
    from glob import escape

    prefix = f"{escape(folder)}/" if folder else ""
    return [prefix + pattern for pattern in (DATA_FILES if is_data else CHECKPOINT_FILES)]


def _folder(repo: str, requested: str, names: Iterable[str]) -> str:
    """The full path in the repository of the folder that a user names.

    Med-R1's short names are looked for in the default variant first. Otherwise the path is as
    spelled, or it is found by its last part where only one folder of Med-R1 ends so.
    """
    if not requested:
        return ""
    # every folder that a file of the repository is in, at any depth
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents} - {"."}
    is_short = repo == MED_R1 and "/" not in requested
    if is_short and (usual := f"{DEFAULT_VARIANT}/{requested}") in folders:
        return usual
    if requested in folders:
        return requested
    last = requested.split("/")[-1].lower()
    same_name = sorted(f for f in folders if f.split("/")[-1].lower() == last)
    if is_short and len(same_name) == 1:
        return same_name[0]
    choices = same_name or sorted(
        n[: -len("/config.json")] for n in names if n.endswith("/config.json")
    )
    hint = f"Name one of: {', '.join(choices[:40])}." if choices else "See its page on the hub."
    raise InputError(f"{repo} has no folder {requested}. {hint}")


def require_space(plan: FetchPlan) -> int:
    """The free bytes of the disk it goes to; OutputError if the missing files do not fit."""
    # the folder may not exist yet: its nearest existing parent is on the same disk
    existing = plan.root.absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if plan.missing > free:
        raise OutputError(
            f"{plan.repo} needs {in_gb(plan.missing)} and {existing} has {in_gb(free)} free. "
            "Free space, or choose another place with --output-dir."
        )
    return free


def fetch(plan: FetchPlan) -> Path:
    """Download what is missing, check every file, and return the folder.

    If the connection breaks, the download is continued where it stopped, up to a number of retries.
    After that, or if the process is killed, the next call keeps the complete files and downloads
    the others from the start. Both is the behaviour of huggingface_hub's `snapshot_download`.

    Raises InputError where the hub refuses, OutputError where a file cannot be written, and
    Medr1Error for a file that is incomplete or has another SHA-256 than the hub's.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of httpx

    try:
        snapshot_download(
            plan.repo,
            repo_type="dataset" if plan.is_data else "model",
            revision=plan.revision,
            local_dir=plan.root,
            allow_patterns=_patterns(plan.folder, plan.is_data),
        )
    except (HTTPError, OSError, ValueError) as error:
        raise _refusal(plan.repo, error, plan.is_data) from None
    sums = []
    for file in plan.files:
        path = plan.root / file.name
        if not _is_here(path, file):
            raise Medr1Error(f"{path} is incomplete. Run the same command again.")
        digest = sha256_of(path)
        if file.sha256 not in (None, digest):
            raise Medr1Error(f"{path} is not what the hub has (SHA-256). Delete it, fetch again.")
        sums.append(checksum_line(digest, path.relative_to(plan.destination)))
    record = {"schema": FETCH_SCHEMA, "repo": plan.repo, "revision": plan.revision}
    write_atomic(plan.destination / "medr1-fetch.json", to_json(record))
    write_atomic(plan.destination / CHECKSUMS, sums)
    return plan.destination


def _refusal(repo: str, error: Exception, is_data: bool) -> Medr1Error:
    """The error for the user, from what huggingface_hub raised."""
    from huggingface_hub import errors

    kind = "data set" if is_data else "model"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return InputError("HF_HUB_OFFLINE forbids the network. Unset it to fetch.")
    if isinstance(error, errors.GatedRepoError):
        return InputError(
            f"{repo} is gated. Ask for access on its page on the hub, then set HF_TOKEN to your "
            "access token."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        alternative = "without --data" if is_data else "with --data"
        return InputError(
            f"the hub has no {kind} {repo} that you may read. Check its spelling, try "
            f"{alternative}, or set HF_TOKEN if it is private."
        )
    if isinstance(error, errors.HfHubHTTPError) and error.response is not None:
        return InputError(
            f"the hub refused {repo} (HTTP {error.response.status_code}). Try again later. If the "
            "hub asks for a token, set HF_TOKEN."
        )
    if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT):
        return OutputError(
            f"no space left while fetching {repo}. Free some space, then run the command again."
        )
    if isinstance(error, OSError) and error.errno is not None and error.filename:
        return OutputError(f"cannot write {error.filename}: {error.strerror}.")
    # anything else, such as a broken connection: the first line of its text
    reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return InputError(
        f"{repo} could not be fetched ({reason[:200]}). Check the network, then run the same "
        "command again: complete files are kept."
    )
