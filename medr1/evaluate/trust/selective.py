"""Answering only where the model is sure enough: risk and coverage, referral, sets of options.

A threshold and a set's size are chosen on held-out items and judged on others: chosen and judged
on the same ones, they would look better than they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from medr1.evaluate.estimates import Metric, mean_metric, null
from medr1.evaluate.groups import sort_groups
from medr1.evaluate.judging import Judged, Mask, Values
from medr1.evaluate.trust.calibration import (
    MIN_ITEMS,
    confidence_of,
    level_totals,
    ranked_metric,
)

COVERAGE = 0.8
"""The share of items at which the risk is stated."""
LEVEL = 0.95
"""How sure it is that a chosen threshold keeps the target risk."""
THRESHOLDS = tuple(round(0.05 * k, 2) for k in range(20))
"""What is tried, fixed beforehand: confidence at least so much."""
CURVE_POINTS = 100
_HELD_OUT = "it is chosen on held-out results: --calibrate-on FILE"


@dataclass(frozen=True)
class SelectiveConfig:
    """What is asked of a model that may abstain."""

    target_risk: float = 0.1
    """The share of wrong answers, among those given, that is accepted."""
    alpha: float = 0.1
    """The share of items whose right option may lie outside the conformal set."""


DEFAULT_SELECTIVE = SelectiveConfig()


# --- risk and coverage --------------------------------------------------------------------------


def _descending(sums: Values) -> tuple[Values, Values]:
    """Of `level_totals`: items and errors of each level, the surest first."""
    right, wrong = (part[:, ::-1] for part in np.split(sums, 2, axis=1))
    return right + wrong, wrong


def area_under_risk_coverage(sums: Values) -> Values:
    """AURC of each row of `level_totals`: the mean, over k, of the error of the k surest.

    Items of one level are taken in any order, and the mean over all orders is exact: the j-th of m
    items with e errors, after k items with d, makes (d + e j / m) / (k + j), whose sum over j is
    e + (d - e k / m) (H(k + m) - H(k)) with harmonic numbers H. Geifman et al. (2019).
    """
    n, wrong = _descending(sums)
    after, errors = np.cumsum(n, axis=1), np.cumsum(wrong, axis=1)
    before, had = after - n, errors - wrong
    share = wrong / np.maximum(n, 1)
    areas = wrong + (had - share * before) * (_harmonic(after) - _harmonic(before))
    return areas.sum(axis=1) / after[:, -1]


def excess_area(sums: Values) -> Values:
    """E-AURC: AURC less that of the order which puts every error last."""
    n, wrong = _descending(sums)
    total, errors = n.sum(axis=1), wrong.sum(axis=1)
    right = total - errors
    best = (errors - right * (_harmonic(total) - _harmonic(right))) / total
    return area_under_risk_coverage(sums) - best


def risk_at(sums: Values, coverage: float = COVERAGE) -> Values:
    """The error among the surest share of items; of a level that is cut, its mean."""
    n, wrong = _descending(sums)
    kept = np.ceil(coverage * n.sum(axis=1, keepdims=True) - 1e-9)
    taken = np.clip(kept - (np.cumsum(n, axis=1) - n), 0, n)
    return (taken * wrong / np.maximum(n, 1)).sum(axis=1) / kept[:, 0]


def _harmonic(numbers: Values) -> Values:
    from scipy.special import digamma

    return digamma(numbers + 1) + np.euler_gamma


def risk_coverage(confidence: Values, correct: Values) -> list[dict[str, float]]:
    """Points of the curve: the error among the surest items, at up to CURVE_POINTS coverages."""
    sums = level_totals(confidence, correct)
    n = len(correct)
    counts = np.unique(np.ceil(np.linspace(1 / CURVE_POINTS, 1, CURVE_POINTS) * n))
    order = np.sort(confidence)[::-1]
    return [
        {
            "coverage": count / n,
            "risk": float(risk_at(sums, count / n)[0]),
            "threshold": float(order[int(count) - 1]),
        }
        for count in counts
    ]


# --- referral -----------------------------------------------------------------------------------


def chosen_threshold(confidence: Values, correct: Values, target: float) -> float | None:
    """The lowest of THRESHOLDS above which the risk is under the target, with confidence LEVEL.

    From the highest on, each is tested by the Clopper-Pearson upper bound of the error among the
    items at least so sure, until one fails: Learn then Test (Angelopoulos et al., 2021) by
    fixed-sequence testing. Those with too few items to pass without any error are left out, which
    no label decides. None where none passes. Items are taken as independent.
    """
    from scipy.stats import beta

    passed = None
    for threshold in reversed(THRESHOLDS):
        kept = confidence >= threshold
        n, right = int(kept.sum()), int(correct[kept].sum())
        if (1 - target) ** n > 1 - LEVEL:
            continue
        if not right or beta.ppf(LEVEL, n - right + 1, right) > target:
            break
        passed = threshold
    return passed


def _referral(judged: Judged, fitted_on: Judged | None, target: float) -> Any:
    """The threshold for a target risk, what it refers and what risk remains."""
    confidence, source = confidence_of(judged)
    if fitted_on is None:
        return null(_HELD_OUT)
    sure, held_source = confidence_of(fitted_on)
    known = ~np.isnan(sure)
    if known.sum() < MIN_ITEMS:
        return null(f"fewer than {MIN_ITEMS} held-out items have a confidence")
    if held_source != source:
        return null(f"confidence is by {source} here and by {held_source} in the held-out file")
    threshold = chosen_threshold(sure[known], fitted_on.correct[known], target)
    if threshold is None:
        said = f"no threshold keeps the risk under {target:g} with confidence {LEVEL:g}"
        return null(f"{said}, on {int(known.sum())} held-out items: refer all, or collect more")
    answered = np.nan_to_num(confidence, nan=-1.0) >= threshold
    return {
        "target_risk": target,
        "level": LEVEL,
        "threshold": threshold,
        "n": len(judged),
        **_referred(judged, answered, np.ones(len(judged), dtype=bool)),
        "groups": {name: _referred(judged, answered, where) for name, where in _modalities(judged)},
    }


def _referred(judged: Judged, answered: Mask, where: Mask) -> dict[str, Metric]:
    """Of items: the share that goes to a clinician, and the error among the others."""
    return {
        "referred": mean_metric((~answered).astype(np.float64), judged, where),
        "risk": mean_metric(1 - judged.correct, judged, where & answered, "every item is referred"),
    }


# --- conformal sets -----------------------------------------------------------------------------


def conformal_quantile(scores: Values, alpha: float) -> float | None:
    """The ceil((n + 1)(1 - alpha))-th smallest score; None where n is too small for it."""
    place = ceil((len(scores) + 1) * (1 - alpha) - 1e-9)
    return None if place > len(scores) else float(np.sort(scores)[place - 1])


def prediction_sets(probabilities: Values, quantile: Values) -> Mask:
    """Which options (items, K) are in each item's set: those with 1 - p <= its quantile."""
    with np.errstate(invalid="ignore"):
        return 1 - probabilities <= quantile[:, None] + 1e-12


