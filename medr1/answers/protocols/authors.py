"""Med-R1's own rules, to compare with its published figures: its evaluation scripts and rewards.

Each evaluation script is a protocol here:

authors-vqa       test_*_vqa.py: the word in the first <answer> block, equal to the right letter
authors-nothink   test_*_vqa_nothink.py: the same; the complete output where it has no "answer"
authors-counting  test_qwen2vl_counting_superclevr.py: the integer in the first <answer> block
authors-geometry  test_qwen2vl_geoqa.py: math-verify on the complete output

The authors chose the script for each file by hand; `choose_script` chooses it by the file's ground
truths. Some of their patterns take quadratic time; the patterns here match the same in one pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from medr1.answers.symbolic import verify

_WORD = re.compile(r"<answer>\s*+(\w+)\s*</answer>")
_INTEGER = re.compile(r"<answer>\s*+(\d+)\s*</answer>")
_THINK_TO_ANSWER = re.compile(r"</think>\s*+<answer>")
_OPEN, _CLOSE = "<answer>", "</answer>"


@dataclass(frozen=True)
class ScriptChoice:
    """The protocol that judges a file, and why."""

    protocol: str
    """One of SCRIPTS; for any protocol but `authors`, the protocol itself."""
    reason: str
    """Why this protocol, as the end of a sentence: "all ground truths are letters"."""


def choose_script(ground_truths: Iterable[str]) -> ScriptChoice:
    """The script for a file: counting for integers, VQA for letters, geometry for all else."""
    texts = [ground_truth.strip() for ground_truth in ground_truths]
    if texts and all(_is_integer(text) for text in texts):
        return ScriptChoice("authors-counting", "all ground truths are integers")
    if texts and all(re.fullmatch("[A-Z]", text) for text in texts):
        return ScriptChoice("authors-vqa", "all ground truths are letters")
    return ScriptChoice(
        "authors-geometry", "the ground truths are neither all integers nor all letters"
    )


def _is_integer(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,300}", text))


def extract_answer(completion: str, script: str) -> str | None:
    """The answer that a script extracts from a completion.

    Args:
        completion: The text as the model wrote it.
        script: One of SCRIPTS.

    Returns:
        The answer; None if the script's pattern does not match.
    """
    if script == "authors-geometry" or (script == "authors-nothink" and "answer" not in completion):
        return completion
    match = (_INTEGER if script == "authors-counting" else _WORD).search(completion)
    return match[1] if match else None


def is_correct(answer: str | None, ground_truth: str, script: str) -> bool | None:
    """Whether a script counts an answer as right.

    Args:
        answer: What `extract_answer` returned for the same script.
        ground_truth: The right answer, without white space around it.
        script: One of SCRIPTS.

    Returns:
        The script's verdict; None for formulas that are too large to compare.
    """
    if answer is None:
        return False
    if script == "authors-geometry":
        return verify(answer, ground_truth)
    if script == "authors-counting":
        # as many digits as _is_integer allows: int() raises an error from 4,301 digits on
        return len(answer) <= 300 and _is_integer(ground_truth) and int(answer) == int(ground_truth)
    return answer == ground_truth


def _first_answer(text: str) -> str | None:
    r"""The first match of r"<answer>(.*?)</answer>", whose dot matches no line break."""
    for line in text.split("\n"):
        start = line.find(_OPEN)
        end = line.find(_CLOSE, start + len(_OPEN)) if start >= 0 else -1
        if end >= 0:
            return line[start + len(_OPEN) : end]
    return None


def authors_reward(completion: str, solution: str) -> float | None:
    """The accuracy reward of Med-R1's training (its function `accuracy_reward`).

    Args:
        completion: The complete text that the model wrote.
        solution: The right answer as the data set writes it, such as "<answer> C </answer>".

    Returns:
        1.0 if math-verify finds both texts equal, or if the contents of their first <answer> blocks
        are equal (the complete text, if it has no block); else 0.0. None if the contents differ and
        the texts are formulas that are too large to compare.
    """
    equal = verify(completion, solution)
    if equal:
        return 1.0
    blocks = [_first_answer(text) for text in (completion, solution)]
    answer, ground_truth = (
        (text if block is None else block).strip()
        for block, text in zip(blocks, (completion, solution), strict=True)
    )
    return 1.0 if answer == ground_truth else None if equal is None else 0.0


def authors_format(completion: str, nothink: bool = False) -> float:
    r"""The format reward of Med-R1's training (its function `format_reward`).

    Args:
        completion: The complete text that the model wrote.
        nothink: Whether the prompt asks for no reasoning.

    Returns:
        1.0 if all of the text matches <think>.*?</think>\s*<answer>.*?</answer> with DOTALL, or
        \s*<answer>.*?</answer> with `nothink`; else 0.0.
    """
    if nothink:
        completion = completion.lstrip()
        min_length = len(_OPEN + _CLOSE)
        return float(
            len(completion) >= min_length
            and completion.startswith(_OPEN)
            and completion.endswith(_CLOSE)
        )
    separator = _THINK_TO_ANSWER.search(completion, len("<think>"))
    return float(
        completion.startswith("<think>")
        and completion.endswith(_CLOSE)
        and separator is not None
        and separator.end() <= len(completion) - len(_CLOSE)
    )
