"""Whether an open answer asserts the gold: what it names, does not deny, and does not contradict.

A gold is a finding, organ, place, side, number, grade or a list of such. An answer is right where
every part of the gold is asserted in what the text gives as its answer, and no competing value of
the same kind stands in its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from functools import lru_cache

from medr1.answers.prose import Prose, Sentence, is_enumeration, read_prose
from medr1.answers.terms import Term, forms_of, stem, terms_of, words_of
from medr1.quantities import parse_quantity

EXCLUSIVE = frozenset(("side", "plane", "view", "modality", "sequence", "density", "color", "sex", "severity"))
"""Kinds of which a question asks for one value: another one beside it contradicts."""
_LISTED = frozenset(("organ", "finding", "diagnosis", "device", "place"))
"""Kinds of which a further one joined to the gold is a further answer."""
_ELSEWHERE = frozenset(("organ", "place", "side", ""))
"""Kinds that a text also names to say where something lies, or what is not affected."""
_SIDES = frozenset(("left", "right", "bilateral"))

_EMPTY = frozenset(
    "a an the of in on at to is are was were be been it this that these those there with by for from and"
    " as its their his her which , . : ; ( ) - / & + = ' \" type kind evidence sign seen present"
    " visible noted area region".split()
)
_HEADS = frozenset(
    map(stem, "scan image imaging imag side view plane section weighted sequence film study picture"
        " photograph projection lesion stain phase color organ lobe level mri".split())
)  # fmt: skip
"""Words that a gold may carry and an answer may leave out: "MRI scan", "left side"."""
_COUNT = re.compile(r"\bhow many\b|\bnumber of\b|\bcount\b", re.IGNORECASE)
_NEGATIVE = re.compile(
    r"^(?:no|not|without|absence of|absent|negative for|negative|none|nil)\b\s*(?:evidence of |signs? of )?",
    re.IGNORECASE,
)
_NUMBER = r"\d+(?:[.,]\d+)?"
_UNIT = r"(?:mm|cm|m|ml|cc|l|mg|g|kg|weeks?|wks?|years?|yrs?|days?|hours?|°|degrees?|%|percent|cm2|cm3|mm2)"
_MEASURE = re.compile(
    rf"({_NUMBER})\s*({_UNIT})?(?:\s*([x×*]|-|–|to|and)\s*({_NUMBER})\s*({_UNIT})?)?"
    rf"(?:\s*[x×*]\s*({_NUMBER}))?\s*({_UNIT})?(?![\w/])",
    re.IGNORECASE,
)


_APART = 4
"""Words that may stand between those of a name."""
_RELATIONS = frozenset("to from into above below than over under between before after onto behind".split())
_INSIDE_OUT = frozenset(("no", "non", "not", "without", "un", "free"))
"""Words of a name that make it the opposite of the rest."""


class Outcome(Enum):
    """What an answer in prose comes to."""

    RIGHT = "right"
    WRONG = "wrong"
    UNDECIDED = "undecided"
    """The gold is named, in a way that is not understood."""
    REFUSED = "refused"


@dataclass(frozen=True)
class Part:
    """What a gold says, or one word of it."""

    kind: str
    """A kind of the vocabulary; "" for any other word."""
    name: str
    """The vocabulary's name, or a stem."""
    needed: bool = True
    """False where an answer may leave it out."""

    @property
    def forms(self) -> tuple[tuple[str, ...], ...]:
        return forms_of(self.kind, self.name) if self.kind else ((self.name,),)


@dataclass(frozen=True)
class Gold:
    """A gold taken apart."""

    members: tuple[tuple[Part, ...], ...]
    """Of a list its members, each with its parts."""
    denied: bool
    """Whether it says that something is not there."""
    ordered: bool = False
    """Whether the order of its parts says something: "left to right shunt", "3 of 5 nodes"."""
    joined: bool = False
    """Whether it offers alternatives itself: "x or y"."""

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(part for member in self.members for part in member)


