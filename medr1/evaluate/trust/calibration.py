"""Whether a model is right as often as it is sure: calibration of its confidence.

Pure functions of confidence (items,), correctness (items,) and, for temperature and NLL, of option
probabilities (items, K; NaN for no option). `medr1 eval --explain NAME` has every definition.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medr1.evaluate.estimates import Metric, mean_metric, null
from medr1.evaluate.groups import sort_groups
from medr1.evaluate.judging import Judged, Mask, Values
from medr1.evaluate.trust.binned import (
    BINS,
    Bins,
    bin_sums,
    bin_totals,
    brier_parts,
    chance_error,
    debiased_error,
    debiased_interval,
    equal_mass,
    equal_width,
    expected_error,
    largest_error,
)
from medr1.evaluate.trust.ranking import auroc_metric
from medr1.intervals import bootstrap_statistic, cluster_totals, named_interval, percentiles

MIN_ITEMS = 50
"""Under so many items with a confidence nothing is computed: a bin would hold three."""
LEAST = 1e-6
"""The least probability that a logarithm is taken of: what results.json rounds to."""
MOST_DRAWN = 10_000
"""Items up to which there are intervals; of more they are narrow, and would take minutes."""
_LEVELS = 128
_FEW = f"fewer than {MIN_ITEMS} items have a confidence"


# --- ranks --------------------------------------------------------------------------------------


def level_totals(confidence: Values, correct: Values) -> Values:
    """(1, 2 x levels), the least sure first: how many are right, and wrong, at each confidence."""
    level = np.unique(confidence, return_inverse=True)[1]
    return np.concatenate([np.bincount(level, one) for one in (correct, 1 - correct)])[None]


def level_sums(confidence: Values, correct: Values, most: int) -> Values:
    """Per item (items, 2 x levels): right, wrong, in the item's level, of `most` at most.

    A level is one value of confidence, or a group of neighbours of about equal size.
    """
    values, level = np.unique(confidence, return_inverse=True)
    if len(values) > most:
        edges = np.unique(np.quantile(confidence, np.linspace(0, 1, most + 1)[1:-1]))
        level = np.searchsorted(edges, confidence, side="right")
    within = np.eye(int(level.max(initial=0)) + 1)[level]
    return np.hstack([within * correct[:, None], within * (1 - correct)[:, None]])


def ranked_metric(
    confidence: Values,
    correct: Values,
    judged: Judged,
    where: Mask,
    statistic: Callable[[Values], Values],
) -> Metric:
    """A statistic of `level_totals`, exact, and its bootstrap interval over 128 levels."""
    value = float(statistic(level_totals(confidence, correct))[0])
    interval, n = None, len(correct)
    if n <= MOST_DRAWN:
        sums, clusters = level_sums(confidence, correct, _LEVELS), judged.clusters[where]
        interval = bootstrap_statistic(sums, clusters, statistic, **judged.resampling)
    return _metric(value, interval, n, judged)


def _metric(value: float, interval: Any, n: int, judged: Judged) -> Metric:
    if interval is None and n > MOST_DRAWN:
        method = f"more than {MOST_DRAWN:,} items: no interval"
    else:
        interval, method = named_interval(interval, judged.unit)
    return {"value": value, "ci95": list(interval) if interval else None, "n": n, "method": method}


# --- temperature --------------------------------------------------------------------------------


def tempered(probabilities: Values, temperature: float) -> Values:
    """p^(1/T), made to sum to 1: a softmax of scores divided by T (Guo et al., 2017)."""
    scores = np.log(np.maximum(probabilities, LEAST)) / temperature
    weights = np.exp(scores - np.nanmax(scores, axis=1, keepdims=True, initial=-np.inf))
    return weights / np.nansum(weights, axis=1, keepdims=True)


def mean_nll(probabilities: Values, right: NDArray[np.intp], weights: Values) -> float:
    """The weighted mean of -log of the right options' probabilities."""
    own = probabilities[np.arange(len(right)), right]
    return float(np.average(-np.log(np.maximum(own, LEAST)), weights=weights))


def fitted_temperature(
    probabilities: Values, right: NDArray[np.intp], weights: Values | None = None
) -> float:
    """The T between 0.05 and 20 that makes the NLL least, by scipy's bounded search over log T."""
    from scipy.optimize import minimize_scalar

    own = np.ones(len(right)) if weights is None else weights
    found = minimize_scalar(
        lambda log_t: mean_nll(tempered(probabilities, float(np.exp(log_t))), right, own),
        bounds=(np.log(0.05), np.log(20.0)),
        method="bounded",
    )
    return float(np.exp(found.x))


