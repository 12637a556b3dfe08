"""Download a checkpoint or a data set from the Hugging Face hub."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger("medr1")


@dataclass(frozen=True)
class Download:
    """A checkpoint or data set on the hub, and its folder on this machine."""

    name: str
    """The name that was asked for."""
    is_fetched: bool
    """Whether the files are in the folder; False with `dry_run`."""
    repo: str
    """owner/name on the hub."""
    revision: str
    """The commit hash."""
    folder: Path
    """Where the files are, or would be with `dry_run`."""
    n_files: int
    """Number of files."""
    num_bytes: int
    """Size of all files."""
    num_bytes_missing: int
    """Size of the files that were not in the folder before."""


def fetch_from_hub(
    name: str,
    *,
    output_dir: str | Path | None = None,
    is_data: bool = False,
    dry_run: bool = False,
) -> Download:
    """Download a checkpoint or a data set. Complete files of an earlier download are kept.

    Args:
        name: owner/name, owner/name/folder, the name of a Med-R1 checkpoint such as VQA_CT, or of a
            data set the name of a benchmark such as vqa-rad.
        output_dir: Folder to download to; None: checkpoints, or data for a data set.
        is_data: Whether it is a data set.
        dry_run: Whether nothing is downloaded.

    Raises:
        InputError: The hub has no such repository or folder, or it may not be read.
        OutputError: The disk has too little space.
        Medr1Error: The download failed.
    """
    from medr1.checkpoints import hub
    from medr1.files import in_gb

    folder = Path(output_dir or ("data" if is_data else "checkpoints"))
    repo = _data_set(name) if is_data else _checkpoint(name)
    plan = hub.plan_fetch(repo, folder, is_data=is_data)
    free = hub.require_space(plan)
    size, missing = plan.size, plan.missing
    logger.info(
        "%s: %d files, %s, %s of it to download; %s free",
        f"{plan.repo}/{plan.folder}".rstrip("/"),
        len(plan.files),
        in_gb(size),
        in_gb(missing),
        in_gb(free),
    )
    if not dry_run:
        hub.fetch(plan)
    return Download(
        name,
        not dry_run,
        plan.repo,
        plan.revision,
        plan.destination,
        len(plan.files),
        size,
        missing,
    )


def _checkpoint(name: str) -> str:
    """The name of a checkpoint; an InputError if it is that of a benchmark."""
    from medr1.data.benchmarks.names import BENCHMARKS
    from medr1.errors import InputError

    if name in BENCHMARKS:
        raise InputError(f"{name} is a data set. Add --data.")
    return name


def _data_set(name: str) -> str:
    """The name on the hub of a data set, which may be a benchmark's; its licence is logged."""
    from medr1.data.benchmarks.names import BENCHMARKS
    from medr1.errors import InputError, did_you_mean

    if (benchmark := BENCHMARKS.get(name)) is None:
        if "/" in name:
            return name
        hint = did_you_mean(name, BENCHMARKS, f"The benchmarks are: {', '.join(BENCHMARKS)}.")
        raise InputError(
            f"{name} is no benchmark, and a data set on the hub is named owner/name. {hint}"
        )
    if not benchmark.hub:
        raise InputError(
            f"{name} is not on the hub. medr1/data/README.md says where its authors publish it."
        )
    licence = benchmark.licence or "see its page, and those of the data sets that it is made of"
    logger.info("%s: huggingface.co/datasets/%s, licence: %s", name, benchmark.hub, licence)
    return benchmark.hub
