"""One sentence with what each of its words is: denied, doubted, spared, background.

In the style of NegEx: a cue reaches along its clause.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from medr1.answers.prose.cues import (
    CALLED,
    CONCLUDING,
    DOUBLE,
    FAVORED,
    FREE,
    GENERIC,
    HEDGE,
    MODALS,
    MOST_LIKELY,
    NOT_FAVORED,
    OF_IMAGE,
    POST,
    PRE,
    PREDICATES,
    REACH,
    RELATION,
    SEEN,
    SPARED,
    STOPS,
    SUBORDINATE,
    TO_COMMA,
    VERBS,
)
from medr1.answers.prose.terms import Term, Word, spell_out, terms_of, words_of


@dataclass
class Sentence:
    """One sentence, or one line of a list."""

    text: str
    words: list[Word]
    terms: list[Term]
    negated: list[bool]
    hedged: list[bool]
    spared: list[bool]
    related: list[bool]
    """Only where something else lies: "below the gallbladder"."""
    clause: list[int]
    segment: list[int]
    """The number of the member of a list that each word is in."""
    final: bool = False
    """Whether it stands under a heading such as IMPRESSION."""
    lower: bool = False
    """Whether it stands under a heading such as "Less likely"."""
    bullet: bool = False
    """Whether it is a line of a list."""
    normal: bool = False
    """Whether it calls something normal, intact, clear or the like."""
    generic: list[bool] = field(default_factory=list)
    """Where it speaks of a thing in general."""

    @cached_property
    def places(self) -> dict[str, list[int]]:
        """Stem -> the indices of the words that have it."""
        found: dict[str, list[int]] = {}
        for i, word in enumerate(self.words):
            found.setdefault(word.stem, []).append(i)
        return found

    @cached_property
    def favored(self) -> bool:
        return bool(FAVORED.search(self.text)) and not NOT_FAVORED.search(self.text)

    @cached_property
    def favored_clauses(self) -> set[int]:
        """The clauses that choose one of several possibilities."""
        if not self.favored:
            return set()
        places = [match.start() for match in FAVORED.finditer(self.text)]
        return {
            self.clause[i]
            for i, word in enumerate(self.words)
            if any(word.start <= place < word.start + len(word.raw) for place in places)
        }

    @cached_property
    def concluding(self) -> bool:
        return bool(CONCLUDING.search(self.text))


def read_sentence(text: str, section: str = "") -> Sentence:
    """A sentence with what its words are."""
    text = spell_out(FREE.sub(r"\1 absent", text))  # the text that the words' places are in
    words = words_of(text)
    low = [word.raw.lower() for word in words]
    n = len(words)
    sentence = Sentence(
        text, words, terms_of(words), [False] * n, [False] * n, [False] * n, [False] * n,
        _clauses(low), [],
        final=section == "final", lower=section == "lower",
    )  # fmt: skip
    sentence.segment = _segments(low, sentence.clause)
    sentence.generic = [False] * n
    for start, end in _places(low, GENERIC):
        before = set(low[max(0, start - 1) : start])
        says_so = before & {"this", "that", "which", "it"} or low[end : end + 1] == ["that"]
        if low[start] == "means" and says_so:
            continue
        if not {"a", "an"} & before and not CALLED & set(low[end : end + 1]):
            _mark_general(sentence, low, start)
    if low[:1] == ["most"] and not MOST_LIKELY & set(low[1:2]):
        _mark_general(sentence, low, 0)
    for start, end in _places(low, ("can be",)):
        if low[end:] and low[end] not in SEEN:
            _mark_general(sentence, low, start)
    _mark_negation(sentence, low)
    for term in sentence.terms:
        if low[term.start] in PRE:  # "no abnormality" is a name for normal
            sentence.negated[term.start : term.end] = [False] * (term.end - term.start)
    for match in OF_IMAGE.finditer(text):
        for i, word in enumerate(words):
            sentence.hedged[i] |= match.start() <= word.start < match.end()
    _mark_hedges(sentence, low)
    for start, _ in _places(low, SPARED):
        if not sentence.negated[start]:
            sentence.normal = True
            for place in _with_antecedent(sentence.clause, low, start):
                _mark_clause(sentence.spared, sentence.clause, place)
    _mark_subjects_of_not(sentence, low)
    for start, end in _places(low, RELATION):
        if low[start] in ("toward", "towards") and {"left", "right"} & set(low[end : end + 2]):
            continue  # where it moves to
        for i in range(end, min(n, end + REACH)):
            if low[i] in STOPS or low[i] in (",", "in", "within") or low[i] in VERBS:
                break
            sentence.related[i] = True
    return sentence


def _mark_hedges(sentence: Sentence, low: list[str]) -> None:
    """What a hedge, a "would" or a question mark leaves open."""
    for start, _ in _places(low, HEDGE):
        if low[start] in MODALS and low[start - 1 : start] == ["that"]:
            for i in range(start, len(low)):  # "a disease that may recur" is not in doubt itself
                sentence.hedged[i] |= sentence.clause[i] == sentence.clause[start]
        elif low[start] != "either" or "or" in low[start : start + 8]:
            _mark_clause(sentence.hedged, sentence.clause, start)
            behind = sentence.clause[start] + 1  # what a colon introduces is hedged as well
            if behind in sentence.clause and low[sentence.clause.index(behind)] == ":":
                _mark_clause(sentence.hedged, sentence.clause, sentence.clause.index(behind))
    for start, end in _places(low, ("would",)):
        commits = low[end : end + 1] == ["suggest"] or {"i", "we"} & set(low[start - 1 : start])
        if not commits:
            _mark_clause(sentence.hedged, sentence.clause, start)
    if "?" in low:
        sentence.hedged = [True] * len(low)


def speaks_in_general(text: str) -> bool:
    """Whether a text has a word such as usually or commonly."""
    return any(_places([word.raw.lower() for word in words_of(text)], GENERIC))


def _mark_general(sentence: Sentence, low: list[str], place: int) -> None:
    """From the cue's clause to the end, but a relative clause alone: "a cyst, which is usually"."""
    first = sentence.clause.index(sentence.clause[place])
    relative = low[first] in ("which", "who", "where")
    for i in range(first, len(low)):
        if not relative or sentence.clause[i] == sentence.clause[place]:
            sentence.generic[i] = True


