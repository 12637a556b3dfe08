"""`medr1 eval`: results in, metrics with their intervals and a report out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medr1.answers import SHOWN_PROTOCOLS
from medr1.cli.common import (
    CommaList,
    Medr1Command,
    cluster_by_option,
    columns_of,
    common_options,
    data_option,
    group_by_option,
    image_root_option,
    json_option,
    keep_apart,
    option,
    overwrite_option,
    protocol_option,
    questions_of,
    require_writable,
    results_map_option,
    seed_option,
)
from medr1.errors import InputError, Medr1Error
from medr1.terminal import echo

if TYPE_CHECKING:
    from medr1.data.readers import Questions
    from medr1.evaluate.evaluation import Evaluation
    from medr1.evaluate.judging import Judged

logger = logging.getLogger("medr1")


def _explain(ctx: click.Context, param: click.Parameter, name: str | None) -> None:
    if name is not None:
        from medr1.evaluate.explaining import explain

        try:
            echo(explain(name))
        except InputError as error:
            raise click.UsageError(str(error), ctx) from None
        ctx.exit()


@click.command("eval", cls=Medr1Command)
@click.argument("results", nargs=-1, required=True, metavar="RESULTS...")
@protocol_option
@data_option
@results_map_option
@option(
    "--metrics",
    type=CommaList(str),
    metavar="A,B",
    help="Compute only these metrics; faster for a million items. [default: all]",
)
@group_by_option
@cluster_by_option
@option(
    "--train-data",
    metavar="PATH",
    help="Training questions; blind predictors are fitted on them and stand beside accuracy. "
    "[default: the training split of --data, if that is a folder with one]",
)
@option(
    "--ablated",
    metavar="FILE",
    help="Results on the same questions by infer --ablate-image: how much the image matters.",
)
@option(
    "--calibrate-on",
    metavar="FILE",
    help="Results on other questions, to fit temperature, referral threshold and conformal sets.",
)
@option(
    "--target-risk",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    help="Error rate accepted among answered items; the others are deferred to a clinician. "
    "0.1 takes at least 29 held-out answers, 0.01 at least 299, all of them right.",
)
@option(
    "--alpha",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    help="Share of items whose right option may be missing from the conformal set.",
)
@option(
    "--robustness",
    metavar="FILE",
    help="robustness.json of the same model, by medr1 robustness: it goes into the report.",
)
@option(
    "--ensemble",
    multiple=True,
    metavar="FILE",
    help="Results of the same questions by another checkpoint or adapter, to take with these as "
    "one answer. Repeatable.",
)
@option("--bertscore", metavar="MODEL", help="Also BERTScore by this model, a folder or a hub id.")
@option(
    "--fail-under",
    multiple=True,
    metavar="METRIC=SHARE",
    help="Exit with 1 if the metric is lower, such as accuracy=0.8. Repeatable.",
)
@option(
    "--baseline",
    metavar="FILE",
    help="Exit with 1 if accuracy is significantly lower than in these results or summary.json.",
)
@option(
    "--output-dir",
    metavar="DIR",
    help="Also write report.html, summary.json, summary.csv, confusion.csv, items.jsonl.",
)
@image_root_option
@option(
    "--explain",
    metavar="METRIC",
    is_eager=True,
    expose_value=False,
    callback=_explain,
    help="Show a metric's formula, normalisation and library, and exit.",
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
    **asked: Any,
) -> None:
    """Judge results files: every metric with its 95 % interval.

    RESULTS are files, or folders of them: medr1's, the original's, R1-V's, lmms-eval's sample
    logs, lists, JSONL, CSV, TSV, Parquet.

    \b
      medr1 eval results.json
      medr1 eval results.json --data data/tiny_vqa_ds --output-dir output/eval
      medr1 eval answers.csv --map prediction=reply --data questions.json
    """
    import tempfile

    from medr1.evaluate.gates import Gates
    from medr1.evaluate.results import result_files
    from medr1.files import prepare_folder, to_json
    from medr1.report.tables import summary_table

    _require_fitted(asked)
    gates = Gates.of(fail_under, baseline)
    evaluation = _evaluation(**asked)
    files = result_files(results)
    if output_dir:
        require_writable(Path(output_dir) / "summary.json")
    named = ("data", "train_data", "ablated", "calibrate_on", "robustness")
    read = [*files, image_root, *asked["ensemble"], *(asked[name] for name in named)]
    keep_apart(output_dir, read, overwrite)
    summaries: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    failed: list[str] = []
    with tempfile.TemporaryFile("w+", encoding="utf-8") as lines:
        for path in files:
            summary, judged = evaluation.run(path, lines.write if output_dir else None)
            summaries.append(summary)
            failed += gates.failed(path, summary, evaluation)
            if output_dir:
                shown += _gallery(evaluation, path, judged)
        if output_dir:
            prepare_folder(Path(output_dir), overwrite=overwrite)
            lines.seek(0)
            _write(
                Path(output_dir), summaries, shown, lines, _image_roots(files, image_root, asked)
            )
    if as_json:
        echo(to_json(summaries[0] if len(summaries) == 1 else summaries), nl=False)
    else:
        tables = (summary_table(summary) + "\n" for summary in summaries)
        echo("".join(tables), nl=False)
    if failed:
        raise Medr1Error("; ".join(failed) + ".")


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
    """What is to be computed, the questions and the training questions read."""
    from medr1.evaluate.evaluation import Evaluation
    from medr1.evaluate.judging import Settings
    from medr1.evaluate.metrics import METRICS, known_metric
    from medr1.evaluate.trust.selective import SelectiveConfig

    asked = tuple(known_metric(name, "--metrics") for name in metrics or METRICS)
    protocols = SHOWN_PROTOCOLS if metrics is None else ()
    train = _training(train_data, data)
    return Evaluation(
        Settings(protocol, cluster_by, group_by or (), protocols, seed),
        asked,
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


def _require_fitted(asked: Mapping[str, Any]) -> None:
    """UsageError where what held-out results are fitted for is given, and they are not."""
    context = click.get_current_context()
    for name in ("target_risk", "alpha"):
        source = context.get_parameter_source(name)
        if source is click.core.ParameterSource.COMMANDLINE and not asked["calibrate_on"]:
            raise click.UsageError(
                f"--{name.replace('_', '-')} goes with --calibrate-on FILE, results of other "
                "questions."
            )


def _training(train_data: str | None, data: str | None) -> Questions | None:
    """The training questions: those that are named, or those that lie beside the test questions."""
    from medr1.data.readers import has_split, read_questions, split_file

    folder = train_data or (data if data and has_split(data, "train") else None)
    return read_questions(split_file(folder, "train")) if folder else None


def _gallery(evaluation: Evaluation, path: Path, judged: Judged) -> list[dict[str, Any]]:
    """The items of a file that the report shows."""
    from medr1.evaluate.evaluation import verdict_rows
    from medr1.report.gallery import gallery_choice

    chosen = gallery_choice(verdict_rows(judged, str(path)), seed=evaluation.settings.seed)
    return evaluation.entries(path, chosen, judged)


def _image_roots(
    files: Sequence[Path], image_root: str | None, asked: Mapping[str, Any]
) -> dict[str, Path]:
    """Where each file's images are looked for: --image-root, beside --data, beside the file."""
    data = Path(asked["data"]) if asked["data"] else None
    beside = data if data is None or data.is_dir() else data.parent
    return {str(file): Path(image_root) if image_root else beside or file.parent for file in files}


