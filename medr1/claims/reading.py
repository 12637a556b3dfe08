"""The claims of an English text about a medical image, each with its sentence and its place.

Conditions, questions, quotations, options that are being weighed, general knowledge and advice
claim nothing. A sentence is divided into clauses, and each clause is read alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from medr1.claims.marking import Marked, MarkedTerm, mark
from medr1.claims.vocabulary import ADJECTIVES
from medr1.text.normalization import fold
from medr1.text.sentences import sentences

MAX_CHARACTERS = 20_000
"""Only so much of a text is read."""

_TAG = re.compile(r"</?\w+>")
_BARE_ANSWER = re.compile(
    r"<answer>\s*\(?(?:[A-Ha-h]|yes|no)\)?\s*[.:]?\s*</answer>", re.IGNORECASE
)
_QUOTE = re.compile(r'"[^"\n]*"|“[^”\n]*”')
_CORRECTION = re.compile(
    r"\b(?:wait|hold on|actually|on second thought|hmm|correction|scratch that|sorry|i was wrong|"
    r"on (?:closer|reflection)|then again|i take that back|let me (?:re\w+|correct))\b|"
    r"[.…?!]\s*no\b[\s,\u2013\u2014-]+(?:it|this|that|the)\b",
    re.IGNORECASE,
)

_SHOW = (
    r"(?:shows?|showed|showing|demonstrates?|demonstrating|reveals?|revealing|depicts?|displays?|"
    r"exhibits?|contains?|presents?|features?|illustrates?|highlights?)"
)
_BE = r"(?:is|are|was|were|appears? to be|seems? to be|looks? like|appears?|seems?|represents?)"
_SEEN = (
    r"(?:present|seen|visible|noted|identified|observed|evident|detected|demonstrated|shown|found|"
    r"located|visuali[sz]ed|apparent|situated|scattered|there)"
)
_LIES = r"(?:arises?|lies|projects|overlies|overlying|involves|affects|occupies|fills)"
_NOUN = (
    r"(?:images?|pictures?|photos?|photographs?|scans?|slides?|slices?|figures?|films?|views?|"
    r"sections?|study|studies|projections?|specimen|frame|examination|exam|reformation)"
)
_FUNCTION = (
    r"(?!(?:of|from|in|on|at|is|are|was|were|not|no|that|which|and|or|to|with|without|for|by|than|as|"
    r"shows?|the|an?|this|it|but|so|however)\b)"
)
_MODIFIERS = rf"(?:{_FUNCTION}(?:[a-z0-9'.]+|[VPSGF]\d+) ){{0,6}}?"
_OF_PART = (
    r"(?: (?:of|from|through) (?:(?:the|an?|this|both|patient's) )?(?:(?:S|V|G)\d+ )?"
    rf"(?:{_FUNCTION}[a-z]+ )?P\d+)?"
)
_HEAD = rf"(?:M\d+|{_NOUN})(?: (?:{_NOUN}|M\d+))?"
_PROVIDED = r"(?: (?:here|above|provided|given|shown|presented|in question))?"
_IMAGE = rf"{_MODIFIERS}{_HEAD}{_OF_PART}"
"""A phrase that names an image: "axial CT image of the chest"."""

_IMAGES = tuple(
    re.compile(pattern)
    for pattern in (
        # "this axial CT of the chest shows", "the radiograph is rotated"
        rf"\b(?:the|this|that|your|given|provided) (?P<image>{_IMAGE}){_PROVIDED}"
        rf" (?:also |clearly |only |does not |with )?(?:{_SHOW}|{_BE}|show|has|looks|confirms?)\b",
        # "this is an MRI", "the image is a coronal view", "it appears to be a CT"
        rf"\b(?:this|it|(?:the|this|that|given|provided) {_MODIFIERS}{_NOUN}{_PROVIDED}) "
        rf"(?:clearly |in fact )?{_BE} "
        rf"(?:clearly |in fact |indeed |typical of )?(?:an?|the) (?P<image>{_IMAGE})",
        # "on this ultrasound", "in the coronal CT,"
        rf"\b(?:on|in|from|within) this (?P<image>{_IMAGE})",
        rf"^(?:here )?(?:on|in|from|within|based on) the (?P<image>{_IMAGE})"
        r"(?= ,| there| an?\b| the\b)",
        # "the image shows a T2-weighted MRI of the liver"
        rf"\b(?:the|this|that|given|provided) {_MODIFIERS}{_NOUN} {_SHOW} (?:an?|the) "
        rf"(?P<image>{_MODIFIERS}M\d+{_OF_PART})(?! F)",
        # "an axial image of the knee is shown"
        rf"\ban? (?P<image>{_IMAGE}) {_BE} (?:shown|displayed|presented|provided|pictured)\b",
        # "this image was obtained by ultrasound"
        rf"\b(?:the|this|that|given|provided) {_MODIFIERS}{_NOUN} (?:was|is) (?:obtained|acquired|"
        r"taken|made|produced|generated|captured) (?:by|with|using|through|in|from) "
        rf"(?:an? |the )?(?P<image>{_MODIFIERS}(?:M\d+|V\d+))",
        # "the modality is CT", "the slice is sagittal", "this is axial"
        r"\bmodality(?: [a-z]+){0,4} is (?:an? |the )?(?P<image>M\d+)",
        rf"\b(?:it|this|(?:the|this|that) {_MODIFIERS}(?:{_NOUN}|M\d+|plane|orientation)) "
        rf"{_BE} (?:taken |acquired |shown )?(?:in )?(?:the |an? )?"
        rf"(?P<image>V\d+)(?= plane| view| projection| orientation| ,| \.|$)",
        r"\b(?:imaged|taken|acquired|shown|obtained) in (?:the |an? )?(?P<image>V\d+) "
        r"(?:plane|projection|view|orientation)\b",
    )
)
_FRAGMENT = re.compile(
    rf"^(?:an? |the )?(?P<image>{_IMAGE})(?: (?:with|without|showing)\b.*| \.|$)"
)
_PARTS = tuple(
    re.compile(pattern)
    for pattern in (
        # "the image shows the kidney with"
        rf"\b(?:the|this|that|given|provided) {_IMAGE} {_SHOW} (?:(?:the|an?|both|part of the|"
        r"normal|human) )*(?:S\d+ )?(?P<part>P\d+)(?= tissue| with| in\b| at\b| from| without| ,|"
        r" \.| and| which| \(| because| as\b| V| cut| of\b|$)",
        # "the colon shows an ulcer"
        rf"\bthe (?P<part>P\d+) {_SHOW}\b",
        r"\b(?:organ|structure|body part|region|area)(?: [a-z]+| V\d+){0,5} is (?:the |an? )?"
        r"(?:S\d+ )?(?P<part>P\d+)(?! [FP]\d)",
        r"\btissue(?: [a-z]+){0,2} (?:is|comes|originates)(?: taken)? from (?:the |an? )?"
        r"(?P<part>P\d+)",
        r"\b(?:this|it) is (?:clearly |indeed )?(?:the |an? )?(?:S\d+ )?(?P<part>P\d+)"
        r"(?= ,| \.| ;|$| tissue| with\b)",
    )
)
_UNASSERTED = re.compile(
    r"\b(?:if|whether|would|could|might|may|should|cannot|can't|can|unless|perhaps|possibl[ey]|"
    r"possibility|probably|likely|unlikely|suspected|suspicious|recommend(?:ed)?|advised|"
    r"suggested|needed|required|helpful|questions?|options?|choices?|asks?|asked|"
    r"(?<!on )(?<!in )either|neither|nor|unlike|instead of|rather than|typically|usually|often|"
    r"commonly|generally|in general|defined|means|refers to|uncertain|consider|need to|let me|"
    r"let's|next step|previous|prior|differential|imagine|suppose|used to|initially|thought|"
    r"at first|contralateral|opposite)\b"
)
_NOT_HEDGED = re.compile(r"(?:cannot|can't) (?:see|find|identify|detect)\b")
"""A denial with a word that otherwise marks a possibility."""
_CAN_BE_SEEN = re.compile(
    r"\bcan (?:also |clearly |easily )?be (seen|observed|identified|appreciated|noted|visualized)\b"
)
_CONDITION = re.compile(r"\b(?:if|would|unless|whether|were to|suppose|imagine)\b")
_CLAUSE_END = re.compile(
    r" ; | : | \( | \) | , (?:so|because|since|but|and|while|whereas|which|as|although|though|"
    r"therefore|hence|where|indicating|suggesting)\b "
    r"| (?:because|since|but|whereas|while|although|therefore|so that) "
    r"| and (?=(?:the|there|it|its|this|both|no) )"
)
_NEGATION = re.compile(
    r"\b(?:no|not|without|absence of|absent|free of|negative for|lack of|lacks|never|none of|isn't|"
    r"aren't|doesn't|don't|(?:cannot|can't) (?:see|find|identify|detect))\b"
)
_VERB = re.compile(
    rf"\b(?:{_SHOW}|is|are|was|were|has|have|but|except|with|indicates?|suggests?|favou?r|means|"
    r"confirms?|diagnose)\b| , (?:the|this|it|i|we|there|an?) "
)
"""What ends the scope of a negation."""
_NEGATED_AFTER = re.compile(
    r"^(?: [a-z]+| [PSVG]\d+){0,6}? (?:(?:is|are|was|were) (?:[a-z]+ )?"
    r"(?:not|absent|excluded|ruled out)|isn't|aren't|wasn't|"
    r"not (?:seen|visible|present|identified))\b"
)
_PRESENT_BEFORE = re.compile(
    rf"\b(?:there (?:is|are|was|were|appears? to be|seems? to be)|{_SHOW}|has|have|see|observe|"
    r"note|with|suffers from|indicates?|indicating|presence of|find|means)\b"
)
_IS_BEFORE = re.compile(
    r"\b(?:is|are|was|were|appears? to be|it's) (?:an? |the |thus |clearly |therefore )*"
    r"(?:[a-z]+ |[GSP]\d+ ){0,3}$"
)
_PRESENT_AFTER = re.compile(
    rf"^(?: [a-z]+| [PSVG]\d+){{0,8}}? (?:(?:is|are|was|were|appears?)(?: clearly| also| now)? "
    rf"(?:{_SEEN}|in|on|at|over)|{_LIES})\b"
)
_GENERAL = re.compile(
    rf"^(?:an? )?F\d+ (?:{_SHOW}|has|have|is an?|can|refers|consists?|"
    rf"(?:is|are) (?!{_SEEN}|not\b|in\b|on\b|at\b))"
)
"""A sentence about a disease as such: "melanoma is a tumor"."""
_OTHER = re.compile(
    r"\b(?:other|additional|further|new|second|another|change in|larger?)"
    r"(?: [a-z]+| [GSP]\d+){0,3} $"
)
_NORMAL = re.compile(
    r"\b(?:normal|clear|unremarkable|healthy|free|intact|fully expanded|without abnormalit\w+|"
    r"within normal limits)\b"
)
_IS_NORMAL = re.compile(
    rf"(?:(?P<part>P\d+)|(?:the|this|that) {_IMAGE})"
    r"(?: fields?| tissue| parenchyma| bilaterally| S\d+)? "
    r"(?:is|are|appears?|looks?)(?: to be)?(?: S\d+| both| completely| fully| entirely)? "
    r"(?:normal|clear|unremarkable|healthy|within normal limits)\b(?! (?:for|in|except))"
)
_NORMAL_SHOWN = re.compile(
    r"^(?:an? )?(?:normal|healthy) (?P<part>P\d+)(?: tissue)? (?:is|are) (?:shown|seen)\b"
)
_NO_ABNORMALITY = re.compile(
    r"\bno (?:acute |significant |obvious |evident )*abnormal(?:ity|ities|\b)"
)
_IS_NOT_NORMAL = re.compile(
    rf"(?:(?P<part>P\d+)|(?:the|this|that) {_IMAGE}) (?:is|are)(?: not|n't) "
    r"(?:normal|clear|healthy)\b"
)
_AFTER_PREPOSITION = re.compile(r"\b(?:of|to|in|near|around|from|within|between|behind)(?: the)? $")
_NOT_SHOWN = re.compile(r"\bnot (?:imaged|shown|included|examined|visible|seen|visuali[sz]ed)\b")
_AFFECTED = re.compile(r"\b(?:affected|involved|abnormal|diseased)\b")
_SIDE_OF_PART = re.compile(r"(?P<side>S\d+)(?: [a-z]+| V\d+| M\d+){0,1} (?P<part>P\d+)")
_ONLY_PLACE = re.compile(r"^(?:the |on the |in the )?S\d+(?: (?:side|P\d+)){0,2}(?: \.)?$")
_ADJECTIVE = re.compile(
    r"(?P<part>P\d+)(?: [a-z]+| V\d+| S\d+){0,3}? (?:is|are|appears?) (?:[a-z]+ ){0,2}?"
    r"(?P<adjective>enlarged|fractured|dislocated)\b"
)
_MEASUREMENT = re.compile(r"\b\d+(?:\.\d+)? ?(?:mm|cm|ml|hu|%|degrees?)(?!\w)", re.IGNORECASE)

_IMAGE_MARK = re.compile(r"\b[MVP]\d")
_IMAGE_KINDS = {"M": "modality", "V": "plane", "P": "body_part"}


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that a text says of the image."""

    kind: str
    """modality, plane, body_part (of what the image is), side (of what is affected or shown),
    finding, device, normal (a part, or the image, is normal) or measurement."""
    value: str
    """The value in the vocabulary, such as "ct"; for normal the part, "" for the image."""
    sentence: str
    start: int
    """Where it stands in the text, in characters."""
    end: int
    negated: bool = False
    """Whether the text denies it."""
    certain: bool = True
    """Whether it is asserted, and not only possible or mentioned."""
    sides: frozenset[str] = frozenset()
    """The sides of the body in its clause."""
    parts: frozenset[str] = frozenset()
    """The body parts in its clause; of a side, the part that it belongs to."""
    severity: str | None = None
    affected: bool = False
    """Of a side: whether the text says that this side is affected, and not only shown."""


