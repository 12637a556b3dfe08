"""Calibration against torchmetrics, scikit-learn, restatements, and streams of known error."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from msgspec.structs import asdict
from predictions import prediction, tag
from scipy.optimize import brentq
from scipy.special import ndtr
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from torchmetrics.functional.classification import binary_calibration_error

from medr1.evaluate.judging import Settings, judge_all
from medr1.evaluate.metrics.summary import summarize
from medr1.evaluate.trust.binned import (
    BINS,
    bin_contributions,
    brier_decomposition,
    chance_error,
    debiased_calibration_error,
    debiased_interval,
    equal_mass,
    equal_width,
    expected_calibration_error,
    maximum_calibration_error,
)
from medr1.evaluate.trust.calibration import (
    MIN_ITEMS,
    apply_temperature,
    calibration,
    fit_temperature,
)
from medr1.records import Failure
from medr1.report.terminal.tables import summary_table
from medr1.stats.intervals import cluster_totals

OPTIONS = {"A": "CT", "B": "MRI", "C": "X-ray", "D": "PET"}


def total(sums):
    return sums.sum(axis=0, keepdims=True)


def stream(seed, n, sharper=1.0):
    """Confidence, and correctness that comes about as often as (a sharper) confidence says."""
    draw = np.random.default_rng(seed)
    confidence = np.round(draw.beta(2, 1.3, n), 3)
    return confidence, (draw.random(n) < confidence**sharper).astype(float)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sharper", [1.0, 2.0])
def test_errors_are_torchmetrics(seed, sharper):
    confidence, correct = stream(seed, 400, sharper)
    confidence = confidence + 0.0003  # off the edges, which single precision moves
    sums = total(bin_contributions(confidence, correct, equal_width(confidence)))
    # torchmetrics' bins are closed to the right, as ours; single precision
    given = torch.tensor(confidence), torch.tensor(correct, dtype=torch.int64)
    for norm, ours in (("l1", expected_calibration_error), ("max", maximum_calibration_error)):
        theirs = binary_calibration_error(*given, n_bins=BINS, norm=norm).item()
        assert ours(sums)[0] == pytest.approx(theirs, abs=1e-6)


def test_bins_are_closed_to_the_right_and_equal_mass_ones_hold_as_many():
    edges = np.array([0.0, 1 / 15, 1 / 15 + 1e-9, 0.2, 0.5, 0.6, 1.0, 1 + 1e-9])
    assert equal_width(edges).tolist() == [0, 0, 1, 2, 7, 8, 14, 14]
    tied = np.repeat([0.2, 0.9], [20, 13])
    found = equal_mass(tied)
    assert np.bincount(found).tolist() == [3, 3, 3] + [2] * 12
    assert (np.diff(found) >= 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_brier_is_scikit_learn_s_and_its_parts_add_up(seed):
    confidence, correct = stream(seed, 300, 1.5)
    brier = brier_score_loss(correct, confidence)
    for bins in (equal_width(confidence), equal_mass(confidence)):
        parts = brier_decomposition(confidence, correct, bins)
        added = parts.reliability - parts.resolution + parts.uncertainty
        assert added + parts.within_bins == pytest.approx(brier, abs=1e-12)


def test_a_perfectly_calibrated_stream_has_an_error_of_chance_alone():
    """The plain error is above 0 by chance; what is left without it is 0, on average and often."""
    plain, squares = [], []
    for seed in range(200):
        confidence, correct = stream(seed, 300)
        bins = bin_contributions(confidence, correct, equal_mass(confidence))
        plain.append(expected_calibration_error(total(bins))[0])
        squares.append(debiased_calibration_error(total(bins))[0])
    assert 0.04 < np.mean(plain) < 0.10
    assert np.mean(np.array(squares) == 0) > 0.4
    confidence, correct = stream(1, 200_000)
    assert (
        expected_calibration_error(
            total(bin_contributions(confidence, correct, equal_width(confidence)))
        )[0]
        < 0.006
    )


def test_the_debiased_error_finds_a_known_miscalibration():
    """Always 0.8 sure and right half the time: 0.3, whatever the number of items."""
    draw = np.random.default_rng(0)
    found = []
    for _ in range(300):
        correct = (draw.random(60) < 0.5).astype(float)
        sums = bin_contributions(np.full(60, 0.8), correct, np.arange(60) % BINS)
        found.append(
            (
                debiased_calibration_error(total(sums))[0] ** 2,
                expected_calibration_error(total(sums))[0],
            )
        )
    assert np.sqrt(np.mean([square for square, _ in found])) == pytest.approx(0.3, abs=0.01)
    assert np.mean([error for _, error in found]) > 0.31


def image_stream(draw, n, gap, per_image, between=(0.4, 0.95)):
    """Streams that are too sure by `gap` everywhere; items of an image go wrong together."""
    confidence = draw.uniform(*between, n)
    images = np.arange(n) // per_image
    shared = draw.normal(size=n)[images] if per_image > 1 else 0.0
    own = draw.normal(size=n)
    luck = ndtr(0.6 * shared + 0.8 * own if per_image > 1 else own)
    correct = (luck < confidence - gap).astype(float)
    return confidence, correct, images


@pytest.mark.parametrize("between", [(0.4, 0.95), (0.97, 0.999)])
@pytest.mark.parametrize("per_image", [1, 4])
@pytest.mark.parametrize(("n", "gap"), [(60, 0.0), (100, 0.1), (500, 0.0), (1000, 0.05)])
def test_the_interval_of_the_debiased_error_holds_the_truth_as_often_as_it_says(
    n, gap, per_image, between
):
    draw, held = np.random.default_rng(5), []
    for _ in range(200):
        confidence, correct, images = image_stream(draw, n, gap, per_image, between)
        sums = bin_contributions(confidence, correct, equal_mass(confidence))
        low, high = debiased_interval(cluster_totals(sums, images))
        held.append(low <= gap + 1e-9 and gap <= high)
    assert np.mean(held) >= 0.89


def test_the_interval_of_one_bin_is_that_of_a_normal_gap_without_its_sign():
    draw = np.random.default_rng(6)
    for gap in (0.02, 0.2):
        confidence, correct, _ = image_stream(draw, 200, gap, 1)
        excess = confidence - correct
        mean = confidence.mean()
        variance = max(excess.var(ddof=1), mean * (1 - mean))
        found, error = abs(excess.mean()), np.sqrt(variance / 200)
        sums = bin_contributions(confidence, correct, np.zeros(200, dtype=int), 1)
        low, high = debiased_interval(sums)

        def as_little(mean, found=found, error=error):
            return ndtr((found - mean) / error) - ndtr((-found - mean) / error)

        floor = 0.6745 * error  # half of all gaps are smaller where there is none
        assert as_little(high, max(found, floor)) == pytest.approx(0.025, abs=1e-5)
        assert as_little(low) == pytest.approx(0.975, abs=1e-6) or (low == 0 > as_little(0) - 0.975)
        wide = debiased_interval(sums, confidence=0.99)
        assert wide[0] <= low and high < wide[1]
    repeated = cluster_totals(np.tile(sums, (4, 1)), np.tile(np.arange(200), 4))
    assert debiased_interval(repeated) == pytest.approx((low, high), abs=0.003)  # no news
    assert np.ptp(debiased_interval(np.tile(sums, (4, 1)))) < 0.6 * (high - low)
    assert debiased_interval(total(sums)) is None


@pytest.mark.parametrize("per_image", [1, 4])
@pytest.mark.parametrize("statistic", [expected_calibration_error, maximum_calibration_error])
def test_a_calibrated_model_is_over_what_chance_makes_in_one_of_twenty(statistic, per_image):
    draw = np.random.default_rng(7)

    def is_over(gap):
        confidence, correct, images = image_stream(draw, 400, gap, per_image)
        bins = equal_width(confidence)
        given = (confidence, correct, images, bins, statistic)
        found = statistic(total(bin_contributions(confidence, correct, bins)))[0]
        return found > chance_error(*given, num_resamples=300)

    assert 0.005 <= np.mean([is_over(0.0) for _ in range(200)]) <= 0.11
    if statistic is expected_calibration_error:
        assert all(is_over(0.2) for _ in range(20))


def test_no_error_seen_is_not_none_to_come():
    """52 answers that are 99.2 % sure and right: a calibrated model does so two times in three."""
    confidence, correct = np.full(52, 0.992), np.ones(52)
    bins = equal_width(confidence)
    sums = bin_contributions(confidence, correct, bins)
    low, high = debiased_interval(sums)
    assert low == 0 and high > 0.008
    given = (confidence, correct, np.arange(52), bins, expected_calibration_error)
    assert chance_error(*given) > expected_calibration_error(total(sums))[0]
    alone = (confidence, correct, np.zeros(52, dtype=np.intp), bins, expected_calibration_error)
    assert chance_error(*alone) is None


def test_of_too_many_items_chance_is_neither_drawn_nor_named(monkeypatch):
    rows = items(*options_stream(4, 60, 1.0))
    assert "perfectly calibrated" in summary_table(summarize(rows, num_resamples=50))
    monkeypatch.setattr("medr1.evaluate.trust.calibration.MAX_RESAMPLED_ITEMS", 59)
    summary = summarize(rows, num_resamples=50)
    ece = summary.calibration.metrics.ece
    assert (ece.by_chance, ece.method) == (None, "biased upwards: no interval")
    assert "perfectly calibrated" not in summary_table(summary)


def options_stream(seed, n, temperature):
    """Probabilities over 2 to 4 options, and right ones drawn from them at a temperature."""
    draw = np.random.default_rng(seed)
    scores = draw.normal(0, 2, (n, 4))
    scores[draw.random(n) < 0.3, 2:] = -np.inf
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    probabilities = np.where(np.isinf(scores), np.nan, shares)
    truth = np.nan_to_num(apply_temperature(probabilities, temperature))
    right = np.array([draw.choice(4, p=row / row.sum()) for row in truth])
    return probabilities, right


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_a_stream_is_found(temperature):
    probabilities, right = options_stream(0, 6000, temperature)
    found = fit_temperature(probabilities, right)
    assert found == pytest.approx(temperature, rel=0.06)
    scores = np.log(np.nan_to_num(probabilities, nan=1e-300))

    def slope(t):  # of the NLL: zero where the mean score of the right equals the expected one
        shares = np.exp(scores / t - (scores / t).max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        return (shares * scores).sum(axis=1).mean() - scores[np.arange(len(right)), right].mean()

    assert found == pytest.approx(brentq(slope, 0.1, 10), rel=1e-3)
    assert np.nansum(apply_temperature(probabilities, 2.0), axis=1) == pytest.approx(np.ones(6000))


def items(probabilities, right, **more):
    """Predictions of the most probable option; `right` are places."""
    made = []
    for row, gold in zip(probabilities, right, strict=True):
        shares = {k: float(p) for k, p in zip("ABCD", row, strict=True) if not np.isnan(p)}
        said = max(shares, key=shares.get)
        options = {letter: OPTIONS[letter] for letter in shares}
        made.append(
            prediction(
                tag(said), "ABCD"[gold], options=options, option_probs=shares,
                confidence=shares[said], extracted_answer=said, **more,
            )
        )  # fmt: skip
    return made


def test_the_section_of_a_summary():
    probabilities, right = options_stream(1, 300, 2.5)
    here = judge_all(items(probabilities, right, modality="CT"), Settings(num_resamples=200))
    held_out = judge_all(items(*options_stream(2, 400, 2.5)), Settings(num_resamples=200))
    found = calibration(here, held_out)
    metrics, confidence = found.metrics, np.nanmax(probabilities, axis=1)
    correct = (np.nan_to_num(probabilities).argmax(axis=1) == right).astype(float)
    assert found.n == 300 and found.n_without == 0 and found.source == "probabilities"
    assert metrics.brier.value == pytest.approx(brier_score_loss(correct, confidence))
    wanted = log_loss(right, np.nan_to_num(probabilities), labels=range(4))
    assert metrics.nll.value == pytest.approx(wanted, abs=1e-6)
    onehot = np.eye(4)[right]
    assert metrics.auroc.value == pytest.approx(roc_auc_score(correct, confidence))
    squares = ((np.nan_to_num(probabilities) - onehot) ** 2).sum(axis=1).mean()
    assert metrics.brier_options.value == pytest.approx(squares)
    assert metrics.overconfidence.value == pytest.approx(confidence.mean() - correct.mean())
    for name, metric in asdict(metrics).items():
        assert metric.n == 300, name
        if name in ("ece", "ece_mass", "mce"):
            assert metric.ci95 is None and "by_chance" in metric.method, name
            assert 0 < metric.by_chance < (1 if name == "mce" else metric.value), name
        else:
            low, high = metric.ci95
            assert low <= high, name
    assert sum(one.n for one in found.bins) == 300
    temperature = found.temperature.temperature
    low, high = temperature.ci95
    assert low < 2.5 < high and temperature.n == 400
    after = found.temperature.metrics
    assert after.accuracy == metrics.accuracy
    assert after.nll.value < metrics.nll.value
    assert after.ece.value < metrics.ece.value
    group = found.groups["modality"]["CT"]
    assert group.metrics.ece == metrics.ece


@pytest.mark.parametrize("written", ["({})", "{0}) {1}", "{1}", "lower"])
def test_the_right_option_is_found_however_the_gold_is_written(written):
    """Were it found where the answer is right only, half of the errors would be lost."""
    made = items(*options_stream(4, 200, 2.0))

    def rewritten(one):
        gold = one.sample.ground_truth
        text = gold.lower() if written == "lower" else written.format(gold, OPTIONS[gold])
        return replace(one, sample=replace(one.sample, ground_truth=text))

    plain, other = (
        calibration(judge_all(rows, Settings(num_resamples=50))).metrics
        for rows in (made, [rewritten(one) for one in made])
    )
    assert plain.nll.n == 200 and other == plain


@pytest.mark.parametrize("kind", ["yes_no", "count", "open"])
def test_the_right_answer_is_found_among_those_that_a_file_names(kind):
    names = {"yes_no": ("Yes", "No"), "count": ("2", "3.0"), "open": ("No effusion", "effusion")}
    golds = {"yes_no": "yes.", "count": "2.0", "open": "there is no effusion"}
    shares = dict(zip(names[kind], (0.8, 0.2), strict=True))
    rows = [
        prediction(tag(said), golds[kind], answer_type=kind, option_probs=shares)
        for said in (names[kind][0],) * 30 + (names[kind][1],) * 30
    ]
    found = calibration(judge_all(rows, Settings(num_resamples=50)))
    assert (found.n, found.source) == (60, "probabilities")
    assert found.metrics.accuracy.value == 0.5
    assert found.metrics.nll.value == pytest.approx(-np.log(0.8))
    assert found.metrics.confidence.value == pytest.approx(0.5)


def test_answers_without_a_confidence_are_counted_and_samples_can_stand_in():
    probabilities, right = options_stream(3, 80, 1.0)
    failed = prediction(None, "A", options=OPTIONS, error=Failure("unreadable", "x"))
    unread = prediction("no idea", "A", options=OPTIONS, option_probs={"A": 0.6, "B": 0.4})
    found = calibration(judge_all([*items(probabilities, right), failed, unread]))
    assert (found.n, found.n_without) == (80, 2)
    assert found.metrics.nll.n == 80
    said = [tag("A"), tag("A"), tag("B"), "none"]
    several = [
        prediction(tag("A"), "A" if i % 2 else "B", options=OPTIONS, samples=said)
        for i in range(60)
    ]
    found = calibration(judge_all(several))
    assert found.source == "agreement of samples"
    assert found.metrics.confidence.value == 0.5
    assert found.metrics.ece.value == pytest.approx(0.0)
    assert found.metrics.nll.value is None and found.metrics.nll.reason


def test_too_little_gives_a_sentence():
    few = items(*options_stream(4, MIN_ITEMS - 1, 1.0))
    assert "fewer than 50 items" in calibration(judge_all(few)).reason
    nothing = [prediction(tag("A"), "A", options=OPTIONS) for _ in range(60)]
    assert "neither option_probs" in calibration(judge_all(nothing)).reason
    enough = judge_all(items(*options_stream(5, 60, 1.0)))
    assert "--calibrate-on" in calibration(enough).temperature.reason
    assert "fewer than 50" in calibration(enough, judge_all(few)).temperature.reason


def test_what_is_no_probability_is_no_confidence():
    made = items(*options_stream(3, 60, 1.0))
    strange = ({"option_probs": {"A": 87.0, "B": 3.0}}, {"option_probs": {"A": None, "B": "x"}})
    strange = (*strange, {"confidence": 87.0}, {"confidence": float("nan")}, {"confidence": "high"})
    made += [prediction(tag("A"), "A", options=OPTIONS, **more) for more in strange]
    found = calibration(judge_all(made))
    assert (found.n, found.n_without) == (60, 5)
    stated = [prediction(tag("A"), "A", options=OPTIONS, confidence=0.5) for _ in range(60)]
    assert calibration(judge_all(stated)).metrics.ece.value == 0.5


def test_all_right_or_equally_sure_is_no_error():
    sure = [
        prediction(
            *(tag("A"), "A"), options=OPTIONS, option_probs={"A": 1.0, "B": 0.0}, image=f"{i}.png"
        )
        for i in range(60)
    ]
    found = calibration(judge_all(sure)).metrics
    assert found.ece.value == found.brier.value == found.nll.value == 0
    assert found.brier.ci95[1] > 0.05  # a share has Wilson's; what may be above 1 has not
    assert found.nll.ci95 is None and found.brier_options.ci95 is None
    assert found.auroc.value is None and "needs 10 wrong" in found.auroc.reason
