"""What an answer in prose comes to."""

from __future__ import annotations

from enum import Enum


class Outcome(Enum):
    """What an answer in prose comes to."""

    RIGHT = "right"
    WRONG = "wrong"
    UNDECIDED = "undecided"
    """The gold is named, in a way that is not understood."""
    REFUSED = "refused"
