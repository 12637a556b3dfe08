"""Mentions of a part of the ground truth in a sentence, and whether they assert it.

A mention is the indices of the words that name the part. A part may be named by any of its names,
by a name that implies it ("splenomegaly" names the spleen), or in pieces ("the pelvis of the left
kidney").
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache

from medr1.answers.prose.golds import OMITTABLE, STOP_WORDS, GroundTruth, Part, parts_of_name
from medr1.answers.prose.sentences import Sentence
from medr1.answers.prose.terms import Term, broader_of, forms_of, terms_of, word_set, words_of

EXCLUSIVE = word_set("side plane view modality sequence density texture color sex severity shape")
"""Kinds of which a question asks for one value: a second value contradicts the first."""
ADDITIVE = frozenset(("organ", "finding", "diagnosis", "device", "place", "cell"))
"""Kinds of which a further thing, joined to the ground truth, is a further answer."""
_LOCATING = frozenset(("organ", "place", "side", ""))
"""Kinds that a text also names to say where something lies, or what is normal."""
_SIDES = frozenset(("left", "right", "bilateral"))
_UNITS = frozenset(("mm", "cm", "m", "ml", "cc", "%", "percent"))
THINGS = frozenset(("finding", "diagnosis", "device"))
"""Kinds of things that an image may show."""
_JOINERS = frozenset(("with", "and", "or", ","))
_MAX_GAP = 7
"""Most words that may stand between the pieces of a name."""
_NEGATING = frozenset(("no", "non", "not", "without", "un", "free", "noncontrast"))
"""Words of a name that negate the rest of it: a "non-contrast CT" has no contrast."""


def mentions_of(part: Part, sentence: Sentence, depth: int = 2) -> list[tuple[int, ...]]:
    """Find the mentions of a part in a sentence.

    Args:
        part: A part of a ground truth or a question.
        sentence: The sentence to search.
        depth: If no name of the part is in the sentence, its pieces are searched near each other.
            A piece may again be in pieces, up to this depth; 0 searches for names only.

    Returns:
        The mentions, each as the indices of its words.
    """
    mentions = _mentions_by_name(part, sentence)
    if mentions or not depth or part.kind in EXCLUSIVE:
        return mentions
    return [
        mention
        for pieces in _decompositions(part)
        for mention in _mentions_in_pieces(pieces, sentence, depth - 1)
    ]


def _mentions_by_name(part: Part, sentence: Sentence) -> list[tuple[int, ...]]:
    """The mentions of the part by one of its names, or by a name that implies it."""
    mentions: list[tuple[int, ...]] = []
    for term in sentence.terms:
        if term.name == part.name and term.kind == part.kind:
            has_non = any(sentence.words[i].raw.lower() == "non" for i in word_indices(term))
            # the "non" of "non-contrast" marks "contrast" as denied, but the name is not denied
            mentions.append((term.start,) if has_non else word_indices(term))
        elif _implies(term, part):
            mentions.append((term.start,))
    if mentions or part.kind in EXCLUSIVE:
        return mentions
    # a short name, such as the abbreviation "ms", counts only as a name of the vocabulary
    single_stems = {
        form[0] for form in part.forms if len(form) == 1 and (part.kind == "" or len(form[0]) > 3)
    }
    indices = [i for stem in single_stems for i in sentence.indices_by_stem.get(stem, ())]
    return [(i,) for i in sorted(indices)]


@lru_cache(maxsize=4096)
def _decompositions(part: Part) -> tuple[tuple[Part, ...], ...]:
    """The pieces of each name of several words; the same pieces in another order once."""
    forms = [form for form in part.forms if len(form) > 1 and _NEGATING.isdisjoint(form)]
    decompositions = {frozenset(parts_of_name(form)): parts_of_name(form) for form in forms}
    return tuple(pieces for pieces in decompositions.values() if len(pieces) > 1)


def _mentions_in_pieces(
    pieces: tuple[Part, ...], sentence: Sentence, depth: int
) -> list[tuple[int, ...]]:
    """Mentions of a name by its pieces, near each other in any order.

    "the pelvis of the left kidney" mentions the renal pelvis.
    """
    mention_at = []  # for each piece: index of a word -> the mention that the word belongs to
    for piece in pieces:
        mentions = mentions_of(piece, sentence, depth)
        if not mentions:
            return []
        mention_at.append({i: mention for mention in mentions for i in mention})
    joined_mentions = []
    for start in sorted(set().union(*mention_at)):
        window = range(start, start + len(pieces) + _MAX_GAP)
        nearest = [
            next((by_index[i] for i in window if i in by_index), ()) for by_index in mention_at
        ]
        joined = tuple(sorted({i for mention in nearest for i in mention}))
        if all(nearest) and _is_one_thing(joined, pieces, sentence):
            joined_mentions.append(joined)
    return joined_mentions


def _is_one_thing(mention: tuple[int, ...], pieces: tuple[Part, ...], sentence: Sentence) -> bool:
    """Whether the pieces of a name are in one clause, and belong to no other thing.

    In "mediastinal mass with subcutaneous emphysema" the words mediastinal and emphysema are not
    one thing.
    """
    first, last = mention[0], mention[-1]
    if sentence.clause[first] != sentence.clause[last]:
        return False
    names = {piece.name for piece in pieces}
    has_joiner = not _JOINERS.isdisjoint(word.raw.lower() for word in sentence.words[first:last])
    other_things = [
        term
        for term in sentence.terms
        if term.kind in THINGS and term.start <= last and term.end > first
        and names.isdisjoint({term.name} | broader_of(term.kind, term.name))
    ]  # fmt: skip
    things_between = [term for term in other_things if set(word_indices(term)).isdisjoint(mention)]
    n_overlapping = len(other_things) - len(things_between)
    return n_overlapping < 2 and not (things_between and has_joiner)


@lru_cache(maxsize=65_536)
def _implies(term: Term, part: Part) -> bool:
    """Whether a name implies the part.

    "splenomegaly" implies the spleen, "left lower lobe" the left, "glioblastoma" the glioma.
    """
    if part.kind and part.name in broader_of(term.kind, term.name):
        return True
    if part.kind in EXCLUSIVE and term.kind == part.kind:
        return _is_special_case_of(part.kind, term.name, part.name) and not _is_special_case_of(
            part.kind, part.name, term.name
        )
    term_forms = [form for form in forms_of(term.kind, term.name) if _NEGATING.isdisjoint(form)]
    return any(set(form) <= set(term_form) for form in part.forms for term_form in term_forms)


def is_asserted(
    mention: tuple[int, ...], part: Part, sentence: Sentence, *, allow_landmark: bool = False
) -> bool:
    """Whether a mention says that the part is there: not denied, in doubt, general or elsewhere.

    Args:
        mention: The indices of the words that name the part.
        part: The part.
        sentence: The sentence.
        allow_landmark: Also accept a mention that only says where another thing lies. For a ground
            truth that names a landmark itself, such as "above the carina".
    """

    def is_any(flags: list[bool]) -> bool:
        return any(flags[i] for i in mention)

    if is_any(sentence.negated) or is_any(sentence.generic):
        return False
    # "most likely" chooses what "possible" in the same clause leaves open
    if is_any(sentence.hedged) and sentence.clause[mention[0]] not in sentence.favored_clauses:
        return False
    if part.name.isdigit() and (
        _is_in_range(mention[0], sentence) or _is_size(mention[0], sentence)
    ):
        return False
    if part.kind not in _LOCATING:
        return True
    return not is_any(sentence.spared) and (allow_landmark or not is_any(sentence.landmark))


def _is_size(i: int, sentence: Sentence) -> bool:
    """Whether a unit of length or volume, or a percent sign, follows the number words[i]."""
    return any(word.raw.lower() in _UNITS for word in sentence.words[i + 1 : i + 2])


def _is_in_range(i: int, sentence: Sentence) -> bool:
    """Whether the number words[i] is an end of a range: "grade 3 to 4"."""
    words = sentence.words
    return any(
        0 <= i + 2 * step < len(words)
        and words[i + step].stem in ("to", "-")
        and words[i + 2 * step].stem.isdigit()
        for step in (-1, 1)
    )


def asserted_values(kind: str, sentence: Sentence) -> list[Term]:
    """The values of a kind that a sentence asserts, in order.

    Args:
        kind: One of `EXCLUSIVE`. Of a side only left, right and bilateral are values.
        sentence: The sentence.
    """
    values = []
    for term in sentence.terms:
        part = Part(term.kind, term.name)
        if term.kind != kind or (kind == "side" and term.name not in _SIDES):
            continue
        if is_asserted(word_indices(term), part, sentence):
            values.append(term)
    return values


@lru_cache(maxsize=4096)
def _is_special_case_of(kind: str, name: str, general_name: str) -> bool:
    """Whether the preferred name contains a name of the general one: "ct angiography" of "ct"."""
    if general_name in broader_of(kind, name):
        return True
    preferred_forms = forms_of(kind, name)[:1]
    return any(
        any(form[i : i + len(general)] == general for i in range(len(form)))
        for general in forms_of(kind, general_name)
        for form in preferred_forms
        if _NEGATING.isdisjoint(set(form) - set(general))
    )


def is_special_case(kind: str, name: str, general_names: Iterable[str]) -> bool:
    """Whether a value is a special case of another: CT angiography of CT.

    Args:
        kind: The kind of all the values.
        name: The preferred name of the value.
        general_names: Preferred names of values; it may be a special case of any of them.
    """
    return any(_is_special_case_of(kind, name, general_name) for general_name in general_names)


def names_part(term: Term, ground_truth: GroundTruth) -> bool:
    """Whether a name in an answer is a part of the ground truth, or implies one.

    Args:
        term: The name.
        ground_truth: The ground truth.
    """
    return any(
        part.kind and (part.name == term.name or _implies(term, part))
        for part in ground_truth.parts
    )


def word_indices(term: Term) -> tuple[int, ...]:
    """The indices of a term's words."""
    return tuple(range(term.start, term.end))


