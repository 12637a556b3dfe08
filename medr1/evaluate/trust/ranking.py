"""How well a score sorts items apart: the area under the ROC curve, for items in clusters."""

from __future__ import annotations

from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray

from medr1.evaluate.estimates import Metric, null
from medr1.evaluate.judging import Judged, Mask, Values
from medr1.intervals import Interval, cluster_totals

FEWEST = 10
"""Under so many items of either kind there is no area to speak of."""


def auroc_metric(scores: Values, positive: Mask, judged: Judged, where: Mask) -> Metric:
    """The AUROC of `scores` for `positive` over the items of `where`, with its interval.

    Null where either kind has fewer than FEWEST items.
    """
    n_positive, n = int((positive & where).sum()), int(where.sum())
    if min(n_positive, n - n_positive) < FEWEST:
        fewer = min(n_positive, n - n_positive)
        reason = f"needs {FEWEST} wrong and {FEWEST} right items; of one kind there are {fewer}"
        return {**null(reason), "n": n}
    value, interval = auroc(scores[where], positive[where], judged.clusters[where])
    return {
        **{"value": value, "ci95": list(interval) if interval else None, "n": n},
        "method": f"Obuchowski over {judged.unit}s"
        if interval
        else f"no spread, or one {judged.unit} only of a kind: no interval",
    }


def auroc(
    scores: Values, positive: Mask, clusters: NDArray[np.intp], confidence: float = 0.95
) -> tuple[float, Interval | None]:
    """P(a positive item's score > a negative's) + P(equal)/2, and its interval.

    The variance is DeLong's with the placements summed by cluster, Obuchowski (1997), Biometrics
    53:567; the interval is symmetric on the logit scale, so that it stays within 0 and 1. None
    where the area is 0 or 1, where there is no spread, and where all items of a kind are of one
    cluster. ValueError where a kind has no item.
    """
    from scipy.stats import norm, rankdata

    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        raise ValueError("an area under the curve needs positive and negative items")
    placements = np.empty(len(scores))
    ranks = rankdata(scores)
    for kind, others in ((positive, n_negative), (~positive, n_positive)):
        placements[kind] = (ranks[kind] - rankdata(scores[kind])) / others
    value = float(placements[positive].mean())
    placements[~positive] = 1 - placements[~positive]  # the share of positive ones above it
    if min(len(np.unique(clusters[kind])) for kind in (positive, ~positive)) == 1:
        return value, None
    error = sqrt(_variance(placements - value, positive, clusters))
    if not error:
        return value, None
    middle = log(value / (1 - value))
    reach = float(norm.ppf((1 + confidence) / 2)) * error / (value * (1 - value))
    low, high = (
        1 / (1 + exp(-max(-700.0, min(700.0, x)))) for x in (middle - reach, middle + reach)
    )
    return value, (low, high)


def _variance(residuals: Values, positive: Mask, clusters: NDArray[np.intp]) -> float:
    """Obuchowski's variance of an area: of the two kinds, and twice what they share by cluster."""
    kinds = [np.where(kind, residuals, 0.0) / kind.sum() for kind in (positive, ~positive)]
    of_positive, of_negative = cluster_totals(np.column_stack(kinds), clusters).T

    def sum_of(products: Values, among: Mask) -> float:
        k = len(np.unique(clusters[among]))
        return k / (k - 1) * float(products.sum())

    everywhere = np.ones(len(clusters), dtype=bool)
    shared = 2 * sum_of(of_positive * of_negative, everywhere)
    found = sum_of(of_positive**2, positive) + sum_of(of_negative**2, ~positive) + shared
    return max(0.0, found)
