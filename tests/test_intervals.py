"""Intervals against statsmodels, scipy and simulated truth."""

import numpy as np
import pytest
from measured import at_most

from medr1.stats.intervals import (
    bootstrap_mean,
    bootstrap_statistic,
    cluster_totals,
    named_interval,
    paired_difference,
    resample_sums,
    wilson,
)


@pytest.mark.parametrize("n", [1, 2, 7, 60, 451, 88_996])
def test_wilson_equals_statsmodels(n):
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    for successes in {0, 1, n // 3, n - 1, n}:
        for confidence in (0.9, 0.95):
            expected = proportion.proportion_confint(successes, n, 1 - confidence, "wilson")
            # scipy's z differs from statsmodels' in the last digits
            assert wilson(successes, n, confidence) == pytest.approx(expected, abs=1e-12)


def test_wilson_golden_and_edges():
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3: 81 of 263, 15 of 148, 0 of 20
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert wilson(0, 0) is None
    with pytest.raises(ValueError):
        wilson(3, 2)
    with pytest.raises(ValueError, match="confidence"):
        wilson(1, 2, 95)


def test_bootstrap_of_single_items_equals_scipy():
    from scipy.stats import bootstrap

    values = np.random.default_rng(3).gamma(2.0, size=200)
    theirs = bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(4)
    ).confidence_interval
    ours = bootstrap_mean(values, range(200), num_resamples=20_000)
    # two Monte Carlo estimates: about 1 % of the interval's width apart
    assert ours == pytest.approx(tuple(theirs), abs=0.03 * (theirs.high - theirs.low))


def test_bootstrap_of_clusters_equals_a_plain_loop():
    rng = np.random.default_rng(5)
    clusters = rng.integers(0, 40, 300)
    values = (rng.random(300) < 0.2 + 0.6 * (clusters % 2)).astype(float)
    items = [values[clusters == c] for c in np.unique(clusters)]
    means = []
    for _ in range(4000):
        drawn = [items[i] for i in rng.integers(len(items), size=len(items))]
        means.append(np.concatenate(drawn).mean())
    expected = np.quantile(means, [0.025, 0.975])
    ours = bootstrap_mean(values, clusters.tolist(), num_resamples=4000)
    assert ours == pytest.approx(tuple(expected), abs=0.015)


def test_both_ways_to_resample_have_the_same_distribution():
    kinds = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 2.0]])
    few = np.repeat(kinds, [40, 50, 30], axis=0)
    many = few + np.linspace(0, 1e-9, len(few))[:, None]  # every cluster its own kind
    a, b = resample_sums(few, 8000, 0), resample_sums(many, 8000, 1)
    assert a.mean(axis=0) == pytest.approx(few.sum(axis=0), rel=0.01)
    assert b.mean(axis=0) == pytest.approx(few.sum(axis=0), rel=0.01)
    assert np.cov(a.T) == pytest.approx(len(few) * np.cov(few.T, bias=True), rel=0.1)
    assert np.cov(b.T) == pytest.approx(np.cov(a.T), rel=0.1)


@pytest.mark.parametrize("correlated", [False, True])
def test_coverage_over_images_is_near_nominal(correlated):
    """Two questions an image, 60 images: the true share lies inside about 95 times in 100."""
    rng = np.random.default_rng(7)
    clusters = np.repeat(np.arange(60), 2).tolist()
    inside = {"clustered": 0, "items": 0}
    trials = 400
    for trial in range(trials):
        image = rng.random(60) < 0.7
        values = np.repeat(image, 2) if correlated else rng.random(120) < 0.7
        for name, groups in (("clustered", clusters), ("items", list(range(120)))):
            low, high = bootstrap_mean(values, groups, seed=trial, num_resamples=400)
            inside[name] += low <= 0.7 <= high
    assert 0.91 <= inside["clustered"] / trials <= 0.98
    if correlated:  # ignoring the images would claim far too much
        assert inside["items"] / trials < 0.90


def test_wilson_coverage():
    hits = [low <= 0.9 <= high for low, high in (wilson(int(k), 40) for k in _draws())]
    assert 0.92 <= np.mean(hits) <= 0.98


def _draws():
    return np.random.default_rng(0).binomial(40, 0.9, size=1000)


def test_paired_difference_is_narrower_than_two_intervals():
    rng = np.random.default_rng(2)
    a = rng.random(400) < 0.7
    b = a ^ (rng.random(400) < 0.05)
    value, (low, high) = paired_difference(a, b, range(400))
    assert value == pytest.approx(a.mean() - b.mean())
    assert low < value < high
    alone = bootstrap_mean(a, range(400))
    assert high - low < (alone[1] - alone[0]) / 1.5
    # the normal interval of paired differences, by statsmodels' and everybody's formula
    d = a.astype(float) - b.astype(float)
    error = 1.96 * d.std(ddof=1) / np.sqrt(400)
    assert (low, high) == pytest.approx((value - error, value + error), abs=0.004)


def test_a_statistic_of_sums():
    rows = np.array([[1, 2], [3, 4], [0, 1], [2, 2]])
    assert cluster_totals(rows, "aabb").tolist() == [[4, 6], [2, 3]]
    interval = bootstrap_statistic(rows, "aabb", lambda sums: sums[:, 0] / sums[:, 1])
    assert interval == pytest.approx((2 / 3, 2 / 3))


def test_nothing_and_one_cluster_have_no_interval():
    assert bootstrap_mean([], []) is None
    assert bootstrap_mean([1, 0, 1], "aaa") is None
    assert paired_difference([], [], []) is None
    assert paired_difference([1, 0], [0, 0], "aa") == (0.5, None)
    with pytest.raises(ValueError, match="clusters"):
        bootstrap_mean([1, 2], "a")
    with pytest.raises(ValueError, match="differ"):
        paired_difference([1], [1, 0], "a")


def test_no_width_is_no_certainty():
    alike = bootstrap_mean([0.1, 0.1, 0.1, 0.1], [0, 0, 0, 1], num_resamples=50)
    assert named_interval(alike, "image") == (None, "no spread: no interval")
    some = bootstrap_mean([0.1, 0.1, 0.1, 0.1 + 1e-9], [0, 1, 2, 3], num_resamples=50)
    assert named_interval(some, "image", "paired bootstrap") == (
        some,
        "paired bootstrap over images",
    )
    assert named_interval(None, "patient") == (None, "one patient only: no interval")


def test_seed_and_order():
    rng = np.random.default_rng(0)
    for values in (rng.random(500) < 0.5, rng.random(500)):
        clusters = rng.integers(0, 200, 500)
        one = bootstrap_mean(values, clusters.tolist(), seed=1)
        order = rng.permutation(500)
        assert bootstrap_mean(values[order], clusters[order].tolist(), seed=1) == pytest.approx(
            one, abs=1e-12
        )
        assert bootstrap_mean(values, clusters.tolist(), seed=1) == one
        assert bootstrap_mean(values, clusters.tolist(), seed=2) != one


def test_a_hundred_thousand_items_are_quick():
    rng = np.random.default_rng(0)
    clusters = rng.integers(0, 90_000, 100_000).tolist()
    with at_most(100):  # measured: about 7
        bootstrap_mean(rng.random(100_000) < 0.7, clusters)
