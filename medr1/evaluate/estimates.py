"""A number with its 95 % confidence interval: the form of every metric in summary.json.

Questions about one image are not independent of each other. The intervals therefore resample
clusters, not items: images, or the groups that `--cluster-by` names, such as patients
(`medr1.stats.intervals`). Comments here say "images" for clusters.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from medr1.documents.metric import Metric, no_value
from medr1.evaluate.coded import Mask, Values
from medr1.evaluate.judging import Judged
from medr1.stats.intervals import (
    Interval,
    bootstrap_mean,
    bootstrap_statistic,
    named_interval,
    paired_difference,
    wilson,
)

FEW_CLUSTERS = 30
"""With fewer images than this a bootstrap interval is too narrow, and a warning says so."""


def mean_metric(
    values: Values,
    judged: Judged,
    where: Mask | None = None,
    reason: str = "no items",
    *,
    share: bool = True,
) -> Metric:
    """The mean of one value per item, with the confidence interval that fits these values.

    - Values of 0 and 1, each item about its own image: Wilson's interval over items.
    - Values that are all 0 or all 1, with repeated images: Wilson's interval over images, because
      the bootstrap would have no width.
    - Anything else: the bootstrap over images.

    Args:
        values: One value for each of the judged items, in their order.
        judged: The items: their clusters, and how resamples are drawn.
        where: Which items to average; all by default.
        reason: Why there is no value, where `where` selects no item.
        share: Whether the values are shares in [0, 1]. False for others, such as nats or the size
            of a set: they always get the bootstrap, and no interval where all values are equal.
    """
    clusters, unit = judged.clusters, judged.unit
    if where is not None:
        values, clusters = values[where], clusters[where]
    n, n_clusters = len(values), _num_clusters(clusters)
    if n == 0:
        return no_value(reason)
    mean = float(np.mean(values))
    binary = share and bool(np.isin(values, (0.0, 1.0)).all())
    if binary and n_clusters == n:
        interval, method = wilson(int(values.sum()), n), "wilson"
    elif binary and mean in (0.0, 1.0):
        interval, method = wilson(int(mean * n_clusters), n_clusters), f"wilson over {unit}s"
    else:
        bootstrap = bootstrap_mean(values, clusters, **judged.resampling)
        interval, method = named_interval(bootstrap, unit)
    return Metric(value=mean, ci95=interval, n=n, method=method)


def macro_metric(values: Values, judged: Judged, codes: NDArray[np.intp]) -> Metric:
    """The unweighted mean of the groups' means, with its bootstrap interval over images.

    Args:
        values: One value for each item.
        judged: The items.
        codes: The group of each item as a number from 0; -1 for an item of no group.

    Returns:
        The metric, whose n counts groups and not items.
    """
    groups = np.unique(codes[codes >= 0])
    if not len(groups):
        return no_value("no item belongs to a group")
    # For each item one column per group with its value, and one with its count, so that the
    # group means of a resample are sums of values over sums of counts.
    in_group = codes[:, None] == groups
    statistics = np.hstack([in_group * values[:, None], in_group.astype(np.float64)])

    def mean_of_means(sums: Values) -> Values:
        counts = sums[:, len(groups) :]
        means = np.divide(
            sums[:, : len(groups)], counts, where=counts > 0, out=np.full(counts.shape, np.nan)
        )
        # A resample may hold no image of a small group; the group is left out of its mean.
        mean: Values = np.nanmean(means, axis=1)
        return mean

    has_group = codes >= 0
    metric = statistic_metric(
        statistics[has_group], judged.clusters[has_group], mean_of_means, judged
    )
    return replace(metric, n=len(groups))


def statistic_metric(
    sums: Values, clusters: NDArray[np.intp], function: Callable[[Values], Values], judged: Judged
) -> Metric:
    """A number that is a function of sums over items, with its bootstrap interval over images.

    Args:
        sums: What is summed, an array (items, S); for a ratio, S is its numerator and denominator.
        clusters: The cluster code of each of these items.
        function: Maps an array of sums (resamples, S) to the number of each resample (resamples,).
        judged: How resamples are drawn, and what a cluster is called.
    """
    bootstrap = bootstrap_statistic(sums, clusters, function, **judged.resampling)
    interval, method = named_interval(bootstrap, judged.unit)
    value = float(function(sums.sum(axis=0, keepdims=True))[0])
    return Metric(value=value, ci95=interval, n=len(sums), method=method)


def difference_metric(
    a: Values, b: Values, judged: Judged, where: Mask | None = None, reason: str = "no items"
) -> Metric:
    """mean(a) - mean(b) over the same items, with the interval of the paired difference.

    The interval is the bootstrap over images. Where every item differs by the same -1, 0 or 1 the
    bootstrap has no width, and Wilson's interval over images takes its place.

    Args:
        a: One value in [0, 1] for each item.
        b: The values to subtract, of the same items in the same order.
        judged: The items: their clusters, and how resamples are drawn.
        where: Which items to compare; all by default.
        reason: Why there is no value, where `where` selects no item.
    """
    mask = np.ones(len(a), dtype=bool) if where is None else where
    clusters, unit = judged.clusters[mask], judged.unit
    difference = paired_difference(a[mask], b[mask], clusters, **judged.resampling)
    if difference is None:
        return no_value(reason)
    value, interval = difference
    interval, method = named_interval(interval, unit, "paired bootstrap")
    if value in (-1.0, 0.0, 1.0) and bool((a[mask] - b[mask] == value).all()):
        interval, method = _constant_difference(value, clusters), f"wilson over {unit}s"
    return Metric(value=value, ci95=interval, n=int(mask.sum()), method=method)


def _constant_difference(value: float, clusters: NDArray[np.intp]) -> Interval:
    """The interval where every item differs by the same -1, 0 or 1.

    Wilson's interval for "all n of n images" says that at least the share `low` of all images
    differs so; the rest, 1 - low, may pull a difference of 0 up or down.
    """
    n_clusters = _num_clusters(clusters)
    low, high = wilson(n_clusters, n_clusters) or (0.0, 1.0)
    if value == 0:
        return low - high, high - low
    return (low, high) if value > 0 else (-high, -low)


def _num_clusters(clusters: NDArray[np.intp]) -> int:
    return int(np.count_nonzero(np.bincount(clusters))) if len(clusters) else 0
