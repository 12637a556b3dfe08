"""Compare runs on the same items, each with the first one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medr1.answers import PROTOCOLS
from medr1.errors import InputError
from medr1.workflows.arguments import keep_apart, require_choice, require_writable
from medr1.workflows.evaluate import questions_of

if TYPE_CHECKING:
    from medr1.data.readers import Questions
    from medr1.documents.comparison import ComparedItem, Comparison
    from medr1.evaluate.reading.results import Results


@dataclass(frozen=True)
class ComparisonResult:
    """Runs that were compared on the same items."""

    document: Comparison
    """The content of comparison.json."""
    items: Sequence[ComparedItem]
    """For each item the share of each run's seeds that are right, and which run won."""


def run_comparison(
    runs: Sequence[str | Path],
    *,
    protocol: str = "default",
    data: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    group_by: Sequence[str] = (),
    cluster_by: str = "image",
    common_only: bool = False,
    output_dir: str | Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> ComparisonResult:
    """Compare runs on the same items, each with the first run, item by item.

    Args:
        runs: A results file for each run; "NAME=FILE" names the run, "NAME=FILE,FILE" has a file
            for each of its random seeds.
        protocol: Rules that decide whether an answer is right, one of answers.PROTOCOLS.
        data: File with the questions, or folder with test.json, if the results lack something.
        columns: Key of medr1 -> column of the results: {"prediction": "reply"}.
        group_by: Metadata keys; each of their values gets its own results.
        cluster_by: Unit that confidence intervals resample: image, or a metadata key.
        common_only: Whether only the items that all files contain are compared; otherwise files
            with different items are refused.
        output_dir: Folder to write: compare.html, comparison.json, comparison.csv, items.jsonl and
            won_lost.csv; None: no files.
        seed: Seed of the confidence intervals.
        overwrite: Whether an existing output is replaced, and kept as NAME.bak.

    Raises:
        InputError: A file cannot be read, there are fewer than two runs, or the files are not
            about the same items.
        OutputError: The output cannot be written.
    """
    from msgspec import to_builtins
    from msgspec.structs import replace

    from medr1.evaluate.comparing.comparison import compare
    from medr1.evaluate.judging import Settings
    from medr1.files import prepare_folder, to_json, write_atomic
    from medr1.report.pages.comparison import comparison_html
    from medr1.report.terminal.comparison import comparison_csv, won_lost_csv

    require_choice("protocol", protocol, PROTOCOLS)
    arguments = [str(run) for run in runs]
    if output_dir:
        require_writable(Path(output_dir) / "comparison.json")
    files_of_runs = (file for argument in arguments for file in _name_and_files(argument)[1])
    keep_apart(output_dir, [data, *files_of_runs], overwrite)
    runs_by_name, notes = _runs(arguments, columns or {}, questions_of(data))
    document, items = compare(
        {
            name: {file: result.predictions for file, result in files.items()}
            for name, files in runs_by_name.items()
        },
        settings=Settings(protocol, cluster_by, tuple(group_by), seed=seed),
        common_only=common_only,
    )
    document = replace(document, warnings=notes + document.warnings)
    if output_dir:
        folder = Path(output_dir)
        prepare_folder(folder, overwrite=overwrite)
        write_atomic(folder / "comparison.json", to_json(document))
        write_atomic(folder / "comparison.csv", comparison_csv(document))
        lines = (json.dumps(to_builtins(item), ensure_ascii=False) + "\n" for item in items)
        write_atomic(folder / "items.jsonl", lines)
        write_atomic(folder / "won_lost.csv", won_lost_csv(items))
        write_atomic(folder / "compare.html", comparison_html(document))
    return ComparisonResult(document, items)


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
    runs = _named_by_prompt(runs, unnamed)
    if len(runs) == 1 and warnings:
        raise InputError(
            "the files differ in their seed only, so they are one run. To compare them with each "
            "other, give each a name: a=FILE b=FILE."
        )
    notes = [note for run in runs.values() for result in run.values() for note in result.notes]
    return runs, warnings + notes


def _named_by_prompt(
    runs: Mapping[str, Mapping[str, Results]], unnamed: Sequence[str]
) -> dict[str, dict[str, Results]]:
    """The runs, called by their prompts if they differ in nothing else and have no names."""
    metas = {name: next(iter(results.values())).meta for name, results in runs.items()}
    prompts = {name: str(meta.get("prompt")) for name, meta in metas.items()}
    others = [
        {
            key: value
            for key, value in meta.items()
            if key not in ("prompt", "prompt_sha256", "seed")
        }
        for meta in metas.values()
    ]
    if (
        len(unnamed) < len(runs)
        or any("model" not in meta or "prompt" not in meta for meta in metas.values())
        or any(other != others[0] for other in others)
        or len(set(prompts.values())) < len(runs)
    ):
        return {name: dict(results) for name, results in runs.items()}
    return {prompts[name]: dict(results) for name, results in runs.items()}


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
    metas = [result.meta for result in run.values()]
    if "seed" not in added.meta or "model" not in added.meta:
        return False
    rest = {key: value for key, value in added.meta.items() if key != "seed"}
    same = all({k: v for k, v in meta.items() if k != "seed"} == rest for meta in metas)
    return same and added.meta["seed"] not in [meta.get("seed") for meta in metas]
