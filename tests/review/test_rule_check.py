"""The automatic verdict against the experts': by hand, and a simulation with a known truth."""

import numpy as np
import pytest

from medr1.review.rule_check import rule_check
from medr1.review.sampling import ReviewCandidate, sample_cases
from medr1.review.store import StoredItem

SHARE_TRUE, RULE_IS_RIGHT = 0.65, 0.9
TYPES = ("multiple_choice", "open")


def simulated(seed, n=600, rule_is_right=RULE_IS_RIGHT):
    """Items and verdicts: the rule is wrong about a tenth, the confidence knows the truth a bit.

    `rule_is_right` may be one number for each of `TYPES`, to which items belong in turn.
    """
    draw = np.random.default_rng(seed)
    is_true = draw.random(n) < SHARE_TRUE
    type_of_item = np.arange(n) % len(TYPES)
    rule_is_right = np.broadcast_to(rule_is_right, len(TYPES))[type_of_item]
    verdict = np.where(draw.random(n) < rule_is_right, is_true, ~is_true)
    confidence = np.clip(draw.normal(0.5 + 0.1 * is_true, 0.2), 0, 1)
    candidates = [
        ReviewCandidate(f"q{k}", bool(verdict[k]), float(confidence[k]), None, None, k)
        for k in range(n)
    ]
    counts = {"confident_error": 30, "error": 60, "right": 90}
    cases = set(sample_cases(candidates, counts, seed))
    items = [
        StoredItem(
            k, c.item_id, c.kind, c.is_right, c.confidence, k, k in cases, TYPES[type_of_item[k]]
        )
        for k, c in enumerate(candidates)
    ]
    return items, {k: float(is_true[k]) for k in cases}


def planted():
    """The precision, recall and AUROC of very many such items."""
    both = SHARE_TRUE * RULE_IS_RIGHT
    called = both + (1 - SHARE_TRUE) * (1 - RULE_IS_RIGHT)
    draw = np.random.default_rng(0)
    right, wrong = (np.clip(draw.normal(m, 0.2, 400_000), 0, 1) for m in (0.6, 0.5))
    auroc = np.mean(right > wrong) + 0.5 * np.mean(right == wrong)
    return {"precision": both / called, "recall": RULE_IS_RIGHT, "confidence_auroc": auroc}


def test_the_intervals_hold_the_planted_values_in_most_of_100_reviews():
    planted_values = planted()
    inside = dict.fromkeys(planted_values, 0)
    for seed in range(100):
        check = rule_check(*simulated(seed), num_resamples=400)
        for name, value in planted_values.items():
            low, high = getattr(check, name).ci95
            inside[name] += low <= value <= high
    assert min(inside.values()) >= 90, inside


def test_the_intervals_of_answer_types_hold_the_planted_values_in_most_of_100_reviews():
    accuracy = {"multiple_choice": 0.95, "open": 0.75}
    inside = dict.fromkeys(((t, name) for t in TYPES for name in ("precision", "recall")), 0)
    for seed in range(100):
        check = rule_check(*simulated(seed, rule_is_right=[*accuracy.values()]), num_resamples=2)
        for answer_type, share in accuracy.items():
            both, wrong = SHARE_TRUE * share, (1 - SHARE_TRUE) * (1 - share)
            entry = check.by_answer_type[answer_type]
            assert entry.n_items == 300 and entry.n_judged >= entry.precision.n
            for name, value in {"precision": both / (both + wrong), "recall": share}.items():
                low, high = getattr(entry, name).ci95
                inside[answer_type, name] += low <= value <= high
    assert min(inside.values()) >= 90, inside
    assert check.by_answer_type["open"].precision.value < 0.92  # not the same for both types


def test_the_intervals_of_the_bins_of_confidence_hold_the_planted_values():
    """What experts would find in a bin is the share of true answers of very many such items."""
    many, truth = simulated(0, 50_000)
    confidence = np.array([item.confidence for item in many])
    draw = np.random.default_rng(0)  # as `simulated` draws
    is_true = draw.random(len(many)) < SHARE_TRUE
    assert all(is_true[place] == verdict for place, verdict in truth.items())
    inside, number = 0, 0
    for seed in range(100):
        items, verdicts = simulated(seed)
        bins = rule_check(items, verdicts, num_resamples=2).calibration
        assert [entry.n_items for entry in bins] == [120] * 5
        assert sum(entry.expert_accuracy.n for entry in bins) == len(verdicts)
        for entry in bins:
            expected = is_true[(confidence >= entry.low) & (confidence <= entry.high)].mean()
            low, high = entry.expert_accuracy.ci95
            inside, number = inside + (low <= expected <= high), number + 1
    assert inside >= 0.94 * number, inside
    assert bins[0].mean_confidence < bins[-1].mean_confidence


def test_items_of_equal_confidence_are_in_one_bin():
    items = [StoredItem(k, f"q{k}", "right", True, (0.5, 1.0)[k > 6], k, True) for k in range(10)]
    items.append(StoredItem(10, "q10", "right", True, None, 10, True))
    bins = rule_check(items, dict.fromkeys(range(11), 1.0)).calibration
    assert [(b.low, b.high, b.n_items, b.expert_accuracy.n) for b in bins] == [
        (0.5, 0.5, 7, 7),
        (1.0, 1.0, 3, 3),
    ]
    assert bins[0].expert_accuracy.ci95[0] < 1  # all are right, and there is an interval


def test_each_kind_counts_by_its_share():
    """10 right items, of which 2 are judged, and 4 errors, of which all are."""
    items = [StoredItem(k, f"q{k}", "right", True, None, k, k < 2) for k in range(10)]
    items += [StoredItem(k, f"q{k}", "error", False, None, k, True) for k in range(10, 14)]
    verdicts = {0: 1.0, 1: 0.5, 10: 1.0, 11: 0.0, 12: 0.0, 13: 0.5}
    check = rule_check(items, verdicts)
    assert check.precision.value == pytest.approx(0.75) and check.precision.n == 2
    assert check.recall.value == pytest.approx(7.5 / 9) and check.recall.n == 4
    assert "no confidences" in check.confidence_auroc.reason


def test_a_kind_without_judgements_leaves_no_value():
    items = [
        StoredItem(k, f"q{k}", ("right", "error")[k % 2], k % 2 == 0, 0.5, k, True)
        for k in range(8)
    ]
    assert rule_check(items, {0: 1.0}).recall.reason == "no item is judged in 1 of 2 kinds"
    assert rule_check(items, {}).precision.reason == "no item is judged"
    same = rule_check(items, {0: 1.0, 1: 0.0, 2: 1.0, 3: 0.0})
    assert same.precision.value == 1 and same.precision.ci95 is None
    assert same.confidence_auroc.value == 0.5
