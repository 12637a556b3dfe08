"""OmniMedVQA's question-answering score (OpenGVLab/Multi-Modality-Arena, commit bd2999a).

It is `MedicalEval` in MedicalEval/Question-answering_Score/utils/medicalqa.py: the answer is the
option whose text is most similar to the complete completion (difflib).

What is unusual in it, and repeated here:

- Options have no letters in its prompt. An answer "B" is compared with the options' texts.
- Reasoning and tags are compared too, and upper and lower case differ.
- A wrong or empty answer is always one of the options, unless it has no letter in common with them.
- Questions without options are no part of it; they get no mark.
"""

from __future__ import annotations

from medr1.answers.protocols.marks import ProtocolMark, ProtocolQuestion
from medr1.answers.protocols.similarity import nearest


def mark(completion: str, question: ProtocolQuestion) -> ProtocolMark:
    """The mark of a completion.

    Args:
        completion: The text as the model wrote it.
        question: What was asked.
    """
    if not question.options:
        return ProtocolMark(None, "no_rule", None)
    letters, texts = list(question.options), list(question.options.values())
    place = nearest(texts, completion)
    if place is None:
        return ProtocolMark(None, "unparsed" if completion else "empty", 0.0)
    is_right = texts[place] == question.options.get(question.ground_truth)
    method = "option_text" if completion == texts[place] else "nearest_option"
    return ProtocolMark(letters[place], method, float(is_right))
