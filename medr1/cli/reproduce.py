"""`medr1 reproduce`: runs a card again, and says what differs."""

from __future__ import annotations

import click

from medr1.cli.common import (
    Medr1Command,
    allow_template_option,
    argument,
    call,
    common_options,
    json_option,
    model_path_option,
    offline_option,
    option,
    overwrite_option,
)
from medr1.errors import Medr1Error
from medr1.terminal import echo
from medr1.workflows.reproduce import run_reproduction


@click.command(
    cls=Medr1Command,
    workflow=run_reproduction,
    short_help="Run a card again, and say what differs.",
)
@argument("card", metavar="FILE")
@option(
    "--data",
    group="Input",
    metavar="PATH",
    help="File with the questions, or folder with test.json. [default: where the card says]",
)
@model_path_option()
@option(
    "--image-root",
    group="Input",
    metavar="DIR",
    help="Folder with the images. [default: where the card says, else the folder of the questions]",
)
@option(
    "--base-url",
    group="Server",
    metavar="URL",
    help="Address of the server, for the card of a model on a server. [default: that of the card, "
    "if it is on this machine]",
)
@option(
    "--output-dir",
    group="Output",
    metavar="DIR",
    help="Folder to write: results.json, card.json, card.md and reproduction.json. [default: "
    "NAME.reproduced beside the card]",
)
@allow_template_option
@offline_option
@overwrite_option
@json_option
@common_options
def reproduce(as_json: bool, **options: object) -> None:
    """Run a card again: answer its questions, evaluate the answers, and compare both with the card.

    FILE is a card of `medr1 eval --card`. Questions, model, prompt, decoding and protocol are those
    of the card. What is printed: the accuracy on the card and now, how many answers differ, and
    whether data, images, weights, prompt or versions changed. The exit code is 0 if the accuracy,
    all answers, and the data, weights and prompt are the same, and 1 if not. An interrupted run
    resumes.

    \b
    Examples:
      medr1 reproduce cards/results.json
      medr1 reproduce cards/results.json --data questions --model-path models/own
    """
    from medr1.files import to_json
    from medr1.report.terminal.reproduction import failure, reproduction_table

    result = call(run_reproduction, options)
    if result is None:  # under torchrun, only the first process reports
        return
    document = result.document
    echo(to_json(document) if as_json else reproduction_table(document), nl=False)
    if not as_json:
        echo(f"Output: {result.output_dir}")
    if not document.equal:
        raise Medr1Error(f"{document.card} was not reproduced: {failure(document)}.")
