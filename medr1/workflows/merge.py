"""Write a LoRA adapter and its base model as one checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medr1.errors import InputError
from medr1.workflows.arguments import keep_apart, require_choice, require_writable

if TYPE_CHECKING:
    from medr1.models.loading import LoadedModel


def merge_adapter(
    adapter: str | Path,
    *,
    output_dir: str | Path,
    dtype: str = "auto",
    offline: bool = False,
    overwrite: bool = False,
) -> Path:
    """Merge a LoRA adapter into its base model, and write one checkpoint with SHA256SUMS.

    Args:
        adapter: Folder of the adapter, its short name, or its id on the Hugging Face hub.
        output_dir: Folder to write.
        dtype: Data type of the written weights; auto: as in the base model's config.json.
        offline: Whether the network may not be used.
        overwrite: Whether an existing output is replaced, and kept as NAME.bak.

    Returns:
        The folder of the merged checkpoint.

    Raises:
        InputError: There is no such adapter or base model, or they do not fit each other.
        OutputError: The checkpoint cannot be written.
    """
    from medr1.checkpoints.adapters import find_base
    from medr1.checkpoints.finding import is_adapter
    from medr1.models.loading import DTYPES, find_checkpoint, write_merged

    require_choice("dtype", dtype, DTYPES)
    output = Path(output_dir)
    require_writable(output)
    require_writable(output / "config.json")
    folder = find_checkpoint(str(adapter), offline=offline)
    if not is_adapter(folder):
        raise InputError(
            f"{folder} has no adapter_config.json, so it is a complete model and no adapter. Give "
            "the folder of an adapter."
        )
    base = find_base(folder, offline=offline)
    keep_apart(output, [folder, base], overwrite)
    write_merged(load_merged(folder, dtype, offline=offline), output, overwrite=overwrite)
    return output


def load_merged(folder: Path, dtype: str, *, offline: bool) -> LoadedModel:
    """Load a LoRA adapter, merged into its base model, on the CPU.

    Args:
        folder: Folder of the adapter.
        dtype: Data type of the weights; auto: as in the base model's config.json.
        offline: Whether the network may not be used.
    """
    from medr1.checkpoints.adapters import find_base
    from medr1.checkpoints.structure import read_configuration
    from medr1.models.loading import DTYPES, load_model

    if dtype == "auto":
        config = read_configuration(find_base(folder, offline=offline) / "config.json")
        own_dtype = config.get("dtype") or config.get("torch_dtype")  # the older name
        dtype = own_dtype if isinstance(own_dtype, str) and own_dtype in DTYPES else "float32"
    return load_model(folder, device="cpu", dtype=dtype, offline=offline)
