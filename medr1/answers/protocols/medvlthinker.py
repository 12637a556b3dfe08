"""MedVLThinker's two rules (UCSC-VLAA/MedVLThinker, commit a3163b1).

`mark` is `extract_answer` and `grade_answer` of eval/run_offline_inference.py. `mark_regrade` is
the looser reading of analysis/regrade_eval_results.py, whose files the tables' notebooks read.

What is unusual in them, and repeated here:

- The answer has to be the letter, the option's text, or "B. text", and nothing else: "B)", "(B)"
  and "B." are wrong.
- Without <answer>, all of the completion is the answer.
- `mark_regrade` takes all after the last "is:" of a line for the answer, where there is no block
  and no "answer:", also from inside <think>.
- Their data have options for every question. A question without options is compared as a text.
"""

from __future__ import annotations

import re

from medr1.answers.protocols.marks import ProtocolMark, ProtocolQuestion
from medr1.answers.protocols.tags import answer_blocks

_CUES = [
    re.compile(cue + r"\s*+(.*)", re.IGNORECASE)
    for cue in ("answer:", "answer is:", "answer is", "is:")
]
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def mark(completion: str, question: ProtocolQuestion) -> ProtocolMark:
    """The mark of a completion by the evaluation script: the first <answer> block.

    Args:
        completion: The text as the model wrote it.
        question: What was asked.
    """
    blocks = answer_blocks(completion)
    return _mark((blocks[0] if blocks else completion).strip(), question)


def mark_regrade(completion: str, question: ProtocolQuestion) -> ProtocolMark:
    """The mark of a completion by the script that grades again: the last block, or after a cue.

    Args:
        completion: The text as the model wrote it.
        question: What was asked.
    """
    text = _regraded(completion.strip())
    for tag in _TAGS:
        text = text.replace(tag, "")
    return _mark(text.strip(), question)


def _regraded(text: str) -> str:
    if blocks := answer_blocks(text):
        return re.split(r"[\n\r]", blocks[-1].strip(), maxsplit=1)[0].strip()
    for cue in _CUES:
        if answers := cue.findall(text):
            return str(answers[-1]).strip()
    return text


def _mark(answer: str, question: ProtocolQuestion) -> ProtocolMark:
    answer, truth = answer.lower(), question.ground_truth
    if not answer:
        return ProtocolMark(None, "empty", 0.0)
    if not question.options:
        return ProtocolMark(answer, "exact", float(answer == truth.strip().lower()))
    is_right = truth in question.options and answer in _forms(truth, question)
    for letter in (truth, *question.options) if is_right else question.options:
        if answer in _forms(letter, question):
            method = "letter" if answer == letter.lower() else "option_text"
            return ProtocolMark(letter, method, float(is_right))
    return ProtocolMark(None, "unparsed", 0.0)


def _forms(letter: str, question: ProtocolQuestion) -> tuple[str, ...]:
    """How an option may be written."""
    text = question.options[letter]
    return f"{letter}. {text}".strip().lower(), letter.lower(), text.strip().lower()
