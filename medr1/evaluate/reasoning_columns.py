"""The checks of each item's reasoning, in columns: the input of the part `reasoning`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medr1 import answers
from medr1.documents.reasoning import ReasoningRow
from medr1.evaluate.coded import CodedColumn
from medr1.reasoning import arithmetic_steps, consistency_of, style
from medr1.records import Prediction


@dataclass(frozen=True, slots=True)
class ReasoningReading:
    """The checks of one reasoning whose values many items share."""

    outcome: str
    """One of `reasoning.OUTCOMES`."""
    names_option: bool
    concluded: str | None
    n_steps: int
    n_wrong_steps: int
    has_loop: bool
    switches_language: bool


@dataclass(frozen=True)
class ReasoningColumns:
    """The checks of all items, in order."""

    readings: CodedColumn[ReasoningReading | None]
    """None for an item without a reasoning."""
    numbers: NDArray[np.float64]
    """Characters, words and repetition of each item, an array (items, 3); NaN without one."""

    @classmethod
    def concatenate(cls, parts: Sequence[ReasoningColumns]) -> ReasoningColumns:
        """The parts one after the other."""
        return cls(
            CodedColumn.concatenate([part.readings for part in parts]),
            np.concatenate([part.numbers for part in parts]),
        )

    def row(self, position: int) -> ReasoningRow | None:
        """The checks of one item for items.jsonl; None without a reasoning.

        Args:
            position: The item's place.
        """
        reading = self.readings[position]
        if reading is None:
            return None
        characters, words, repetition = self.numbers[position].tolist()
        return ReasoningRow(
            outcome=reading.outcome,
            names_option=reading.names_option,
            concluded=reading.concluded,
            n_steps=reading.n_steps,
            n_wrong_steps=reading.n_wrong_steps,
            has_loop=reading.has_loop,
            switches_language=reading.switches_language,
            characters=int(characters),
            words=int(words),
            repetition=round(repetition, 4),
        )


def reasoning_columns(
    predictions: Iterable[Prediction], verdicts: Iterable[answers.Verdict | None], protocol: str
) -> ReasoningColumns:
    """Check the reasoning of each item.

    Args:
        predictions: One for each item.
        verdicts: Their verdicts in the same order; None where there was no completion to judge.
        protocol: The rules of the verdicts.
    """
    readings: list[ReasoningReading | None] = []
    numbers: list[tuple[float, float, float]] = []
    for prediction, verdict in zip(predictions, verdicts, strict=True):
        text = _reasoning_text(prediction, verdict)
        if text is None:
            readings.append(None)
            numbers.append((np.nan, np.nan, np.nan))
            continue
        sample, answer = prediction.sample, _answer(prediction, verdict, protocol)
        result = consistency_of(text, answer, sample.question, sample.options, sample.answer_type)
        form, steps = style(text), arithmetic_steps(text)
        readings.append(
            ReasoningReading(
                result.outcome,
                result.names_option,
                result.concluded,
                len(steps),
                sum(not step.is_right for step in steps),
                form.has_loop,
                form.switches_language,
            )
        )
        numbers.append((form.characters, form.words, form.repetition))
    array = np.array(numbers, dtype=np.float64).reshape(-1, 3)
    return ReasoningColumns(CodedColumn.from_items(readings), array)


def _reasoning_text(prediction: Prediction, verdict: answers.Verdict | None) -> str | None:
    """The text in <think>, or the reasoning that a server returned beside the completion."""
    if verdict is None or prediction.generated_text is None:
        return None
    return verdict.extraction.reasoning or prediction.reasoning or None


def _answer(prediction: Prediction, verdict: answers.Verdict | None, protocol: str) -> str | None:
    """The answer under `default`, whatever the protocol: only that can be compared."""
    if protocol == "default":
        return verdict.extraction.answer if verdict else None
    sample = prediction.sample
    return answers.extract(
        prediction.model_output or "",
        options=sample.options,
        answer_type=sample.answer_type,
        question=sample.question,
    ).answer
