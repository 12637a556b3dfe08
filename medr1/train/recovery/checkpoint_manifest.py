"""The checkpoints of a run, and which of them are complete.

A complete checkpoint has a COMPLETE.json with the size and the hash of each of its files, which is
written last. A checkpoint is written in the folder `.saving`, and moved to its own name when it is
complete. So a save that was interrupted leaves no `checkpoint-N`, and a `checkpoint-N` that differs
from its COMPLETE.json was damaged later.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from pathlib import Path

from msgspec import ValidationError, convert

from medr1.documents.checkpoint import CheckpointManifest, FileFacts
from medr1.errors import InputError, StateError
from medr1.files import parse_json, read_text, sha256_of, to_json, write_atomic

logger = logging.getLogger("medr1")

COMPLETE = "COMPLETE.json"
"""The manifest of a checkpoint."""
SAVING = ".saving"
"""The folder in the output folder where checkpoints are written."""
_NAME = re.compile(r"checkpoint-([0-9]+)")


def checkpoints(output: Path) -> list[Path]:
    """The folders named checkpoint-N in a run's folder, the newest first, complete or not."""
    if not output.is_dir():
        return []
    folders = [folder for folder in output.iterdir() if _NAME.fullmatch(folder.name)]
    return sorted(filter(Path.is_dir, folders), key=step_of, reverse=True)


def step_of(folder: Path) -> int:
    """The step of a checkpoint: the N of checkpoint-N."""
    return int(folder.name.removeprefix("checkpoint-"))


def write_manifest(folder: Path, *, step: int, processes: int) -> None:
    """Write COMPLETE.json after all files of the checkpoint have been synced to the disk.

    Args:
        folder: The checkpoint, with all its other files.
        step: The step at which it was saved.
        processes: The number of processes that saved it.

    Raises:
        OSError: A file cannot be read or written.
    """
    files = {
        path.relative_to(folder).as_posix(): _size_and_hash(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != COMPLETE
    }
    manifest = CheckpointManifest(
        schema="medr1.complete/1", step=step, processes=processes, files=files
    )
    write_atomic(folder / COMPLETE, to_json(manifest))


def _size_and_hash(path: Path) -> FileFacts:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return FileFacts(size=path.stat().st_size, sha256=sha256_of(path))


def read_manifest(folder: Path) -> CheckpointManifest:
    """The content of a checkpoint's COMPLETE.json.

    Raises:
        InputError: It is missing, or it belongs to another checkpoint or another program.
    """
    file = folder / COMPLETE
    if not file.is_file():
        raise InputError(f"{COMPLETE} is missing")
    document = parse_json(read_text(file), COMPLETE)
    try:
        manifest = convert(document, CheckpointManifest)
    except ValidationError:
        manifest = None
    if manifest is None or manifest.step != step_of(folder):
        raise InputError(f"{COMPLETE} belongs to another checkpoint or program")
    return manifest


def checkpoint_faults(folder: Path) -> list[str]:
    """Where a checkpoint differs from its manifest, one phrase per file; [] if it is complete."""
    try:
        files = read_manifest(folder).files
    except InputError as error:
        return [str(error)]
    faults = []
    for name, facts in files.items():
        path = folder / name
        if not path.is_file():
            faults.append(f"{name} is missing")
        elif path.stat().st_size != facts.size:
            faults.append(f"{name} has {path.stat().st_size} bytes instead of {facts.size}")
        elif sha256_of(path) != facts.sha256:
            faults.append(f"{name} has changed since it was saved")
    return faults


def newest_checkpoint(output: Path) -> Path | None:
    """The newest complete checkpoint of a run; None if it has no checkpoints.

    A checkpoint that is not complete is skipped with a warning.

    Raises:
        StateError: There are checkpoints and none is complete. A new start would hide the loss.
    """
    folders = checkpoints(output)
    for folder in folders:
        faults = checkpoint_faults(folder)
        if not faults:
            return folder
        logger.warning("skipping the damaged checkpoint %s: %s.", folder, ", ".join(faults[:3]))
    if folders:
        raise StateError(
            f"{output}: none of its {len(folders)} checkpoints is complete. Restore one from a "
            "copy, or start a new run with --overwrite, which keeps the old folder as .bak."
        )
    return None


def remove_checkpoint(folder: Path) -> None:
    """Delete a checkpoint, its manifest first, so that a part that is left counts as incomplete."""
    (folder / COMPLETE).unlink(missing_ok=True)
    shutil.rmtree(folder)


def remove_older(newest: Path, limit: int, best: Path | None = None) -> None:
    """Delete the checkpoints before the newest that are not to be checkpoints_to_keep.

    Args:
        newest: The checkpoint that was just saved. Later ones are left as they are.
        limit: Number of complete checkpoints to keep, the newest included.
        best: A checkpoint that is checkpoints_to_keep in any case.
    """
    older = [c for c in checkpoints(newest.parent) if step_of(c) < step_of(newest)]
    complete = [c for c in older if (c / COMPLETE).is_file()]
    checkpoints_to_keep = [*complete[: limit - 1], *([best] if best else [])]
    for folder in older:
        if folder.name not in {c.name for c in checkpoints_to_keep}:
            remove_checkpoint(folder)


def resume_hint(output: Path) -> str:
    """Tell the user of a run that ended early what is saved, and how to continue.

    It does not check the checkpoints' files, so it returns at once.
    """
    complete = [folder for folder in checkpoints(output) if (folder / COMPLETE).is_file()]
    if not complete:
        return f"No checkpoint was saved in {output}; the same command starts from the beginning."
    return (
        f"Step {step_of(complete[0])} is saved in {complete[0]}; the same command continues from "
        "there (without --overwrite)."
    )
