"""Questions asked in other words or another order, with the same right answer.

All are pure functions of a sample. Letters stay among A to H: 1) and 2), or other letters, would be
read by nothing that reads an answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from medr1.answers import normalize
from medr1.records import LETTERS, Sample

TEMPLATES = (
    "Look at the image. {question}",
    "{question} Give the best answer.",
    "Based on the image: {question}",
    "Please look carefully. {question}",
    "{question} Answer from what the image shows.",
)
"""Frames around a question, whose own words stay."""

_SHIFTS = 4
"""How far letters are moved: from B, C, D or E on, so that four options end at H at the latest."""

WrongTexts = Mapping[tuple[str | None, str], frozenset[str]]
"""(question type, right text) -> option texts that are wrong where that text is right."""


@dataclass(frozen=True)
class Rewording:
    """One kind: what is done to a question, in how many ways, and why the gold stays right."""

    title: str
    variants: int
    """How many ways there are; their numbers are no scale."""
    keeps: str
    """Why the right answer is the same."""
    left_out: str
    """Which items cannot be asked so, in words."""
    make: Callable[[Sample, int, int, WrongTexts], Sample | None]
    """(sample, variant, seed, wrong texts) -> the sample asked anew; None where it cannot be."""


def wrong_texts(samples: Iterable[Sample]) -> WrongTexts:
    """The texts that stand beside each right answer as wrong ones, by type of question."""
    found: dict[tuple[str | None, str], set[str]] = {}
    for sample in samples:
        gold = sample.options.get(sample.ground_truth or "")
        if gold is not None:
            beside = found.setdefault((sample.question_type, normalize(gold)), set())
            beside |= {text for text in sample.options.values() if text != gold}
    return {key: frozenset(texts) for key, texts in found.items()}


def _option_order(sample: Sample, variant: int, seed: int, wrong: WrongTexts) -> Sample | None:
    """The options in another order; the gold letter follows its option."""
    letters, before = list(sample.options), list(sample.options)
    if len(letters) < 2 or sample.ground_truth not in letters:
        return None
    draw = random.Random(f"{seed} option_order {variant} {sample.id}")
    while letters == before:
        draw.shuffle(letters)
    options = {new: sample.options[old] for new, old in zip(before, letters, strict=True)}
    gold = before[letters.index(sample.ground_truth)]
    return replace(sample, options=options, ground_truth=gold)


def _letter_names(sample: Sample, variant: int, seed: int, wrong: WrongTexts) -> Sample | None:
    """The options in their order, under the letters from B on, from C on ..."""
    before = list(sample.options)
    if sample.ground_truth not in before or len(before) > len(LETTERS) - _SHIFTS:
        return None
    names = dict(zip(before, LETTERS[variant:], strict=False))
    options = {names[letter]: text for letter, text in sample.options.items()}
    return replace(sample, options=options, ground_truth=names[sample.ground_truth])


def _paraphrase(sample: Sample, variant: int, seed: int, wrong: WrongTexts) -> Sample | None:
    before, after = TEMPLATES[variant - 1].split("{question}")
    return replace(sample, question=f"{before}{sample.question}{after}")


def _distractor(sample: Sample, variant: int, seed: int, wrong: WrongTexts) -> Sample | None:
    """One more option, at the end: a text that elsewhere is wrong beside the same right answer."""
    gold = sample.options.get(sample.ground_truth or "")
    if gold is None or len(sample.options) == len(LETTERS):
        return None
    here = {normalize(text) for text in sample.options.values()}
    candidates = wrong.get((sample.question_type, normalize(gold)), frozenset())
    new = sorted(text for text in candidates if normalize(text) not in here)
    if not new:
        return None
    text = random.Random(f"{seed} distractor {sample.id}").choice(new)
    letter = next(letter for letter in LETTERS if letter not in sample.options)
    return replace(sample, options={**sample.options, letter: text})


REWORDINGS: dict[str, Rewording] = {
    "option_order": Rewording(
        "Another order of the options",
        5,
        "the same options; the gold letter follows its option, and answers are compared as texts",
        "without options",
        _option_order,
    ),
    "letter_names": Rewording(
        "Another lettering of the options",
        _SHIFTS,
        "the same options in the same order, as B, C, D ... to E, F, G ...; answers are compared "
        "as texts",
        "without options, or with more than four",
        _letter_names,
    ),
    "paraphrase": Rewording(
        "Question in other words",
        len(TEMPLATES),
        "a frame around the question, whose own words stay",
        "none",
        _paraphrase,
    ),
    "distractor": Rewording(
        "One more option",
        1,
        "the new option is wrong in another item with the same right answer; guessing gets harder",
        "without options, or without one that could be added",
        _distractor,
    ),
}
