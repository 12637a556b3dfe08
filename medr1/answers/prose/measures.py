"""Answers whose ground truth is a count or a measure, such as a size or an age."""

from __future__ import annotations

import re
from decimal import Decimal

from medr1.answers.prose.golds import STOP_WORDS
from medr1.answers.prose.outcomes import ProseOutcome
from medr1.answers.prose.reading import Prose, asserting_sentences
from medr1.answers.prose.sentences import Sentence
from medr1.answers.prose.terms import Word, is_ordinal, stem, stems, word_set, words_of
from medr1.text.quantities import parse_quantity

_NUMBER = r"\d+(?:[.,]\d+)?"
_UNIT = (
    r"(?:mm|cm|m|ml|cc|l|mg|g|kg|weeks?|wks?|years?|yrs?|days?|hours?|°|degrees?|%|percent|cm2|cm3"
    r"|mm2|hu)"
)
_MEASURE = re.compile(
    rf"({_NUMBER})\s*({_UNIT})?(?:\s*([x\u00d7*]|-|\u2013|to|and|by)\s*(-?{_NUMBER})\s*({_UNIT})?)?"
    rf"(?:\s*[x\u00d7*]\s*({_NUMBER}))?\s*({_UNIT})?(?![\w/])",
    re.IGNORECASE,
)


def single_number(ground_truth: str) -> int | None:
    """The whole number in a ground truth; None unless there is exactly one."""
    numbers = [word.stem for word in words_of(ground_truth) if word.stem.isdigit()]
    return int(numbers[0]) if len(numbers) == 1 else None


def judge_count(number: int, prose: Prose) -> ProseOutcome:
    """Judge an answer to "How many ...?" by the first number of the sentence that answers.

    That is the first sentence with a number that concludes, or else the first with a number.

    Args:
        number: The right count.
        prose: The answer.
    """
    sentences = [
        sentence
        for sentence in asserting_sentences(prose)
        if _counts_in(sentence) and not sentence.generic[0]
    ]
    if not sentences:
        return ProseOutcome.WRONG
    answering = next(
        (sentence for sentence in sentences if sentence.concluding or sentence.final), sentences[0]
    )
    numbers = _counts_in(answering)
    # "three or possibly four" is no answer
    if any(answering.hedged) and len(set(numbers)) > 1:
        return ProseOutcome.WRONG
    return ProseOutcome.RIGHT if numbers[0] == number else ProseOutcome.WRONG


_NAMED_BY_NUMBER = stems("rib segment level grade type vertebra zone figure")
"""Things that a number names: "rib 4" is not four ribs."""


def _counts_in(sentence: Sentence) -> list[int]:
    """Numbers that may count something, not ordinals, sizes or levels.

    A bound ("more than 4") is -1, so that it equals no count. A stated total is the only count.
    """
    counts = []
    if total := re.search(r"\btotal of (\w+)", sentence.text, re.IGNORECASE):
        return [int(digits) for digits in [stem(total[1])] if digits.isdigit()]
    for i, word in enumerate(sentence.words):
        lower = word.raw.lower()
        if i and word.raw.isdigit() and sentence.words[i - 1].stem in _NAMED_BY_NUMBER:
            continue
        next_word = sentence.words[i + 1].raw.lower() if i + 1 < len(sentence.words) else ""
        if lower in ("both", "pair", "couple"):
            counts.append(2)
        elif lower == "single" or (lower == "a" and next_word == "single"):
            counts.append(1)
        elif word.stem.isdigit() and next_word not in _UNITS and not sentence.negated[i]:
            if is_ordinal(lower) or (lower == "one" and next_word == "of"):
                continue
            if lower == "one" and re.match(r"\W*one (?:on|in) each\b", sentence.text[word.start :]):
                counts.append(2)
                continue
            if next_word in ("/", "x", "\u00d7", "%", "day", "week"):
                continue
            counts.append(-1 if _bound(sentence.text, word.start) else int(word.stem))
        elif lower in ("no", "none") and i < 3:
            counts.append(0)
    return counts


_UNITS = word_set("mm cm m ml cc weeks years % percent months year")
"""Units that show that the number before them counts nothing in the image."""
_UNIT_SPELLINGS = {"wk": "weeks", "wks": "weeks", "yr": "years", "yrs": "years", "percent": "%"}
"""Unit as written -> as `parse_quantity` reads it."""


