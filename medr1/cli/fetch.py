"""`medr1 fetch`: downloads checkpoints and data sets from the Hugging Face hub."""

from __future__ import annotations

import os
import sys

import click

from medr1.cli.common import Medr1Command, argument, common_options, json_option, option
from medr1.terminal import echo
from medr1.workflows.fetch import fetch_from_hub


@click.command(
    cls=Medr1Command,
    workflow=fetch_from_hub,
    short_help="Download checkpoints or data sets from the Hugging Face hub.",
)
@argument("names", nargs=-1, required=True, metavar="NAME...")
@option(
    "--data",
    "is_data",
    group="Input",
    is_flag=True,
    envvar=None,
    help="Download a data set, not a checkpoint.",
)
@option(
    "--output-dir",
    group="Output",
    metavar="DIR",
    help="Folder to download to. [default: checkpoints, or data with --data]",
)
@option(
    "--dry-run",
    group="Run",
    is_flag=True,
    help="Print the size and the folder of each download, and stop.",
)
@option(
    "--offline", group="Run", is_flag=True, help="Refuse to run, since fetch needs the network."
)
@json_option
@common_options
@click.pass_context
def fetch(
    ctx: click.Context,
    names: tuple[str, ...],
    is_data: bool,
    output_dir: str | None,
    dry_run: bool,
    offline: bool,
    as_json: bool,
) -> None:
    """Download checkpoints or data sets from the Hugging Face hub.

    NAME is owner/name, owner/name/folder, or the name of a Med-R1 checkpoint such as VQA_CT. That
    one means yuxianglai117/Med-R1/Qwen_2.5_3B_nothink/VQA_CT, and is saved in
    checkpoints/Med-R1/Qwen_2.5_3B_nothink/VQA_CT. With --data it may also be a benchmark of
    `medr1 data prepare --benchmark`, such as vqa-rad.

    Weights are downloaded in the safetensors format only. After an interruption, give the same
    command again: complete files are kept. For private or gated repositories, set HF_TOKEN.

    \b
    Examples:
      medr1 fetch VQA_CT VQA_MRI
      medr1 fetch Qwen/Qwen2.5-VL-3B-Instruct
      medr1 fetch foreverbeliever/OmniMedVQA --data
      medr1 fetch vqa-rad --data --dry-run
    """
    from medr1.errors import InputError
    from medr1.files import to_json

    if offline:
        raise InputError("fetch needs the network. Remove --offline, or unset MEDR1_OFFLINE.")
    if sys.stderr.isatty() and not ctx.meta.get("medr1.quiet"):
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "0"
    downloads = []
    for name in names:
        download = fetch_from_hub(name, output_dir=output_dir, is_data=is_data, dry_run=dry_run)
        downloads.append(
            {
                "name": name,
                "fetched": download.is_fetched,
                "repo": download.repo,
                "revision": download.revision,
                "folder": str(download.folder),
                "n_files": download.n_files,
                "bytes": download.num_bytes,
                "bytes_missing": download.num_bytes_missing,
            }
        )
        if not as_json:
            echo(download.folder)
    if as_json:
        echo(to_json({"fetched": downloads}), nl=False)