def temperature_metric(judged: Judged, num_resamples: int = 200) -> Metric:
    """The temperature of judged items and its interval, drawing their images."""
    scores = judged.columns.scores
    kept = scores.has_options
    n = int(kept.sum())
    if n < MIN_ITEMS:
        return null(f"fewer than {MIN_ITEMS} items to fit it on have option probabilities")
    probabilities, right = scores.probabilities[kept], scores.right_index[kept]
    codes = np.unique(judged.clusters[kept], return_inverse=True)[1]
    number = int(codes.max()) + 1
    rng = np.random.default_rng(judged.settings.seed)
    drawn: list[float] = []
    for _ in range(num_resamples if number > 1 and n <= MOST_DRAWN else 0):
        counts = np.bincount(rng.integers(number, size=number), minlength=number)
        drawn.append(fitted_temperature(probabilities, right, counts[codes].astype(np.float64)))
    value = fitted_temperature(probabilities, right)
    return _metric(value, percentiles(drawn) if drawn else None, n, judged)


# --- the section of summary.json ----------------------------------------------------------------


def confidence_of(judged: Judged) -> tuple[Values, str | None]:
    """How sure the model is of each answer, NaN where unknown, and what says so.

    The options' probabilities or the file's own confidence; without them, how many of the item's
    samples say the same.
    """
    scores = judged.columns.scores
    known = {
        "probabilities": ~np.isnan(scores.of_answer(scores.probabilities)),
        "stated confidence": ~np.isnan(scores.stated_confidence),
    }
    if names := [name for name, where in known.items() if where.any()]:
        return scores.confidence, " and ".join(names)
    outcomes, sampled = judged.outcomes, judged.columns.sampled
    agreed = np.full(len(judged), np.nan)
    for i, (outcome, several) in enumerate(zip(outcomes, sampled, strict=True)):
        if several.answers and outcome.answer is not None:
            agreed[i] = np.mean([answer == outcome.answer for answer in several.answers])
    return agreed, None if np.isnan(agreed).all() else "agreement of samples"


def calibration(judged: Judged, fitted_on: Judged | None = None) -> dict[str, Any]:
    """The section `calibration` of summary.json; with held-out items, with a temperature.

    Null with a reason where fewer than MIN_ITEMS items have a confidence.
    """
    confidence, source = confidence_of(judged)
    where = ~np.isnan(confidence)
    n = int(where.sum())
    if source is None:
        has = "what is given as option_probs or confidence are no probabilities"
        none = "the file has neither option_probs, confidence nor samples"
        return null(has if judged.columns.scores.invalid.any() else none)
    if n < MIN_ITEMS:
        return null(_FEW)
    probabilities = judged.columns.scores.probabilities
    return {
        "source": source,
        "n": n,
        "n_without": len(judged) - n,
        "metrics": calibration_metrics(judged, confidence, probabilities),
        "brier_parts": brier_parts(
            confidence[where], judged.correct[where], equal_width(confidence[where])
        ),
        "bins": _diagram(judged, confidence),
        "groups": {
            kind: _groups(judged, confidence, kind) for kind in ("modality", "question_type")
        },
        "temperature": _after_temperature(judged, fitted_on),
    }


def calibration_metrics(
    judged: Judged, confidence: Values, probabilities: Values, where: Mask | None = None
) -> dict[str, Metric]:
    """Every number of calibration, of the items (of `where`) that have a confidence."""
    kept = ~np.isnan(confidence) if where is None else where & ~np.isnan(confidence)
    sure, right, clusters = confidence[kept], judged.correct[kept], judged.clusters[kept]
    n = int(kept.sum())
    if not n:
        return {}

    def biased(bins: Bins, statistic: Callable[[Values], Values]) -> Metric:
        return error_metric(sure, right, clusters, bins, statistic, judged)

    def mean(values: Values, where: Mask, *, share: bool = True) -> Metric:
        if not where.any():
            return null("no item has option probabilities")
        if where.sum() <= MOST_DRAWN:
            return mean_metric(values, judged, where, share=share)
        return _metric(float(values[where].mean()), None, int(where.sum()), judged)

    wide, even = equal_width(sure), equal_mass(sure)
    scores = judged.columns.scores
    own, has = scores.of_right(probabilities), scores.has_options & kept
    nll = -np.log(np.maximum(np.nan_to_num(own, nan=1.0), LEAST))
    target = np.zeros_like(probabilities)
    target[np.flatnonzero(has), scores.right_index[has]] = 1.0
    squares = np.nansum((probabilities - target) ** 2, axis=1)
    squared = (confidence - judged.correct) ** 2
    return {
        "confidence": mean(confidence, kept),
        "accuracy": mean_metric(judged.correct, judged, kept),
        "overconfidence": mean(confidence - judged.correct, kept),
        "ece": biased(wide, expected_error),
        "ece_mass": biased(even, expected_error),
        "ece_debiased": _debiased(sure, right, clusters, even, judged),
        "mce": biased(wide, largest_error),
        "brier": mean(squared, kept),
        "brier_options": mean(squares, has, share=False),
        "nll": {**mean(nll, has, share=False), "n_clipped": int((own[has] < LEAST).sum())},
        "auroc": auroc_metric(confidence, judged.correct == 1, judged, kept),
    }


