"""How near a text is to the gold, in [0, 1]: pure functions, for rewards and metrics alike."""

from __future__ import annotations

from collections import Counter

from rapidfuzz.distance import Levenshtein

from medr1.normalization import normalize
from medr1.quantities import parse_number, parse_quantity

__all__ = [
    "edit_similarity",
    "normalize",
    "numeric_closeness",
    "token_f1",
    "token_f1_multiset",
    "token_recall",
]


def _f1(common: int, n_predicted: int, n_gold: int) -> float:
    """2PR / (P + R); both sides empty -> 1, one empty -> 0."""
    if not n_predicted or not n_gold:
        return float(n_predicted == n_gold)
    return 2 * common / (n_predicted + n_gold)


def token_f1(prediction: str, gold: str) -> float:
    """F1 over the sets of normalised tokens, as the evaluation guide (4.c) defines it."""
    predicted, expected = set(normalize(prediction).split()), set(normalize(gold).split())
    return _f1(len(predicted & expected), len(predicted), len(expected))


def token_f1_multiset(prediction: str, gold: str) -> float:
    """F1 over the multisets of normalised tokens, as SQuAD defines it."""
    predicted, expected = normalize(prediction).split(), normalize(gold).split()
    common = (Counter(predicted) & Counter(expected)).total()
    return _f1(common, len(predicted), len(expected))


def token_recall(prediction: str, gold: str) -> float:
    """LLaVA-Med's recall of the gold's normalised tokens: tp / (tp + fn).

    tp counts the prediction's tokens that are in the gold, fn the gold's tokens that are not in the
    prediction, each as often as it stands there. Where no shared token repeats in the prediction
    and no missing one in the gold, it is the share of the gold's distinct tokens that the
    prediction contains. 0 where nothing is shared, and where a side has no tokens.

    It is calculate_f1score of microsoft/LLaVA-Med, llava/eval/eval_metrics/evaluate_metrics.py, but
    for the normalisation: SQuAD's, as of every other metric here, and not VQA's, which makes digits
    of "two", two words of "x-ray", and keeps some punctuation. LLaVA-Med takes the whole output and
    the questions that the file labels OPEN; the metric `open_recall` takes the extracted answer and
    every question that is not closed.
    """
    predicted, expected = Counter(normalize(prediction).split()), Counter(normalize(gold).split())
    shared = sum(n for token, n in predicted.items() if token in expected)
    missing = sum(n for token, n in expected.items() if token not in predicted)
    return shared / (shared + missing) if shared else 0.0


def edit_similarity(prediction: str, gold: str) -> float:
    """1 - Levenshtein distance / longer length, of the normalised texts; both empty -> 1."""
    return Levenshtein.normalized_similarity(normalize(prediction), normalize(gold))


def numeric_closeness(prediction: str, gold: str) -> float:
    """1 - the relative error of the prediction's number, at least 0; 0 where either states none.

    A gold with a unit is compared in that unit's kind only: "4 mm" is 0.8 near to "0.5 cm".
    """
    expected, stated = parse_quantity(gold), parse_quantity(prediction)
    if expected is not None and expected.unit:
        if stated is None or stated.unit != expected.unit:
            return 0.0
        x, g = stated.value, expected.value
    else:
        number, target = parse_number(prediction), parse_number(gold)
        if number is None or target is None:
            return 0.0
        x, g = number, target
    return max(0.0, 1.0 - float(abs(x - g) / (abs(g) or 1)))
