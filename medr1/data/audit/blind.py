"""What can be answered without looking: the baselines that stand beside every accuracy.

Pure functions over samples; only samples with options and a gold letter among them count.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from medr1.records import Sample

Scores = Mapping[str, float]
"""Letter -> how much speaks for that option; the highest is chosen, the earlier one of equals."""


@dataclass(frozen=True)
class BlindPredictions:
    """What the option prior says of each sample, and what guessing gives.

    An item without options has the letter "" and counts as wrong.
    """

    letters: tuple[str, ...]
    right: tuple[bool, ...]
    chance: float


def blind_predictions(train: Iterable[Sample], test: Sequence[Sample]) -> BlindPredictions:
    """The option prior of `train` applied to `test`, for standing beside an accuracy."""
    letters = option_prior(train, test)
    right = tuple(bool(one) for one in correct(letters, test))
    return BlindPredictions(tuple(letters), right, chance(test))


def answerable(samples: Iterable[Sample]) -> list[Sample]:
    """The samples that have options, with the gold letter among them."""
    return [s for s in samples if s.options and s.ground_truth in s.options]


def chance(samples: Iterable[Sample]) -> float:
    """The expected accuracy of guessing: the mean of one over the number of options."""
    shares = [1 / len(s.options) for s in samples if s.options]
    return sum(shares) / len(shares) if shares else float("nan")


@lru_cache(maxsize=100_000)
def normal_option(text: str) -> str:
    """An option as it is counted: lower case, without surrounding space or a final period."""
    return text.strip().lower().removesuffix(".")


def option_prior(train: Iterable[Sample], test: Iterable[Sample]) -> list[str]:
    """For each test sample the letter of the option most often right when offered in train.

    The rate is (times right + 0.5) / (times offered + 2), so that an unseen option has 0.25; ties
    go to the earlier letter. A sample without options gets an empty string.
    """
    return [best_letter(scores) for scores in option_prior_scores(train, test)]


def option_prior_scores(train: Iterable[Sample], test: Iterable[Sample]) -> list[Scores]:
    """For each test sample the rate of `option_prior` for each of its letters."""
    train = answerable(train)
    offered = Counter(normal_option(text) for s in train for text in s.options.values())
    right = Counter(normal_option(s.options[s.ground_truth or ""]) for s in train)

    def rate(text: str) -> float:
        key = normal_option(text)
        return (right[key] + 0.5) / (offered[key] + 2)

    return [_scored(sample, rate) for sample in test]


def majority_letter(train: Iterable[Sample], test: Iterable[Sample]) -> list[str]:
    """For each test sample the letter most often right in train, among those it has."""
    letters = Counter(sample.ground_truth or "" for sample in answerable(train))
    return [
        max(sorted(sample.options), key=lambda letter: letters[letter], default="")
        for sample in test
    ]


def longest_option(test: Iterable[Sample]) -> list[str]:
    """For each test sample the letter of its longest option; ties go to the earlier letter."""
    return [best_letter(scores) for scores in longest_option_scores(test)]


def longest_option_scores(test: Iterable[Sample]) -> list[Scores]:
    """For each test sample the length of each of its options."""
    return [_scored(sample, len) for sample in test]


def question_option_lookup(train: Iterable[Sample], test: Iterable[Sample]) -> list[str]:
    """For each test sample the option most often right in train under the same question.

    The rate is (times right + prior) / (times offered + 1) over the training items with this
    question, where prior is the rate of `option_prior`: what is new under a question has that.
    """
    return [best_letter(scores) for scores in question_option_scores(train, test)]


def question_option_scores(train: Iterable[Sample], test: Iterable[Sample]) -> list[Scores]:
    """For each test sample the rate of `question_option_lookup` for each of its letters."""
    train, test = answerable(train), list(test)
    offered = Counter(
        (normal_question(s.question), normal_option(text))
        for s in train
        for text in s.options.values()
    )
    right = Counter(
        (normal_question(s.question), normal_option(s.options[s.ground_truth or ""])) for s in train
    )
    found: list[Scores] = []
    for sample, priors in zip(test, option_prior_scores(train, test), strict=True):
        stem = normal_question(sample.question)
        keys = {letter: (stem, normal_option(text)) for letter, text in sample.options.items()}
        found.append(
            {
                letter: (right[key] + priors[letter]) / (offered[key] + 1)
                for letter, key in keys.items()
            }
        )
    return found


@lru_cache(maxsize=100_000)
def normal_question(text: str) -> str:
    """A question as it is compared: its words in lower case, without punctuation around them."""
    return " ".join(re.findall(r"\w+", text.lower()))


def correct(predicted: Sequence[str], samples: Sequence[Sample]) -> list[int]:
    """1 where the predicted letter is the gold one, else 0: one figure for each sample.

    An empty letter is never right.
    """
    return [
        int(bool(letter) and letter == sample.ground_truth)
        for letter, sample in zip(predicted, samples, strict=True)
    ]


def blind_accuracy(train: Iterable[Sample], test: Iterable[Sample]) -> dict[str, list[int]]:
    """0 or 1 for each answerable test sample under each baseline that sees no image."""
    train, test = list(train), answerable(test)
    return {
        "option_prior": correct(option_prior(train, test), test),
        "majority_letter": correct(majority_letter(train, test), test),
        "longest_option": correct(longest_option(test), test),
        "question_option_lookup": correct(question_option_lookup(train, test), test),
    }


def best_letter(scores: Scores) -> str:
    """The letter with the highest score; the earlier one of equals, "" where there is none."""
    return max(sorted(scores), key=lambda letter: scores[letter], default="")


def _scored(sample: Sample, score: Callable[[str], float]) -> Scores:
    return {letter: score(text) for letter, text in sample.options.items()}
