"""A matrix of accuracies by train domain (rows) and test domain (columns).

It shows how far training on one domain, such as CT, helps on another, such as MRI. All files of a
test domain hold the same items (`pairing`). Accuracies, gains over the base model and averages are
shares in [0, 1].

An average is the unweighted mean of its cells. Its interval comes from one bootstrap over the
images of all test domains together. Cells are not independent: several models answer the same
items, and several domains may ask about the same image; one resample holds such an image equally
often in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from os.path import normpath

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from medr1.data.audit import blind_predictions, chance
from medr1.documents.comparison import SeedSpread
from medr1.documents.matrix import (
    Average,
    Averages,
    Matrix,
    MatrixCell,
    ReferenceRows,
    SharedImages,
)
from medr1.documents.metric import Clusters, Metric, no_value
from medr1.errors import InputError
from medr1.evaluate.coded import CodedColumn, Values
from medr1.evaluate.comparing.comparison import seed_spread
from medr1.evaluate.comparing.domains import order_test_domains
from medr1.evaluate.comparing.generalization import ImageDistances, generalization
from medr1.evaluate.comparing.pairing import pair_items, pairing_warnings
from medr1.evaluate.estimates import FEW_CLUSTERS, difference_metric, mean_metric
from medr1.evaluate.groups import require_clusters
from medr1.evaluate.judging import Judged, Settings, judge_all
from medr1.records import Prediction, Sample
from medr1.stats.intervals import cluster_totals, named_interval, percentiles, resample_sums
from medr1.stats.significance import holm, sign_flip_test

LEVELS = {"***": 0.001, "**": 0.01, "*": 0.05}
"""Mark of a cell -> the level its p has to be under, after Holm's correction over all cells."""

Row = Mapping[str, Mapping[str, Sequence[Prediction]]]
"""One model's results: test domain -> file -> predictions; several files are its seeds."""
CellKey = tuple[str | None, str]
"""(train domain, test domain); the train domain None stands for the base model."""
CompareImages = Callable[[Mapping[str, Sequence[Sample]]], ImageDistances]
"""From the items of each test domain to the distances of their images."""
Cells = Mapping[str, Mapping[str, MatrixCell]]
"""Train domain -> test domain -> cell."""


@dataclass(frozen=True)
class _Column:
    """One test domain: the verdicts of the base and of every trained model on the same items."""

    judged: Judged
    """The first file, judged; its clusters are used for all files."""
    first: list[Prediction]
    """The first file's predictions, for the questions and images."""
    base: Values | None
    """For each item the share of the base's seeds that are right; None without base results."""
    cells: Mapping[str, Values]
    """Train domain -> the same of that model."""
    seeds: Mapping[str, SeedSpread | None]
    """Train domain -> the spread of its seeds' accuracies (`comparison.seed_spread`)."""
    num_left_out: int
    """Number of items that only some of the files have."""
    paired_by: str


