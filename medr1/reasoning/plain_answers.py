"""What a reasoning concludes on a question without options: yes or no, a number, or a text."""

from __future__ import annotations

import re

from medr1.answers.findings import claim_differences
from medr1.answers.prose.mentions import mentions_of
from medr1.answers.prose.polarity import read_polarity
from medr1.answers.prose.propositions import parse_question
from medr1.answers.prose.terms import words_of
from medr1.reasoning.options import Conclusion, valid_sentences
from medr1.text.quantities import number_text, parse_number

_STATED_YES_NO = re.compile(
    r"\b(?:answer|conclusion) (?:is|should be|would be|must be)\s*:?\s*[\"'*]*(yes|no)\b"
    r"|\b(?:so|hence|thus|therefore),?\s+(yes|no)\b(?=\s*(?:[.,;!]|$))",
    re.IGNORECASE,
)
_NUMBER = (
    r"(?:\d+(?:\.\d+)?|zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
    r"|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|twenty)"
)
_STATED_COUNT = re.compile(
    rf"\b(?:answer|total|count|number|sum|result)\b[^.;\d]{{0,40}}?\b(?:is|of|=|:)\s*({_NUMBER})\b"
    rf"|=\s*({_NUMBER})\b(?!\s*[-+*/x\u00d7\u00f7])"
    rf"|\b({_NUMBER})\s+(?:[\w-]+\s+){{0,3}}?(?:in total|altogether|overall)\b"
    rf"|\b(?:gives?|makes?|leaves?|get)\s+(?:us\s+|a\s+)?({_NUMBER})\b",
    re.IGNORECASE,
)
_THERE_ARE = re.compile(
    rf"\b(?:there (?:is|are)|i (?:can )?(?:see|count|counted|find)|we (?:can )?(?:see|count|find)"
    rf"|shows?|contains?)\s+(?:exactly |only |a total of )?({_NUMBER})\b",
    re.IGNORECASE,
)
_STATED_TEXT = re.compile(
    r"\b(?:answer|finding|diagnosis|lesion|abnormality|location|conclusion|it|this)\b"
    r"[^.;,]{0,20}?(?:\bis\b|\bare\b|:)\s*(?:most likely\s+|probably\s+)?(?:in\s+|an?\s+|the\s+)*"
    r"([^.;,]+)|\bthere is\s+(?:an?\s+)?([^.;,]+)",
    re.IGNORECASE,
)


def yes_no_conclusion(reasoning: str, question: str) -> Conclusion:
    """Whether a reasoning affirms or denies what a question asks.

    Args:
        reasoning: The text.
        question: A question that is answered by yes or no.
    """
    valid = valid_sentences(reasoning)
    text = " ".join(sentence.text for sentence in valid)
    if stated := list(_STATED_YES_NO.finditer(text)):
        return Conclusion(True, (stated[-1][1] or stated[-1][2]).lower())
    answer, how = read_polarity(question, text)
    if answer is not None:
        return Conclusion(True, answer)
    proposition = parse_question(question)
    parts = proposition.predicate
    is_named = any(mentions_of(part, sentence) for part in parts for sentence in valid)
    return Conclusion(is_named or how in ("ambiguous", "refused"), None)


def count_conclusion(reasoning: str, question: str) -> Conclusion:
    """The number that a reasoning concludes with.

    Args:
        reasoning: The text.
        question: A question for a number of things.
    """
    noun = re.search(r"\bhow many\s+([\w -]+?)(?:\s+(?:is|are|can|do|does|were|has|have)\b|\?|$)",
                     question, re.IGNORECASE)  # fmt: skip
    nouns = {word.stem for word in words_of(noun[1])} if noun else set()
    stated: str | None = None
    plain: str | None = None
    for sentence in valid_sentences(reasoning):
        for match in _STATED_COUNT.finditer(sentence.text):
            stated = next(filter(None, match.groups()))
        for match in _THERE_ARE.finditer(sentence.text):
            plain = match[1]
        for i, word in enumerate(sentence.words):
            if re.fullmatch(_NUMBER, word.raw, re.IGNORECASE) and any(
                later.stem in nouns for later in sentence.words[i + 1 : i + 4]
            ):
                plain = word.raw
    text = stated or plain
    number = parse_number(text) if text else None
    return Conclusion(number is not None, number_text(number) if number is not None else None)


def open_conclusion(reasoning: str, answer: str) -> Conclusion:
    """The text that a reasoning concludes with, if it claims or contradicts the same as an answer.

    Args:
        reasoning: The text.
        answer: The extracted answer.

    Returns:
        The answer itself where the reasoning claims the same; the text of the reasoning where it
        has the same thing with another polarity or side; else no answer.
    """
    for sentence in reversed(valid_sentences(reasoning)):
        for match in reversed(list(_STATED_TEXT.finditer(sentence.text))):
            text = (match[1] or match[2]).strip()
            differences = claim_differences(text, answer)
            if not differences:
                return Conclusion(True, answer)
            if not {"polarity", "side"}.isdisjoint(differences) and "uncertain" not in differences:
                return Conclusion(True, text)
    return Conclusion(False, None)
