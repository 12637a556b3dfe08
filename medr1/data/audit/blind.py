"""Blind predictors: baselines that choose an option without seeing the image.

An accuracy is worth little where such a baseline reaches it as well. All functions are pure. A
training item counts only where it has options and its ground truth is the letter of one of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from medr1.records import Sample

Scores = Mapping[str, float]
"""Letter -> score of that option. The highest score is chosen; a tie goes to the earlier letter."""


@dataclass(frozen=True)
class BlindPredictions:
    """The option prior's choice for each sample, and the accuracy of random guessing."""

    letters: tuple[str, ...]
    """The chosen letter of each sample; "" for one without options."""
    right: tuple[bool, ...]
    """Whether the letter is the ground truth; False for a sample without options."""
    chance: float
    """Expected accuracy of random guessing, in [0, 1]; nan where no sample has options."""


def blind_predictions(train: Iterable[Sample], test: Sequence[Sample]) -> BlindPredictions:
    """Apply the option prior of `train` to `test`, as a baseline to compare an accuracy with.

    Args:
        train: Training items, from which the prior is counted.
        test: Items to predict.

    Returns:
        Letters and verdicts in the order of `test`.
    """
    letters = option_prior(train, test)
    right = tuple(bool(hit) for hit in correct(letters, test))
    return BlindPredictions(tuple(letters), right, chance(test))


def answerable(samples: Iterable[Sample]) -> list[Sample]:
    """The samples that have options and whose ground truth is the letter of one of them."""
    return [
        sample for sample in samples if sample.options and sample.ground_truth in sample.options
    ]


def chance(samples: Iterable[Sample]) -> float:
    """The expected accuracy of random guessing: the mean of 1 / (number of options).

    Samples without options are left out; nan where none has options.
    """
    shares = [1 / len(sample.options) for sample in samples if sample.options]
    return sum(shares) / len(shares) if shares else float("nan")


@lru_cache(maxsize=100_000)
def normalized_option(text: str) -> str:
    """An option for counting: lower case, without surrounding space or a final period."""
    return text.strip().lower().removesuffix(".")


def option_prior(train: Iterable[Sample], test: Iterable[Sample]) -> list[str]:
    """Choose the option that was most often right when it was offered in the training items.

    An option's rate is (times right + 0.5) / (times offered + 2), so that an option not seen in
    training has 0.25.

    Args:
        train: Training items, from which the rates are counted.
        test: Items to predict.

    Returns:
        A letter for each item of `test`. Ties go to the earlier letter; "" without options.
    """
    return [best_letter(scores) for scores in option_prior_scores(train, test)]


def option_prior_scores(train: Iterable[Sample], test: Iterable[Sample]) -> list[Scores]:
    """The rates that `option_prior` compares.

    Args:
        train: Training items, from which the rates are counted.
        test: Items to predict.

    Returns:
        For each item of `test`: letter -> rate in (0, 1).
    """
    train = answerable(train)
    # Rates and not counts: an option that is offered often is also often right.
    offered = Counter(
        normalized_option(text) for sample in train for text in sample.options.values()
    )
    right = Counter(
        normalized_option(sample.options[sample.ground_truth or ""]) for sample in train
    )

    def rate(text: str) -> float:
        key = normalized_option(text)
        return (right[key] + 0.5) / (offered[key] + 2)

    return [_option_scores(sample, rate) for sample in test]


def majority_letter(train: Iterable[Sample], test: Iterable[Sample]) -> list[str]:
    """Choose the letter that is most often right in the training items.

    Args:
        train: Training items, whose right letters are counted.
        test: Items to predict.

    Returns:
        For each item of `test` the most frequent of its own letters; "" without options.
    """
    letters = Counter(sample.ground_truth or "" for sample in answerable(train))
    return [
        max(sorted(sample.options), key=lambda letter: letters[letter], default="")
        for sample in test
    ]


def longest_option(test: Iterable[Sample]) -> list[str]:
    """For each test sample the letter of its longest option; ties go to the earlier letter."""
    return [best_letter(scores) for scores in longest_option_scores(test)]


def longest_option_scores(test: Iterable[Sample]) -> list[Scores]:
    """For each test sample: letter -> length of that option in characters."""
    return [_option_scores(sample, len) for sample in test]


def question_option_lookup(train: Iterable[Sample], test: Iterable[Sample]) -> list[str]:
    """Choose the option that was most often right under the same question in training.

    An option's rate is (times right + prior) / (times offered + 1), counted over the training items
    with this question; the prior is the rate of `option_prior`. An option that is new under a
    question therefore has its prior.

    Args:
        train: Training items, from which the rates are counted.
        test: Items to predict.

    Returns:
        A letter for each item of `test`. Ties go to the earlier letter; "" without options.
    """
    return [best_letter(scores) for scores in question_option_scores(train, test)]


def question_option_scores(train: Iterable[Sample], test: Iterable[Sample]) -> list[Scores]:
    """The rates that `question_option_lookup` compares.

    Args:
        train: Training items, from which the rates are counted.
        test: Items to predict.

    Returns:
        For each item of `test`: letter -> rate in (0, 1).
    """
    train, test = answerable(train), list(test)
    offered = Counter(
        (normalized_question(sample.question), normalized_option(text))
        for sample in train
        for text in sample.options.values()
    )
    right = Counter(
        (
            normalized_question(sample.question),
            normalized_option(sample.options[sample.ground_truth or ""]),
        )
        for sample in train
    )
    # The prior counts like one more item: it decides alone where nothing was offered, and matters
    # less and less the more items have the question.
    item_scores: list[Scores] = []
    for sample, priors in zip(test, option_prior_scores(train, test), strict=True):
        question = normalized_question(sample.question)
        keys = {
            letter: (question, normalized_option(text)) for letter, text in sample.options.items()
        }
        item_scores.append(
            {
                letter: (right[key] + priors[letter]) / (offered[key] + 1)
                for letter, key in keys.items()
            }
        )
    return item_scores


@lru_cache(maxsize=100_000)
def normalized_question(text: str) -> str:
    """A question for comparison: its words in lower case, without punctuation.

    "What  IS it?" -> "what is it"
    """
    return " ".join(re.findall(r"\w+", text.lower()))


def correct(letters: Sequence[str], samples: Sequence[Sample]) -> list[int]:
    """Mark each predicted letter: 1 where it is the ground truth, else 0.

    Args:
        letters: Predicted letters; "" for no prediction, which is never right.
        samples: The items, as many as letters.
    """
    return [
        int(bool(letter) and letter == sample.ground_truth)
        for letter, sample in zip(letters, samples, strict=True)
    ]


def blind_accuracy(train: Iterable[Sample], test: Iterable[Sample]) -> dict[str, list[int]]:
    """Run every baseline of this module.

    Args:
        train: Training items, from which the baselines are counted.
        test: Items to predict; only the answerable ones are used.

    Returns:
        Baseline -> 1 (right) or 0 (wrong) for each answerable item of `test`.
    """
    train, test = list(train), answerable(test)
    return {
        "option_prior": correct(option_prior(train, test), test),
        "majority_letter": correct(majority_letter(train, test), test),
        "longest_option": correct(longest_option(test), test),
        "question_option_lookup": correct(question_option_lookup(train, test), test),
    }


def best_letter(scores: Scores) -> str:
    """The letter with the highest score; ties go to the earlier letter; "" for no scores."""
    return max(sorted(scores), key=lambda letter: scores[letter], default="")


def _option_scores(sample: Sample, score: Callable[[str], float]) -> Scores:
    return {letter: score(text) for letter, text in sample.options.items()}
