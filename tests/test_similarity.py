"""Similarities: golden values, bounds, and torchmetrics' SQuAD as an independent oracle."""

from __future__ import annotations

import itertools

import pytest

from medr1.text.similarity import (
    edit_similarity,
    normalize,
    numeric_closeness,
    token_f1,
    token_f1_multiset,
)

TEXTS = [
    "",
    "the",
    "The liver.",
    "liver",
    "left lower lobe of the lung",
    "lower lobe, lung",
    "no no yes",
    "no yes",
    "T2-weighted MRI",
    "café au lait",
    "A an THE",
    "x-ray (PA)",
]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Liver.", "liver"),
        ("an X-ray", "xray"),
        ("A", ""),
        ("theatre", "theatre"),
        ("It's", "its"),
        ("π ≈ 3", "π ≈ 3"),
        ("a\tb\n", "b"),
    ],
)
def test_normalize_is_squads(text: str, normal: str) -> None:
    assert normalize(text) == normal


@pytest.mark.parametrize(
    ("prediction", "gold", "by_set", "by_multiset"),
    [
        ("", "", 1.0, 1.0),
        ("the", "a", 1.0, 1.0),
        ("", "liver", 0.0, 0.0),
        ("liver", "", 0.0, 0.0),
        ("the liver", "Liver.", 1.0, 1.0),
        ("left lung", "right lung", 0.5, 0.5),
        ("no no yes", "no yes", 1.0, 0.8),
        ("lung lung lung", "lung", 1.0, 0.5),
        ("heart", "lung", 0.0, 0.0),
    ],
)
def test_token_f1(prediction: str, gold: str, by_set: float, by_multiset: float) -> None:
    assert token_f1(prediction, gold) == pytest.approx(by_set)
    assert token_f1_multiset(prediction, gold) == pytest.approx(by_multiset)


@pytest.mark.slow  # importing torchmetrics takes seconds
def test_multiset_f1_and_equality_are_those_of_torchmetrics() -> None:
    squad = pytest.importorskip("torchmetrics.functional.text").squad
    for prediction, gold in itertools.product(TEXTS, TEXTS):
        if not normalize(prediction) or not normalize(gold):
            continue  # torchmetrics gives 0 to two empty sides
        scores = squad(
            {"prediction_text": prediction, "id": "1"},
            {"answers": {"text": [gold], "answer_start": [0]}, "id": "1"},
        )
        expected = 100 * token_f1_multiset(prediction, gold)
        assert float(scores["f1"]) == pytest.approx(expected, abs=1e-3)
        assert bool(scores["exact_match"]) == (normalize(prediction) == normalize(gold))


@pytest.mark.parametrize(
    ("prediction", "gold", "expected"),
    [("", "", 1.0), ("", "lung", 0.0), ("Lung.", "the lung", 1.0), ("lump", "lung", 0.5)],
)
def test_edit_similarity(prediction: str, gold: str, expected: float) -> None:
    assert edit_similarity(prediction, gold) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("prediction", "gold", "expected"),
    [
        ("4", "4", 1.0),
        ("four objects", "4", 1.0),
        ("3", "4", 0.75),
        ("5", "4", 0.75),
        ("-4", "4", 0.0),
        ("400", "4", 0.0),
        ("0", "0", 1.0),
        ("0.25", "0", 0.75),
        ("3 or 4", "4", 0.0),
        ("liver", "4", 0.0),
        ("4", "liver", 0.0),
        ("4 mm", "0.5 cm", 0.8),
        ("4 mg", "0.5 cm", 0.0),
        ("0.5", "0.5 cm", 0.0),
        ("1/3", "0.5", 2 / 3),
    ],
)
def test_numeric_closeness(prediction: str, gold: str, expected: float) -> None:
    assert numeric_closeness(prediction, gold) == pytest.approx(expected)


def test_every_similarity_is_a_share_and_one_for_equal_texts() -> None:
    measures = (token_f1, token_f1_multiset, edit_similarity)
    for prediction, gold in itertools.product(TEXTS, TEXTS):
        assert 0.0 <= numeric_closeness(prediction, gold) <= 1.0
        for measure in measures:
            assert 0.0 <= measure(prediction, gold) <= 1.0
            assert measure(prediction, gold) == pytest.approx(measure(gold, prediction))
            assert measure(gold, gold) == 1.0
