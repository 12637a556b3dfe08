"""`medr1 board`: cards of the same questions as tables, and which models cannot be told apart."""

from __future__ import annotations

from pathlib import Path

import click

from medr1.cli.common import (
    Medr1Command,
    argument,
    call,
    common_options,
    json_option,
    option,
    overwrite_option,
)
from medr1.terminal import echo
from medr1.workflows.board import run_board


@click.command(
    cls=Medr1Command,
    workflow=run_board,
    short_help="Rank models by their cards, with tests of significance.",
)
@argument("folder", metavar="DIR")
@option(
    "--output-dir",
    group="Output",
    metavar="DIR",
    help="Folder to write: board.html, whose tables can be sorted, and board.json. [default: no "
    "files]",
)
@overwrite_option
@json_option
@common_options
def board(as_json: bool, **options: object) -> None:
    """Rank models by their cards: accuracy with intervals, and which cannot be told apart.

    DIR has cards of `medr1 eval --card`, also in folders below it. Cards are in one table if they
    have the same questions and protocol. Models with a common letter cannot be told apart: their
    difference is not significant on the same items, with Holm's correction over all pairs. Where
    cards have no verdicts on items, they are tested as independent samples, and the table says so.

    \b
    Examples:
      medr1 board cards
      medr1 board cards --output-dir output/board
    """
    from medr1.files import to_json
    from medr1.report.terminal.board import board_table

    document = call(run_board, options)
    echo(to_json(document) if as_json else board_table(document), nl=False)
    if options["output_dir"] and not as_json:
        echo(f"Board: {Path(str(options['output_dir'])) / 'board.html'}")
