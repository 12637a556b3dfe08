"""`medr1 data convert`: questions from one file format and set of field names to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import click

from medr1.cli.common import (
    Medr1Command,
    argument,
    call,
    columns_of,
    common_options,
    json_option,
    map_option,
    max_errors_option,
    option,
    overwrite_option,
)
from medr1.terminal import echo
from medr1.workflows.convert import FieldNames, TaskTool, WrittenItems, convert_data

FIELD_NAMES_HELP = (
    "Field names of an item. medr1: all fields are kept. published: as in Med-R1's splits "
    "(problem, solution). guide: as in the evaluation guide (question, ground_truth, and "
    "question_type, which is the answer type). omnimedvqa: as in OmniMedVQA (option_A, gt_answer)."
)
field_names_option = option(
    "--to",
    "field_names",
    group="Output",
    type=click.Choice(get_args(FieldNames)),
    help=FIELD_NAMES_HELP,
)


@click.command(cls=Medr1Command, workflow=convert_data)
@argument("source", metavar="IN")
@argument("output", metavar="OUT")
@option(
    "--to",
    "field_names",
    group="Output",
    type=click.Choice((*get_args(FieldNames), *get_args(TaskTool))),
    help=f"{FIELD_NAMES_HELP} Or the questions as a task of another tool, with its images: "
    "lmms-eval (OUT is a folder), vlmevalkit (.tsv), inspect (.jsonl).",
)
@option(
    "--prompt",
    group="Output",
    metavar="NAME|FILE",
    help="Prompt template of the task, with --to lmms-eval or inspect: a name or a text file, as "
    "for `medr1 infer`. [default: nothink]",
)
@map_option("IN", "ground_truth=label")
@max_errors_option
@overwrite_option
@json_option
@common_options
def convert(mapping: tuple[str, ...], max_errors: int, as_json: bool, **options: object) -> None:
    """Convert questions from file IN to file OUT.

    The file extension decides the format: .json, .jsonl, .csv, .parquet or, without an extension,
    a folder with a Hugging Face data set. Fields that --to does not have are dropped, with a
    warning. OUT is read again and compared; an item that would change is left out and named.

    \b
    Examples:
      medr1 data convert train.json train.parquet
      medr1 data convert my.csv my.json --to published --map ground_truth=label
      medr1 data convert test.json lmms_task --to lmms-eval
    """
    written = call(convert_data, options, columns=columns_of(mapping))
    show_written(written, {"dropped": dict(written.dropped)}, max_errors, as_json)


def show_written(
    written: WrittenItems, figures: Mapping[str, object], max_errors: int, as_json: bool
) -> None:
    """Print the output's path or, with --json, the numbers of items.

    Args:
        written: What was written and what was left out.
        figures: More numbers for the document that --json prints.
        max_errors: The value of --max-errors.
        as_json: Whether --json was given.

    Raises:
        ItemErrorsOverBudget: More items are left out than --max-errors accepts.
    """
    from medr1.errors import ItemErrorsOverBudget
    from medr1.files import to_json

    if as_json:
        errors = [vars(error) for error in written.errors]
        document = {"output": str(written.output), "items": written.n, **figures, "errors": errors}
        echo(to_json(document), nl=False)
    else:
        echo(written.output)
    n_errors = len(written.errors)
    if n_errors > max_errors:
        raise ItemErrorsOverBudget(
            f"{n_errors} of {written.n + n_errors} items were left out of {written.output}; "
            f"--json lists them. The first: {written.errors[0].message}"
        )
