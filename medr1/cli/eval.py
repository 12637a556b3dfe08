"""`medr1 eval`: results in, metrics with their intervals out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medr1.cli.common import (
    Medr1Command,
    columns_of,
    common_options,
    image_root_option,
    json_option,
    option,
    overwrite_option,
    protocol_option,
    require_writable,
    seed_option,
)
from medr1.errors import InputError

if TYPE_CHECKING:
    from medr1.records import Prediction


def _explain(ctx: click.Context, param: click.Parameter, name: str | None) -> None:
    if name is not None:
        from medr1.evaluate.definitions import explain

        try:
            click.echo(explain(name))
        except InputError as error:
            raise click.UsageError(str(error), ctx) from None
        ctx.exit()


@click.command("eval", cls=Medr1Command)
@click.argument("results", nargs=-1, required=True, metavar="RESULTS...")
@protocol_option
@option(
    "--data",
    metavar="PATH",
    help="The questions, where the results lack their ground truth, options or groups.",
)
@option(
    "--map",
    "mapping",
    multiple=True,
    metavar="KEY=COLUMN",
    help="What a key is called in the results, such as prediction=reply. Repeatable.",
)
@option(
    "--train-data",
    metavar="PATH",
    help="Training questions; the blind baseline is fitted on them and printed beside accuracy.",
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
    protocol: str,
    data: str | None,
    mapping: tuple[str, ...],
    train_data: str | None,
    output_dir: str | None,
    image_root: str | None,
    seed: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Judge results files: every metric with its 95 % interval.

    RESULTS are files, or folders of them: medr1's, the original's, R1-V's, lmms-eval's sample
    logs, lists, JSONL, CSV, TSV, Parquet.

    \b
      medr1 eval results.json
      medr1 eval results.json --train-data data/tiny_vqa_ds --output-dir output/eval
      medr1 eval answers.csv --map prediction=reply --data questions.json
    """
    from medr1.data.readers import read_questions, split_file
    from medr1.evaluate.metrics import item_rows, summarize
    from medr1.evaluate.results import read_results, result_files
    from medr1.files import prepare_folder, to_json, write_atomic
    from medr1.report.tables import summary_table

    if output_dir:
        require_writable(Path(output_dir) / "summary.json")
    columns = columns_of(mapping)
    questions = read_questions(split_file(Path(data), "test")) if data else None
    summaries: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    for name in map(str, result_files(results)):
        read = read_results(Path(name), columns=columns, questions=questions)
        predictions = read.predictions
        blind = _blind(predictions, train_data) if train_data else None
        summary = summarize(predictions, protocol=protocol, blind=blind, seed=seed)
        summary["warnings"] += read.notes
        if questions is not None and len(predictions) < len(questions.samples):
            missing = len(questions.samples) - len(predictions)
            summary["warnings"].append(f"{missing} items of {data} have no result here.")
        summaries.append({"results": name, "meta": read.meta, **summary})
        judged = item_rows(predictions, protocol=protocol)
        rows += [{"results": name, **row} for row in judged]
        if output_dir:
            entries += _entries(name, predictions, judged)
    document = summaries[0] if len(summaries) == 1 else summaries
    if output_dir:
        prepare_folder(Path(output_dir), overwrite=overwrite)
        _write(Path(output_dir), document, summaries, rows)
        page = _report(summaries, entries, image_root or data, seed)
        write_atomic(Path(output_dir, "report.html"), page)
    tables = (summary_table(summary) + "\n" for summary in summaries)
    click.echo(to_json(document) if as_json else "".join(tables), nl=False)


def _entries(
    name: str, predictions: Sequence[Prediction], rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The items as in results.json, with their verdicts."""
    from medr1.records import prediction_to_dict

    return [
        {**entry, **row, "results": name, "error": entry["error"]}
        for entry, row in zip(map(prediction_to_dict, predictions), rows, strict=True)
    ]


def _write(
    folder: Path,
    document: Any,
    summaries: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """summary.json, summary.csv, confusion.csv and items.jsonl."""
    import json

    from medr1.files import to_json, write_atomic
    from medr1.report.confusion import confusion_csv
    from medr1.report.tables import summary_csv

    write_atomic(folder / "summary.json", to_json(document))
    write_atomic(folder / "summary.csv", summary_csv(summaries))
    write_atomic(folder / "confusion.csv", confusion_csv(summaries))
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_atomic(folder / "items.jsonl", "".join(lines))


def _report(
    summaries: Sequence[Mapping[str, Any]],
    entries: Sequence[Mapping[str, Any]],
    beside: str | None,
    seed: int,
) -> str:
    """report.html; images lie under --image-root, beside --data, or beside their results."""
    from medr1.report.gallery import gallery_choice
    from medr1.report.page import report_html
    from medr1.report.thumbnails import make_thumbnails

    roots = {}
    for summary in summaries:
        place = Path(beside or summary["results"])
        roots[str(summary["results"])] = place if place.is_dir() else place.parent
    shown = [entries[position] for position in gallery_choice(entries, seed=seed)]
    return report_html(summaries, shown, thumbnails=make_thumbnails(shown, roots))


def _blind(predictions: list[Any], train_data: str) -> Any:
    from medr1.data.audit import blind_predictions
    from medr1.data.readers import read_questions, split_file

    train = read_questions(split_file(Path(train_data), "train")).require_complete()
    return blind_predictions(train, [prediction.sample for prediction in predictions])
