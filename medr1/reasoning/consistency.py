"""Whether the answer of a completion is what its reasoning concludes with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medr1.answers.blocks import find_blocks
from medr1.answers.extraction import extract, same_answer
from medr1.reasoning.mentions import is_yes_or_no
from medr1.reasoning.options import Conclusion, option_conclusion
from medr1.reasoning.plain_answers import count_conclusion, open_conclusion, yes_no_conclusion
from medr1.text.normalization import fold

CONSISTENT, CONTRADICTS = "consistent", "contradicts"
NOT_NAMED, UNCLEAR, NO_ANSWER = "not_named", "unclear", "no_answer"
OUTCOMES = (CONSISTENT, CONTRADICTS, NOT_NAMED, UNCLEAR, NO_ANSWER)
"""The outcomes: the reasoning concludes with the answer; with another one; names none; names some
and concludes with none or several; or there is no answer to compare with."""


@dataclass(frozen=True)
class AnswerConsistency:
    """What the reasoning of one completion concludes with, and whether that is its answer."""

    outcome: str
    """One of OUTCOMES."""
    names_option: bool
    """Whether the reasoning names an option; for a question without options, whether it says
    something about the answer that could be read."""
    concluded: str | None
    """What the reasoning concludes with, in the form of an extracted answer; None if nothing."""
    answer: str | None
    """The extracted answer of the completion."""


def consistency(
    completion: str, question: str, options: Mapping[str, str], answer_type: str
) -> AnswerConsistency | None:
    """Compare the answer of a completion with what its reasoning concludes with.

    The result depends on the texts only.

    Args:
        completion: The text as the model wrote it, with <think>.
        question: The question without its options.
        options: Letter -> text of the option; empty for a question without options.
        answer_type: One of `records.ANSWER_TYPES`.

    Returns:
        None if the completion has no reasoning.
    """
    reasoning = find_blocks(fold(completion)).reasoning
    if not reasoning:
        return None
    extraction = extract(completion, options=options, answer_type=answer_type, question=question)
    return consistency_of(reasoning, extraction.answer, question, options, answer_type)


def consistency_of(
    reasoning: str, answer: str | None, question: str, options: Mapping[str, str], answer_type: str
) -> AnswerConsistency:
    """Compare an extracted answer with what a reasoning concludes with.

    Args:
        reasoning: The text before or after the answer.
        answer: The extracted answer; None if there is none.
        question: The question without its options.
        options: Letter -> text of the option; empty for a question without options.
        answer_type: One of `records.ANSWER_TYPES`.
    """
    conclusion = _conclusion(fold(reasoning), answer, question, options, answer_type)
    if answer is None:
        outcome = NO_ANSWER
    elif not conclusion.names:
        outcome = NOT_NAMED
    elif conclusion.answer is None:
        outcome = UNCLEAR
    else:
        is_same = same_answer(conclusion.answer, answer, options=options, answer_type=answer_type)
        outcome = CONSISTENT if is_same else CONTRADICTS
    return AnswerConsistency(outcome, conclusion.names, conclusion.answer, answer)


def _letter_of(
    yes_or_no: Conclusion, by_letters: Conclusion, options: Mapping[str, str]
) -> Conclusion:
    """The conclusion yes or no as the letter of the option with this text."""
    letters = [
        letter for letter, text in options.items() if text.strip(" .").lower() == yes_or_no.answer
    ]
    letter = letters[0] if len(letters) == 1 else None
    return Conclusion(yes_or_no.names or by_letters.names, letter)


def _conclusion(
    reasoning: str, answer: str | None, question: str, options: Mapping[str, str], answer_type: str
) -> Conclusion:
    if options:
        conclusion = option_conclusion(reasoning, options, question)
        if conclusion.answer is None and all(map(is_yes_or_no, options.values())):
            return _letter_of(yes_no_conclusion(reasoning, question), conclusion, options)
        return conclusion
    if answer_type == "yes_no":
        return yes_no_conclusion(reasoning, question)
    if answer_type == "count":
        return count_conclusion(reasoning, question)
    if answer_type == "open" and answer is not None:
        return open_conclusion(reasoning, answer)
    return Conclusion(False, None)
