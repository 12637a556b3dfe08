"""Where a sentence names a part of the gold, and whether it asserts it there."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache

from medr1.answers.prose.golds import OMITTABLE, STOP_WORDS, GroundTruth, Part, parts_of_name
from medr1.answers.prose.sentences import Sentence
from medr1.answers.prose.terms import Term, broader_of, forms_of, terms_of, word_set, words_of

EXCLUSIVE = word_set("side plane view modality sequence density texture color sex severity shape")
"""Kinds of which a question asks for one value: another one beside it contradicts."""
ADDITIVE = frozenset(("organ", "finding", "diagnosis", "device", "place", "cell"))
"""Kinds of which a further one joined to the gold is a further answer."""
_ELSEWHERE = frozenset(("organ", "place", "side", ""))
"""Kinds that a text also names to say where something lies, or what is not affected."""
_SIDES = frozenset(("left", "right", "bilateral"))
_UNITS = frozenset(("mm", "cm", "m", "ml", "cc", "%", "percent"))
THINGS = frozenset(("finding", "diagnosis", "device"))
_JOINS = frozenset(("with", "and", "or", ","))
_APART = 7
"""Words that may stand between those of a name."""
_INSIDE_OUT = frozenset(("no", "non", "not", "without", "un", "free", "noncontrast"))
"""Words of a name that make it the opposite of the rest."""


def mentions_of(part: Part, sentence: Sentence, depth: int = 2) -> list[tuple[int, ...]]:
    """Where the part is named in the sentence: the indices of its words, for each time; whole, or
    in pieces that may be in pieces themselves up to a depth."""
    spots = _named(part, sentence)
    if spots or not depth or part.kind in EXCLUSIVE:
        return spots
    return [spot for made in _ways(part) for spot in _in_pieces(made, sentence, depth - 1)]


def _named(part: Part, sentence: Sentence) -> list[tuple[int, ...]]:
    """Where a name of the part stands, or a name that implies it."""
    spots: list[tuple[int, ...]] = []
    for term in sentence.terms:
        if term.name == part.name and term.kind == part.kind:
            whole = all(sentence.words[i].raw.lower() != "non" for i in word_indices(term))
            spots.append(
                word_indices(term) if whole else (term.start,)
            )  # its own "non" denies no part
        elif _implies(term, part):
            spots.append((term.start,))
    if spots or part.kind in EXCLUSIVE:
        return spots
    single = {
        form[0] for form in part.forms if len(form) == 1 and (part.kind == "" or len(form[0]) > 3)
    }
    return [
        (i,) for i in sorted(i for stem in single for i in sentence.indices_by_stem.get(stem, ()))
    ]


@lru_cache(maxsize=4096)
def _ways(part: Part) -> tuple[tuple[Part, ...], ...]:
    """The pieces of which each of its longer names is made; those of other words once."""
    forms = [form for form in part.forms if len(form) > 1 and _INSIDE_OUT.isdisjoint(form)]
    ways = {frozenset(parts_of_name(form)): parts_of_name(form) for form in forms}
    return tuple(pieces for pieces in ways.values() if len(pieces) > 1)


def _in_pieces(pieces: tuple[Part, ...], sentence: Sentence, depth: int) -> list[tuple[int, ...]]:
    """Where the pieces of a name stand near each other in any order: "the pelvis of the left
    kidney", "a thrombus in the left ventricle"."""
    places = []
    for piece in pieces:
        spots = mentions_of(piece, sentence, depth)
        if not spots:
            return []
        places.append({i: spot for spot in spots for i in spot})
    joined = []
    for start in sorted(set().union(*places)):
        reach = range(start, start + len(pieces) + _APART)
        near = [next((own[i] for i in reach if i in own), ()) for own in places]
        spot = tuple(sorted({i for spot in near for i in spot}))
        if all(near) and _is_one_thing(spot, pieces, sentence):
            joined.append(spot)
    return joined


def _is_one_thing(spot: tuple[int, ...], pieces: tuple[Part, ...], sentence: Sentence) -> bool:
    """Whether the pieces belong together: in one clause, and to no other thing, as they do in
    "mediastinal mass with subcutaneous emphysema"."""
    first, last = spot[0], spot[-1]
    if sentence.clause[first] != sentence.clause[last]:
        return False
    names = {piece.name for piece in pieces}
    joins = not _JOINS.isdisjoint(word.raw.lower() for word in sentence.words[first:last])
    others = [
        term
        for term in sentence.terms
        if term.kind in THINGS and term.start <= last and term.end > first
        and names.isdisjoint({term.name} | broader_of(term.kind, term.name))
    ]  # fmt: skip
    between = [term for term in others if set(word_indices(term)).isdisjoint(spot)]
    return len(others) - len(between) < 2 and not (between and joins)


@lru_cache(maxsize=65_536)
def _implies(term: Term, part: Part) -> bool:
    """Whether a name holds the part: "splenomegaly" the spleen, "left lower lobe" the left,
    "glioblastoma" the glioma."""
    if part.kind and part.name in broader_of(term.kind, term.name):
        return True
    if part.kind in EXCLUSIVE and term.kind == part.kind:
        return _is_kind_of_one(part.kind, term.name, part.name) and not _is_kind_of_one(
            part.kind, part.name, term.name
        )
    forms = [own for own in forms_of(term.kind, term.name) if _INSIDE_OUT.isdisjoint(own)]
    return any(set(form) <= set(own) for form in part.forms for own in forms)


