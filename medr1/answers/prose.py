"""Prose taken apart: which sentences answer, and what each word is: denied, doubted, background.

In the style of NegEx: a cue reaches along its clause. What a model takes back ("Wait, ...") or only
lists as possible does not answer; what stands under IMPRESSION does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from medr1.answers.terms import Term, Word, terms_of, words_of

LONGEST = 8_000
"""Characters of a text that is read."""

MOST_LISTED = 16
"""A text of so many pieces, nearly all without a verb, lists everything and answers nothing."""

_BREAK = re.compile(r"\n+|(?<=[.!?;…])(?<!\bvs\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bDr\.)(?<!\bapprox\.)\s+(?!\d+\s*%)")
_BULLET = re.compile(r"^\s*(?:[-*+#]+\s+|•\s*|\(?\d{1,2}[.)]\s+|\(?[a-h]\)\s*)")
_MARKUP = re.compile(r"[*_`#|]+|✅|❌")
_HEADING = re.compile(r"^\s*([^\W\d][\w /-]{1,40}?)\s*(?::|$)")
_FINAL = re.compile(
    r"(?:final |overall |my |the )?(?:impression|conclusion|diagnos[ie]s|answer|assessment|summary"
    r"|opinion|interpretation|pathologic(?:al)? diagnosis|final report|verdict)s?",
    re.IGNORECASE,
)
_LOWER = re.compile(
    r"(?:less|un)\s?likely.*|alternatives?|alternative diagnos[ie]s|differentials?"
    r"|differential diagnos[ie]s.*|other (?:possibilit\w+|considerations?|options?|diagnos\w+)"
    r"|possibilities|considerations?|possible (?:\w+ )?(?:a?etiolog\w+|diagnos\w+|causes?"
    r"|interpretations?)|against|(?:clinical )?(?:indication|history)|technique|comparison",
    re.IGNORECASE,
)
_BODY = re.compile(
    r"(?:\w+ ){0,3}(?:findings?|description|examination|appearance|location|analysis|reasons?"
    r"|explanation|observations?|details?|main finding|features?|recommendations?|note|for reference)",
    re.IGNORECASE,
)
_CORRECTION = re.compile(
    r"(?:^|(?<=[.;:!?…,—–-])|(?<=\.\.\.)|(?<=\n))\s*(?:(?:hmm+|oh|but|so|and|no|sorry|then)[,;. ]\s*)*"
    r"(?:(?:no[,.]? )?wait\b|actually\b|on (?:second|further) (?:thought|look|reflection|inspection)"
    r"|on (?:a )?clos(?:er) (?:inspection|look|review)|correction\b|scratch that\b|my mistake\b"
    r"|my (?:apologies|bad|error)\b|let me (?:re-?\w+|check|double|correct|look|count)\b"
    r"|on (?:checking|reviewing|re-?reading|looking)\b|(?:looking|checking|counting|following it|reading it|reviewing|thinking) (?:it )?(?:again|more)"
    r"|hold on\b|then again\b|i (?:have to|must|need to|will|'ll|should)? ?(?:correct|revise|retract"
    r"|change|take (?:that|it) back|withdraw|amend)\b|i'd (?:correct|revise|change)\b"
    r"|sorry,? (?:i|that|no|the)\b|no,? sorry\b|hmm+\b|rather:|or rather\b|i mean\b)"
    r"|\bso i retract that\b|\bi (?:correct|change|revise) my\b|\.\.\. ?no\b|—\s?no\b|, no, ",
    re.IGNORECASE,
)
_FIRST_GUESS = re.compile(
    r"\b(?:at first(?: glance| sight)?|initially|first (?:guess|impression|thought|read|reading)|i (?:first|originally)"
    r"|was going to say|looks? like .{0,60}\bbut\b|i thought|what i (?:took|labelled|labeled))\b",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\bi(?:'m| am)? (?:sorry|unable|not able|not qualified|afraid)\b"
    r"|\bi (?:cannot|can ?not|can't|could not|couldn't|am unable|do not think i can|don't think i can)"
    r"(?: \w+){0,2}? (?:determine|provide|diagnos\w*|assess|identify|interpret|say|tell|view|answer"
    r"|assist|infer|analy[sz]e|give|localise|localize|comment|evaluate|confirm|see enough|make|help)\b"
    r"|\bas an ai\b|\b(?:unable|not possible|impossible|not able|too (?:low|poor|blurry)(?: for me)?"
    r"|insufficient(?: \w+)?) to (?:\w+ )?(?:determine|provide|diagnose|assess|identify|interpret|say"
    r"|tell|answer|give|establish|make|draw|be)\b"
    r"|\b(?:cannot|can't|can not|could not) be (?:\w+ )?(?:determined|answered|assessed|identified"
    r"|established|given|evaluated|made|drawn|localised|localized)\b"
    r"|\bno (?:\w+ )?(?:answer|conclusion|diagnosis|statement)s? (?:\w+ ){0,3}?(?:can|could) be\b"
    r"|\bthere is no way (?:to|of) (?:tell|know|say)|\bnot able to answer\b|\bi do not know\b"
    r"|\bi don't know\b|\bno idea\b",
    re.IGNORECASE,
)
_PIVOT = re.compile(
    r"\b(?:that said|that being said|however|but|nevertheless|nonetheless|what i can (?:tell|say)"
    r"|from what can be seen|i can (?:describe|tell|see|say|offer)|based on|having said that|still)\b",
    re.IGNORECASE,
)
_FAVORED = re.compile(
    r"\b(?:most (?:likely|probabl[ey]|consistent|in keeping|compatible|suggestive)|favou?red|favou?rs?"
    r"|i favou?r|top of the list|leading (?:consideration|diagnosis)|best explained|by far"
    r"|is the (?:correct )?answer|is my answer|is more likely)\b",
    re.IGNORECASE,
)
_NOT_FAVORED = re.compile(
    r"(?:\bnot|\bcannot|n't|\bunable to|\bnone|\bno)\b(?: \w+){0,4} favou?r", re.IGNORECASE
)
_CONCLUDING = re.compile(
    r"\b(?:therefore|thus|hence|in summary|in conclusion|overall|to conclude|so the|consequently"
    r"|accordingly|(?:the|my|final) answer(?: is|:)|is the answer)\b|^so\b",
    re.IGNORECASE,
)

_FREE = re.compile(r"\b([^\W\d_]+)-free\b")
_OF_IMAGE = re.compile(
    r"\b(?:left|right)[ -](?:hand )?(?:side )?of the (?:image|picture|photo\w*|screen|figure|frame)\b",
    re.IGNORECASE,
)
"""The side of a picture, which is not the patient's."""
_PRE = (
    "no", "not", "without", "never", "neither", "nor", "cannot", "lack", "lacks", "lacking", "absence",
    "free of", "free from", "negative for", "devoid of", "no evidence of", "no sign of", "rather than",
    "instead of", "unlike", "unlikely to", "rules out", "ruling out", "excludes", "excluding", "exclude",
    "denies", "against", "fails to", "none", "far from", "other than", "except for", "rule out",
    "differs from", "different from", "spares", "sparing",
)  # fmt: skip
_POST = (
    "absent", "excluded", "ruled out", "unlikely", "less likely", "less probable", "not seen",
    "not present", "not visible", "not identified", "not visualized", "not visualised", "not included",
    "not evident", "not observed", "not detected", "not demonstrated", "not noted", "not found",
    "not favored", "not favoured", "not shown", "not provided", "not likely", "not the case",
    "not appreciated", "least likely", "not involved", "not invaded", "outside the field", "not imaged",
    "outside of the field", "not covered", "not within", "not part of", "not demonstrable",
)  # fmt: skip
_SPARED = (
    "intact", "normal", "clear", "unremarkable", "spared", "preserved", "healthy", "uninvolved", "patent",
    "well aerated", "within normal limits", "normally", "unaffected",
)  # fmt: skip
_HEDGE = (
    "may", "might", "could", "possible", "possibly", "perhaps", "potentially", "conceivably", "either",
    "differential", "considerations", "possibilities", "cannot exclude", "can't exclude",
    "cannot be excluded", "not excluded", "cannot rule out", "can't rule out", "not be ruled out",
    "uncertain", "in theory", "would both", "would all", "suspected", "should be excluded", "needs to be excluded", "maybe",
    "not be excluded", "question of", "would be", "would have", "would show", "would need", "would also",
    "not be entirely excluded", "if", "whether",
)  # fmt: skip
_GENERIC = (
    "usually", "generally", "often", "commonly", "sometimes", "in general", "can be caused", "such as",
    "for example", "radiologists look for", "refers to", "is defined as", "normally", "for reference",
    "can be used", "are used", "would usually", "frequently", "typically presents", "typically appear",
    "would typically", "are caused by", "includes conditions", "can be seen in", "can represent",
    "threshold", "means that", "is a condition", "is an accumulation", "is a technique", "is the process",
    "is one of the", "is common in",
)  # fmt: skip
_STOPS = frozenset(
    "but however although though yet while whereas except because since ; : . ? ! — – which where who"
    " therefore thus so suggesting indicating consistent causing".split()
)
_VERBS = frozenset(
    "is are was were has have had shows show showed appears appear can demonstrates demonstrate"
    " reveals suggests suggest measures contains remains seems lies sits it there do does did looks"
    " look follows means makes see seen noted identified visible indicates points represents"
    " corresponds arises extends involves occupies surrounds compresses invades includes would"
    " projects courses enhances measuring".split()
)
_RELATION = (
    "adjacent to", "lateral to", "medial to", "anterior to", "posterior to", "superior to", "inferior to",
    "just below", "just above", "below", "above", "near", "next to", "behind", "beneath", "underneath",
    "close to", "abutting", "abuts", "in front of", "away from", "towards", "toward", "left of",
    "right of", "between", "lying against", "against the", "well above", "spaces of", "compared to",
    "compared with", "comparing with", "level of the", "indents the", "overlying", "overlie", "overlies",
    "relative to", "distal to", "proximal to", "crosses", "crosses the", "like a", "like an",
)  # fmt: skip
_REACH = 7
"""Words that a relation reaches."""


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
    generic: list[bool] = field(default_factory=list)
    """Where it speaks of a thing in general."""

    @property
    def favored(self) -> bool:
        return bool(_FAVORED.search(self.text)) and not _NOT_FAVORED.search(self.text)

    @property
    def concluding(self) -> bool:
        return bool(_CONCLUDING.search(self.text))


