"""`medr1 compare`: runs on the same items, each compared with the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medr1.cli.common import (
    Medr1Command,
    cluster_by_option,
    columns_of,
    common_only_option,
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
from medr1.errors import InputError
from medr1.terminal import echo
from medr1.workflows.arguments import keep_apart, require_writable

if TYPE_CHECKING:
    from medr1.data.readers import Questions
    from medr1.evaluate.reading.results import Results


@click.command(
    cls=Medr1Command, short_help="Compare runs on the same items, with tests of significance."
)
@click.argument("runs", nargs=-1, required=True, metavar="[NAME=]FILE[,FILE...]...")
@protocol_option
@data_option
@results_map_option
@group_by_option
@cluster_by_option
@common_only_option
@option(
    "--output-dir",
    metavar="DIR",
    help="Folder to write: comparison.json, comparison.csv, items.jsonl and won_lost.csv. "
    "[default: no files]",
)
@seed_option
@overwrite_option
@json_option
@common_options
def compare(
    runs: tuple[str, ...],
    protocol: str,
    data: str | None,
    mapping: tuple[str, ...],
    group_by: tuple[str, ...] | None,
    cluster_by: str,
    common_only: bool,
    output_dir: str | None,
    seed: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Compare runs on the same items, each with the first run, item by item.

    FILE is a results file that `medr1 eval` reads. Items are paired by id; if the ids of the files
    differ, by question, options and image name.

    Several files of one run are its random seeds, and count as one result: NAME=FILE,FILE,... Files
    without a NAME whose metadata differ in the seed only are also taken as one run. Intervals and
    p-values resample images, for the given seeds; the spread between the seeds is shown beside
    them.

    \b
    Examples:
      medr1 compare base.json trained.json
      medr1 compare base=base.json trained=seed1.json,seed2.json,seed3.json
      medr1 compare a.json b.json --group-by scanner --output-dir output/compare
      medr1 compare a.csv b.csv --map prediction=reply --data questions.json
    """
    import json

    from medr1.evaluate.comparing.comparison import compare as compare_runs
    from medr1.evaluate.judging import Settings
    from medr1.files import prepare_folder, to_json, write_atomic
    from medr1.report.terminal.comparison import comparison_csv, comparison_table, won_lost_csv

    if output_dir:
        require_writable(Path(output_dir) / "comparison.json")
    keep_apart(
        output_dir, [data, *(file for run in runs for file in _name_and_files(run)[1])], overwrite
    )
    runs_by_name, notes = _runs(runs, columns_of(mapping), questions_of(data))
    document, rows = compare_runs(
        {
            name: {file: result.predictions for file, result in files.items()}
            for name, files in runs_by_name.items()
        },
        settings=Settings(protocol, cluster_by, group_by or (), seed=seed),
        common_only=common_only,
    )
    document["warnings"] = notes + document["warnings"]
    if output_dir:
        folder = Path(output_dir)
        prepare_folder(folder, overwrite=overwrite)
        write_atomic(folder / "comparison.json", to_json(document))
        write_atomic(folder / "comparison.csv", comparison_csv(document))
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_atomic(folder / "items.jsonl", lines)
        write_atomic(folder / "won_lost.csv", won_lost_csv(rows))
    echo(to_json(document) if as_json else comparison_table(document), nl=not as_json)


def _runs(
    arguments: Sequence[str], columns: Mapping[str, str], questions: Questions | None
) -> tuple[dict[str, dict[str, Results]], list[str]]:
    """Name of a run -> file -> its results; and the warnings.

    A warning tells of files that were joined as seeds of one run, or of how a file was read.
    """
    from medr1.evaluate.reading.results import read_results

    runs: dict[str, dict[str, Results]] = {}
    unnamed: list[str] = []
    warnings = []
    stems = [Path(argument).stem for argument in arguments]
    for argument in arguments:
        name, files = _name_and_files(argument)
        results = {
            file: read_results(Path(file), columns=columns, questions=questions) for file in files
        }
        if name is None:
            twin = next((run for run in unnamed if _is_another_seed(runs[run], results)), None)
            if twin is not None:
                runs[twin] |= results
                warnings.append(
                    f"{argument} is another seed of {twin}; both files count as one run."
                )
                continue
            stem = Path(argument).stem
            name = stem if stems.count(stem) == 1 else argument
            unnamed.append(name)
        if name in runs:
            raise InputError(
                f"two runs are called {name[:80]!r}. Give each run its own name: NAME=FILE."
            )
        runs[name] = results
    if len(runs) == 1 and warnings:
        raise InputError(
            "the files differ in their seed only, so they are one run. To compare them with each "
            "other, give each a name: a=FILE b=FILE."
        )
    notes = [note for run in runs.values() for result in run.values() for note in result.notes]
    return runs, warnings + notes


def _name_and_files(argument: str) -> tuple[str | None, list[str]]:
    """(name, files) of an argument such as base=seed1.json,seed2.json; (None, [file]) of a file.

    A file whose own name contains "=" or "," is taken as a file.
    """
    if Path(argument).is_file() or "=" not in argument:
        return None, [argument]
    name, _, rest = argument.partition("=")
    files = [rest] if Path(rest).is_file() else rest.split(",")
    if not name.strip() or not all(file.strip() for file in files):
        raise InputError(f"{argument[:80]!r} is not NAME=FILE[,FILE...]. Example: base=base.json")
    if len(set(files)) < len(files):
        raise InputError(f"{name}: a file is given twice. Give the file of each seed once.")
    return name.strip(), files


def _is_another_seed(run: Mapping[str, Results], more: Mapping[str, Results]) -> bool:
    """Whether the metadata of `more`, one file, is that of `run` except for a new seed.

    The metadata has the model, the data, the prompt and the decoding, so nothing else differs.
    """
    (added,) = more.values()
    metas: list[dict[str, Any]] = [result.meta for result in run.values()]
    if "seed" not in added.meta or "model" not in added.meta:
        return False
    rest = {key: value for key, value in added.meta.items() if key != "seed"}
    same = all({k: v for k, v in meta.items() if k != "seed"} == rest for meta in metas)
    return same and added.meta["seed"] not in [meta.get("seed") for meta in metas]