def _places(low: list[str], phrases: Iterable[str]) -> Iterable[tuple[int, int]]:
    """Where the phrases stand: (start, end) in words."""
    joined = " " + " ".join(low) + " "
    for phrase in phrases:
        at = joined.find(f" {phrase} ")
        while at >= 0:
            start = joined.count(" ", 0, at)
            yield start, start + phrase.count(" ") + 1
            at = joined.find(f" {phrase} ", at + 1)


def _clauses(low: list[str]) -> list[int]:
    """The number of the clause that each word is in."""
    numbers, now, verb = [], 0, False
    main = low.index(",") if SUBORDINATE & set(low[:1]) and "," in low else -1
    for i, word in enumerate(low):
        if word == "-" and not (i and low[i - 1][-1:].isdigit() and low[i + 1 :]):
            now, verb = now + 1, False
        joins = word in (",", "and", "with") and verb and _is_clause(low, i + 1)
        joins &= PREDICATES.isdisjoint(low[i + 1 : i + 2])  # lies lower and is not seen
        joins |= word == "and" and verb and bool(MODALS & set(low[i + 1 : i + 2]))
        if word in STOPS or joins or i == main:
            now, verb = now + 1, False
        verb |= word in VERBS
        numbers.append(now)
    return numbers


def _segments(low: list[str], clause: list[int]) -> list[int]:
    """Clauses cut at commas, "and", "with" and the like."""
    numbers, now = [], 0
    for i, word in enumerate(low):
        now += word in (",", "and", "with", "or", "plus", "&", "/", "than") or (
            i > 0 and clause[i] != clause[i - 1]
        )
        numbers.append(now)
    return numbers


def _is_clause(low: list[str], start: int) -> bool:
    """Whether what follows up to the next separator has a verb of its own."""
    for word in low[start : start + 9]:
        if word in (",", "and", "or") or word in STOPS:
            return False
        if word in VERBS:
            return True
    return False


def _mark_clause(flags: list[bool], clause: list[int], place: int) -> None:
    for i, number in enumerate(clause):
        if number == clause[place]:
            flags[i] = True


def _with_antecedent(clause: list[int], low: list[str], place: int) -> list[int]:
    """A place, and one in the clause before a relative one: "the duct, which ..., is"."""
    first = clause.index(clause[place])
    if first and low[first] in ("which", "who", "where") and "," in low[first:place]:
        return [place, first - 1]
    return [place]


def _mark_subjects_of_not(sentence: Sentence, low: list[str]) -> None:
    """Of "the fibula is not fractured" the fibula: it is not the one."""
    for i, word in enumerate(low):
        if (word == "not" and VERBS & set(low[max(0, i - 1) : i])) or word.endswith("n't"):
            for j in range(i):
                sentence.spared[j] |= sentence.clause[j] == sentence.clause[i]


_CANNOT = frozenset(("cannot", "can't", "not", "couldn't"))
"""Of "cannot be ruled out": that it may be there."""


def _mark_negation(sentence: Sentence, low: list[str]) -> None:
    n, clause, flags = len(low), sentence.clause, sentence.negated
    post = {}
    for start, end in _places(low, POST):
        if low[start - 1 : start] == ["be"] and _CANNOT & set(low[start - 2 : start - 1]):
            _mark_clause(sentence.hedged, clause, start)
        else:
            post[start] = end
    for start in post:
        reached = {clause[place] for place in _with_antecedent(clause, low, start)}
        if low[max(0, start - 1) : start] == ["-"]:  # "pneumonia - less likely"
            reached.add(clause[start] - 1)
        begin = _start_of_participle(low, start)
        for i in range(begin, start):
            flags[i] |= clause[i] in reached
    for i, word in enumerate(low):
        if word.endswith("n't"):
            _mark_after(flags, clause, low, i, i + 1)
        elif word == "non" and i + 1 < n:
            flags[i + 1] = True
    doubles = {start for start, _ in _places(low, DOUBLE)}
    for start, end in _places(low, PRE):
        if start in doubles or start in post or any(s < start < e for s, e in post.items()):
            continue
        _mark_after(flags, clause, low, start, end)


def _start_of_participle(low: list[str], end: int) -> int:
    """Where ", the others being" begins before a word; 0 without one."""
    commas = [i for i in range(end) if low[i] == ","]
    return commas[-1] if commas and "being" in low[commas[-1] : end] else 0


def _mark_after(flags: list[bool], clause: list[int], low: list[str], start: int, end: int) -> None:
    """From the cue to the end of its clause; of "no effusion is seen" up to the verb."""
    of_noun = low[start] in ("no", "lack", "absence", "without", "free", "negative", "history")
    for i in range(end, len(low)):
        if clause[i] != clause[end - 1] or low[i] in STOPS:
            break
        if low[i] == "," and low[start] in TO_COMMA:
            break
        if of_noun and i > end and low[i] in VERBS and low[i - 1] not in ("that", "which", "to"):
            break
        flags[i] = True
