"""Which checkpoints of a run are whole: each has COMPLETE.json, written last, with every file's
size and hash.

A checkpoint is written under `.saving/` and gets its name when it is whole, so what a kill leaves
there is no checkpoint. A folder `checkpoint-N` that does not fit its COMPLETE.json was damaged
later.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

from medr1.errors import InputError, StateError
from medr1.files import parse_json, read_text, sha256_of, to_json, write_atomic

logger = logging.getLogger("medr1")

COMPLETE = "COMPLETE.json"
SCHEMA = "medr1.complete/1"
SAVING = ".saving"
_NAME = re.compile(r"checkpoint-([0-9]+)")


def checkpoints(output: Path) -> list[Path]:
    """The folders named checkpoint-N, the newest step first, whole or not."""
    if not output.is_dir():
        return []
    found = [folder for folder in output.iterdir() if _NAME.fullmatch(folder.name)]
    return sorted(filter(Path.is_dir, found), key=step_of, reverse=True)


def step_of(folder: Path) -> int:
    """The N of checkpoint-N."""
    return int(folder.name.removeprefix("checkpoint-"))


def write_manifest(folder: Path, *, step: int, processes: int) -> None:
    """Write COMPLETE.json over every file there, when they are safe from a loss of power."""
    files = {
        path.relative_to(folder).as_posix(): _described(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != COMPLETE
    }
    document = {"schema": SCHEMA, "step": step, "processes": processes, "files": files}
    write_atomic(folder / COMPLETE, to_json(document))


def _described(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return {"size": path.stat().st_size, "sha256": sha256_of(path)}


def read_manifest(folder: Path) -> dict[str, Any]:
    """What COMPLETE.json says; InputError where there is none, or it is not one of ours."""
    file = folder / COMPLETE
    if not file.is_file():
        raise InputError(f"{COMPLETE} is missing")
    document = parse_json(read_text(file), COMPLETE)
    if (
        not isinstance(document, dict)
        or document.get("schema") != SCHEMA
        or document.get("step") != step_of(folder)
        or not isinstance(document.get("files"), dict)
        or not all(isinstance(facts, dict) for facts in document["files"].values())
    ):
        raise InputError(f"{COMPLETE} is not that of this checkpoint")
    return document


def checkpoint_faults(folder: Path) -> list[str]:
    """What differs from the manifest, a phrase a file; nothing where the checkpoint is whole."""
    try:
        files = read_manifest(folder)["files"]
    except InputError as error:
        return [str(error)]
    faults = []
    for name, facts in files.items():
        path = folder / name
        if not path.is_file():
            faults.append(f"{name} is missing")
        elif path.stat().st_size != facts.get("size"):
            faults.append(f"{name} has {path.stat().st_size} bytes of {facts.get('size')}")
        elif sha256_of(path) != facts.get("sha256"):
            faults.append(f"{name} is not what it was")
    return faults


def newest_checkpoint(output: Path) -> Path | None:
    """The whole checkpoint with the most steps; None where there is no checkpoint at all.

    One that is not whole is passed over with a warning. Raises StateError where none is whole: to
    begin anew would hide the loss.
    """
    found = checkpoints(output)
    for folder in found:
        faults = checkpoint_faults(folder)
        if not faults:
            return folder
        logger.warning("%s is passed over: %s.", folder, ", ".join(faults[:3]))
    if found:
        raise StateError(
            f"{output}: none of the checkpoints there is whole ({len(found)} found). Restore one "
            "from a copy, or start anew with --overwrite, which keeps the old as .bak."
        )
    return None


def remove_checkpoint(folder: Path) -> None:
    """Delete a checkpoint, which stops being whole first."""
    (folder / COMPLETE).unlink(missing_ok=True)
    shutil.rmtree(folder)


def remove_older(newest: Path, limit: int, best: Path | None = None) -> None:
    """Leave `limit` checkpoints up to the newest, and the best; those that are not whole go."""
    older = [c for c in checkpoints(newest.parent) if step_of(c) < step_of(newest)]
    whole = [c for c in older if (c / COMPLETE).is_file()]
    kept = [*whole[: limit - 1], *([best] if best else [])]
    for folder in older:
        if folder.name not in {c.name for c in kept}:
            remove_checkpoint(folder)


def how_to_go_on(output: Path) -> str:
    """Where the work of a run that has ended early lies, and what to do; without reading it."""
    whole = [folder for folder in checkpoints(output) if (folder / COMPLETE).is_file()]
    if not whole:
        return f"No checkpoint was saved in {output}; the same command begins again."
    return (
        f"{step_of(whole[0])} steps are saved in {whole[0]}; the same command goes on from there "
        "(without --overwrite)."
    )
