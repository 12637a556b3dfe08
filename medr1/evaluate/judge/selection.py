"""Which answers the judge is asked about, and what it gets to read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from medr1.errors import InputError
from medr1.evaluate.coded import Mask, Values
from medr1.evaluate.judging import Judged, Outcome
from medr1.judge.prompt import JudgeTexts, stated_text
from medr1.records import Prediction, Sample

RIGHT_SAMPLE = 100
"""The most answers that the rules call right and the judge is asked about."""
_LABELS = {
    **dict.fromkeys(("true", "correct", "right", "1"), True),
    **dict.fromkeys(("false", "incorrect", "wrong", "0"), False),
}


@dataclass(frozen=True)
class Candidate:
    """An answer that the judge is asked about."""

    position: int
    """Its place in the file, from 0 on."""
    id: str
    texts: JudgeTexts
    is_right: bool
    """Whether the rules call it right."""
    label: bool | None
    """What people say; None without a label."""


@dataclass(frozen=True)
class AnswersToJudge:
    """The answers that the judge is asked about."""

    candidates: list[Candidate]
    """In the order of the file."""
    n_open: int
    """Number of open questions whose answer has text."""
    n_right: int
    """Number of them that the rules call right."""

    @property
    def weights(self) -> Values:
        """For each candidate how many open answers it stands for.

        1 for one that was chosen for itself: because the rules do not call it right, or because it
        has a label. The right answers that were drawn stand for all right ones without a label.
        """
        right = np.array([candidate.is_right for candidate in self.candidates], dtype=bool)
        labelled = np.array([c.label is not None for c in self.candidates], dtype=bool)
        in_sample = right & ~labelled
        others = self.n_right - int((right & labelled).sum())
        return np.where(in_sample, others / max(1, int(in_sample.sum())), 1.0)


def open_questions(judged: Judged) -> Mask:
    """Where a question is open and has a ground truth."""
    return judged.outcomes.where(_is_open)


def _is_open(outcome: Outcome) -> bool:
    return outcome.answer_type == "open" and not outcome.options and bool(outcome.ground_truth)


def select(
    predictions: Iterable[Prediction], judged: Judged, label_key: str | None
) -> AnswersToJudge:
    """Choose the answers to open questions that the judge is asked about.

    These are all that the rules do not call right, all with a label, and a random sample of the
    right ones, so that the agreement is not measured on errors alone. An answer without text, and
    reasoning that does not end, are no answers to ask about.

    Args:
        predictions: The predictions of the file, once more.
        judged: The same, judged by the rules.
        label_key: Metadata key of the labels of people; None without labels.

    Raises:
        InputError: A label cannot be read, or no item has one.
    """
    is_open, right = open_questions(judged), judged.correct == 1.0
    right_places = np.flatnonzero(is_open & right)
    size = min(RIGHT_SAMPLE, len(right_places))
    rng = np.random.default_rng(judged.settings.seed)
    right_sample = set(rng.choice(right_places, size=size, replace=False).tolist())
    candidates: list[Candidate] = []
    n_wrong, has_key = 0, False
    for position, prediction in enumerate(predictions):
        sample = prediction.sample
        label = _label(sample, label_key) if label_key is not None else None
        has_key |= label is not None
        is_right = bool(right[position])
        if not is_open[position] or (is_right and label is None and position not in right_sample):
            continue
        if text := _stated_text(prediction):
            n_wrong += not is_right
            texts = JudgeTexts(sample.conversation, sample.ground_truth or "", text)
            candidates.append(Candidate(position, judged.ids[position], texts, is_right, label))
    if label_key is not None and not has_key:
        raise InputError(
            f"--judge-labels {label_key}: no item has this metadata key. Give a key of the results "
            "or of --data."
        )
    return AnswersToJudge(candidates, len(right_places) + n_wrong, len(right_places))


def _stated_text(prediction: Prediction) -> str:
    """The text of the answer of a prediction, without the reasoning; "" if there is none."""
    completion = prediction.model_output
    if prediction.error is not None or not completion:
        return ""
    return stated_text(completion, prediction.sample.question)


def _label(sample: Sample, key: str) -> bool | None:
    """What people say about the answer to an item; None without a label."""
    value = sample.metadata.get(key)
    if value is None or value == "":
        return None
    label = _LABELS.get(str(value).strip().casefold())
    if label is None:
        raise InputError(
            f"--judge-labels {key}: item {sample.id} has {value!r}. Write true or false, or "
            "correct or incorrect."
        )
    return label
