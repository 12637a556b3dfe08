"""Results by train domain and test domain: accuracy, gain over the base, what carries over.

All files of a test domain hold the same items (pairing.py). Cells, gains and averages are shares
in [0, 1]. An average is the plain mean of its cells; its interval comes from one bootstrap that
draws images over all test domains together, so that an image which several domains ask about, or
several models answered, is drawn for all of them at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os.path import normpath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medr1.data.audit import blind_predictions, chance
from medr1.errors import InputError
from medr1.evaluate.comparison import spread
from medr1.evaluate.domains import in_order
from medr1.evaluate.estimates import FEW_CLUSTERS, Metric, difference_metric, mean_metric
from medr1.evaluate.groups import require_clusters
from medr1.evaluate.judging import Coded, Judged, Settings, Values, judge_all
from medr1.evaluate.pairing import pair_items, pairing_warnings
from medr1.intervals import cluster_totals, named_interval, percentiles, resample_sums
from medr1.records import MATRIX_SCHEMA, Prediction, Sample
from medr1.significance import holm, sign_flip_test

LEVELS = {"***": 0.001, "**": 0.01, "*": 0.05}
"""Marks, each for p under its level after Holm's correction over all cells."""

Row = Mapping[str, Mapping[str, Sequence[Prediction]]]
"""Test domain -> file -> predictions; several files are seeds."""


@dataclass(frozen=True)
class _Column:
    """One test domain: the same items for the base and every train domain."""

    judged: Judged
    first: list[Prediction]
    base: Values | None
    """What the base got right, the share of its seeds for each item."""
    cells: Mapping[str, Values]
    """Train domain -> the same."""
    seeds: Mapping[str, dict[str, Any] | None]
    left_out: int
    paired_by: str


def matrix(
    cells: Mapping[str, Row],
    base: Row,
    train_data: Mapping[str, Sequence[Sample]],
    *,
    settings: Settings,
    common_only: bool = False,
) -> dict[str, Any]:
    """The matrix document: cells, reference rows, averages, and what a reader has to know.

    `train_data` are training questions of a domain. Cells whose test images are among them are
    flagged, which compares image paths as the files write them and no pixels; they also give the
    blind row.
    """
    tests = in_order(cells, list(base))
    if unknown := [name for name in train_data if name not in {*cells, *tests}]:
        raise InputError(
            f"train data is given for {unknown[0]!r}, which is no domain here; there are: "
            f"{', '.join(dict.fromkeys([*cells, *tests]))[:200]}."
        )
    columns = {test: _column(test, cells, base, settings, common_only) for test in tests}
    seen = {name: _images(samples) for name, samples in train_data.items()}
    found: dict[str, dict[str, Any]] = {
        train: {
            test: _cell(train, test, columns[test], seen) for test in tests if test in cells[train]
        }
        for train in cells
    }
    _mark(found)
    return {
        "schema": MATRIX_SCHEMA,
        "protocol": settings.protocol,
        "train": list(cells),
        "test": tests,
        "n": {test: len(column.first) for test, column in columns.items()},
        "paired_by": {test: column.paired_by for test, column in columns.items()},
        "clusters": f"{settings.cluster_by}s",
        "n_clusters": {
            test: len(np.unique(column.judged.clusters)) for test, column in columns.items()
        },
        "rows": _reference_rows(columns, train_data),
        "cells": found,
        "averages": _averages(columns, found, settings),
        "levels": LEVELS,
        "missing": [[train, test] for train in cells for test in tests if test not in found[train]],
        "warnings": _warnings(columns, found, base, settings.cluster_by, bool(train_data)),
    }


def _column(
    test: str, cells: Mapping[str, Row], base: Row, settings: Settings, common_only: bool
) -> _Column:
    """The verdicts of all files of one test domain, paired."""
    files: dict[tuple[str | None, str], Sequence[Prediction]] = {
        (None, file): rows for file, rows in base.get(test, {}).items()
    }
    for name, row in cells.items():
        files |= {(name, file): rows for file, rows in row.get(test, {}).items()}
    labels = {
        (train, file): f"{file} ({f'trained on {train}' if train else 'base'}, tested on {test})"
        for train, file in files
    }
    paired = pair_items({labels[key]: rows for key, rows in files.items()}, common_only=common_only)
    judged = judge_all(paired.first, settings)
    require_clusters(judged)
    right: dict[str | None, list[Values]] = {}
    for train, file in files:
        predictions = paired.predictions[labels[train, file]]
        right.setdefault(train, []).append(judge_all(predictions, settings).correct)
    means = {train: np.mean(rows, axis=0) for train, rows in right.items()}
    return _Column(
        judged,
        paired.first,
        means.pop(None, None),
        {train: values for train, values in means.items() if train is not None},
        {
            train: spread(np.mean(rows, axis=1))
            for train, rows in right.items()
            if train is not None
        },
        paired.left_out,
        paired.paired_by,
    )


