"""`medr1 compare`: runs on the same items, each compared with the first."""

from __future__ import annotations

import click

from medr1.cli.common import (
    Medr1Command,
    argument,
    call,
    cluster_by_option,
    columns_of,
    common_only_option,
    common_options,
    data_option,
    group_by_option,
    json_option,
    option,
    overwrite_option,
    results_map_option,
    seed_option,
)
from medr1.cli.protocol_options import protocol_option
from medr1.terminal import echo
from medr1.workflows.compare import run_comparison


@click.command(
    cls=Medr1Command,
    workflow=run_comparison,
    short_help="Compare runs on the same items, with tests of significance.",
)
@argument("runs", nargs=-1, required=True, metavar="[NAME=]FILE[,FILE...]...")
@protocol_option
@data_option
@results_map_option
@group_by_option
@cluster_by_option
@common_only_option
@option(
    "--output-dir",
    group="Output",
    metavar="DIR",
    help="Folder to write: compare.html, comparison.json, comparison.csv, items.jsonl and "
    "won_lost.csv. [default: no files]",
)
@seed_option
@overwrite_option
@json_option
@common_options
def compare(mapping: tuple[str, ...], as_json: bool, **options: object) -> None:
    """Compare runs on the same items, each with the first run, item by item.

    FILE is a results file that `medr1 eval` reads. Items are paired by id; if the ids of the files
    differ, by question, options and image name.

    Several files of one run are its random seeds, and count as one result: NAME=FILE,FILE,... Files
    without a NAME whose metadata differ in the seed only are also taken as one run. Intervals and
    p-values resample images, for the given seeds; the spread between the seeds is shown beside
    them.

    With three runs or more there is also each pair of runs, with McNemar's exact p-value corrected
    over all pairs. Files without a NAME that differ only in their prompt are called by it.

    \b
    Examples:
      medr1 compare base.json trained.json
      medr1 compare think.json nothink.json think-after.json
      medr1 compare base=base.json trained=seed1.json,seed2.json,seed3.json
      medr1 compare a.json b.json --group-by scanner --output-dir output/compare
      medr1 compare a.csv b.csv --map prediction=reply --data questions.json
    """
    from medr1.files import to_json
    from medr1.report.terminal.comparison import comparison_table

    document = call(run_comparison, options, columns=columns_of(mapping)).document
    echo(to_json(document) if as_json else comparison_table(document), nl=not as_json)
