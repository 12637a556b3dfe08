"""Whether a text names a place that a mirrored picture no longer shows where it was."""

from __future__ import annotations

import re

from medr1.answers.phrases import SIDES, mark_phrases
from medr1.normalization import fold

_LATERAL = re.compile(
    rf"\b(?:{'|'.join(SIDES)}|side[sd]?|laterality|(?:uni|contra|ipsi)?lateral(?:ly)?"
    r"|(?:dextro|levo)cardia|situs|(?:counter|anti)?clockwise|nasal|temporal)\b"
)
_UPRIGHT = re.compile(
    r"\b(?:upper|lower|(?:superior|inferior)(?:ly)?|top|bottom|above|below|apex|apical|bas(?:e|al)"
    r"|upside|inverted|cranial|caudal)\b"
)
_ABBREVIATED = re.compile(r"\b(?:[RL](?:[UML]L|[UL][QE]|T)|O[DSU])\b")
"""Lobes, quadrants, limbs, sides and eyes as reports shorten them: RUL, LLQ, OD."""


def names_side(text: str) -> bool:
    """Whether it says left, right, both or anything else that a left-right flip makes wrong.

    Rather too often than not: the "right option" counts too.
    """
    return bool(_LATERAL.search(_spelled(text)) or _ABBREVIATED.search(text))


def names_height(text: str) -> bool:
    """Whether it says upper, lower or the like, which an upside-down flip makes wrong."""
    return bool(_UPRIGHT.search(_spelled(text)) or _ABBREVIATED.search(text))


def _spelled(text: str) -> str:
    """In lower case, as it is and with "L lung" as "left lung"."""
    text = fold(text)
    return f"{text.lower()} {mark_phrases(text)}"