def asserts_member(member: tuple[Part, ...], sentence: Sentence, ground_truth: GroundTruth) -> bool:
    """Whether a sentence asserts every needed part of a member of the ground truth.

    Args:
        member: The parts of the member.
        sentence: The sentence.
        ground_truth: The ground truth. If it names several things of more than one part, the parts
            of each must be in one segment: "left effusion, right nodule" does not assert "left
            nodule". A side must be in the clause of its thing; an order that matters must agree.
    """
    mentions_by_part: dict[Part, list[tuple[int, ...]]] = {}
    excluded_segments = _segments_of_other_side(ground_truth.question_side, sentence)
    needed_parts = [part for part in member if part.needed]
    for part in dict.fromkeys(needed_parts):
        mentions_by_part[part] = [
            mention
            for mention in mentions_of(part, sentence)
            if is_asserted(mention, part, sentence, allow_landmark=ground_truth.has_landmark)
            and sentence.segment[mention[0]] not in excluded_segments
        ]
        if not mentions_by_part[part]:
            return False
    if len(needed_parts) > 1 and any(part.kind == "side" for part in mentions_by_part):
        clauses = [
            {sentence.clause[mention[0]] for mention in mentions}
            for mentions in mentions_by_part.values()
        ]
        if not set.intersection(*clauses):
            return False
    if (
        len(needed_parts) > 1
        and sum(len(any_member) > 1 for any_member in ground_truth.members) > 1
    ):
        segments = [
            {sentence.segment[mention[0]] for mention in mentions}
            for mentions in mentions_by_part.values()
        ]
        if not set.intersection(*segments):
            return False
    starts = {
        part: sorted(mention[0] for mention in mentions)
        for part, mentions in mentions_by_part.items()
    }
    return not ground_truth.ordered or _in_order([starts[part] for part in needed_parts])


