r"""MedEvalKit's rules (alibaba-damo-academy/MedEvalKit, commit 9b12e3b), also those of Lingshu.

They are `judge_multi_choice`, `judge_judgement`, `judge_close_end_vqa` and `judge_open_end_vqa` in
utils/utils.py, with the extraction of `cal_metrics` in OmniMedVQA.py, VQA_RAD.py and SLAKE.py.

What is unusual in them, and repeated here:

- A multiple-choice answer that is no letter counts as the option with the most similar letters
  (difflib), whatever it says. An empty answer counts as the first option.
- A yes/no answer is right if it contains exactly one of the letter sequences "yes" and "no", and it
  is the right one: "abnormal", "nodule" and "know" contain "no".
- SLAKE writes "Yes" and "No"; such a ground truth is compared with the whole answer, so that "Yes,
  there is" is wrong.
- Blanks before an open answer count: "Answer: pneumonia" is wrong, because " pneumonia" is
  compared. So does a final period.
- The word "boxed" without \boxed{...} makes the answer "None".

Their published tables judge open answers, and all answers of SLAKE, with a language model. That is
not part of these rules: an open answer is right here only if it equals the ground truth.
"""

from __future__ import annotations

from medr1.answers.protocols.marks import ProtocolMark, ProtocolQuestion
from medr1.answers.protocols.similarity import nearest
from medr1.answers.protocols.tags import answer_blocks

_CUES = (
    "**answer**:",
    "**answer**",
    "*answer*:",
    "**answer:**",
    "answer is",
    "answer:",
    "答案:",
    "final answer",
    "final answer is",
)
"""The answer begins after the last of each, in this order."""
_NO_BOX = "None"


def mark(completion: str, question: ProtocolQuestion) -> ProtocolMark:
    """The mark of a completion.

    Args:
        completion: The text as the model wrote it.
        question: What was asked.
    """
    if question.options:
        return _mark_choice(completion, question)
    box = _boxed(completion)
    text = box if box != _NO_BOX else _block(completion)
    truth = question.ground_truth
    if question.answer_type == "yes_no" and truth == truth.lower():
        return _mark_yes_no(text, truth.strip())
    if question.closed:
        text, truth = _final(text).replace("\n", "").replace(".", ""), truth.lower()
    else:
        text, truth = _final(text.strip()), truth.lower().strip()
    if not text:
        return ProtocolMark(None, "empty", 0.0)
    return ProtocolMark(text, "exact", float(text == truth))


def _mark_choice(completion: str, question: ProtocolQuestion) -> ProtocolMark:
    options = list(question.options)
    choices = [f"{letter}. {text}".lower() for letter, text in question.options.items()]
    letters = [chr(ord("a") + place) for place in range(len(choices))]
    truth = question.ground_truth.strip().lower()
    text = _block(completion).lower()
    paragraphs = text.split("\n\n")
    for paragraph in (paragraphs[0], paragraphs[-1].split(".")[0]):
        if paragraph in letters:
            text = paragraph
            break
    text = _final(text).strip().lower().replace("\n", "")
    start = text.split(".")[0].split(":")[-1]
    if start in letters:
        return ProtocolMark(options[letters.index(start)], "letter", float(start == truth))
    place = nearest(choices, text) or 0
    return ProtocolMark(options[place], "nearest_option", float(letters[place] == truth))


def _mark_yes_no(text: str, truth: str) -> ProtocolMark:
    text = _final(text.lower().strip()).replace("\n", "").replace(".", "")
    words = [word for word in ("yes", "no") if word in text]
    if len(words) != 1:
        return ProtocolMark(None, "ambiguous" if words else "unparsed", 0.0)
    return ProtocolMark(words[0], "contains", float(truth in words))


def _final(text: str) -> str:
    """The lower-case text after \\boxed or <answer> and after the cues (their `parse_response`)."""
    text = text.lower()
    text = _boxed(text) if "boxed" in text else _block(text)
    for cue in _CUES:
        text = text.rpartition(cue)[2]
    return text


def _block(text: str) -> str:
    """The contents of all <answer> blocks, joined by blanks; the text if they are empty."""
    return " ".join(answer_blocks(text)).strip() or text


def _boxed(text: str) -> str:
    r"""The content of the last \boxed{...} with balanced braces; "None" without one."""
    _, box, content = text.rpartition(r"\boxed{")
    depth = 0
    for place, character in enumerate(content if box else ""):
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return content[:place].strip()
    return _NO_BOX
