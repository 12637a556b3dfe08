"""Selects the sentences of a text that answer.

What a model withdraws ("Wait, ...") or only lists as possible is no answer; what stands under a
heading such as IMPRESSION is. A text that declines to answer is recognised too.
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
    """The sentences of a text that answer, in order, and what the text does as a whole."""

    sentences: list[Sentence] = field(default_factory=list)
    """Those under a heading that concludes; all sentences if there is no such heading."""
    body: list[Sentence] = field(default_factory=list)
    """The other sentences, if some stand under a heading that concludes."""
    opening: str = ""
    """The first sentence of the text, under any heading."""
    refused: bool = False
    """Whether the text declines to answer; it then has no sentences."""
    corrected: bool = False
    """Whether the text withdrew something; its sentences are those after the last correction."""


def is_enumeration(text: str) -> bool:
    """Whether the text only lists things, and more of them than an answer would.

    Otherwise a model could be right by naming everything that an image may show.
    """
    pieces = [
        piece.lower().split() for piece in re.split(r"[,.;:\n]|\b(?:and|or)\b", text[:LONGEST_TEXT])
    ]
    pieces = [piece for piece in pieces if piece]
    n_without_verb = sum(VERBS.isdisjoint(piece) for piece in pieces)
    return len(pieces) >= ENUMERATION_LENGTH and n_without_verb > 0.8 * len(pieces)


def read_prose(text: str) -> Prose:
    """Read the sentences of a text that answer.

    These are the sentences after the last correction, without first guesses. If some stand under a
    heading that concludes, such as IMPRESSION, they are the answer.
    """
    text = MARKUP.sub(" ", text[:LONGEST_TEXT].replace("|", " ; "))
    text, refused = _without_refusal(text)
    if refused:
        return Prose(refused=True)
    corrected = False
    if matches := list(CORRECTION.finditer(text)):
        corrected_text = text[matches[-1].end() :]
        # "It is a cyst, actually." has nothing after the phrase, and corrects nothing
        if len(corrected_text.split()) >= 2:
            text, corrected = corrected_text.lstrip(" ,.:;-"), True
    sentences = _join_fragments(list(_sentences(text)))
    if any(FIRST_GUESS.search(sentence.text) for sentence in sentences) and len(sentences) > 1:
        sentences = [
            sentence for sentence in sentences if not FIRST_GUESS.search(sentence.text)
        ] or sentences
    final_sentences = [sentence for sentence in sentences if sentence.final]
    opening = sentences[0].text if sentences else ""
    body = [sentence for sentence in sentences if not sentence.final] if final_sentences else []
    return Prose(final_sentences or sentences, body, opening, corrected=corrected)


def _join_fragments(sentences: list[Sentence]) -> list[Sentence]:
    """Join the sentences if each has one or two words: "Left. Right." is a list in one sentence."""
    plain_sentences = [
        sentence for sentence in sentences if sentence.text.strip(" .;") and not sentence.final
    ]
    if len(plain_sentences) == len(sentences) > 1 and all(
        len(sentence.text.split()) < 3 for sentence in plain_sentences
    ):
        fragments = [sentence.text.strip(" .;") for sentence in plain_sentences]
        return [read_sentence(", ".join(fragments))]
    return sentences


def takes_back(text: str) -> bool:
    """Whether a text withdraws its beginning and then says something else: "A. No, wait: B"."""
    return any(text[match.end() :].split() for match in CORRECTION.finditer(text[:LONGEST_TEXT]))


def declines(text: str) -> bool:
    """Whether a text refuses to answer, and does not answer afterwards."""
    return _without_refusal(text[:LONGEST_TEXT])[1]


def _without_refusal(text: str) -> tuple[str, bool]:
    """Remove a refusal after which the text answers nevertheless.

    Returns:
        (the text, False) if it has no refusal, or has an answer before it: more than 25 words, or
        yes or no; (the text after the refusal, False) if that answers; else (the text, True).
    """
    refusal = REFUSAL.search(text)
    if not refusal:
        return text, False
    before_refusal = text[: refusal.start()].strip()
    if len(before_refusal.split()) > 25 or re.match(
        r"\W*(?:yes|no)\b[,.]", before_refusal, re.IGNORECASE
    ):
        return text, False
    after_refusal = text[refusal.end() :]
    pivot = PIVOT.search(after_refusal)
    # "I cannot say based on this view" has no new sentence or clause before "based on"
    if pivot and re.search(
        r"[.!?]\s|\n|[,;] (?=but|however)", after_refusal[: pivot.start()] + pivot[0]
    ):
        after_refusal = after_refusal[pivot.end() :]
        if not REFUSAL.search(after_refusal) and len(after_refusal.split()) > 5:
            return after_refusal.lstrip(" ,.:"), False
    return text, True


def _sentences(text: str) -> Iterator[Sentence]:
    """Each sentence of a text, with the kind of the heading it stands under.

    A line such as "Possibilities are:" also begins a section of less likely answers, up to the end
    of the list that follows it.
    """
    section = section_after_list = ""
    for line in text.split("\n"):
        plain_line = BULLET.sub("", line)
        if section_after_list and plain_line == line and line.strip():
            section, section_after_list = section_after_list, ""  # the list of possibilities ended
        heading = HEADING.match(plain_line)
        if heading and (kind := _section(heading[1])):
            section = kind
            plain_line = plain_line[heading.end() :]
        elif not line.strip():
            continue
        for piece in SENTENCE_BREAK.split(plain_line):
            piece = BULLET.sub("", piece).strip()
            heading = HEADING.match(piece)
            if heading and ":" in heading[0] and (kind := _section(heading[1])):
                section, piece = kind, piece[heading.end() :]
            if piece.strip():
                sentence = read_sentence(piece, section)
                sentence.bullet = bool(BULLET.match(line))
                yield sentence
                if piece.rstrip().endswith(":") and any(sentence.hedged):
                    section_after_list, section = section or "body", "lower"


def _section(heading: str) -> str:
    """The kind of section that a heading begins: "final", "lower", "body"; "" for no heading."""
    for kind, pattern in (("final", FINAL), ("lower", LESS_LIKELY), ("body", BODY)):
        if pattern.fullmatch(heading.strip()):
            return kind
    return ""


def asserting_sentences(prose: Prose) -> list[Sentence]:
    """The sentences that can assert something: those under a heading such as "Less likely" do not,
    unless they choose a favorite."""
    return [
        sentence for sentence in prose.sentences if not sentence.less_likely or sentence.favored
    ]
