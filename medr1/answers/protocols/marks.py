"""What a published protocol is given, and what it gives: one question, one mark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ProtocolQuestion:
    """The parts of a question that the published protocols read."""

    answer_type: str
    """One of `records.ANSWER_TYPES`; "multiple_choice" for every question with options."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Letter -> text; empty for a question without options."""
    ground_truth: str = ""
    """A letter if there are options, else the text; "" where only the answer is read."""
    closed: bool = False
    """Whether the question is closed: by its options, its yes or no, or the file's word."""


@dataclass(frozen=True)
class ProtocolMark:
    """The answer that a protocol reads in a completion, and the mark it gives for it."""

    answer: str | None
    """A letter if there are options, else text; None where the protocol reads no answer."""
    method: str
    """How the answer was read: one of letter, option_text, nearest_option, contains, exact, words.
    Why there is none: empty, ambiguous, unparsed, no_rule."""
    score: float | None
    """From 0 to 1; None where the protocol has no rule for this type of question."""