def _segments_of_other_side(question_side: str, sentence: Sentence) -> set[int]:
    """The segments that name only the other side than the question.

    If the question is about the right, these are the first words of "large left, small right
    effusion". Empty if the question names no side.
    """
    sides: dict[int, set[str]] = {}
    for term in sentence.terms if question_side else ():
        if term.kind == "side":
            sides.setdefault(sentence.segment[term.start], set()).add(term.name)
    return {
        segment
        for segment, names in sides.items()
        if names & _SIDES and names.isdisjoint((question_side, "bilateral"))
    }


def _in_order(starts: list[list[int]]) -> bool:
    """Whether one start can be chosen for each part so that they increase.

    Each list has the starts of one part's mentions, in increasing order.
    """
    last_start = -1
    for part_starts in starts:
        next_index = bisect_right(part_starts, last_start)
        if next_index == len(part_starts):
            return False
        last_start = part_starts[next_index]
    return True


def named_things(text: str) -> frozenset[str]:
    """The preferred names in a text that has nothing else: {"computed tomography"} of "a CT scan".

    Empty if the text has a word that belongs to no name and has a meaning of its own.
    """
    words = words_of(text)
    terms = terms_of(words)
    indices = {i for term in terms for i in range(term.start, term.end)}
    other_stems = {word.stem for i, word in enumerate(words) if i not in indices}
    only_names = other_stems <= STOP_WORDS | OMITTABLE
    return frozenset(term.name for term in terms) if only_names else frozenset()
