"""`medr1 matrix`: results by train domain and test domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medr1.cli.common import (
    Medr1Command,
    cluster_by_option,
    common_only_option,
    common_options,
    json_option,
    keep_apart,
    option,
    overwrite_option,
    protocol_option,
    require_writable,
    seed_option,
)
from medr1.cli.configuration import read_config
from medr1.errors import InputError
from medr1.terminal import echo

if TYPE_CHECKING:
    from medr1.evaluate.domains import Files, Layout
    from medr1.evaluate.results import Results
    from medr1.records import Prediction, Sample


@click.command(
    cls=Medr1Command, short_help="Tables and heat maps: training domains by test domains."
)
@click.argument("sources", nargs=-1, required=True, metavar="matrix.yaml|FOLDER|RESULTS...")
@option(
    "--from-names",
    metavar="PATTERN",
    help="With a FOLDER: pattern of its file names, such as '{train}_{test}.json'.",
)
@option(
    "--by",
    type=click.Choice(["modality", "question_type"]),
    default="modality",
    help="With RESULTS...: the field that is the test domain; one value per file.",
)
@option(
    "--base-name",
    metavar="NAME",
    default="base",
    help="With a FOLDER or RESULTS...: the name that stands for the base model.",
)
@option(
    "--train-data",
    multiple=True,
    metavar="DOMAIN=PATH",
    help="Training questions of a domain, to flag cells that share images. Repeatable.",
)
@protocol_option
@cluster_by_option
@common_only_option
@option(
    "--output-dir",
    metavar="DIR",
    help="Also write matrix.json, .csv, .md, .tex, .png and .svg.",
)
@seed_option
@overwrite_option
@json_option
@common_options
def matrix(
    sources: tuple[str, ...],
    from_names: str | None,
    by: str,
    base_name: str,
    train_data: tuple[str, ...],
    protocol: str,
    cluster_by: str,
    common_only: bool,
    output_dir: str | None,
    seed: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Accuracy of models of each train domain on each test domain, and the gain over the base.

    Which results are which a YAML file says (paths start at its folder; a list of files is seeds
    of one run; base and train_data may be left out):

    \b
      base: {CT: base_ct.json, MRI: base_mri.json}
      cells:
        CT: {CT: ct_ct.json, MRI: ct_mri.json}
        MRI: {CT: mri_ct.json, MRI: [mri_mri_1.json, mri_mri_2.json]}
      train_data: {CT: ct_train.json, MRI: mri_train.json}

    or the files' names in a folder, or the results' own metadata (their model and modality):

    \b
      medr1 matrix matrix.yaml --output-dir output/matrix
      medr1 matrix results --from-names '{train}/{test}.json' --base-name Qwen2.5-VL-3B
      medr1 matrix results/*.json --by question_type

    Marks are p under 0.05 *, 0.01 ** and 0.001 ***, corrected by Holm over all cells. An image
    counts as shared where its path is the same in the training questions and the results.
    """
    from medr1.evaluate.judging import Settings
    from medr1.evaluate.matrix import matrix as matrix_of
    from medr1.files import to_json
    from medr1.report.matrix import matrix_table

    if output_dir:
        require_writable(Path(output_dir) / "matrix.json")
    read = _Results()
    layout = _layout(sources, from_names, by, base_name, read)
    trained_on = _train_files(layout.train_data, train_data)
    rows = [layout.base, *layout.cells.values(), trained_on]
    files = (file for row in rows for several in row.values() for file in several)
    keep_apart(output_dir, [*sources, *files], overwrite)
    document = matrix_of(
        {train: read.row(row) for train, row in layout.cells.items()},
        read.row(layout.base),
        _train_samples(trained_on),
        settings=Settings(protocol, cluster_by, seed=seed),
        common_only=common_only,
    )
    if output_dir:
        _write(Path(output_dir), document, overwrite)
    echo(to_json(document) if as_json else matrix_table(document), nl=not as_json)


def _write(folder: Path, document: Mapping[str, Any], overwrite: bool) -> None:
    """Each form of the matrix, as matrix.<ending>."""
    from medr1.files import prepare_folder, to_json, write_atomic
    from medr1.report.heatmap import heat_maps
    from medr1.report.matrix import matrix_csv, matrix_latex, matrix_markdown

    forms: dict[str, str | bytes] = {
        "json": to_json(document),
        "csv": matrix_csv(document),
        "md": matrix_markdown(document),
        "tex": matrix_latex(document),
        **heat_maps(document),
    }
    prepare_folder(folder, overwrite=overwrite)
    for ending, form in forms.items():
        write_atomic(folder / f"matrix.{ending}", form)


class _Results(dict[Path, "Results"]):
    """Result files, each read once."""

    def __missing__(self, path: Path) -> Results:
        from medr1.evaluate.results import read_results

        self[path] = read_results(path)
        return self[path]

    def row(self, files: Mapping[str, Files]) -> dict[str, dict[str, list[Prediction]]]:
        """Test domain -> file -> predictions."""
        return {
            test: {str(path): self[path].predictions for path in paths}
            for test, paths in files.items()
        }


def _layout(
    sources: Sequence[str], from_names: str | None, by: str, base_name: str, read: _Results
) -> Layout:
    from medr1.evaluate.domains import layout_from_mapping, layout_from_metadata, layout_from_names

    first = Path(sources[0])
    if from_names is not None:
        if len(sources) > 1:
            raise InputError("--from-names takes one folder. Name that alone.")
        return layout_from_names(first, from_names, base_name)
    if first.suffix.lower() in (".yaml", ".yml"):
        if len(sources) > 1:
            raise InputError(f"{first} says all files; name it alone.")
        return layout_from_mapping(read_config(first), first)
    if first.is_dir():
        raise InputError(
            f"{first} is a folder. Say how its files are named: --from-names '{{train}}_{{test}}"
            ".json', or name the files."
        )
    return layout_from_metadata({Path(name): read[Path(name)] for name in sources}, by, base_name)


def _train_files(files: Mapping[str, Files], given: Sequence[str]) -> dict[str, list[Path]]:
    """Domain -> its training questions, from the YAML file and from --train-data."""
    found = {domain: list(paths) for domain, paths in files.items()}
    for entry in given:
        domain, equals, path = entry.partition("=")
        if not equals or not domain.strip() or not path:
            raise InputError(f"--train-data {entry[:80]!r} is not DOMAIN=PATH. Write it like that.")
        found.setdefault(domain.strip(), []).append(Path(path))
    return found


def _train_samples(files: Mapping[str, Sequence[Path]]) -> dict[str, list[Sample]]:
    from medr1.data.readers import read_questions, split_file

    return {
        domain: [s for path in paths for s in read_questions(split_file(path, "train")).samples]
        for domain, paths in files.items()
    }
