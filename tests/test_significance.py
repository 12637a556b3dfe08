"""Tests of differences against statsmodels, scipy, plain enumeration and simulated truth."""

import itertools

import numpy as np
import pytest
from measured import at_most

from medr1.stats.significance import (
    SMALLEST_P,
    holm,
    interval_over_seeds,
    mcnemar_exact,
    mcnemar_mid_p,
    minimum_detectable_difference,
    sign_flip_test,
    standard_error,
)

PAIRS = [(0, 0), (1, 0), (0, 5), (5, 5), (3, 9), (20, 4), (60, 41), (400, 300)]


@pytest.mark.parametrize(("won", "lost"), PAIRS)
def test_mcnemar_equals_statsmodels(won, lost):
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    theirs = tables.mcnemar([[7, won], [lost, 7]], exact=True).pvalue
    assert mcnemar_exact(won, lost) == pytest.approx(float(theirs), rel=1e-9)


def test_mid_p_golden_and_definition():
    from scipy.stats import binom

    # Fagerland, Lydersen and Laake (2013), table 2 data: 1 and 7 discordant pairs
    assert mcnemar_exact(1, 7) == pytest.approx(0.0703, abs=5e-5)
    assert mcnemar_mid_p(1, 7) == pytest.approx(0.0391, abs=5e-5)
    for won, lost in PAIRS[1:]:
        outcomes = binom.pmf(np.arange(won + lost + 1), won + lost, 0.5)
        seen = outcomes[won]
        same = np.isclose(outcomes, seen)
        expected = outcomes[(outcomes < seen) & ~same].sum() + outcomes[same].sum() / 2
        assert mcnemar_mid_p(won, lost) == pytest.approx(expected, rel=1e-7)
    assert mcnemar_mid_p(0, 0) == 1.0


def test_holm_equals_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 64):
        p = (rng.random(size) ** 3).tolist()
        expected = multitest.multipletests(p, method="holm")[1]
        assert holm(p) == pytest.approx(expected.tolist())
    assert holm([0.01, None, 0.04]) == [0.02, None, 0.04]
    assert holm([]) == [] and holm([None]) == [None]
    assert holm([0.5, 0.9]) == [1.0, 1.0]


# --- the sign-flip test -----------------------------------------------------------------------


@pytest.mark.parametrize(("won", "lost"), PAIRS)
def test_sign_flips_of_single_items_are_mcnemars_test(won, lost):
    difference = [1] * won + [-1] * lost + [0] * 11
    p = sign_flip_test(difference, range(len(difference)))
    assert p == pytest.approx(mcnemar_exact(won, lost), rel=1e-9)


@pytest.mark.parametrize("seeds", [1, 3])
def test_sign_flips_equal_all_flips_counted(seeds):
    rng = np.random.default_rng(seeds)
    for _ in range(20):
        clusters = rng.integers(0, 9, 25)
        difference = rng.integers(-seeds, seeds + 1, 25) / seeds
        sums = [difference[clusters == c].sum() for c in np.unique(clusters)]
        signs = np.array(list(itertools.product((-1, 1), repeat=len(sums))))
        reached = np.abs(signs @ np.array(sums)) >= abs(difference.sum()) - 1e-9
        assert sign_flip_test(difference, clusters.tolist()) == pytest.approx(reached.mean())


def test_sign_flips_equal_scipys_permutations():
    from scipy.stats import permutation_test

    rng = np.random.default_rng(4)
    sums = rng.integers(-3, 5, 40)
    theirs = permutation_test(
        (sums,), np.sum, permutation_type="samples", n_resamples=20_000, rng=rng
    ).pvalue
    assert sign_flip_test(sums / 3, range(40)) == pytest.approx(theirs, abs=0.012)


def test_sign_flips_at_their_edges():
    assert sign_flip_test([], []) is None
    assert sign_flip_test([0, 0], "ab") == 1.0
    assert sign_flip_test([1, -1], "aa") == 1.0
    assert sign_flip_test([1, 1], "aa") == 1.0  # one image shows nothing
    assert sign_flip_test([1, 1, 0.5] * 200, range(600)) == SMALLEST_P
    irrational = np.random.default_rng(0).normal(0.02, 0.2, 300)
    assert 0 < sign_flip_test(irrational, range(300)) < 1


def test_the_normal_limit_agrees_where_both_can_be_computed(monkeypatch):
    rng = np.random.default_rng(8)
    difference = rng.choice([-1, 0, 0, 0, 1, 1], 3000)
    clusters = rng.integers(0, 1500, 3000).tolist()
    exact = [sign_flip_test(difference * s, clusters) for s in (1, -1)]
    monkeypatch.setattr("medr1.stats.significance._MAX_STEPS", 10)
    assert exact[0] == exact[1]
    balanced = np.where(np.arange(3000) < 1600, 1, -1)
    limit = sign_flip_test(balanced, range(3000))
    assert limit == pytest.approx(mcnemar_exact(1600, 1400), rel=0.1)  # no continuity correction


