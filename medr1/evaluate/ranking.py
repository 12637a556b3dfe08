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
        reason = f"needs {FEWEST} wrong and {FEWEST} right items; there are {n_positive} and"
        return {**null(f"{reason} {n - n_positive}"), "n": n}
    value, interval = auroc(scores[where], positive[where], judged.clusters[where])
    method = f"Obuchowski over {judged.unit}s" if interval else "no spread: no interval"
    return {"value": value, "ci95": list(interval) if interval else None, "n": n, "method": method}


def auroc(
    scores: Values, positive: Mask, clusters: NDArray[np.intp], confidence: float = 0.95
) -> tuple[float, Interval | None]:
    """P(a positive item's score > a negative's) + P(equal)/2, and its interval.

    The variance is DeLong's with the placements summed by cluster, Obuchowski (1997), Biometrics
    53:567; the interval is symmetric on the logit scale, so that it stays within 0 and 1. None
    where the area is 0 or 1, or where there is one cluster. ValueError where a kind has no item.
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
    # of a negative item: the share of positive ones above it
    placements[~positive] = 1 - placements[~positive]
    residuals = (placements - value) / np.where(positive, n_positive, n_negative)
    sums = cluster_totals(residuals[:, None], clusters)[:, 0]
    k = len(sums)
    if k < 2 or not 0 < value < 1:
        return value, None
    error = sqrt(k / (k - 1) * float((sums**2).sum()))
    middle = log(value / (1 - value))
    reach = float(norm.ppf((1 + confidence) / 2)) * error / (value * (1 - value))
    low, high = (
        1 / (1 + exp(-max(-700.0, min(700.0, x)))) for x in (middle - reach, middle + reach)
    )
    return value, (low, high)