def judge_prose(question: str, gold: str, answer: str) -> Outcome:
    """What an answer in prose comes to, held against the gold of an open question."""
    prose = read_prose(answer)
    if prose.refused:
        return Outcome.REFUSED
    if is_enumeration(answer):
        return Outcome.UNDECIDED
    parsed = _gold(gold, question)
    if not parsed.parts:
        return Outcome.WRONG
    if _COUNT.search(question) and (number := _only_number(gold)) is not None:
        return _judge_count(number, prose)
    if (measure := _measures(gold)) and _is_only_measure(gold):
        return _judge_measure(measure[0], prose)
    if parsed.denied:
        return _judge_denied(parsed, prose, question)
    if all(part.kind == "state" and part.name == "normal" for part in parsed.parts):
        return _judge_normal(question, prose)
    return _judge_asserted(parsed, prose, question)


@lru_cache(maxsize=4096)
def _gold(text: str, question: str) -> Gold:
    denied = _NEGATIVE.match(text.strip())
    if denied:
        text = text.strip()[denied.end() :]
    asked = {word.stem for word in words_of(question)}
    optional = set() if " or " in question.lower() else asked
    members = []
    for piece in re.split(r"\s*[,;]\s+(?:and\s+)?|\s+(?:and|&|with(?!\s+contrast))\s+", text):
        parts = _parts(piece, optional)
        if parts:
            members.append(parts)
    if members and not any(part.needed for member in members for part in member):
        members = [tuple(Part(p.kind, p.name) for p in member) for member in members]
    parts = [part for member in members for part in member]
    numbers = sum(not p.kind and p.name.isdigit() for p in parts)
    sides = {p.name for p in parts if p.kind == "side"}
    ordered = bool(_RELATIONS & set(text.lower().split())) or numbers > 1 or len(sides) > 1
    return Gold(tuple(members), bool(denied), ordered, bool(re.search(r"\bor\b|/", text)))


def parts_of(text: str) -> tuple[Part, ...]:
    """The names and other words of content in a text, in order."""
    return _parts(text, set())


def _parts(text: str, optional: set[str]) -> tuple[Part, ...]:
    words = words_of(text)
    terms = {term.start: term for term in terms_of(words)}
    parts: list[Part] = []
    i = 0
    while i < len(words):
        if term := terms.get(i):
            known = any(set(form) <= optional for form in forms_of(term.kind, term.name))
            parts.append(Part(term.kind, term.name, not known))
            i = term.end
            continue
        word = words[i].stem
        if word not in _EMPTY:
            parts.append(Part("", word, word not in optional and word not in _HEADS))
        i += 1
    if parts and not any(part.needed for part in parts):
        parts = [Part(p.kind, p.name, p.name not in _HEADS) for p in parts]
    return tuple(parts)


# --- where a part stands ------------------------------------------------------------------------


def spots_of(part: Part, sentence: Sentence) -> list[tuple[int, ...]]:
    """Where the part is named in the sentence: the indices of its words, for each time."""
    spots: list[tuple[int, ...]] = []
    for term in sentence.terms:
        if term.name == part.name and term.kind == part.kind:
            spots.append(tuple(range(term.start, term.end)))
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
            content = [one for one in form if one not in _EMPTY]
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
    def any_of(flags: list[bool]) -> bool:
        return any(flags[i] for i in spot)

    if any_of(sentence.negated) or any_of(sentence.generic):
        return False
    if any_of(sentence.hedged) and not sentence.favored:
        return False
    return part.kind not in _ELSEWHERE or not (any_of(sentence.related) or any_of(sentence.spared))


def _answers(prose: Prose) -> list[Sentence]:
    """The sentences that can assert: not those of the less likely."""
    return [s for s in prose.sentences if not s.lower or s.favored]


# --- the verdicts -------------------------------------------------------------------------------


