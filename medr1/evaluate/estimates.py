"""A value with the interval that fits it: the form of every number in summary.json.

Items about one image are not independent, so intervals draw images, not items (`intervals`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medr1.evaluate.judging import Judged, Mask, Values
from medr1.intervals import (
    Interval,
    bootstrap_mean,
    bootstrap_statistic,
    named_interval,
    paired_difference,
    wilson,
)

Metric = dict[str, Any]
FEW_CLUSTERS = 30
"""Under so many images a bootstrap interval is too narrow."""


def null(reason: str) -> Metric:
    """What stands in place of a value that cannot be computed."""
    return {"value": None, "ci95": None, "n": 0, "reason": reason}


def mean_metric(
    values: Values,
    judged: Judged,
    where: Mask | None = None,
    reason: str = "no items",
    *,
    share: bool = True,
) -> Metric:
    """The mean of `values` (over the items of `where`) with the interval that fits them.

    Right/wrong items that are all about different images: Wilson. Otherwise the bootstrap over
    images; where that has no width, because all items are equally right, Wilson over images.
    (Images, or whatever else the items are clustered by.) What is no share of one, such as nats or
    the size of a set, is `share` False: it has the bootstrap, and without a spread no interval.
    """
    clusters, unit = judged.clusters, judged.unit
    if where is not None:
        values, clusters = values[where], clusters[where]
    n, n_clusters = len(values), _count(clusters)
    if n == 0:
        return null(reason)
    mean = float(np.mean(values))
    binary = share and bool(np.isin(values, (0.0, 1.0)).all())
    if binary and n_clusters == n:
        interval, method = wilson(int(values.sum()), n), "wilson"
    elif binary and mean in (0.0, 1.0):
        interval, method = wilson(int(mean * n_clusters), n_clusters), f"wilson over {unit}s"
    else:
        interval, method = named_interval(bootstrap_mean(values, clusters, **judged.drawn), unit)
    return {"value": mean, "ci95": list(interval) if interval else None, "n": n, "method": method}


def macro_metric(values: Values, judged: Judged, codes: NDArray[np.intp]) -> Metric:
    """The unweighted mean over the groups of their means; n counts groups.

    `codes` has each item's group, -1 for none. A resample draws images; a group that it happens
    not to draw is left out of its mean.
    """
    groups = np.unique(codes[codes >= 0])
    if not len(groups):
        return null("no item has one")
    belongs = codes[:, None] == groups
    sums = np.hstack([belongs * values[:, None], belongs.astype(np.float64)])

    def mean_of_means(drawn: Values) -> Values:
        counts = drawn[:, len(groups) :]
        means = np.divide(
            drawn[:, : len(groups)], counts, where=counts > 0, out=np.full(counts.shape, np.nan)
        )
        return np.nanmean(means, axis=1)

    kept = codes >= 0
    found = statistic_metric(sums[kept], judged.clusters[kept], mean_of_means, judged)
    return {**found, "n": len(groups)}


def statistic_metric(
    sums: Values, clusters: NDArray[np.intp], function: Callable[[Values], Values], judged: Judged
) -> Metric:
    """A function of sums over items, whose parts are `sums` (items, S), and its interval.

    `function` maps sums (resamples, S) to (resamples,); `clusters` are those of the items.
    """
    drawn = bootstrap_statistic(sums, clusters, function, **judged.drawn)
    interval, method = named_interval(drawn, judged.unit)
    return {
        "value": float(function(sums.sum(axis=0, keepdims=True))[0]),
        "ci95": list(interval) if interval else None,
        "n": len(sums),
        "method": method,
    }


def difference_metric(
    a: Values, b: Values, judged: Judged, where: Mask | None = None, reason: str = "no items"
) -> Metric:
    """mean(a) - mean(b) over the same items (of `where`), with its interval over images."""
    kept = np.ones(len(a), dtype=bool) if where is None else where
    clusters, unit = judged.clusters[kept], judged.unit
    found = paired_difference(a[kept], b[kept], clusters, **judged.drawn)
    if found is None:
        return null(reason)
    value, interval = found
    interval, method = named_interval(interval, unit, "paired bootstrap")
    if value in (-1.0, 0.0, 1.0) and bool((a[kept] - b[kept] == value).all()):
        interval, method = _constant_difference(value, clusters), f"wilson over {unit}s"
    ci95 = list(interval) if interval else None
    return {"value": value, "ci95": ci95, "n": int(kept.sum()), "method": method}


def _constant_difference(value: float, clusters: NDArray[np.intp]) -> Interval:
    """Where all items differ alike a bootstrap has no width: Wilson of "all of so many"."""
    n_clusters = _count(clusters)
    low, high = wilson(n_clusters, n_clusters) or (0.0, 1.0)
    if value == 0:
        return low - high, high - low
    return (low, high) if value > 0 else (-high, -low)


def _count(clusters: NDArray[np.intp]) -> int:
    """How many different clusters there are."""
    return int(np.count_nonzero(np.bincount(clusters))) if len(clusters) else 0