def matrix(
    cells: Mapping[str, Row],
    base: Row,
    train_data: Mapping[str, Sequence[Sample]],
    *,
    settings: Settings,
    common_only: bool = False,
    image_distances: CompareImages | None = None,
) -> Matrix:
    """Compute the accuracies, gains and averages of all train and test domains.

    Args:
        cells: Train domain -> the results of the model trained on it.
        base: The results of the base model, before training; empty where there are none.
        train_data: Train domain -> its training questions, where known. Cells whose test images
            are among them are flagged: paths are compared as the files write them, not pixels.
            They also give the row of the blind baseline.
        settings: How answers are judged and clustered.
        common_only: Whether to leave out items that some files of a test domain lack, instead of
            refusing them.
        image_distances: Compares the images of the test domains; None: they are not compared.

    Returns:
        The cells, reference rows, averages and warnings.

    Raises:
        InputError: Training data is of no domain here, or the files of a test domain do not hold
            the same items.
    """
    tests = order_test_domains(cells, list(base))
    if unknown := [name for name in train_data if name not in {*cells, *tests}]:
        raise InputError(
            f"train data is given for {unknown[0]!r}, which is no domain here; there are: "
            f"{', '.join(dict.fromkeys([*cells, *tests]))[:200]}."
        )
    columns = {test: _column(test, cells, base, settings, common_only) for test in tests}
    train_images = {name: _images(samples) for name, samples in train_data.items()}
    matrix_cells = _with_significance(
        {
            train: {
                test: _cell(train, test, columns[test], train_images)
                for test in tests
                if test in cells[train]
            }
            for train in cells
        }
    )
    resamples = _resample_cells(columns, settings)
    pairs = [(train, test) for train, row in matrix_cells.items() for test in row]
    samples = {test: [p.sample for p in column.first] for test, column in columns.items()}
    return Matrix(
        protocol=settings.protocol,
        train_domains=list(cells),
        test_domains=tests,
        n={test: len(column.first) for test, column in columns.items()},
        paired_by={test: column.paired_by for test, column in columns.items()},
        clusters={
            test: Clusters(unit=settings.cluster_by, n=len(np.unique(column.judged.clusters)))
            for test, column in columns.items()
        },
        reference_rows=_reference_rows(columns, train_data),
        cells=matrix_cells,
        averages=_averages(columns, matrix_cells, resamples, settings.cluster_by),
        generalization=generalization(
            {(train, test): _accuracy(columns, train, test) for train, test in pairs},
            resamples,
            samples,
            settings.cluster_by,
            image_distances(samples) if image_distances else None,
        ),
        significance_levels=LEVELS,
        missing=[
            (train, test) for train in cells for test in tests if test not in matrix_cells[train]
        ],
        warnings=_warnings(columns, matrix_cells, base, settings.cluster_by, bool(train_data)),
    )


def _column(
    test: str, cells: Mapping[str, Row], base: Row, settings: Settings, common_only: bool
) -> _Column:
    """The paired and judged files of one test domain."""
    files: dict[tuple[str | None, str], Sequence[Prediction]] = {
        (None, file): rows for file, rows in base.get(test, {}).items()
    }
    for name, row in cells.items():
        files |= {(name, file): rows for file, rows in row.get(test, {}).items()}
    # Pairing takes names, and one file may stand in two cells; messages show these names.
    labels = {
        (train, file): f"{file} ({f'trained on {train}' if train else 'base'}, tested on {test})"
        for train, file in files
    }
    paired = pair_items({labels[key]: rows for key, rows in files.items()}, common_only=common_only)
    judged = judge_all(paired.first, settings)
    require_clusters(judged)
    correct_by_seed: dict[str | None, list[Values]] = {}
    for train, file in files:
        predictions = paired.predictions[labels[train, file]]
        correct_by_seed.setdefault(train, []).append(judge_all(predictions, settings).correct)
    means = {train: np.mean(seeds, axis=0) for train, seeds in correct_by_seed.items()}
    return _Column(
        judged,
        paired.first,
        means.pop(None, None),
        {train: values for train, values in means.items() if train is not None},
        {
            train: seed_spread(np.mean(seeds, axis=1))
            for train, seeds in correct_by_seed.items()
            if train is not None
        },
        paired.num_left_out,
        paired.paired_by,
    )


def _cell(
    train: str, test: str, column: _Column, train_images: Mapping[str, frozenset[str]]
) -> MatrixCell:
    """One cell: accuracy, gain over the base, shared images.

    p_holm and mark need the p values of all cells: `_with_significance` adds them.
    """
    values, judged = column.cells[train], column.judged
    gain, p = no_value("no base results"), None
    if column.base is not None:
        gain = difference_metric(values, column.base, judged)
        p = sign_flip_test(values - column.base, judged.clusters)
    images = train_images.get(train)
    return MatrixCell(
        in_domain=train == test,
        accuracy=mean_metric(values, judged),
        gain=gain,
        p=p,
        p_holm=None,
        mark="",
        seeds=column.seeds[train],
        shared_images=None if images is None else _shared_images(column.first, images),
    )


def _with_significance(cells: Cells) -> dict[str, dict[str, MatrixCell]]:
    """The cells with p_holm, by Holm's correction over all of them, and with their marks."""
    p_values = {(train, test): cell.p for train, row in cells.items() for test, cell in row.items()}
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return {
        train: {
            test: replace(cell, p_holm=adjusted[train, test], mark=_mark(adjusted[train, test]))
            for test, cell in row.items()
        }
        for train, row in cells.items()
    }


