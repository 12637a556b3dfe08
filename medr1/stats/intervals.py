"""Confidence intervals: Wilson's for proportions, a cluster bootstrap for every other statistic.

Questions about one image are not independent. So the bootstrap draws whole clusters (all questions
about an image) with replacement, not single items. A statistic is a function of sums over the drawn
clusters; it is recomputed for each draw (a "resample").

All intervals are two-sided. `confidence` is the nominal coverage, in (0, 1). A function returns
None where the data give no interval, such as for a single cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

Interval = tuple[float, float]
"""(lower end, upper end)."""
Floats = NDArray[np.float64]

_MAX_COUNTS_IN_MEMORY = 4_000_000
"""Draw counts (resamples x clusters) that are in memory at a time: 32 MB."""
_ROUNDING = 1e-12
"""An interval narrower than this comes from equal means and rounding errors."""


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval | None:
    """Wilson's score interval of a proportion of independent trials; None for n = 0.

    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n) with p = successes / n and the normal
    quantile z. Unlike the normal interval it has a width where p is 0 or 1.

    Source: Wilson (1927). Computed by scipy (`binomtest`); agrees with statsmodels.

    Args:
        successes: Number of successes, 0 to n.
        n: Number of trials, at least 0.
        confidence: Nominal coverage, in (0, 1).

    Returns:
        Both ends, in [0, 1].

    Raises:
        ValueError: If successes > n, or `confidence` is not in (0, 1).
    """
    from scipy.stats import binomtest

    _check_confidence(confidence)
    if n == 0:
        return None
    low, high = binomtest(int(successes), int(n)).proportion_ci(confidence, method="wilson")
    return float(low), float(high)


def bootstrap_mean(
    values: ArrayLike,
    clusters: Iterable[Hashable],
    *,
    seed: int = 0,
    num_resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval | None:
    """The percentile bootstrap interval of the mean over items; clusters are drawn.

    The mean of a resample is a ratio: the sum of the values of the drawn clusters over their number
    of items, which varies because clusters differ in size. The interval does not depend on the
    order of the items. Where every item is its own cluster it agrees with scipy's `bootstrap`
    (method "percentile").

    Args:
        values: One number for each item, shape (items,).
        clusters: The cluster of each item, such as its image; in the order of `values`.
        seed: Of the random draws.
        num_resamples: Number of draws.
        confidence: Nominal coverage, in (0, 1).

    Returns:
        Both ends, in the unit of `values`; None for fewer than two clusters.

    Raises:
        ValueError: If values and clusters differ in number, or `confidence` is not in (0, 1).
    """
    values = np.asarray(values, dtype=np.float64)
    return bootstrap_statistic(
        np.column_stack([values, np.ones(len(values))]),
        clusters,
        lambda sums: sums[:, 0] / sums[:, 1],
        seed=seed,
        num_resamples=num_resamples,
        confidence=confidence,
    )


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Iterable[Hashable],
    *,
    seed: int = 0,
    num_resamples: int = 2000,
    confidence: float = 0.95,
) -> tuple[float, Interval | None] | None:
    """mean(a) - mean(b) on the same items, and the bootstrap interval of that difference.

    Args:
        a: One number for each item, shape (items,).
        b: The numbers of the same items in the same order, shape (items,).
        clusters: The cluster of each item.
        seed: Of the random draws.
        num_resamples: Number of draws.
        confidence: Nominal coverage, in (0, 1).

    Returns:
        (difference, interval); the interval is None for fewer than two clusters. None in place of
        the pair where there are no items.

    Raises:
        ValueError: If a, b and clusters differ in number, or `confidence` is not in (0, 1).
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"paired values differ in number: {a.shape} and {b.shape}")
    if len(a) == 0:
        return None
    interval = bootstrap_mean(
        a - b, clusters, seed=seed, num_resamples=num_resamples, confidence=confidence
    )
    return float(np.mean(a - b)), interval