def read_claims(
    text: str, question: str = "", extra: Mapping[str, tuple[str, str]] | None = None
) -> list[Claim]:
    """The claims of a text, in order.

    Args:
        text: A completion with its reasoning, in English.
        question: The question; where the text repeats it, this claims nothing.
        extra: Further names of findings, as in `marking.mark`.
    """
    text = _readable(text, question)
    listed = [sentence for sentence in sentences(text) if re.search(r"\w", sentence)]
    claims: list[Claim] = []
    position = 0
    for sentence in listed:
        position = text.find(sentence, position)
        if not sentence.endswith("?"):
            reader = _SentenceReader(sentence, position, is_only=len(listed) == 1)
            claims += reader.claims(mark(sentence, extra))
        position += len(sentence)
    return claims


def correction_start(text: str) -> int:
    """Where the last word such as "wait" or "actually" stands; what is before may be withdrawn.

    -1 where there is none.
    """
    return max((match.start() for match in _CORRECTION.finditer(text)), default=-1)


def _readable(text: str, question: str) -> str:
    """The text with tags, quotations, bare answers and the question replaced by spaces."""
    text = text[:MAX_CHARACTERS]
    folded = fold(text)
    if len(folded) == len(text):  # or the places of the claims would move
        text = folded
    for pattern, filler in ((_BARE_ANSWER, "\n"), (_TAG, "\n"), (_QUOTE, " ")):
        text = pattern.sub(partial(_fill, filler=filler), text)
    if words := question.split():
        repeated = re.compile(r"\s+".join(map(re.escape, words)), re.IGNORECASE)
        text = repeated.sub(_fill, text)
    return text


