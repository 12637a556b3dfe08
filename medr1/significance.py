"""Whether two runs differ on the same items: exact tests, Holm's correction, what n can show.

A difference is one number per item, in [-1, 1]: verdict of one run minus verdict of the other, or
of the means over each run's seeds. Items about one image are not independent, so tests flip the
sign of whole clusters (images) and variances are sums over clusters.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medr1.intervals import Interval, cluster_totals

SMALLEST_P = 1e-12
"""The sign-flip test's rounding: what it finds to be smaller is given as this."""
_MAX_STEPS = 1 << 21
_DENOMINATOR = 10_000


@dataclass(frozen=True)
class Detectable:
    """The smallest difference that this many items show with the wanted power."""

    value: float | None
    """None where there is none to state."""
    reason: str | None
    discordance: float
    """The mean squared difference: for single runs the share of items that one run alone won."""
    design_effect: float
    """How many times the variance exceeds that of independent items; at least 1."""


def mcnemar_exact(won: int, lost: int) -> float:
    """The two-sided p of McNemar's exact test: won of won + lost is a fair coin's.

    It takes every item for independent: see `sign_flip_test` where images repeat.
    """
    from scipy.stats import binomtest

    return float(binomtest(won, won + lost, 0.5).pvalue) if won + lost else 1.0


def mcnemar_mid_p(won: int, lost: int) -> float:
    """McNemar's mid-p: half of the observed outcome's probability counts.

    Less cautious than the exact test and nearly always within its level; Fagerland, Lydersen and
    Laake (2013), BMC Medical Research Methodology 13:91.
    """
    from scipy.stats import binom

    n = won + lost
    if n == 0:
        return 1.0
    observed = float(binom.pmf(won, n, 0.5))
    return mcnemar_exact(won, lost) - observed * (0.5 if won == lost else 1.0)


def sign_flip_test(difference: ArrayLike, clusters: Iterable[Hashable]) -> float | None:
    """The exact two-sided p of the mean difference, the sign of each cluster's sum a fair coin's.

    That is what holds when each image could as well have had its two runs swapped. Where every
    item has its own cluster and differences are -1, 0 or 1 it is McNemar's exact test; where
    images repeat it stays at its level, which McNemar's does not. Computed by the characteristic
    function (a product of cosines) and one Fourier transform; None for no items.
    """
    sums = cluster_totals(np.asarray(difference, dtype=np.float64)[:, None], clusters)[:, 0]
    if len(sums) == 0:
        return None
    scale = _common_denominator(sums)
    if scale is None or np.abs(sums).sum() * scale > _MAX_STEPS:
        return _normal_p(sums)
    steps = np.rint(np.abs(sums) * scale).astype(np.int64)
    sizes, counts = np.unique(steps[steps > 0], return_counts=True)
    if len(sizes) == 0:
        return 1.0
    observed = abs(round(float(sums.sum()) * scale))
    if len(sizes) == 1:
        flips, size = int(counts[0]), int(sizes[0])
        return mcnemar_exact((flips + observed // size) // 2, (flips - observed // size) // 2)
    reach = int((sizes * counts).sum())
    length = 2 * reach + 1
    angles = 2 * np.pi * np.arange(reach + 1) / length
    characteristic = np.ones(reach + 1)
    for size, count in zip(sizes, counts, strict=True):
        characteristic *= np.cos(size * angles) ** count
    chances = np.fft.irfft(characteristic, length)  # of the sums 0, 1 ... reach, then -reach ... -1
    p = 2 * float(chances[observed : reach + 1].sum()) if observed else 1.0
    return min(max(p, SMALLEST_P), 1.0)


def _common_denominator(sums: NDArray[np.float64]) -> int | None:
    """The least whole number that makes all sums whole; None where there is no small one."""
    scale = 1
    for value in np.unique(np.abs(np.round(sums, 12))):
        part = Fraction(float(value)).limit_denominator(_DENOMINATOR)
        if abs(float(part) - value) > 1e-9:
            return None
        scale = math.lcm(scale, part.denominator)
        if scale > _DENOMINATOR:
            return None
    return scale


def _normal_p(sums: NDArray[np.float64]) -> float:
    """The limit of the sign-flip test for very many clusters."""
    from scipy.stats import norm

    spread = math.sqrt(float((sums**2).sum()))
    return float(max(2 * norm.sf(abs(float(sums.sum())) / spread), SMALLEST_P)) if spread else 1.0


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """The p values adjusted by Holm (1979), in their order; a None stays and is not counted.

    Those under alpha hold together: at most alpha is the chance of any false one among them.
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[i] = largest
    return adjusted


def standard_error(difference: ArrayLike, clusters: Iterable[Hashable]) -> float | None:
    """The standard error of the mean difference, clusters independent; None under two clusters.

    √(K/(K-1) Σ (S_k - d̄ n_k)²) / N over K clusters with sums S_k and sizes n_k: the sandwich of a
    regression on a constant (Liang and Zeger, 1986, with the usual factor for few clusters).
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

    Connor (1987), Biometrics 43:207: n δ² = (z_level √ψ + z_power √(ψ - δ²))², solved for δ,
    with the observed discordance ψ and n divided by the design effect: the variance of the mean
    with clusters over that with independent items, at least 1. It plans a next comparison of this
    kind; it is no verdict on this one. Value None where nothing was discordant, under two
    clusters, or where even all discordant items on one side would not do.
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
    alone = float(np.var(values, ddof=1)) / n
    effect = max(1.0, error**2 / alone) if alone > 0 else 1.0
    size = n / effect
    level, wanted = float(norm.ppf(1 - alpha / 2)), float(norm.ppf(power))
    inner = size + wanted**2 - level**2
    if inner > 0:
        root = math.sqrt(size) * level + wanted * math.sqrt(inner)
        value = math.sqrt(discordance) * root / (size + wanted**2)
        if value <= float(np.mean(np.abs(values))):
            return Detectable(value, None, discordance, effect)
    reason = "too few discordant items to show a difference even if one run won them all"
    return Detectable(None, reason, discordance, effect)


def interval_over_seeds(
    a: Sequence[float], b: Sequence[float], confidence: float = 0.95
) -> Interval | None:
    """The t interval of mean(a) - mean(b) over seeds, each value one seed's accuracy.

    Welch's where both runs have several seeds; where one has a single seed that is taken as fixed.
    None where neither has two, or where seeds do not differ. It speaks of new seeds on the same
    items, where the bootstrap over images speaks of new images for the same seeds.
    """
    from scipy.stats import t

    parts = [(np.var(side, ddof=1) / len(side), len(side) - 1) for side in (a, b) if len(side) > 1]
    variance = float(sum(part for part, _ in parts))
    if variance < 1e-24:
        return None
    freedom = variance**2 / sum(part**2 / df for part, df in parts)
    reach = float(t.ppf((1 + confidence) / 2, freedom)) * math.sqrt(variance)
    value = float(np.mean(a) - np.mean(b))
    return value - reach, value + reach
