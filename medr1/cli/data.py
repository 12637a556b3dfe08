"""`medr1 data`: the group of commands about questions and data sets."""

from __future__ import annotations

import click

from medr1.cli.audit import audit
from medr1.cli.convert import convert
from medr1.cli.prepare import prepare
from medr1.cli.selection import distill, filter_items
from medr1.cli.split import split
from medr1.terminal import echo


@click.group(invoke_without_command=True)
@click.pass_context
def data(ctx: click.Context) -> None:
    """Prepare, convert, select, split and check questions.

    `medr1 data COMMAND --help` explains a command.

    \b
    Examples:
      medr1 data prepare OmniMedVQA.zip --output-dir data/omni --by modality
      medr1 data convert data/omni/CT/train.json train.parquet
      medr1 data filter train.json --results results.json --output-file new.json
      medr1 data split results.json --by modality --output-dir parts
      medr1 data audit data/omni/CT/test.json --against data/omni/CT/train.json
    """
    if ctx.invoked_subcommand is None:
        echo(ctx.get_help())


for command in (prepare, convert, filter_items, distill, split, audit):
    data.add_command(command)
