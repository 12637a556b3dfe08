"""Golds that are a count or a measure, held against the numbers of a text."""

from __future__ import annotations

import re
from decimal import Decimal

from medr1.answers.prose.golds import EMPTY
from medr1.answers.prose.outcomes import Outcome
from medr1.answers.prose.reading import Prose, asserting
from medr1.answers.prose.sentences import Sentence
from medr1.answers.prose.terms import Word, is_ordinal, stem, stems, word_set, words_of
from medr1.quantities import parse_quantity

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


def only_number(gold: str) -> int | None:
    numbers = [w.stem for w in words_of(gold) if w.stem.isdigit()]
    return int(numbers[0]) if len(numbers) == 1 else None


def judge_count(number: int, prose: Prose) -> Outcome:
    """The number that the concluding sentence gives, else the first."""
    sentences = [s for s in asserting(prose) if _numbers(s) and not s.generic[0]]
    if not sentences:
        return Outcome.WRONG
    chosen = next((s for s in sentences if s.concluding or s.final), sentences[0])
    numbers = _numbers(chosen)
    if any(chosen.hedged) and len(set(numbers)) > 1:
        return Outcome.WRONG
    return Outcome.RIGHT if numbers[0] == number else Outcome.WRONG


_NUMBERED = stems("rib segment level grade type vertebra zone figure")
"""What has a number for a name: "rib 4"."""


def _numbers(sentence: Sentence) -> list[int]:
    """Numbers that may count something, no ordinals, sizes or levels; -1 for a bound."""
    found = []
    if total := re.search(r"\btotal of (\w+)", sentence.text, re.IGNORECASE):
        return [int(n) for n in [stem(total[1])] if n.isdigit()]
    for i, word in enumerate(sentence.words):
        low = word.raw.lower()
        if i and word.raw.isdigit() and sentence.words[i - 1].stem in _NUMBERED:
            continue
        after = sentence.words[i + 1].raw.lower() if i + 1 < len(sentence.words) else ""
        if low in ("both", "pair", "couple"):
            found.append(2)
        elif low == "single" or (low == "a" and after == "single"):
            found.append(1)
        elif word.stem.isdigit() and after not in _UNITS and not sentence.negated[i]:
            if is_ordinal(low) or (low == "one" and after == "of"):
                continue
            if low == "one" and re.match(r"\W*one (?:on|in) each\b", sentence.text[word.start :]):
                found.append(2)
                continue
            if after in ("/", "x", "\u00d7", "%", "day", "week"):
                continue
            found.append(-1 if _bound(sentence.text, word.start) else int(word.stem))
        elif low in ("no", "none") and i < 3:
            found.append(0)
    return found


_UNITS = word_set("mm cm m ml cc weeks years % percent months year")
_BASE = {"wk": "weeks", "wks": "weeks", "yr": "years", "yrs": "years", "percent": "%"}


def measures(text: str) -> list[tuple[str, tuple[Decimal, ...], str]]:
    """Every measure: (single | range | product, values in the base unit, the unit)."""
    found = []
    for match in _MEASURE.finditer(text):
        first, unit1, joint, second, unit2, third, unit3 = match.groups()
        unit = next((u for u in (unit3, unit2, unit1) if u), "")
        if not unit and (joint or "x") not in ("-", "\u2013", "to"):
            continue  # of numbers without a unit, only a range is a measure
        numbers = [n.replace(",", ".") for n in (first, second, third) if n]
        values = []
        for n, own in zip(numbers, (unit1, unit2, unit3), strict=False):
            its = _BASE.get((own or unit).lower(), (own or unit).lower())
            if its in ("", "hu"):
                values.append((Decimal(n), its))
                continue
            quantity = parse_quantity(f"{n} {its}")
            if quantity is None:
                break
            values.append((quantity.value, quantity.unit))
        if len(values) != len(numbers):
            continue
        shape = (
            "single"
            if not joint
            else "product"
            if joint.lower() in ("x", "\u00d7", "*", "by")
            else "range"
        )
        shape = _bound(text, match.start()) or shape
        sign = text[match.start() - 1 : match.start()]
        if sign == "-" and not text[: match.start() - 1][-1:].strip():
            values[0] = (-values[0][0], values[0][1])
        found.append((shape, tuple(v for v, _ in values), values[0][1]))
    return found


_ABOUT_MEASURE = stems(
    "approximately about around roughly in by x diameter size width length to and mm cm m ml"
    " less more than under over greater smaller larger < > up at least most between"
)


def is_only_measure(gold: str) -> bool:
    """Whether a gold is a measure and nothing else."""
    rest = _MEASURE.sub(" ", gold)
    return all(word.stem in _ABOUT_MEASURE or word.stem in EMPTY for word in words_of(rest))


_BELOW = re.compile(
    r"(?:<|≤|\b(?:less|smaller|fewer) than|\bunder|\bbelow|\bup to|\bat most)\s*$", re.I
)
_ABOVE = re.compile(
    r"(?:>|≥|\b(?:more|greater|larger) than|\bover|\babove|\bat least|\bexceeding)\s*$", re.I
)


def _bound(text: str, start: int) -> str:
    """< or > where a measure is a bound; "" where it is none."""
    before = text[max(0, start - 20) : start]
    return "<" if _BELOW.search(before) else ">" if _ABOVE.search(before) else ""


def _sides(words: list[Word]) -> set[str]:
    return {word.stem for word in words} & {"left", "right"}


def judge_measure(
    gold: tuple[str, tuple[Decimal, ...], str], prose: Prose, question: str
) -> Outcome:
    """The first measure of the gold's unit, in a sentence that is not of the other side."""
    shape, values, unit = gold
    asked = _sides(words_of(question))
    answering = asserting(prose)
    if not any(measures(s.text) for s in answering):
        answering = prose.body  # an impression that says nothing of it
    sentences = [
        s for s in answering if len(asked) != 1 or not (sides := _sides(s.words)) or asked & sides
    ]
    chosen = [s for s in sentences if s.concluding] or sentences
    for sentence in chosen:
        if (sentence.generic and sentence.generic[0]) or all(sentence.hedged[:-1]):
            continue
        for other, stated, its in measures(sentence.text):
            if its != unit and unit:
                continue
            if other == shape and (
                stated == values or (shape == "product" and sorted(stated) == sorted(values))
            ):
                return Outcome.RIGHT
            if shape == "single" and other == "product" and max(stated) == values[0]:
                return Outcome.RIGHT
            return Outcome.WRONG
    return Outcome.WRONG
