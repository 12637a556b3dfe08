"""Whether two runs differ on the same items: exact tests, Holm's correction, statistical power.

The input is one difference for each item, in [-1, 1]: the verdict (1 right, 0 wrong) of one run
minus the verdict of the other, or the difference of the means over each run's seeds. An item is
discordant where the difference is not 0.

Items about one image are not independent. So the sign-flip test flips the signs of whole clusters
(all items of an image), and variances are computed from sums over clusters.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medr1.stats.intervals import Interval, cluster_totals

SMALLEST_P = 1e-12
"""The least p that the sign-flip test returns: below it, rounding errors dominate."""
_MAX_STEPS = 1 << 21
"""Largest sum of absolute differences, in units of 1/denominator, that is computed exactly."""
_MAX_DENOMINATOR = 10_000
"""Largest common denominator of the clusters' sums with which the exact test is tried."""


@dataclass(frozen=True)
class Detectable:
    """The smallest difference that this many items show with the wanted power."""

    value: float | None
    """The difference, in [0, 1]; None where it cannot be stated."""
    reason: str | None
    """Why `value` is None; None where there is a value."""
    discordance: float
    """Mean squared difference. For single runs: the share of items that only one run got right."""
    design_effect: float
    """Variance of the mean with clusters over that of independent items; at least 1."""


def mcnemar_exact(won: int, lost: int) -> float:
    """The two-sided p value of McNemar's exact test: a binomial test of won of won + lost at 1/2.

    The test takes items as independent. Where several items share an image use `sign_flip_test`.

    Agrees with statsmodels (`mcnemar(exact=True)`).

    Args:
        won: Items that only the first run got right.
        lost: Items that only the second run got right.

    Returns:
        p in (0, 1]; 1 where no item is discordant.
    """
    from scipy.stats import binomtest

    return float(binomtest(won, won + lost, 0.5).pvalue) if won + lost else 1.0


def mcnemar_mid_p(won: int, lost: int) -> float:
    """McNemar's mid-p value: as the exact test, with half the probability of what was observed.

    It is less conservative than the exact test and nearly always stays within its level.

    Source: Fagerland, Lydersen and Laake (2013), BMC Medical Research Methodology 13:91.

    Args:
        won: Items that only the first run got right.
        lost: Items that only the second run got right.
    """
    from scipy.stats import binom

    n = won + lost
    if n == 0:
        return 1.0
    observed = float(binom.pmf(won, n, 0.5))
    # Two-sided, the outcome counts on both sides: half of it twice is all of it. Where won == lost
    # both sides share the one outcome in the middle.
    return mcnemar_exact(won, lost) - observed * (0.5 if won == lost else 1.0)


