"""Which items are worth training on, and which rationales are: by what models answered.

Pure functions of samples and predictions. Whether a completion is right is asked of `answers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from medr1.answers import has_format, judge
from medr1.answers.blocks import find_blocks
from medr1.records import Prediction, Sample

Key = tuple[tuple[str, ...], str, tuple[str, ...]]


@dataclass(frozen=True)
class Selection:
    """Which items are kept, easy to hard, and what became of the others."""

    kept: list[int]
    """Indices of samples, those with the highest pass rate first, equal ones in their order."""
    rates: list[float | None]
    """Of each sample the share of right completions; None where there is none."""
    too_easy: int
    too_hard: int
    unknown: int
    """Items that no result is about, or whose results are all errors."""


@dataclass(frozen=True)
class Rationale:
    """A completion with reasoning whose answer is right."""

    reasoning: str
    completion: str


def completions(prediction: Prediction) -> Iterator[str]:
    """What a pass rate is counted over: the sampled completions, or the one where none is."""
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
    """The samples whose share of right completions, over all runs, lies within the bounds."""
    rates: list[float | None] = []
    for sample, found in zip(samples, _matched(samples, runs), strict=True):
        verdicts = [
            _is_right(text, sample, prediction, protocol)
            for prediction in found
            for text in completions(prediction)
        ]
        rates.append(sum(verdicts) / len(verdicts) if verdicts else None)
    known = [(index, rate) for index, rate in enumerate(rates) if rate is not None]
    kept = [(index, rate) for index, rate in known if min_pass <= rate <= max_pass]
    return Selection(
        kept=[index for index, _ in sorted(kept, key=lambda one: -one[1])],
        rates=rates,
        too_easy=sum(rate > max_pass for _, rate in known),
        too_hard=sum(rate < min_pass for _, rate in known),
        unknown=len(rates) - len(known),
    )


def right_rationales(
    samples: Sequence[Sample],
    runs: Sequence[Sequence[Prediction]],
    *,
    prompt: str = "think",
    protocol: str = "default",
) -> list[Rationale | None]:
    """For each sample the shortest completion that reasons, is right and has the prompt's format.

    Of all runs, the greedy and the sampled ones; of equally long ones the first. None where there
    is no such.
    """
    found = []
    for sample, predictions in zip(samples, _matched(samples, runs), strict=True):
        right = [
            Rationale(reasoning, text)
            for prediction in predictions
            for text in (prediction.model_output, *prediction.samples)
            if text
            and has_format(text, prompt)
            and (reasoning := (find_blocks(text).reasoning or "").strip())
            and _is_right(text, sample, prediction, protocol)
        ]
        found.append(min(right, key=lambda one: len(one.completion), default=None))
    return found


def _matched(
    samples: Sequence[Sample], runs: Sequence[Sequence[Prediction]]
) -> list[list[Prediction]]:
    """For each sample the predictions about it: by its id, else by what it asks."""
    by_id: dict[str, list[Prediction]] = {}
    by_question: dict[Key, list[Prediction]] = {}
    for prediction in (one for run in runs for one in run):
        by_id.setdefault(prediction.sample.id, []).append(prediction)
        by_question.setdefault(_key(prediction.sample), []).append(prediction)
    return [by_id.get(s.id) or by_question.get(_key(s)) or [] for s in samples]


def _key(sample: Sample) -> Key:
    return sample.images, sample.question, tuple(sample.options.values())


def _is_right(text: str, sample: Sample, prediction: Prediction, protocol: str) -> bool:
    """Whether the completion is right, by the options in the order in which they were asked."""
    asked = prediction.sample if prediction.sample.ground_truth else sample
    if not asked.ground_truth:
        return False
    verdict = judge(
        text,
        ground_truth=asked.ground_truth,
        options=asked.options,
        answer_type=asked.answer_type,
        question=asked.question,
        protocol=protocol,
    )
    return verdict.correct
