"""Agreement of two or more raters on any number of categories, with bootstrap intervals.

The input is an array of codes, shape (cases, raters): the category of each rating, numbered from 0,
and -1 where a rater has not rated a case. `rating_codes` makes it from texts. A case is what is
rated; intervals resample clusters of cases, such as all cases about one image.

Each function returns a `Metric`. It has no value, and the reason in its place, where the statistic
is not defined, such as for a single rater or where all ratings are equal. Resamples in which it is
not defined are left out of the interval; where they are more than 5 %, there is no interval.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medr1.documents.metric import Metric, no_value
from medr1.stats.intervals import (
    Floats,
    cluster_totals,
    named_interval,
    percentiles,
    resample_sums,
)

Codes = NDArray[np.intp]
Weighting = Literal["none", "linear", "quadratic"]
Level = Literal["nominal", "ordinal"]

MAX_UNDEFINED = 0.05
"""Largest share of resamples without a value with which there is an interval."""
_ZERO = 1e-12
NO_PAIRS = "no case has two ratings"
ALL_EQUAL = "all ratings are equal: agreement by chance is complete"


def rating_codes(
    ratings: Sequence[Sequence[str | None]], categories: Sequence[str]
) -> NDArray[np.intp]:
    """Ratings as codes, shape (cases, raters): [["yes", None]] -> [[1, -1]] for ("no", "yes").

    Args:
        ratings: For each case the rating of each rater; None where there is none.
        categories: All categories of the scale, in their order if they have one.

    Raises:
        ValueError: A rating is not one of the categories.
    """
    code_of: dict[str | None, int] = {name: code for code, name in enumerate(categories)}
    code_of[None] = -1
    unknown = {rating for row in ratings for rating in row} - set(code_of)
    if unknown:
        raise ValueError(f"not a category: {sorted(map(str, unknown))}")
    return np.array([[code_of[rating] for rating in row] for row in ratings], dtype=np.intp)


def weighted_kappa(
    codes: Codes,
    num_categories: int,
    weighting: Weighting = "none",
    *,
    clusters: Iterable[Hashable] | None = None,
    seed: int = 0,
    num_resamples: int = 2000,
) -> Metric:
    """Cohen's kappa of two raters, also weighted: 1 - Σ w o / Σ w e over the table of both.

    o are the shares of the cells of the table, e the products of its margins, and w is 0 where both
    agree and else 1 ("none"), the distance of the categories ("linear") or its square
    ("quadratic"). Cases that one of them has not rated are left out.

    Source: Cohen (1960, 1968). Agrees with scikit-learn (`cohen_kappa_score`).

    Args:
        codes: The ratings, shape (cases, 2).
        num_categories: Number of categories of the scale.
        weighting: How far a disagreement counts by the distance of its categories.
        clusters: The cluster of each case; by default each case is its own.
        seed: Of the random draws.
        num_resamples: Number of draws.

    Raises:
        ValueError: `codes` has more than two raters.
    """
    if codes.ndim == 2 and codes.shape[1] > 2:
        raise ValueError(f"Cohen's kappa is of two raters, not of {codes.shape[1]}")
    used = _rated(codes) == 2
    if not used.any():
        return no_value(NO_PAIRS)
    q = num_categories
    cells = np.zeros((int(used.sum()), q * q))
    cells[np.arange(len(cells)), codes[used, 0] * q + codes[used, 1]] = 1.0
    distance = np.abs(np.arange(q)[:, None] - np.arange(q)).astype(np.float64)
    weights = {"none": np.minimum(distance, 1.0), "linear": distance, "quadratic": distance**2}[
        weighting
    ]

    def kappa(sums: Floats) -> Floats:
        table = sums.reshape(-1, q, q)
        table = table / table.sum(axis=(1, 2), keepdims=True)
        expected = table.sum(axis=2)[:, :, None] * table.sum(axis=1)[:, None, :]
        return _one_minus_ratio(
            (weights * table).sum(axis=(1, 2)), (weights * expected).sum(axis=(1, 2))
        )

    return _metric(cells, used, kappa, clusters, seed, num_resamples)


def fleiss_kappa(
    codes: Codes,
    num_categories: int,
    *,
    clusters: Iterable[Hashable] | None = None,
    seed: int = 0,
    num_resamples: int = 2000,
) -> Metric:
    """Fleiss' kappa (P - E) / (1 - E) of any number of raters.

    P is the mean over cases of the share of pairs of ratings that agree, E = Σ p_k² with the mean
    over cases of the share of category k. Where ratings are missing, cases with one rating count
    for E only (Gwet, 2014).

    Source: Fleiss (1971). Agrees with statsmodels (`fleiss_kappa`) where none is missing.

    Args:
        codes: The ratings, shape (cases, raters).
        num_categories: Number of categories of the scale.
        clusters: The cluster of each case; by default each case is its own.
        seed: Of the random draws.
        num_resamples: Number of draws.
    """

    def kappa(sums: Floats) -> Floats:
        observed, shares = _observed_and_shares(sums)
        return _one_minus_ratio(1 - observed, 1 - (shares**2).sum(axis=1))

    return _from_counts(codes, num_categories, kappa, clusters, seed, num_resamples)


def gwet_ac1(
    codes: Codes,
    num_categories: int,
    *,
    clusters: Iterable[Hashable] | None = None,
    seed: int = 0,
    num_resamples: int = 2000,
) -> Metric:
    """Gwet's AC1 (P - E) / (1 - E), with E = Σ p_k (1 - p_k) / (K - 1) for K categories.

    P and p_k are those of Fleiss' kappa. Unlike kappa it is not low only because nearly all ratings
    fall into one category; where all ratings are equal it is 1.

    Source: Gwet (2008), British Journal of Mathematical and Statistical Psychology 61:29.

    Args:
        codes: The ratings, shape (cases, raters).
        num_categories: Number of categories of the scale, at least 2.
        clusters: The cluster of each case; by default each case is its own.
        seed: Of the random draws.
        num_resamples: Number of draws.

    Raises:
        ValueError: There are fewer than two categories.
    """
    if num_categories < 2:
        raise ValueError("Gwet's AC1 needs at least two categories")

    def ac1(sums: Floats) -> Floats:
        observed, shares = _observed_and_shares(sums)
        expected = (shares * (1 - shares)).sum(axis=1) / (num_categories - 1)
        return _one_minus_ratio(1 - observed, 1 - expected)

    return _from_counts(codes, num_categories, ac1, clusters, seed, num_resamples)


def krippendorff_alpha(
    codes: Codes,
    num_categories: int,
    level: Level = "nominal",
    *,
    clusters: Iterable[Hashable] | None = None,
    seed: int = 0,
    num_resamples: int = 2000,
) -> Metric:
    """Krippendorff's alpha: 1 - observed over expected disagreement, of any number of raters.

    With the coincidences o_ck of pairs of ratings within cases, n_c = Σ_k o_ck and n = Σ n_c:
    1 - (n - 1) Σ o_ck d_ck / Σ n_c n_k d_ck. d is 1 for different categories ("nominal"), or the
    square of the number of ratings between them, with half of those in c and k ("ordinal"). Cases
    with fewer than two ratings are left out.

    Source: Krippendorff (2011), Computing Krippendorff's Alpha-Reliability.

    Args:
        codes: The ratings, shape (cases, raters).
        num_categories: Number of categories of the scale; in their order for "ordinal".
        level: Whether the order of the categories counts.
        clusters: The cluster of each case; by default each case is its own.
        seed: Of the random draws.
        num_resamples: Number of draws.
    """
    used = _rated(codes) >= 2
    if not used.any():
        return no_value(NO_PAIRS)
    q = num_categories
    counts = _counts(codes[used], q)
    pairs = counts[:, :, None] * counts[:, None, :]
    pairs[:, np.arange(q), np.arange(q)] -= counts
    coincidences = pairs / (counts.sum(axis=1) - 1)[:, None, None]

    def alpha(sums: Floats) -> Floats:
        table = sums.reshape(-1, q, q)
        totals = table.sum(axis=2)
        distance = _distances(totals, level)
        observed = (table * distance).sum(axis=(1, 2))
        expected = (totals[:, :, None] * totals[:, None, :] * distance).sum(axis=(1, 2))
        return _one_minus_ratio(observed * (totals.sum(axis=1) - 1), expected)

    return _metric(coincidences.reshape(-1, q * q), used, alpha, clusters, seed, num_resamples)


def _distances(totals: Floats, level: Level) -> Floats:
    """The distance of each pair of categories, (rows, K, K), given how often each is used."""
    q = totals.shape[1]
    if level == "nominal":
        return np.broadcast_to(1.0 - np.eye(q), (len(totals), q, q))
    middle = np.cumsum(totals, axis=1) - totals / 2
    distances: Floats = (middle[:, :, None] - middle[:, None, :]) ** 2
    return distances


def _rated(codes: Codes) -> NDArray[np.intp]:
    """How many ratings each case has; zeros where `codes` is empty."""
    if codes.ndim != 2:
        return np.zeros(len(codes), dtype=np.intp)
    counts: NDArray[np.intp] = (codes >= 0).sum(axis=1)
    return counts


def _counts(codes: Codes, num_categories: int) -> Floats:
    """How many raters chose each category, shape (cases, K)."""
    chosen = codes[:, :, None] == np.arange(num_categories)
    counts: Floats = chosen.sum(axis=1).astype(np.float64)
    return counts


def _observed_and_shares(sums: Floats) -> tuple[Floats, Floats]:
    """P (rows,) and p_k (rows, K), from the sums that `_from_counts` makes.

    P is NaN for a resample without a pair of ratings.
    """
    pairs = sums[:, 1]
    observed = np.where(pairs > 0, sums[:, 0] / np.maximum(pairs, 1.0), np.nan)
    return observed, sums[:, 3:] / sums[:, 2:3]


def _from_counts(
    codes: Codes,
    num_categories: int,
    function: Callable[[Floats], Floats],
    clusters: Iterable[Hashable] | None,
    seed: int,
    num_resamples: int,
) -> Metric:
    """A statistic of agreement and shares, as Fleiss' kappa.

    The sums are of four parts of each case: its agreement, 1 if it has pairs, 1, and the shares of
    the categories.
    """
    rated = _rated(codes)
    if not (rated >= 2).any():
        return no_value(NO_PAIRS)
    used = rated >= 1
    counts = _counts(codes[used], num_categories)
    m = counts.sum(axis=1)
    has_pairs = m >= 2
    agreement = (counts * (counts - 1)).sum(axis=1) / np.where(has_pairs, m * (m - 1), 1.0)
    statistics = np.column_stack([agreement, has_pairs, np.ones(len(m)), counts / m[:, None]])
    return _metric(statistics, used, function, clusters, seed, num_resamples)


def _one_minus_ratio(observed: Floats, expected: Floats) -> Floats:
    """1 - observed / expected disagreement, row by row; NaN where none is expected."""
    is_defined = expected > _ZERO
    ratio: Floats = observed / np.where(is_defined, expected, 1.0)
    return np.where(is_defined, 1 - ratio, np.nan)


def _metric(
    statistics: Floats,
    used: NDArray[np.bool_],
    function: Callable[[Floats], Floats],
    clusters: Iterable[Hashable] | None,
    seed: int,
    num_resamples: int,
) -> Metric:
    """A function of sums over the used cases, with its interval.

    `statistics` has a row for each used case, `clusters` a value for each case.
    """
    value = float(function(statistics.sum(axis=0, keepdims=True))[0])
    if np.isnan(value):
        return no_value(ALL_EQUAL)
    places = range(len(used)) if clusters is None else clusters
    own = [cluster for cluster, is_used in zip(places, used, strict=True) if is_used]
    totals = cluster_totals(statistics, own)
    if len(totals) < 2:
        interval, method = named_interval(None, "case")
    else:
        resampled = function(resample_sums(totals, num_resamples, seed))
        is_defined = ~np.isnan(resampled)
        if np.mean(~is_defined) > MAX_UNDEFINED:
            interval, method = None, "too few different ratings: no interval"
        else:
            interval, method = named_interval(percentiles(resampled[is_defined]), "case")
    return Metric(value=value, ci95=interval, n=len(statistics), method=method)
