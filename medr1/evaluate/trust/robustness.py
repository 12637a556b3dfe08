"""What perturbing a picture or a question does to the answers: robustness.json.

Each perturbed item is held against the same item as it is: accuracy, how often the answer changes,
in which direction, how sure the model says it is. A curve that stays flat is robustness only where
the model looks at all, so the accuracy on a grey picture stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medr1 import answers
from medr1.data.perturbations import PERTURBATIONS
from medr1.data.rewordings import REWORDINGS
from medr1.data.variants import BLIND, CLEAN, KEYS, is_scale, title_of
from medr1.errors import InputError
from medr1.evaluate.estimates import (
    FEW_CLUSTERS,
    Metric,
    difference_metric,
    mean_metric,
    null,
    statistic_metric,
)
from medr1.evaluate.groups import require_clusters, sort_groups
from medr1.evaluate.judging import CodedColumn, Judged, Mask, Outcome, Settings, Values, judge_all
from medr1.evaluate.trust.binned import equal_width, expected_error
from medr1.evaluate.trust.calibration import error_metric
from medr1.evaluate.trust.passes import MIN_ITEMS, tta_metrics
from medr1.records import ROBUSTNESS_SCHEMA, Prediction
from medr1.significance import holm, sign_flip_test

MIN_CALIBRATION = 100
"""Under so many items the ECE of a model that is perfectly calibrated is far from 0."""
_FEW = f"fewer than {MIN_ITEMS} items"

_NOTHING_RIGHT = "nothing was right on the items as they are"
_AGAINST_CLEAN = (
    *("clean_accuracy", "difference", "flip_rate", "right_to_wrong", "wrong_to_right"),
    "relative_drop",
)

Cell = dict[str, Any]


@dataclass(frozen=True)
class _Perturbed:
    """All answers of a run, and for each the row of the same item as it is."""

    judged: Judged
    kinds: NDArray[np.str_]
    severities: NDArray[np.intp]
    partner: NDArray[np.intp]
    """Index of the clean item's row; of a clean item its own."""
    confidence: Values
    """NaN where there is none."""

    @property
    def correct(self) -> Values:
        return self.judged.correct

    @cached_property
    def clean_correct(self) -> Values:
        """Whether the same item was right as it is."""
        return self.correct[self.partner]

    @cached_property
    def changed(self) -> Values:
        """1.0 where the answer is another than to the item as it is; options by their text."""
        said = [_answer(outcome) for outcome in self.judged.outcomes.values]
        codes = CodedColumn.from_items(said).codes[self.judged.outcomes.codes]
        return (codes != codes[self.partner]).astype(np.float64)

    def p(self, where: Mask) -> float | None:
        """Of the difference from the same items as they are; None for too few items."""
        if where.sum() < MIN_ITEMS:
            return None
        difference = self.correct[where] - self.clean_correct[where]
        return sign_flip_test(difference, self.judged.clusters[where])

    def cell(self, kind: str, severity: int) -> Mask:
        return (self.kinds == kind) & (self.severities == severity)


