"""`medr1 export`: writes a checkpoint as a folder that mlx-vlm or vLLM reads."""

from __future__ import annotations

import click

from medr1.cli.common import (
    Medr1Command,
    argument,
    call,
    common_options,
    json_option,
    offline_option,
    option,
    overwrite_option,
)
from medr1.terminal import echo
from medr1.workflows.export import export_checkpoint


@click.command(
    cls=Medr1Command,
    workflow=export_checkpoint,
    short_help="Write a checkpoint for mlx-vlm or vLLM.",
)
@argument("checkpoint", metavar="CHECKPOINT")
@option(
    "--for",
    "engine",
    group="Output",
    type=click.Choice(["mlx", "vllm"]),
    required=True,
    help="Engine that will serve the checkpoint. mlx: mlx-vlm, for Macs. vllm: vLLM.",
)
@option(
    "--output-dir",
    group="Output",
    metavar="DIR",
    required=True,
    help="Folder to write: the checkpoint.",
)
@offline_option
@overwrite_option
@json_option
@common_options
def export(as_json: bool, **options: object) -> None:
    """Write a checkpoint as a folder that another engine reads, and print how to serve it.

    CHECKPOINT is the folder of a checkpoint or LoRA adapter, its short name (VQA_CT), or its id on
    the Hugging Face hub. An adapter is merged into its base model. Weights become hard links where
    the file system allows it. `medr1 infer --engine openai` asks the server.

    \b
    Examples:
      medr1 export output/tiny --for mlx --output-dir output/tiny-mlx
      medr1 export VQA_CT --for vllm --output-dir output/ct-vllm
    """
    from medr1.files import to_json

    export = call(export_checkpoint, options)
    if as_json:
        echo(to_json({"folder": str(export.folder), "command": export.command}), nl=False)
    else:
        echo(f"{export.folder}\n{export.command}")