@dataclass
class Prose:
    """A text's sentences that answer, in order."""

    sentences: list[Sentence] = field(default_factory=list)
    body: list[Sentence] = field(default_factory=list)
    """Those outside the section that concludes, where there is one."""
    opening: str = ""
    """Its first sentence, whatever its heading."""
    refused: bool = False
    """Whether the text declines to answer."""
    corrected: bool = False
    """Whether the text took something back; only what follows is kept."""


def is_enumeration(text: str) -> bool:
    """Whether the text lists things without saying anything of them, more than an answer would."""
    pieces = [p.lower().split() for p in re.split(r"[,.;:\n]|\b(?:and|or)\b", text[:LONGEST])]
    pieces = [piece for piece in pieces if piece]
    bare = sum(_VERBS.isdisjoint(piece) for piece in pieces)
    return len(pieces) >= MOST_LISTED and bare > 0.8 * len(pieces)


def read_prose(text: str) -> Prose:
    """The sentences that answer: after the last correction, under the last heading that concludes."""
    text = _MARKUP.sub(" ", text[:LONGEST]) if "|" not in text else _MARKUP.sub(" ", text.replace("|", " ; "))
    text, refused = _without_refusal(text)
    if refused:
        return Prose(refused=True)
    corrected = False
    if matches := list(_CORRECTION.finditer(text)):
        rest = text[matches[-1].end() :]
        if len(rest.split()) >= 2:
            text, corrected = rest.lstrip(" ,.:;—–-"), True
    sentences = _with_fragments_joined(list(_sentences(text)))
    if any(_FIRST_GUESS.search(s.text) for s in sentences) and len(sentences) > 1:
        sentences = [s for s in sentences if not _FIRST_GUESS.search(s.text)] or sentences
    final = [s for s in sentences if s.final]
    opening = sentences[0].text if sentences else ""
    body = [s for s in sentences if not s.final] if final else []
    return Prose(final or sentences, body, opening, corrected=corrected)


