"""What a yes/no question asks: of "Is there X?" the X, of "Is the X Y?" the Y of the X."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from medr1.answers.prose.golds import EMPTY, Part, made_of
from medr1.answers.prose.mentions import EXCLUSIVE, THINGS
from medr1.answers.prose.terms import stems, terms_of, words_of

_PRESENCE = re.compile(
    r"^\s*(?:(?:is|are|was|were) there|(?:does|do|did) (?:the|this|these|that) (?:\w+[ -]){0,3}?"
    r"(?:show|contain|have|demonstrate|include|exhibit|reveal|suggest|depict|display|indicate"
    r"|appear to|look like)|(?:can|could) (?:you|we|one|i) (?:see|identify|observe|detect|find)"
    r"|do you see|(?:has|have) (?:the|this))\b",
    re.IGNORECASE,
)
_PRESENT = stems(
    "seen present visible visualized found identified observed shown noted exist evident detected"
    " appreciated displayed depicted appear"
)
_PICTURE = stems(
    "image picture scan photo photograph film figure study slide view patient section case"
    " question evidence sign finding any look appear show contain have do doe did can could you we"
    " see is are was were be been being has had seem taken used using given made indicate i this"
    " these those there here currently likely consistent feature suggestion presence"
)
_PREPOSITION = re.compile(
    r"\s(?:of|in|on|at|around|under|with|along|near|to|from|within|behind|above|below|between|for|over|beneath|underneath|surrounding)\s"
)
_SPATIAL = re.compile(
    r"\b(above|below|behind|beneath|beyond|under|outside|between|anterior|posterior)\b"
)
_THIS = re.compile(
    r"\s*(?:is|are|was|were) (?:this|these|that|it)\b(?! \w+ (?:of|in) )", re.IGNORECASE
)
_IS_PRESENT = re.compile(
    r"\b(?:seen|visible|present|identified|visuali[sz]ed|noted|evident|detected|shown|included|depicted"
    r"|appreciated|observed|found|exist)\b",
    re.IGNORECASE,
)
_NORMAL = frozenset(("normal", "abnormal", "healthy", "clear"))
_STATES = frozenset(("state", "density", "texture", "color", "severity", "shape", "enhancement"))
_ACQUIRED = frozenset(("modality", "sequence", "plane", "view"))
_ABNORMAL = stems("abnormality abnormal pathology pathological disease wrong lesion anomaly")


@dataclass(frozen=True)
class Proposition:
    """What a yes/no question asks about."""

    subject: tuple[Part, ...]
    """What it is about: the heart, the mass."""
    predicate: tuple[Part, ...]
    """What is asked of it: enlarged, on the left; of "Is there X?" the X."""
    presence: bool
    """Whether it asks if something is there."""
    normality: bool
    """Whether it asks if anything is abnormal."""
    asks_normal: bool = False
    """Of normality: whether yes means normal."""
    relation: str = ""
    """Of "Is X above Y?" the relation."""
    compares: bool = False
    """Whether it compares, as in: is the left kidney larger than the right?"""

    @property
    def parts(self) -> tuple[Part, ...]:
        """Everything that it names."""
        return (*self.subject, *self.predicate)


def _parts_of(text: str, presence: bool) -> list[Part]:
    """The names and other words of content in a question, in order."""
    words = words_of(text)
    named = {term.start: term for term in terms_of(words)}
    parts: list[Part] = []
    i = 0
    while i < len(words):
        term = named.get(i)
        end = term.end if term else i + 1
        form = tuple(word.stem for word in words[i:end])
        if term and (pieces := made_of(form)) and _is_statement(pieces, presence):
            parts += pieces
        elif term:
            parts.append(Part(term.kind, term.name))
        elif form[0] not in EMPTY:
            parts.append(Part("", form[0]))
        i = end
    return parts


def _is_statement(pieces: tuple[Part, ...], presence: bool) -> bool:
    """Whether a name says something of a thing: rib and fracture in "Are the ribs fractured?",
    benign and tumor in "Is there a benign tumor?"; but "a rib fracture" is one thing."""
    kinds = [piece.kind for piece in pieces]
    if presence:
        return kinds[0] in _STATES and kinds[-1] in THINGS
    return kinds[0] in ("organ", "place") and kinds[-1] in THINGS | _STATES | {""}


@lru_cache(maxsize=4096)
def proposition(question: str) -> Proposition:
    """What the question asks: of "Is there X in Y?" the X, of "Is the X Y?" the Y of the X."""
    question = re.sub(r"\bmore than one\b", "multiple", question, flags=re.IGNORECASE)
    presence = bool(_PRESENCE.match(question) or _IS_PRESENT.search(question))
    text = _PRESENCE.sub(" ", question.strip().rstrip(" ?."))
    parts = [p for p in _parts_of(text, presence) if p.kind or p.name not in _PICTURE]
    parts = [p for p in parts if p.name not in _PRESENT and p.name != "present"]
    names = {p.name for p in parts}
    anything = presence or len(parts) == 1
    if names & _NORMAL or (
        anything and names & _ABNORMAL and not any(p.kind in THINGS for p in parts)
    ):
        rest = tuple(p for p in parts if p.name not in _NORMAL | _ABNORMAL)
        asks_normal = bool(names & (_NORMAL - {"abnormal"}))
        return Proposition(rest, (), presence, True, asks_normal)
    compares = bool(re.search(r"\bthan\b|\bas \w+ as\b", question))
    if presence:
        before = _PREPOSITION.split(text, maxsplit=1)[0]
        first = [p for p in _parts_of(before, presence) if p in parts]
        head = first[-1:] or parts[:1]
        rest = tuple(p for p in parts if p not in head)
        return Proposition(rest, tuple(head), True, False, compares=compares)
    named = {part.name for part in parts}
    relation = _SPATIAL.search(question)
    if relation and any(relation[1].lower() in name.split() for name in named):
        relation = None  # of a name: the anterior cruciate ligament
    exclusive = [p for p in parts if p.kind in EXCLUSIVE and p.kind != "side"]
    last = ([p for p in exclusive if p.kind not in _ACQUIRED] or exclusive)[-1:]
    predicate = last or parts[-1:]
    if _THIS.match(question):
        predicate = [
            p for p in parts if p.kind in EXCLUSIVE or p.kind in ("organ", "place")
        ] or predicate
    subject = tuple(p for p in parts if p not in predicate)
    asked = relation[1].lower() if relation and not last else ""
    return Proposition(subject, tuple(predicate), False, False, relation=asked, compares=compares)
