"""Find a checkpoint by the name that a user gives, and load it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medr1.models.loading import LoadedModel


def load_named_model(
    model_path: str | Path,
    *,
    device: str,
    dtype: str,
    allow_template: bool,
    offline: bool,
    merge: bool = True,
) -> LoadedModel:
    """Load the model with this path, short name or hub id.

    Args:
        model_path: Folder of a checkpoint or LoRA adapter, its short name, or its hub id.
        device: auto, cuda, mps or cpu.
        dtype: auto, bfloat16, float16 or float32.
        allow_template: Whether a chat template that medr1 does not know is accepted.
        offline: Whether the network may not be used.
        merge: Whether a LoRA adapter is merged into its base; False keeps it, with its dropout.

    Raises:
        InputError: There is no such checkpoint, or it cannot be loaded.
    """
    from medr1.models.loading import find_checkpoint, load_model

    return load_model(
        find_checkpoint(str(model_path), offline=offline),
        device=device,
        dtype=dtype,
        allow_template=allow_template,
        offline=offline,
        merge=merge,
    )
