"""Where a sentence names a part of the gold, and whether it asserts it there."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from medr1.answers.prose.golds import EMPTY, HEADS, Gold, Part
from medr1.answers.prose.sentences import Sentence
from medr1.answers.prose.terms import Term, forms_of, terms_of, word_set, words_of

EXCLUSIVE = word_set("side plane view modality sequence density texture color sex severity shape")
"""Kinds of which a question asks for one value: another one beside it contradicts."""
LISTED = frozenset(("organ", "finding", "diagnosis", "device", "place"))
"""Kinds of which a further one joined to the gold is a further answer."""
_ELSEWHERE = frozenset(("organ", "place", "side", ""))
"""Kinds that a text also names to say where something lies, or what is not affected."""
_SIDES = frozenset(("left", "right", "bilateral"))
_APART = 5
"""Words that may stand between those of a name."""
_INSIDE_OUT = frozenset(("no", "non", "not", "without", "un", "free"))
"""Words of a name that make it the opposite of the rest."""


def spots_of(part: Part, sentence: Sentence) -> list[tuple[int, ...]]:
    """Where the part is named in the sentence: the indices of its words, for each time."""
    spots: list[tuple[int, ...]] = []
    for term in sentence.terms:
        if term.name == part.name and term.kind == part.kind:
            spots.append(span(term))
        elif _implies(term, part):
            spots.append((term.start,))
    if spots:
        return spots
    stems = [word.stem for word in sentence.words]
    for form in part.forms if part.kind not in EXCLUSIVE else ():
        places = [i for i, one in enumerate(stems) if one == form[0]]
        if len(form) == 1 and (part.kind == "" or len(form[0]) > 3):
            spots += [(i,) for i in places]
        elif len(form) > 1 and _INSIDE_OUT.isdisjoint(form) and set(form) <= set(stems):
            content = [one for one in form if one not in EMPTY]
            if len(content) > 1:
                spots += _close_together(content, stems)
    return spots


def _close_together(content: list[str], stems: list[str]) -> list[tuple[int, ...]]:
    """Where the words of a name stand near each other in any order: "the pelvis of the left
    kidney"."""
    spots = []
    for i, one in enumerate(stems):
        if one in content:
            reach = range(i, min(len(stems), i + len(content) + _APART))
            places = [next((j for j in reach if stems[j] == word), -1) for word in content]
            if -1 not in places:
                spots.append(tuple(places))
    return spots


@lru_cache(maxsize=65_536)
def _implies(term: Term, part: Part) -> bool:
    """Whether a name holds the part: "splenomegaly" the spleen, "left lower lobe" the left."""
    if part.kind in EXCLUSIVE and term.kind == part.kind:
        return _is_kind_of_one(part.kind, term.name, part.name) and not _is_kind_of_one(
            part.kind, part.name, term.name
        )
    forms = [own for own in forms_of(term.kind, term.name) if _INSIDE_OUT.isdisjoint(own)]
    return any(set(form) <= set(own) for form in part.forms for own in forms)


def is_asserted(spot: tuple[int, ...], part: Part, sentence: Sentence) -> bool:
    """Whether a mention says that the part is there: not denied, hedged, general or elsewhere."""

    def any_of(flags: list[bool]) -> bool:
        return any(flags[i] for i in spot)

    if any_of(sentence.negated) or any_of(sentence.generic):
        return False
    if any_of(sentence.hedged) and not sentence.favored:
        return False
    if part.name.isdigit() and _is_in_range(spot[0], sentence):
        return False
    if part.kind not in _ELSEWHERE:
        return True
    return not any_of(sentence.spared) and not any_of(sentence.related)


def _is_in_range(i: int, sentence: Sentence) -> bool:
    """Whether a number is an end of a range: "grade 3 to 4"."""
    words = sentence.words
    return any(
        0 <= i + 2 * step < len(words)
        and words[i + step].stem in ("to", "-")
        and words[i + 2 * step].stem.isdigit()
        for step in (-1, 1)
    )


