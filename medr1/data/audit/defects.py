"""Defects of the items of one file: unusable items, duplicate options, damaged text, repetitions.

Leaks between two files are found in `leakage`; both are reported as `AuditFinding`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from medr1.data.audit.blind import answerable, normalized_option, normalized_question
from medr1.data.readers import Questions
from medr1.documents.audit import LetterBalance
from medr1.records import Sample

DEFECTS = {
    "answer_not_in_options": "the right answer is not one of the options",
    "no_ground_truth": "there is no right answer",
    "unusable_item": "the item is empty or cannot be read",
    "duplicate_options": "two options are the same",
    "duplicate_options_by_case": "two options differ in upper and lower case alone",
    "encoding_damage": "text that was read in the wrong encoding",
    "two_ground_truths": "the same image and question with two right answers",
    "duplicate_item": "the same image, question, options and answer as an earlier item",
    "missing_image": "there is no such image",
    "corrupt_image": "the image cannot be decoded",
}
"""Kind of defect -> what it means. A count is of items: an item counts once for each kind."""


@dataclass(frozen=True)
class AuditFinding:
    """A defect or a leak of one item."""

    kind: str
    """A key of DEFECTS or of leakage.LEAKS."""
    index: int
    """The item's position in its file, from 0."""
    detail: str
    """What exactly is wrong, in a few words; may be empty."""
    other_file: str = ""
    """The file of the other item, for a leak; "" where the other item is in the same file."""
    other_index: int | None = None
    """The position of the other item, from 0: the leaked training item, the earlier duplicate."""


def find_defects(questions: Questions) -> list[AuditFinding]:
    """Every defect that shows in the texts of a file, in the order of its items.

    Images are not opened here; `document` adds their defects.
    """
    findings = [
        *_unusable_items(questions),
        *(
            finding
            for i, sample in enumerate(questions.samples)
            for finding in _text_defects(i, sample)
        ),
        *_contradictions_and_duplicates(questions.samples),
    ]
    return sorted(findings, key=lambda finding: finding.index)


def _unusable_items(questions: Questions) -> Iterator[AuditFinding]:
    """Items that the reader refused, and items without a right answer."""
    # An item whose answer is no option is refused by the reader too, but is a defect of its own.
    for index, failure in questions.failures.items():
        has_options = failure.code == "bad_ground_truth" and questions.samples[index].options
        kind = "answer_not_in_options" if has_options else "unusable_item"
        yield AuditFinding(kind, index, failure.message)
    for index, sample in enumerate(questions.samples):
        if sample.ground_truth is None and index not in questions.failures:
            yield AuditFinding("no_ground_truth", index, "")


def _text_defects(index: int, sample: Sample) -> Iterator[AuditFinding]:
    """Duplicate options and encoding damage of one item, each at most once."""
    for kind, duplicates in (
        ("duplicate_options", _duplicate_options(sample.options, str)),
        ("duplicate_options_by_case", _duplicate_options(sample.options, str.casefold)),
    ):
        # Options that are equal are also equal without case: only the first kind is reported.
        if duplicates:
            detail = "; ".join(
                f"{' = '.join(letters)}: {text}" for text, letters in duplicates.items()
            )
            yield AuditFinding(kind, index, detail)
            break
    prompt = (sample.conversation, *sample.options.values())
    texts = (*prompt, sample.ground_truth or "", *sample.images)
    if damage := next(filter(None, map(encoding_damage, texts)), ""):
        yield AuditFinding("encoding_damage", index, damage)


def _duplicate_options(
    options: Mapping[str, str], form: Callable[[str], str]
) -> dict[str, list[str]]:
    """Option text -> the letters of the options that are equal to it under the function `form`.

    {"A": "Yes", "B": "yes", "C": "no"} under str.casefold -> {"Yes": ["A", "B"]}
    """
    letters: dict[str, list[str]] = defaultdict(list)
    for letter, text in options.items():
        letters[form(text)].append(letter)
    if len(letters) == len(options):
        return {}
    return {options[equal[0]]: equal for equal in letters.values() if len(equal) > 1}


_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]{2,}")
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#\d{1,6}|#x[0-9a-fA-F]{1,5});")