def is_asserted(
    spot: tuple[int, ...], part: Part, sentence: Sentence, *, related: bool = False
) -> bool:
    """Whether a mention says that the part is there: not denied, hedged, general or elsewhere;
    `related` where the gold names it to say where something lies."""

    def any_of(flags: list[bool]) -> bool:
        return any(flags[i] for i in spot)

    if any_of(sentence.negated) or any_of(sentence.generic):
        return False
    if any_of(sentence.hedged) and sentence.clause[spot[0]] not in sentence.favored_clauses:
        return False
    if part.name.isdigit() and (_is_in_range(spot[0], sentence) or _is_size(spot[0], sentence)):
        return False
    if part.kind not in _ELSEWHERE:
        return True
    return not any_of(sentence.spared) and (related or not any_of(sentence.landmark))


def _is_size(i: int, sentence: Sentence) -> bool:
    """Whether a unit of length or a percent sign follows a number."""
    return any(word.raw.lower() in _UNITS for word in sentence.words[i + 1 : i + 2])


def _is_in_range(i: int, sentence: Sentence) -> bool:
    """Whether a number is an end of a range: "grade 3 to 4"."""
    words = sentence.words
    return any(
        0 <= i + 2 * step < len(words)
        and words[i + step].stem in ("to", "-")
        and words[i + 2 * step].stem.isdigit()
        for step in (-1, 1)
    )


def asserted_values(kind: str, sentence: Sentence) -> list[Term]:
    """The asserted values of an exclusive kind, those of places included for a side."""
    found = []
    for term in sentence.terms:
        part = Part(term.kind, term.name)
        if term.kind != kind or (kind == "side" and term.name not in _SIDES):
            continue
        if is_asserted(word_indices(term), part, sentence):
            found.append(term)
    return found


@lru_cache(maxsize=4096)
def _is_kind_of_one(kind: str, name: str, wanted: str) -> bool:
    """Whether a name's first form has all words of the wanted one: "ct angiography" of "ct"."""
    if wanted in broader_of(kind, name):
        return True
    own = forms_of(kind, name)[:1]
    return any(
        any(form[i : i + len(mine)] == mine for i in range(len(form)))
        for mine in forms_of(kind, wanted)
        for form in own
        if _INSIDE_OUT.isdisjoint(set(form) - set(mine))
    )


def is_special_case(kind: str, name: str, wanted: Iterable[str]) -> bool:
    """Whether a value is a special case of a wanted one: CT angiography of CT."""
    return any(_is_kind_of_one(kind, name, one) for one in wanted)


def names_part(term: Term, gold: GroundTruth) -> bool:
    """Whether a term is the gold itself, or a part of it by another name."""
    return any(
        part.kind and (part.name == term.name or _implies(term, part)) for part in gold.parts
    )


def word_indices(term: Term) -> tuple[int, ...]:
    """The indices of a term's words."""
    return tuple(range(term.start, term.end))


def asserts_member(member: tuple[Part, ...], sentence: Sentence, gold: GroundTruth) -> bool:
    """Whether the sentence asserts every needed part: in one clause where a side is among them, in
    one member of a list where the gold has several of more than one part, in order where it says
    something."""
    found: dict[Part, list[tuple[int, ...]]] = {}
    elsewhere = _segments_of_other_side(gold.question_side, sentence)
    needed = [part for part in member if part.needed]
    for part in dict.fromkeys(needed):
        found[part] = [
            spot
            for spot in mentions_of(part, sentence)
            if is_asserted(spot, part, sentence, related=gold.has_landmark)
            and sentence.segment[spot[0]] not in elsewhere
        ]
        if not found[part]:
            return False
    if len(needed) > 1 and any(part.kind == "side" for part in found):
        clauses = [{sentence.clause[spot[0]] for spot in spots} for spots in found.values()]
        if not set.intersection(*clauses):
            return False
    if len(needed) > 1 and sum(len(m) > 1 for m in gold.members) > 1:
        segments = [{sentence.segment[spot[0]] for spot in spots} for spots in found.values()]
        if not set.intersection(*segments):
            return False
    starts = {part: sorted(spot[0] for spot in spots) for part, spots in found.items()}
    return not gold.ordered or _in_order([starts[part] for part in needed])


def _segments_of_other_side(asked: str, sentence: Sentence) -> set[int]:
    """The segments that name a side that was not asked alone: "large left and small right"."""
    sides: dict[int, set[str]] = {}
    for term in sentence.terms if asked else ():
        if term.kind == "side":
            sides.setdefault(sentence.segment[term.start], set()).add(term.name)
    return {n for n, s in sides.items() if s & _SIDES and s.isdisjoint((asked, "bilateral"))}


def _in_order(starts: list[list[int]]) -> bool:
    """Whether the parts, of each its places in order, can be taken one behind the other."""
    last = -1
    for places in starts:
        behind = bisect_right(places, last)
        if behind == len(places):
            return False
        last = places[behind]
    return True


def named_things(text: str) -> frozenset[str]:
    """The names that a text consists of, where it is nothing else: {"ct"} of "a CT scan"."""
    words = words_of(text)
    terms = terms_of(words)
    taken = {i for term in terms for i in range(term.start, term.end)}
    rest = {word.stem for i, word in enumerate(words) if i not in taken}
    return frozenset(term.name for term in terms) if rest <= STOP_WORDS | OMITTABLE else frozenset()
