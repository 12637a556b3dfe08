"""`medr1 data filter` and `medr1 data distill`: questions selected by the answers of a model."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medr1.cli.common import (
    Medr1Command,
    common_options,
    json_option,
    keep_apart,
    max_errors_option,
    option,
    overwrite_option,
    protocol_option,
    require_writable,
)
from medr1.cli.convert import finish, spelling_option, write_converted
from medr1.errors import InputError

if TYPE_CHECKING:
    from medr1.data.readers import Questions
    from medr1.records import Prediction

logger = logging.getLogger("medr1")

results_option = option(
    "--results",
    multiple=True,
    required=True,
    metavar="FILE",
    help="File with results of `medr1 infer` for the questions of IN. Repeatable.",
)
output_file_option = option(
    "--output-file",
    metavar="FILE",
    required=True,
    help="File to write: .json, .jsonl, .csv or .parquet; without an extension, a folder with a "
    "Hugging Face data set.",
)


@click.command(
    "filter", cls=Medr1Command, short_help="Keep questions of medium difficulty for a model."
)
@click.argument("source", metavar="IN")
@results_option
@output_file_option
@option(
    "--min-pass",
    type=click.FloatRange(0, 1),
    default=0.1,
    help="Lowest pass rate that is kept; items below it are too hard.",
)
@option(
    "--max-pass",
    type=click.FloatRange(0, 1),
    default=0.9,
    help="Highest pass rate that is kept; items above it are too easy.",
)
@spelling_option
@protocol_option
@max_errors_option
@overwrite_option
@json_option
@common_options
def filter_items(**options: Any) -> None:
    """Keep the questions that are neither too easy nor too hard, the easiest first.

    The pass rate of a question is the share of right answers among its completions in all
    --results: those of `medr1 infer --num-samples N`, or else one completion per file. IN is a
    file, or a folder with train.json.

    \b
    Examples:
      medr1 infer --model-path M --batch-file train.json --num-samples 8 --output-file r.json
      medr1 data filter train.json --results r.json --output-file medium.json --to published
    """
    from medr1.data.selection import select_by_pass_rate

    if options["min_pass"] > options["max_pass"]:
        raise click.UsageError("--min-pass is above --max-pass, so no item would be kept.")
    output = Path(options["output_file"])
    questions, runs = _read(options, output)
    selection = select_by_pass_rate(
        questions.samples,
        runs,
        min_pass=options["min_pass"],
        max_pass=options["max_pass"],
        protocol=options["protocol"],
    )
    counts = {name: getattr(selection, name) for name in ("too_easy", "too_hard", "unknown")}
    logger.info(
        "%d kept, %d too easy, %d too hard, %d without results",
        len(selection.selected),
        *counts.values(),
    )
    if not selection.selected:
        raise InputError(
            f"no item of {options['source']} has a pass rate from {options['min_pass']:g} to "
            f"{options['max_pass']:g} ({counts['too_easy']} too easy, {counts['too_hard']} too "
            f"hard, {counts['unknown']} without results). Change --min-pass and --max-pass, or "
            "check that --results are about these items."
        )
    selected = replace(
        questions,
        samples=[questions.samples[index] for index in selection.selected],
        failures={
            position: questions.failures[index]
            for position, index in enumerate(selection.selected)
            if index in questions.failures
        },
    )
    write_converted(selected, output, options, counts)


@click.command(
    cls=Medr1Command, short_help="Make data for SFT from right completions with reasoning."
)
@click.argument("source", metavar="IN")
@results_option
@output_file_option
@option(
    "--prompt",
    type=click.Choice(["think", "think-after"]),
    default="think",
    help="Format that a completion must have: the reasoning before (think) or after the answer.",
)
@protocol_option
@max_errors_option
@overwrite_option
@json_option
@common_options
def distill(**options: Any) -> None:
    """Make data for supervised fine-tuning (SFT) from right completions with reasoning.

    For each question, the reasoning is taken from the shortest completion in --results that has the
    format, contains reasoning and is right. Questions without such a completion are left out. IN is
    a file, or a folder with train.json.

    An item of the output has image, problem, thinking (<think> ... </think>) and solution.
    `medr1 train --method sft` trains the thinking before or after the solution, as its prompt asks.

    \b
    Examples:
      medr1 data distill train.json --results r.json --output-file sft.json
    """
    from medr1.data.selection import right_rationales
    from medr1.data.spellings import sample_to_item
    from medr1.data.writers import prepare_output, write_rows
    from medr1.errors import ItemError
    from medr1.records import Failure

    output = Path(options["output_file"])
    questions, runs = _read(options, output)
    rationales = right_rationales(
        questions.samples, runs, prompt=options["prompt"], protocol=options["protocol"]
    )
    rows: list[dict[str, Any]] = []
    errors: dict[int, Failure] = {}
    for index, (sample, rationale) in enumerate(zip(questions.samples, rationales, strict=True)):
        if rationale is not None:
            try:
                item = sample_to_item(sample, "published")
            except ItemError as error:
                where = f"{questions.name}, item {index + 1}"
                errors[index] = Failure(error.code, f"{where}: {error}")
                continue
            solution = item.pop("solution")
            thinking = f"<think> {rationale.reasoning} </think>"
            rows.append({**item, "thinking": thinking, "solution": solution})
    without = sum(rationale is None for rationale in rationales)
    logger.info("%d of %d items have no reasoning with a right answer", without, len(rationales))
    if not rows:
        raise InputError(
            f"no item of {options['source']} has a completion in the {options['prompt']} format "
            "whose answer is right. Sample more with medr1 infer --num-samples and --prompt think, "
            "or check that --results are about these items."
        )
    prepare_output(output, overwrite=options["overwrite"])
    write_rows(rows, output)
    finish(output, {"items": len(rows), "without_rationale": without}, errors, options)


def _read(options: dict[str, Any], output: Path) -> tuple[Questions, list[list[Prediction]]]:
    """The questions of IN and the predictions of each results file; checks the output first."""
    from medr1.data.readers import read_questions, split_file
    from medr1.data.writers import require_format
    from medr1.evaluate.reading.results import read_results

    require_writable(output)
    keep_apart(output, [options["source"], *options["results"]], options["overwrite"])
    require_format(output)
    questions = read_questions(split_file(options["source"], "train"))
    runs = [
        read_results(Path(name), questions=questions).predictions for name in options["results"]
    ]
    return questions, runs
