"""Options and gold answers as the published splits write them: `stem A)x, B)y`, `<answer> C`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from medr1.answers.blocks import find_blocks
from medr1.quantities import is_number
from medr1.records import LETTERS

LONGEST = 20_000
"""A text of more characters is no question with options; the longest published one has 937."""

_INLINE = re.compile(r"(?:^|(?<=\s))A\)|(?:[,;]\s|\n)[ \t]{0,8}([B-H])\)")
_LINES = re.compile(r"^[ \t]{0,8}([A-H])[.)]\s", re.MULTILINE)


def _unmatched_brackets(text: str) -> set[int]:
    """Where a ")" closes no "(": as in "A)", not as in "(IQA)"."""
    depth, found = 0, set()
    for match in re.finditer(r"[()]", text):
        if match[0] == "(":
            depth += 1
        elif depth:
            depth -= 1
        else:
            found.add(match.start())
    return found


def _chain(marks: list[re.Match[str]]) -> list[re.Match[str]]:
    """The marks A, B, C ... that follow each other; the A is the last one before the B."""
    chain: list[re.Match[str]] = []
    for mark in marks:
        letter = mark[1] or "A"
        if letter == "A" and len(chain) <= 1:
            chain = [mark]
        elif chain and len(chain) < len(LETTERS) and letter == LETTERS[len(chain)]:
            chain.append(mark)
    return chain


def _split(problem: str, chain: list[re.Match[str]]) -> tuple[str, dict[str, str]] | None:
    """The stem and the options that the marks delimit; None unless there are two or more."""
    if len(chain) < 2:
        return None
    ends = [mark.start() for mark in chain[1:]] + [len(problem)]
    texts = [problem[m.end() : end].strip() for m, end in zip(chain, ends, strict=True)]
    if not all(texts):
        return None
    return problem[: chain[0].start()].strip(), dict(zip(LETTERS, texts, strict=False))


def parse_problem(problem: str) -> tuple[str, dict[str, str]]:
    """The stem and the options of a published text: "stem A)x, B)y" -> ("stem", {"A": "x", ...}).

    Options are consecutive from A, 2 to 8, after ", ", "; " or a line break; texts may contain
    commas and brackets ("(IQA)" is no option). `A. x` is read where each stands on its own line.
    {} where there are none.
    """
    if len(problem) > LONGEST:
        return problem.strip(), {}
    marks = list(_INLINE.finditer(problem))
    if "(" in problem:
        unmatched = _unmatched_brackets(problem)
        closing = [mark for mark in marks if mark.end() - 1 in unmatched]
        if found := _split(problem, _chain(closing)):
            return found
    if found := _split(problem, _chain(marks)):
        return found
    if "\n" in problem and (found := _split(problem, _chain(list(_LINES.finditer(problem))))):
        return found
    return problem.strip(), {}


def parse_solution(solution: str) -> str:
    """What the gold's tag holds: "<answer> C </answer>" -> "C"; without a tag the text itself."""
    if "<" not in solution:
        return solution.strip()
    blocks = find_blocks(solution)
    answers = blocks.tail or blocks.before
    return answers[0].strip() if answers else solution.strip()


def answer_type_of(ground_truth: str | None, options: Mapping[str, str]) -> str:
    """multiple_choice | yes_no | count | open, by the gold where there are no options.

    A gold that is one letter is multiple choice whose options were not given.
    """
    gold = (ground_truth or "").strip()
    if options or (len(gold) == 1 and gold in LETTERS):
        return "multiple_choice"
    if gold.casefold().rstrip(".") in ("yes", "no"):
        return "yes_no"
    return "count" if is_number(gold) else "open"
