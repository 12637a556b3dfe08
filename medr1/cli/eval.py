"""`medr1 eval`: metrics with confidence intervals, and a report, from results files."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medr1.answers import SUMMARY_PROTOCOLS
from medr1.cli.common import (
    CommaList,
    Medr1Command,
    cluster_by_option,
    columns_of,
    common_options,
    data_option,
    group_by_option,
    json_option,
    option,
    overwrite_option,
    protocol_option,
    questions_of,
    results_map_option,
    seed_option,
)
from medr1.errors import InputError, Medr1Error
from medr1.terminal import echo
from medr1.workflows.arguments import keep_apart, require_writable

if TYPE_CHECKING:
    from medr1.data.readers import Questions
    from medr1.evaluate.evaluation import Evaluation
    from medr1.evaluate.judging import Judged

logger = logging.getLogger("medr1")


def _explain(ctx: click.Context, param: click.Parameter, name: str | None) -> None:
    """The callback of --explain: print the definition of a metric and exit."""
    if name is not None:
        from medr1.evaluate.definitions.explain import explain

        try:
            echo(explain(name))
        except InputError as error:
            raise click.UsageError(str(error), ctx) from None
        ctx.exit()


@click.command(
    "eval",
    cls=Medr1Command,
    short_help="Evaluate results files, with 95 % confidence intervals.",
)
@click.argument("results", nargs=-1, required=True, metavar="RESULTS...")
@protocol_option
@data_option
@results_map_option
@option(
    "--metrics",
    type=CommaList(str),
    metavar="METRIC,...",
    help="Metrics to compute, such as accuracy,exact_match; fewer are faster. [default: all]",
)
@group_by_option
@cluster_by_option
@option(
    "--train-data",
    metavar="PATH",
    help="File with the training questions, or folder with train.json. Predictors that see no "
    "image are fitted on them, and shown beside the accuracy. [default: train.json in --data, if "
    "that is a folder with one]",
)
@option(
    "--ablated",
    metavar="FILE",
    help="File with results of the same questions without the image, by `medr1 infer "
    "--ablate-image blank`. Shows how much the image matters.",
)
@option(
    "--calibrate-on",
    metavar="FILE",
    help="File with results of other questions by the same model. The temperature, the threshold "
    "for deferring and the conformal sets are fitted on them.",
)
@option(
    "--target-risk",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    help="Highest accepted share of wrong answers among the items that are not deferred to a "
    "clinician. Needs --calibrate-on with enough answers: at least 29 for 0.1 and 299 for 0.01, "
    "even if all of them are correct.",
)
@option(
    "--alpha",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    help="Highest accepted share of items whose conformal set of options lacks the right one. "
    "Needs --calibrate-on.",
)
@option(
    "--robustness",
    metavar="FILE",
    help="File robustness.json of the same model, by `medr1 robustness`, to add to the report.",
)
@option(
    "--ensemble",
    multiple=True,
    metavar="FILE",
    help="File with results of the same questions by another checkpoint or adapter, to combine "
    "with RESULTS into one answer per item. Repeatable.",
)
@option(
    "--bertscore",
    metavar="MODEL",
    help="Model for BERTScore, as a folder or a hub id such as roberta-large. [default: no "
    "BERTScore]",
)
@option(
    "--fail-under",
    multiple=True,
    metavar="METRIC=SHARE",
    help="Lowest accepted value of a metric, from 0 to 1; exit code 1 if it is lower. Example: "
    "accuracy=0.8. Repeatable.",
)
@option(
    "--baseline",
    metavar="FILE",
    help="File with earlier results of the same items, or their summary.json; exit code 1 if the "
    "accuracy is significantly lower now.",
)
@option(
    "--output-dir",
    metavar="DIR",
    help="Folder to write: report.html, summary.json, summary.csv, confusion.csv and items.jsonl. "
    "[default: no files]",
)
@option(
    "--image-root",
    metavar="DIR",
    help="Folder with the images of report.html; images outside it are not shown. [default: the "
    "folder of --data, else of RESULTS]",
)
@option(
    "--explain",
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
def evaluate(
    results: tuple[str, ...],
    fail_under: tuple[str, ...],
    baseline: str | None,
    output_dir: str | None,
    image_root: str | None,
    overwrite: bool,
    as_json: bool,
    **evaluation_options: Any,
) -> None:
    """Evaluate results files: every metric, with its 95 % confidence interval.

    RESULTS are files, or folders with files: results of medr1, Med-R1 or R1-V, sample logs of
    lmms-eval, or lists of items in JSON, JSONL, CSV, TSV or Parquet.

    \b
    Examples:
      medr1 eval results.json
      medr1 eval results.json --data data/tiny_vqa_ds --output-dir output/eval
      medr1 eval answers.csv --map prediction=reply --data questions.json
    """
    import tempfile

    from medr1.evaluate.gates import Gates
    from medr1.evaluate.reading.results import result_files
    from medr1.files import prepare_folder, to_json
    from medr1.report.terminal.tables import summary_table

    _require_calibration(evaluation_options)
    gates = Gates.from_options(fail_under, baseline)
    evaluation = _evaluation(**evaluation_options)
    files = result_files(results)
    if output_dir:
        require_writable(Path(output_dir) / "summary.json")
    single_inputs = ("data", "train_data", "ablated", "calibrate_on", "robustness")
    inputs = [
        *files,
        image_root,
        *evaluation_options["ensemble"],
        *(evaluation_options[name] for name in single_inputs),
    ]
    keep_apart(output_dir, inputs, overwrite)
    summaries: list[dict[str, Any]] = []
    gallery: list[dict[str, Any]] = []
    failures: list[str] = []
    # The lines of items.jsonl wait in a temporary file, not in memory: there may be millions. The
    # output folder is made last, so that a bad input leaves an old one as it is.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as lines:
        for path in files:
            summary, judged = evaluation.run(path, lines.write if output_dir else None)
            summaries.append(summary)
            failures += gates.failures(path, summary, evaluation)
            if output_dir:
                gallery += _gallery(evaluation, path, judged)
        if output_dir:
            prepare_folder(Path(output_dir), overwrite=overwrite)
            lines.seek(0)
            _write(
                Path(output_dir),
                summaries,
                gallery,
                lines,
                _image_roots(files, image_root, evaluation_options),
            )
    if as_json:
        echo(to_json(summaries[0] if len(summaries) == 1 else summaries), nl=False)
    else:
        tables = (summary_table(summary) + "\n" for summary in summaries)
        echo("".join(tables), nl=False)
    if failures:
        raise Medr1Error("; ".join(failures) + ".")


def _evaluation(
    protocol: str,
    data: str | None,
    mapping: tuple[str, ...],
    metrics: tuple[str, ...] | None,
    group_by: tuple[str, ...] | None,
    cluster_by: str,
    train_data: str | None,
    ablated: str | None,
    calibrate_on: str | None,
    target_risk: float,
    alpha: float,
    robustness: str | None,
    ensemble: tuple[str, ...],
    bertscore: str | None,
    seed: int,
) -> Evaluation:
    """The evaluation that the options ask for; reads --data and --train-data."""
    from medr1.evaluate.evaluation import Evaluation
    from medr1.evaluate.judging import Settings
    from medr1.evaluate.metrics.summary import METRICS, require_metric
    from medr1.evaluate.trust.selective import SelectiveConfig

    metric_names = tuple(require_metric(name, "--metrics") for name in metrics or METRICS)
    # --metrics is for speed, so it also skips the accuracy under the other protocols.
    protocols = SUMMARY_PROTOCOLS if metrics is None else ()
    train = _training(train_data, data)
    return Evaluation(
        Settings(protocol, cluster_by, group_by or (), protocols, seed),
        metric_names,
        columns_of(mapping),
        questions_of(data),
        train.require_complete() if train else None,
        Path(ablated) if ablated else None,
        bertscore,
        Path(calibrate_on) if calibrate_on else None,
        SelectiveConfig(target_risk, alpha),
        Path(robustness) if robustness else None,
        tuple(map(Path, ensemble)),
    )


def _require_calibration(options: Mapping[str, Any]) -> None:
    """UsageError for --target-risk or --alpha without --calibrate-on, where they do nothing."""
    context = click.get_current_context()
    for name in ("target_risk", "alpha"):
        source = context.get_parameter_source(name)
        if source is click.core.ParameterSource.COMMANDLINE and not options["calibrate_on"]:
            raise click.UsageError(
                f"--{name.replace('_', '-')} needs --calibrate-on FILE, with results of other "
                "questions."
            )


def _training(train_data: str | None, data: str | None) -> Questions | None:
    """The questions of --train-data, else of the train split in the folder --data, else None."""
    from medr1.data.readers import has_split, read_questions, split_file

    folder = train_data or (data if data and has_split(data, "train") else None)
    return read_questions(split_file(folder, "train")) if folder else None


def _gallery(evaluation: Evaluation, path: Path, judged: Judged) -> list[dict[str, Any]]:
    """The items of a results file that report.html shows, with image, question and completion."""
    from medr1.evaluate.evaluation import verdict_rows
    from medr1.report.pages.gallery import gallery_choice

    chosen = gallery_choice(verdict_rows(judged, str(path)), seed=evaluation.settings.seed)
    return evaluation.gallery_items(path, chosen, judged)


def _image_roots(
    files: Sequence[Path], image_root: str | None, options: Mapping[str, Any]
) -> dict[str, Path]:
    """Results file -> folder of its images: --image-root, else that of --data, else the file's."""
    data = Path(options["data"]) if options["data"] else None
    data_folder = data if data is None or data.is_dir() else data.parent
    return {
        str(file): Path(image_root) if image_root else data_folder or file.parent for file in files
    }


