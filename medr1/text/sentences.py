"""The sentences of a completion, without its tags and without what it repeats of the question."""

from __future__ import annotations

import re
from collections.abc import Iterator

_TAG = re.compile(r"</?\w+>")
_QUOTE = re.compile(r'"[^"\n]*"|“[^”\n]*”')
_SENTENCE = re.compile(r"[^.!?\n]+(?:\.(?=\w)[^.!?\n]*)*[.!?]*")


def without_question(text: str, question: str) -> str:
    """A text without tags, and without the words of the question where it repeats all of them.

    Args:
        text: A completion with its reasoning.
        question: The question; "" removes nothing.
    """
    text = _TAG.sub("\n", text)
    if words := question.split():
        text = re.sub(r"\s+".join(map(re.escape, words)), " ", text, flags=re.IGNORECASE)
    return text


def without_quotations(text: str) -> str:
    """A text without what stands in double quotes."""
    return _QUOTE.sub(" ", text)


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text, each with its final mark; a line break ends a sentence too."""
    return (match[0].strip() for match in _SENTENCE.finditer(text))