def robustness(
    predictions: Sequence[Prediction],
    *,
    settings: Settings,
    left_out: Mapping[str, Mapping[str, int]] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The robustness.json document of a run over `data.variants.plan`'s questions.

    `left_out` and `meta` are that plan's and the run's. InputError where an item does not say how
    it was perturbed, or has no partner that was not.
    """
    run = _perturbed(predictions, settings)
    judged, out = run.judged, left_out or {}
    clean = run.kinds == CLEAN
    order = dict.fromkeys(run.kinds[~clean].tolist())
    found = [_perturbation(run, kind, out.get(kind, {})) for kind in order if kind != BLIND]
    _correct_for_several([cell for one in found for cell in one["cells"]])
    blind = _cell(run, BLIND, 1) if BLIND in order else null("no grey picture was asked")
    if BLIND in order:
        _correct_for_several([blind])  # a question of its own, and one comparison
    n_clusters = len(np.unique(judged.clusters[clean]))
    return {
        "schema": ROBUSTNESS_SCHEMA,
        "meta": dict(meta or {}),
        "protocol": settings.protocol,
        "n": int(clean.sum()),
        "clusters": {"unit": judged.unit, "n": n_clusters},
        "intervals": judged.resampling,
        "clean": _level(run, clean),
        "blind": blind,
        "perturbations": found,
        **_over_all(run, found),
        "views": _views(run, found),
        "groups": {"modality": _by_modality(run, found)},
        "left_out": {kind: dict(why) for kind, why in out.items()},
        "n_error": int(judged.outcomes.where(lambda o: o.failed)[clean].sum()),
        "warnings": _warnings(run, clean, n_clusters, found),
    }


def _perturbed(predictions: Sequence[Prediction], settings: Settings) -> _Perturbed:
    metadata = [prediction.sample.metadata for prediction in predictions]
    for prediction, said in zip(predictions, metadata, strict=True):
        if not all(key in said for key in KEYS):
            raise InputError(
                f"item {prediction.sample.id} does not say how it was perturbed. "
                "Make the results with medr1 robustness."
            )
    kinds, severities, originals = ([said[key] for said in metadata] for key in KEYS)
    rows = {name: i for i, name in enumerate(originals) if kinds[i] == CLEAN}
    if missing := next((name for name in originals if name not in rows), None):
        raise InputError(f"item {missing} was not asked as it is, so nothing can be compared.")
    judged = judge_all(predictions, settings)
    require_clusters(judged)
    sure = [np.nan if p.confidence is None else p.confidence for p in predictions]
    return _Perturbed(
        judged,
        np.array(kinds, dtype=np.str_),
        np.array(severities, dtype=np.intp),
        np.array([rows[name] for name in originals], dtype=np.intp),
        np.array(sure, dtype=np.float64),
    )


def _answer(outcome: Outcome) -> str | None:
    """The answer as what is compared: an option's text, else the text in normal form."""
    said = outcome.predicted
    return said if outcome.options or said is None else answers.normalize(said) or said


# --- one kind ---------------------------------------------------------------------------------


def _perturbation(run: _Perturbed, kind: str, left_out: Mapping[str, int]) -> dict[str, Any]:
    known = PERTURBATIONS.get(kind)
    severities = np.unique(run.severities[run.kinds == kind]).tolist()
    cells = []
    for severity in severities:
        number = {"parameter": known.values[severity - 1]} if known else {}
        cells.append({"severity": severity, **number, **_cell(run, kind, severity)})
    return {
        "name": kind,
        "title": title_of(kind),
        "is_scale": is_scale(kind),
        "parameter": known.parameter if known else None,
        "source": known.source if known else REWORDINGS[kind].keeps,
        "left_out": dict(left_out),
        "cells": cells,
        "consistency": _consistency(run, kind) if not is_scale(kind) and len(cells) > 1 else None,
    }


def _cell(run: _Perturbed, kind: str, severity: int) -> Cell:
    """One kind at one severity, against the same items as they are."""
    where, judged = run.cell(kind, severity), run.judged
    level = _level(run, where)
    if where.sum() < MIN_ITEMS:
        nothing = null(_FEW)
        return {**level, **dict.fromkeys(_AGAINST_CLEAN, nothing), "p": None}
    flips = {
        "flip_rate": run.changed,
        "right_to_wrong": ((run.clean_correct == 1) & (run.correct == 0)).astype(np.float64),
        "wrong_to_right": ((run.clean_correct == 0) & (run.correct == 1)).astype(np.float64),
    }
    return {
        **level,
        "clean_accuracy": mean_metric(run.clean_correct, judged, where),
        "difference": difference_metric(run.correct, run.clean_correct, judged, where),
        "p": run.p(where),
        **{name: mean_metric(values, judged, where) for name, values in flips.items()},
        "relative_drop": _relative_drop(run, where),
    }


def _level(run: _Perturbed, where: Mask) -> Cell:
    """What does not need the clean item: accuracy, confidence, calibration."""
    n, judged = int(where.sum()), run.judged
    if n < MIN_ITEMS:
        nothing = null(_FEW)
        return {"n": n, **dict.fromkeys(("accuracy", "confidence", "ece"), nothing)}
    sure = where & ~np.isnan(run.confidence)
    no_confidence = "no item has a confidence"
    few = f"fewer than {MIN_CALIBRATION} items with a confidence"
    enough = int(sure.sum()) >= MIN_CALIBRATION
    return {
        "n": n,
        "accuracy": mean_metric(run.correct, judged, where),
        "confidence": mean_metric(run.confidence, judged, sure, no_confidence),
        "ece": _ece(run, sure) if enough else null(few if sure.any() else no_confidence),
    }


def _relative_drop(run: _Perturbed, where: Mask) -> Metric:
    """(clean - perturbed) / clean of the accuracies, with its bootstrap interval."""
    sums = np.column_stack([run.clean_correct[where], run.correct[where]])
    if not sums[:, 0].any():
        return null(_NOTHING_RIGHT)
    clusters = run.judged.clusters[where]
    return statistic_metric(sums, clusters, lambda drawn: _drop(*drawn.T), run.judged)


def _drop(clean: Values, perturbed: Values) -> Values:
    """(clean - perturbed) / clean; 0 where a resample holds nothing that was right."""
    return np.divide(clean - perturbed, clean, where=clean > 0, out=np.zeros_like(clean))


def _ece(run: _Perturbed, where: Mask) -> Metric:
    """The expected calibration error over 15 equal bins, with what chance makes of it."""
    sure, clusters = run.confidence[where], run.judged.clusters[where]
    bins = equal_width(sure)
    return error_metric(sure, run.correct[where], clusters, bins, expected_error, run.judged)


def _consistency(run: _Perturbed, kind: str) -> Metric:
    """The share of items whose answer is the same as it is and in every variant of the kind."""
    where = run.kinds == kind
    rows, counts = np.unique(run.partner[where], return_counts=True)
    asked = np.zeros(len(run.kinds), dtype=bool)
    asked[rows] = True
    if len(rows) < MIN_ITEMS:
        return null(_FEW)
    changes = np.bincount(run.partner[where], weights=run.changed[where], minlength=len(run.kinds))
    metric = mean_metric((changes == 0).astype(np.float64), run.judged, asked)
    return {**metric, "variants": int(counts.max()) + 1}


def _correct_for_several(cells: Sequence[Cell]) -> None:
    """Put Holm's correction over all of these beside each p."""
    for cell, p in zip(cells, holm([cell["p"] for cell in cells]), strict=True):
        cell["p_holm"] = p


# --- all of them ------------------------------------------------------------------------------


def _views(run: _Perturbed, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each picture as it is and mildly perturbed in each way, as one answer."""
    least = [(one["name"], one["cells"][0]["severity"]) for one in found if one["is_scale"]]
    masks = [run.cell(name, severity) for name, severity in least]
    return tta_metrics(run.judged, run.kinds == CLEAN, masks, run.partner)


def _over_all(run: _Perturbed, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean corruption accuracy and relative drop: every scale and severity counts alike."""
    cells = [
        run.cell(one["name"], cell["severity"])
        for one in found
        for cell in one["cells"]
        if one["is_scale"] and cell["n"] >= MIN_ITEMS
    ]
    names = ("mean_corruption_accuracy", "mean_relative_drop")
    if not cells:
        few = any(one["is_scale"] for one in found)
        return dict.fromkeys(names, null(_FEW if few else "no perturbation that has a scale"))
    clean = run.kinds == CLEAN
    clusters, row_of = run.judged.clusters[clean], np.cumsum(clean) - 1
    sums = np.zeros((len(clusters), 3 * len(cells)))
    for place, where in enumerate(cells):
        rows = row_of[run.partner[where]]
        sums[rows, place] = run.correct[where]
        sums[rows, len(cells) + place] = run.clean_correct[where]
        sums[rows, 2 * len(cells) + place] = 1
    asked = sums[:, 2 * len(cells) :].any(axis=1)  # so that each draw has some
    sums, clusters = sums[asked], clusters[asked]

    def accuracies(drawn: Values) -> tuple[Values, Values]:
        perturbed, as_is, counts = np.split(drawn, 3, axis=1)
        with np.errstate(invalid="ignore"):
            return np.nanmean(as_is / counts, axis=1), np.nanmean(perturbed / counts, axis=1)

    def metric(function: Any) -> Metric:
        found = statistic_metric(sums, clusters, function, run.judged)
        method = f"{found['method']}; n counts kinds times severities"
        return {**found, "n": len(cells), "method": method}

    nothing_right = accuracies(sums.sum(axis=0, keepdims=True))[0][0] == 0
    return {
        "mean_corruption_accuracy": metric(lambda drawn: accuracies(drawn)[1]),
        "mean_relative_drop": null(_NOTHING_RIGHT)
        if nothing_right
        else metric(lambda drawn: _drop(*accuracies(drawn))),
    }


def _by_modality(run: _Perturbed, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """{"CT": {"n", "accuracy", "differences": {"jpeg": [{"severity", "value", ..., "p_holm"}]}}}.

    Where a modality has enough items as they are.
    """
    column = run.judged.columns.groups["modality"]
    names = [name for name in column.values if name is not None]
    groups, shown = {}, []
    for name in sort_groups(names):
        inside = column.where(lambda value, name=name: value == name)  # type: ignore[misc]
        clean = inside & (run.kinds == CLEAN)
        if len(names) < 2 or clean.sum() < MIN_ITEMS:
            continue
        differences = {}
        for one in found:
            rows = []
            for cell in one["cells"]:
                where = inside & run.cell(one["name"], cell["severity"])
                metric = (
                    difference_metric(run.correct, run.clean_correct, run.judged, where)
                    if where.sum() >= MIN_ITEMS
                    else null(_FEW)
                )
                rows.append({"severity": cell["severity"], **metric, "p": run.p(where)})
            differences[one["name"]] = rows
            shown += rows
        groups[name] = {
            "n": int(clean.sum()),
            "accuracy": mean_metric(run.correct, run.judged, clean),
            "differences": differences,
        }
    _correct_for_several(shown)
    return groups


def _warnings(
    run: _Perturbed, clean: Mask, n_clusters: int, found: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What a reader of the curves has to know, a sentence each."""
    said, n = [], int(clean.sum())
    if n < MIN_ITEMS:
        said.append(
            f"{n} items are too few to say anything: give at least {MIN_ITEMS}, better hundreds."
        )
        return said
    if n_clusters < FEW_CLUSTERS:
        said.append(f"only {n_clusters} {run.judged.unit}s: bootstrap intervals are too narrow.")
    if few := [one["title"] for one in found if any(c["n"] < MIN_ITEMS for c in one["cells"])]:
        said.append(f"{', '.join(few)}: {_FEW} can be asked so; no numbers are given.")
    failed = run.judged.outcomes.where(lambda o: o.failed)
    if failed[clean].any():
        said.append(f"{int(failed[clean].sum())} of {n} items failed; they count as wrong.")
    said += _looks(run, clean)
    return said


def _looks(run: _Perturbed, clean: Mask) -> list[str]:
    """A warning where the model is not clearly better with its picture than without."""
    blind = run.cell(BLIND, 1)
    if not blind.any():
        return []
    gain = difference_metric(run.clean_correct, run.correct, run.judged, blind)
    if gain["value"] > 0 and (gain["ci95"] is None or gain["ci95"][0] > 0):
        return []
    return [
        "with a grey picture the model is about as right as with the real one: it hardly looks, "
        "so a flat curve says nothing about robustness."
    ]
