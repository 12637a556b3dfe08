"""`medr1 fetch`: downloads checkpoints and data sets from the Hugging Face hub."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import click

from medr1.cli.common import Medr1Command, common_options, json_option, option
from medr1.terminal import echo

logger = logging.getLogger("medr1")


@click.command(
    cls=Medr1Command, short_help="Download checkpoints or data sets from the Hugging Face hub."
)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@option(
    "--data", "is_data", is_flag=True, envvar=None, help="Download a data set, not a checkpoint."
)
@option(
    "--output-dir",
    metavar="DIR",
    help="Folder to download to. [default: checkpoints, or data with --data]",
)
@option("--dry-run", is_flag=True, help="Print the size and the folder of each download, and stop.")
@option("--offline", is_flag=True, help="Refuse to run, since fetch needs the network.")
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
    checkpoints/Med-R1/Qwen_2.5_3B_nothink/VQA_CT.

    Weights are downloaded in the safetensors format only. After an interruption, give the same
    command again: complete files are kept. For private or gated repositories, set HF_TOKEN.

    \b
    Examples:
      medr1 fetch VQA_CT VQA_MRI
      medr1 fetch Qwen/Qwen2.5-VL-3B-Instruct
      medr1 fetch foreverbeliever/OmniMedVQA --data
    """
    from medr1.checkpoints import hub
    from medr1.errors import InputError
    from medr1.files import in_gb, to_json

    if offline:
        raise InputError("fetch needs the network. Remove --offline, or unset MEDR1_OFFLINE.")
    if sys.stderr.isatty() and not ctx.meta.get("medr1.quiet"):
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "0"
    folder = Path(output_dir or ("data" if is_data else "checkpoints"))
    downloads = []
    for name in names:
        plan = hub.plan_fetch(name, folder, is_data=is_data)
        free = hub.require_space(plan)
        logger.info(
            "%s: %d files, %s, %s of it to download; %s free",
            f"{plan.repo}/{plan.folder}".rstrip("/"),
            len(plan.files),
            in_gb(plan.size),
            in_gb(plan.missing),
            in_gb(free),
        )
        document = hub.plan_summary(plan)
        if not dry_run:
            hub.fetch(plan)
        downloads.append({"name": name, "fetched": not dry_run, **document})
        if not as_json:
            echo(document["folder"])
    if as_json:
        echo(to_json({"fetched": downloads}), nl=False)
