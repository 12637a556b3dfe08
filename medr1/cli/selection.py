"""`medr1 data filter` and `medr1 data distill`: questions chosen by what models answered."""

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
    help="Results of `medr1 infer`. Repeatable.",
)
output_file_option = option(
    "--output-file",
    metavar="FILE",
    required=True,
    help="Output file: JSON, JSONL, CSV, Parquet; without extension, a data set on disk.",
)


@click.command("filter", cls=Medr1Command)
@click.argument("source", metavar="IN")
@results_option
@output_file_option
@option(
    "--min-pass",
    type=click.FloatRange(0, 1),
    default=0.1,
    help="Drop items with a lower pass rate: too hard.",
)
@option(
    "--max-pass",
    type=click.FloatRange(0, 1),
    default=0.9,
    help="Drop items with a higher pass rate: too easy.",
)
@spelling_option
@protocol_option
@max_errors_option
@overwrite_option
@json_option
@common_options
def filter_items(**options: Any) -> None:
    """Keep the questions that are neither too easy nor too hard, easy ones first.

    The pass rate of an item is the share of right answers among its completions in all --results:
    those of `medr1 infer --num-samples N`, or one a file. Both bounds are kept.

    \b
      medr1 infer --model-path M --batch-file train.json --num-samples 8 --output-file r.json
      medr1 data filter train.json --results r.json --output-file medium.json --to published
    """
    from medr1.data.selection import select_by_pass_rate

    if options["min_pass"] > options["max_pass"]:
        raise click.UsageError("--min-pass is above --max-pass; nothing would be left.")
    output = Path(options["output_file"])
    questions, runs = _read(options, output)
    chosen = select_by_pass_rate(
        questions.samples,
        runs,
        min_pass=options["min_pass"],
        max_pass=options["max_pass"],
        protocol=options["protocol"],
    )
    counts = {name: getattr(chosen, name) for name in ("too_easy", "too_hard", "unknown")}
    logger.info(
        "%d kept, %d too easy, %d too hard, %d without an answer to judge",
        len(chosen.kept),
        *counts.values(),
    )
    if not chosen.kept:
        raise InputError(
            f"no item of {options['source']} passes between {options['min_pass']:g} and "
            f"{options['max_pass']:g} of the time ({counts['too_easy']} too easy, "
            f"{counts['too_hard']} too hard, {counts['unknown']} unknown). Widen --min-pass and "
            "--max-pass, or check that --results are about these items."
        )
    kept = replace(
        questions,
        samples=[questions.samples[index] for index in chosen.kept],
        failures={
            place: questions.failures[index]
            for place, index in enumerate(chosen.kept)
            if index in questions.failures
        },
    )
    write_converted(kept, output, options, counts)


@click.command(cls=Medr1Command)
@click.argument("source", metavar="IN")
@results_option
@output_file_option
@option(
    "--prompt",
    type=click.Choice(["think", "think-after"]),
    default="think",
    help="Format that a completion must have.",
)
@protocol_option
@max_errors_option
@overwrite_option
@json_option
@common_options
def distill(**options: Any) -> None:
    """Keep for each question a rationale whose answer is right, for supervised fine-tuning.

    Of all completions in --results that have the format, reason and are right, the shortest; of
    equally short ones the first. Items are {"image", "problem", "thinking", "solution"}, where
    thinking is <think> ... </think>: `medr1 train --method sft` teaches it before or behind the
    solution, as the prompt asks. Items without such a completion are left out.

    \b
      medr1 data distill train.json --results r.json --output-file sft.json
    """
    from medr1.data.selection import right_rationales
    from medr1.data.spellings import spelled
    from medr1.data.writers import make_way, write_rows
    from medr1.errors import ItemError
    from medr1.records import Failure

    output = Path(options["output_file"])
    questions, runs = _read(options, output)
    found = right_rationales(
        questions.samples, runs, prompt=options["prompt"], protocol=options["protocol"]
    )
    rows: list[dict[str, Any]] = []
    errors: dict[int, Failure] = {}
    for index, (sample, rationale) in enumerate(zip(questions.samples, found, strict=True)):
        if rationale is not None:
            try:
                item = spelled(sample, "published")
            except ItemError as error:
                where = f"{questions.name}, item {index + 1}"
                errors[index] = Failure(error.code, f"{where}: {error}")
                continue
            solution = item.pop("solution")
            thinking = f"<think> {rationale.reasoning} </think>"
            rows.append({**item, "thinking": thinking, "solution": solution})
    without = sum(rationale is None for rationale in found)
    logger.info("%d of %d items have no right rationale", without, len(found))
    if not rows:
        raise InputError(
            f"no item of {options['source']} has a completion in the {options['prompt']} format "
            "whose answer is right. Sample more with --num-samples and --prompt think, or check "
            "that --results are about these items."
        )
    make_way(output, overwrite=options["overwrite"])
    write_rows(rows, output)
    finish(output, {"items": len(rows), "without_rationale": without}, errors, options)


def _read(options: dict[str, Any], output: Path) -> tuple[Questions, list[list[Prediction]]]:
    """The questions, and the predictions of each results file."""
    from medr1.data.readers import read_questions, split_file
    from medr1.data.writers import require_format
    from medr1.evaluate.results import read_results

    require_writable(output)
    keep_apart(output, [options["source"], *options["results"]], options["overwrite"])
    require_format(output)
    questions = read_questions(split_file(options["source"], "train"))
    runs = [
        read_results(Path(name), questions=questions).predictions for name in options["results"]
    ]
    return questions, runs
