"""How well a score separates two kinds of items: the area under the ROC curve (AUROC).

Items about one image are not independent, so the variance is summed over clusters.
"""

from __future__ import annotations

from math import exp, log, sqrt

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from medr1.documents.metric import Metric, no_value
from medr1.evaluate.coded import Mask, Values
from medr1.evaluate.judging import Judged
from medr1.stats.intervals import Interval, cluster_totals

MIN_ITEMS_PER_KIND = 10
"""With fewer positive, or fewer negative, items no area is computed."""


def auroc_metric(scores: Values, positive: Mask, judged: Judged, where: Mask) -> Metric:
    """The AUROC of a score with its interval, in the form of summary.json.

    Args:
        scores: Higher for items that should be positive, shape (items,).
        positive: Which items are positive (such as: answered right), shape (items,).
        judged: All items, for their clusters.
        where: The items that count, shape (items,).

    Returns:
        A metric; without a value where either kind has fewer than MIN_ITEMS_PER_KIND items.
    """
    n_positive, n = int((positive & where).sum()), int(where.sum())
    if min(n_positive, n - n_positive) < MIN_ITEMS_PER_KIND:
        fewer = min(n_positive, n - n_positive)
        reason = (
            f"needs {MIN_ITEMS_PER_KIND} wrong and {MIN_ITEMS_PER_KIND} right items; "
            f"of one kind there are {fewer}"
        )
        return replace(no_value(reason), n=n)
    value, interval = auroc(scores[where], positive[where], judged.clusters[where])
    method = (
        f"Obuchowski over {judged.unit}s"
        if interval
        else f"no spread, or one {judged.unit} only of a kind: no interval"
    )
    return Metric(value=value, ci95=interval, n=n, method=method)


def auroc(
    scores: Values, positive: Mask, clusters: NDArray[np.intp], confidence: float = 0.95
) -> tuple[float, Interval | None]:
    """The AUROC: P(score of a positive item > score of a negative one) + P(both are equal) / 2.

    The variance is DeLong's (1988), with the placements summed by cluster: Obuchowski (1997),
    Biometrics 53:567. The interval is symmetric on the logit scale, so that it stays within 0 and
    1. The value agrees with scikit-learn (`roc_auc_score`).

    Args:
        scores: Shape (items,).
        positive: Which items are positive, shape (items,).
        clusters: Cluster codes, shape (items,).
        confidence: Nominal coverage of the interval, in (0, 1).

    Returns:
        (area in [0, 1], interval). The interval is None where the area is 0 or 1, where there is
        no spread, and where all items of a kind share one cluster.

    Raises:
        ValueError: If there is no positive or no negative item.
    """
    from scipy.stats import norm, rankdata

    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        raise ValueError("an area under the curve needs positive and negative items")
    # The placement of an item is the share of the items of the other kind with a lower score: its
    # rank among all items less its rank among its own kind, over their number. Ties count a half.
    placements = np.empty(len(scores))
    ranks = rankdata(scores)
    for kind, n_other_kind in ((positive, n_negative), (~positive, n_positive)):
        placements[kind] = (ranks[kind] - rankdata(scores[kind])) / n_other_kind
    value = float(placements[positive].mean())
    placements[~positive] = 1 - placements[~positive]  # the share of positive items above it
    if min(len(np.unique(clusters[kind])) for kind in (positive, ~positive)) == 1:
        return value, None
    error = sqrt(_variance(placements - value, positive, clusters))
    if not error:
        return value, None
    # the interval of the logit, whose standard error is error / (value (1 - value)), and back
    middle = log(value / (1 - value))
    reach = float(norm.ppf((1 + confidence) / 2)) * error / (value * (1 - value))
    low, high = (
        1 / (1 + exp(-max(-700.0, min(700.0, x)))) for x in (middle - reach, middle + reach)
    )
    return value, (low, high)


def _variance(residuals: Values, positive: Mask, clusters: NDArray[np.intp]) -> float:
    """Obuchowski's variance of an area, from placements less the area.

    It is the variance of each kind over clusters, plus twice the covariance of the two kinds, which
    clusters with items of both kinds bring in.
    """
    kinds = [np.where(kind, residuals, 0.0) / kind.sum() for kind in (positive, ~positive)]
    of_positive, of_negative = cluster_totals(np.column_stack(kinds), clusters).T

    def sum_of(products: Values, among: Mask) -> float:
        k = len(np.unique(clusters[among]))
        return k / (k - 1) * float(products.sum())

    everywhere = np.ones(len(clusters), dtype=bool)
    covariance = 2 * sum_of(of_positive * of_negative, everywhere)
    variance = sum_of(of_positive**2, positive) + sum_of(of_negative**2, ~positive) + covariance
    return max(0.0, variance)
