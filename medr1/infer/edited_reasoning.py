"""Edit earlier reasoning, so that a model can answer from it: does the answer follow the reasoning?

The model gets its prompt and the beginning of a completion, `<think>edited reasoning</think>`, and
writes the rest itself. There are five edits: cut, the first half of the sentences; shuffle, the
sentences in another order, joined by blanks without line breaks; empty, no text; swap, the
reasoning of another question; none, unchanged, as a control. It is after "Measuring Faithfulness in
Chain-of-Thought Reasoning" (arXiv 2307.13702), where cutting is called early answering.
"""

from __future__ import annotations

import random
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from medr1.infer.engine import Prefill
from medr1.records import Edit, Failure, Prediction, Sample
from medr1.text.sentences import sentences

_OPENING_TAG = re.compile("<think>", re.IGNORECASE)
_CLOSING_TAG = re.compile("</think>", re.IGNORECASE)
_RANDOM_TRIES = 64
"""Questions that are drawn for swap before all of them are searched."""


@dataclass(frozen=True)
class Reasoning:
    """The reasoning of a completion, with the text around it."""

    before: str
    """What stands before it, such as "<think> "; "" if the chat template wrote the tag."""
    text: str
    after: str
    """What stands after it, up to the end of the closing tag: " </think>"."""


def reasoning_in(completion: str) -> Reasoning | None:
    """The reasoning of a completion; None if there is none, or it is never closed."""
    closing = _CLOSING_TAG.search(completion)
    if closing is None:
        return None
    opening = _OPENING_TAG.search(completion, 0, closing.start())
    start = opening.end() if opening else 0
    content = completion[start : closing.start()]
    text = content.strip()
    if not text:
        return None
    first = start + content.index(text)
    last = first + len(text)
    return Reasoning(completion[:first].lstrip(), text, completion[last : closing.end()])


@dataclass(frozen=True)
class EditedReasoning:
    """The edited reasoning of questions."""

    prefills: Mapping[int, Prefill]
    """Position of a question -> the beginning of its completion."""
    failures: Mapping[int, Failure]
    """Position of a question -> why it has none."""


def edit_reasoning(
    samples: Sequence[Sample], earlier: Sequence[Prediction], edit: Edit, seed: int
) -> EditedReasoning:
    """Edit the reasoning in earlier results of the same questions.

    Args:
        samples: The questions.
        earlier: Their earlier results, in any order; they are matched by id.
        edit: What is done to the reasoning.
        seed: Seed of shuffle and swap, which also depend on the item's id.
    """
    by_id = {prediction.sample.id: prediction for prediction in earlier}
    reasonings = {
        name: reasoning
        for name, prediction in by_id.items()
        if prediction.model_output and (reasoning := reasoning_in(prediction.model_output))
    }
    donors = _Donors([by_id[name].sample for name in reasonings], reasonings)
    prefills, failures = {}, {}
    for position, sample in enumerate(samples):
        own = reasonings.get(sample.id)
        if own is None:
            failures[position] = Failure(
                "no_reasoning", f"item {sample.id}: the earlier results have no reasoning for it."
            )
            continue
        draw = random.Random(f"{seed} {edit} {sample.id}")
        donor = donors.choose(sample, draw) if edit == "swap" else None
        if edit == "swap" and donor is None:
            failures[position] = Failure(
                "no_other_reasoning",
                f"item {sample.id}: no question with other options has another reasoning.",
            )
            continue
        text = reasonings[donor].text if donor is not None else edited_text(own.text, edit, draw)
        # Without any text, the blanks around it are left out too.
        parts = (own.before, text, own.after) if text else (own.before.rstrip(), own.after.lstrip())
        prefills[position] = Prefill("".join(parts), donor)
    return EditedReasoning(prefills, failures)


def edited_text(text: str, edit: Edit, draw: random.Random) -> str:
    """The reasoning after an edit that needs no other question.

    Of one sentence alone, cut leaves nothing, and shuffle changes nothing.

    Args:
        text: The reasoning.
        edit: Any edit but swap.
        draw: The source of random numbers for shuffle.
    """
    if edit == "none":
        return text
    parts = [part for part in sentences(text) if part]
    if edit == "empty":
        return ""
    if edit == "cut":
        end = 0
        for part in parts[: len(parts) // 2]:
            end = text.index(part, end) + len(part)
        return text[:end]
    shuffled = list(parts)
    draw.shuffle(shuffled)
    if shuffled == parts:
        shuffled = [*parts[1:], *parts[:1]]
    return " ".join(shuffled) if len(parts) > 1 else text


class _Donors:
    """The questions whose reasoning another question can get."""

    def __init__(self, samples: Sequence[Sample], reasonings: Mapping[str, Reasoning]) -> None:
        self._samples = samples
        self._reasonings = reasonings

    def choose(self, sample: Sample, draw: random.Random) -> str | None:
        """The id of a random question with other options and another reasoning; None without one.

        Questions without options have to be another question.
        """
        for _ in range(min(_RANDOM_TRIES, len(self._samples))):
            candidate = draw.choice(self._samples)
            if self._fits(candidate, sample):
                return candidate.id
        fitting = [other.id for other in self._samples if self._fits(other, sample)]
        return draw.choice(fitting) if fitting else None

    def _fits(self, other: Sample, sample: Sample) -> bool:
        return (
            other.id != sample.id
            and _subject(other) != _subject(sample)
            and self._reasonings[other.id].text != self._reasonings[sample.id].text
        )


def _subject(sample: Sample) -> Hashable:
    """What two questions must not have in common: the texts of the options, else the question."""
    return frozenset(map(str.casefold, sample.options.values())) or sample.question