def values_of(kind: str, sentence: Sentence) -> list[Term]:
    """The asserted values of an exclusive kind, those of places included for a side."""
    found = []
    for term in sentence.terms:
        part = Part(term.kind, term.name)
        if term.kind != kind or (kind == "side" and term.name not in _SIDES):
            continue
        if is_asserted(span(term), part, sentence):
            found.append(term)
    return found


@lru_cache(maxsize=4096)
def _is_kind_of_one(kind: str, name: str, wanted: str) -> bool:
    """Whether a name's first form has all words of the wanted one: "ct angiography" of "ct"."""
    own = forms_of(kind, name)[:1]
    return any(
        any(form[i : i + len(mine)] == mine for i in range(len(form)))
        for mine in forms_of(kind, wanted)
        for form in own
        if _INSIDE_OUT.isdisjoint(set(form) - set(mine))
    )


def is_kind_of(kind: str, name: str, wanted: Iterable[str]) -> bool:
    """Whether a value is a special case of a wanted one: CT angiography of CT."""
    return any(_is_kind_of_one(kind, name, one) for one in wanted)


def belongs(term: Term, gold: Gold) -> bool:
    """Whether a term is the gold itself, or a part of it by another name."""
    return any(
        part.kind and (part.name == term.name or _implies(term, part)) for part in gold.parts
    )


def span(term: Term) -> tuple[int, ...]:
    """The indices of a term's words."""
    return tuple(range(term.start, term.end))


def holds(member: tuple[Part, ...], sentence: Sentence, gold: Gold) -> bool:
    """Whether the sentence asserts every needed part: in one clause where a side is among them, in
    one member of a list where the gold has several of more than one part, in order where it says
    something."""
    found: list[list[tuple[int, ...]]] = []
    elsewhere = _segments_of_other_side(gold.asked_side, sentence)
    for part in member:
        if not part.needed:
            continue
        spots = [
            spot
            for spot in spots_of(part, sentence)
            if is_asserted(spot, part, sentence) and sentence.segment[spot[0]] not in elsewhere
        ]
        if not spots:
            return False
        found.append(spots)
    sides = [p for p in member if p.kind == "side" and p.needed]
    if sides and len(found) > 1:
        clauses = [{sentence.clause[spot[0]] for spot in spots} for spots in found]
        if not set.intersection(*clauses):
            return False
    if len(found) > 1 and sum(len(m) > 1 for m in gold.members) > 1:
        segments = [{sentence.segment[spot[0]] for spot in spots} for spots in found]
        if not set.intersection(*segments):
            return False
    return not gold.ordered or _in_order(found)


def _segments_of_other_side(asked: str, sentence: Sentence) -> set[int]:
    """The segments that name a side that was not asked alone: "large left and small right"."""
    sides: dict[int, set[str]] = {}
    for term in sentence.terms if asked else ():
        if term.kind == "side":
            sides.setdefault(sentence.segment[term.start], set()).add(term.name)
    return {n for n, s in sides.items() if s & _SIDES and s.isdisjoint((asked, "bilateral"))}


def _in_order(found: list[list[tuple[int, ...]]]) -> bool:
    """Whether the parts can be taken one behind the other."""
    last = -1
    for spots in found:
        behind = [spot[0] for spot in spots if spot[0] > last]
        if not behind:
            return False
        last = min(behind)
    return True


def named_things(text: str) -> frozenset[str]:
    """The names that a text consists of, where it is nothing else: {"ct"} of "a CT scan"."""
    words = words_of(text)
    terms = terms_of(words)
    taken = {i for term in terms for i in range(term.start, term.end)}
    rest = {word.stem for i, word in enumerate(words) if i not in taken}
    return frozenset(term.name for term in terms) if rest <= EMPTY | HEADS else frozenset()
