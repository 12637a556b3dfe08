"""`medr1 fetch`: checkpoints and data sets from the Hugging Face hub."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import click

from medr1.cli.common import Medr1Command, common_options, json_option, offline_option, option
from medr1.terminal import echo

logger = logging.getLogger("medr1")


@click.command(
    cls=Medr1Command, short_help="Download checkpoints or data sets from the Hugging Face hub."
)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@option("--data", "is_data", is_flag=True, envvar=None, help="NAME is a data set, not a model.")
@option(
    "--output-dir",
    metavar="DIR",
    help="Folder to download into. [default: checkpoints, or data with --data]",
)
@option("--dry-run", is_flag=True, help="Print what would be downloaded, and stop.")
@offline_option
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
    """Download checkpoints, or data sets, from the Hugging Face hub.

    NAME is owner/name, owner/name/folder, or one of Med-R1's checkpoints as the authors call it.
    VQA_CT stands for yuxianglai117/Med-R1/Qwen_2.5_3B_nothink/VQA_CT and comes to lie in
    checkpoints/Med-R1/Qwen_2.5_3B_nothink/VQA_CT. Of weights only safetensors are fetched. After
    an interruption the same command keeps the files that arrived whole. HF_TOKEN is read where a
    repository is private or gated.

    \b
      medr1 fetch VQA_CT VQA_MRI
      medr1 fetch Qwen/Qwen2.5-VL-3B-Instruct
      medr1 fetch foreverbeliever/OmniMedVQA --data
    """
    from medr1 import hub
    from medr1.errors import InputError
    from medr1.files import in_gb, to_json

    if offline:
        raise InputError("fetch needs the network, which --offline forbids. Leave one of them out.")
    if sys.stderr.isatty() and not ctx.meta.get("medr1.quiet"):
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "0"
    folder = Path(output_dir or ("data" if is_data else "checkpoints"))
    done = []
    for name in names:
        wanted = hub.plan_fetch(name, folder, is_data=is_data)
        free = hub.require_space(wanted)
        logger.info(
            "%s: %d files, %s, %s of it not here yet; %s free",
            f"{wanted.repo}/{wanted.folder}".rstrip("/"),
            len(wanted.files),
            in_gb(wanted.size),
            in_gb(wanted.missing),
            in_gb(free),
        )
        document = hub.plan_summary(wanted)
        if not dry_run:
            hub.fetch(wanted)
        done.append({"name": name, "fetched": not dry_run, **document})
        if not as_json:
            echo(document["folder"])
    if as_json:
        echo(to_json({"fetched": done}), nl=False)
