"""Calibration errors over bins of confidence: ECE and its kin, and the parts of the Brier score.

Pure functions of confidence (items,), correctness (items,) and the bin of each item (items,).
A bootstrap of these errors has no interval to give: they are biased upwards, and a resample adds
the same bias once more. So the debiased one has an interval of its own, and the others stand beside
what chance alone makes of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from medr1.evaluate.judging import Values
from medr1.intervals import Interval, cluster_totals

BINS = 15
CHANCE = 0.95
"""How many of calibrated models stay under what is called chance."""
_DRAWN_AT_ONCE = 100

Bins = NDArray[np.intp]


def equal_width(confidence: Values, bins: int = BINS) -> Bins:
    """The bin of each item: equally wide, closed to the right; 0 is in the first."""
    found = np.searchsorted(np.arange(1, bins + 1) / bins, confidence, side="left")
    return np.minimum(found, bins - 1)


def equal_mass(confidence: Values, bins: int = BINS) -> Bins:
    """The bin of each item: equally many, by rank; equal values keep the items' order."""
    found = np.empty(len(confidence), dtype=np.intp)
    order = np.argsort(confidence, kind="stable")
    for number, part in enumerate(np.array_split(order, bins)):
        found[part] = number
    return found


def bin_sums(confidence: Values, correct: Values, bins: Bins, number: int = BINS) -> Values:
    """What the errors below are functions of (items, 3 x bins): confidence, correctness, 1."""
    within = np.eye(number)[bins]
    return np.hstack([within * confidence[:, None], within * correct[:, None], within])


def bin_totals(confidence: Values, correct: Values, bins: Bins, number: int = BINS) -> Values:
    """`bin_sums` summed over the items: (1, 3 x bins)."""
    columns = (confidence, correct, np.ones(len(bins)))
    return np.concatenate([np.bincount(bins, one, number) for one in columns])[None]


def _gaps(sums: Values) -> tuple[Values, Values, Values]:
    """Of summed `bin_sums` (rows, 3 x bins): mean confidence minus accuracy, accuracy, items."""
    sure, right, n = np.split(sums, 3, axis=1)
    there = np.maximum(n, 1)
    return (sure - right) / there, right / there, n


def expected_error(sums: Values) -> Values:
    """ECE of each row of summed `bin_sums`: the bins' absolute gaps, weighted by their items."""
    gaps, _, n = _gaps(sums)
    return (np.abs(gaps) * n).sum(axis=1) / n.sum(axis=1)


def largest_error(sums: Values) -> Values:
    """MCE: the largest absolute gap of a bin that has items."""
    gaps, _, n = _gaps(sums)
    return np.where(n > 0, np.abs(gaps), 0).max(axis=1)


def debiased_error(sums: Values) -> Values:
    """The root of the mean squared gap, less what chance adds to it: Kumar et al. (2019), 4.1.

    Bins of one item, whose chance cannot be told, are left out. 0 where chance explains it all.
    """
    gaps, accuracy, n = _gaps(sums)
    chance = accuracy * (1 - accuracy) / np.maximum(n - 1, 1)
    kept = n > 1
    squares = np.where(kept, n * (gaps**2 - chance), 0).sum(axis=1)
    return np.sqrt(np.maximum(squares / np.maximum(np.where(kept, n, 0).sum(axis=1), 1), 0))


