"""What can be answered without looking: the baselines that stand beside every accuracy.

Pure functions over samples; only samples with options and a gold letter among them count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from medr1.records import Sample


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


def normal_option(text: str) -> str:
    """An option as it is counted: lower case, without surrounding space or a final period."""
    return text.strip().lower().removesuffix(".")


def option_prior(train: Iterable[Sample], test: Iterable[Sample]) -> list[str]:
    """For each test sample the letter of the option most often right when offered in train.

    The rate is (times right + 0.5) / (times offered + 2), so that an unseen option has 0.25; ties
    go to the earlier letter. A sample without options gets an empty string.
    """
    offered: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for sample in answerable(train):
        offered.update(normal_option(text) for text in sample.options.values())
        right[normal_option(sample.options[sample.ground_truth or ""])] += 1

    def rate(text: str) -> float:
        key = normal_option(text)
        return (right[key] + 0.5) / (offered[key] + 2)

    return [_best(sample, rate) for sample in test]


def majority_letter(train: Iterable[Sample], test: Iterable[Sample]) -> list[str]:
    """For each test sample the letter most often right in train, among those it has."""
    letters = Counter(sample.ground_truth or "" for sample in answerable(train))
    return [
        max(sorted(sample.options), key=lambda letter: letters[letter], default="")
        for sample in test
    ]


def longest_option(test: Iterable[Sample]) -> list[str]:
    """For each test sample the letter of its longest option; ties go to the earlier letter."""
    return [_best(sample, len) for sample in test]


def question_lookup(train: Iterable[Sample], test: Iterable[Sample]) -> list[str]:
    """For each test sample the option that was most often right in train under the same question.

    Where the question is new, or none of the options was right under it, the earliest letter.
    """
    right: Counter[tuple[str, str]] = Counter()
    for sample in answerable(train):
        gold = normal_option(sample.options[sample.ground_truth or ""])
        right[sample.question.strip().lower(), gold] += 1

    def pick(sample: Sample) -> str:
        stem = sample.question.strip().lower()
        return _best(sample, lambda text: right[stem, normal_option(text)])

    return [pick(sample) for sample in test]


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
        "question_lookup": correct(question_lookup(train, test), test),
    }


def _best(sample: Sample, score: Callable[[str], float]) -> str:
    """The letter whose option text scores highest; the earlier one of equals."""
    return max(sorted(sample.options), key=lambda k: score(sample.options[k]), default="")