def _mark(p: float | None) -> str:
    """The stars of a p value after Holm's correction; empty where it is None or too large."""
    if p is None:
        return ""
    return next((mark for mark, level in LEVELS.items() if p < level), "")


def _images(samples: Iterable[Sample]) -> frozenset[str]:
    """The paths of all their images, so that "a/./b.png" and "a/b.png" are one."""
    return frozenset(normpath(image) for sample in samples for image in sample.images)


def _shared_images(predictions: Sequence[Prediction], train_images: frozenset[str]) -> SharedImages:
    """How many test items have an image that was trained on, and how many such images there are."""
    shared = [
        {normpath(image) for image in prediction.sample.images} & train_images
        for prediction in predictions
    ]
    return SharedImages(items=sum(map(bool, shared)), images=len(set().union(*shared)))


def _reference_rows(
    columns: Mapping[str, _Column], train_data: Mapping[str, Sequence[Sample]]
) -> ReferenceRows:
    """The rows to compare a trained model with: chance, a blind baseline and the base model.

    The blind baseline is the option prior, fitted on the domain's own training questions; it does
    not see the image. A row has no entry for a test domain where it cannot be computed.
    """
    chances: dict[str, Metric] = {}
    blind: dict[str, Metric] = {}
    base: dict[str, Metric] = {}
    for test, column in columns.items():
        samples = [prediction.sample for prediction in column.first]
        has_options = np.array([bool(sample.options) for sample in samples])
        if has_options.all():
            chances[test] = Metric(value=chance(samples), ci95=None, n=len(samples))
            if test in train_data:
                right = blind_predictions(train_data[test], samples).right
                blind[test] = mean_metric(np.array(right, dtype=float), column.judged)
        if column.base is not None:
            base[test] = mean_metric(column.base, column.judged)
    return ReferenceRows(chance=chances, blind=blind, base=base)


# --- averages ---------------------------------------------------------------------------------


def _accuracy(columns: Mapping[str, _Column], train: str, test: str) -> float:
    """The accuracy of a cell."""
    return float(np.mean(columns[test].cells[train]))


def _averages(
    columns: Mapping[str, _Column],
    cells: Cells,
    resamples: Mapping[CellKey, NDArray[np.float64]] | None,
    unit: str,
) -> Averages:
    """Mean accuracy and gain of the in-domain cells, and of the others: all, by row, by column."""
    pairs = [(train, test) for train, row in cells.items() for test in row]
    inside = [(train, test) for train, test in pairs if train == test]
    outside = [(train, test) for train, test in pairs if train != test]

    def average(selected: list[tuple[str, str]]) -> Average:
        if len(selected) == 1:
            # the average of one cell is that cell, with the same interval
            ((train, test),) = selected
            cell = cells[train][test]
            return Average(accuracy=replace(cell.accuracy, n=1), gain=replace(cell.gain, n=1))
        with_base = [(train, test) for train, test in selected if columns[test].base is not None]
        return Average(
            accuracy=_mean_of_cells(selected, columns, resamples, unit),
            gain=_mean_of_cells(with_base, columns, resamples, unit, over_base=True),
        )

    return Averages(
        in_domain=average(inside),
        out_of_domain=average(outside),
        rows={train: average([pair for pair in outside if pair[0] == train]) for train in cells},
        columns={test: average([pair for pair in outside if pair[1] == test]) for test in columns},
    )


