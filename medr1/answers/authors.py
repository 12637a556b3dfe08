"""Med-R1's own rules, for comparing with its figures: its evaluation, its reward, its format.

From grpo_vqa.py, test_*_vqa.py and the counting and geometry scripts of R1-V that it grew from
(reference original.md 1.3, 1.7). Where its patterns are quadratic, these find the same in one pass.
"""

from __future__ import annotations

import re

from medr1.answers.symbolic import verify

_WORD = re.compile(r"<answer>\s*+(\w+)\s*</answer>")
_INTEGER = re.compile(r"<answer>\s*+(\d+)\s*</answer>")
_THINK_TO_ANSWER = re.compile(r"</think>\s*+<answer>")
_OPEN, _CLOSE = "<answer>", "</answer>"


def kind_of(gold: str) -> str:
    """letter | integer | math: which of their scripts judges such a gold."""
    if len(gold) == 1 and gold.isascii() and gold.isalpha():
        return "letter"
    return "integer" if re.fullmatch(r"\d{1,300}", gold) else "math"


def extracted(output: str, kind: str, nothink: bool = False) -> str | None:
    """What their evaluation takes as the answer; their no-think script looks for a tag only where
    the output contains "answer"."""
    if nothink:
        if "answer" not in output:
            return output
        kind = "letter"
    if kind == "math":
        return output
    match = (_WORD if kind == "letter" else _INTEGER).search(output)
    return match[1] if match else None


def is_correct(output: str, answer: str | None, gold: str, protocol: str) -> bool:
    """Their evaluation's verdict on what it extracted."""
    kind = kind_of(gold)
    if answer is None:
        return False
    if kind == "letter" or protocol == "authors-nothink":
        return answer == gold
    if kind == "integer":
        return len(answer) <= 300 and int(answer) == int(gold)
    return verify(output, gold)


def _first_answer(text: str) -> str | None:
    r"""The first match of r"<answer>(.*?)</answer>", whose dot matches no line break."""
    for line in text.split("\n"):
        start = line.find(_OPEN)
        end = line.find(_CLOSE, start + len(_OPEN)) if start >= 0 else -1
        if end >= 0:
            return line[start + len(_OPEN) : end]
    return None


def authors_reward(output: str, solution: str) -> float:
    """Their accuracy_reward: math-verify on the whole texts, else equality of the first tags."""
    if verify(output, solution):
        return 1.0
    texts = [_first_answer(text) for text in (output, solution)]
    stated, gold = (
        (whole if text is None else text).strip()
        for text, whole in zip(texts, (output, solution), strict=True)
    )
    return float(stated == gold)


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
