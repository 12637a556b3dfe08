"""Which of two sides is the larger one, of "Is the left kidney larger than the right?"."""

from __future__ import annotations

from medr1.answers.prose.propositions import Proposition
from medr1.answers.prose.reading import Prose
from medr1.answers.prose.sentences import Sentence
from medr1.answers.prose.terms import stems

_MORE = stems("larger bigger greater more higher longer wider denser brighter worse thicker taller")
_LESS = stems("smaller less lower shorter narrower thinner")
_EQUAL = stems("similar equal same symmetric symmetrical symmetry comparable identical")
_SIDES = ("left", "right")


def compared(asked: Proposition, prose: Prose) -> str | None:
    """yes or no, where the text says which side is the larger, or that they are alike."""
    wanted = [p.name for p in asked.parts if p.kind == "side" and p.name in _SIDES]
    direction = _direction({p.name for p in asked.parts})
    if len(wanted) < 2 or not direction:
        return None
    for sentence in prose.sentences:
        words = {word.stem for i, word in enumerate(sentence.words) if not sentence.negated[i]}
        if words & _EQUAL and not any(sentence.hedged):
            return "no"
        sides = [term.name for term in sentence.terms if term.kind == "side"]
        stated = _direction(words)
        if stated and _first_side(sentence) and set(_SIDES) <= set(sides):
            same = (_first_side(sentence) == wanted[0]) == (stated == direction)
            return "yes" if same else "no"
    return None


def _direction(words: set[str]) -> int:
    """1 where the first thing is more, -1 where it is less, 0 where neither is said."""
    return bool(words & _MORE) - bool(words & _LESS)


def _first_side(sentence: Sentence) -> str | None:
    return next((t.name for t in sentence.terms if t.kind == "side" and t.name in _SIDES), None)
