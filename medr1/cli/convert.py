"""`medr1 data convert`: questions from one file format and set of field names to another."""

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
from medr1.terminal import counted, echo

if TYPE_CHECKING:
    from medr1.data.readers import Questions
    from medr1.records import Failure

logger = logging.getLogger("medr1")

FIELD_NAME_SETS = ("medr1", "published", "guide", "omnimedvqa")
"""The sets of field names that an item can be written with; data/README.md lists them."""

spelling_option = option(
    "--to",
    "spelling",
    type=click.Choice(FIELD_NAME_SETS),
    default="medr1",
    help="Field names of an item. medr1: all fields are kept. published: as in Med-R1's splits "
    "(problem, solution). guide: as in the evaluation guide (question, ground_truth, and "
    "question_type, which is the answer type). omnimedvqa: as in OmniMedVQA (option_A, gt_answer).",
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
    """Convert questions from file IN to file OUT.

    The file extension decides the format: .json, .jsonl, .csv, .parquet or, without an extension,
    a folder with a Hugging Face data set. Fields that --to does not have are dropped, with a
    warning. OUT is read again and compared; an item that would change is left out and named.

    \b
    Examples:
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
    """Write the questions, and print what was written, dropped and left out.

    Args:
        questions: The questions to write.
        output: The file to write; its extension decides the format.
        options: The command's options: spelling, overwrite, as_json, max_errors.
        figures: More numbers for the document that --json prints.

    Raises:
        ItemErrorsOverBudget: More items than --max-errors could not be written.
    """
    from medr1.data.convert import convert as run
    from medr1.data.convert import dropped_warning, moved_images_warning

    conversion = run(questions, output, options["spelling"], overwrite=options["overwrite"])
    for sentence in (
        dropped_warning(conversion.dropped, options["spelling"], output),
        moved_images_warning(questions, output, questions.samples),
    ):
        if sentence:
            logger.warning("%s", sentence)
    document = {"items": conversion.n, "dropped": dict(conversion.dropped), **(figures or {})}
    finish(output, document, conversion.errors, options)


def finish(
    output: Path,
    document: Mapping[str, Any],
    errors: Mapping[int, Failure],
    options: Mapping[str, Any],
) -> None:
    """Print the output's path, or the document with --json, and name the items that are left out.

    Args:
        output: The file that was written.
        document: What --json prints, without the errors; `items` is the number of items written.
        errors: Index of an item that is left out -> why.
        options: The command's options: as_json, max_errors.

    Raises:
        ItemErrorsOverBudget: More items are left out than --max-errors accepts.
    """
    from medr1.errors import ItemErrorsOverBudget
    from medr1.files import to_json

    left_out = [vars(errors[index]) for index in sorted(errors)]
    if options["as_json"]:
        echo(to_json({"output": str(output), **document, "errors": left_out}), nl=False)
    else:
        echo(output)
    logger.info("%s written", counted(document["items"], "item"))
    for error in left_out[:10]:
        logger.warning("left out: %s", error["message"])
    if len(left_out) > options["max_errors"]:
        raise ItemErrorsOverBudget(
            f"{len(left_out)} of {document['items'] + len(left_out)} items were left out of "
            f"{output}; --json lists them. The first: {left_out[0]['message']}"
        )
