"""The statement that a yes/no question asks about.

"Is there a mass in the liver?" asks for the mass, with the liver as its subject; "Is the heart
enlarged?" asks for "enlarged", with the heart as its subject. `polarity` then searches an answer
for sentences that affirm or deny the statement.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from medr1.answers.prose.golds import STOP_WORDS, Part, parts_of_name
from medr1.answers.prose.mentions import EXCLUSIVE, THINGS
from medr1.answers.prose.terms import stems, terms_of, words_of

_PRESENCE = re.compile(
    r"^\s*(?:(?:is|are|was|were) there|(?:does|do|did) (?:the|this|these|that) (?:\w+[ -]){0,3}?"
    r"(?:show|contain|have|demonstrate|include|exhibit|reveal|suggest|depict|display|indicate"
    r"|appear to|look like)|(?:can|could) (?:you|we|one|i) (?:see|identify|observe|detect|find)"
    r"|do you see|(?:has|have) (?:the|this))\b",
    re.IGNORECASE,
)
"""The beginning of a question that asks whether something is there."""
_PRESENT = stems(
    "seen present visible visualized found identified observed shown noted exist evident detected"
    " appreciated displayed depicted appear"
)
"""Words that ask for the presence of a thing and name no thing themselves."""
_UNINFORMATIVE = stems(
    "image picture scan photo photograph film figure study slide view patient section case"
    " question evidence sign finding any look appear show contain have do doe did can could you we"
    " see is are was were be been being has had seem taken used using given made indicate i this"
    " these those there here currently likely consistent feature suggestion presence"
)
"""Words of a question that say nothing of what is asked."""
_PREPOSITION = re.compile(
    r"\s(?:of|in|on|at|around|under|with|along|near|to|from|within|behind|above|below|between|for|over|beneath|underneath|surrounding)\s"
)
"""The end of the thing that is asked for: "a mass | in the liver"."""
_SPATIAL = re.compile(
    r"\b(above|below|behind|beneath|beyond|under|outside|between|anterior|posterior)\b"
)
"""Words that relate the places of two things: "Is the tip above the carina?"."""
_THIS = re.compile(
    r"\s*(?:is|are|was|were) (?:this|these|that|it)\b(?! \w+ (?:of|in) )", re.IGNORECASE
)
"""The beginning of "Is this a CT scan?", in which each name is asked for."""
_IS_PRESENT = re.compile(
    r"\b(?:seen|visible|present|identified|visuali[sz]ed|noted|evident|detected|shown|included|depicted"
    r"|appreciated|observed|found|exist)\b",
    re.IGNORECASE,
)
_NORMAL = frozenset(("normal", "abnormal", "healthy", "clear"))
_STATES = frozenset(("state", "density", "texture", "color", "severity", "shape", "enhancement"))
"""Kinds that say how a thing is."""
_ACQUIRED = frozenset(("modality", "sequence", "plane", "view"))
"""Kinds that say how the image was taken."""
_ABNORMAL = stems("abnormality abnormal pathology pathological disease wrong lesion anomaly")


@dataclass(frozen=True)
class Proposition:
    """What a yes/no question asks about."""

    subject: tuple[Part, ...]
    """What it is about: the heart of "Is the heart enlarged?"."""
    predicate: tuple[Part, ...]
    """What is asked of the subject: enlarged, on the left; of "Is there X?" the X."""
    presence: bool
    """Whether it asks if something is there."""
    normality: bool
    """Whether it asks if something is normal or abnormal; `predicate` is then empty."""
    asks_normal: bool = False
    """If `normality`: whether yes means normal."""
    relation: str = ""
    """The relation of "Is X above Y?"; "" if there is none."""
    compares: bool = False
    """Whether it compares: "Is the left kidney larger than the right?"."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """Everything that the question names."""
        return (*self.subject, *self.predicate)


def _parts_of(text: str, presence: bool) -> list[Part]:
    """The names and other words with content in a question, in order."""
    words = words_of(text)
    term_at = {term.start: term for term in terms_of(words)}
    parts: list[Part] = []
    i = 0
    while i < len(words):
        term = term_at.get(i)
        end = term.end if term else i + 1
        form = tuple(word.stem for word in words[i:end])
        if term and (pieces := parts_of_name(form)) and _is_statement(pieces, presence):
            parts += pieces
        elif term:
            parts.append(Part(term.kind, term.name))
        elif form[0] not in STOP_WORDS:
            parts.append(Part("", form[0]))
        i = end
    return parts


def _is_statement(pieces: tuple[Part, ...], presence: bool) -> bool:
    """Whether a name states something about a thing, so that its pieces are separate parts.

    "Are the ribs fractured?" states "fractured" of the ribs, and "Is there a benign tumor?"
    "benign" of the tumor; in "Is there a rib fracture?" the name is one thing.
    """
    kinds = [piece.kind for piece in pieces]
    if presence:
        return kinds[0] in _STATES and kinds[-1] in THINGS
    return kinds[0] in ("organ", "place") and kinds[-1] in THINGS | _STATES | {""}


@lru_cache(maxsize=4096)
def parse_question(question: str) -> Proposition:
    """What a yes/no question asks: of "Is there X in Y?" the X, of "Is the X Y?" the Y of the X."""
    question = re.sub(r"\bmore than one\b", "multiple", question, flags=re.IGNORECASE)
    presence = bool(_PRESENCE.match(question) or _IS_PRESENT.search(question))
    text = _PRESENCE.sub(" ", question.strip().rstrip(" ?."))
    parts = [
        part for part in _parts_of(text, presence) if part.kind or part.name not in _UNINFORMATIVE
    ]
    parts = [part for part in parts if part.name not in _PRESENT and part.name != "present"]
    names = {part.name for part in parts}
    # "Is the disease acute?" names an abnormality, but does not ask whether there is one
    about_anything = presence or len(parts) == 1
    if names & _NORMAL or (
        about_anything and names & _ABNORMAL and not any(part.kind in THINGS for part in parts)
    ):
        subject = tuple(part for part in parts if part.name not in _NORMAL | _ABNORMAL)
        asks_normal = bool(names & (_NORMAL - {"abnormal"}))
        return Proposition(subject, (), presence, True, asks_normal)
    compares = bool(re.search(r"\bthan\b|\bas \w+ as\b", question))
    if presence:
        # of "Is there a mass in the liver?" the last part before "in" is what is asked for
        before_preposition = _PREPOSITION.split(text, maxsplit=1)[0]
        parts_before = [part for part in _parts_of(before_preposition, presence) if part in parts]
        head = parts_before[-1:] or parts[:1]
        subject = tuple(part for part in parts if part not in head)
        return Proposition(subject, tuple(head), True, False, compares=compares)
    all_names = {part.name for part in parts}
    relation = _SPATIAL.search(question)
    if relation and any(relation[1].lower() in name.split() for name in all_names):
        relation = None  # it belongs to a name: the anterior cruciate ligament
    exclusive = [part for part in parts if part.kind in EXCLUSIVE and part.kind != "side"]
    # "Is the lesion hypodense on CT?" asks for the density, not for the modality
    last_exclusive = ([part for part in exclusive if part.kind not in _ACQUIRED] or exclusive)[-1:]
    predicate = last_exclusive or parts[-1:]
    if _THIS.match(question):  # "Is this an axial CT of the liver?" asks for each of these
        predicate = [
            part for part in parts if part.kind in EXCLUSIVE or part.kind in ("organ", "place")
        ] or predicate
    subject = tuple(part for part in parts if part not in predicate)
    asked_relation = relation[1].lower() if relation and not last_exclusive else ""
    return Proposition(
        subject, tuple(predicate), False, False, relation=asked_relation, compares=compares
    )