def _conformal(judged: Judged, fitted_on: Judged | None, alpha: float) -> Any:
    """Split conformal sets (LAC), one quantile for all and one for each modality (Mondrian)."""
    if fitted_on is None:
        return null(_HELD_OUT)
    held, here = fitted_on.columns.scores, judged.columns.scores
    if held.has_options.sum() < MIN_ITEMS or not here.has_options.any():
        return null(f"fewer than {MIN_ITEMS} held-out items, or none here, have option_probs")
    scores = 1 - held.of_right(held.probabilities)
    overall = conformal_quantile(scores[held.has_options], alpha)
    if overall is None:
        return null(f"alpha {alpha:g} needs at least {ceil(1 / alpha) - 1} held-out items")
    common = np.full(len(judged), overall)
    mondrian, fallen = common.copy(), []
    calibrated = dict(_modalities(fitted_on))
    for name, where in _modalities(judged):
        own = scores[calibrated[name] & held.has_options] if name in calibrated else scores[:0]
        quantile = conformal_quantile(own, alpha)
        if quantile is None:
            fallen.append(name)
        else:
            mondrian[where] = quantile
    return {
        "alpha": alpha,
        "nominal": 1 - alpha,
        "n_calibration": int(held.has_options.sum()),
        "quantile": overall,
        "split": _sets(judged, common),
        "mondrian": _sets(judged, mondrian),
        "without_own_quantile": fallen,
    }


def _sets(judged: Judged, quantile: Values) -> dict[str, Any]:
    """Coverage, size and kind of the sets, of all items with options and by modality."""
    here = judged.columns.scores
    inside = prediction_sets(here.probabilities, quantile)
    size = inside.sum(axis=1).astype(np.float64)
    covered = inside[np.arange(len(size)), here.right_index].astype(np.float64)

    def of(where: Mask) -> dict[str, Metric]:
        kept = where & here.has_options
        reason = "no item has option_probs"
        return {
            "coverage": mean_metric(covered, judged, kept, reason),
            "size": mean_metric(size, judged, kept, reason, share=False),
            "single": mean_metric((size == 1).astype(np.float64), judged, kept, reason),
            "empty": mean_metric((size == 0).astype(np.float64), judged, kept, reason),
        }

    groups = {name: of(where) for name, where in _modalities(judged)}
    return {**of(np.ones(len(size), dtype=bool)), "groups": groups}


def _modalities(judged: Judged) -> Sequence[tuple[str, Mask]]:
    """Each modality and where it is."""
    column = judged.columns.groups["modality"]
    names = sort_groups(value for value in column.values if value is not None)
    return [(name, column.where(lambda value, name=name: value == name)) for name in names]  # type: ignore[misc]


# --- the section of summary.json ----------------------------------------------------------------


def selective(
    judged: Judged, fitted_on: Judged | None = None, config: SelectiveConfig = DEFAULT_SELECTIVE
) -> dict[str, Any]:
    """The section `selective` of summary.json; an answer without a confidence is referred."""
    confidence, source = confidence_of(judged)
    where = ~np.isnan(confidence)
    n = int(where.sum())
    if source is None or n < MIN_ITEMS:
        return null(f"fewer than {MIN_ITEMS} items have a confidence")
    sure, right = confidence[where], judged.correct[where]
    ranked = {
        "aurc": area_under_risk_coverage,
        "e_aurc": excess_area,
        "risk_at_80": risk_at,
    }
    return {
        "source": source,
        "n": n,
        "metrics": {
            "risk": mean_metric(1 - judged.correct, judged, where),
            **{
                name: ranked_metric(sure, right, judged, where, statistic)
                for name, statistic in ranked.items()
            },
        },
        "curve": risk_coverage(sure, right),
        "referral": _referral(judged, fitted_on, config.target_risk),
        "conformal": _conformal(judged, fitted_on, config.alpha),
    }
