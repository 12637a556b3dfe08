"""Calibration errors over bins of confidence: ECE and its variants, and parts of the Brier score.

Calibration means: of the answers with a confidence of 0.8, 80 % are right. To measure it, items are
put into bins of similar confidence, and each bin's mean confidence is compared with its accuracy.

Arrays, for n items and B bins:

    confidence  (items,)  in [0, 1]
    correct     (items,)  1.0 where the answer is right, else 0.0
    bins        (items,)  the bin of each item, 0 to B - 1

Every error is a function of sums within bins, so that items, clusters and resamples can be added
up. A row of such sums has 3 x B columns: B sums of confidence, B of correctness, B counts of items.

A bootstrap gives no valid interval of the usual errors. They are biased upwards, because chance
alone separates accuracy from confidence within a bin, and a resample adds that bias once more. So
the debiased error has an interval of its own (`debiased_interval`), and the others are reported
with the value that calibrated models reach by chance (`chance_error`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from medr1.documents.trust import BrierDecomposition
from medr1.evaluate.coded import Values
from medr1.stats.intervals import Interval, cluster_totals

BINS = 15
"""Number of bins, as in Guo et al. (2017)."""
CHANCE = 0.95
"""The share of calibrated models whose error stays below what `chance_error` returns."""
_RESAMPLES_AT_ONCE = 100
"""Bounds the memory: a resample has a verdict for each item."""

Bins = NDArray[np.intp]


def equal_width(confidence: Values, bins: int = BINS) -> Bins:
    """The bin of each item, for bins of equal width that are closed on the right.

    With 15 bins the first is [0, 1/15], the second (1/15, 2/15]. These are torchmetrics' bins.

    Args:
        confidence: In [0, 1], shape (items,).
        bins: Number of bins.
    """
    number = np.searchsorted(np.arange(1, bins + 1) / bins, confidence, side="left")
    return np.minimum(number, bins - 1)


def equal_mass(confidence: Values, bins: int = BINS) -> Bins:
    """The bin of each item, for bins of equally many items (their sizes differ by one at most).

    Items are assigned by rank. Equal confidences keep the order of the items, so they can fall into
    different bins.

    Args:
        confidence: In [0, 1], shape (items,).
        bins: Number of bins.
    """
    bin_of_item = np.empty(len(confidence), dtype=np.intp)
    order = np.argsort(confidence, kind="stable")
    for number, part in enumerate(np.array_split(order, bins)):
        bin_of_item[part] = number
    return bin_of_item


def bin_contributions(
    confidence: Values, correct: Values, bins: Bins, number: int = BINS
) -> Values:
    """What each item adds to the sums within bins, shape (items, 3 x bins).

    An item in bin b has its confidence in column b, its correctness in column B + b and 1 in column
    2B + b, and 0 elsewhere.

    Args:
        confidence: In [0, 1], shape (items,).
        correct: 0.0 or 1.0, shape (items,).
        bins: The bin of each item, shape (items,).
        number: Number of bins B.
    """
    in_bin = np.eye(number)[bins]
    return np.hstack([in_bin * confidence[:, None], in_bin * correct[:, None], in_bin])


def bin_totals(confidence: Values, correct: Values, bins: Bins, number: int = BINS) -> Values:
    """The sum of `bin_contributions` over all items, shape (1, 3 x bins), with less memory.

    Args:
        confidence: In [0, 1], shape (items,).
        correct: 0.0 or 1.0, shape (items,).
        bins: The bin of each item, shape (items,).
        number: Number of bins B.
    """
    columns = (confidence, correct, np.ones(len(bins)))
    return np.concatenate([np.bincount(bins, column, number) for column in columns])[None]


def _gaps(sums: Values) -> tuple[Values, Values, Values]:
    """(mean confidence - accuracy, accuracy, number of items) of each bin, each (rows, bins).

    `sums` are `bin_contributions` added up, (rows, 3 x bins). An empty bin has a gap of 0.
    """
    confidence_sum, correct_sum, n = np.split(sums, 3, axis=1)
    divisor = np.maximum(n, 1)
    return (confidence_sum - correct_sum) / divisor, correct_sum / divisor, n


def expected_calibration_error(sums: Values) -> Values:
    """ECE = Σ_b n_b/n |mean confidence_b - accuracy_b|, for each row of sums (rows, 3 x bins).

    Returns shape (rows,), in [0, 1]. Source: Naeini et al. (2015); Guo et al. (2017). Agrees with
    torchmetrics (`binary_calibration_error`, norm "l1").
    """
    gaps, _, n = _gaps(sums)
    errors: Values = (np.abs(gaps) * n).sum(axis=1) / n.sum(axis=1)
    return errors


def maximum_calibration_error(sums: Values) -> Values:
    """MCE = max_b |mean confidence_b - accuracy_b| over bins with items, for each row of sums.

    Returns shape (rows,), in [0, 1]. Agrees with torchmetrics (norm "max").
    """
    gaps, _, n = _gaps(sums)
    errors: Values = np.where(n > 0, np.abs(gaps), 0).max(axis=1)
    return errors


def debiased_calibration_error(sums: Values) -> Values:
    """√(Σ_b n_b/n ((mean confidence_b - accuracy_b)² - accuracy_b (1 - accuracy_b) / (n_b - 1))).

    The second term is the part of the squared gap that chance adds. The sum is set to 0 where it is
    negative, that is, where chance explains the whole gap. Bins of one item are left out, because
    their chance cannot be estimated.

    Returns shape (rows,), in [0, 1], for sums (rows, 3 x bins).
    Source: Kumar, Liang and Ma (2019), section 4.1.
    """
    gaps, accuracy, n = _gaps(sums)
    chance = accuracy * (1 - accuracy) / np.maximum(n - 1, 1)
    has_several = n > 1
    squares = np.where(has_several, n * (gaps**2 - chance), 0).sum(axis=1)
    items = np.maximum(np.where(has_several, n, 0).sum(axis=1), 1)
    errors: Values = np.sqrt(np.maximum(squares / items, 0))
    return errors


def chance_error(
    confidence: Values,
    correct: Values,
    clusters: NDArray[np.intp],
    bins: Bins,
    statistic: Callable[[Values], Values],
    *,
    seed: int = 0,
    num_resamples: int = 2000,
) -> float | None:
    """The error that a share CHANCE of calibrated models does not exceed on these items.

    The larger of two estimates:

    - Consistency resampling (Bröcker and Smith, 2007): each verdict is drawn anew, right with the
      item's confidence as its probability, independently. This covers errors so rare that these
      items happen to show none.
    - Wild cluster bootstrap (Cameron, Gelbach and Miller, 2008): the excess of confidence over
      correctness of each cluster, in every bin, is multiplied by a random sign. This covers items
      of one cluster that are wrong together.

    Args:
        confidence: In [0, 1], shape (items,).
        correct: 0.0 or 1.0, shape (items,).
        clusters: Cluster codes, shape (items,).
        bins: The bin of each item, shape (items,).
        statistic: An error of this module, of sums (rows, 3 x bins).
        seed: Of the random draws.
        num_resamples: Number of draws for each estimate.

    Returns:
        An error in the unit of `statistic`; None for fewer than two clusters.
    """
    totals = cluster_totals(bin_contributions(confidence, correct, bins), clusters)
    if len(totals) < 2:
        return None
    confidence_sum, correct_sum, n = np.split(totals, 3, axis=1)
    in_bin, excess = np.eye(n.shape[1])[bins], confidence_sum - correct_sum
    rng = np.random.default_rng(seed)
    consistency, wild = [], []
    for start in range(0, num_resamples, _RESAMPLES_AT_ONCE):
        number = min(_RESAMPLES_AT_ONCE, num_resamples - start)
        verdicts = rng.random((number, len(confidence))) < confidence
        signs = 1.0 - 2.0 * rng.integers(2, size=(number, len(totals)))
        items = np.broadcast_to(n.sum(axis=0), (number, n.shape[1]))
        # The statistic needs gaps only. So each row has the drawn gap in place of the sum of
        # confidence, and zeros in place of the sum of correctness.
        gaps, nothing = confidence_sum.sum(axis=0) - verdicts @ in_bin, np.zeros(items.shape)
        consistency.append(statistic(np.hstack([gaps, nothing, items])))
        wild.append(statistic(np.hstack([signs @ excess, nothing, items])))
    return float(max(np.quantile(np.concatenate(errors), CHANCE) for errors in (consistency, wild)))


def debiased_interval(totals: Values, confidence: float = 0.95) -> Interval | None:
    """The confidence interval of the root mean squared gap that the debiased error estimates.

    Method: the gaps of the bins, weighted by √(n_b/n), are about normal with a covariance V that is
    estimated over clusters. The sum of their squares is then about a times a noncentral chi-square
    with k degrees of freedom, a = tr V² / tr V and k = (tr V)² / tr V² (Satterthwaite, 1946). The
    interval holds the noncentralities under which the observed sum is neither too large nor too
    small.

    Three safeguards:

    - Bins of one cluster are left out.
    - The variance of a bin is at least the one that its mean confidence implies: a bin without any
      error may just be too small to show one.
    - The upper end is at least that of a calibrated model with the median sum (a power-constrained
      limit: Cowan et al., 2011, arXiv:1105.3166).

    Args:
        totals: `bin_contributions` summed within clusters, shape (clusters, 3 x bins).
        confidence: Nominal coverage, in (0, 1).

    Returns:
        Both ends, at least 0; None where no bin has two clusters.
    """
    from scipy.optimize import brentq
    from scipy.stats import chi2, ncx2

    confidence_sum, correct_sum, n = np.split(totals, 3, axis=1)
    clusters = (n > 0).sum(axis=0)
    usable = clusters > 1
    if not usable.any():
        return None
    excess, n, clusters = (confidence_sum - correct_sum)[:, usable], n[:, usable], clusters[usable]
    items = n.sum(axis=0)
    gaps, weights = excess.sum(axis=0) / items, np.sqrt(items / items.sum())
    # what each cluster contributes to the deviation of each weighted gap, with the factor K/(K-1)
    deviations = (excess - gaps * n) / items * weights * np.sqrt(clusters / (clusters - 1))
    covariance = deviations.T @ deviations
    mean = confidence_sum[:, usable].sum(axis=0) / items
    np.fill_diagonal(
        covariance, np.maximum(covariance.diagonal(), mean * (1 - mean) / items * weights**2)
    )
    trace, squares = float(np.trace(covariance)), float((covariance**2).sum())
    if trace <= 0:
        return None
    scale, degrees = squares / trace, trace**2 / squares
    observed = float(((weights * gaps) ** 2).sum()) / scale

    def error_with(chi_square: float, probability: float) -> float:
        """The true error with which a chi-square of at most this much has this probability."""

        def excess_probability(noncentrality: float) -> float:
            return float(ncx2.cdf(chi_square, degrees, noncentrality)) - probability

        # the probability falls as the noncentrality grows; at 0 the model is calibrated
        if excess_probability(0.0) <= 0:
            return 0.0
        return float(np.sqrt(scale * brentq(excess_probability, 0.0, 2 * chi_square + 100.0)))

    low = error_with(observed, (1 + confidence) / 2)
    return low, error_with(max(observed, chi2.median(degrees)), (1 - confidence) / 2)


def brier_decomposition(confidence: Values, correct: Values, bins: Bins) -> BrierDecomposition:
    """The Brier score as a sum: reliability - resolution + uncertainty + within_bins, exactly.

    reliability  Σ_b n_b/n (mean confidence_b - accuracy_b)²: 0 for a calibrated model
    resolution   Σ_b n_b/n (accuracy_b - accuracy)²: larger where confidence separates right from
                 wrong answers
    uncertainty  accuracy (1 - accuracy)
    within_bins  the variance of confidence within bins, less twice its covariance with correctness

    Source: Murphy (1973); Stephenson et al. (2008) for the last part.

    Args:
        confidence: In [0, 1], shape (items,).
        correct: 0.0 or 1.0, shape (items,).
        bins: The bin of each item, shape (items,).
    """
    # one row of sums: the first row of each part
    gaps, accuracy, n = (part[0] for part in _gaps(bin_totals(confidence, correct, bins)))
    total, overall = len(correct), float(correct.mean())
    bin_mean = (accuracy + gaps)[bins]  # of each item: the mean confidence in its bin
    within = (confidence - bin_mean) ** 2 - 2 * (correct - accuracy[bins]) * (confidence - bin_mean)
    return BrierDecomposition(
        reliability=float((n * gaps**2).sum() / total),
        resolution=float((n * (accuracy - overall) ** 2).sum() / total),
        uncertainty=overall * (1 - overall),
        within_bins=float(within.mean()),
    )
