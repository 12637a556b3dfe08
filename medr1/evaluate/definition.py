"""What is said of each number of summary.json."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Definition:
    """One number: what it is, how it is computed, how it is read."""

    name: str
    title: str
    formula: str
    normalisation: str
    """What is done to the texts, or to the items, before."""
    library: str
    range: str
    reading: str
    """One sentence."""
    source: str
    packages: tuple[str, ...] = ()
    """The distributions whose installed versions belong to the number."""
