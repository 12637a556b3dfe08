"""Select questions by the answers of a model: of medium difficulty, or with right reasoning."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from medr1.errors import InputError, ItemError
from medr1.files import needs_overwrite, set_aside, to_json, write_atomic
from medr1.terminal import counted
from medr1.workflows.arguments import (
    keep_apart,
    optional_path,
    require_choice,
    require_share,
    require_writable,
)
from medr1.workflows.convert import FieldNames, WrittenItems, log_written, write_questions

if TYPE_CHECKING:
    from medr1.data.readers import Questions
    from medr1.data.selection import Selection
    from medr1.records import Prediction

logger = logging.getLogger("medr1")

ReasoningPrompt = Literal["think", "think-after"]
"""The format of a completion: the reasoning before or after the answer."""


@dataclass(frozen=True)
class FilteredItems:
    """What `filter_data` wrote, and why the other items were left out."""

    written: WrittenItems | None
    """The items; None if only their pass rates were written."""
    too_easy: int
    """Number of items above max_pass."""
    too_hard: int
    """Number of items below min_pass."""
    unknown: int
    """Number of items without results."""
    pass_rates: Path | None = None
    """The file with the pass rate of each item; None if none was asked for."""


@dataclass(frozen=True)
class DistilledItems:
    """What `distill_data` wrote."""

    written: WrittenItems
    without_rationale: int
    """Number of items without reasoning that led to a right answer."""


def filter_data(
    *,
    source: str | Path,
    results: Sequence[str | Path],
    output_file: str | Path | None = None,
    pass_rates: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    min_pass: float = 0.1,
    max_pass: float = 0.9,
    field_names: FieldNames = "medr1",
    protocol: str = "default",
    overwrite: bool = False,
) -> FilteredItems:
    """Keep the questions that are neither too easy nor too hard, the easiest first.

    Args:
        source: File of questions, or folder with train.json.
        results: Files with results of a model for these questions.
        output_file: File to write; its extension decides the format. None: only the pass rates are
            written.
        pass_rates: JSON file to write with the pass rate of each question, also of those that are
            too easy or too hard; None: no such file.
        columns: Key of medr1 -> column of the results: {"prediction": "reply"}.
        min_pass: Lowest pass rate that is kept, from 0 to 1.
        max_pass: Highest pass rate that is kept, from 0 to 1.
        field_names: Field names of an item: medr1, published, guide or omnimedvqa.
        protocol: Rules that decide whether an answer is right.
        overwrite: Whether an existing output is replaced, and kept as NAME.bak.

    Raises:
        InputError: A file or an argument cannot be used, or no item is kept.
        OutputError: The output cannot be written.
    """
    from medr1.data.selection import select_by_pass_rate

    require_choice("field_names", field_names, get_args(FieldNames))
    require_share(min_pass=min_pass, max_pass=max_pass)
    if min_pass > max_pass:
        raise InputError("--min-pass is above --max-pass, so no item would be kept.")
    output, rates_file = optional_path(output_file), optional_path(pass_rates)
    _require_outputs(output, rates_file, [source, *results], overwrite)
    questions, runs = _read(source, results, columns)
    selection = select_by_pass_rate(
        questions.samples, runs, min_pass=min_pass, max_pass=max_pass, protocol=protocol
    )
    numbers = selection.too_easy, selection.too_hard, selection.unknown
    if output is not None:
        logger.info(
            "%d kept, %d too easy, %d too hard, %d without results",
            len(selection.selected),
            *numbers,
        )
    if output is not None and not selection.selected:
        raise InputError(
            f"no item of {source} has a pass rate from {min_pass:g} to {max_pass:g} "
            f"({selection.too_easy} too easy, {selection.too_hard} too hard, {selection.unknown} "
            "without results). Change --min-pass and --max-pass, or check that --results are "
            "about these items."
        )
    if rates_file is not None:
        _write_pass_rates(questions, selection, protocol, rates_file)
    if output is None:
        return FilteredItems(None, *numbers, rates_file)
    selected = replace(
        questions,
        samples=[questions.samples[index] for index in selection.selected],
        failures={
            position: questions.failures[index]
            for position, index in enumerate(selection.selected)
            if index in questions.failures
        },
    )
    written = write_questions(selected, output, field_names, overwrite)
    return FilteredItems(written, *numbers, rates_file)


def _require_outputs(
    output: Path | None, pass_rates: Path | None, inputs: Sequence[str | Path], overwrite: bool
) -> None:
    """Check the paths that `filter_data` writes, before anything is read."""
    if output is None and pass_rates is None:
        raise InputError("nothing would be written. Give --output-file, --pass-rates, or both.")
    if output is not None:
        _require_output(output, inputs, overwrite)
    if pass_rates is None:
        return
    if pass_rates.suffix != ".json":
        raise InputError(f"{pass_rates}: --pass-rates writes a file that ends in .json.")
    require_writable(pass_rates)
    keep_apart(pass_rates, [*inputs, output], overwrite)
    if output is not None and output.resolve() == pass_rates.resolve():
        raise InputError("--output-file and --pass-rates are the same file. Give two names.")
    if os.path.lexists(pass_rates) and not overwrite:
        raise needs_overwrite(pass_rates, "exists")


def _write_pass_rates(
    questions: Questions, selection: Selection, protocol: str, path: Path
) -> None:
    """Write the pass rate of each question; InputError if there are none."""
    from medr1.data.pass_rates import pass_rates_of

    document = pass_rates_of(questions, selection, protocol)
    if not document.questions:
        raise InputError(
            f"none of the {counted(len(questions.samples), 'item')} of {questions.name} has a "
            "completion, so there are no pass rates. Check that --results are about these items."
        )
    if os.path.lexists(path):
        set_aside(path)
    write_atomic(path, to_json(document))
    logger.info("pass rates of %s written", counted(len(document.questions), "item"))


def distill_data(
    *,
    source: str | Path,
    results: Sequence[str | Path],
    output_file: str | Path,
    columns: Mapping[str, str] | None = None,
    prompt: ReasoningPrompt = "think",
    protocol: str = "default",
    overwrite: bool = False,
) -> DistilledItems:
    """Make data for supervised fine-tuning from right completions with reasoning.

    Args:
        source: File of questions, or folder with train.json.
        results: Files with results of a model for these questions.
        output_file: File to write; its extension decides the format.
        columns: Key of medr1 -> column of the results: {"prediction": "reply"}.
        prompt: Format that a completion must have: think or think-after.
        protocol: Rules that decide whether an answer is right.
        overwrite: Whether an existing output is replaced, and kept as NAME.bak.

    Raises:
        InputError: A file or an argument cannot be used, or no completion is right.
        OutputError: The output cannot be written.
    """
    from medr1.data.selection import right_rationales
    from medr1.data.spellings import history_field, sample_to_item
    from medr1.data.writers import prepare_output, write_rows
    from medr1.records import Failure

    require_choice("prompt", prompt, get_args(ReasoningPrompt))
    output = Path(output_file)
    _require_output(output, [source, *results], overwrite)
    questions, runs = _read(source, results, columns)
    rationales = right_rationales(questions.samples, runs, prompt=prompt, protocol=protocol)
    rows: list[dict[str, object]] = []
    errors: list[Failure] = []
    for index, (sample, rationale) in enumerate(zip(questions.samples, rationales, strict=True)):
        if rationale is not None:
            try:
                item = sample_to_item(replace(sample, history=()), "published")
            except ItemError as error:
                where = f"{questions.name}, item {index + 1}"
                errors.append(Failure(error.code, f"{where}: {error}"))
                continue
            solution = item.pop("solution")
            thinking = f"<think> {rationale.reasoning} </think>"
            item |= {"thinking": thinking, "solution": solution}
            rows.append({**item, **history_field(sample)})
    without = sum(rationale is None for rationale in rationales)
    logger.info("%d of %d items have no reasoning with a right answer", without, len(rationales))
    if not rows:
        raise InputError(
            f"no item of {source} has a completion in the {prompt} format whose answer is right. "
            "Sample more with medr1 infer --num-samples and --prompt think, or check that "
            "--results are about these items."
        )
    prepare_output(output, overwrite=overwrite)
    write_rows(rows, output)
    written = WrittenItems(output, len(rows), errors)
    log_written(written)
    return DistilledItems(written, without)


def _require_output(output: Path, inputs: Sequence[str | Path], overwrite: bool) -> None:
    """Check the path of a file of items, before anything is read."""
    from medr1.data.writers import require_format

    require_writable(output)
    keep_apart(output, inputs, overwrite)
    require_format(output)


def _read(
    source: str | Path, results: Sequence[str | Path], columns: Mapping[str, str] | None
) -> tuple[Questions, list[list[Prediction]]]:
    """The questions and the predictions of each results file."""
    from medr1.data.readers import read_questions, split_file
    from medr1.evaluate.reading.results import read_results

    questions = read_questions(split_file(source, "train"))
    return questions, [
        read_results(Path(name), columns=columns, questions=questions).predictions
        for name in results
    ]