def _fill(match: re.Match[str], filler: str = " ") -> str:
    """As many characters as the match has, so that nothing after it moves."""
    return filler * len(match[0])


@dataclass(frozen=True, slots=True)
class _SentenceReader:
    """Reads the claims of one sentence."""

    sentence: str
    position: int
    """Where the sentence begins in the text."""
    is_only: bool
    """Whether the text has no other sentence, so that it need not have a verb."""

    def claims(self, marked: Marked) -> Iterator[Claim]:
        """The claims of the marked sentence."""
        for match in _MEASUREMENT.finditer(self.sentence):
            start = self.position + match.start()
            end = start + len(match[0])
            yield Claim("measurement", match[0], self.sentence, start, end)
        text = _CAN_BE_SEEN.sub(r"is \1", marked.text)
        conditional = _CONDITION.search(text) is not None
        for clause in _CLAUSE_END.split(text):
            clause = clause.strip()
            if not marked.terms and not re.search(r"\b(?:normal|no) |healthy|clear", clause):
                continue
            certain = not conditional and not _UNASSERTED.search(_NOT_HEDGED.sub("no", clause))
            if certain:
                yield from self._about_image(clause, marked.terms)
                yield from self._about_sides(clause, marked.terms)
                yield from self._about_normality(clause, marked.terms)
            yield from self._findings(clause, marked.terms, certain=certain)

    def _claim(self, kind: str, term: MarkedTerm, value: str | None = None) -> Claim:
        start, end = self.position + term.start, self.position + term.end
        return Claim(kind, term.value if value is None else value, self.sentence, start, end)

    def _about_image(self, clause: str, terms: tuple[MarkedTerm, ...]) -> Iterator[Claim]:
        """Modality, plane and body part of the image itself."""
        if not _IMAGE_MARK.search(clause):
            return
        read: set[int] = set()
        patterns = (*_IMAGES, _FRAGMENT) if self.is_only else _IMAGES
        for pattern in patterns:
            for match in pattern.finditer(clause):
                for kind, index in _marks(match["image"]):
                    if index not in read and kind in _IMAGE_KINDS:
                        read.add(index)
                        yield self._claim(_IMAGE_KINDS[kind], terms[index])
        for pattern in _PARTS:
            for match in pattern.finditer(clause):
                index = int(match["part"][1:])
                if index not in read:
                    read.add(index)
                    yield self._claim("body_part", terms[index])

    def _about_sides(self, clause: str, terms: tuple[MarkedTerm, ...]) -> Iterator[Claim]:
        """The sides of parts, and of what is affected."""
        if not re.search(r"\bS\d", clause) or _NOT_SHOWN.search(clause):
            return
        if _NEGATION.search(clause) and not _AFFECTED.search(clause):
            # "the left hip is shown and is not dislocated" shows the left hip
            clause = _NEGATION.split(clause)[0]
        normal = _NORMAL.search(clause) is not None
        only_place = self.is_only and _ONLY_PLACE.match(clause)
        affected = bool(only_place or _AFFECTED.search(clause)) and not normal
        sides = frozenset(_values(clause, terms, "S"))
        for match in _SIDE_OF_PART.finditer(clause):
            side, part = (terms[int(match[name][1:])] for name in ("side", "part"))
            yield replace(
                self._claim("side", side),
                parts=frozenset([part.value]),
                sides=sides,
                affected=affected,
            )
        if affected and not _SIDE_OF_PART.search(clause):
            for kind, index in _marks(clause):
                if kind == "S":
                    yield replace(self._claim("side", terms[index]), sides=sides, affected=True)

    def _about_normality(self, clause: str, terms: tuple[MarkedTerm, ...]) -> Iterator[Claim]:
        """That a part or the image is normal, or is not."""
        if _NO_ABNORMALITY.search(clause) and not re.search(r"\b[PSF]\d", clause):
            yield self._claim("normal", MarkedTerm("", "", 0, len(self.sentence)))
        if not _NORMAL.search(clause):
            return
        for pattern, negated in (
            (_IS_NORMAL, False),
            (_NORMAL_SHOWN, False),
            (_IS_NOT_NORMAL, True),
        ):
            for match in pattern.finditer(clause):
                if _AFTER_PREPOSITION.search(clause[: match.start()]):
                    continue  # "the liver next to the gallbladder is normal"
                part = terms[int(match["part"][1:])] if match["part"] else None
                term = part or MarkedTerm("", "", 0, len(self.sentence))
                claim = self._claim("normal", term, part.value if part else "")
                yield replace(claim, negated=negated, sides=frozenset(_values(clause, terms, "S")))

    def _findings(
        self, clause: str, terms: tuple[MarkedTerm, ...], *, certain: bool
    ) -> Iterator[Claim]:
        """Findings and devices that the clause says are there, or are not."""
        sides = frozenset(_values(clause, terms, "S"))
        parts = frozenset(_values(clause, terms, "P"))
        severity = next(iter(_values(clause, terms, "G")), None)
        certain = certain and (self.is_only or not _GENERAL.match(clause))
        for match in re.finditer(r"\b([FD])(\d+)\b", clause):
            before, after = clause[: match.start()], clause[match.end() :]
            negated = _is_negated(before, after)
            stated = (
                negated
                or _PRESENT_BEFORE.search(before)
                or _IS_BEFORE.search(before)
                or _PRESENT_AFTER.match(after)
                or (self.is_only and not _VERB.search(before))
            )
            kind = "finding" if match[1] == "F" else "device"
            yield replace(
                self._claim(kind, terms[int(match[2])]),
                negated=negated,
                certain=certain and bool(stated) and not (negated and _OTHER.search(before)),
                sides=sides,
                parts=parts,
                severity=severity,
            )
        for match in _ADJECTIVE.finditer(clause):
            part, adjective = terms[int(match["part"][1:])], match["adjective"]
            finding = ADJECTIVES.get((part.value, adjective)) or ADJECTIVES.get(("", adjective))
            if finding:
                negated = re.search(r"\b(?:not|no)\b", match[0]) is not None
                claim = self._claim("finding", part, finding)
                yield replace(claim, negated=negated, certain=certain, sides=sides, parts=parts)


def _is_negated(before: str, after: str) -> bool:
    """Whether a negation applies to what stands between both texts."""
    if _NEGATED_AFTER.match(after):
        return True
    negations = list(_NEGATION.finditer(before))
    return bool(negations) and not _VERB.search(before[negations[-1].end() :])


def _marks(text: str) -> list[tuple[str, int]]:
    """The marks in a text: letter and index."""
    return [(match[1], int(match[2])) for match in re.finditer(r"\b([A-Z])(\d+)\b", text)]


def _values(clause: str, terms: tuple[MarkedTerm, ...], kind: str) -> list[str]:
    """The values of the terms of one kind in a clause."""
    return [terms[index].value for letter, index in _marks(clause) if letter == kind]
