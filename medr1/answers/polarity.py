"""Yes or no: what a text says of the thing that was asked, and not whether it has a "no" in it.

A leading yes or no answers. Otherwise each sentence is held against the question's proposition:
what is asked to be there, to be normal, enlarged, on the left. Where that cannot be done, the
answer is undecided.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from medr1.answers.assertion import EXCLUSIVE, Part, is_asserted, parts_of, spots_of, values_of
from medr1.answers.prose import Prose, Sentence, read_prose
from medr1.answers.terms import Term, stem

YES, NO = "yes", "no"
_OPPOSITE = {YES: NO, NO: YES}

_LEADING = re.compile(
    r"(?:(?:well|hmm|ok|okay|so|answer:|final answer:|my answer is|the answer is|i think|i would say"
    r"|i believe|here|overall),?\s+)*"
    r"(?:(?P<yes>yes\b|yeah\b|yep\b|yup\b|(?:correct|true|affirmative|positive|present|indeed|absolutely"
    r"|certainly|definitely|exactly|agreed|right|of course|that is (?:right|correct|true)"
    r"|that's (?:right|correct|true)|it is|it does|there is|there are|they are)(?=\s*(?:[.,;:!]|$)))"
    r"|(?P<no>no(?=\s*(?:[.,;:!?(–—-]|$|\n)|\s+(?:the|there|it|this|that|i|because|not|these|they|an?)\b)"
    r"|nope\b|not really\b|not at all\b|negative(?=\s*(?:[.,;:!]|$))|(?:absent|false|incorrect|none"
    r"|not (?:seen|present|visible|identified|evident|correct))(?=\s*(?:[.,;:!]|$))|it is not\b(?=\s*[.,;]|$)"
    r"|it does not\b(?=\s*[.,;]|$)))",
    re.IGNORECASE,
)
_BARE = re.compile(
    r"(?:the answer is |answer: ?)?(yes|no)(?=\s*(?:[.,;:!–—-]|$)|(?: \S+){1,3}\s*$)", re.IGNORECASE
)
_FILLER = re.compile(r"(?:yes|no problem|sure),? (?:i'd be|i would be|i can help|happy to|let me)", re.I)
_BOTH = re.compile(r"\b(?:yes (?:and|or) no|no (?:and|or) yes|neither yes nor no)\b", re.IGNORECASE)
_STATED = re.compile(
    r"(?:\banswer (?:is|should be|would be|must be|to the question is)\s*:?\s*|\banswer:\s*|,\s+|:\s*"
    r"|^\s*|\bthat is a\s+)[\"'*]*(yes|no)\b[\"'*]*(?=\s*(?:[.,;:!–—-]|$))",
    re.IGNORECASE,
)
_PRESENCE = re.compile(
    r"^\s*(?:(?:is|are|was|were) there|(?:does|do|did) (?:the|this|these|that) (?:\w+[ -]){0,3}?"
    r"(?:show|contain|have|demonstrate|include|exhibit|reveal|suggest|depict|display|indicate|appear to"
    r"|look like)|(?:can|could) (?:you|we|one|i) (?:see|identify|observe|detect|find)|do you see"
    r"|(?:has|have) (?:the|this))\b",
    re.IGNORECASE,
)
_PRESENT = frozenset(
    map(stem, "seen present visible visualized found identified observed shown noted exist evident detected"
        " appreciated displayed depicted appear".split())
)  # fmt: skip
_PICTURE = frozenset(
    map(stem, "image picture scan photo photograph film figure study slide view patient section case"
        " question evidence sign finding any look appear show contain have do doe did can could you we see"
        " is are was were be been being has had seem taken used using given made indicate i this"
        " these those there here currently likely consistent feature suggestion presence".split())
)  # fmt: skip
_PREPOSITION = re.compile(
    r"\s(?:of|in|on|at|around|under|with|along|near|to|from|within|behind|above|below|between|for|over)\s"
)
_RELATION = re.compile(r"\b(above|below|behind|beneath|beyond|under|outside|between|anterior|posterior)\b")
_NORMAL = frozenset(("normal", "abnormal", "healthy", "clear"))
_THINGS = frozenset(("finding", "diagnosis", "device"))
_ABNORMAL = frozenset(map(stem, "abnormality abnormal pathology pathological disease wrong lesion anomaly".split()))
_ANTONYMS = (
    ("normal", "abnormal enlarged dilated thickened fracture effaced widened reduced lost diseased"),
    ("healthy", "abnormal diseased unhealthy"), ("abnormal", "normal unremarkable"),
    ("enlarged", "small normal atrophic shrunken collapsed"), ("large", "small tiny"),
    ("small", "large enlarged"), ("benign", "malignant cancerous malignancy"),
    ("malignant", "benign"), ("malignancy", "benign"), ("cancer", "benign"),
    ("intact", "torn interrupted ruptured broken disrupted fractured"), ("fracture", "intact"),
    ("torn", "intact"), ("displaced", "non-displaced aligned undisplaced anatomical"),
    ("non-displaced", "displaced"), ("midline", "deviated shifted displaced deviation shift"),
    ("deviated", "midline central"), ("shift", "midline"), ("acute", "chronic old"),
    ("chronic", "acute recent"), ("symmetric", "asymmetric asymmetry asymmetrical"),
    ("asymmetric", "symmetric symmetrical"), ("unilateral", "bilateral both"),
    ("bilateral", "unilateral"), ("well-defined", "infiltrative irregular ill-defined spiculated"),
    ("ill-defined", "well-defined circumscribed smooth sharp"), ("smooth", "irregular spiculated nodular"),
    ("regular", "irregular"), ("irregular", "regular smooth"), ("sharp", "blunted blurred"),
    ("blunted", "sharp"), ("open", "effaced closed"), ("effaced", "open preserved"),
    ("solid", "cystic"), ("cystic", "solid"), ("solitary", "multiple several two three"),
    ("multiple", "single solitary one"), ("widened", "normal narrow"),
    ("homogeneous", "heterogeneous inhomogeneous"), ("heterogeneous", "homogeneous uniform"),
    ("hyperdense", "hypodense"), ("hypodense", "hyperdense"), ("hyperintense", "hypointense dark"),
    ("hypointense", "hyperintense bright"), ("bright", "dark"), ("dark", "bright"),
    ("erect", "supine"), ("supine", "upright erect"), ("confined", "extends invades beyond"),
    ("invade", "confined contained intact"), ("deep", "superficial"), ("proximal", "distal"),
    ("distal", "proximal"), ("upper", "lower"), ("lower", "upper"), ("anterior", "posterior"),
    ("posterior", "anterior"), ("low", "high"), ("high", "low"), ("elevated", "normal flattened"),
    ("satisfactory", "malposition malpositioned poor inadequate bronchus"), ("well", "poorly"),
    ("pedunculated", "sessile"), ("sessile", "pedunculated"), ("swollen", "sharp flat"),
    ("patent", "occluded occluding occlusion thrombosed thrombus obstructed embolus"),
    ("occluded", "patent open"), ("contrast", "unenhanced noncontrast non-contrast"),
    ("contrast-enhanced", "unenhanced noncontrast non-contrast"), ("viable", "necrotic"),
    ("inflated", "hyperinflated collapsed underinflated"), ("round", "irregular oval linear"),
)  # fmt: skip
"""What is asked -> words that deny it where they are asserted."""
_SAME = (
    ("contrast", "opacified enhanced enhancement gadolinium"), ("contrast-enhanced", "opacified enhanced"),
    ("intubated", "endotracheal"), ("chronic", "old"), ("acute", "recent new"),
    ("enlarged", "aneurysmal ectatic big hypertrophied"), ("swollen", "edematous swelling"),
    ("elevated", "raised higher"), ("symmetric", "equal symmetrical"), ("displaced", "angulated"),
    ("cancer", "carcinoma malignant malignancy"), ("malignant", "carcinoma cancer metastatic"),
    ("invade", "invasion extends infiltrates"), ("multiple", "several many numerous"),
    ("deviated", "shifted displaced pushed"), ("midline", "central centrally"), ("irregular", "spiculated"),
    ("well-defined", "circumscribed"),
)  # fmt: skip
"""What is asked -> words that say it here, though they are no names of one thing."""


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
    """Whether it compares two things, which is not read from statements."""


def read_polarity(question: str, text: str) -> tuple[str | None, str]:
    """(yes, no or None, why there is none or how it is given): "leading", "statement", "refused",
    "ambiguous", "polarity", "unparsed"."""
    if _BOTH.search(text[:60]):
        return None, "refused" if read_prose(text).refused else "ambiguous"
    prose = read_prose(text)
    if not prose.sentences:
        return None, "refused" if prose.refused else "unparsed"
    asked = bool(re.search(r"\w", question))
    if leading := _leading(prose, asked):
        return leading, "leading"
    if prose.refused:
        return None, "refused"
    if stated := _stated(prose):
        return stated, "leading"
    if not asked:
        return None, "unparsed"
    return _held_against(proposition(question), prose)


def _leading(prose: Prose, asked: bool) -> str | None:
    """The yes or no that begins the text; where the question is known, also "correct", "absent"."""
    text = prose.opening.lstrip(" \"'(*_.-")
    if not asked:
        bare = _BARE.match(text)
        return bare[1].lower() if bare else None
    match = None if _FILLER.match(text) else _LEADING.match(text)
    if not match:
        return None
    return YES if match["yes"] else NO


def _stated(prose: Prose) -> str | None:
    """The last yes or no that stands as an answer inside the text."""
    words = [m[1].lower() for s in prose.sentences for m in _STATED.finditer(s.text)]
    return words[-1] if words and (prose.corrected or len(set(words)) == 1) else None


# --- the question -------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def proposition(question: str) -> Proposition:
    """What the question asks: of "Is there X in Y?" the X, of "Is the X Y?" the Y of the X."""
    question = re.sub(r"\bmore than one\b", "multiple", question, flags=re.IGNORECASE)
    presence = bool(_PRESENCE.match(question))
    text = _PRESENCE.sub(" ", question.strip().rstrip(" ?."))
    parts = [part for part in parts_of(text) if part.kind or part.name not in _PICTURE]
    if present := [p for p in parts if (not p.kind and p.name in _PRESENT) or p.name == "present"]:
        presence, parts = True, [p for p in parts if p not in present]
    names = {p.name for p in parts}
    if names & _NORMAL or (names & _ABNORMAL and not any(p.kind in _THINGS for p in parts)):
        rest = tuple(p for p in parts if p.name not in _NORMAL | _ABNORMAL)
        asks_normal = bool(names & (_NORMAL - {"abnormal"}))
        return Proposition(rest, (), presence, True, asks_normal)
    compares = bool(re.search(r"\bthan\b|\bas \w+ as\b", question))
    if presence:
        first = [p for p in parts_of(_PREPOSITION.split(text, maxsplit=1)[0]) if p in parts]
        head = first[-1:] or parts[:1]
        rest = tuple(p for p in parts if p not in head)
        return Proposition(rest, tuple(head), True, False, compares=compares)
    relation = _RELATION.search(question)
    last = [p for p in parts if p.kind in EXCLUSIVE and p.kind != "side"][-1:]
    predicate = last or parts[-1:]
    subject = tuple(p for p in parts if p not in predicate)
    asked = relation[1].lower() if relation and not last else ""
    return Proposition(subject, tuple(predicate), False, False, relation=asked, compares=compares)


# --- the statements -----------------------------------------------------------------------------


def _held_against(asked: Proposition, prose: Prose) -> tuple[str | None, str]:
    """The verdict of the section that concludes, else of the rest."""
    decide = _normality if asked.normality else _proposition
    for part in (prose.sentences, prose.body):
        sentences = [s for s in part if not s.lower or s.favored]
        if sentences and (verdict := decide(asked, sentences)):
            return verdict, "statement"
    return None, "polarity"


def _proposition(asked: Proposition, sentences: list[Sentence]) -> str | None:
    """The vote of the sentence that speaks of it most directly."""
    if asked.compares or not asked.predicate:
        return None
    votes: list[tuple[int, str]] = []
    for sentence in sentences:
        vote, strength = _vote(asked, sentence)
        if vote:
            votes.append((strength + 2 * (sentence.concluding or sentence.favored), vote))
    best = max((strength for strength, _ in votes), default=0)
    strongest = {vote for strength, vote in votes if strength == best}
    return strongest.pop() if len(strongest) == 1 else None


def _vote(asked: Proposition, sentence: Sentence) -> tuple[str | None, int]:
    """What a sentence says of the proposition, and how directly: 1 to 3."""
    head, about = asked.predicate[-1], _is_about(asked, sentence)
    if asked.relation and asked.relation not in [w.raw.lower() for w in sentence.words]:
        return None, 0
    doubtful = False
    for spot in _mentions(head, sentence):
        if any(sentence.generic[i] for i in spot):
            continue
        if any(sentence.hedged[i] for i in spot) and not sentence.favored:
            doubtful = True
            continue
        denied = any(sentence.negated[i] for i in spot)
        if head.kind == "organ" and any(sentence.related[i] for i in spot) and not denied:
            continue
        if differs := _differs(asked, spot, sentence):
            if denied:
                continue
            return NO, differs
        if about:
            return (NO if denied else YES), 3
    if doubtful:
        return None, 0
    if about and head.kind in EXCLUSIVE and (values := values_of(head.kind, sentence)):
        return (YES if head.name in {v.name for v in values} else NO), 2
    if about and (vote := _by_words(head, sentence)):
        return vote, 2
    if asked.presence and head.kind in ("finding", "diagnosis", "") and _says_normal(asked, sentence):
        return NO, 1
    if head.kind == "device" and _denies_any(_DEVICES, sentence):
        return NO, 1
    if not asked.presence and not asked.subject and head.kind == "organ":
        organs = [t for t in sentence.terms if t.kind == "organ" and not sentence.negated[t.start]]
        return (NO, 1) if organs else (None, 0)
    return None, 0


def _mentions(head: Part, sentence: Sentence) -> list[tuple[int, ...]]:
    """Where the sentence names what is asked, also by its last word alone: "the tube"."""
    if spots := spots_of(head, sentence):
        return spots
    last = {form[-1] for form in head.forms if len(form) > 1 and len(form[-1]) > 3}
    if head.kind not in ("finding", "device"):
        return []
    taken = {i for t in sentence.terms if t.kind == head.kind for i in _span(t)}
    return [(i,) for i, w in enumerate(sentence.words) if w.stem in last and i not in taken]


def _differs(asked: Proposition, spot: tuple[int, ...], sentence: Sentence) -> int:
    """How directly a mention is of another side, place or sort than asked; 0 where it is not."""
    others = [p for p in (*asked.subject, *asked.predicate[:-1])]
    sides = [p for p in others if p.kind == "side" and p.name in ("left", "right")]
    if sides and _other_side(sides[0], spot, sentence):
        return 1
    for part in others:
        if part.kind in ("organ", "place", "side") or spots_of(part, sentence):
            continue
        if _by_words(part, sentence) == NO:
            return 2
    places = [p for p in others if p.kind in ("place", "organ")]
    if asked.presence and places and not any(spots_of(p, sentence) for p in places):
        here = [t for t in sentence.terms if t.kind in {p.kind for p in places}]
        if any(sentence.clause[t.start] == sentence.clause[spot[0]] for t in here):
            return 1
    return 0


def _is_about(asked: Proposition, sentence: Sentence) -> bool:
    """Whether the sentence speaks of the subject, or of no other organ or place."""
    subject = [p for p in asked.subject if p.kind in ("organ", "place", "device")]
    if not subject:
        return True
    stems = {word.stem for word in sentence.words}
    if any(spots_of(p, sentence) or any(form[-1] in stems for form in p.forms) for p in subject):
        return True
    head = asked.predicate[-1].name if asked.predicate else ""
    return not any(t.kind == "organ" and t.name != head for t in sentence.terms)


def _other_side(side: Part, spot: tuple[int, ...], sentence: Sentence) -> bool:
    """Whether the nearest side in the clause is the other one."""
    here = [
        (min(abs(t.start - i) for i in spot), t.name)
        for t in sentence.terms
        if t.kind == "side" and sentence.clause[t.start] == sentence.clause[spot[0]]
    ]
    here += [
        (min(abs(t.start - i) for i in spot), name)
        for t in sentence.terms
        for name in ("left", "right")
        if t.kind == "place" and t.name.startswith(name)
    ]
    return bool(here) and min(here)[1] not in (side.name, "bilateral")


def _by_words(head: Part, sentence: Sentence) -> str | None:
    """What other words of the sentence say of it: an antonym no, a word that says the same yes."""
    for table, meaning in ((_opposites(), NO), (_equals(), YES)):
        words = table.get(head.name, frozenset())
        for i, word in enumerate(sentence.words):
            if word.stem not in words or sentence.generic[i]:
                continue
            if sentence.hedged[i] and not sentence.favored:
                continue
            return _OPPOSITE[meaning] if sentence.negated[i] else meaning
    return None


def _by_name(table: tuple[tuple[str, str], ...]) -> dict[str, frozenset[str]]:
    words: dict[str, frozenset[str]] = {}
    for name, others in table:
        stems = frozenset(map(stem, others.split()))
        for key in (name, stem(name)):
            words[key] = words.get(key, frozenset()) | stems
    return words


@lru_cache(maxsize=1)
def _opposites() -> dict[str, frozenset[str]]:
    return _by_name(_ANTONYMS)


@lru_cache(maxsize=1)
def _equals() -> dict[str, frozenset[str]]:
    return _by_name(_SAME)


_DEVICES = frozenset(map(stem, "device line tube catheter hardware support".split()))


def _denies_any(stems: frozenset[str], sentence: Sentence) -> bool:
    """Whether the sentence denies things of that sort: "No lines or tubes are seen"."""
    return any(w.stem in stems and sentence.negated[i] for i, w in enumerate(sentence.words))


def _says_normal(asked: Proposition, sentence: Sentence) -> bool:
    """Whether it calls what was asked about normal, and asserts no finding."""
    places = [p for p in asked.subject if p.kind in ("organ", "place")]
    organs = [t for t in sentence.terms if t.kind == "organ"]
    if places and organs and not any(spots_of(p, sentence) for p in places):
        return False
    return any(sentence.spared) and not any(
        t.kind in ("finding", "diagnosis") and is_asserted(_span(t), Part(t.kind, t.name), sentence)
        for t in sentence.terms
    )


def _span(term: Term) -> tuple[int, ...]:
    return tuple(range(term.start, term.end))


def _normality(asked: Proposition, sentences: list[Sentence]) -> str | None:
    """Whether the text calls it normal, or asserts anything abnormal."""
    normal = abnormal = False
    about = [p for p in asked.subject if p.kind != "modality"]
    for sentence in sentences:
        organs = [t for t in sentence.terms if t.kind == "organ"]
        if about and organs and not any(spots_of(p, sentence) for p in about):
            continue
        for term in sentence.terms:
            spot = _span(term)
            if any(sentence.generic[i] for i in spot):
                continue
            negative = any(sentence.negated[i] for i in spot)
            if any(sentence.hedged[i] for i in spot) and not sentence.favored:
                continue
            if term.kind == "state" and term.name in ("normal", "abnormal"):
                normal |= (term.name == "normal") != negative
                abnormal |= (term.name == "normal") == negative
            elif term.kind in ("finding", "diagnosis"):
                normal |= negative
                abnormal |= not negative
            elif term.kind == "state" and term.name in ("enlarged", "displaced", "malignant"):
                abnormal |= not negative
        asserted = {w.stem for i, w in enumerate(sentence.words) if not sentence.negated[i]}
        abnormal |= not _SIGNS.isdisjoint(asserted)
        normal |= any(sentence.spared)
    if abnormal:
        return NO if asked.asks_normal else YES
    if normal:
        return YES if asked.asks_normal else NO
    return None


_SIGNS = frozenset(map(stem, "mass lesion opacity nodule wedge lost swelling tumor shadow irregular collapse"
                       " density infiltrate thickened blunted torn".split()))  # fmt: skip
