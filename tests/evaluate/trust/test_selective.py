"""Abstention against restatements over every order, crepes, and data of known risk."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from crepes import ConformalClassifier
from predictions import prediction, tag
from scipy.stats import binomtest
from test_calibration import OPTIONS, items, options_stream, stream

from medr1.documents.metric import Missing
from medr1.evaluate.judging import Settings, judge_all
from medr1.evaluate.trust.calibration import calibration, level_contributions, level_totals
from medr1.evaluate.trust.selective import (
    SelectiveConfig,
    area_under_risk_coverage,
    choose_threshold,
    conformal_quantile,
    excess_aurc,
    prediction_sets,
    risk_at_coverage,
    risk_coverage,
    selective,
)

QUICK = Settings(num_resamples=200)


def plain_area(errors):
    """The mean, over k, of the error of the first k."""
    return np.mean(np.cumsum(errors) / np.arange(1, len(errors) + 1))


def test_the_area_is_the_mean_over_all_orders_of_ties():
    confidence = np.array([0.9, 0.9, 0.9, 0.5, 0.5, 0.2])
    correct = np.array([1.0, 0.0, 1.0, 0.0, 1.0, 0.0])
    areas, risks = [], []
    for order in permutations(range(6)):
        if (np.diff(confidence[list(order)]) <= 0).all():
            errors = 1 - correct[list(order)]
            areas.append(plain_area(errors))
            risks.append(errors[:4].mean())
    sums = level_totals(confidence, correct)
    assert len(areas) == 12
    assert area_under_risk_coverage(sums)[0] == pytest.approx(np.mean(areas), abs=1e-12)
    assert risk_at_coverage(sums, 4 / 6)[0] == pytest.approx(np.mean(risks), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_areas_of_a_stream_without_ties(seed):
    draw = np.random.default_rng(seed)
    confidence, correct = draw.random(200), (draw.random(200) < 0.7).astype(float)
    sums = level_totals(confidence, correct)
    errors = (1 - correct)[np.argsort(-confidence)]
    assert area_under_risk_coverage(sums)[0] == pytest.approx(plain_area(errors), abs=1e-12)
    best = plain_area(np.sort(errors))
    assert excess_aurc(sums)[0] == pytest.approx(plain_area(errors) - best, abs=1e-12)
    assert risk_at_coverage(sums)[0] == pytest.approx(errors[:160].mean(), abs=1e-12)
    curve = risk_coverage(confidence, correct)
    assert curve[-1].coverage == 1 and curve[-1].risk == pytest.approx(errors.mean())
    point = curve[len(curve) // 2]
    k = round(point.coverage * 200)
    assert point.risk == pytest.approx(errors[:k].mean())
    assert (confidence >= point.threshold).sum() == k


def test_levels_that_are_put_together_change_the_area_little():
    draw = np.random.default_rng(1)
    confidence = draw.random(3000)
    correct = (draw.random(3000) < confidence).astype(float)
    grouped = level_contributions(confidence, correct, 128)
    exact = area_under_risk_coverage(level_totals(confidence, correct))[0]
    found = area_under_risk_coverage(grouped.sum(axis=0, keepdims=True))[0]
    assert grouped.shape[1] <= 256 and found != exact and found == pytest.approx(exact, abs=2e-3)


def test_a_threshold_keeps_the_risk_nearly_always_and_refers_no_more_than_it_must():
    """Right as often as sure: the risk above t is known, and is over the target in few draws."""
    wide = stream(99, 400_000)
    kept = {}
    broken = 0
    for seed in range(200):
        found = choose_threshold(*stream(seed, 400), target=0.25)
        if found is None:
            continue
        if found not in kept:
            above = wide[0] >= found
            kept[found] = 1 - wide[1][above].mean()
        broken += kept[found] > 0.25
    assert broken <= 10 + 7  # 5 % of 200, and three standard deviations
    assert len(kept) > 2
    assert choose_threshold(*stream(0, 50_000), target=0.25) == pytest.approx(0.5, abs=0.06)
    assert choose_threshold(np.full(28, 0.9), np.ones(28), target=0.1) is None
    assert choose_threshold(np.full(29, 0.9), np.ones(29), target=0.1) == 0.0
    hopeless = np.linspace(0, 1, 500), np.zeros(500)
    assert choose_threshold(*hopeless, target=0.1) is None


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_sets_are_those_of_crepes(alpha):
    draw = np.random.default_rng(3)
    shares = draw.dirichlet(np.full(4, 0.7), 700)
    right = np.array([draw.choice(4, p=row) for row in shares])
    scores = 1 - shares[np.arange(700), right]
    classifier = ConformalClassifier().fit(scores[:400])
    theirs = classifier.predict_set(1 - shares[400:], confidence=1 - alpha, smoothing=False)
    quantile = conformal_quantile(scores[:400], alpha)
    ours = prediction_sets(shares[400:], np.full(300, quantile))
    assert (ours == (theirs > 0)).all()


@pytest.mark.parametrize("alpha", [0.1, 0.25])
def test_coverage_is_nominal_over_200_draws(alpha):
    """Exchangeable items: the mean coverage is between 1 - alpha and 1 - alpha + 1 / (n + 1)."""
    draw = np.random.default_rng(7)
    covered = 0
    for _ in range(200):
        shares = draw.dirichlet(np.full(4, 0.6), 150)
        right = np.array([draw.choice(4, p=row) for row in shares**2 / (shares**2).sum(1)[:, None]])
        scores = 1 - shares[np.arange(150), right]
        quantile = conformal_quantile(scores[:100], alpha)
        covered += int((scores[100:] <= quantile).sum())
    low, high = binomtest(covered, 200 * 50).proportion_ci(0.999)
    # what a draw's 50 items share is their quantile: a binomial interval is too narrow by 1.3
    assert low - 0.01 <= 1 - alpha + 1 / 202 <= high + 0.01


def test_a_quantile_needs_enough_items():
    assert conformal_quantile(np.arange(8.0), 0.1) is None
    assert conformal_quantile(np.arange(9.0), 0.1) == 8.0
    assert conformal_quantile(np.arange(99.0), 0.1) == 89.0


def test_the_section_of_a_summary():
    probabilities, right = options_stream(1, 400, 0.6)
    half = [{"modality": name} for name in ("CT", "MRI")]
    here = [
        one
        for part, more in enumerate(half)
        for one in items(probabilities[part::2], right[part::2], **more)
    ]
    held = items(*options_stream(2, 500, 0.6), modality="CT")
    held += items(*options_stream(3, 5, 0.6), modality="MRI")
    found = selective(judge_all(here, QUICK), judge_all(held, QUICK), SelectiveConfig(0.2, 0.1))
    metrics, deferral, conformal = found.metrics, found.deferral, found.conformal
    assert found.n == 400 and metrics.risk.n == 400
    assert metrics.risk_at_80.value < metrics.risk.value
    low, high = metrics.aurc.ci95
    assert low < metrics.aurc.value < high
    sure = np.nanmax(probabilities, axis=1) >= deferral.threshold
    wrong = np.nan_to_num(probabilities).argmax(axis=1) != right
    assert deferral.deferred.value == pytest.approx(1 - sure.mean())
    assert deferral.risk.value == pytest.approx(wrong[sure].mean()) and wrong[sure].mean() < 0.2
    assert deferral.groups.keys() == {"CT", "MRI"}
    inside = prediction_sets(probabilities, np.full(400, conformal.quantile))
    split = conformal.split
    assert split.coverage.value == pytest.approx(inside[np.arange(400), right].mean())
    assert split.size.value == pytest.approx(inside.sum() / 400)
    low, high = split.coverage.ci95
    assert low < 0.9 + 0.03 and high > 0.9 - 0.03
    assert conformal.without_own_quantile == ["MRI"]
    assert conformal.mondrian.groups["MRI"] == split.groups["MRI"]


def test_sets_that_all_hold_one_option_say_nothing_of_the_next_ones_size():
    sure = np.tile([0.97, 0.01, 0.01, 0.01], (60, 1))
    first = np.zeros(60, dtype=int)
    found = selective(
        judge_all(items(sure, first), QUICK),
        judge_all(items(sure, first), QUICK),
        SelectiveConfig(0.2, 0.1),
    )
    size, single = found.conformal.split.size, found.conformal.split.single
    assert (size.value, size.ci95, size.method) == (1.0, None, "no spread: no interval")
    assert single.value == 1.0 and single.ci95[0] > 0.9  # a share has Wilson's


def test_a_threshold_is_not_taken_over_from_another_kind_of_confidence():
    here = judge_all(items(*options_stream(1, 200, 1.0)), QUICK)
    stated = [replace(one, option_probs=None) for one in items(*options_stream(2, 400, 1.0))]
    sampled = [replace(one, confidence=None, samples=(one.model_output,) * 4) for one in stated]
    for held, name in ((stated, "stated confidence"), (sampled, "agreement of samples")):
        deferral = selective(here, judge_all(held, QUICK), SelectiveConfig(0.5, 0.1)).deferral
        assert isinstance(deferral, Missing)
        assert f"by probabilities here and by {name} in the" in deferral.reason
        alike = selective(judge_all(held, QUICK), judge_all(held, QUICK), SelectiveConfig(0.5, 0.1))
        assert alike.source == name and alike.deferral.threshold is not None
    mixed = judge_all(items(*options_stream(1, 200, 1.0)) + stated, QUICK)
    found = calibration(mixed, here)
    assert found.source == "probabilities and stated confidence"
    assert found.temperature.metrics.accuracy.n == 200 and found.n == 600


def test_a_group_with_enough_items_has_a_limit_of_its_own():
    """Two modalities of other sharpness: one limit for all covers one too often, one too seldom."""

    def both(seed):
        made = items(*options_stream(seed, 800, 0.3), modality="CT")
        return judge_all(
            [*made, *items(*options_stream(seed + 1, 800, 6.0), modality="MRI")], QUICK
        )

    found = selective(both(1), both(11)).conformal
    covered = {
        kind: [sets.groups[name].coverage.value for name in ("CT", "MRI")]
        for kind, sets in (("split", found.split), ("mondrian", found.mondrian))
    }
    assert covered["split"][0] > 0.95 and covered["split"][1] < 0.85
    assert covered["mondrian"] == pytest.approx([0.9, 0.9], abs=0.03)
    assert not found.without_own_quantile


def test_without_held_out_results_there_is_a_curve_and_a_sentence():
    found = selective(judge_all(items(*options_stream(1, 60, 1.0)), QUICK))
    assert found.curve and "--calibrate-on" in found.deferral.reason
    assert "--calibrate-on" in found.conformal.reason
    hopeless = judge_all(items(*options_stream(1, 60, 50.0)), QUICK)
    reason = selective(hopeless, hopeless, SelectiveConfig(0.01)).deferral.reason
    assert "0.01" in reason
    few = [prediction(tag("A"), "A", options=OPTIONS) for _ in range(60)]
    assert "fewer than 50" in selective(judge_all(few)).reason
