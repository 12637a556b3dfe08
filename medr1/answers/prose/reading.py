"""Which sentences of a text answer.

What a model takes back ("Wait, ...") or only lists as possible does not; what stands under
IMPRESSION does, and a refusal is its own outcome.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from medr1.answers.prose.cues import (
    BODY,
    BULLET,
    CORRECTION,
    ENUMERATION_LENGTH,
    FINAL,
    FIRST_GUESS,
    HEADING,
    LESS_LIKELY,
    LONGEST_TEXT,
    MARKUP,
    PIVOT,
    REFUSAL,
    SENTENCE_BREAK,
    VERBS,
)
from medr1.answers.prose.sentences import Sentence, read_sentence


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
    pieces = [p.lower().split() for p in re.split(r"[,.;:\n]|\b(?:and|or)\b", text[:LONGEST_TEXT])]
    pieces = [piece for piece in pieces if piece]
    bare = sum(VERBS.isdisjoint(piece) for piece in pieces)
    return len(pieces) >= ENUMERATION_LENGTH and bare > 0.8 * len(pieces)


def read_prose(text: str) -> Prose:
    """The sentences that answer: behind the last correction, under a heading that concludes."""
    text = MARKUP.sub(" ", text[:LONGEST_TEXT].replace("|", " ; "))
    text, refused = _without_refusal(text)
    if refused:
        return Prose(refused=True)
    corrected = False
    if matches := list(CORRECTION.finditer(text)):
        rest = text[matches[-1].end() :]
        if len(rest.split()) >= 2:
            text, corrected = rest.lstrip(" ,.:;-"), True
    sentences = _with_fragments_joined(list(_sentences(text)))
    if any(FIRST_GUESS.search(s.text) for s in sentences) and len(sentences) > 1:
        sentences = [s for s in sentences if not FIRST_GUESS.search(s.text)] or sentences
    final = [s for s in sentences if s.final]
    opening = sentences[0].text if sentences else ""
    body = [s for s in sentences if not s.final] if final else []
    return Prose(final or sentences, body, opening, corrected=corrected)


def _with_fragments_joined(sentences: list[Sentence]) -> list[Sentence]:
    """One sentence of sentences of a word or two each: "Left. Right." is a list."""
    plain = [s for s in sentences if s.text.strip(" .;") and not s.final]
    if len(plain) == len(sentences) > 1 and all(len(s.text.split()) < 3 for s in plain):
        return [read_sentence(", ".join(s.text.strip(" .;") for s in plain))]
    return sentences


def takes_back(text: str) -> bool:
    """Whether a text withdraws what stood before, and says something else: "A. No, wait: B"."""
    return any(text[match.end() :].split() for match in CORRECTION.finditer(text[:LONGEST_TEXT]))


def declines(text: str) -> bool:
    """Whether a text refuses to answer, and does not go on to answer after all."""
    return _without_refusal(text[:LONGEST_TEXT])[1]


def _without_refusal(text: str) -> tuple[str, bool]:
    """The text behind a refusal that goes on to answer; whether it declines for good."""
    refusal = REFUSAL.search(text)
    if not refusal:
        return text, False
    before = text[: refusal.start()].strip()
    if len(before.split()) > 25 or re.match(r"\W*(?:yes|no)\b[,.]", before, re.IGNORECASE):
        return text, False
    rest = text[refusal.end() :]
    pivot = PIVOT.search(rest)
    if pivot and re.search(r"[.!?]\s|\n|[,;] (?=but|however)", rest[: pivot.start()] + pivot[0]):
        rest = rest[pivot.end() :]
        if not REFUSAL.search(rest) and len(rest.split()) > 5:
            return rest.lstrip(" ,.:"), False
    return text, True


def _sentences(text: str) -> Iterator[Sentence]:
    section = listed = ""
    for line in text.split("\n"):
        plain = BULLET.sub("", line)
        if listed and plain == line and line.strip():
            section, listed = listed, ""  # the list of possibilities ended
        heading = HEADING.match(plain)
        if heading and (kind := _section(heading[1])):
            section = kind
            plain = plain[heading.end() :]
        elif not line.strip():
            continue
        for piece in SENTENCE_BREAK.split(plain):
            piece = BULLET.sub("", piece).strip()
            heading = HEADING.match(piece)
            if heading and ":" in heading[0] and (kind := _section(heading[1])):
                section, piece = kind, piece[heading.end() :]
            if piece.strip():
                sentence = read_sentence(piece, section)
                sentence.bullet = bool(BULLET.match(line))
                yield sentence
                if piece.rstrip().endswith(":") and any(sentence.hedged):
                    listed, section = section or "body", "lower"


def _section(name: str) -> str:
    for kind, pattern in (("final", FINAL), ("lower", LESS_LIKELY), ("body", BODY)):
        if pattern.fullmatch(name.strip()):
            return kind
    return ""


def asserting_sentences(prose: Prose) -> list[Sentence]:
    """The sentences that can assert: not those of the less likely."""
    return [s for s in prose.sentences if not s.less_likely or s.favored]
