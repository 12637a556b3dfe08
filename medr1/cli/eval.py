"""`medr1 eval`: results in, metrics with their intervals out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from medr1.answers import PROTOCOLS
from medr1.cli.common import (
    Medr1Command,
    common_options,
    json_option,
    option,
    overwrite_option,
    require_writable,
    seed_option,
)
from medr1.errors import InputError


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
@option("--protocol", type=click.Choice(PROTOCOLS), default="default", help="Who is right when.")
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
@option("--output-dir", metavar="DIR", help="Also write summary.json, summary.csv, items.jsonl.")
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
    import json

    from medr1.data.readers import read_questions, split_file
    from medr1.evaluate.metrics import item_rows, summarize
    from medr1.evaluate.results import read_results, result_files
    from medr1.files import prepare_folder, to_json, write_atomic
    from medr1.report.tables import summary_csv, summary_table

    if output_dir:
        require_writable(Path(output_dir) / "summary.json")
    columns = _columns(mapping)
    questions = read_questions(split_file(Path(data), "test")) if data else None
    summaries: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for name in map(str, result_files(results)):
        read = read_results(Path(name), columns=columns, questions=questions)
        predictions = read.predictions
        blind = _blind(predictions, train_data) if train_data else None
        summary = summarize(predictions, protocol=protocol, blind=blind, seed=seed)
        summary["warnings"] += read.notes
        if questions is not None and len(predictions) < len(questions.samples):
            missing = len(questions.samples) - len(predictions)
            summary["warnings"].append(f"{missing} items of {data} have no result here.")
        summaries.append({"results": name, **summary})
        rows += [{"results": name, **row} for row in item_rows(predictions, protocol=protocol)]
    document = summaries[0] if len(summaries) == 1 else summaries
    if output_dir:
        folder = Path(output_dir)
        prepare_folder(folder, overwrite=overwrite)
        write_atomic(folder / "summary.json", to_json(document))
        write_atomic(folder / "summary.csv", summary_csv(summaries))
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_atomic(folder / "items.jsonl", "".join(lines))
    if as_json:
        click.echo(to_json(document), nl=False)
        return
    for summary in summaries:
        click.echo(summary_table(summary))


def _columns(mapping: tuple[str, ...]) -> dict[str, str]:
    """{"prediction": "reply"} from prediction=reply."""
    pairs = [text.partition("=") for text in mapping]
    for text, (key, _, column) in zip(mapping, pairs, strict=True):
        if not key or not column:
            raise InputError(f"--map {text}: expected is KEY=COLUMN, such as prediction=reply.")
    return {key: column for key, _, column in pairs}


def _blind(predictions: list[Any], train_data: str) -> Any:
    from medr1.data.audit import blind_predictions
    from medr1.data.readers import read_questions, split_file

    train = read_questions(split_file(Path(train_data), "train")).require_complete()
    return blind_predictions(train, [prediction.sample for prediction in predictions])