def _with_fragments_joined(sentences: list[Sentence]) -> list[Sentence]:
    """One sentence of sentences of a word or two each: "Left. Right." is a list."""
    plain = [s for s in sentences if s.text.strip(" .;")]
    if len(plain) > 1 and all(len(s.text.split()) < 3 for s in plain):
        return [read_sentence(", ".join(s.text.strip(" .;") for s in plain))]
    return sentences


def _without_refusal(text: str) -> tuple[str, bool]:
    """The text behind a refusal that goes on to answer; whether it declines for good."""
    refusal = _REFUSAL.search(text)
    if not refusal:
        return text, False
    before = text[: refusal.start()].strip()
    if len(before.split()) > 25 or re.match(r"\W*(?:yes|no)\b[,.]", before, re.IGNORECASE):
        return text, False
    rest = text[refusal.end() :]
    pivot = _PIVOT.search(rest)
    if pivot and re.search(r"[.!?]\s|\n", rest[: pivot.start() + 1] + " "):
        rest = rest[pivot.end() :]
        if not _REFUSAL.search(rest) and len(rest.split()) > 5:
            return rest.lstrip(" ,.:"), False
    return text, True


def _sentences(text: str) -> Iterable[Sentence]:
    section = ""
    for line in text.split("\n"):
        plain = _BULLET.sub("", line)
        heading = _HEADING.match(plain)
        if heading and (kind := _section(heading[1])):
            section = kind
            plain = plain[heading.end() :]
        elif not line.strip():
            continue
        for piece in _BREAK.split(plain):
            piece = _BULLET.sub("", piece).strip()
            heading = _HEADING.match(piece)
            if heading and ":" in heading[0] and (kind := _section(heading[1])):
                section, piece = kind, piece[heading.end() :]
            if piece.strip():
                yield read_sentence(piece, section)


