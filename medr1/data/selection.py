"""Selects items by how often models answered them right, and reasoning that led to right answers.

Pure functions of samples and predictions. `answers` decides whether a completion is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from medr1.answers import has_format, judge
from medr1.answers.blocks import find_blocks
from medr1.records import Prediction, Sample

QuestionKey = tuple[tuple[str, ...], str, tuple[str, ...]]
"""The images, question and texts of the options of a sample."""


@dataclass(frozen=True)
class Selection:
    """The selected items, and how many of the others were too easy or too hard."""

    selected: list[int]
    """Indices of samples by pass rate, the highest first; equal rates in the order of samples."""
    pass_rates: list[float | None]
    """Share of right completions of each sample; None if it has no completion."""
    num_completions: list[int]
    """Number of completions of each sample."""
    too_easy: int
    """Number of items with a pass rate above the bounds."""
    too_hard: int
    """Number of items with a pass rate below the bounds."""
    unknown: int
    """Number of items without a completion: no prediction is about them, or all have errors."""


@dataclass(frozen=True)
class Rationale:
    """A completion with reasoning whose answer is right."""

    reasoning: str
    completion: str


def completions(prediction: Prediction) -> Iterator[str]:
    """The completions that count for the pass rate: the samples, or without them the one output."""
    if prediction.samples:
        yield from prediction.samples
    elif prediction.model_output is not None and prediction.error is None:
        yield prediction.model_output


def select_by_pass_rate(
    samples: Sequence[Sample],
    runs: Sequence[Sequence[Prediction]],
    *,
    min_pass: float,
    max_pass: float,
    protocol: str = "default",
) -> Selection:
    """Select the samples whose pass rate is within the bounds.

    Args:
        samples: The items to select from.
        runs: The predictions of each run; the completions of all runs count.
        min_pass: Lowest pass rate that is selected, from 0 to 1.
        max_pass: Highest pass rate that is selected, from 0 to 1.
        protocol: The rules by which `answers.judge` decides.
    """
    rates: list[float | None] = []
    counts: list[int] = []
    for sample, predictions in zip(samples, _matching_predictions(samples, runs), strict=True):
        verdicts = [
            _is_right(completion, sample, prediction, protocol)
            for prediction in predictions
            for completion in completions(prediction)
        ]
        rates.append(sum(verdicts) / len(verdicts) if verdicts else None)
        counts.append(len(verdicts))
    rated = [(index, rate) for index, rate in enumerate(rates) if rate is not None]
    within = [(index, rate) for index, rate in rated if min_pass <= rate <= max_pass]
    return Selection(
        selected=[index for index, _ in sorted(within, key=lambda pair: -pair[1])],
        pass_rates=rates,
        num_completions=counts,
        too_easy=sum(rate > max_pass for _, rate in rated),
        too_hard=sum(rate < min_pass for _, rate in rated),
        unknown=len(rates) - len(rated),
    )


def right_rationales(
    samples: Sequence[Sample],
    runs: Sequence[Sequence[Prediction]],
    *,
    prompt: str = "think",
    protocol: str = "default",
) -> list[Rationale | None]:
    """The shortest right completion with reasoning for each sample.

    Args:
        samples: The items.
        runs: The predictions of each run. Their outputs and samples all count; of equally short
            completions the first is taken.
        prompt: The prompt whose format the completion must have: "think" or "think-after".
        protocol: The rules by which `answers.judge` decides.

    Returns:
        For each sample its rationale; None if no completion has reasoning, the format and the
        right answer.
    """
    rationales = []
    for sample, predictions in zip(samples, _matching_predictions(samples, runs), strict=True):
        candidates = [
            Rationale(reasoning, completion)
            for prediction in predictions
            for completion in (prediction.model_output, *prediction.samples)
            if completion
            and has_format(completion, prompt)
            and (reasoning := (find_blocks(completion).reasoning or "").strip())
            and _is_right(completion, sample, prediction, protocol)
        ]
        rationales.append(min(candidates, key=lambda c: len(c.completion), default=None))
    return rationales


def _matching_predictions(
    samples: Sequence[Sample], runs: Sequence[Sequence[Prediction]]
) -> list[list[Prediction]]:
    """The predictions about each sample: those with its id, or else with its question."""
    by_id: dict[str, list[Prediction]] = {}
    by_question: dict[QuestionKey, list[Prediction]] = {}
    for prediction in (prediction for run in runs for prediction in run):
        by_id.setdefault(prediction.sample.id, []).append(prediction)
        by_question.setdefault(_key(prediction.sample), []).append(prediction)
    return [by_id.get(s.id) or by_question.get(_key(s)) or [] for s in samples]


def _key(sample: Sample) -> QuestionKey:
    return sample.images, sample.conversation, tuple(sample.options.values())


def _is_right(completion: str, sample: Sample, prediction: Prediction, protocol: str) -> bool:
    """Whether the completion is right."""
    # The run may have asked the options in another order: then its own letters count.
    question = prediction.sample if prediction.sample.ground_truth else sample
    if not question.ground_truth:
        return False
    verdict = judge(
        completion,
        ground_truth=question.ground_truth,
        options=question.options,
        answer_type=question.answer_type,
        question=question.question,
        protocol=protocol,
    )
    return verdict.correct
