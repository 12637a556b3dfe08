"""Agreement of raters: published tables, scikit-learn and statsmodels, and simulated truth."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import fleiss_kappa as statsmodels_fleiss

from medr1.stats.raters import (
    ALL_EQUAL,
    NO_PAIRS,
    fleiss_kappa,
    gwet_ac1,
    krippendorff_alpha,
    rating_codes,
    weighted_kappa,
)

# Krippendorff (2011), Computing Krippendorff's Alpha-Reliability: four observers, twelve units,
# with missing values ("."). Gwet (2014) uses the same table.
FOUR_OBSERVERS = rating_codes(
    [
        [None if value == "." else value for value in unit]
        for unit in zip(
            ["1", "2", "3", "3", "2", "1", "4", "1", "2", ".", ".", "."],
            ["1", "2", "3", "3", "2", "2", "4", "1", "2", "5", ".", "3"],
            [".", "3", "3", "3", "2", "3", "4", "2", "2", "5", "1", "."],
            ["1", "2", "3", "3", "2", "4", "4", "1", "2", "5", "1", "."],
            strict=True,
        )
    ],
    "12345",
)

# Fleiss (1971), Psychological Bulletin 76:378, table 1: how many of six psychiatrists chose each of
# five diagnoses, for 30 patients
FLEISS = [
    row.split()
    for row in [
        "0 0 0 6 0",
        "0 3 0 0 3",
        "0 1 4 0 1",
        "0 0 0 0 6",
        "0 3 0 3 0",
        "2 0 4 0 0",
        "0 0 4 0 2",
        "2 0 3 1 0",
        "2 0 0 4 0",
        "0 0 0 0 6",
        "1 0 0 5 0",
        "1 1 0 4 0",
        "0 3 3 0 0",
        "1 0 0 5 0",
        "0 2 0 3 1",
        "0 0 5 0 1",
        "3 0 0 1 2",
        "5 1 0 0 0",
        "0 2 0 4 0",
        "1 0 2 0 3",
        "0 0 0 0 6",
        "0 1 0 5 0",
        "0 2 0 1 3",
        "2 0 0 4 0",
        "1 0 0 4 1",
        "0 5 0 1 0",
        "4 0 0 0 2",
        "0 2 0 4 0",
        "1 0 5 0 0",
        "0 0 0 0 6",
    ]
]


def from_counts(rows):
    """Ratings with these counts of the categories; which rater it was does not matter."""
    return np.array([np.repeat(np.arange(len(row)), np.array(row, dtype=int)) for row in rows])


def from_table(table):
    """The ratings of two raters whose table this is."""
    table = np.array(table)
    return np.repeat(np.argwhere(table >= 0), table.ravel(), axis=0)


def test_alpha_of_krippendorffs_example():
    nominal = krippendorff_alpha(FOUR_OBSERVERS, 5)
    assert nominal.value == pytest.approx(0.743, abs=5e-4)
    assert nominal.n == 11  # one unit has a single value
    assert krippendorff_alpha(FOUR_OBSERVERS, 5, "ordinal").value == pytest.approx(0.815, abs=5e-4)


@pytest.mark.parametrize("n_fleiss, kappa", [(30, 0.430), (15, 0.4139265)])
def test_fleiss_of_the_psychiatrists(n_fleiss, kappa):
    """0.430 is in Fleiss (1971), that of 15 patients in Gwet's irrCAC (distrib.6raters)."""
    metric = fleiss_kappa(from_counts(FLEISS[:n_fleiss]), 5)
    assert metric.value == pytest.approx(kappa, abs=5e-4 if n_fleiss == 30 else 5e-8)
    assert metric.n == n_fleiss


def test_gwets_published_tables():
    # Gwet (2014), Handbook of Inter-Rater Reliability: 100 pregnancies, two abstractors; values of
    # Gwet's irrCAC (cont3x3abstractors, distrib.6raters, cac.raw4raters)
    abstractors = from_table([[13, 0, 0], [0, 20, 7], [0, 4, 56]])
    assert gwet_ac1(abstractors, 3).value == pytest.approx(0.8493305, abs=5e-8)
    assert weighted_kappa(abstractors, 3).value == pytest.approx(0.7964094, abs=5e-8)
    assert krippendorff_alpha(abstractors, 3).value == pytest.approx(0.7972585, abs=5e-8)
    six = from_counts(FLEISS[:15])
    assert gwet_ac1(six, 5).value == pytest.approx(0.4448007, abs=5e-8)
    assert krippendorff_alpha(six, 5).value == pytest.approx(0.4204384, abs=5e-8)
    assert gwet_ac1(FOUR_OBSERVERS, 5).value == pytest.approx(0.77544, abs=5e-6)
    assert fleiss_kappa(FOUR_OBSERVERS, 5).value == pytest.approx(0.76117, abs=5e-6)


