"""Splits a ground truth into its parts.

A ground truth is one answer or a list of members; each member has one or more parts, which are
names of the vocabulary or other words. An answer is later searched for each part by all its names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

from medr1.answers.prose.terms import forms_of, pieces_of, stems, terms_of, word_set, words_of

STOP_WORDS = word_set(
    "a an the of in on at to is are was were be been it this that these those there with by for"
    " from and as its their his her which , . : ; ( ) - / & + = ' \" type kind evidence sign seen"
    " present visible noted area region"
)
"""Words and signs that no part of a ground truth consists of."""
OMITTABLE = stems(
    "scan image imaging imag side view plane section weighted sequence film study picture"
    " photograph projection lesion stain phase color organ lobe level mri cavity"
)
"""Words that a ground truth may have and an answer may leave out: "CT scan", "left side"."""
LONGEST_GROUND_TRUTH = 1_000
"""Characters of a ground truth that is still read; a longer one is a report, not an answer."""
_NEGATIVE = re.compile(
    r"^(?:no|not|without|absence of|absent|negative for|negative|none|nil)\b\s*"
    r"(?:evidence of |signs? of )?",
    re.IGNORECASE,
)
_RELATIONS = word_set("to from into above below than over under between before after onto behind")


@dataclass(frozen=True)
class Part:
    """One thing that a ground truth or a question names: a name of the vocabulary, or a word."""

    kind: str
    """The kind of the vocabulary's name, such as "organ"; "" for any other word."""
    name: str
    """The vocabulary's preferred name, or the word's stem."""
    needed: bool = True
    """False if an answer may leave it out."""

    @property
    def forms(self) -> tuple[tuple[str, ...], ...]:
        """Every name of the part, each as the stems of its words."""
        return forms_of(self.kind, self.name) if self.kind else ((self.name,),)


@dataclass(frozen=True)
class GroundTruth:
    """The members and parts of a ground truth.

    "left pleural effusion and cardiomegaly" has two members; the first has the parts left and
    pleural effusion.
    """

    members: tuple[tuple[Part, ...], ...]
    """The parts of each member of a list; one member if it is no list."""
    is_negative: bool
    """Whether it says that something is not there: "no fracture"."""
    ordered: bool = False
    """Whether the order of its parts has a meaning: "left to right shunt", "3 of 5 nodes"."""
    question_side: str = ""
    """"left" or "right", if the question names this one side and the ground truth names none."""
    has_alternatives: bool = False
    """Whether it offers alternatives itself: "x or y"."""
    has_landmark: bool = False
    """Whether it says where something lies by naming another thing: "above the carina"."""

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The parts of all members, each once."""
        return tuple(dict.fromkeys(part for member in self.members for part in member))


@lru_cache(maxsize=4096)
def parse_ground_truth(text: str, question: str) -> GroundTruth:
    """Split a ground truth into its members and parts.

    Args:
        text: The ground truth, of at most `LONGEST_GROUND_TRUTH` characters.
        question: The question, or "". An answer may leave out what the question names already,
            unless the question offers alternatives: to "Is it the left or the right lung?" the
            answer must name the side.
    """
    negation = _NEGATIVE.match(text.strip())
    if negation:
        text = text.strip()[negation.end() :]
    question_stems = {word.stem for word in words_of(question)}
    optional_stems = set() if " or " in question.lower() else question_stems
    members = []
    # "with" separates members ("fracture with hematoma"), but "CT with contrast" is one thing
    for member_text in re.split(r"\s*[,;]\s+(?:and\s+)?|\s+(?:and|&|with(?!\s+contrast))\s+", text):
        if member := _parts(member_text, optional_stems):
            members.append(member)
    if members and not any(part.needed for member in members for part in member):
        # each word may be left out ("the image"), but then any answer would be right
        members = [tuple(Part(part.kind, part.name) for part in member) for member in members]
    parts = [part for member in members for part in member]
    n_numbers = sum(not part.kind and part.name.isdigit() for part in parts)
    sides = {part.name for part in parts if part.kind == "side"}
    relations = _RELATIONS & set(text.lower().split())
    ordered = bool(relations) or n_numbers > 1 or len(sides) > 1
    question_sides = question_stems & {"left", "right"}
    question_side = question_sides.pop() if len(question_sides) == 1 and not sides else ""
    has_alternatives = bool(re.search(r"\bor\b|/", text))
    has_landmark = bool(relations - {"to", "from", "than", "before", "after"})
    return GroundTruth(
        tuple(members), bool(negation), ordered, question_side, has_alternatives, has_landmark
    )


@lru_cache(maxsize=4096)
def parts_of_name(form: tuple[str, ...]) -> tuple[Part, ...]:
    """The parts of a name of several stems: rib and fracture of "rib fracture"."""
    return tuple(
        Part("", piece) if isinstance(piece, str) else Part(piece.kind, piece.name)
        for piece in pieces_of(form)
        if piece not in STOP_WORDS
    )


def _parts(text: str, optional_stems: set[str]) -> tuple[Part, ...]:
    """The parts of one member; those that `optional_stems` name are not needed."""
    words = words_of(text)
    term_at = {term.start: term for term in terms_of(words)}
    parts: list[Part] = []
    i = 0
    while i < len(words):
        if term := term_at.get(i):
            in_question = any(
                set(form) <= optional_stems for form in forms_of(term.kind, term.name)
            )
            parts.append(Part(term.kind, term.name, not in_question))
            i = term.end
            continue
        word = words[i].stem
        if word not in STOP_WORDS:
            parts.append(Part("", word, word not in optional_stems and word not in OMITTABLE))
        i += 1
    if parts and not any(part.needed for part in parts):
        # "Is it the liver?" names all of "liver"; without a needed part any answer would be right
        parts = [Part(part.kind, part.name, part.name not in OMITTABLE) for part in parts]
    return tuple(parts)
