"""The verdict on one answer, for tools that judge item by item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medr1.data.items import read_item
from medr1.errors import InputError
from medr1.evaluate.judging import judge_prediction
from medr1.records import Prediction, Sample


@dataclass(frozen=True)
class ItemScore:
    """Whether an answer is right."""

    correct: bool
    answer: str | None
    """The answer that was extracted, such as a letter; None if there is none."""
    method: str
    """How it was extracted, or why there is none; see answers/README.md."""


def read_sample(item: Mapping[str, object]) -> Sample:
    """The question of an item with any of the field names that medr1 reads.

    Args:
        item: The item; it needs a question and a ground truth.

    Raises:
        InputError: If it cannot be read, or has no ground truth.
    """
    sample, failure = read_item(item, "the item", required=("question",))
    if failure is not None:
        raise InputError(failure.message)
    if sample.ground_truth is None:
        raise InputError("the item has no ground truth.")
    return sample


def score(sample: Sample, completion: str, protocol: str = "default") -> ItemScore:
    """Judge one answer as `medr1 eval` does.

    Args:
        sample: The question, with its ground truth.
        completion: What the model wrote.
        protocol: The rules of the verdict, one of `answers.PROTOCOLS`.

    Raises:
        InputError: If the protocol does not exist.
    """
    verdict = judge_prediction(Prediction(sample, model_output=completion), protocol)
    if verdict is None:
        return ItemScore(False, None, "empty")
    return ItemScore(verdict.correct, verdict.extraction.answer, verdict.extraction.method)
