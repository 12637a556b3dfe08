"""Similarity of a predicted text to the ground truth, in [0, 1].

The functions are pure. Rewards and metrics use the same ones.
"""

from __future__ import annotations

from collections import Counter

from medr1.text.normalization import normalize
from medr1.text.quantities import parse_number, parse_quantity

__all__ = [
    "edit_similarity",
    "normalize",
    "numeric_closeness",
    "token_f1",
    "token_f1_multiset",
    "token_recall",
]


def _f1(common: int, n_predicted: int, n_expected: int) -> float:
    """2PR / (P + R); 1 if both sides are empty, 0 if one is."""
    if not n_predicted or not n_expected:
        return float(n_predicted == n_expected)
    return 2 * common / (n_predicted + n_expected)


def token_f1(prediction: str, ground_truth: str) -> float:
    """F1 over the sets of normalised tokens: a token that is repeated counts once.

    Args:
        prediction: The predicted text, not yet normalised.
        ground_truth: The right answer, not yet normalised.

    Returns:
        A value in [0, 1]; 1 if both texts are empty after normalisation.
    """
    predicted, expected = set(normalize(prediction).split()), set(normalize(ground_truth).split())
    return _f1(len(predicted & expected), len(predicted), len(expected))


def token_f1_multiset(prediction: str, ground_truth: str) -> float:
    """F1 over the multisets of normalised tokens, as SQuAD defines it (arXiv 1606.05250).

    Args:
        prediction: The predicted text, not yet normalised.
        ground_truth: The right answer, not yet normalised.

    Returns:
        A value in [0, 1]; 1 if both texts are empty after normalisation.
    """
    predicted, expected = normalize(prediction).split(), normalize(ground_truth).split()
    common = (Counter(predicted) & Counter(expected)).total()
    return _f1(common, len(predicted), len(expected))


def token_recall(prediction: str, ground_truth: str) -> float:
    """LLaVA-Med's recall of the ground truth's normalised tokens: tp / (tp + fn).

    tp counts the prediction's tokens that are in the ground truth, fn the ground truth's tokens
    that are not in the prediction, with repetitions. If no shared token is repeated in the
    prediction and no missing one in the ground truth, this is the share of the ground truth's
    distinct tokens that the prediction contains.

    It is calculate_f1score of microsoft/LLaVA-Med, llava/eval/eval_metrics/evaluate_metrics.py,
    with another normalisation: SQuAD's, as for every other metric here. LLaVA-Med uses VQA's, which
    turns "two" into a digit and "x-ray" into two words, and keeps some punctuation. LLaVA-Med
    scores the full output on the questions that the file labels OPEN; the metric `open_recall`
    scores the extracted answer on every question that is not closed.

    Args:
        prediction: The predicted text, not yet normalised.
        ground_truth: The right answer, not yet normalised.

    Returns:
        A value in [0, 1]; 0 if no token is shared or if one of the texts has no tokens.
    """
    predicted = Counter(normalize(prediction).split())
    expected = Counter(normalize(ground_truth).split())
    shared = sum(n for token, n in predicted.items() if token in expected)
    missing = sum(n for token, n in expected.items() if token not in predicted)
    return shared / (shared + missing) if shared else 0.0


def edit_similarity(prediction: str, ground_truth: str) -> float:
    """1 - Levenshtein distance / length of the longer text, of the normalised texts.

    Args:
        prediction: The predicted text, not yet normalised.
        ground_truth: The right answer, not yet normalised.

    Returns:
        A value in [0, 1]; 1 if both texts are empty after normalisation.
    """
    from rapidfuzz.distance import Levenshtein  # slow to import, for `medr1 --help`

    return Levenshtein.normalized_similarity(normalize(prediction), normalize(ground_truth))


def numeric_closeness(prediction: str, ground_truth: str) -> float:
    """1 - the relative error of the predicted number, at least 0.

    Args:
        prediction: The predicted text.
        ground_truth: The right answer. If it has a unit, the prediction needs a unit of the same
            kind: "4 mm" scores 0.8 for "0.5 cm".

    Returns:
        A value in [0, 1]; 0 if one of the texts states no number.
    """
    expected, stated = parse_quantity(ground_truth), parse_quantity(prediction)
    if expected is not None and expected.unit:
        if stated is None or stated.unit != expected.unit:
            return 0.0
        value, target = stated.value, expected.value
    else:
        number, expected_number = parse_number(prediction), parse_number(ground_truth)
        if number is None or expected_number is None:
            return 0.0
        value, target = number, expected_number
    return max(0.0, 1.0 - float(abs(value - target) / (abs(target) or 1)))
