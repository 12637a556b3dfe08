"""Write questions to a file with other field names or in another format."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

from medr1.errors import InputError
from medr1.terminal import counted
from medr1.workflows.arguments import keep_apart, require_choice, require_writable

if TYPE_CHECKING:
    from medr1.data.readers import Questions
    from medr1.records import Failure

logger = logging.getLogger("medr1")

FieldNames = Literal["medr1", "published", "guide", "omnimedvqa"]
"""The sets of field names that an item can be written with; data/README.md lists them."""
TaskTool = Literal["lmms-eval", "vlmevalkit", "inspect"]
"""The tools that questions are written for as a task; bridges/README.md explains them."""


@dataclass(frozen=True)
class WrittenItems:
    """What was written to a file of questions, and what was left out."""

    output: Path
    """The file, or the folder of a Hugging Face data set."""
    n: int
    """Number of items written."""
    errors: Sequence[Failure]
    """Why an item was left out, in the order of the input."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Field that could not be stored -> number of items that have it."""


def convert_data(
    *,
    source: str | Path,
    output: str | Path,
    field_names: FieldNames | TaskTool = "medr1",
    prompt: str | None = None,
    columns: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> WrittenItems:
    """Convert a file of questions. An item that would change is left out and named.

    Args:
        source: File of questions, or a folder with a Hugging Face data set.
        output: File to write: .json, .jsonl, .csv or .parquet; without an extension, a folder with
            a Hugging Face data set.
        field_names: Field names of an item: medr1, published, guide or omnimedvqa. Or a tool whose
            task is written: lmms-eval (a folder), vlmevalkit (.tsv) or inspect (.jsonl).
        prompt: Prompt template of the task, as for `medr1 infer`; only with lmms-eval and inspect.
        columns: Key of medr1 -> key or column of the source: {"ground_truth": "label"}.
        overwrite: Whether an existing output is replaced, and kept as NAME.bak.

    Raises:
        InputError: The source cannot be read, the output exists, or no item can be written.
        OutputError: The output cannot be written.
    """
    from medr1.data.readers import read_questions
    from medr1.data.scans.options import ScanOptions

    require_choice("field_names", field_names, (*get_args(FieldNames), *get_args(TaskTool)))
    if prompt is not None and field_names not in ("lmms-eval", "inspect"):
        raise InputError("--prompt is for --to lmms-eval or inspect; the other files hold none.")
    output = Path(output)
    require_writable(output)
    keep_apart(output, [source], overwrite)
    if field_names in get_args(TaskTool):
        questions = read_questions(source, columns=columns, scans=ScanOptions())
        return _write_task(questions, output, field_names, prompt or "nothink", overwrite)
    questions = read_questions(source, columns=columns, private_names=False)
    return write_questions(questions, output, cast("FieldNames", field_names), overwrite)


def _write_task(
    questions: Questions, output: Path, tool: str, prompt: str, overwrite: bool
) -> WrittenItems:
    """Write the questions as a task of another tool, and warn of those left out."""
    from medr1.bridges.task_files import write_task

    n, errors = write_task(questions, output, tool, prompt, overwrite=overwrite)
    result = WrittenItems(output, n, errors)
    log_written(result)
    return result


def write_questions(
    questions: Questions, output: Path, field_names: FieldNames, overwrite: bool
) -> WrittenItems:
    """Write the questions, and warn of what is dropped and left out.

    Args:
        questions: The questions to write.
        output: The file to write; its extension decides the format.
        field_names: Field names of an item.
        overwrite: Whether an existing output is replaced, and kept as NAME.bak.

    Raises:
        InputError: The output exists, or no item can be written.
        OutputError: The output cannot be written.
    """
    from medr1.data.convert import convert, dropped_warning, moved_images_warning

    conversion = convert(questions, output, field_names, overwrite=overwrite)
    for sentence in (
        dropped_warning(conversion.dropped, field_names, output),
        moved_images_warning(questions, output, questions.samples),
    ):
        if sentence:
            logger.warning("%s", sentence)
    errors = [conversion.errors[index] for index in sorted(conversion.errors)]
    result = WrittenItems(output, conversion.n, errors, conversion.dropped)
    log_written(result)
    return result


def log_written(result: WrittenItems) -> None:
    """Log the number of items written, and warn of those left out."""
    logger.info("%s written", counted(result.n, "item"))
    for error in result.errors[:10]:
        logger.warning("left out: %s", error.message)
