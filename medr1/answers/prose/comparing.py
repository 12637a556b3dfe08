"""Answers to questions that compare two sides, as "Is the left kidney larger than the right?"."""

from __future__ import annotations

from medr1.answers.prose.propositions import Proposition
from medr1.answers.prose.reading import Prose
from medr1.answers.prose.sentences import Sentence
from medr1.answers.prose.terms import stems

_MORE = stems("larger bigger greater more higher longer wider denser brighter worse thicker taller")
_LESS = stems("smaller less lower shorter narrower thinner")
_EQUAL = stems("similar equal same symmetric symmetrical symmetry comparable identical")
_SIDES = ("left", "right")


def read_comparison(proposition: Proposition, prose: Prose) -> str | None:
    """The yes or no of a text to a question that compares left and right.

    Args:
        proposition: What the question asks, with the sides in the order of the question.
        prose: The answer.

    Returns:
        "yes" or "no". None if the question does not compare both sides by a word such as larger,
        or if no sentence says which side is larger or that they are equal.
    """
    question_sides = [
        part.name for part in proposition.parts if part.kind == "side" and part.name in _SIDES
    ]
    question_direction = _direction({part.name for part in proposition.parts})
    if len(question_sides) < 2 or not question_direction:
        return None
    for sentence in prose.sentences:
        words = {word.stem for i, word in enumerate(sentence.words) if not sentence.negated[i]}
        if words & _EQUAL and not any(sentence.hedged):
            return "no"
        sides = [term.name for term in sentence.terms if term.kind == "side"]
        direction = _direction(words)
        if direction and _first_side(sentence) and set(_SIDES) <= set(sides):
            # "the right is smaller than the left" says the same as "the left is larger than the
            # right": two changes, of the order and of the direction, cancel out
            same_order = _first_side(sentence) == question_sides[0]
            agrees = same_order == (direction == question_direction)
            return "yes" if agrees else "no"
    return None


def _direction(words: set[str]) -> int:
    """1 for a word such as larger, -1 for one such as smaller, 0 for neither or both."""
    return bool(words & _MORE) - bool(words & _LESS)


def _first_side(sentence: Sentence) -> str | None:
    return next(
        (term.name for term in sentence.terms if term.kind == "side" and term.name in _SIDES), None
    )
