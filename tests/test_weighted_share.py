"""Shares of weighted items: against exact intervals and by simulation."""

import numpy as np
import pytest
from scipy.stats import beta, binomtest, t

from medr1.stats.weighted_share import weighted_share


def test_equal_weights_give_the_exact_interval_of_one_item_less():
    """As R's svyciprop does: the variance of a mean of n items has n - 1 in its denominator."""
    values = [1] * 7 + [0] * 13
    metric = weighted_share([2.5] * 20, values, range(20))
    assert (metric.value, metric.n, metric.method) == (0.35, 20, "Korn-Graubard")
    x, n = 0.35 * 19, 19
    expected = beta.ppf(0.025, x, n - x + 1), beta.ppf(0.975, x + 1, n - x)
    assert metric.ci95 == pytest.approx(expected)


def test_equal_values_give_the_exact_interval():
    for value in (0, 1):
        metric = weighted_share([3] * 12, [value] * 12, range(12))
        exact = binomtest(12 * value, 12).proportion_ci(0.95, "exact")
        assert metric.ci95 == pytest.approx((exact.low, exact.high))
    uneven = weighted_share([1] * 11 + [50], [1] * 12, range(12))
    assert uneven.ci95[0] < 0.3  # nearly all is known from one item


def test_clusters_count_as_fewer_items():
    values = [1, 1, 1, 0, 0, 0] * 4
    alone = weighted_share([1] * 24, values, range(24))
    images = [k // 3 for k in range(24)]
    together = weighted_share([1] * 24, values, images)
    assert together.value == alone.value == 0.5
    # 8 images of equal items: 7 independent items, with the quantiles of 7 degrees of freedom
    n = 7 * (t.ppf(0.025, 23) / t.ppf(0.025, 7)) ** 2
    assert together.ci95[0] == pytest.approx(beta.ppf(0.025, n / 2, n / 2 + 1))
    assert together.ci95[0] < alone.ci95[0] and together.ci95[1] > alone.ci95[1]


def test_what_has_no_weight_does_not_count():
    metric = weighted_share([1, 1, 0], [1, 0, 1], range(3))
    assert (metric.value, metric.n) == (0.5, 2)
    assert weighted_share([0, 0], [1, 1], range(2), reason="none").reason == "none"
    one = weighted_share([1, 1], [1, 0], [7, 7])
    assert one.ci95 is None and one.method == "one cluster only: no interval"


@pytest.mark.parametrize("shares", [(0.5, 0.9), (0.02, 0.3), (0.95, 1.0)])
def test_the_interval_holds_the_share_of_a_stratified_sample(shares):
    """Strata of 200 and 800 items, of which 30 each are judged; intervals are conservative."""
    truth = 0.2 * shares[0] + 0.8 * shares[1]
    weights = np.repeat([200 / 30, 800 / 30], 30)
    inside = 0
    for seed in range(400):
        draw = np.random.default_rng(seed)
        values = draw.random(60) < np.repeat(shares, 30)
        low, high = weighted_share(weights, values, range(60)).ci95
        inside += low <= truth <= high
    assert inside >= 0.93 * 400