def _cell(
    train: str, test: str, column: _Column, seen: Mapping[str, frozenset[str]]
) -> dict[str, Any]:
    """Accuracy, gain over the base, and the test images that were trained on."""
    values, judged = column.cells[train], column.judged
    gain: Metric = {"value": None, "ci95": None, "n": 0, "reason": "no base results"}
    p = None
    if column.base is not None:
        gain = difference_metric(values, column.base, judged)
        p = sign_flip_test(values - column.base, judged.clusters)
    return {
        "in_domain": train == test,
        "accuracy": mean_metric(values, judged),
        "gain": gain,
        "p": p,
        "p_holm": None,
        "mark": "",
        "seeds": column.seeds[train],
        "shared": _shared(column.first, seen[train]) if train in seen else None,
    }


def _mark(cells: Mapping[str, Mapping[str, dict[str, Any]]]) -> None:
    """Put Holm's correction over all cells, and its mark, into each cell with a gain."""
    all_cells = [cell for row in cells.values() for cell in row.values()]
    for cell, p in zip(all_cells, holm([cell["p"] for cell in all_cells]), strict=True):
        cell["p_holm"] = p
        if p is not None:
            cell["mark"] = next((mark for mark, level in LEVELS.items() if p < level), "")


def _images(samples: Iterable[Sample]) -> frozenset[str]:
    return frozenset(normpath(image) for sample in samples for image in sample.images)


def _shared(predictions: Sequence[Prediction], seen: frozenset[str]) -> dict[str, int]:
    """How many items, and images, of a test domain have an image of the training set."""
    hits = [
        {normpath(image) for image in prediction.sample.images} & seen for prediction in predictions
    ]
    return {"items": sum(map(bool, hits)), "images": len(set().union(*hits))}


def _reference_rows(
    columns: Mapping[str, _Column], train_data: Mapping[str, Sequence[Sample]]
) -> dict[str, dict[str, Metric]]:
    """What no image gives (chance; blind: the option prior of the domain's own training data),
    and the base model; only what is known."""
    rows: dict[str, dict[str, Metric]] = {"chance": {}, "blind": {}, "base": {}}
    for test, column in columns.items():
        samples = [prediction.sample for prediction in column.first]
        optional = np.array([bool(sample.options) for sample in samples])
        if optional.all():
            rows["chance"][test] = {"value": chance(samples), "ci95": None, "n": len(samples)}
            if test in train_data:
                right = blind_predictions(train_data[test], samples).right
                rows["blind"][test] = mean_metric(np.array(right, dtype=float), column.judged)
        if column.base is not None:
            rows["base"][test] = mean_metric(column.base, column.judged)
    return rows


# --- averages ---------------------------------------------------------------------------------


def _averages(
    columns: Mapping[str, _Column],
    cells: Mapping[str, Mapping[str, Any]],
    settings: Settings,
) -> dict[str, Any]:
    """In-domain and out-of-domain means of accuracy and gain, over rows, columns and everything."""
    drawn = _draw(columns, settings)
    pairs = [(train, test) for train, row in cells.items() for test in row]
    inside = [(train, test) for train, test in pairs if train == test]
    outside = [(train, test) for train, test in pairs if train != test]

    def both(chosen: list[tuple[str, str]]) -> dict[str, Metric]:
        if len(chosen) == 1:
            ((train, test),) = chosen
            return {key: {**cells[train][test][key], "n": 1} for key in ("accuracy", "gain")}
        with_base = [(train, test) for train, test in chosen if columns[test].base is not None]
        return {
            "accuracy": _average(chosen, columns, drawn, settings.cluster_by),
            "gain": _average(with_base, columns, drawn, settings.cluster_by, over_base=True),
        }

    return {
        "in_domain": both(inside),
        "out_of_domain": both(outside),
        "rows": {train: both([p for p in outside if p[0] == train]) for train in cells},
        "columns": {test: both([p for p in outside if p[1] == test]) for test in columns},
    }