def _judge_asserted(gold: Gold, prose: Prose, question: str) -> Outcome:
    sentences = _answers(prose)
    for member in gold.members:
        if not any(_holds(member, sentence, gold) for sentence in sentences):
            named = all(any(spots_of(p, s) for s in prose.sentences) for p in member if p.needed)
            return Outcome.UNDECIDED if named and _is_long(prose) else Outcome.WRONG
    for part in gold.parts:
        if part.kind in EXCLUSIVE and part.needed and not _is_the_value(part, gold, sentences, question):
            return Outcome.WRONG
    if _has_more(gold, sentences):
        return Outcome.WRONG
    if _contradicts_itself(gold, prose):
        return Outcome.UNDECIDED
    return Outcome.RIGHT


def _contradicts_itself(gold: Gold, prose: Prose) -> bool:
    """Whether a sentence asserts and denies the same: "effusion, no effusion"."""
    for sentence in prose.sentences:
        for part in gold.parts:
            if not part.needed or part.kind in EXCLUSIVE or sentence.concluding:
                continue
            spots = spots_of(part, sentence)
            denied = [spot for spot in spots if any(sentence.negated[i] for i in spot)]
            for one in denied:
                for other in spots:
                    if other not in denied and not _differ_in_side(one, other, sentence):
                        return True
    return False


def _differ_in_side(one: tuple[int, ...], other: tuple[int, ...], sentence: Sentence) -> bool:
    """Whether two mentions are of different sides, each named in its own segment."""
    sides = [
        {
            term.name
            for term in sentence.terms
            if term.kind == "side" and sentence.segment[term.start] == sentence.segment[spot[0]]
        }
        for spot in (one, other)
    ]
    return bool(sides[0] and sides[1]) and sides[0].isdisjoint(sides[1])


def _is_long(prose: Prose) -> bool:
    return sum(len(s.words) for s in prose.sentences) > 25


def _holds(member: tuple[Part, ...], sentence: Sentence, gold: Gold) -> bool:
    """Whether the sentence asserts every needed part: in one clause where a side is among them, in
    one member of a list where the gold has several of more than one part, in order where it says
    something."""
    found: list[list[tuple[int, ...]]] = []
    for part in member:
        if not part.needed:
            continue
        spots = [spot for spot in spots_of(part, sentence) if is_asserted(spot, part, sentence)]
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


def _in_order(found: list[list[tuple[int, ...]]]) -> bool:
    """Whether the parts can be taken one behind the other."""
    last = -1
    for spots in found:
        behind = [spot[0] for spot in spots if spot[0] > last]
        if not behind:
            return False
        last = min(behind)
    return True


def values_of(kind: str, sentence: Sentence) -> list[Term]:
    """The asserted values of an exclusive kind, those of places included for a side."""
    found = []
    for term in sentence.terms:
        part = Part(term.kind, term.name)
        if term.kind != kind or (kind == "side" and term.name not in _SIDES):
            continue
        if is_asserted(tuple(range(term.start, term.end)), part, sentence):
            found.append(term)
    return found


def _is_the_value(part: Part, gold: Gold, sentences: list[Sentence], question: str) -> bool:
    """Whether the text's answer of that kind is the gold's value and no other."""
    wanted = {p.name for p in gold.parts if p.kind == part.kind}
    asked = {w.stem for w in words_of(question) if w.stem not in _EMPTY and len(w.stem) > 3}
    if len(gold.parts) == 1 or part.kind != "side":
        candidates = [s for s in sentences if values_of(part.kind, s) or spots_of(part, s)]
        if not candidates:
            return True
        chosen = next((s for s in candidates if s.concluding or s.favored), None)
        if chosen is None and part.kind == "side":
            chosen = next((s for s in candidates if asked & {w.stem for w in s.words}), None)
        sentence = chosen or candidates[0]
    else:
        holding = (s for s in sentences if all(_holds(m, s, gold) for m in gold.members))
        sentence = next(holding, sentences[0])
    values = values_of(part.kind, sentence)
    mine = [spot for spot in spots_of(part, sentence) if is_asserted(spot, part, sentence)]
    if not mine:
        return False
    first = min([spot[0] for spot in mine] + [v.start for v in values])
    clause = sentence.clause[first] if len(gold.parts) == 1 else sentence.clause[mine[0][0]]
    here = {v.name for v in values if sentence.clause[v.start] == clause}
    if wanted == {"bilateral"} and here <= {"left", "right", "bilateral"}:
        return "bilateral" in here or here == {"left", "right"}
    others = {name for name in here if name not in wanted and not _is_kind_of(part.kind, name, wanted)}
    in_clause = any(sentence.clause[spot[0]] == clause for spot in mine)
    return in_clause and not others


