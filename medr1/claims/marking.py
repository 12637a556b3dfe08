"""Sentences with the terms of the vocabulary marked, so that short patterns can read them.

"This axial CT shows a mass." becomes "this V0 M1 shows a F2 .": each mark is the letter of its kind
with its position in the list of terms. Other words are in lower case, and words with a hyphen are
separated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from medr1.claims.vocabulary import normalized, term_table

_TOKEN = re.compile(r"[a-z0-9]+(?:'[a-z]+)?(?:\.\d+)?|[.,;:?!()]", re.I | re.ASCII)
_PUNCTUATION = frozenset(".,;:?!()")


@dataclass(frozen=True, slots=True)
class MarkedTerm:
    """A name of the vocabulary in a sentence."""

    kind: str
    """A letter, as in `vocabulary.term_table`."""
    value: str
    start: int
    """Where it begins in the sentence, in characters."""
    end: int


@dataclass(frozen=True, slots=True)
class Marked:
    """A sentence with marks."""

    text: str
    """Words, punctuation and marks, each separated by one space."""
    terms: tuple[MarkedTerm, ...]


def mark(sentence: str, extra: Mapping[str, tuple[str, str]] | None = None) -> Marked:
    """Mark the terms in a sentence; the longest name at a place counts.

    Args:
        sentence: One sentence, with straight quotes.
        extra: Further names -> (kind, value), such as a finding that only the question names.
    """
    table = term_table()
    # lower case for each token alone: that of a whole sentence can be longer, which moves places
    tokens = list(_TOKEN.finditer(sentence))
    words = [normalized(token[0].lower()) for token in tokens]
    marked: list[str] = []
    terms: list[MarkedTerm] = []
    i = 0
    while i < len(words):
        if words[i] not in _PUNCTUATION:
            length, kind, value = _longest_name(words, i, table, extra or {})
            if length and kind == "X":
                marked += ["x"] * length
                i += length
                continue
            if length:
                marked.append(f"{kind}{len(terms)}")
                terms.append(
                    MarkedTerm(kind, value, tokens[i].start(), tokens[i + length - 1].end())
                )
                i += length
                continue
        marked.append(words[i])
        i += 1
    return Marked(" ".join(marked), tuple(terms))


def _longest_name(
    words: list[str],
    start: int,
    table: Mapping[str, tuple[str, str]],
    extra: Mapping[str, tuple[str, str]],
) -> tuple[int, str, str]:
    """The number of words of the longest name at `start`, its kind and value; 0 words for none."""
    longest = max(_longest_by_first_word().get(words[start], 1), 5 if extra else 1)
    end = start + 1
    while end < min(start + longest, len(words)) and words[end] not in _PUNCTUATION:
        end += 1
    for stop in range(end, start, -1):
        name = " ".join(words[start:stop])
        for spelling in (name, _singular(name)):
            if entry := extra.get(spelling) or table.get(spelling):
                return stop - start, *entry
    return 0, "", ""


@cache
def _longest_by_first_word() -> Mapping[str, int]:
    """First word of names -> the number of words of the longest of them."""
    longest: dict[str, int] = {}
    for name in term_table():
        words = name.split()
        longest[words[0]] = max(len(words), longest.get(words[0], 1))
    return longest


def _singular(name: str) -> str:
    """A name without the plural ending of its last word, where that is regular."""
    if name.endswith("ies"):
        return name[:-3] + "y"
    return name[:-1] if name.endswith("s") and not name.endswith(("ss", "us", "is")) else name
