"""`medr1 merge`: writes a LoRA adapter and its base model as one checkpoint."""

from __future__ import annotations

import click

from medr1.cli.common import (
    Medr1Command,
    argument,
    call,
    common_options,
    offline_option,
    option,
    overwrite_option,
)
from medr1.terminal import echo
from medr1.workflows.merge import merge_adapter


@click.command(
    cls=Medr1Command, workflow=merge_adapter, short_help="Merge a LoRA adapter into its base model."
)
@argument("adapter", metavar="ADAPTER")
@option(
    "--output-dir",
    group="Output",
    metavar="DIR",
    required=True,
    help="Folder to write: the merged checkpoint.",
)
@option(
    "--dtype",
    group="Model",
    type=click.Choice(["auto", "bfloat16", "float16", "float32"]),
    help="Data type of the written weights. auto: as in the base model's config.json.",
)
@offline_option
@overwrite_option
@common_options
def merge(**options: object) -> None:
    """Merge a LoRA adapter into its base model, and write one checkpoint with SHA256SUMS.

    ADAPTER is the folder of the adapter, its short name, or its id on the Hugging Face hub. Its
    adapter_config.json names the base model.

    \b
    Examples:
      medr1 merge output/lora --output-dir checkpoints/merged
    """
    echo(call(merge_adapter, options))