@lru_cache(maxsize=4096)
def _is_kind_of_one(kind: str, name: str, wanted: str) -> bool:
    """Whether a name's first form has all words of the wanted one: "ct angiography" of "ct"."""
    own = forms_of(kind, name)
    return any(
        any(form[i : i + len(mine)] == mine for i in range(len(form)))
        for mine in forms_of(kind, wanted)
        for form in own
        if _INSIDE_OUT.isdisjoint(set(form) - set(mine))
    )


def _is_kind_of(kind: str, name: str, wanted: Iterable[str]) -> bool:
    """Whether a value is a special case of a wanted one: CT angiography of CT."""
    return any(_is_kind_of_one(kind, name, one) for one in wanted)


_JOINS = frozenset((",", "and", "or", "/", "&", "plus", "versus", "vs"))
_BETWEEN = frozenset("a an the both also possible probable likely small large mild moderate severe acute chronic left right with".split())


def _has_more(gold: Gold, sentences: list[Sentence]) -> bool:
    """Whether a further thing of the gold's kind is joined to it: "lungs and heart", "X or Y"."""
    kinds = {part.kind for part in gold.parts if part.needed and part.kind in _LISTED}
    if kinds & {"finding", "diagnosis"}:
        kinds |= {"finding", "diagnosis"}
    holding = [s for s in sentences if any(_holds(m, s, gold) for m in gold.members)]
    concluding = [s for s in holding if s.favored or s.concluding]
    for sentence in concluding or holding:
        own = sorted(
            {
                i
                for part in gold.parts
                for spot in spots_of(part, sentence)
                if is_asserted(spot, part, sentence)
                for i in spot
            }
        )
        low = [word.raw.lower() for word in sentence.words]
        if not gold.joined and any(
            low[i] in ("or", "vs", "versus") and sentence.clause[i] == sentence.clause[own[0]]
            for i in range(own[0], own[-1])
        ):
            return True
        if not gold.joined and _is_alternative(own, gold, sentence, low):
            return True
        for term in sentence.terms:
            span = range(term.start, term.end)
            if term.kind not in kinds or set(own) & set(span) or _belongs(term, gold):
                continue
            if not sentence.negated[term.start] and _is_joined(term, own, sentence, low):
                return True
    return False


_OR = frozenset(("or", "vs", "versus"))


def _is_alternative(own: list[int], gold: Gold, sentence: Sentence, low: list[str]) -> bool:
    """Whether the gold stands beside an "or" that offers something else than another name of it."""
    for i, step in ((own[-1] + 1, 1), (own[0] - 1, -1)):
        while 0 <= i < len(low) and (low[i] in _BETWEEN or low[i] == ","):
            i += step
        if 0 <= i < len(low) and low[i] in _OR and not sentence.negated[i]:
            other = [t for t in sentence.terms if abs(t.start - i) < 5 and (t.start - i) * step > 0]
            if not any(_belongs(term, gold) for term in other):
                return True
    return False


