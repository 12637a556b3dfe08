"""Options and ground truths as Med-R1's published files write them.

A question is "stem A)x, B)y", a ground truth "<answer> C </answer>".
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from medr1.answers.blocks import find_blocks
from medr1.records import LETTERS
from medr1.text.quantities import is_number

MAX_CHARACTERS = 20_000
"""A longer text is not searched for options; the longest published question has 937 characters."""

_INLINE = re.compile(r"(?:^|(?<=\s))A\)|(?:[,;]\s|\n)[ \t]{0,8}([B-H])\)")
_LINES = re.compile(r"^[ \t]{0,8}([A-H])[.)]\s", re.MULTILINE)
_TYPED = tuple(
    re.compile(rf"(?:^|(?<=[\s,;/|])){mark}")
    for mark in (r"\(([A-H])\)", r"([A-H])\)", r"([A-H])[.:](?=\s)")
)
"""The marks of options as people type them, one style each: "(A)", "A)", and "A." or "A: "."""


def _unmatched_brackets(text: str) -> set[int]:
    """The positions of each ")" that closes no "(": the one of "A)", not the one of "(IQA)"."""
    depth, positions = 0, set()
    for match in re.finditer(r"[()]", text):
        if match[0] == "(":
            depth += 1
        elif depth:
            depth -= 1
        else:
            positions.add(match.start())
    return positions


def _chain(marks: list[re.Match[str]]) -> list[re.Match[str]]:
    """The marks A, B, C ... that follow each other; the A is the last one before the B.

    An earlier "A)" may belong to the stem.
    """
    chain: list[re.Match[str]] = []
    for mark in marks:
        letter = mark[1] or "A"
        if letter == "A" and len(chain) <= 1:
            chain = [mark]
        elif chain and len(chain) < len(LETTERS) and letter == LETTERS[len(chain)]:
            chain.append(mark)
    return chain


def _split(problem: str, chain: list[re.Match[str]]) -> tuple[str, dict[str, str]] | None:
    """The stem and the options between the marks; None if there are fewer than two options."""
    if len(chain) < 2:
        return None
    ends = [mark.start() for mark in chain[1:]] + [len(problem)]
    option_texts = [
        problem[mark.end() : end].strip() for mark, end in zip(chain, ends, strict=True)
    ]
    if not all(option_texts):
        return None
    return problem[: chain[0].start()].strip(), dict(zip(LETTERS, option_texts, strict=False))


def parse_problem(problem: str) -> tuple[str, dict[str, str]]:
    """The stem and the options of a question: "stem A)x, B)y" -> ("stem", {"A": "x", "B": "y"}).

    There are 2 to 8 options, consecutive from A; those after A follow ", ", "; " or a line break.
    Their texts may contain commas and brackets: "(IQA)" is no option. "A. x" is an option if it
    begins a line. Without options: the text and {}.

    If that finds no options, "(A) x (B) y", "A) x B) y" and "A. x / B. y" are options too, where A
    follows the end of a sentence, a colon or a line break, and no option has a question mark.
    """
    if len(problem) > MAX_CHARACTERS:
        return problem.strip(), {}
    marks = list(_INLINE.finditer(problem))
    if "(" in problem:
        unmatched = _unmatched_brackets(problem)
        closing = [mark for mark in marks if mark.end() - 1 in unmatched]
        if parts := _split(problem, _chain(closing)):
            return parts
    if parts := _split(problem, _chain(marks)):
        return parts
    if "\n" in problem and (parts := _split(problem, _chain(list(_LINES.finditer(problem))))):
        return parts
    for style in _TYPED:
        if parts := _split_typed(problem, _chain(list(style.finditer(problem)))):
            return parts
    return problem.strip(), {}


def _split_typed(problem: str, chain: list[re.Match[str]]) -> tuple[str, dict[str, str]] | None:
    """As `_split`, for marks that may also stand in a sentence; None if they seem to."""
    parts = _split(problem, chain)
    if not parts:
        return None
    stem, options = parts
    texts = [text.rstrip(" \t\n,;/|") for text in options.values()]
    if (stem and stem[-1] not in ".?!:") or not all(texts) or any("?" in text for text in texts):
        return None
    return stem, dict(zip(LETTERS, texts, strict=False))


def parse_solution(solution: str) -> str:
    """The ground truth of a published file: "<answer> C </answer>" -> "C"; without tags, as is."""
    if "<" not in solution:
        return solution.strip()
    blocks = find_blocks(solution)
    answers = blocks.final_answers or blocks.answers_before_think
    return answers[0].strip() if answers else solution.strip()


def answer_type_of(ground_truth: str | None, options: Mapping[str, str]) -> str:
    """The answer type of a question that does not state it, one of `records.ANSWER_TYPES`.

    Args:
        ground_truth: The right answer, which decides if there are no options. One letter is a
            multiple choice whose options are not known; None and "" are open.
        options: Letter -> text of the option.
    """
    ground_truth = (ground_truth or "").strip()
    if options or (len(ground_truth) == 1 and ground_truth in LETTERS):
        return "multiple_choice"
    if ground_truth.casefold().rstrip(".") in ("yes", "no"):
        return "yes_no"
    return "count" if is_number(ground_truth) else "open"
