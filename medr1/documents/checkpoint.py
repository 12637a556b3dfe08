"""COMPLETE.json, the list of files of a complete checkpoint, which is written last."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class FileFacts(Struct, frozen=True, kw_only=True):
    """A file as it was when the checkpoint was saved."""

    size: int
    """Bytes."""
    sha256: str


class CheckpointManifest(Struct, frozen=True, kw_only=True):
    """COMPLETE.json of a checkpoint."""

    schema: Literal["medr1.complete/1"]
    step: int
    processes: int
    """Number of processes that saved it."""
    files: dict[str, FileFacts]
    """Path in the checkpoint's folder -> its facts."""
