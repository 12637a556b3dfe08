"""A share of weighted items, such as of a stratified sample, with Korn and Graubard's interval.

Source: Korn and Graubard (1998), Confidence intervals for proportions with small expected number of
positive counts estimated from survey data, Survey Methodology 24:193. The National Center for
Health Statistics uses it for its surveys, and R's survey package has it as `svyciprop(method =
"beta")`. Unlike a bootstrap it has an interval where all items are equal.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np
from numpy.typing import ArrayLike

from medr1.documents.metric import Metric, no_value
from medr1.stats.intervals import Floats, cluster_totals

METHOD = "Korn-Graubard"


def weighted_share(
    weights: ArrayLike,
    values: ArrayLike,
    clusters: Iterable[Hashable],
    *,
    reason: str = "no item is judged",
    confidence: float = 0.95,
) -> Metric:
    """Σ w v / Σ w over items, with Korn and Graubard's interval.

    The interval is Clopper and Pearson's for n* items with the share p. n* = p (1 - p) / var is the
    number of independent items that would give p the variance that it has here: the linearized
    one, Σ_c (Σ_i w_i (v_i - p))² C / (C - 1) / (Σ w)² over C clusters. n* is at most the number of
    items. Where p is 0 or 1, n* = (Σ W_c)² / Σ W_c² with the weights W_c of the clusters (Kish).

    Args:
        weights: How many items each item stands for, at least 0, shape (items,). Items with a
            weight of 0 do not count.
        values: In [0, 1], shape (items,).
        clusters: The cluster of each item, such as its image.
        reason: Why there is no value, where all weights are 0.
        confidence: Nominal coverage, in (0, 1).

    Returns:
        The share; its n counts items with a weight. No interval for fewer than two clusters.
    """
    w, v = np.asarray(weights, dtype=np.float64), np.asarray(values, dtype=np.float64)
    used = w > 0
    if not used.any():
        return no_value(reason)
    names = [name for name, is_used in zip(clusters, used, strict=True) if is_used]
    w, v = w[used], v[used]
    share = float((w * v).sum() / w.sum())
    totals = cluster_totals(np.column_stack([w, w * (v - share)]), names)
    number = len(w)
    if len(totals) < 2:
        return Metric(value=share, ci95=None, n=number, method="one cluster only: no interval")
    tail = (1 - confidence) / 2
    low, high = _clopper_pearson(share, _effective_number(share, totals, number, tail), tail)
    return Metric(value=share, ci95=(low, high), n=number, method=METHOD)


def _effective_number(share: float, totals: Floats, number: int, tail: float) -> float:
    """n* of a share, from each cluster's sums of w and of w (v - p), shape (clusters, 2)."""
    from scipy.stats import t

    weights, residuals = totals.T
    clusters = len(totals)
    if share in (0.0, 1.0):
        effective = float(weights.sum() ** 2 / (weights**2).sum())
    else:
        variance = float((residuals**2).sum()) * clusters / (clusters - 1) / weights.sum() ** 2
        # the residuals of all clusters can be 0, such as one right and one wrong answer in each
        effective = share * (1 - share) / variance if variance > 0 else float(number)
    narrowing = float(t.ppf(tail, number - 1) / t.ppf(tail, clusters - 1))
    return min(effective * narrowing**2, float(number))


def _clopper_pearson(share: float, number: float, tail: float) -> tuple[float, float]:
    """The exact interval of a share of `number` items, which need not be a whole number."""
    from scipy.stats import beta

    successes = share * number
    low = 0.0 if share <= 0 else float(beta.ppf(tail, successes, number - successes + 1))
    high = 1.0 if share >= 1 else float(beta.ppf(1 - tail, successes + 1, number - successes))
    return low, high