def _write(
    folder: Path,
    summaries: Sequence[Mapping[str, Any]],
    shown: Sequence[Mapping[str, Any]],
    lines: Iterable[str],
    image_roots: Mapping[str, Path],
) -> None:
    from medr1.files import to_json, write_atomic
    from medr1.report.confusion import confusion_csv
    from medr1.report.csv_tables import summary_csv
    from medr1.report.page import report_html
    from medr1.report.thumbnails import NOT_FOUND, OUTSIDE, burned_in_warning, make_thumbnails

    document = summaries[0] if len(summaries) == 1 else list(summaries)
    write_atomic(folder / "items.jsonl", lines)
    write_atomic(folder / "summary.csv", summary_csv(summaries))
    write_atomic(folder / "confusion.csv", confusion_csv(summaries))
    thumbnails = make_thumbnails(shown, image_roots)
    words = [found for found in thumbnails.values() if isinstance(found, str)]
    if missing := sum(said == NOT_FOUND for said in words):
        logger.warning(
            "%d of the %d pictures for report.html were not found; say where they lie with "
            "--image-root DIR.",
            missing,
            len(thumbnails),
        )
    if outside := [said for said in words if said.startswith(OUTSIDE)]:
        logger.warning(
            "%d of the %d pictures for report.html are not shown; the first: %s.",
            *(len(outside), len(thumbnails), outside[0]),
        )
    if text := burned_in_warning(shown, image_roots, thumbnails):
        logger.warning("report.html: %s", text)
    page = report_html(summaries, shown, thumbnails=thumbnails, burned_in=text)
    write_atomic(folder / "report.html", page)
    write_atomic(folder / "summary.json", to_json(document))
