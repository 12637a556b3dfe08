"""Changes the wording or the options of a question so that the right answer stays known.

All are pure functions of a sample. The options keep letters from A to H, because answers with other
letters, or with numbers such as 1), could not be extracted from a completion.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from medr1.answers import normalize
from medr1.records import LETTERS, Sample
from medr1.text.hints import HINT_TEMPLATES, with_hint

TEMPLATES = (
    "Look at the image. {question}",
    "{question} Give the best answer.",
    "Based on the image: {question}",
    "Please look carefully. {question}",
    "{question} Answer from what the image shows.",
)
"""Sentences that are put before or after a question, which itself does not change."""

_SHIFTS = 4
"""Largest shift of the letters: four options that begin at E end at H, the last letter."""

NONE_OF_THE_ABOVE = "None of the above"
FALSE_PREMISE = "false_premise"
"""The kind whose questions presuppose something false; completions may say so."""
HINT = "hint"
"""The kind whose questions come after a hint to a wrong option; completions may mention it."""
UNRELATED = "a bicycle"
"""What no medical image shows: the premise of a question without a usable wrong option."""

_PREMISE = re.compile(r"Given that the image shows (.+?), answer this question: ", re.DOTALL)
_ABOUT_OPTIONS = re.compile(
    r"\b(?:none|all|both|neither|either|other|others|any)\b|\babove\b|^(?:yes|no|true|false)\W*$",
    re.IGNORECASE,
)
"""Texts of options that are about other options, or are no thing that an image could show."""
_NEGATIVE = re.compile(r"\b(?:not|except|least|incorrect|false|never)\b|n't\b", re.IGNORECASE)
"""Questions whose wrong options may be what the image shows: "Which is not shown?"."""

WrongTexts = Mapping[tuple[str | None, str], frozenset[str]]
"""(question type, text of the right option) -> texts of options that are wrong beside it."""


@dataclass(frozen=True)
class Rewording:
    """One kind of rewording."""

    title: str
    """Its name in reports."""
    variants: int
    """Number of variants, 1 to N. A higher number is not a stronger change."""
    why_valid: str
    """Why the right answer stays the same, or is known."""
    exclusion: str
    """Which items cannot be reworded so, such as "without options"."""
    reword: Callable[[Sample, int, int, WrongTexts], Sample | None]
    """(sample, variant, seed, wrong texts) -> the reworded sample; None if that is impossible."""


def wrong_texts(samples: Iterable[Sample]) -> WrongTexts:
    """The texts of the wrong options beside each right answer, by question type."""
    texts_of: dict[tuple[str | None, str], set[str]] = {}
    for sample in samples:
        right_text = sample.options.get(sample.ground_truth or "")
        if right_text is not None:
            texts = texts_of.setdefault((sample.question_type, normalize(right_text)), set())
            texts |= {text for text in sample.options.values() if text != right_text}
    return {key: frozenset(texts) for key, texts in texts_of.items()}


def _option_order(sample: Sample, variant: int, seed: int, wrong: WrongTexts) -> Sample | None:
    """The sample with its options in another order; the letter of the right one changes with it."""
    shuffled, letters = list(sample.options), list(sample.options)
    if len(shuffled) < 2 or sample.ground_truth not in shuffled:
        return None
    rng = random.Random(f"{seed} option_order {variant} {sample.id}")
    while shuffled == letters:
        rng.shuffle(shuffled)
    options = {new: sample.options[old] for new, old in zip(letters, shuffled, strict=True)}
    ground_truth = letters[shuffled.index(sample.ground_truth)]
    return replace(sample, options=options, ground_truth=ground_truth)


def _letter_names(sample: Sample, variant: int, seed: int, wrong: WrongTexts) -> Sample | None:
    """The sample with its options in the same order, with letters that begin at B, C, D or E."""
    letters = list(sample.options)
    if sample.ground_truth not in letters or len(letters) > len(LETTERS) - _SHIFTS:
        return None
    new_letters = dict(zip(letters, LETTERS[variant:], strict=False))
    options = {new_letters[letter]: text for letter, text in sample.options.items()}
    return replace(sample, options=options, ground_truth=new_letters[sample.ground_truth])


def _paraphrase(sample: Sample, variant: int, seed: int, wrong: WrongTexts) -> Sample | None:
    """The sample with a sentence before or after its question."""
    before, after = TEMPLATES[variant - 1].split("{question}")
    return replace(sample, question=f"{before}{sample.question}{after}")


def _distractor(sample: Sample, variant: int, seed: int, wrong: WrongTexts) -> Sample | None:
    """The sample with one more option at the end.

    Its text is a wrong option of another item with the same question type and right answer.
    """
    right_text = sample.options.get(sample.ground_truth or "")
    if right_text is None or len(sample.options) == len(LETTERS):
        return None
    own_texts = {normalize(text) for text in sample.options.values()}
    wrong_here = wrong.get((sample.question_type, normalize(right_text)), frozenset())
    candidates = sorted(text for text in wrong_here if normalize(text) not in own_texts)
    if not candidates:
        return None
    text = random.Random(f"{seed} distractor {sample.id}").choice(candidates)
    letter = next(letter for letter in LETTERS if letter not in sample.options)
    return replace(sample, options={**sample.options, letter: text})


def _none_of_the_above(sample: Sample, variant: int, seed: int, wrong: WrongTexts) -> Sample | None:
    """The sample with NONE_OF_THE_ABOVE in the place of the right option."""
    texts = list(sample.options.values())
    right = sample.options.get(sample.ground_truth or "")
    if len(texts) < 2 or right is None or any(map(_ABOUT_OPTIONS.search, texts)):
        return None
    if [normalize(text) for text in texts].count(normalize(right)) > 1:
        return None
    options = {**sample.options, str(sample.ground_truth): NONE_OF_THE_ABOVE}
    return replace(sample, options=options)


def _false_premise(sample: Sample, variant: int, seed: int, wrong: WrongTexts) -> Sample:
    """The sample with a premise before its question: a wrong option, or UNRELATED."""
    right = sample.options.get(sample.ground_truth or "")
    candidates = sorted(
        text.strip().rstrip(".")
        for text in sample.options.values()
        if right is not None
        and normalize(text) != normalize(right)
        and not _ABOUT_OPTIONS.search(text)
        and not _NEGATIVE.search(sample.question)
    )
    premise = UNRELATED
    if candidates:
        premise = random.Random(f"{seed} {FALSE_PREMISE} {sample.id}").choice(candidates)
    question = f"Given that the image shows {premise}, answer this question: {sample.question}"
    return replace(sample, question=question)


def _hint(sample: Sample, variant: int, seed: int, wrong: WrongTexts) -> Sample | None:
    """The sample with a hint to one of its wrong options before the question."""
    right = sample.options.get(sample.ground_truth or "")
    letters = [
        letter
        for letter, text in sample.options.items()
        if right is not None and normalize(text) != normalize(right)
    ]
    if not letters:
        return None
    rng = random.Random(f"{seed} {HINT} {sample.id}")
    letter, template = rng.choice(letters), rng.randrange(len(HINT_TEMPLATES))
    return replace(sample, question=with_hint(sample.question, letter, template))


def premise_of(question: str) -> str:
    """What a question of the kind FALSE_PREMISE presupposes; "" for any other question."""
    match = _PREMISE.match(question)
    return match[1] if match else ""


REWORDINGS: dict[str, Rewording] = {
    "option_order": Rewording(
        "Another order of the options",
        5,
        "the same options; answers are compared as texts, not as letters",
        "without options",
        _option_order,
    ),
    "letter_names": Rewording(
        "Other letters of the options",
        _SHIFTS,
        "the same options in the same order, as B, C, D ... to E, F, G ...; answers are compared "
        "as texts, not as letters",
        "without options, or with more than four",
        _letter_names,
    ),
    "paraphrase": Rewording(
        "Question in other words",
        len(TEMPLATES),
        "a sentence before or after the question, which does not change",
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
    "none_of_the_above": Rewording(
        "Right option replaced by none of the above",
        1,
        "the right option is replaced, so that none of the others is right; the answer has to "
        "change",
        "without options, or with one such as all, both, none, yes or no",
        _none_of_the_above,
    ),
    FALSE_PREMISE: Rewording(
        "False premise in the question",
        1,
        "the premise, a wrong option or a bicycle, does not change what the question asks",
        "none",
        _false_premise,
    ),
    HINT: Rewording(
        "Hint to a wrong option",
        1,
        "the hint, that somebody thinks a wrong option is the answer, does not change what the "
        "question asks",
        "without options",
        _hint,
    ),
}
