"""Whether a text names a side or height that is wrong after the image is mirrored."""

from __future__ import annotations

import re

from medr1.answers.phrases import SIDES, mark_phrases
from medr1.text.normalization import fold

_SIDE_WORD = re.compile(
    rf"\b(?:{'|'.join(SIDES)}|side[sd]?|laterality|(?:uni|contra|ipsi)?lateral(?:ly)?"
    r"|(?:dextro|levo)cardia|situs|(?:counter|anti)?clockwise|nasal|temporal)\b"
)
_HEIGHT_WORD = re.compile(
    r"\b(?:upper|lower|(?:superior|inferior)(?:ly)?|top|bottom|above|below|apex|apical|bas(?:e|al)"
    r"|upside|inverted|cranial|caudal)\b"
)
_ABBREVIATION = re.compile(r"\b(?:[RL](?:[UML]L|[UL][QE]|T)|O[DSU])\b")
"""Abbreviations of lobes, quadrants, limbs, sides and eyes in reports: RUL, LLQ, OD."""


def names_side(text: str) -> bool:
    """Whether a text has left, right, both or another word that a left-right flip makes wrong.

    The word alone decides, so the "right option" counts too: better too many than too few.
    """
    return bool(_SIDE_WORD.search(_lower_case_forms(text)) or _ABBREVIATION.search(text))


def names_height(text: str) -> bool:
    """Whether a text has a word such as upper or lower, which an upside-down flip makes wrong."""
    return bool(_HEIGHT_WORD.search(_lower_case_forms(text)) or _ABBREVIATION.search(text))


def _lower_case_forms(text: str) -> str:
    """The text in lower case, followed by its form with "L lung" as "left lung"."""
    text = fold(text)
    return f"{text.lower()} {mark_phrases(text)}"
