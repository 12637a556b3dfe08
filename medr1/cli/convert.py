"""`medr1 data convert`: questions from any format and spelling to any other."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medr1.cli.common import (
    Medr1Command,
    columns_of,
    common_options,
    json_option,
    keep_apart,
    map_option,
    max_errors_option,
    option,
    overwrite_option,
    require_writable,
)
from medr1.terminal import echo

if TYPE_CHECKING:
    from medr1.data.readers import Questions
    from medr1.records import Failure

logger = logging.getLogger("medr1")

SPELLINGS = ("medr1", "published", "guide", "omnimedvqa")

spelling_option = option(
    "--to",
    "spelling",
    type=click.Choice(SPELLINGS),
    default="medr1",
    help="Format of an item; only medr1 keeps all fields.",
)


@click.command(cls=Medr1Command)
@click.argument("source", metavar="IN")
@click.argument("output", metavar="OUT")
@spelling_option
@map_option("IN", "ground_truth=label")
@max_errors_option
@overwrite_option
@json_option
@common_options
def convert(**options: Any) -> None:
    """Write the questions of IN to OUT, in the format of its ending.

    Both are JSON, JSONL, CSV, Parquet or, without an ending, a Hugging Face data set on disk. An
    item that would be read otherwise from OUT is left out and named; what --to has no place for is
    said.

    \b
      medr1 data convert train.json train.parquet
      medr1 data convert my.csv my.json --to published --map ground_truth=label
    """
    from medr1.data.readers import read_questions

    output = Path(options["output"])
    require_writable(output)
    keep_apart(output, [options["source"]], options["overwrite"])
    questions = read_questions(options["source"], columns=columns_of(options["mapping"]))
    write_converted(questions, output, options)


def write_converted(
    questions: Questions,
    output: Path,
    options: Mapping[str, Any],
    figures: Mapping[str, int] | None = None,
) -> None:
    """Write the questions, say what became of them, and end with 3 where too many are left out.

    `figures` go into the document that --json prints.
    """
    from medr1.data.convert import convert as run
    from medr1.data.convert import moved_images, said_of

    done = run(questions, output, options["spelling"], overwrite=options["overwrite"])
    for sentence in (
        said_of(done.dropped, options["spelling"], output),
        moved_images(questions, output, questions.samples),
    ):
        if sentence:
            logger.warning("%s", sentence)
    document = {"items": done.n, "dropped": dict(done.dropped), **(figures or {})}
    finish(output, document, done.errors, options)


def finish(
    output: Path,
    document: Mapping[str, Any],
    errors: Mapping[int, Failure],
    options: Mapping[str, Any],
) -> None:
    """Say where the result is and which items are left out; ItemErrorsOverBudget if too many."""
    from medr1.errors import ItemErrorsOverBudget
    from medr1.files import to_json

    left_out = [vars(errors[index]) for index in sorted(errors)]
    if options["as_json"]:
        echo(to_json({"output": str(output), **document, "errors": left_out}), nl=False)
    else:
        echo(output)
    logger.info("%s items written", f"{document['items']:,}")
    for error in left_out[:10]:
        logger.warning("left out: %s", error["message"])
    if len(left_out) > options["max_errors"]:
        raise ItemErrorsOverBudget(
            f"{len(left_out)} of {document['items'] + len(left_out)} items were left out of "
            f"{output}; --json lists them. The first: {left_out[0]['message']}"
        )