def sign_flip_test(difference: ArrayLike, clusters: Iterable[Hashable]) -> float | None:
    """The exact two-sided p value of the mean difference, with random signs for the clusters.

    Null hypothesis: on each image the two runs could as well have been swapped, so the sum of each
    cluster has either sign with probability 1/2. p is the probability that the absolute total is at
    least as large as the observed one.

    Where every item is its own cluster and differences are -1, 0 or 1, this is McNemar's exact
    test. Where items share images it keeps its level, which McNemar's test does not. Agrees with
    scipy's `permutation_test` (permutation_type "samples") up to its random draws.

    The distribution of the total is computed exactly: its characteristic function is the product of
    cos(s_k t) over the clusters' sums s_k, and one Fourier transform inverts it. The normal limit
    replaces it where the sums have no small common denominator, or their total is too large.

    Args:
        difference: One number for each item in [-1, 1], shape (items,).
        clusters: The cluster of each item.

    Returns:
        p in [SMALLEST_P, 1]; None where there are no items.
    """
    sums = cluster_totals(np.asarray(difference, dtype=np.float64)[:, None], clusters)[:, 0]
    if len(sums) == 0:
        return None
    scale = _common_denominator(sums)
    if scale is None or np.abs(sums).sum() * scale > _MAX_STEPS:
        return _normal_p(sums)
    # All sums as whole numbers of steps of 1/scale; clusters without a difference do not matter.
    steps = np.rint(np.abs(sums) * scale).astype(np.int64)
    sizes, counts = np.unique(steps[steps > 0], return_counts=True)
    if len(sizes) == 0:
        return 1.0
    observed = abs(round(float(sums.sum()) * scale))
    if len(sizes) == 1:
        # All clusters weigh the same: the number of positive signs is binomial, as in McNemar's.
        flips, size = int(counts[0]), int(sizes[0])
        return mcnemar_exact((flips + observed // size) // 2, (flips - observed // size) // 2)
    reach = int((sizes * counts).sum())  # totals lie in -reach ... reach
    length = 2 * reach + 1
    angles = 2 * np.pi * np.arange(reach + 1) / length
    characteristic = np.ones(reach + 1)
    for size, count in zip(sizes, counts, strict=True):
        characteristic *= np.cos(size * angles) ** count
    # the probabilities of the totals 0, 1 ... reach, then -reach ... -1
    probabilities = np.fft.irfft(characteristic, length)
    p = 2 * float(probabilities[observed : reach + 1].sum()) if observed else 1.0
    return min(max(p, SMALLEST_P), 1.0)


def _common_denominator(sums: NDArray[np.float64]) -> int | None:
    """The least whole number that makes all sums whole; None where there is none up to the limit.

    [0.5, -1/3] -> 6: means over seeds are fractions with small denominators.
    """
    scale = 1
    for value in np.unique(np.abs(np.round(sums, 12))):
        fraction = Fraction(float(value)).limit_denominator(_MAX_DENOMINATOR)
        if abs(float(fraction) - value) > 1e-9:
            return None
        scale = math.lcm(scale, fraction.denominator)
        if scale > _MAX_DENOMINATOR:
            return None
    return scale


def _normal_p(sums: NDArray[np.float64]) -> float:
    """The two-sided p value of the normal limit: z = total / √(Σ s_k²) over the clusters' sums."""
    from scipy.stats import norm

    spread = math.sqrt(float((sums**2).sum()))
    return float(max(2 * norm.sf(abs(float(sums.sum())) / spread), SMALLEST_P)) if spread else 1.0


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """The p values adjusted for multiple tests, in the same order. Holm (1979).

    The r-th smallest of m p values becomes the largest of (m - j + 1) p_j over j <= r, at most 1.
    Rejecting all hypotheses with an adjusted p below alpha keeps the probability of any false
    rejection at alpha or less. A None stays None and does not count as a test. Agrees with
    statsmodels (`multipletests`, method "holm").
    """
    ordered = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(ordered):
        largest = max(largest, min(1.0, (len(ordered) - rank) * p))
        adjusted[i] = largest
    return adjusted


def standard_error(difference: ArrayLike, clusters: Iterable[Hashable]) -> float | None:
    """The cluster-robust standard error of the mean difference; None for fewer than two clusters.

    √(K/(K-1) Σ (S_k - d̄ n_k)²) / N for N items with mean d̄ in K clusters with sums S_k and sizes
    n_k. This is the sandwich estimator of a regression on a constant (Liang and Zeger, 1986) with
    the usual factor for few clusters; agrees with statsmodels (`OLS`, cov_type "cluster").

    Args:
        difference: One number for each item, shape (items,).
        clusters: The cluster of each item.
    """
    values = np.asarray(difference, dtype=np.float64)
    totals = cluster_totals(np.column_stack([values, np.ones(len(values))]), clusters)
    if len(totals) < 2:
        return None
    residuals = totals[:, 0] - values.mean() * totals[:, 1]
    k = len(totals)
    return math.sqrt(k / (k - 1) * float((residuals**2).sum())) / len(values)


def minimum_detectable_difference(
    difference: ArrayLike,
    clusters: Iterable[Hashable],
    *,
    power: float = 0.8,
    alpha: float = 0.05,
) -> Detectable:
    """The smallest true difference that a two-sided paired test finds with this power.

    n δ² = (z_level √ψ + z_power √(ψ - δ²))², solved for δ: ψ is the observed discordance, n the
    number of items over the design effect (see `Detectable`), z the normal quantiles of 1 - alpha/2
    and of the power. It helps to plan the next comparison of this kind; it says nothing about
    whether the present runs differ.

    Source: Connor (1987), Biometrics 43:207.

    Args:
        difference: One number for each item in [-1, 1], shape (items,).
        clusters: The cluster of each item.
        power: Probability of finding the difference, in (0, 1).
        alpha: Level of the test, in (0, 1).

    Returns:
        A `Detectable`. Its value is None where no item is discordant, where there are fewer than
        two clusters, and where not even all discordant items in favour of one run would suffice.
    """
    from scipy.stats import norm

    values = np.asarray(difference, dtype=np.float64)
    n = len(values)
    error = standard_error(values, clusters) if n > 1 else None
    discordance = float(np.mean(values**2)) if n else 0.0
    if error is None:
        return Detectable(None, "fewer than two clusters", discordance, 1.0)
    if discordance == 0:
        return Detectable(None, "the runs agree on every item", 0.0, 1.0)
    independent_variance = float(np.var(values, ddof=1)) / n
    effect = max(1.0, error**2 / independent_variance) if independent_variance > 0 else 1.0
    effective_n = n / effect
    z_level, z_power = float(norm.ppf(1 - alpha / 2)), float(norm.ppf(power))
    # Connor's equation is quadratic in δ; without a real root no difference is large enough
    inner = effective_n + z_power**2 - z_level**2
    if inner > 0:
        root = math.sqrt(effective_n) * z_level + z_power * math.sqrt(inner)
        value = math.sqrt(discordance) * root / (effective_n + z_power**2)
        if value <= float(np.mean(np.abs(values))):
            return Detectable(value, None, discordance, effect)
    reason = "too few discordant items to show a difference even if one run won them all"
    return Detectable(None, reason, discordance, effect)


def interval_over_seeds(
    a: Sequence[float], b: Sequence[float], confidence: float = 0.95
) -> Interval | None:
    """The t interval of mean(a) - mean(b) over seeds.

    Welch's interval, with the degrees of freedom of Welch and Satterthwaite, where both runs have
    several seeds. Where one run has a single seed, its accuracy is taken as fixed. Agrees with
    statsmodels (`CompareMeans.tconfint_diff`, usevar "unequal").

    This interval speaks of new seeds on the same items; the bootstrap over images speaks of new
    images with the same seeds.

    Args:
        a: The accuracy of each seed of the first run.
        b: The accuracy of each seed of the second run.
        confidence: Nominal coverage, in (0, 1).

    Returns:
        Both ends; None where no run has two seeds, or where the seeds do not differ.
    """
    from scipy.stats import t

    # (variance of the mean, degrees of freedom) of each run that has several seeds
    parts = [(np.var(side, ddof=1) / len(side), len(side) - 1) for side in (a, b) if len(side) > 1]
    variance = float(sum(part for part, _ in parts))
    if variance < 1e-24:
        return None
    freedom = variance**2 / sum(part**2 / df for part, df in parts)
    reach = float(t.ppf((1 + confidence) / 2, freedom)) * math.sqrt(variance)
    value = float(np.mean(a) - np.mean(b))
    return value - reach, value + reach