def _section(name: str) -> str:
    for kind, pattern in (("final", _FINAL), ("lower", _LOWER), ("body", _BODY)):
        if pattern.fullmatch(name.strip()):
            return kind
    return ""


def read_sentence(text: str, section: str = "") -> Sentence:
    """A sentence with what its words are."""
    words = words_of(_FREE.sub(r"\1 absent", text))
    low = [word.raw.lower() for word in words]
    n = len(words)
    sentence = Sentence(
        text, words, terms_of(words), [False] * n, [False] * n, [False] * n, [False] * n, _clauses(low), [],
        final=section == "final", lower=section == "lower",
    )  # fmt: skip
    sentence.segment = _segments(low, sentence.clause)
    sentence.generic = [False] * n
    for start, _ in _places(low, _GENERIC):
        _mark_general(sentence, low, start)
    _mark_negation(sentence, low)
    for term in sentence.terms:
        if low[term.start] in _PRE:  # "no abnormality" is a name for normal
            sentence.negated[term.start : term.end] = [False] * (term.end - term.start)
    if _OF_IMAGE.search(text):
        sentence.hedged = [
            hedged or word in ("left", "right") for hedged, word in zip(sentence.hedged, low, strict=True)
        ]
    for start, _ in _places(low, _HEDGE):
        if low[start] != "either" or "or" in low[start : start + 8]:
            _mark_clause(sentence.hedged, sentence.clause, start)
    if "?" in low:
        sentence.hedged = [True] * n
    for start, _ in _places(low, _SPARED):
        if not sentence.negated[start]:
            _mark_clause(sentence.spared, sentence.clause, start)
    for _, end in _places(low, _RELATION):
        for i in range(end, min(n, end + _REACH)):
            if low[i] in _STOPS or low[i] == ",":
                break
            sentence.related[i] = True
    return sentence


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
    for i, word in enumerate(low):
        joins = word in (",", "and", "with") and verb and _is_clause(low, i + 1)
        if word in _STOPS or joins:
            now, verb = now + 1, False
        verb |= word in _VERBS
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
        if word in (",", "and", "or") or word in _STOPS:
            return False
        if word in _VERBS:
            return True
    return False


def _mark_clause(flags: list[bool], clause: list[int], place: int) -> None:
    for i, number in enumerate(clause):
        if number == clause[place]:
            flags[i] = True


def _mark_negation(sentence: Sentence, low: list[str]) -> None:
    n, clause, flags = len(low), sentence.clause, sentence.negated
    post = {start: end for start, end in _places(low, _POST)}
    for start in post:
        for i in range(start - 1, -1, -1):
            if clause[i] != clause[start]:
                break
            flags[i] = True
    for i, word in enumerate(low):
        if word.endswith("n't"):
            _mark_after(flags, clause, low, i, i + 1)
        elif word == "non" and i + 1 < n:
            flags[i + 1] = True
    doubles = {s for s, _ in _places(low, ("no doubt", "no question", "not only", "not uncommon", "without doubt", "not just", "not necessarily"))}
    for start, end in _places(low, _PRE):
        if start in doubles or start in post or any(s < start < e for s, e in post.items()):
            continue
        _mark_after(flags, clause, low, start, end)


def _mark_after(flags: list[bool], clause: list[int], low: list[str], start: int, end: int) -> None:
    for i in range(end, len(low)):
        if clause[i] != clause[end - 1] or low[i] in _STOPS:
            break
        flags[i] = True
