"""Tells a user who asks the embedded model about an own image that it knows nothing of medicine."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from medr1.data.roots import ImageRoot, resolve_image
from medr1.errors import InputError, ItemError
from medr1.processes import is_first_process
from medr1.records import Sample

if TYPE_CHECKING:
    from medr1.chat.settings import Server

logger = logging.getLogger("medr1")

SENTENCE = (
    "%s is the embedded model of medr1, or was trained from it. It has a million parameters, was "
    "made to try the commands, and knows nothing of medicine: its answers about your images mean "
    "nothing."
)
_WEIGHTS = "model.safetensors"


def warn_of_embedded_model(
    model_path: str | Path,
    samples: Iterable[Sample],
    root: ImageRoot,
    server: Server | None,
    offline: bool,
) -> None:
    """Warn once if the embedded model is asked about an image that is not in the embedded data.

    Args:
        model_path: The checkpoint, as the user gave it.
        samples: The questions.
        root: Where relative image paths start.
        server: The server that answers, whose model is not known; None: the checkpoint does.
        offline: Whether the network may not be used.
    """
    from medr1.checkpoints.finding import find_checkpoint

    if server or not is_first_process():
        return
    folder = find_checkpoint(str(model_path), offline=offline)
    is_own = (_is_own_image(sample, root) for sample in samples)
    if is_embedded(folder, offline=offline) and any(is_own):
        logger.warning(SENTENCE, folder.name)


def is_embedded(folder: Path, *, offline: bool = True) -> bool:
    """Whether a checkpoint is an embedded one, a copy of it, or was trained from it.

    The weights tell it, the base in its medr1.json, or the base of an adapter.

    Args:
        folder: The checkpoint, which can be loaded.
        offline: Whether the network may not be used.
    """
    from medr1.checkpoints.adapters import find_base
    from medr1.checkpoints.finding import is_adapter
    from medr1.checkpoints.integrity import checkpoint_sha256
    from medr1.data.tiny import tiny_vl_folder
    from medr1.files import parse_json, read_text, sha256_of

    try:
        embedded = [tiny_vl_folder(), tiny_vl_folder().with_name("tiny-vl-letters")]
    except InputError:  # it is not on this machine
        return False
    if is_adapter(folder):
        return is_embedded(find_base(folder, offline=offline), offline=offline)
    weights, sizes = folder / _WEIGHTS, {(e / _WEIGHTS).stat().st_size for e in embedded}
    has_their_size = weights.is_file() and weights.stat().st_size in sizes
    if has_their_size and sha256_of(weights) in {sha256_of(e / _WEIGHTS) for e in embedded}:
        return True
    record = folder / "medr1.json"
    if not record.is_file():
        return False
    document = parse_json(read_text(record), str(record))
    base = document.get("base_sha256") if isinstance(document, dict) else None
    return base is not None and base in map(checkpoint_sha256, embedded)


def _is_own_image(sample: Sample, root: ImageRoot) -> bool:
    """Whether an image of a question is a file outside the embedded data set."""
    from medr1.data.tiny import tiny_vqa_folder

    data = tiny_vqa_folder().resolve()
    for name in sample.images:
        try:
            path = resolve_image(name, root).path
        except ItemError:
            continue
        if path.is_file() and not path.resolve().is_relative_to(data):
            return True
    return False
