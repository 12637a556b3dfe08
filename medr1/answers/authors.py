"""Med-R1's own rules, for comparing with its figures: its evaluation, its reward, its format.

Its scripts, each a protocol here:

authors-vqa       test_*_vqa.py: the word in the first <answer>, equal to the gold's letter
authors-nothink   test_*_vqa_nothink.py: the same where the output has "answer", else all of it
authors-counting  test_qwen2vl_counting_superclevr.py: the integer in the first <answer>
authors-geometry  test_qwen2vl_geoqa.py: math-verify on the whole output

Which script judged a file, the authors chose by hand; `choose` does it by the file's golds. Where
their patterns are quadratic, these find the same in one pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from medr1.answers.symbolic import verify

SCRIPTS = ("authors-counting", "authors-geometry", "authors-vqa", "authors-nothink")

_WORD = re.compile(r"<answer>\s*+(\w+)\s*</answer>")
_INTEGER = re.compile(r"<answer>\s*+(\d+)\s*</answer>")
_THINK_TO_ANSWER = re.compile(r"</think>\s*+<answer>")
_OPEN, _CLOSE = "<answer>", "</answer>"


@dataclass(frozen=True)
class Choice:
    """The script that a file's golds ask for, and why."""

    protocol: str
    """One of SCRIPTS."""
    reason: str


def choose(golds: Iterable[str]) -> Choice:
    """The script for a whole file: counting, VQA, or else geometry, whatever its golds are."""
    texts = [gold.strip() for gold in golds]
    if texts and all(_is_integer(text) for text in texts):
        return Choice("authors-counting", "all golds are integers")
    if texts and all(re.fullmatch("[A-Z]", text) for text in texts):
        return Choice("authors-vqa", "all golds are letters")
    return Choice("authors-geometry", "the golds are neither all integers nor all letters")


def _is_integer(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,300}", text))


def extracted(output: str, script: str) -> str | None:
    """What one of SCRIPTS takes as the answer; None where its pattern finds nothing."""
    if script == "authors-geometry" or (script == "authors-nothink" and "answer" not in output):
        return output
    match = (_INTEGER if script == "authors-counting" else _WORD).search(output)
    return match[1] if match else None


def is_correct(answer: str | None, gold: str, script: str) -> bool | None:
    """The script's verdict on what it extracted; None for a formula too large to compare."""
    if answer is None:
        return False
    if script == "authors-geometry":
        return verify(answer, gold)
    if script == "authors-counting":
        return len(answer) <= 300 and _is_integer(gold) and int(answer) == int(gold)
    return answer == gold


def _first_answer(text: str) -> str | None:
    r"""The first match of r"<answer>(.*?)</answer>", whose dot matches no line break."""
    for line in text.split("\n"):
        start = line.find(_OPEN)
        end = line.find(_CLOSE, start + len(_OPEN)) if start >= 0 else -1
        if end >= 0:
            return line[start + len(_OPEN) : end]
    return None


def authors_reward(output: str, solution: str) -> float | None:
    """Their accuracy_reward: math-verify on the whole texts, else equality of the first tags; None
    where the tags differ and the texts are formulas too large to compare."""
    equal = verify(output, solution)
    if equal:
        return 1.0
    texts = [_first_answer(text) for text in (output, solution)]
    stated, gold = (
        (whole if text is None else text).strip()
        for text, whole in zip(texts, (output, solution), strict=True)
    )
    return 1.0 if stated == gold else None if equal is None else 0.0


def authors_format(output: str, nothink: bool = False) -> float:
    r"""Their format_reward: fullmatch of <think>.*?</think>\s*<answer>.*?</answer> with DOTALL, or
    of \s*<answer>.*?</answer>."""
    if nothink:
        output = output.lstrip()
        shortest = len(_OPEN + _CLOSE)
        return float(
            len(output) >= shortest and output.startswith(_OPEN) and output.endswith(_CLOSE)
        )
    between = _THINK_TO_ANSWER.search(output, len("<think>"))
    return float(
        output.startswith("<think>")
        and output.endswith(_CLOSE)
        and between is not None
        and between.end() <= len(output) - len(_CLOSE)
    )
