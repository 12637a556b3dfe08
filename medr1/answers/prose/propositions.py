"""What a yes/no question asks: of "Is there X?" the X, of "Is the X Y?" the Y of the X."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from medr1.answers.prose.golds import Part, parts_of
from medr1.answers.prose.mentions import EXCLUSIVE
from medr1.answers.prose.terms import stems

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
THINGS = frozenset(("finding", "diagnosis", "device"))
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


@lru_cache(maxsize=4096)
def proposition(question: str) -> Proposition:
    """What the question asks: of "Is there X in Y?" the X, of "Is the X Y?" the Y of the X."""
    question = re.sub(r"\bmore than one\b", "multiple", question, flags=re.IGNORECASE)
    presence = bool(_PRESENCE.match(question))
    text = _PRESENCE.sub(" ", question.strip().rstrip(" ?."))
    parts = [part for part in parts_of(text) if part.kind or part.name not in _PICTURE]
    parts = [p for p in parts if p.name not in _PRESENT and p.name != "present"]
    presence |= bool(_IS_PRESENT.search(question))
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
        first = [p for p in parts_of(_PREPOSITION.split(text, maxsplit=1)[0]) if p in parts]
        head = first[-1:] or parts[:1]
        rest = tuple(p for p in parts if p not in head)
        return Proposition(rest, tuple(head), True, False, compares=compares)
    relation = _SPATIAL.search(question)
    last = [p for p in parts if p.kind in EXCLUSIVE and p.kind != "side"][-1:]
    predicate = last or parts[-1:]
    if _THIS.match(question):
        predicate = [
            p for p in parts if p.kind in EXCLUSIVE or p.kind in ("organ", "place")
        ] or predicate
    subject = tuple(p for p in parts if p not in predicate)
    asked = relation[1].lower() if relation and not last else ""
    return Proposition(subject, tuple(predicate), False, False, relation=asked, compares=compares)
