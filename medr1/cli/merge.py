"""`medr1 merge`: writes a LoRA adapter and its base model as one checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from medr1.cli.common import (
    Medr1Command,
    common_options,
    offline_option,
    option,
    overwrite_option,
)
from medr1.terminal import echo
from medr1.workflows.arguments import keep_apart, require_writable


@click.command(cls=Medr1Command, short_help="Merge a LoRA adapter into its base model.")
@click.argument("adapter", metavar="ADAPTER")
@option(
    "--output-dir", metavar="DIR", required=True, help="Folder to write: the merged checkpoint."
)
@option(
    "--dtype",
    type=click.Choice(["auto", "bfloat16", "float16", "float32"]),
    default="auto",
    help="Data type of the written weights. auto: as in the base model's config.json.",
)
@offline_option
@overwrite_option
@common_options
def merge(adapter: str, **options: Any) -> None:
    """Merge a LoRA adapter into its base model, and write one checkpoint with SHA256SUMS.

    ADAPTER is the folder of the adapter, its short name, or its id on the Hugging Face hub. Its
    adapter_config.json names the base model.

    \b
    Examples:
      medr1 merge output/lora --output-dir checkpoints/merged
    """
    from medr1.checkpoints.adapters import find_base
    from medr1.checkpoints.finding import is_adapter
    from medr1.checkpoints.structure import read_configuration
    from medr1.errors import InputError
    from medr1.models.loading import DTYPES, find_checkpoint, load_model, write_merged

    output = Path(options["output_dir"])
    require_writable(output)
    require_writable(output / "config.json")
    folder = find_checkpoint(adapter, offline=options["offline"])
    if not is_adapter(folder):
        raise InputError(
            f"{folder} has no adapter_config.json, so it is a complete model and no adapter. Give "
            "the folder of an adapter."
        )
    base = find_base(folder, offline=options["offline"])
    keep_apart(output, [folder, base], options["overwrite"])
    dtype = options["dtype"]
    if dtype == "auto":
        config = read_configuration(base / "config.json")
        own_dtype = config.get("dtype") or config.get("torch_dtype")  # the older name
        dtype = own_dtype if own_dtype in DTYPES else "float32"
    loaded = load_model(folder, device="cpu", dtype=dtype, offline=options["offline"])
    write_merged(loaded, output, overwrite=options["overwrite"])
    echo(str(output))