def error_metric(
    confidence: Values,
    correct: Values,
    clusters: NDArray[np.intp],
    bins: Bins,
    statistic: Callable[[Values], Values],
    judged: Judged,
) -> Metric:
    """A calibration error of these items, biased as it is, with what chance alone makes of it."""
    n, by_chance = len(correct), None
    if n <= MOST_DRAWN:
        by_chance = chance_error(
            confidence, correct, clusters, bins, statistic, **judged.resampling
        )
    known = (
        "by_chance is what 95 % of calibrated models stay under, by verdicts drawn anew and a wild "
        f"bootstrap over {judged.unit}s"
    )
    return {
        "value": float(statistic(bin_totals(confidence, correct, bins))[0]),
        "ci95": None,
        "n": n,
        "by_chance": by_chance,
        "method": "biased upwards: no interval" + (f"; {known}" if by_chance is not None else ""),
    }


def _debiased(
    confidence: Values, correct: Values, clusters: NDArray[np.intp], bins: Bins, judged: Judged
) -> Metric:
    """The debiased error with the interval that inverts its distribution."""
    interval, n = None, len(correct)
    if n <= MOST_DRAWN:
        totals = cluster_totals(bin_sums(confidence, correct, bins), clusters)
        interval = debiased_interval(totals)
    value = float(debiased_error(bin_totals(confidence, correct, bins))[0])
    found = _metric(value, interval, n, judged)
    name = f"noncentral chi-square over {judged.unit}s"
    return {**found, "method": name if found["ci95"] else found["method"]}


def _diagram(judged: Judged, confidence: Values) -> list[dict[str, Any]]:
    """The bins of the reliability diagram, from the least sure on; empty ones are left out."""
    where = ~np.isnan(confidence)
    bins = np.where(where, equal_width(np.nan_to_num(confidence)), -1)
    return [
        {
            "low": number / BINS,
            "high": (number + 1) / BINS,
            "n": int((bins == number).sum()),
            "confidence": float(confidence[bins == number].mean()),
            "accuracy": mean_metric(judged.correct, judged, bins == number),
        }
        for number in range(BINS)
        if (bins == number).any()
    ]


def _groups(judged: Judged, confidence: Values, kind: str) -> dict[str, Any]:
    """{"CT": {"n", "metrics"}}; a group of fewer than MIN_ITEMS has a reason instead."""
    column = judged.columns.groups[kind]
    found: dict[str, Any] = {}
    for name in sort_groups(value for value in column.values if value is not None):
        where = column.where(lambda value, name=name: value == name)  # type: ignore[misc]
        n = int((where & ~np.isnan(confidence)).sum())
        if n < MIN_ITEMS:
            found[name] = {"n": n, "metrics": None, "reason": _FEW}
            continue
        metrics = calibration_metrics(
            judged, confidence, judged.columns.scores.probabilities, where
        )
        kept = ("confidence", "accuracy", "overconfidence", "ece", "ece_debiased", "brier", "auroc")
        found[name] = {"n": n, "metrics": {key: metrics[key] for key in kept}}
    return found


def _after_temperature(judged: Judged, fitted_on: Judged | None) -> dict[str, Any]:
    """The temperature that held-out items ask for, and every number with it."""
    if fitted_on is None:
        return null("no held-out results were given: --calibrate-on FILE")
    found = temperature_metric(fitted_on)
    if found["value"] is None:
        return found
    scores = judged.columns.scores
    if not scores.has_options.any():
        return null("no item here has option probabilities")
    changed = tempered(scores.probabilities, found["value"])
    return {**found, "metrics": calibration_metrics(judged, scores.of_answer(changed), changed)}
