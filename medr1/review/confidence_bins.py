"""The model's confidence in bins, against what experts say of the answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medr1.documents.review import ConfidenceBin
from medr1.review.store import StoredItem
from medr1.stats.intervals import Floats
from medr1.stats.weighted_share import weighted_share

BINS = 5
"""Largest number of bins: a review has few judged items."""


def confidence_bins(
    items: Sequence[StoredItem], judged: Sequence[StoredItem], weights: Floats, expert: Floats
) -> list[ConfidenceBin]:
    """Bins of about equally many items, in the order of their confidence.

    Items of equal confidence are in the same bin, so that there can be fewer than `BINS`. Items
    without a confidence are in none.

    Args:
        items: All items of the results file.
        judged: Those that experts judged.
        weights: How many items each judged one stands for, shape (judged,).
        expert: The experts' verdict on each judged one, in [0, 1], shape (judged,).
    """
    confidence = _confidences(items)
    known = confidence[~np.isnan(confidence)]
    if not len(known):
        return []
    edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS))
    bin_of_item = np.searchsorted(edges, known, side="left")
    of_judged = _confidences(judged)
    bin_of_judged = np.searchsorted(edges, of_judged, side="left")
    clusters = [item.cluster for item in judged]
    return [
        ConfidenceBin(
            low=float(known[bin_of_item == number].min()),
            high=float(known[bin_of_item == number].max()),
            n_items=int((bin_of_item == number).sum()),
            mean_confidence=float(known[bin_of_item == number].mean()),
            expert_accuracy=weighted_share(
                weights * ((bin_of_judged == number) & ~np.isnan(of_judged)), expert, clusters
            ),
        )
        for number in np.unique(bin_of_item)
    ]


def _confidences(items: Sequence[StoredItem]) -> Floats:
    """The confidence of each item, NaN where it has none."""
    return np.array(
        [np.nan if item.confidence is None else item.confidence for item in items], dtype=np.float64
    )
