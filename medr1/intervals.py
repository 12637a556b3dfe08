"""How sure a number is: Wilson for shares, a clustered bootstrap for everything else.

Questions about one image are not independent, so the bootstrap draws clusters (images), not
items, and a statistic is a function of the sums over what was drawn. All intervals are
two-sided; `confidence` is a share in (0, 1). None stands where there is no interval to give.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

Interval = tuple[float, float]
Floats = NDArray[np.float64]

_DRAWN_AT_ONCE = 4_000_000
"""Cluster counts held in memory at a time (32 MB)."""
_ROUNDING = 1e-12
"""What rounding alone makes of means that are equal."""


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval | None:
    """The score interval of a share of independent trials; None for n = 0.

    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), Wilson (1927), by scipy. It has a width
    at 0 and 1, where the normal interval has none. ValueError where successes > n.
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
    """The percentile interval of the mean over items, clusters drawn with replacement.

    Each resample's mean is a ratio: the sum of the drawn clusters' values over their number of
    items. None for fewer than two clusters. The result does not depend on the items' order.
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
    """mean(a) - mean(b) on the same items, and its clustered bootstrap interval; None for n = 0."""
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
    """The percentile interval of any statistic that is a function of sums over the items.

    `statistics` (items, S) holds what is summed (for BLEU: matches, totals, lengths);
    `function` maps sums (resamples, S) to (resamples,). None for fewer than two clusters.
    """
    _check_confidence(confidence)
    totals = cluster_totals(statistics, clusters)
    if len(totals) < 2:
        return None
    return percentiles(function(resample_sums(totals, num_resamples, seed)), confidence)


def percentiles(drawn: ArrayLike, confidence: float = 0.95) -> Interval:
    """The interval that holds the middle `confidence` of what the resamples gave."""
    low, high = np.quantile(np.asarray(drawn), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def named_interval(
    interval: Interval | None, unit: str, name: str = "bootstrap"
) -> tuple[Interval | None, str]:
    """A bootstrap's interval and its name over units; for none, and for no width, why none.

    Items that are all alike do not say that the next one is: no width is not certainty.
    """
    if interval is None:
        return None, f"one {unit} only: no interval"
    if interval[1] - interval[0] < _ROUNDING:
        return None, "no spread: no interval"
    return interval, f"{name} over {unit}s"


def cluster_codes(clusters: Iterable[Hashable]) -> NDArray[np.intp]:
    """0, 1, 2 ... for each cluster in order of appearance; one code per item."""
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(cluster, len(seen)) for cluster in clusters], dtype=np.intp)


def cluster_totals(statistics: ArrayLike, clusters: Iterable[Hashable]) -> Floats:
    """Sums (clusters, S) of the items' statistics (items, S)."""
    statistics = np.asarray(statistics, dtype=np.float64)
    codes = clusters if _are_codes(clusters) else cluster_codes(clusters)
    if len(codes) != len(statistics):
        raise ValueError(f"{len(statistics)} values but {len(codes)} clusters")
    if len(codes) == 0:
        return statistics
    sums: Floats = np.column_stack([np.bincount(codes, weights=column) for column in statistics.T])
    return sums[np.bincount(codes) > 0]


def _are_codes(clusters: Iterable[Hashable]) -> TypeGuard[NDArray[np.intp]]:
    """Whether these are codes already, of which some may be left out, as `cluster_codes` gives."""
    return isinstance(clusters, np.ndarray) and clusters.dtype == np.intp


def resample_sums(totals: Floats, num_resamples: int, seed: int) -> Floats:
    """Sums (resamples, S) over as many clusters as there are, drawn with replacement.

    Clusters with equal totals are interchangeable, so how often each kind is drawn is one
    multinomial. This is exact, and for right/wrong items it is hundreds of times quicker; where
    nearly every cluster is its own kind, clusters are drawn by index.
    """
    kinds, counts = _distinct_rows(totals)
    size = len(totals)
    few = len(kinds) * 10 <= size
    pool = kinds if few else np.repeat(kinds, counts, axis=0)
    rng = np.random.default_rng(seed)
    sums = np.empty((num_resamples, totals.shape[1]))
    step = max(1, _DRAWN_AT_ONCE // len(pool))
    for start in range(0, num_resamples, step):
        rows = min(step, num_resamples - start)
        if few:
            drawn = rng.multinomial(size, counts / size, size=rows)
        else:
            drawn = _draw_by_index(rng, size, rows)
        sums[start : start + rows] = drawn @ pool
    return sums


def _distinct_rows(rows: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """np.unique(rows, axis=0, return_counts=True), column by column, which is much quicker."""
    codes = np.zeros(len(rows), dtype=np.intp)
    for column in rows.T:
        values, codes_of = np.unique(column, return_inverse=True)
        codes = np.unique(codes * len(values) + codes_of, return_inverse=True)[1]
    _, first, counts = np.unique(codes, return_index=True, return_counts=True)
    return rows[first], counts


def _draw_by_index(rng: np.random.Generator, size: int, rows: int) -> NDArray[np.intp]:
    """How often each of `size` clusters is drawn in `size` draws: (rows, size)."""
    return np.stack(
        [np.bincount(rng.integers(size, size=size), minlength=size) for _ in range(rows)]
    )


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
