"""Which option a reasoning concludes with: the last one that it asserts, by rules.

Explicit conclusions ("the answer is B", "so it is CT") count before a choice ("most likely"), and
that before a plain statement. What the text withdraws ("Wait, ...") counts only as named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from medr1.answers.prose.cues import (
    BULLET,
    CORRECTION,
    FIRST_GUESS,
    LONGEST_TEXT,
    MARKUP,
    SENTENCE_BREAK,
)
from medr1.answers.prose.sentences import Sentence, read_sentence
from medr1.answers.prose.terms import spell_out
from medr1.reasoning.mentions import (
    ASSERTED,
    RULED_OUT,
    WEIGHED,
    Mention,
    OptionNames,
    may_name,
    mentions_in,
    option_names,
)

_TAG = re.compile(r"</?\w{1,20}>")
_ANSWER = re.compile(
    r"\b(?:answer|choice|option|diagnosis)\b[^,.;]{0,30}?(?:\bis\b|\bwould be\b|\bshould be\b|:)"
    r"|\bi (?:would |will |'ll )?(?:choose|chose|pick|select|go (?:with|for)|conclude|opt for)\b"
    r"|\bi(?:'m| am) going (?:with|for)\b"
    r"|\bwhich i (?:choose|select|pick)\b|\b(?:is|are) (?:the )?(?:correct|right)\b"
    r"|\b(?:is|are) (?:the )?(?:best|right|correct) (?:answer|choice|option|match|fit)\b"
    r"|\b(?:we are|that|only)\b[^,.;]{0,20}\bleft?\b|\bleaves\b|^(?:final )?answer\b|->",
    re.IGNORECASE,
)
"""Phrases that state the answer."""
_THEREFORE = re.compile(
    r"\b(?:therefore|thus|hence|consequently|accordingly|in conclusion|to conclude|in summary"
    r"|overall|which means|so)\b|[,;] then\b",
    re.IGNORECASE,
)
_CHOICE = re.compile(
    r"\b(?:most (?:likely|consistent|compatible)|best|favou?rs?|points? to|pointing to|must be"
    r"|has to be|have to be|in keeping with|consistent with|characteristic of|typical of|classic"
    r"(?:al)? (?:for|of)|suggest(?:s|ing|ive of)?|indicat(?:es|e|ing)|specific (?:to|for)"
    r"|diagnostic|correspond(?:s|ing)? to|hallmark of|in fact)\b",
    re.IGNORECASE,
)
"""Phrases that choose one of several options."""
_UNDECIDED = re.compile(
    r"\b(?:not sure|unsure|cannot (?:decide|tell|determine)|just as likely|equally (?:likely"
    r"|plausible|possible)|both (?:are|would|could|of them)|does not allow)\b",
    re.IGNORECASE,
)
_AS_EXPECTED = re.compile(
    r"^(?:and )?(?:that|this|which) is (?:exactly |just |indeed )?"
    r"(?:what (?:we|i|can be|is) (?:see|observe|seen|shown|have)|the case|seen)\b",
    re.IGNORECASE,
)
"""A sentence that says that what the sentence before it weighs is so."""
_NEGATIVE_QUESTION = re.compile(r"\b(?:not|except|least likely|false|incorrect)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Conclusion:
    """What a reasoning says about the answer."""

    names: bool
    """Whether it names an option, or says something of the answer to a question without options."""
    answer: str | None
    """What it concludes with: a letter, yes or no, a number, or a text; None where it concludes
    with nothing, or with several."""


def valid_sentences(reasoning: str) -> list[Sentence]:
    """The sentences of a reasoning after its last correction.

    Args:
        reasoning: The text; of a longer one than LONGEST_TEXT only the end is read.
    """
    pieces, first_valid = _split(reasoning)
    return [read_sentence(piece) for piece in pieces[first_valid:]]


def _split(reasoning: str) -> tuple[list[str], int]:
    """The texts of the sentences, and the index of the first one after the last correction."""
    text = MARKUP.sub(" ", _TAG.sub(" ", reasoning[-LONGEST_TEXT:]))
    corrections = [
        match for match in CORRECTION.finditer(text) if len(text[match.end() :].split()) >= 2
    ]
    cut = corrections[-1].end() if corrections else 0
    before = list(_pieces(text[:cut])) if cut else []
    return [*before, *_pieces(text[cut:].lstrip(" ,.:;-"))], len(before)


def _pieces(text: str) -> Iterable[str]:
    for line in text.split("\n"):
        for piece in SENTENCE_BREAK.split(BULLET.sub("", line)):
            if piece and piece.strip():
                yield piece.strip()


def option_conclusion(reasoning: str, options: Mapping[str, str], question: str) -> Conclusion:
    """Which option a reasoning names and concludes with.

    Args:
        reasoning: The text.
        options: Letter -> text.
        question: The question.
    """
    names = option_names(tuple(options.items()), question)
    pieces, first_valid = _split(reasoning)
    is_named, mentions, valid = False, list[Mention](), list[_Read]()
    for i, piece in enumerate(pieces):
        text = spell_out(piece)
        if _AS_EXPECTED.search(piece):
            weighed = [mention for mention in mentions if mention.status == WEIGHED]
            mentions = [replace(mention, status=ASSERTED) for mention in weighed]
        elif may_name(piece, names):
            sentence = read_sentence(piece)
            text, mentions = sentence.text, _read_mentions(sentence, names)
        else:
            mentions = []
        is_named = is_named or bool(mentions)
        if i >= first_valid:
            valid.append(_Read.of(text, mentions, names))
    if not is_named:
        return Conclusion(False, None)
    return Conclusion(True, _concluded(valid, names, bool(_NEGATIVE_QUESTION.search(question))))


def _read_mentions(sentence: Sentence, names: OptionNames) -> list[Mention]:
    """The mentions of options; a single word of an option only where something is concluded."""
    mentions = mentions_in(sentence, names)
    if any(cue.search(sentence.text) for cue in (_ANSWER, _THEREFORE, _CHOICE)):
        return mentions
    return [mention for mention in mentions if not mention.is_part or mention.status == RULED_OUT]


@dataclass(frozen=True)
class _Read:
    """One sentence, with the options that it asserts and rules out."""

    rank: int
    """3 for an explicit answer, 2 for a choice, 1 for a statement, 0 if it decides nothing."""
    asserted: tuple[str, ...]
    """Letters, the one that counts most last."""
    ruled_out: frozenset[str]
    undecided: bool

    @classmethod
    def of(cls, text: str, mentions: list[Mention], names: OptionNames) -> _Read:
        """What a sentence says, by its text in the spelling of `Sentence.text`."""
        ruled_out = frozenset(m.letter for m in mentions if m.status == RULED_OUT)
        undecided = bool(_UNDECIDED.search(text))
        asserted = [m for m in mentions if m.status == ASSERTED]
        answer = list(_ANSWER.finditer(text)) or list(_THEREFORE.finditer(text))
        if FIRST_GUESS.search(text):
            clause = text.rfind(",") if "," in text else len(text)
            asserted = [m for m in asserted if m.start > clause]
        if not asserted or undecided:
            return cls(0, (), ruled_out, undecided)
        letters = {m.letter for m in asserted}
        if len(letters) > 2 and len(letters) >= len(names.letters) - 1:
            return cls(0, (), ruled_out, False)  # a list of the options
        if answer:
            return cls(3, _after(asserted, answer[-1].start()), ruled_out, False)
        if choice := list(_CHOICE.finditer(text)):
            return cls(2, _after(asserted, choice[-1].start()), ruled_out, False)
        return cls(1, tuple(dict.fromkeys(m.letter for m in asserted)), ruled_out, False)


def _after(asserted: list[Mention], position: int) -> tuple[str, ...]:
    """The options that are named after a position; all of them if none is."""
    after = [m.letter for m in asserted if m.start >= position]
    return tuple(dict.fromkeys(after or [m.letter for m in asserted]))


def _concluded(reads: list[_Read], names: OptionNames, is_negative: bool) -> str | None:
    """The letter that the sentences conclude with; None for none or several."""
    if reads and reads[-1].undecided:
        return None
    ruled_out = frozenset[str]().union(*(read.ruled_out for read in reads))
    for rank in (3, 2, 1):
        if rank < 3 and is_negative and len(ruled_out) == 1:
            return min(ruled_out)
        ranked = [read.asserted for read in reads if read.rank == rank and read.asserted]
        if rank == 1:  # "the heart size is normal" decides only if nothing else is asserted
            ranked = [x for x in ranked if not names.common.issuperset(x)] or ranked
        if rank == 1 and len({letter for asserted in ranked for letter in asserted}) > 1:
            return None  # statements about several options
        if ranked:
            letters = [x for x in ranked[-1] if rank == 3 or x not in ruled_out] or ranked[-1]
            return letters[0] if len(letters) == 1 else None
    remaining = [letter for letter in names.letters if letter not in ruled_out]
    return remaining[0] if len(remaining) == 1 else None