def _draw(
    columns: Mapping[str, _Column], settings: Settings
) -> dict[tuple[str | None, str], NDArray[np.float64]] | None:
    """(train or None for the base, test) -> that cell's accuracy in each resample of images.

    None where there are fewer than two images.
    """
    clusters = Coded.joined([c.judged.columns.clusters for c in columns.values()]).codes
    known = {test: _known(column) for test, column in columns.items()}
    sums_of = np.zeros((len(clusters), sum(1 + len(values) for values in known.values())))
    start = place = 0
    for test, column in columns.items():
        rows = slice(start, start + len(column.first))
        sums_of[rows, place] = 1
        for offset, values in enumerate(known[test].values(), start=1):
            sums_of[rows, place + offset] = values
        start, place = rows.stop, place + 1 + len(known[test])
    totals = cluster_totals(sums_of, clusters)
    if len(totals) < 2:
        return None
    sums = resample_sums(totals, settings.num_resamples, settings.seed)
    drawn, place = {}, 0
    for test, rights in known.items():
        n = sums[:, place]
        for offset, (train, values) in enumerate(rights.items(), start=1):
            # a test domain of which nothing was drawn stays at what was seen
            mean = sums[:, place + offset] / np.maximum(n, 1)
            drawn[train, test] = np.where(n > 0, mean, values.mean())
        place += 1 + len(rights)
    return drawn


def _known(column: _Column) -> dict[str | None, Values]:
    """Train domain, or None for the base -> what it got right."""
    known: dict[str | None, Values] = {} if column.base is None else {None: column.base}
    known.update(column.cells)
    return known


def _average(
    chosen: Sequence[tuple[str, str]],
    columns: Mapping[str, _Column],
    drawn: Mapping[tuple[str | None, str], NDArray[np.float64]] | None,
    unit: str,
    *,
    over_base: bool = False,
) -> Metric:
    """The plain mean of these cells, n of them, with its interval over images."""
    if not chosen:
        return {"value": None, "ci95": None, "n": 0, "reason": "no such cells"}
    values = [float(np.mean(columns[test].cells[train])) for train, test in chosen]
    if over_base:
        base = [columns[test].base for _, test in chosen]
        values = [v - float(np.mean(b)) for v, b in zip(values, base, strict=True) if b is not None]
    interval = None
    if drawn is not None:
        draws = [drawn[key] - (drawn[None, key[1]] if over_base else 0) for key in chosen]
        interval = percentiles(np.mean(draws, axis=0))
    interval, method = named_interval(interval, unit)
    ci95 = list(interval) if interval else None
    return {"value": float(np.mean(values)), "ci95": ci95, "n": len(chosen), "method": method}


# --- warnings ---------------------------------------------------------------------------------


def _warnings(
    columns: Mapping[str, _Column],
    cells: Mapping[str, Mapping[str, Any]],
    base: Row,
    unit: str,
    checked: bool,
) -> list[str]:
    """What a reader of the numbers has to know, a sentence each."""
    found = []
    wanted = len(cells) * len(columns)
    if missing := wanted - sum(map(len, cells.values())):
        found.append(
            f"missing cells: {missing} of {wanted}; averages are over those there are, and rows "
            "with different gaps do not compare."
        )
    without = [test for test in columns if test not in base]
    if len(without) == len(columns):
        found.append("no base results, and so no gains.")
    elif without:
        found.append(f"no base results, and so no gain, for: {', '.join(without)}.")
    if not any(train in columns for train in cells):
        found.append("no train domain has the name of a test domain: nothing is in-domain.")
    shared = [cell["shared"] for row in cells.values() for cell in row.values()]
    if flagged := sum(bool(entry and entry["items"]) for entry in shared):
        found.append(
            f"cells whose test images were trained on: {flagged} of {len(shared)}; they, and "
            "averages with them, may be too high."
        )
    if not checked:
        found.append("without training data, shared images were not looked for.")
    elif unknown := [
        train for train in cells if all(c["shared"] is None for c in cells[train].values())
    ]:
        found.append(f"shared images were not looked for in: {', '.join(unknown)}.")
    for test, column in columns.items():
        n_clusters = len(np.unique(column.judged.clusters))
        if n_clusters < min(len(column.first), FEW_CLUSTERS):
            found.append(f"{test}: only {n_clusters} {unit}s, so its intervals are too narrow.")
        found += [f"{test}: {said}" for said in pairing_warnings(column.paired_by)]
        if column.left_out:
            found.append(f"{test}: {column.left_out} items are in some files only, left out.")
    return found
