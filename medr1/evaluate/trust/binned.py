"""Calibration errors over bins of confidence: ECE and its kin, and the parts of the Brier score.

Pure functions of confidence (items,), correctness (items,) and the bin of each item (items,).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medr1.evaluate.judging import Values

BINS = 15

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