def encoding_damage(text: str) -> str:
    """What shows that a text was read in the wrong encoding, in words; "" for a sound text.

    Four signs: the replacement character; UTF-8 that was read as Windows-1252 or Latin-1 ("Â°" for
    "°"); control characters; HTML entities.
    """
    if text.isascii() and text.isprintable() and "&" not in text:
        return ""
    if "\ufffd" in text:
        return "a replacement character (U+FFFD)"
    # "Â°" in cp1252 is the bytes C2 B0, and these are valid UTF-8 for "°". Text that was read
    # correctly almost never turns into valid UTF-8 this way.
    for run in _BEYOND_ASCII.findall(text):
        for encoding in ("cp1252", "latin-1"):
            try:
                repaired = run.encode(encoding).decode("utf-8")
            except UnicodeError:
                continue
            return f"{run[:20]!r} in place of {repaired[:20]!r}"
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs", "Co") and character not in "\t\n\r":
            return f"a control or private character (U+{ord(character):04X})"
    if entity := _ENTITY.search(text):
        return f"an HTML entity ({entity[0]})"
    return ""


def _contradictions_and_duplicates(samples: Sequence[Sample]) -> Iterator[AuditFinding]:
    """Items that ask the same of the same image: with different right answers, or twice alike."""
    by_question: dict[tuple[tuple[str, ...], str], list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        if sample.images and sample.question:
            question = normalized_question(sample.conversation)
            by_question[sample.images, question].append(index)
    for members in by_question.values():
        if len(members) < 2:
            continue
        # Answers are compared as texts: the same text may have another letter in each item.
        by_answer: dict[str, list[int]] = defaultdict(list)
        for index in members:
            if (text := ground_truth_text(samples[index])) is not None:
                by_answer[normalized_option(text)].append(index)
        if len(by_answer) > 1:
            for answer, indices in by_answer.items():
                contrary = ", ".join(repr(text[:60]) for text in by_answer if text != answer)
                for index in indices:
                    contrary_item = next(
                        i for text, at in by_answer.items() if text != answer for i in at
                    )
                    detail = f"{answer[:60]!r}, elsewhere {contrary}"
                    yield AuditFinding("two_ground_truths", index, detail, "", contrary_item)
        yield from _duplicate_items(samples, members)


def _duplicate_items(samples: Sequence[Sample], members: Iterable[int]) -> Iterator[AuditFinding]:
    """Of these items, those with question, options and answer of an earlier one."""
    first: dict[tuple[str, tuple[tuple[str, str], ...], str | None], int] = {}
    for index in members:
        sample = samples[index]
        key = (sample.conversation, tuple(sorted(sample.options.items())), sample.ground_truth)
        earlier = first.setdefault(key, index)
        if earlier != index:
            detail = f"the same as item {earlier + 1}"
            yield AuditFinding("duplicate_item", index, detail, "", earlier)


def ground_truth_text(sample: Sample) -> str | None:
    """The right answer as text: with options, the text of the right one; None where unknown."""
    if sample.ground_truth is None or not sample.options:
        return sample.ground_truth
    return sample.options.get(sample.ground_truth)


def option_counts(samples: Iterable[Sample]) -> dict[str, int]:
    """How many items have how many options: {"2": 294, "4": 1012}; "0" is without options."""
    counts = Counter(len(sample.options) for sample in samples)
    return {str(size): counts[size] for size in sorted(counts)}


def letter_balance(samples: Iterable[Sample]) -> tuple[dict[str, int], LetterBalance]:
    """How often each letter is right, and a chi-squared test that all are equally frequent.

    Items with two options have A and B alone, which would make these letters look preferred. The
    statistic is therefore computed separately for each number of options; the statistics and their
    degrees of freedom are then added.

    Returns:
        Letter -> number of items; and the test, with None where nothing can be tested.
    """
    from scipy.stats import chi2

    by_size: dict[int, Counter[str]] = defaultdict(Counter)
    for sample in answerable(samples):
        by_size[len(sample.options)][sample.ground_truth or ""] += 1
    letters: Counter[str] = Counter()
    statistic, degrees_of_freedom = 0.0, 0
    # With items of n options each letter is expected in 1/n of them: n - 1 degrees of freedom.
    for size, counts in by_size.items():
        letters.update(counts)
        expected = counts.total() / size
        observed = [counts[letter] for letter in "ABCDEFGH"[:size]]
        statistic += sum((n - expected) ** 2 / expected for n in observed)
        degrees_of_freedom += size - 1
    test = LetterBalance(chi2=None, df=0, p=None)
    if degrees_of_freedom:
        p = float(chi2.sf(statistic, degrees_of_freedom))
        test = LetterBalance(chi2=statistic, df=degrees_of_freedom, p=p)
    return {letter: letters[letter] for letter in sorted(letters)}, test
