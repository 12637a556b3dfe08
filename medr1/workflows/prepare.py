"""Make a data set for training from OmniMedVQA or a file of questions."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from medr1.data.scans.options import OWN_VIEW, ScanOptions
from medr1.errors import InputError
from medr1.terminal import counted
from medr1.workflows.arguments import (
    keep_apart,
    optional_path,
    require_at_least,
    require_choice,
    require_writable,
)

if TYPE_CHECKING:
    from medr1.data.prepare import PreparationOptions
    from medr1.documents.prepared import PreparedError, PreparedManifest

logger = logging.getLogger("medr1")

SplitKind = Literal["published", "random"]
"""The way to split into train and test: as in the split files, or at random."""
SplitUnit = Literal["image", "patient", "dataset"]
"""The unit whose items stay together in one split."""
FolderField = Literal["modality", "question_type"]
"""A field whose values get a folder each."""
_OPTION_NAMES = {"columns": "--map", "scans": "--window, --slices, --plane and --magnification"}
"""Field of PreparationOptions -> options, where they have different names."""


@dataclass(frozen=True)
class PreparedData:
    """The data set that `prepare_data` wrote."""

    output_dir: Path
    """Its folder."""
    manifest: PreparedManifest
    """The content of manifest.json."""

    @property
    def num_items(self) -> int:
        """Number of items written."""
        return self.manifest.counts.items

    @property
    def errors(self) -> Sequence[PreparedError]:
        """The items that were left out."""
        return self.manifest.errors


def prepare_data(
    *,
    source: str | Path,
    output_dir: str | Path,
    image_root: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    split: SplitKind | None = None,
    splits: str | Path | None = None,
    group_by: SplitUnit = "image",
    test_share: float = 0.2,
    modality: Sequence[str] = (),
    question_type: Sequence[str] = (),
    by: FolderField | None = None,
    size: int = 384,
    square: bool = False,
    restricted: bool = False,
    workers: int | None = None,
    scans: ScanOptions = OWN_VIEW,
    seed: int = 0,
    benchmark: str | None = None,
    strict_counts: bool = False,
    overwrite: bool = False,
) -> PreparedData:
    """Write resized images, train and test files, and a manifest. An interrupted run resumes.

    Args:
        source: OmniMedVQA as an archive or a folder, a folder with published split files, or a
            file of questions.
        output_dir: Folder to write.
        image_root: Folder or archive with the images; None: the source if it is a folder or an
            archive, else its folder.
        columns: Key of medr1 -> key or column of the source: {"ground_truth": "label"}.
        split: published: as in the split files; random: at random, by group_by and test_share;
            None: published if there are split files.
        splits: Folder with the published split files, if the source has none.
        group_by: Unit whose items stay together in one split: image, patient or dataset.
        test_share: Share of test items in a random split, between 0 and 1.
        modality: Modalities to keep; (): all.
        question_type: Question types to keep; (): all.
        by: Field whose values get a folder each: modality or question_type; None: one folder.
        size: Longer side of the written images, in pixels; 0 keeps the size.
        square: Whether images become squares, without keeping their proportions.
        restricted: Whether to read OmniMedVQA's restricted-access part too.
        workers: Number of processes that resize images; None: that of cores, at most 8.
        scans: How DICOM, NIfTI and slides are shown.
        seed: Seed of a random split.
        benchmark: Name of a benchmark whose published files the source is, a key of
            `medr1.data.benchmarks.names.BENCHMARKS`; the other options of reading, splitting and
            resizing are not for it.
        strict_counts: Whether counts that differ from the benchmark's published ones are an error.
        overwrite: Whether another data set in the folder is replaced, and kept as NAME.bak.

    Raises:
        InputError: The source, an argument or the output folder cannot be used.
        LockedError: Another process is writing to the folder.
        OutputError: A file cannot be written.
    """
    from medr1.data.prepare import PreparationOptions, prepare

    output = Path(output_dir)
    require_choice("split", split, get_args(SplitKind))
    require_choice("group_by", group_by, get_args(SplitUnit))
    require_choice("by", by, get_args(FolderField))
    require_at_least(0, size=size)
    require_at_least(1, workers=workers)
    if not 0 < test_share < 1:
        raise InputError(f"test_share: {test_share} is not between 0 and 1.")
    options = PreparationOptions(
        source=Path(source),
        columns=columns or {},
        modality=tuple(modality),
        question_type=tuple(question_type),
        image_root=optional_path(image_root),
        splits=optional_path(splits),
        split=split,
        restricted=restricted,
        group_by=group_by,
        test_share=test_share,
        by=by,
        size=size,
        square=square,
        scans=scans,
        seed=seed,
    )
    if benchmark is not None or strict_counts:
        _require_benchmark(benchmark, options)
        return _benchmark(benchmark or "", Path(source), output, strict_counts, overwrite)
    require_writable(output / "manifest.json")
    keep_apart(output, [source, image_root, splits], overwrite)
    num_processes = min(8, os.cpu_count() or 1) if workers is None else workers
    manifest = prepare(options, output, workers=num_processes, overwrite=overwrite)
    result = PreparedData(output, manifest)
    _log_counts(result)
    return result


def _require_benchmark(name: str | None, options: PreparationOptions) -> None:
    """Raise an InputError if there is no benchmark, or there are options that are not for one."""
    if name is None:
        raise InputError("--strict-counts needs --benchmark.")
    others = [
        _OPTION_NAMES.get(field.name, f"--{field.name.replace('_', '-')}")
        for field in fields(options)
        if getattr(options, field.name) != getattr(type(options)(options.source), field.name)
    ]
    if others:
        raise InputError(
            "--benchmark reads the published files as they are, without resizing or a new split: "
            f"leave out {', '.join(others)}."
        )


def _benchmark(
    name: str, source: Path, output: Path, strict_counts: bool, overwrite: bool
) -> PreparedData:
    from medr1.data.benchmarks.names import BENCHMARKS
    from medr1.data.benchmarks.prepare import prepare_benchmark

    require_choice("benchmark", name, tuple(BENCHMARKS))
    require_writable(output / "manifest.json")
    keep_apart(output, [source], overwrite)
    manifest = prepare_benchmark(
        name, source, output, strict_counts=strict_counts, overwrite=overwrite
    )
    result = PreparedData(output, manifest)
    splits = ", ".join(f"{n:,} {split}" for split, n in (manifest.counts.splits or {}).items())
    logger.info(
        "%s (%s) with %s",
        counted(manifest.counts.items, "item"),
        splits,
        counted(manifest.counts.images, "image"),
    )
    for error in result.errors[:3]:
        logger.warning("left out: %s", error.message)
    return result


def _log_counts(result: PreparedData) -> None:
    """Log what was written; warn of images that may contain text, and of items left out."""
    from medr1.data.burned_in import warning

    counts = result.manifest.counts
    sizes = (("train", counts.train), ("validation", counts.validation), ("test", counts.test))
    split_sizes = [f"{size:,} {name}" for name, size in sizes if isinstance(size, int)]
    logger.info(
        "%s (%s) with %s",
        counted(counts.items, "item"),
        ", ".join(split_sizes),
        counted(counts.images, "image"),
    )
    # The manifest counts the suspected items by reason; `warning` takes one reason per item.
    reasons = [name for name, n in result.manifest.burned_in.items() for _ in range(n)]
    if text := warning([*reasons, *[None] * (counts.items - len(reasons))], "items"):
        logger.warning(text)
    for error in result.errors[:3]:
        logger.warning("left out: %s", error.message)