def _is_joined(term: Term, own: list[int], sentence: Sentence, low: list[str]) -> bool:
    """Whether only a comma, "and", "or" and the like stand between a term and the gold."""
    before = [i for i in own if i < term.start][-1:]
    behind = [i for i in own if i >= term.end][:1]
    for end, start in ((before, [term.start]), ([term.end - 1], behind)):
        if end and start and sentence.clause[end[0]] == sentence.clause[start[0]]:
            between = low[end[0] + 1 : start[0]]
            if not _JOINS.isdisjoint(between) and _JOINS | _BETWEEN >= set(between):
                return True
    return False


def _belongs(term: Term, gold: Gold) -> bool:
    """Whether a term is the gold itself, or a part of it by another name."""
    return any(part.kind and (part.name == term.name or _implies(term, part)) for part in gold.parts)


def _judge_denied(gold: Gold, prose: Prose, question: str) -> Outcome:
    """A gold such as "no fracture": denied somewhere, asserted nowhere.

    "No new fracture" denies less than that.
    """
    denied = asserted = False
    known = {form_stem for p in gold.parts for form in p.forms for form_stem in form}
    known |= {word.stem for word in words_of(question)} | _EMPTY | _DENYING
    for sentence in prose.sentences:
        spots = [spots_of(part, sentence) for part in gold.parts if part.needed]
        if not spots or not all(spots):
            continue
        head = spots[-1]
        for spot in head:
            if all(sentence.negated[i] for i in spot):
                denied |= _is_denied_whole(spot, sentence, known)
            elif not any(sentence.generic[i] for i in spot):
                asserted = True
    if not gold.parts:
        return Outcome.UNDECIDED
    return Outcome.RIGHT if denied and not asserted else Outcome.WRONG


_DENYING = frozenset(
    map(stem, "no not without evidence sign definite obvious focal any is are of for other abnormal significant"
        " visible image show radiograph x ray scan demonstrate identify appreciate see".split())
)  # fmt: skip


def _is_denied_whole(spot: tuple[int, ...], sentence: Sentence, known: set[str] | frozenset[str]) -> bool:
    """Whether nothing between the negation and the thing restricts it: "no new effusion" does."""
    first = spot[0]
    for i in range(first - 1, -1, -1):
        if not sentence.negated[i]:
            return True
        word = sentence.words[i]
        if word.raw in (",", "or", "nor", "and", "any"):
            return True
        if word.stem not in known:
            return False
    return True


def _judge_normal(question: str, prose: Prose) -> Outcome:
    normal, finding = False, False
    about = [t for t in terms_of(words_of(question)) if t.kind in ("organ", "place")]
    for sentence in _answers(prose):
        for term in sentence.terms:
            negated = sentence.negated[term.start] or sentence.generic[term.start]
            if term.kind == "state" and term.name == "normal":
                normal |= not negated
                finding |= negated
            elif term.kind in ("finding", "diagnosis") and not negated and not about:
                finding = True
            elif term.kind == "state" and term.name in ("abnormal", "enlarged", "dilated") and not negated:
                finding = True
    return Outcome.RIGHT if normal and not finding else Outcome.WRONG


# --- numbers ------------------------------------------------------------------------------------


def _only_number(gold: str) -> int | None:
    numbers = [w.stem for w in words_of(gold) if w.stem.isdigit()]
    return int(numbers[0]) if len(numbers) == 1 else None


def _judge_count(number: int, prose: Prose) -> Outcome:
    """The number that the concluding sentence gives, else the first."""
    sentences = [s for s in _answers(prose) if _numbers(s) and not s.generic[0]]
    if not sentences:
        return Outcome.WRONG
    chosen = next((s for s in sentences if s.concluding or s.final), sentences[0])
    numbers = _numbers(chosen)
    if any(chosen.hedged) and len(set(numbers)) > 1:
        return Outcome.WRONG
    return Outcome.RIGHT if numbers[0] == number else Outcome.WRONG