def _write(
    folder: Path,
    summaries: Sequence[Mapping[str, Any]],
    gallery: Sequence[Mapping[str, Any]],
    lines: Iterable[str],
    image_roots: Mapping[str, Path],
) -> None:
    """Write the files of --output-dir; warn of images that are missing or may contain text."""
    from medr1.files import to_json, write_atomic
    from medr1.report.csv_tables import summary_csv
    from medr1.report.pages.confusion import confusion_csv
    from medr1.report.pages.page import report_html
    from medr1.report.pages.thumbnails import NOT_FOUND, OUTSIDE, burned_in_warning, make_thumbnails

    document = summaries[0] if len(summaries) == 1 else list(summaries)
    write_atomic(folder / "items.jsonl", lines)
    write_atomic(folder / "summary.csv", summary_csv(summaries))
    write_atomic(folder / "confusion.csv", confusion_csv(summaries))
    thumbnails = make_thumbnails(gallery, image_roots)
    problems = [image for image in thumbnails.values() if isinstance(image, str)]
    if missing := sum(problem == NOT_FOUND for problem in problems):
        logger.warning(
            "%d of the %d images for report.html were not found. Give their folder with "
            "--image-root DIR.",
            missing,
            len(thumbnails),
        )
    if outside := [problem for problem in problems if problem.startswith(OUTSIDE)]:
        logger.warning(
            "%d of the %d images for report.html are not shown. The first: %s.",
            *(len(outside), len(thumbnails), outside[0]),
        )
    if text := burned_in_warning(gallery, image_roots, thumbnails):
        logger.warning("report.html: %s", text)
    page = report_html(summaries, gallery, thumbnails=thumbnails, burned_in=text)
    write_atomic(folder / "report.html", page)
    write_atomic(folder / "summary.json", to_json(document))
