"""`medr1 data`: the commands about data sets."""

from __future__ import annotations

import click

from medr1.cli.prepare import prepare


@click.group(invoke_without_command=True)
@click.pass_context
def data(ctx: click.Context) -> None:
    """Prepare, convert, choose and judge questions."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


for command in (prepare,):
    data.add_command(command)
