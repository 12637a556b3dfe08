"""Which items are reviewed: the same probability within a kind, spread over groups, seeded."""

from collections import Counter

import numpy as np
import pytest

from medr1.errors import InputError
from medr1.evaluate.judging import Settings
from medr1.records import Prediction, Sample
from medr1.review.candidates import candidates_of
from medr1.review.sampling import ReviewCandidate, reader_order, sample_cases


def candidate(place, is_right=True, confidence=None, modality="CT", question_type="Anatomy"):
    return ReviewCandidate(f"q{place}", is_right, confidence, modality, question_type, place)


def many():
    draw = np.random.default_rng(0)
    return [
        candidate(
            place,
            bool(draw.random() < 0.6),
            float(draw.random()),
            str(draw.choice(["CT", "MRI", "X-ray"], p=[0.6, 0.3, 0.1])),
            str(draw.choice(["Anatomy", "Disease"])),
        )
        for place in range(600)
    ]


def test_a_sample_has_the_wanted_number_of_each_kind():
    items = many()
    counts = {"confident_error": 12, "error": 25, "right": 10_000}
    cases = sample_cases(items, counts, seed=1)
    kinds = Counter(items[place].kind for place in cases)
    n_right = sum(item.is_right for item in items)
    assert kinds == {"confident_error": 12, "error": 25, "right": n_right}
    assert cases == sorted(set(cases)) == sample_cases(items, counts, seed=1)
    assert cases != sample_cases(items, counts, seed=2)


def test_the_modalities_are_in_the_sample_in_their_proportions():
    items = many()
    cases = sample_cases(items, {"right": 60}, seed=3)
    everywhere = Counter(item.modality for item in items if item.is_right)
    total = sum(everywhere.values())
    for modality, count in Counter(items[place].modality for place in cases).items():
        assert abs(count - 60 * everywhere[modality] / total) < 2


def test_each_item_of_a_kind_is_sampled_with_the_same_probability():
    items = many()
    right = [place for place, item in enumerate(items) if item.is_right]
    times = Counter()
    for seed in range(1000):
        times.update(sample_cases(items, {"right": 40}, seed))
    expected = 1000 * 40 / len(right)
    observed = np.array([times[place] for place in right])
    assert observed.sum() == 40_000
    # a binomial with a variance of at most `expected`; the largest of 360 is below 4.5 sigma
    assert np.abs(observed - expected).max() < 4.5 * expected**0.5


def test_wrong_counts_are_refused():
    for counts in ({"wrong": 3}, {"right": -1}, {}, {"error": 5}):
        with pytest.raises(InputError):
            sample_cases([candidate(0)], counts, seed=0)


def test_the_order_differs_between_readers_and_stays_the_same_for_each():
    cases = list(range(100, 160))
    first, second = (reader_order(cases, name, seed=4) for name in ("A. Reader", "B"))
    assert first == reader_order(cases, "A. Reader", seed=4) != second
    assert sorted(p.case for p in first) == sorted(p.case for p in second) == cases
    assert reader_order(cases, "A. Reader", seed=5) != first


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_repeated_cases_come_back_much_later(n):
    for seed in range(20):
        order = reader_order(list(range(n)), "A", seed, repeats=10)
        repeats = [p.case for p in order if p.is_repeat]
        assert len(repeats) == len(set(repeats)) == min(10, n // 2)
        assert sorted(p.case for p in order if not p.is_repeat) == list(range(n))
        for case in repeats:
            first, again = (place for place, p in enumerate(order) if p.case == case)
            assert not order[first].is_repeat and order[again].is_repeat
            assert again - first > n // 2


def test_the_kind_is_that_of_the_verdict_and_the_confidence():
    options = {"A": "CT", "B": "MRI"}

    def prediction(name, answer, confidence, image):
        sample = Sample(name, (image,), "Which?", options, "A", "multiple_choice", modality="CT")
        output = answer and f"<answer>{answer}</answer>"
        return Prediction(sample, output, confidence=confidence)

    predictions = [
        prediction("a", "A", 0.9, "1.png"),
        prediction("b", "B", 0.9, "1.png"),
        prediction("c", "B", 0.6, "2.png"),
        prediction("d", None, None, "3.png"),
    ]
    candidates = candidates_of(predictions, Settings())
    assert [c.kind for c in candidates] == ["right", "confident_error", "error", "error"]
    assert [c.item_id for c in candidates] == list("abcd")
    assert candidates[0].modality == "CT"
    assert candidates[0].cluster == candidates[1].cluster != candidates[2].cluster


def contradicting(name, answer, text, confidence=None):
    options = {"A": "CT", "B": "MRI"}
    sample = Sample(name, ("1.png",), "Which modality?", options, "A", "multiple_choice", "CT")
    output = f"<think>{text}</think><answer>{answer}</answer>"
    return Prediction(sample, output, confidence=confidence)


def test_contradictions_are_kinds_of_their_own():
    against_reasoning = "The image is a CT scan. So the answer is A."
    against_item = "This is an ultrasound of the abdomen. So the answer is B."
    predictions = [
        contradicting("a", "B", against_reasoning),
        contradicting("b", "B", against_reasoning, confidence=0.9),
        contradicting("c", "B", against_item),
        contradicting("d", "A", "The image is a CT scan. So the answer is A."),
        contradicting("e", "B", "So the answer is B."),
    ]
    kinds = [c.kind for c in candidates_of(predictions, Settings())]
    assert kinds == [
        "reasoning_contradiction",
        "confident_error",
        "item_contradiction",
        "right",
        "error",
    ]
    some = candidates_of(predictions, Settings(), {"item_contradiction"})
    assert some[0].contradiction != "reasoning_contradiction"
    plain = [c.kind for c in candidates_of(predictions, Settings(), ())]
    assert plain == ["error", "confident_error", "error", "right", "error"]