def bootstrap_statistic(
    statistics: ArrayLike,
    clusters: Iterable[Hashable],
    function: Callable[[Floats], ArrayLike],
    *,
    seed: int = 0,
    num_resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval | None:
    """The percentile bootstrap interval of a statistic that is a function of sums over items.

    Args:
        statistics: What is summed, S numbers for each item, shape (items, S). For BLEU these are
            the matching n-grams, the n-grams and the lengths.
        clusters: The cluster of each item.
        function: The statistic. It maps sums (rows, S) to values (rows,), row by row.
        seed: Of the random draws.
        num_resamples: Number of draws.
        confidence: Nominal coverage, in (0, 1).

    Returns:
        Both ends, in the unit of the statistic; None for fewer than two clusters.

    Raises:
        ValueError: If items and clusters differ in number, or `confidence` is not in (0, 1).
    """
    _check_confidence(confidence)
    totals = cluster_totals(statistics, clusters)
    if len(totals) < 2:
        return None
    return percentiles(function(resample_sums(totals, num_resamples, seed)), confidence)


def percentiles(resampled: ArrayLike, confidence: float = 0.95) -> Interval:
    """The interval between the (1 - confidence)/2 and the (1 + confidence)/2 quantile.

    Args:
        resampled: The statistic of each resample, shape (resamples,).
        confidence: Share of the resamples that lie between the ends.
    """
    low, high = np.quantile(np.asarray(resampled), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def named_interval(
    interval: Interval | None, unit: str, name: str = "bootstrap"
) -> tuple[Interval | None, str]:
    """A bootstrap interval with the name of its method, or None with the reason why there is none.

    An interval without width is replaced by None: that all items are equal does not mean that the
    next item is equal too.

    Args:
        interval: What the bootstrap returned.
        unit: What a cluster is, in the singular: "image".
        name: Name of the method.

    Returns:
        (interval, "bootstrap over images") or (None, "no spread: no interval").
    """
    if interval is None:
        return None, f"one {unit} only: no interval"
    if interval[1] - interval[0] < _ROUNDING:
        return None, "no spread: no interval"
    return interval, f"{name} over {unit}s"


def cluster_codes(clusters: Iterable[Hashable]) -> NDArray[np.intp]:
    """One integer for each item, 0, 1, 2 ... for the clusters in order of appearance.

    ["a.png", "b.png", "a.png"] -> [0, 1, 0]
    """
    code_of: dict[Hashable, int] = {}
    return np.array(
        [code_of.setdefault(cluster, len(code_of)) for cluster in clusters], dtype=np.intp
    )


def cluster_totals(statistics: ArrayLike, clusters: Iterable[Hashable]) -> Floats:
    """The sums of the items' statistics within each cluster, shape (clusters, S).

    Args:
        statistics: S numbers for each item, shape (items, S).
        clusters: The cluster of each item: any hashable values, or an array of dtype intp with
            codes as `cluster_codes` makes them. Codes without an item have no row in the result.

    Raises:
        ValueError: If items and clusters differ in number.
    """
    statistics = np.asarray(statistics, dtype=np.float64)
    codes = clusters if _are_codes(clusters) else cluster_codes(clusters)
    if len(codes) != len(statistics):
        raise ValueError(f"{len(statistics)} values but {len(codes)} clusters")
    if len(codes) == 0:
        return statistics
    sums: Floats = np.column_stack([np.bincount(codes, weights=column) for column in statistics.T])
    return sums[np.bincount(codes) > 0]


def _are_codes(clusters: Iterable[Hashable]) -> TypeGuard[NDArray[np.intp]]:
    """Whether these are cluster codes already; a subset of the items may lack some codes."""
    return isinstance(clusters, np.ndarray) and clusters.dtype == np.intp


def resample_sums(totals: Floats, num_resamples: int, seed: int) -> Floats:
    """Sums over K clusters drawn with replacement from K clusters, shape (resamples, S).

    Clusters with equal totals are interchangeable. So instead of K single draws, one multinomial
    draw gives how often each distinct row of totals is drawn. The distribution is exactly the same,
    and for right/wrong items, which have few distinct rows, it is hundreds of times faster. Where
    nearly every cluster has its own row there is nothing to gain, and clusters are drawn by index.

    Args:
        totals: Sums within each cluster, shape (clusters, S); see `cluster_totals`.
        num_resamples: Number of draws.
        seed: Of the random draws.
    """
    distinct, counts = _distinct_rows(totals)
    num_clusters = len(totals)
    has_few_distinct = len(distinct) * 10 <= num_clusters
    # `_draw_by_index` counts clusters, so each of them needs a row, equal ones included
    rows_to_draw = distinct if has_few_distinct else np.repeat(distinct, counts, axis=0)
    rng = np.random.default_rng(seed)
    sums = np.empty((num_resamples, totals.shape[1]))
    step = max(1, _MAX_COUNTS_IN_MEMORY // len(rows_to_draw))
    for start in range(0, num_resamples, step):
        resamples = min(step, num_resamples - start)
        if has_few_distinct:
            times_drawn = rng.multinomial(num_clusters, counts / num_clusters, size=resamples)
        else:
            times_drawn = _draw_by_index(rng, num_clusters, resamples)
        sums[start : start + resamples] = times_drawn @ rows_to_draw
    return sums


def _distinct_rows(rows: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """np.unique(rows, axis=0, return_counts=True), but column by column, which is much faster."""
    codes = np.zeros(len(rows), dtype=np.intp)
    for column in rows.T:
        # codes number the distinct rows of the columns so far; each column splits them further
        values, codes_of = np.unique(column, return_inverse=True)
        codes = np.unique(codes * len(values) + codes_of, return_inverse=True)[1]
    _, first, counts = np.unique(codes, return_index=True, return_counts=True)
    return rows[first], counts


def _draw_by_index(rng: np.random.Generator, size: int, rows: int) -> NDArray[np.intp]:
    """How often each of `size` clusters occurs in `size` draws, shape (rows, size)."""
    return np.stack(
        [np.bincount(rng.integers(size, size=size), minlength=size) for _ in range(rows)]
    )


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
