"""`medr1 eval`: metrics with confidence intervals, and a report, from results files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from medr1.cli.common import (
    CommaList,
    Medr1Command,
    argument,
    call,
    cluster_by_option,
    columns_of,
    common_options,
    data_option,
    group_by_option,
    json_option,
    option,
    overwrite_option,
    results_map_option,
    seed_option,
)
from medr1.cli.judge_options import judge_from, judge_options
from medr1.cli.protocol_options import eval_protocol_option
from medr1.errors import InputError, Medr1Error
from medr1.terminal import echo
from medr1.workflows.evaluate import run_evaluation


def _explain(ctx: click.Context, param: click.Parameter, name: str | None) -> None:
    """The callback of --explain: print the definition of a metric and exit."""
    if name is not None and not ctx.resilient_parsing:
        from medr1.evaluate.definitions.explain import explain

        try:
            echo(explain(name))
        except InputError as error:
            raise click.UsageError(str(error), ctx) from None
        ctx.exit()


@click.command(
    "eval",
    cls=Medr1Command,
    workflow=run_evaluation,
    first_options="--data --map --train-data --protocol --metrics --group-by --baseline "
    "--output-dir --explain --json",
    short_help="Evaluate results files, with 95 % confidence intervals.",
)
@argument("results", nargs=-1, required=True, metavar="RESULTS...")
@eval_protocol_option
@data_option
@results_map_option
@option(
    "--metrics",
    group="Metrics",
    type=CommaList(str),
    metavar="METRIC,...",
    help="Metrics to compute, such as accuracy,exact_match; fewer are faster, and leave out the "
    "other protocols and hallucinated claims. semantic_similarity is computed only if it is named. "
    "[default: all others]",
)
@group_by_option
@cluster_by_option
@option(
    "--train-data",
    group="Input",
    metavar="PATH",
    help="File with the training questions, or folder with train.json. Predictors that see no "
    "image are fitted on them, and shown beside the accuracy. [default: train.json in --data, if "
    "that is a folder with one]",
)
@option(
    "--ablated",
    group="Input",
    multiple=True,
    metavar="FILE",
    help="File with results of the same questions without the image, by `medr1 infer "
    "--ablate-image blank`, noise or shuffle. Shows how much the image matters. Repeatable.",
)
@option(
    "--edited",
    group="Input",
    multiple=True,
    metavar="FILE",
    help="File with answers to the same questions from edited reasoning, by `medr1 infer "
    "--reasoning-from FILE --edit cut`, shuffle, empty, swap or none. Shows whether the answers "
    "follow the reasoning. Repeatable.",
)
@option(
    "--review",
    group="Input",
    multiple=True,
    metavar="STORE",
    help="File with the judgements of experts about RESULTS, by `medr1 review start` or `medr1 "
    "review adjudicate`. Adds their agreement, the accuracy that they would find, and the "
    "precision of the automatic verdict. Repeatable.",
)
@option(
    "--calibrate-on",
    group="Input",
    metavar="FILE",
    help="File with results of other questions by the same model. The temperature, the threshold "
    "for deferring and the conformal sets are fitted on them.",
)
@option(
    "--target-risk",
    group="Metrics",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Highest accepted share of wrong answers among the items that are not deferred to a "
    "clinician. Needs --calibrate-on with enough answers: at least 29 for 0.1 and 299 for 0.01, "
    "even if all of them are correct.",
)
@option(
    "--alpha",
    group="Metrics",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Highest accepted share of items whose conformal set of options lacks the right one. "
    "Needs --calibrate-on.",
)
@option(
    "--robustness",
    group="Input",
    metavar="FILE",
    help="File robustness.json of the same model, by `medr1 robustness`, to add to the report.",
)
@option(
    "--ensemble",
    group="Input",
    multiple=True,
    metavar="FILE",
    help="File with results of the same questions by another checkpoint or adapter, to combine "
    "with RESULTS into one answer per item. Repeatable.",
)
@option(
    "--bertscore",
    group="Metrics",
    metavar="MODEL",
    help="Model for BERTScore, as a folder or a hub id such as roberta-large. [default: no "
    "BERTScore]",
)
@judge_options
@option(
    "--fail-under",
    group="Checks",
    multiple=True,
    metavar="METRIC=SHARE",
    help="Worst accepted value of a metric, from 0 to 1; exit code 1 if it is worse. Example: "
    "accuracy=0.8. Repeatable.",
)
@option(
    "--baseline",
    group="Checks",
    metavar="FILE",
    help="File with earlier results of the same items, or their summary.json; exit code 1 if the "
    "accuracy is significantly lower now.",
)
@option(
    "--output-dir",
    group="Output",
    metavar="DIR",
    help="Folder to write: report.html, summary.json, summary.csv, confusion.csv and items.jsonl. "
    "[default: no files]",
)
@option(
    "--card",
    group="Output",
    metavar="PATH",
    help="File or folder to write: a card, NAME.json and NAME.md, with all that a reader needs to "
    "reproduce the accuracy (medr1 reproduce NAME.json). A file ends in .json or .md; a folder "
    "gets a card for each results file. [default: no card]",
)
@option(
    "--audit",
    group="Input",
    metavar="FILE",
    help="File audit.json of the same questions, by `medr1 data audit --against`. The card states "
    "its leakage from training data. Needs --card.",
)
@option(
    "--contamination",
    group="Input",
    metavar="FILE",
    help="File of `medr1 contamination` about this model and these questions, for the card. Needs "
    "--card.",
)
@option(
    "--image-root",
    group="Input",
    metavar="DIR",
    help="Folder with the images of report.html; images outside it are not shown. [default: the "
    "folder of --data, else of RESULTS]",
)
@option(
    "--explain",
    group="Metrics",
    metavar="METRIC",
    is_eager=True,
    expose_value=False,
    callback=_explain,
    help="Print the formula, preparation, library and interpretation of a metric, and exit.",
)
@seed_option
@overwrite_option
@json_option
@common_options
def evaluate(mapping: tuple[str, ...], as_json: bool, **options: object) -> None:
    """Evaluate results files: every metric, with its 95 % confidence interval.

    RESULTS are files, or folders with files: results of medr1, Med-R1, R1-V, MedEvalKit,
    VLMEvalKit, ms-swift or EasyR1, logs of lmms-eval or inspect_ai, or lists of items in JSON,
    JSONL, CSV, TSV, .xlsx or Parquet. Columns with usual names, such as "Ground truth" and "Model
    answer", are recognised.

    \b
    Examples:
      medr1 eval results.json
      medr1 eval results.json --data data/tiny_vqa_ds --output-dir output/eval
      medr1 eval results.json --data data/tiny_vqa_ds --card cards
      medr1 eval answers.csv --map prediction=reply --data questions.json
      medr1 eval results.json --judge-url http://127.0.0.1:8000/v1 \\
          --judge-model qwen3-32b
    """
    from medr1.files import to_json
    from medr1.report.terminal.tables import summary_table

    _require_calibration(options)
    judge = judge_from(options)
    result = call(run_evaluation, options, columns=columns_of(mapping), judge=judge)
    summaries = result.summaries
    if as_json:
        echo(to_json(summaries[0] if len(summaries) == 1 else summaries), nl=False)
    else:
        tables = (summary_table(summary) + "\n" for summary in summaries)
        echo("".join(tables), nl=False)
        if options["output_dir"]:
            echo(f"Report: {Path(str(options['output_dir'])) / 'report.html'}")
        for file in result.cards:
            echo(f"Card: {file}")
    if result.failures:
        raise Medr1Error("; ".join(result.failures) + ".")


def _require_calibration(options: Mapping[str, object]) -> None:
    """UsageError for --target-risk or --alpha without --calibrate-on, where they do nothing."""
    context = click.get_current_context()
    for name in ("target_risk", "alpha"):
        source = context.get_parameter_source(name)
        if source is click.core.ParameterSource.COMMANDLINE and not options["calibrate_on"]:
            raise click.UsageError(
                f"--{name.replace('_', '-')} needs --calibrate-on FILE, with results of other "
                "questions."
            )
