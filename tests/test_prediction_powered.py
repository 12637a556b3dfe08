"""The accuracy that experts would find on all items, against formulas and simulated truth."""

import numpy as np
import pytest

from medr1.stats import prediction_powered
from medr1.stats.prediction_powered import corrected_mean
from medr1.stats.significance import standard_error

NOT_JUDGED = np.nan


def judged_part(draw, f, y, shares):
    """The experts' verdicts `y`, NaN where not drawn; `shares` are those of f = 0 and f = 1."""
    expert = np.full(len(f), NOT_JUDGED)
    for value, share in zip((0, 1), shares, strict=True):
        places = np.flatnonzero(f == value)
        chosen = draw.permutation(places)[: max(1, round(share * len(places)))]
        expert[chosen] = y[chosen]
    return expert


def population(draw, n, each=1, accuracy=0.6, sensitivity=0.9, specificity=0.9):
    """Automatic and true verdicts, and the image of each question; the true have this mean."""
    images = np.repeat(np.arange(n // each), each)
    ease = draw.beta(3 * accuracy, 3 * (1 - accuracy), n // each)[images]
    y = draw.random(n) < (ease if each > 1 else accuracy)
    f = np.where(y, draw.random(n) < sensitivity, draw.random(n) >= specificity)
    return f.astype(float), y.astype(float), images


def test_the_value_is_the_mean_of_the_strata():
    f = np.array([1, 1, 1, 1, 0, 0])
    y = np.array([1, 0, NOT_JUDGED, NOT_JUDGED, 0, 1])
    metric = corrected_mean(f, y, f)
    # half of four right answers, half of two wrong ones
    assert metric.value == pytest.approx((4 * 0.5 + 2 * 0.5) / 6)
    assert (metric.n, metric.n_without, metric.method) == (4, 2, "prediction-powered")
    assert 0 <= metric.ci95[0] <= metric.value <= metric.ci95[1] <= 1


def test_with_all_items_judged_it_is_the_mean_of_the_experts():
    f, y, images = population(np.random.default_rng(1), 400, each=4)
    metric = corrected_mean(f, y, f, images)
    reach = 1.959963985 * standard_error(y, images)
    assert metric.value == pytest.approx(y.mean())
    assert metric.ci95 == pytest.approx((y.mean() - reach, y.mean() + reach), abs=1e-9)


def test_one_stratum_is_the_published_estimator(monkeypatch):
    """mean(f) + mean(y - f), with var(f)/N + var(y - f)/n if n is small beside N."""
    monkeypatch.setattr(prediction_powered, "PSEUDO_JUDGEMENTS", 0.0)
    draw = np.random.default_rng(2)
    f, y, _ = population(draw, 200_000)
    expert = np.full(len(f), NOT_JUDGED)
    chosen = draw.permutation(len(f))[:500]
    expert[chosen] = y[chosen]
    metric = corrected_mean(f, expert, np.zeros(len(f)))
    difference = (y - f)[chosen]
    assert metric.value == pytest.approx(f.mean() + difference.mean())
    expected = 2 * 1.96 * np.sqrt(f.var() / len(f) + difference.var() / len(difference))
    assert metric.ci95[1] - metric.ci95[0] == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("shares", [(0.3, 0.05), (0.5, 0.2)], ids=["few", "many"])
@pytest.mark.parametrize("each", [1, 5])
@pytest.mark.parametrize("rule", [(0.98, 0.9), (0.7, 0.9)], ids=["good", "poor"])
def test_the_interval_holds_the_true_accuracy(shares, each, rule):
    """Failures are judged more often than right answers, and the rule is wrong on both sides."""
    draw = np.random.default_rng(3)
    inside, uncorrected = 0, 0
    for _ in range(300):
        f, y, images = population(draw, 600, each, sensitivity=rule[0], specificity=rule[1])
        low, high = corrected_mean(f, judged_part(draw, f, y, shares), f, images).ci95
        inside += low <= 0.6 <= high
        uncorrected += abs(f.mean() - 0.6) < 1.96 * standard_error(f, images)
    assert 0.91 <= inside / 300 <= 0.995
    if rule == (0.7, 0.9):  # 14 points too low without the experts
        assert uncorrected / 300 < 0.25


def test_experts_who_agree_in_few_items_do_not_make_the_interval_exact():
    f = np.repeat([0.0, 1.0], 500)
    y = np.full(1000, NOT_JUDGED)
    y[:10], y[500:510] = 0, 1
    few = corrected_mean(f, y, f)
    y[:300], y[500:800] = 0, 1
    many = corrected_mean(f, y, f)
    assert few.value == many.value == 0.5
    assert few.ci95[1] - few.ci95[0] > 2 * (many.ci95[1] - many.ci95[0])


def test_without_a_value_there_is_a_reason():
    f = np.array([0.0, 1.0, 1.0])
    nobody = np.full(3, NOT_JUDGED)
    assert corrected_mean(f, nobody, f).reason == "no item is judged"
    part = corrected_mean(f, np.array([NOT_JUDGED, 1, NOT_JUDGED]), f)
    assert (part.value, part.reason) == (None, "no item is judged in 1 of 2 strata")
    one = corrected_mean([1.0], [1.0], [0])
    assert (one.value, one.ci95, one.method) == (1, None, "one cluster only: no interval")
    for wrong in ([2.0, 0, 0], [-1.0, 0, 0], [1.0]):
        with pytest.raises(ValueError):
            corrected_mean(f, wrong, f)
