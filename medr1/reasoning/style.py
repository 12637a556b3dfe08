"""Measure the form of a reasoning: its length, its repetition, and changes of language."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from medr1.answers.prose.languages import CHINESE, language_of
from medr1.text.sentences import sentences

MAX_WORDS = 20_000
"""Words of a reasoning that are measured for repetition."""
N_GRAM = 4
_MAX_PERIOD = 60
"""The longest loop, in words, that is searched."""
_LOOP_ROUNDS = 4
"""A text repeated this many times in a row is a loop."""
_LOOP_WORDS = 12
"""Words that a loop has at least: "no, no, no, no" is none."""
_LOOP_REPETITION = 0.15
"""Below this share of repeated 4-grams no loop is searched."""
_WORD = re.compile(r"[\u3400-\u9fff\u3040-\u30ff]|[^\W_]+(?:['-][^\W_]+)*")
"""A word; a Chinese or Japanese character is one."""
_SCRIPTS = {
    "Han": re.compile(r"[\u3400-\u9fff]"),
    "Kana": re.compile(r"[\u3040-\u30ff]"),
    "Hangul": re.compile(r"[\uac00-\ud7af]"),
    "Cyrillic": re.compile(r"[\u0400-\u04ff]"),
    "Arabic": re.compile(r"[\u0600-\u06ff]"),
    "Hebrew": re.compile(r"[\u0590-\u05ff]"),
    "Devanagari": re.compile(r"[\u0900-\u097f]"),
    "Thai": re.compile(r"[\u0e00-\u0e7f]"),
}
"""Scripts other than Latin and Greek, whose letters are also symbols."""
_LETTER = re.compile(r"[^\W\d_]")
_LATIN_SENTENCE = re.compile(r"(?:\b[a-z]+\b[\s,]*){5,}", re.IGNORECASE)
"""Five words in Latin letters in a row: more than names such as "CT" in a Chinese text."""


@dataclass(frozen=True)
class Style:
    """The form of a reasoning."""

    characters: int
    words: int
    repetition: float
    """The share of its 4-grams that repeat an earlier one (`repetition`)."""
    has_loop: bool
    """Whether it repeats the same words at least four times in a row."""
    switches_language: bool
    """Whether it changes from one language or script to another."""


def style(reasoning: str) -> Style:
    """Measure a reasoning.

    Args:
        reasoning: The text.
    """
    words = _WORD.findall(reasoning.lower())
    repeated = _repetition_of(words[:MAX_WORDS])
    return Style(
        characters=len(reasoning),
        words=len(words),
        repetition=repeated,
        has_loop=repeated >= _LOOP_REPETITION and _has_loop(words[:MAX_WORDS]),
        switches_language=switches_language(reasoning),
    )


def _repetition_of(words: Sequence[str]) -> float:
    """The share of repeated 4-grams: 1 - distinct 4-grams / 4-grams (seq-rep-4, Welleck 2020)."""
    n_grams = list(zip(*(words[i:] for i in range(N_GRAM)), strict=False))
    return 1 - len(set(n_grams)) / len(n_grams) if n_grams else 0.0


def _has_loop(words: Sequence[str]) -> bool:
    for period in range(1, _MAX_PERIOD + 1):
        needed = max(_LOOP_ROUNDS * period, _LOOP_WORDS) - period
        run = 0
        for word, earlier in zip(words[period:], words, strict=False):
            run = run + 1 if word == earlier else 0
            if run >= needed:
                return True
    return False


def switches_language(text: str) -> bool:
    """Whether a text changes from one language or script to another.

    It does with two letters or more of another script than most of its letters, with five words in
    Latin letters in a row in another script, or where its sentences are in several languages.
    Names in Latin letters in a Chinese text, such as CT, are no change.

    Args:
        text: A reasoning.
    """
    counts = {name: len(script.findall(text)) for name, script in _SCRIPTS.items()}
    counts["Han"] += counts.pop("Kana")  # Japanese is written in both
    n_others = sum(counts.values())
    n_latin = len(_LETTER.findall(text)) - n_others if n_others else 0
    if n_others:
        n_scripts = sum(n >= 2 for n in counts.values())
        if n_latin > n_others:
            return n_others >= 2
        return n_scripts > 1 or bool(_LATIN_SENTENCE.search(text))
    languages = {
        language_of(sentence) for sentence in sentences(text) if len(sentence.split()) >= 4
    }
    return len(languages - {CHINESE}) > 1
