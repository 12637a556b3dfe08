"""Compute the accuracy by training domain and test domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from medr1.answers import PROTOCOLS
from medr1.errors import InputError, ItemError
from medr1.workflows.arguments import keep_apart, require_choice, require_writable
from medr1.workflows.configuration import read_config
from medr1.workflows.prepare import FolderField

if TYPE_CHECKING:
    from medr1.documents.matrix import Matrix
    from medr1.evaluate.comparing.domains import Files, Layout
    from medr1.evaluate.comparing.matrix import CompareImages
    from medr1.evaluate.reading.results import Results
    from medr1.records import Prediction, Sample


def run_matrix(
    sources: Sequence[str | Path],
    *,
    from_names: str | None = None,
    by: FolderField = "modality",
    base_name: str = "base",
    train_data: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    protocol: str = "default",
    cluster_by: str = "image",
    common_only: bool = False,
    image_model: str | Path | None = None,
    image_root: str | Path | None = None,
    output_dir: str | Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> Matrix:
    """Compare training domains with test domains: accuracy, and the gain over the base model.

    Args:
        sources: A YAML file that names the results of each training and test domain; or a folder,
            with `from_names`; or results files, whose metadata names their domains.
        from_names: Pattern of the file names in a folder, such as "{train}_{test}.json".
        by: Field of the items that is the test domain, for results files.
        base_name: Name of the base model in file names or metadata.
        train_data: "DOMAIN=PATH": the training questions of a domain, to mark cells whose test
            images are in the training data.
        columns: Key of medr1 -> column of the results: {"prediction": "reply"}.
        protocol: Rules that decide whether an answer is right, one of answers.PROTOCOLS.
        cluster_by: Unit that confidence intervals resample: image, or a metadata key.
        common_only: Whether only the items that all files contain are compared; otherwise files
            with different items are refused.
        image_model: Checkpoint whose vision tower compares the images of the domains; None: they
            are not compared.
        image_root: Folder of the images, for `image_model`; None: that of the first results file.
        output_dir: Folder to write: matrix.json, .html, .csv, .md, .tex, .png and .svg; None: no
            files.
        seed: Seed of the confidence intervals.
        overwrite: Whether an existing output is replaced, and kept as NAME.bak.

    Returns:
        The content of matrix.json.

    Raises:
        InputError: A file cannot be read, or the domains of the files are not clear.
        OutputError: The output cannot be written.
    """
    from medr1.evaluate.comparing.matrix import matrix
    from medr1.evaluate.judging import Settings

    require_choice("by", by, get_args(FolderField))
    require_choice("protocol", protocol, PROTOCOLS)
    if output_dir:
        require_writable(Path(output_dir) / "matrix.json")
    results = _Results(columns or {})
    layout = _layout([str(source) for source in sources], from_names, by, base_name, results)
    train_files = _train_files(layout.train_data, train_data)
    rows = [layout.base, *layout.cells.values(), train_files]
    files = [file for row in rows for cell in row.values() for file in cell]
    keep_apart(output_dir, [*sources, *files], overwrite)
    document = matrix(
        {train: results.row(row) for train, row in layout.cells.items()},
        results.row(layout.base),
        _train_samples(train_files),
        settings=Settings(protocol, cluster_by, seed=seed),
        common_only=common_only,
        image_distances=_image_distances(
            Path(image_model), Path(image_root or files[0].parent), seed
        )
        if image_model
        else None,
    )
    if output_dir:
        _write(Path(output_dir), document, overwrite)
    return document


MAX_IMAGES = 500
"""Most images of a domain that are compared; of more, a random choice."""


def _image_distances(model: Path, image_root: Path, seed: int) -> CompareImages:
    """What compares the images of the domains with the vision tower of a checkpoint."""
    import random

    from medr1.data.images import load_image
    from medr1.data.roots import ImageRoot, resolve_image
    from medr1.evaluate.comparing.generalization import ImageDistances
    from medr1.evaluate.comparing.image_distance import image_distances
    from medr1.models.image_embedding import embed_images
    from medr1.models.loading import load_model

    def compare(samples: Mapping[str, Sequence[Sample]]) -> ImageDistances:
        loaded, root = load_model(model), ImageRoot(image_root)
        embeddings = {}
        for domain, items in samples.items():
            names = sorted({name for item in items for name in item.images})
            chosen = random.Random(seed).sample(names, min(len(names), MAX_IMAGES))
            try:
                images = (load_image(resolve_image(name, root)).image for name in chosen)
                embeddings[domain] = embed_images(loaded, images)
            except ItemError as error:
                raise InputError(f"{domain}: {error}") from None
        return ImageDistances(model.resolve().name, image_distances(embeddings))

    return compare


def _write(folder: Path, document: Matrix, overwrite: bool) -> None:
    """Write the matrix in each format, as matrix.json, matrix.csv and so on."""
    from medr1.files import prepare_folder, to_json, write_atomic
    from medr1.report.charts.heatmap import heat_maps
    from medr1.report.pages.matrix import matrix_html
    from medr1.report.terminal.matrix import matrix_csv, matrix_latex, matrix_markdown

    contents: dict[str, str | bytes] = {
        "json": to_json(document),
        "html": matrix_html(document),
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

    def __init__(self, columns: Mapping[str, str]) -> None:
        super().__init__()
        self.columns = columns

    def __missing__(self, path: Path) -> Results:
        from medr1.evaluate.reading.results import read_results

        self[path] = read_results(path, columns=self.columns)
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
