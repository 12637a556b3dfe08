"""A gold taken apart: its members, if it is a list, and the names and words each needs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

from medr1.answers.prose.terms import forms_of, pieces_of, stems, terms_of, word_set, words_of

EMPTY = word_set(
    "a an the of in on at to is are was were be been it this that these those there with by for"
    " from and as its their his her which , . : ; ( ) - / & + = ' \" type kind evidence sign seen"
    " present visible noted area region"
)
HEADS = stems(
    "scan image imaging imag side view plane section weighted sequence film study picture"
    " photograph projection lesion stain phase color organ lobe level mri cavity"
)
"""Words that a gold may carry and an answer may leave out: "MRI scan", "left side"."""
LONGEST_GOLD = 1_000
"""Characters of a gold that is still taken apart; a longer one is a report and no answer."""
_NEGATIVE = re.compile(
    r"^(?:no|not|without|absence of|absent|negative for|negative|none|nil)\b\s*"
    r"(?:evidence of |signs? of )?",
    re.IGNORECASE,
)
_RELATIONS = word_set("to from into above below than over under between before after onto behind")


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
    asked_side: str = ""
    """The one side that the question names, where the gold names none."""
    joined: bool = False
    """Whether it offers alternatives itself: "x or y"."""
    relates: bool = False
    """Whether it says where something lies by another thing: "above the carina"."""

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The parts of all members, each once."""
        return tuple(dict.fromkeys(part for member in self.members for part in member))


@lru_cache(maxsize=4096)
def parse_gold(text: str, question: str) -> Gold:
    """The gold's members and parts; what the question says already, an answer may leave out."""
    denied = _NEGATIVE.match(text.strip())
    if denied:
        text = text.strip()[denied.end() :]
    asked = {word.stem for word in words_of(question)}
    optional = set() if " or " in question.lower() else asked
    members = []
    for piece in re.split(r"\s*[,;]\s+(?:and\s+)?|\s+(?:and|&|with(?!\s+contrast))\s+", text):
        if member := _parts(piece, optional):
            members.append(member)
    if members and not any(part.needed for member in members for part in member):
        members = [tuple(Part(p.kind, p.name) for p in member) for member in members]
    parts = [part for member in members for part in member]
    numbers = sum(not p.kind and p.name.isdigit() for p in parts)
    sides = {p.name for p in parts if p.kind == "side"}
    relations = _RELATIONS & set(text.lower().split())
    ordered = bool(relations) or numbers > 1 or len(sides) > 1
    asked_sides = asked & {"left", "right"}
    side = asked_sides.pop() if len(asked_sides) == 1 and not sides else ""
    joined = bool(re.search(r"\bor\b|/", text))
    relates = bool(relations - {"to", "from", "than", "before", "after"})
    return Gold(tuple(members), bool(denied), ordered, side, joined, relates)


@lru_cache(maxsize=4096)
def made_of(form: tuple[str, ...]) -> tuple[Part, ...]:
    """The parts of a name of several words: of "rib fracture" the rib and the fracture."""
    return tuple(
        Part("", piece) if isinstance(piece, str) else Part(piece.kind, piece.name)
        for piece in pieces_of(form)
        if piece not in EMPTY
    )


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
        if word not in EMPTY:
            parts.append(Part("", word, word not in optional and word not in HEADS))
        i += 1
    if parts and not any(part.needed for part in parts):
        parts = [Part(p.kind, p.name, p.name not in HEADS) for p in parts]
    return tuple(parts)
