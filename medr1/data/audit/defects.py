"""What is wrong with the items of one file by themselves, each with the place where it stands."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medr1.data.audit.blind import answerable, normal_option, normal_question
from medr1.data.readers import Questions
from medr1.records import Sample

DEFECTS = {
    "answer_not_in_options": "the gold answer is not one of the options",
    "no_answer": "there is no gold answer",
    "unusable_item": "the item is empty or cannot be read",
    "duplicate_options": "two options are the same",
    "duplicate_options_by_case": "two options differ in upper and lower case alone",
    "encoding_damage": "text that went through the wrong encoding",
    "two_golds": "the same image and question with two gold answers",
    "duplicate_item": "the same image, question, options and answer as an earlier item",
    "missing_image": "there is no such image",
    "corrupt_image": "the image cannot be decoded",
}
"""Kind of defect -> what it means. An item may have several; each counts items, once a kind."""


@dataclass(frozen=True)
class Finding:
    """One item of a file, and what was found there."""

    kind: str
    index: int
    detail: str
    other_file: str = ""
    """For a leak: the file of the other item, and its index there."""
    other: int | None = None


def find_defects(questions: Questions) -> list[Finding]:
    """Every defect that the texts of a file show, in the file's order."""
    found = [
        *_unusable(questions),
        *(f for i, sample in enumerate(questions.samples) for f in _of_one(i, sample)),
        *_against_each_other(questions.samples),
    ]
    return sorted(found, key=lambda finding: finding.index)


def _unusable(questions: Questions) -> Iterator[Finding]:
    for index, failure in questions.failures.items():
        gold = failure.code == "bad_ground_truth" and questions.samples[index].options
        kind = "answer_not_in_options" if gold else "unusable_item"
        yield Finding(kind, index, failure.message)
    for index, sample in enumerate(questions.samples):
        if sample.ground_truth is None and index not in questions.failures:
            yield Finding("no_answer", index, "")


def _of_one(index: int, sample: Sample) -> Iterator[Finding]:
    for kind, same in (
        ("duplicate_options", _alike(sample.options, str)),
        ("duplicate_options_by_case", _alike(sample.options, str.casefold)),
    ):
        if same:
            said = "; ".join(f"{' = '.join(letters)}: {text}" for text, letters in same.items())
            yield Finding(kind, index, said)
            break
    texts = (sample.question, *sample.options.values(), sample.ground_truth or "", *sample.images)
    if damage := next(filter(None, map(encoding_damage, texts)), ""):
        yield Finding("encoding_damage", index, damage)


def _alike(options: Mapping[str, str], form: Any) -> dict[str, list[str]]:
    """Text -> the letters of the options that are the same in this form, where there are two."""
    letters: dict[str, list[str]] = defaultdict(list)
    for letter, text in options.items():
        letters[form(text)].append(letter)
    if len(letters) == len(options):
        return {}
    return {options[found[0]]: found for found in letters.values() if len(found) > 1}


_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]{2,}")
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#\d{1,6}|#x[0-9a-fA-F]{1,5});")


def encoding_damage(text: str) -> str:
    """What in a text shows that it went through the wrong encoding; "" where nothing does.

    The replacement character; UTF-8 that was read as Windows-1252 or Latin-1 ("Â°" for "°"), which
    is told by its turning back into valid UTF-8; control characters; HTML's entities.
    """
    if text.isascii() and text.isprintable() and "&" not in text:
        return ""
    if "\ufffd" in text:
        return "a replacement character (U+FFFD)"
    for run in _BEYOND_ASCII.findall(text):
        for encoding in ("cp1252", "latin-1"):
            try:
                meant = run.encode(encoding).decode("utf-8")
            except UnicodeError:
                continue
            return f"{run[:20]!r} where {meant[:20]!r} was meant"
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs", "Co") and character not in "\t\n\r":
            return f"a control or private character (U+{ord(character):04X})"
    if entity := _ENTITY.search(text):
        return f"an HTML entity ({entity[0]})"
    return ""


def _against_each_other(samples: Sequence[Sample]) -> Iterator[Finding]:
    """Of items on the same image with the same question: other gold answers, and repetitions."""
    asked: dict[tuple[tuple[str, ...], str], list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        if sample.images and sample.question:
            asked[sample.images, normal_question(sample.question)].append(index)
    for members in asked.values():
        if len(members) < 2:
            continue
        golds: dict[str, list[int]] = defaultdict(list)
        for index in members:
            if (text := gold_text(samples[index])) is not None:
                golds[normal_option(text)].append(index)
        if len(golds) > 1:
            for gold, places in golds.items():
                others = ", ".join(repr(other[:60]) for other in golds if other != gold)
                for index in places:
                    other = next(i for o, at in golds.items() if o != gold for i in at)
                    yield Finding(
                        "two_golds", index, f"{gold[:60]!r}, elsewhere {others}", "", other
                    )
        yield from _repeated(samples, members)


def _repeated(samples: Sequence[Sample], members: Iterable[int]) -> Iterator[Finding]:
    first: dict[Any, int] = {}
    for index in members:
        sample = samples[index]
        key = (sample.question, tuple(sorted(sample.options.items())), sample.ground_truth)
        earlier = first.setdefault(key, index)
        if earlier != index:
            yield Finding("duplicate_item", index, f"the same as item {earlier + 1}", "", earlier)


def gold_text(sample: Sample) -> str | None:
    """The gold answer as text: the option's where there are options; None where it is not known."""
    if sample.ground_truth is None or not sample.options:
        return sample.ground_truth
    return sample.options.get(sample.ground_truth)


def option_counts(samples: Iterable[Sample]) -> dict[str, int]:
    """How many items have how many options: {"2": 294, "4": 1012}; without any, "0"."""
    counts = Counter(len(sample.options) for sample in samples)
    return {str(size): counts[size] for size in sorted(counts)}


def letter_balance(samples: Iterable[Sample]) -> tuple[dict[str, int], dict[str, Any]]:
    """How often each letter is gold, and a chi-squared test of their being equally frequent.

    Items are compared with those of as many options; the statistics of the sizes are added, as are
    their degrees of freedom, so that items with two options do not make A and B look preferred.
    """
    from scipy.stats import chi2

    by_size: dict[int, Counter[str]] = defaultdict(Counter)
    for sample in answerable(samples):
        by_size[len(sample.options)][sample.ground_truth or ""] += 1
    letters: Counter[str] = Counter()
    statistic, freedom = 0.0, 0
    for size, counts in by_size.items():
        letters.update(counts)
        expected = counts.total() / size
        seen = [counts[letter] for letter in "ABCDEFGH"[:size]]
        statistic += sum((n - expected) ** 2 / expected for n in seen)
        freedom += size - 1
    tested: dict[str, Any] = {"chi2": None, "df": 0, "p": None}
    if freedom:
        p = float(chi2.sf(statistic, freedom))
        tested = {"chi2": statistic, "df": freedom, "p": p}
    return {letter: letters[letter] for letter in sorted(letters)}, tested
