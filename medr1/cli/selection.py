"""`medr1 data filter` and `medr1 data distill`: questions selected by the answers of a model."""

from __future__ import annotations

from typing import get_args

import click

from medr1.cli.common import (
    Medr1Command,
    argument,
    call,
    columns_of,
    common_options,
    json_option,
    max_errors_option,
    option,
    overwrite_option,
    results_map_option,
)
from medr1.cli.convert import field_names_option, show_written
from medr1.cli.protocol_options import protocol_option
from medr1.terminal import echo
from medr1.workflows.selection import ReasoningPrompt, distill_data, filter_data

results_option = option(
    "--results",
    group="Input",
    multiple=True,
    required=True,
    metavar="FILE",
    help="File with results of `medr1 infer` for the questions of IN. Repeatable.",
)
OUTPUT_FILE = (
    "File to write: .json, .jsonl, .csv or .parquet; without an extension, a folder with a "
    "Hugging Face data set."
)


@click.command(
    "filter",
    cls=Medr1Command,
    workflow=filter_data,
    short_help="Keep questions of medium difficulty for a model.",
)
@argument("source", metavar="IN")
@results_option
@results_map_option
@option("--output-file", group="Output", metavar="FILE", help=OUTPUT_FILE)
@option(
    "--pass-rates",
    group="Output",
    metavar="FILE",
    help="File to write with the pass rate of each question, for `medr1 train --curriculum`, as "
    "JSON. Without --output-file, only this file is written.",
)
@option(
    "--min-pass",
    group="Selection",
    type=click.FloatRange(0, 1),
    help="Lowest pass rate that is kept; items below it are too hard.",
)
@option(
    "--max-pass",
    group="Selection",
    type=click.FloatRange(0, 1),
    help="Highest pass rate that is kept; items above it are too easy.",
)
@field_names_option
@protocol_option
@max_errors_option
@overwrite_option
@json_option
@common_options
def filter_items(
    mapping: tuple[str, ...], max_errors: int, as_json: bool, **options: object
) -> None:
    """Keep the questions that are neither too easy nor too hard, the easiest first.

    The pass rate of a question is the share of right answers among its completions in all
    --results: those of `medr1 infer --num-samples N`, or else one completion per file. IN is a
    file, or a folder with train.json.

    \b
    Examples:
      medr1 infer --model-path M --batch-file train.json \\
          --num-samples 8 --output-file r.json
      medr1 data filter train.json --results r.json --output-file medium.json \\
          --to published
      medr1 data filter train.json --results r.json --pass-rates rates.json
    """
    from medr1.files import to_json

    filtered = call(filter_data, options, columns=columns_of(mapping))
    written, pass_rates = filtered.written, filtered.pass_rates
    figures: dict[str, object] = {
        "too_easy": filtered.too_easy,
        "too_hard": filtered.too_hard,
        "unknown": filtered.unknown,
        "pass_rates": None if pass_rates is None else str(pass_rates),
    }
    if written is not None:
        show_written(written, {"dropped": dict(written.dropped), **figures}, max_errors, as_json)
    else:
        echo(to_json(figures) if as_json else pass_rates, nl=not as_json)


@click.command(
    cls=Medr1Command,
    workflow=distill_data,
    short_help="Make data for SFT from right completions with reasoning.",
)
@argument("source", metavar="IN")
@results_option
@results_map_option
@option("--output-file", group="Output", metavar="FILE", required=True, help=OUTPUT_FILE)
@option(
    "--prompt",
    group="Selection",
    type=click.Choice(get_args(ReasoningPrompt)),
    help="Format that a completion must have: the reasoning before (think) or after the answer.",
)
@protocol_option
@max_errors_option
@overwrite_option
@json_option
@common_options
def distill(mapping: tuple[str, ...], max_errors: int, as_json: bool, **options: object) -> None:
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
    distilled = call(distill_data, options, columns=columns_of(mapping))
    figures = {"without_rationale": distilled.without_rationale}
    show_written(distilled.written, figures, max_errors, as_json)
