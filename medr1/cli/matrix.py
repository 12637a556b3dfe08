"""`medr1 matrix`: accuracy by training domain and test domain."""

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
    option,
    overwrite_option,
    protocol_option,
    seed_option,
)
from medr1.cli.configuration import read_config
from medr1.errors import InputError
from medr1.terminal import echo
from medr1.workflows.arguments import keep_apart, require_writable

if TYPE_CHECKING:
    from medr1.evaluate.comparing.domains import Files, Layout
    from medr1.evaluate.reading.results import Results
    from medr1.records import Prediction, Sample


@click.command(
    cls=Medr1Command,
    short_help="Compare training domains with test domains, as tables and heat maps.",
)
@click.argument("sources", nargs=-1, required=True, metavar="matrix.yaml|DIR|RESULTS...")
@option(
    "--from-names",
    metavar="PATTERN",
    help="Pattern of the file names in DIR, such as '{train}_{test}.json'.",
)
@option(
    "--by",
    type=click.Choice(["modality", "question_type"]),
    default="modality",
    help="Field of the items that is the test domain, for RESULTS. Each file has one value of it.",
)
@option(
    "--base-name",
    metavar="NAME",
    default="base",
    help="Name of the base model, for DIR or RESULTS: as in the file names, or in the metadata.",
)
@option(
    "--train-data",
    multiple=True,
    metavar="DOMAIN=PATH",
    help="File with the training questions of a domain, or folder with train.json, to mark cells "
    "whose test images are in the training data. Example: CT=data/ct. Repeatable.",
)
@protocol_option
@cluster_by_option
@common_only_option
@option(
    "--output-dir",
    metavar="DIR",
    help="Folder to write: matrix.json, .csv, .md, .tex, .png and .svg. [default: no files]",
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
    """Compare training domains with test domains: accuracy, and the gain over the base model.

    A YAML file names the results of each training domain and test domain. Paths are relative to the
    YAML file. A list of files is one run with several random seeds. base and train_data are
    optional.

    \b
      base: {CT: base_ct.json, MRI: base_mri.json}
      cells:
        CT: {CT: ct_ct.json, MRI: ct_mri.json}
        MRI: {CT: mri_ct.json, MRI: [mri_mri_1.json, mri_mri_2.json]}
      train_data: {CT: ct_train.json, MRI: mri_train.json}

    Without a YAML file, the domains are read from the names of the files in DIR, or from the
    metadata of RESULTS: the model's name is the training domain, --by is the test domain.

    \b
    Examples:
      medr1 matrix matrix.yaml --output-dir output/matrix
      medr1 matrix results --from-names '{train}/{test}.json' --base-name Qwen2.5-VL-3B
      medr1 matrix results/*.json --by question-type

    Stars mark gains with p < 0.05 (*), 0.01 (**) and 0.001 (***), with Holm's correction over all
    cells. A test image counts as training data if its path is the same in both.
    """
    from medr1.evaluate.comparing.matrix import matrix as matrix_of
    from medr1.evaluate.judging import Settings
    from medr1.files import to_json
    from medr1.report.terminal.matrix import matrix_table

    if output_dir:
        require_writable(Path(output_dir) / "matrix.json")
    results = _Results()
    layout = _layout(sources, from_names, by, base_name, results)
    train_files = _train_files(layout.train_data, train_data)
    rows = [layout.base, *layout.cells.values(), train_files]
    files = (file for row in rows for cell in row.values() for file in cell)
    keep_apart(output_dir, [*sources, *files], overwrite)
    document = matrix_of(
        {train: results.row(row) for train, row in layout.cells.items()},
        results.row(layout.base),
        _train_samples(train_files),
        settings=Settings(protocol, cluster_by, seed=seed),
        common_only=common_only,
    )
    if output_dir:
        _write(Path(output_dir), document, overwrite)
    echo(to_json(document) if as_json else matrix_table(document), nl=not as_json)


def _write(folder: Path, document: Mapping[str, Any], overwrite: bool) -> None:
    """Write the matrix in each format, as matrix.json, matrix.csv and so on."""
    from medr1.files import prepare_folder, to_json, write_atomic
    from medr1.report.charts.heatmap import heat_maps
    from medr1.report.terminal.matrix import matrix_csv, matrix_latex, matrix_markdown

    contents: dict[str, str | bytes] = {
        "json": to_json(document),
        "csv": matrix_csv(document),
        "md": matrix_markdown(document),
        "tex": matrix_latex(document),
        **heat_maps(document),
    }
    prepare_folder(folder, overwrite=overwrite)
    for extension, content in contents.items():
        write_atomic(folder / f"matrix.{extension}", content)


class _Results(dict[Path, "Results"]):
    """Path -> its results; a file is read when it is first asked for, and only once."""

    def __missing__(self, path: Path) -> Results:
        from medr1.evaluate.reading.results import read_results

        self[path] = read_results(path)
        return self[path]

    def row(self, files: Mapping[str, Files]) -> dict[str, dict[str, list[Prediction]]]:
        """Test domain -> file -> its predictions, for one training domain."""
        return {
            test: {str(path): self[path].predictions for path in paths}
            for test, paths in files.items()
        }


def _layout(
    sources: Sequence[str], from_names: str | None, by: str, base_name: str, results: _Results
) -> Layout:
    """Which file is which cell, from a YAML file, the file names, or the files' metadata."""
    from medr1.evaluate.comparing.domains import (
        layout_from_mapping,
        layout_from_metadata,
        layout_from_names,
    )

    first = Path(sources[0])
    if from_names is not None:
        if len(sources) > 1:
            raise InputError("--from-names takes one folder. Give it as the only argument.")
        return layout_from_names(first, from_names, base_name)
    if first.suffix.lower() in (".yaml", ".yml"):
        if len(sources) > 1:
            raise InputError(f"{first} names all results files. Give it as the only argument.")
        return layout_from_mapping(read_config(first), first)
    if first.is_dir():
        raise InputError(
            f"{first} is a folder. Give the pattern of its file names, such as --from-names "
            "'{train}_{test}.json', or name the files."
        )
    return layout_from_metadata(
        {Path(name): results[Path(name)] for name in sources}, by, base_name
    )


def _train_files(files: Mapping[str, Files], arguments: Sequence[str]) -> dict[str, list[Path]]:
    """Domain -> files of training questions, from the YAML file and from --train-data."""
    train_files = {domain: list(paths) for domain, paths in files.items()}
    for argument in arguments:
        domain, equals, path = argument.partition("=")
        if not equals or not domain.strip() or not path:
            raise InputError(
                f"--train-data {argument[:80]!r} is not DOMAIN=PATH. Example: CT=ct_train.json"
            )
        train_files.setdefault(domain.strip(), []).append(Path(path))
    return train_files


def _train_samples(files: Mapping[str, Sequence[Path]]) -> dict[str, list[Sample]]:
    """Domain -> all its training questions."""
    from medr1.data.readers import read_questions, split_file

    return {
        domain: [
            sample for path in paths for sample in read_questions(split_file(path, "train")).samples
        ]
        for domain, paths in files.items()
    }