def _resample_cells(
    columns: Mapping[str, _Column], settings: Settings
) -> dict[CellKey, NDArray[np.float64]] | None:
    """For each cell its accuracy in every bootstrap resample of the images of all domains.

    None where there are fewer than two images.
    """
    # one numbering for all domains, so that an image of two domains is one cluster
    clusters = CodedColumn.concatenate(
        [column.judged.columns.clusters for column in columns.values()]
    ).codes
    correct = {test: _correct_by_model(column) for test, column in columns.items()}
    # The items of all test domains are the rows of one array. Each domain has its own array
    # columns: one that counts its items, and one for each model with what it got right.
    # Two domains, models base and "CT":   n_A base_A CT_A n_B base_B CT_B
    #   an item of domain A                 1    0    1     0    0     0
    statistics = np.zeros((len(clusters), sum(1 + len(models) for models in correct.values())))
    start = position = 0
    for test, column in columns.items():
        rows = slice(start, start + len(column.first))
        statistics[rows, position] = 1
        for offset, values in enumerate(correct[test].values(), start=1):
            statistics[rows, position + offset] = values
        start, position = rows.stop, position + 1 + len(correct[test])
    totals = cluster_totals(statistics, clusters)
    if len(totals) < 2:
        return None
    sums = resample_sums(totals, settings.num_resamples, settings.seed)
    resamples, position = {}, 0
    for test, models in correct.items():
        n = sums[:, position]
        for offset, (train, values) in enumerate(models.items(), start=1):
            # a resample without any image of this domain keeps the observed accuracy
            mean = sums[:, position + offset] / np.maximum(n, 1)
            resamples[train, test] = np.where(n > 0, mean, values.mean())
        position += 1 + len(models)
    return resamples


def _correct_by_model(column: _Column) -> dict[str | None, Values]:
    """Train domain, or None for the base -> for each item the share of seeds that are right."""
    correct: dict[str | None, Values] = {} if column.base is None else {None: column.base}
    correct.update(column.cells)
    return correct


def _mean_of_cells(
    selected: Sequence[tuple[str, str]],
    columns: Mapping[str, _Column],
    resamples: Mapping[CellKey, NDArray[np.float64]] | None,
    unit: str,
    *,
    over_base: bool = False,
) -> Metric:
    """The unweighted mean of the selected cells with its interval; n counts cells.

    With `over_base` it is the mean of their gains: accuracy less that of the base.
    """
    if not selected:
        return no_value("no such cells")
    values = [_accuracy(columns, train, test) for train, test in selected]
    if over_base:
        base = [columns[test].base for _, test in selected]
        values = [v - float(np.mean(b)) for v, b in zip(values, base, strict=True) if b is not None]
    interval = None
    if resamples is not None:
        cell_resamples = [
            resamples[train, test] - (resamples[None, test] if over_base else 0)
            for train, test in selected
        ]
        interval = percentiles(np.mean(cell_resamples, axis=0))
    interval, method = named_interval(interval, unit)
    return Metric(value=float(np.mean(values)), ci95=interval, n=len(selected), method=method)


# --- warnings ---------------------------------------------------------------------------------


def _warnings(
    columns: Mapping[str, _Column],
    cells: Cells,
    base: Row,
    unit: str,
    has_train_data: bool,
) -> list[str]:
    """Sentences that a reader of the numbers has to know."""
    warnings = []
    num_cells = len(cells) * len(columns)
    if missing := num_cells - sum(map(len, cells.values())):
        warnings.append(
            f"missing cells: {missing} of {num_cells}; averages are over the cells that exist, "
            "and rows with different gaps cannot be compared."
        )
    without_base = [test for test in columns if test not in base]
    if len(without_base) == len(columns):
        warnings.append("no base results, and so no gains.")
    elif without_base:
        warnings.append(f"no base results, and so no gain, for: {', '.join(without_base)}.")
    if not any(train in columns for train in cells):
        warnings.append("no train domain has the name of a test domain: nothing is in-domain.")
    shared = [cell.shared_images for row in cells.values() for cell in row.values()]
    if flagged := sum(bool(counts and counts.items) for counts in shared):
        warnings.append(
            f"cells whose test images were trained on: {flagged} of {len(shared)}; they, and "
            "averages with them, may be too high."
        )
    if not has_train_data:
        warnings.append("without training data, shared images were not looked for.")
    elif unknown := [
        train
        for train in cells
        if all(cell.shared_images is None for cell in cells[train].values())
    ]:
        warnings.append(f"shared images were not looked for in: {', '.join(unknown)}.")
    for test, column in columns.items():
        n_clusters = len(np.unique(column.judged.clusters))
        if n_clusters < min(len(column.first), FEW_CLUSTERS):
            warnings.append(f"{test}: only {n_clusters} {unit}s, so its intervals are too narrow.")
        warnings += [f"{test}: {warning}" for warning in pairing_warnings(column.paired_by)]
        if column.num_left_out:
            warnings.append(
                f"{test}: {column.num_left_out} items are in some files only and were left out."
            )
    return warnings
