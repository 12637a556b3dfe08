"""The outcomes of judging an answer in prose."""

from __future__ import annotations

from enum import Enum


class ProseOutcome(Enum):
    """The verdict of the rules on one answer in prose."""

    RIGHT = "right"
    """It asserts the ground truth, and nothing that contradicts it."""
    WRONG = "wrong"
    """It does not assert the ground truth, or it also asserts something else."""
    UNDECIDED = "undecided"
    """It names the ground truth in a way that the rules cannot read, or cannot be read at all."""
    REFUSED = "refused"
    """It declines to answer."""