def chance_error(
    confidence: Values,
    correct: Values,
    clusters: NDArray[np.intp],
    bins: Bins,
    statistic: Callable[[Values], Values],
    *,
    seed: int = 0,
    num_resamples: int = 2000,
) -> float | None:
    """What an error stays under for CHANCE of the models that are as sure as they are right.

    The larger of two: verdicts drawn anew by the confidences, each item for itself (consistency
    resampling, Bröcker and Smith, 2007); and all that a cluster is too sure of, or not sure enough,
    with a random sign (wild cluster bootstrap, Cameron, Gelbach and Miller, 2008). The first knows
    the errors that are too rare to be seen, the second the items of a cluster that go wrong
    together. None for fewer than two clusters.
    """
    totals = cluster_totals(bin_sums(confidence, correct, bins), clusters)
    if len(totals) < 2:
        return None
    sure, right, n = np.split(totals, 3, axis=1)
    within, excess = np.eye(n.shape[1])[bins], sure - right
    rng = np.random.default_rng(seed)
    drawn, signed = [], []
    for start in range(0, num_resamples, _DRAWN_AT_ONCE):
        number = min(_DRAWN_AT_ONCE, num_resamples - start)
        verdicts = rng.random((number, len(confidence))) < confidence
        signs = 1.0 - 2.0 * rng.integers(2, size=(number, len(totals)))
        items = np.broadcast_to(n.sum(axis=0), (number, n.shape[1]))
        gaps, nothing = sure.sum(axis=0) - verdicts @ within, np.zeros(items.shape)
        drawn.append(statistic(np.hstack([gaps, nothing, items])))
        signed.append(statistic(np.hstack([signs @ excess, nothing, items])))
    return float(max(np.quantile(np.concatenate(found), CHANCE) for found in (drawn, signed)))


def debiased_interval(totals: Values, confidence: float = 0.95) -> Interval | None:
    """The interval of `debiased_error`, of `bin_sums` by cluster (clusters, 3 x bins).

    The bins' gaps, weighted, are about normal with the covariance V over clusters, so that the sum
    of their squares is about a times a noncentral chi-square of k degrees, a = tr V² / tr V and
    k = (tr V)² / tr V² (Satterthwaite, 1946), whose noncentrality the interval inverts. Bins of
    one cluster are left out. No bin's variance counts as less than its mean confidence implies,
    since errors too rare to be seen are not absent; and the upper end is at least that of a
    calibrated model's median (power-constrained: Cowan et al., 2011, arXiv:1105.3166). None where
    no bin has two clusters.
    """
    from scipy.optimize import brentq
    from scipy.stats import chi2, ncx2

    sure, right, n = np.split(totals, 3, axis=1)
    clusters = (n > 0).sum(axis=0)
    kept = clusters > 1
    if not kept.any():
        return None
    excess, n, clusters = (sure - right)[:, kept], n[:, kept], clusters[kept]
    items = n.sum(axis=0)
    gaps, weights = excess.sum(axis=0) / items, np.sqrt(items / items.sum())
    spread = (excess - gaps * n) / items * weights * np.sqrt(clusters / (clusters - 1))
    covariance = spread.T @ spread
    mean = sure[:, kept].sum(axis=0) / items
    np.fill_diagonal(
        covariance, np.maximum(covariance.diagonal(), mean * (1 - mean) / items * weights**2)
    )
    trace, squares = float(np.trace(covariance)), float((covariance**2).sum())
    if trace <= 0:
        return None
    scale, degrees = squares / trace, trace**2 / squares
    found = float(((weights * gaps) ** 2).sum()) / scale

    def root(found: float, share: float) -> float:
        """The error of which as little as found, or less, is seen in this share of draws."""

        def beyond(noncentrality: float) -> float:
            return float(ncx2.cdf(found, degrees, noncentrality)) - share

        if beyond(0.0) <= 0:
            return 0.0
        return float(np.sqrt(scale * brentq(beyond, 0.0, 2 * found + 100.0)))

    low = root(found, (1 + confidence) / 2)
    return low, root(max(found, chi2.median(degrees)), (1 - confidence) / 2)


def brier_parts(confidence: Values, correct: Values, bins: Bins) -> dict[str, float]:
    """brier = reliability - resolution + uncertainty + within_bins, exactly.

    Murphy (1973); the last term is Stephenson et al. (2008): the spread of confidence within a bin
    less twice its covariance with being right.
    """
    gaps, accuracy, n = (part[0] for part in _gaps(bin_totals(confidence, correct, bins)))
    total, overall = len(correct), float(correct.mean())
    sure = (accuracy + gaps)[bins]
    within = (confidence - sure) ** 2 - 2 * (correct - accuracy[bins]) * (confidence - sure)
    return {
        "reliability": float((n * gaps**2).sum() / total),
        "resolution": float((n * (accuracy - overall) ** 2).sum() / total),
        "uncertainty": overall * (1 - overall),
        "within_bins": float(within.mean()),
    }
