"""Text normalisation: Unicode folding of completions, and SQuAD's form for comparing texts."""

from __future__ import annotations

import re
import string
import unicodedata

_INVISIBLE = {0xAD, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF}
_DASHES = {*range(0x2010, 0x2016), 0x2212, 0xFE58, 0xFE63, 0xFF0D}
_QUOTES = {0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"'}
_FRACTION_SLASH = "\u2044"
_ENTITIES = re.compile(r"&(lt|gt);", re.IGNORECASE)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


class _Folding(dict[int, str]):
    """A translation table that is filled character by character, when a character is first met.

    NFKC of a full text takes quadratic time in a series of combining marks (100,000 of them: 7 s).
    """

    def __missing__(self, code: int) -> str:
        self[code] = folded = _fold_character(code)
        return folded


def _fold_character(code: int) -> str:
    """NFKC of one character, unless that would change a number: "1½" is not 11/2."""
    if code in _INVISIBLE:
        return ""
    if code in _DASHES:
        return "-"
    if code in _QUOTES:
        return _QUOTES[code]
    character = chr(code)
    folded = unicodedata.normalize("NFKC", character)
    if _FRACTION_SLASH in folded:
        slashed = folded.replace(_FRACTION_SLASH, "/")
        return f" {slashed}" if len(slashed) > 1 else slashed
    if unicodedata.decomposition(character).startswith("<super>") and folded.isdecimal():
        return "^" + folded
    return folded if len(folded) <= 4 else character


_FOLDING = _Folding()


def fold(text: str) -> str:
    """The text in NFKC without invisible characters, and with plain dashes, quotes and tags."""
    if not text.isascii():
        text = text.translate(_FOLDING)
    if "&" in text:
        text = _ENTITIES.sub(lambda entity: "<" if entity[1].lower() == "lt" else ">", text)
    return text


def normalize(text: str) -> str:
    """SQuAD's normalisation: lower case, no ASCII punctuation, no articles, single spaces.

    The tests compare it with torchmetrics' SQuAD.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split())