def test_level_under_no_difference_with_images_that_repeat():
    """Five questions an image, answered alike: McNemar's test finds far too much, this does not."""
    rng = np.random.default_rng(11)
    clusters = np.repeat(np.arange(60), 5).tolist()
    found = {"sign flips": 0, "mcnemar": 0}
    trials = 1000
    for _ in range(trials):
        image = rng.choice([-1, 0, 1], 60, p=[0.2, 0.6, 0.2])
        difference = np.repeat(image, 5) * (rng.random(300) < 0.8)
        found["sign flips"] += sign_flip_test(difference, clusters) < 0.05
        won, lost = int((difference > 0).sum()), int((difference < 0).sum())
        found["mcnemar"] += mcnemar_exact(won, lost) < 0.05
    assert 0.03 <= found["sign flips"] / trials <= 0.065
    assert found["mcnemar"] / trials > 0.2


def test_a_million_items_are_quick():
    rng = np.random.default_rng(0)
    difference = rng.choice([-1, 0, 0, 0, 0, 1], 1_000_000)
    clusters = rng.integers(0, 400_000, 1_000_000)
    with at_most(400):  # measured: about 60
        sign_flip_test(difference, clusters)


# --- variance and power -----------------------------------------------------------------------


def test_standard_error_equals_statsmodels():
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(2)
    clusters = rng.integers(0, 30, 200)
    values = rng.choice([-1, 0, 1], 200) + (clusters % 3 == 0)
    fitted = api.OLS(values, np.ones(200)).fit(
        cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True
    )
    assert standard_error(values, clusters.tolist()) == pytest.approx(float(fitted.bse[0]))
    assert standard_error([1, 0], "aa") is None


def test_detectable_difference_solves_connors_formula():
    difference = [1] * 60 + [-1] * 40 + [0] * 400
    found = minimum_detectable_difference(difference, range(500))
    assert found.discordance == pytest.approx(0.2) and found.design_effect == pytest.approx(1)
    delta, psi = found.value, 0.2
    needed = (1.959964 * psi**0.5 + 0.841621 * (psi - delta**2) ** 0.5) ** 2 / delta**2
    assert needed == pytest.approx(500, rel=1e-5)


@pytest.mark.parametrize("questions", [1, 4])
def test_power_at_the_detectable_difference_is_near_80_percent(questions):
    """Runs truly that far apart are told apart about 80 times in 100."""
    rng = np.random.default_rng(questions)
    images, psi = 300, 0.2
    clusters = np.repeat(np.arange(images), questions).tolist()

    def drawn(delta):
        chances = [(psi - delta) / 2, 1 - psi, (psi + delta) / 2]
        image = np.repeat(rng.choice([-1, 0, 1], images, p=chances), questions)
        alone = rng.choice([-1, 0, 1], images * questions, p=chances)
        return np.where(np.repeat(rng.random(images) < 0.5, questions), image, alone)

    planned = [minimum_detectable_difference(drawn(0.05), clusters) for _ in range(40)]
    delta = float(np.mean([found.value for found in planned]))
    effect = float(np.mean([found.design_effect for found in planned]))
    assert effect < 1.1 if questions == 1 else effect > 2
    trials = 600
    hits = sum(sign_flip_test(drawn(delta), clusters) < 0.05 for _ in range(trials))
    assert 0.73 <= hits / trials <= 0.86


def test_what_cannot_be_computed_is_none_with_a_reason():
    assert minimum_detectable_difference([0, 0], "ab").reason == "the runs agree on every item"
    assert minimum_detectable_difference([1, 0], "aa").reason == "fewer than two clusters"
    assert minimum_detectable_difference([], []).value is None
    few = minimum_detectable_difference([1, -1] + [0] * 98, range(100))
    assert few.value is None and "too few discordant" in few.reason
    assert minimum_detectable_difference([1, 1, 1], "abc").value is None


# --- seeds ------------------------------------------------------------------------------------


def test_interval_over_seeds_equals_statsmodels():
    weights = pytest.importorskip("statsmodels.stats.weightstats")
    a, b = [0.70, 0.74, 0.69], [0.60, 0.66, 0.61, 0.63]
    compared = weights.CompareMeans(weights.DescrStatsW(a), weights.DescrStatsW(b))
    theirs = compared.tconfint_diff(usevar="unequal")
    assert interval_over_seeds(a, b) == pytest.approx(theirs)
    one = weights.DescrStatsW(np.array(a) - 0.6).tconfint_mean()
    assert interval_over_seeds(a, [0.6]) == pytest.approx(one)
    assert interval_over_seeds([0.6], a) == pytest.approx((-one[1], -one[0]))
    assert interval_over_seeds([0.6], [0.5]) is None
    assert interval_over_seeds([0.6, 0.6], [0.5]) is None