def _numbers(sentence: Sentence) -> list[int]:
    """Numbers that may count something: no ordinals, sizes, levels or parts of names."""
    found = []
    for i, word in enumerate(sentence.words):
        low = word.raw.lower()
        after = sentence.words[i + 1].raw.lower() if i + 1 < len(sentence.words) else ""
        if low == "both":
            found.append(2)
        elif low == "single" or (low == "a" and after == "single"):
            found.append(1)
        elif word.stem.isdigit() and after not in _UNITS and not sentence.negated[i]:
            if low == "one" and after == "of":
                continue
            if after in ("th", "st", "nd", "rd", "/", "x", "×", "%", "day", "week"):
                continue
            found.append(int(word.stem))
        elif low in ("no", "none") and i < 3:
            found.append(0)
    return found


_UNITS = frozenset("mm cm m ml cc weeks years % percent months year".split())
_BASE = {"wk": "weeks", "wks": "weeks", "yr": "years", "yrs": "years", "percent": "%"}


def _measures(text: str) -> list[tuple[str, tuple[Decimal, ...], str]]:
    """Every measure: (single | range | product, values in the base unit, the unit)."""
    found = []
    for match in _MEASURE.finditer(text):
        first, unit1, joint, second, unit2, third, unit3 = match.groups()
        unit = next((u for u in (unit3, unit2, unit1) if u), None)
        if unit is None:
            continue
        numbers = [n.replace(",", ".") for n in (first, second, third) if n]
        values = []
        for n, own in zip(numbers, (unit1, unit2, unit3), strict=False):
            quantity = parse_quantity(f"{n} {_BASE.get((own or unit).lower(), (own or unit).lower())}")
            if quantity is None:
                break
            values.append((quantity.value, quantity.unit))
        if len(values) != len(numbers):
            continue
        shape = "single" if not joint else "product" if joint in "x×*" else "range"
        shape = _bound(text, match.start()) or shape
        sign = text[match.start() - 1 : match.start()]
        if sign in ("-", "−") and not text[: match.start() - 1].strip()[-1:].isalnum():
            values = [(-v, u) for v, u in values]
        found.append((shape, tuple(v for v, _ in values), values[0][1]))
    return found


_ABOUT_MEASURE = frozenset(
    map(stem, "approximately about around roughly in by x diameter size width length to and mm cm m ml"
        " less more than under over greater smaller larger < > up at least most between".split())
)  # fmt: skip


def _is_only_measure(gold: str) -> bool:
    """Whether a gold is a measure and nothing else."""
    rest = _MEASURE.sub(" ", gold)
    return all(word.stem in _ABOUT_MEASURE or word.stem in _EMPTY for word in words_of(rest))


_BELOW = re.compile(r"(?:<|≤|\b(?:less|smaller|fewer) than|\bunder|\bbelow|\bup to|\bat most)\s*$", re.I)
_ABOVE = re.compile(r"(?:>|≥|\b(?:more|greater|larger) than|\bover|\babove|\bat least|\bexceeding)\s*$", re.I)


def _bound(text: str, start: int) -> str:
    """< or > where a measure is a bound; "" where it is none."""
    before = text[max(0, start - 20) : start]
    return "<" if _BELOW.search(before) else ">" if _ABOVE.search(before) else ""


def _judge_measure(gold: tuple[str, tuple[Decimal, ...], str], prose: Prose) -> Outcome:
    shape, values, unit = gold
    sentences = _answers(prose)
    chosen = [s for s in sentences if s.concluding] or sentences
    for sentence in chosen:
        if sentence.generic and sentence.generic[0]:
            continue
        for other, stated, its in _measures(sentence.text):
            if its != unit:
                continue
            if other == shape and (
                stated == values or (shape == "product" and sorted(stated) == sorted(values))
            ):
                return Outcome.RIGHT
            if shape == "single" and other == "product" and max(stated) == values[0]:
                return Outcome.RIGHT
            return Outcome.WRONG
    return Outcome.WRONG


