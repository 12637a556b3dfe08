"""Read what a text claims about an image, and compare it with what is known of the item.

reading: the claims of a text. known: what is known of an item. checking: the claims that contradict
it. vocabulary, marking: the terms, and where a sentence has them. README.md has precision and
recall.
"""

from __future__ import annotations

from medr1.claims.checking import (
    KINDS,
    SEVERITIES,
    SEVERITY,
    CheckedText,
    Contradiction,
    check,
    contradictions,
)
from medr1.claims.known import Facts, Known, known_of
from medr1.claims.reading import Claim, read_claims

__all__ = [
    "KINDS",
    "SEVERITIES",
    "SEVERITY",
    "CheckedText",
    "Claim",
    "Contradiction",
    "Facts",
    "Known",
    "check",
    "contradictions",
    "known_of",
    "read_claims",
]
