"""The type of the table of `--protocol all`: one row a protocol."""

from __future__ import annotations

from msgspec import Struct

from medr1.documents.metric import Metric


class ProtocolRow(Struct, frozen=True, kw_only=True):
    """What one protocol gives on the same completions, and how that differs from `default`."""

    accuracy: Metric
    """The share of right answers among the questions that the protocol has a rule for."""
    score: Metric | None = None
    """The mean of its marks, for a protocol that gives parts of a mark for an open answer."""
    n_without_rule: int
    """Number of questions that the protocol has no rule for."""
    n_without_answer: int
    """Number of completions in which the protocol reads no answer."""
    n_lost: int
    """Number of answers that are right under `default` and wrong here."""
    n_gained: int
    """Number of answers that are not right under `default` and right here."""
    lost: dict[str, int] = {}
    """How the protocol read the answers of n_lost, or why it read none -> number of items, the
    largest first."""
    gained: dict[str, int] = {}
    """The same for n_gained."""