@pytest.mark.parametrize("weighting", ["none", "linear", "quadratic"])
def test_cohens_kappa_equals_scikit_learn(weighting):
    draw = np.random.default_rng(3)
    first = draw.integers(0, 4, 200)
    second = np.where(draw.random(200) < 0.6, first, draw.integers(0, 4, 200))
    expected = cohen_kappa_score(
        first, second, labels=range(4), weights=None if weighting == "none" else weighting
    )
    codes = np.column_stack([first, second])
    assert weighted_kappa(codes, 4, weighting).value == pytest.approx(expected, abs=1e-12)
    # a case that one rater has not rated changes nothing
    more = np.vstack([codes, [[2, -1]]])
    assert weighted_kappa(more, 4, weighting) == weighted_kappa(codes, 4, weighting)


def test_fleiss_kappa_equals_statsmodels():
    draw = np.random.default_rng(4)
    codes = draw.integers(0, 3, (80, 5)) * (draw.random((80, 1)) < 0.7)
    counts = np.array([np.bincount(row, minlength=3) for row in codes])
    expected = statsmodels_fleiss(counts)
    assert fleiss_kappa(codes, 3).value == pytest.approx(expected, abs=1e-12)


ONE_RATER = np.zeros((5, 1), dtype=np.intp)
NOBODY = np.full((5, 2), -1)
EQUAL = np.ones((5, 2), dtype=np.intp)
ALL = [weighted_kappa, fleiss_kappa, krippendorff_alpha, gwet_ac1]


@pytest.mark.parametrize("function", ALL, ids=lambda function: function.__name__)
def test_without_a_value_there_is_a_reason(function):
    for codes in (ONE_RATER, NOBODY, np.zeros((0, 2), dtype=np.intp)):
        metric = function(codes, 2)
        assert (metric.value, metric.ci95, metric.reason) == (None, None, NO_PAIRS)
    metric = function(EQUAL, 2)
    if function is gwet_ac1:  # agreement by chance is 0 there
        assert metric.value == 1 and metric.ci95 is None
    else:
        assert (metric.value, metric.reason) == (None, ALL_EQUAL)
    one_case = function(np.array([[0, 1]]), 2)
    assert one_case.ci95 is None and one_case.method == "one case only: no interval"


def test_nearly_equal_ratings_have_no_interval():
    """In a third of the resamples the one case with another rating is missing."""
    codes = np.zeros((40, 2), dtype=np.intp)
    codes[0] = 1
    metric = fleiss_kappa(codes, 2)
    assert metric.value == 1 and metric.ci95 is None
    assert metric.method == "too few different ratings: no interval"


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="maybe"):
        rating_codes([["yes", "maybe"]], ["no", "yes"])
    with pytest.raises(ValueError, match="two raters"):
        weighted_kappa(np.zeros((3, 3), dtype=np.intp), 2)
    with pytest.raises(ValueError, match="two categories"):
        gwet_ac1(EQUAL, 1)


def panel(draw, cases, raters=3, accuracy=0.85, share=0.3):
    """Raters who are right with a probability, independently, about cases that are yes or no."""
    truth = draw.random(cases) < share
    right = draw.random((cases, raters)) < accuracy
    return np.where(right, truth[:, None], ~truth[:, None]).astype(np.intp)


@pytest.mark.parametrize("function", ALL, ids=lambda function: function.__name__)
def test_intervals_hold_the_planted_agreement(function):
    raters = 2 if function is weighted_kappa else 3
    truth = function(panel(np.random.default_rng(0), 100_000, raters), 2, num_resamples=2).value
    draw = np.random.default_rng(1)
    inside = 0
    for seed in range(200):
        metric = function(panel(draw, 120, raters), 2, seed=seed, num_resamples=200)
        inside += metric.ci95[0] <= truth <= metric.ci95[1]
    assert 0.90 <= inside / 200 <= 0.985


def test_cases_about_one_image_are_not_independent():
    codes = np.repeat(panel(np.random.default_rng(2), 50), 4, axis=0)
    images = np.repeat(np.arange(50), 4)
    alone = krippendorff_alpha(codes, 2).ci95
    together = krippendorff_alpha(codes, 2, clusters=images).ci95
    assert together[1] - together[0] > 1.5 * (alone[1] - alone[0])