def measures_in(text: str) -> list[tuple[str, tuple[Decimal, ...], str]]:
    """The measures of a text, in order, each as (shape, values, unit).

    The shape is "single", "range" ("3 to 4 cm"), "product" ("3 x 4 cm"), or "<" or ">" for a
    bound. The values are converted into the base unit of their quantity, which is the unit.
    """
    measures = []
    for match in _MEASURE.finditer(text):
        first, unit1, joiner, second, unit2, third, unit3 = match.groups()
        unit = next((candidate for candidate in (unit3, unit2, unit1) if candidate), "")
        if not unit and (joiner or "x") not in ("-", "\u2013", "to"):
            continue  # of numbers without a unit, only a range is a measure
        numbers = [number.replace(",", ".") for number in (first, second, third) if number]
        values = []
        for number, own_unit in zip(numbers, (unit1, unit2, unit3), strict=False):
            base_unit = _UNIT_SPELLINGS.get((own_unit or unit).lower(), (own_unit or unit).lower())
            if base_unit in ("", "hu"):
                values.append((Decimal(number), base_unit))
                continue
            quantity = parse_quantity(f"{number} {base_unit}")
            if quantity is None:
                break
            values.append((quantity.value, quantity.unit))
        if len(values) != len(numbers):
            continue
        shape = (
            "single"
            if not joiner
            else "product"
            if joiner.lower() in ("x", "\u00d7", "*", "by")
            else "range"
        )
        shape = _bound(text, match.start()) or shape
        sign = text[match.start() - 1 : match.start()]
        # a minus stands after a blank or at the beginning, the dash of "L4-5" after a character
        if sign == "-" and not text[: match.start() - 1][-1:].strip():
            values[0] = (-values[0][0], values[0][1])
        measures.append((shape, tuple(value for value, _ in values), values[0][1]))
    return measures


_ABOUT_MEASURE = stems(
    "approximately about around roughly in by x diameter size width length to and mm cm m ml"
    " less more than under over greater smaller larger < > up at least most between"
)


def is_only_measure(ground_truth: str) -> bool:
    """Whether a ground truth is a measure and nothing else: not "a mass of 3 cm"."""
    rest = _MEASURE.sub(" ", ground_truth)
    return all(word.stem in _ABOUT_MEASURE or word.stem in STOP_WORDS for word in words_of(rest))


_BELOW = re.compile(
    r"(?:<|≤|\b(?:less|smaller|fewer) than|\bunder|\bbelow|\bup to|\bat most)\s*$", re.I
)
_ABOVE = re.compile(
    r"(?:>|≥|\b(?:more|greater|larger) than|\bover|\babove|\bat least|\bexceeding)\s*$", re.I
)


def _bound(text: str, start: int) -> str:
    """Return "<" or ">" if the number at `start` is a bound ("less than 3 cm"), otherwise ""."""
    before = text[max(0, start - 20) : start]
    return "<" if _BELOW.search(before) else ">" if _ABOVE.search(before) else ""


def _sides_in(words: list[Word]) -> set[str]:
    return {word.stem for word in words} & {"left", "right"}


def judge_measure(
    ground_truth: tuple[str, tuple[Decimal, ...], str], prose: Prose, question: str
) -> ProseOutcome:
    """Judge an answer by its first measure that has the unit of the ground truth.

    Sentences about the other side than the question's, in general or in doubt are left out. If
    some of the rest conclude, only those count. The largest value of a product ("3 x 4 cm") also
    answers a question for one size.

    Args:
        ground_truth: The right measure, as `measures_in` returns it.
        prose: The answer.
        question: The question; if it names one side, that side is asked for.
    """
    shape, values, unit = ground_truth
    question_sides = _sides_in(words_of(question))
    answering = asserting_sentences(prose)
    if not any(measures_in(sentence.text) for sentence in answering):
        answering = prose.body  # the impression has no measure, but the findings may have one
    sentences = [
        sentence
        for sentence in answering
        if len(question_sides) != 1
        or not (sentence_sides := _sides_in(sentence.words))
        or question_sides & sentence_sides
    ]
    answering_sentences = [sentence for sentence in sentences if sentence.concluding] or sentences
    for sentence in answering_sentences:
        if (sentence.generic and sentence.generic[0]) or all(sentence.hedged[:-1]):
            continue
        for answer_shape, answer_values, answer_unit in measures_in(sentence.text):
            if answer_unit != unit and unit:
                continue
            if answer_shape == shape and (
                answer_values == values
                or (shape == "product" and sorted(answer_values) == sorted(values))
            ):
                return ProseOutcome.RIGHT
            if shape == "single" and answer_shape == "product" and max(answer_values) == values[0]:
                return ProseOutcome.RIGHT
            return ProseOutcome.WRONG
    return ProseOutcome.WRONG
