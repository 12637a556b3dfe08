"""reproduction.json: what `medr1 reproduce` found when it ran a card again."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from medr1.documents.metric import Metric


class ComparedFact(Struct, frozen=True, kw_only=True):
    """One thing that a card records, on the card and now."""

    name: str
    """What it is, such as "questions"."""
    card: str | None
    """None where the card does not record it."""
    now: str | None
    decides: bool
    """Whether the number is reproduced only if this is the same. Versions and devices are not."""

    @property
    def is_known(self) -> bool:
        """Whether both sides are recorded."""
        return self.card is not None and self.now is not None

    @property
    def differs(self) -> bool:
        """Whether both sides are recorded, and are not the same."""
        return self.is_known and self.card != self.now


class ComparedAnswers(Struct, frozen=True, kw_only=True):
    """The items of the card and those of now, paired by id."""

    n_card: int
    n_now: int
    n_both: int
    n_other_answer: int
    """Of those that are in both: items with another extracted answer."""
    n_other_verdict: int
    """Of those that are in both: items that are right on one side only."""


class Reproduction(Struct, frozen=True, kw_only=True):
    """reproduction.json."""

    schema: Literal["medr1.reproduction/1"] = "medr1.reproduction/1"
    card: str
    """The name of the card's file."""
    equal: bool
    """Whether accuracy, interval and all answers are the same, and whatever decides them."""
    accuracy: Metric
    """On the card."""
    accuracy_now: Metric
    answers: ComparedAnswers | None
    """None where the card has no items."""
    facts: list[ComparedFact]
    notes: list[str]
    """Sentences about what could not be run as it was."""
