"""The part `hallucination` of summary.json: claims that contradict what is known of their items."""

from __future__ import annotations

from msgspec import Struct

from medr1.documents.metric import Metric


class HallucinationKind(Struct, frozen=True, kw_only=True):
    """One kind of contradiction."""

    severity: str
    """One of `medr1.claims.SEVERITIES`."""
    rate: Metric
    """The share of the items with such a contradiction, among those with a claim of this kind that
    can be checked."""
    n_items: int
    """Number of items with such a contradiction."""
    n_claims_checked: int
    """Number of claims of this kind that can be checked, in all items."""


class Hallucination(Struct, frozen=True, kw_only=True):
    """How often completions contradict what is known of their items."""

    rate: Metric
    """The share of the items with a contradiction of any kind, among those with a claim that can be
    checked."""
    kinds: dict[str, HallucinationKind]
    """Kind, one of `medr1.claims.KINDS` -> its numbers."""
    severities: dict[str, Metric]
    """Severity -> the share of the items with a contradiction of it, among those with a claim of
    its kinds that can be checked."""
    n_with_text: int
    """Number of items with a completion that the model wrote."""
    n_claims: int
    n_claims_checked: int
    """Number of claims that can be checked. The others are unchecked, and never contradictions."""


class ItemContradiction(Struct, frozen=True, kw_only=True):
    """A claim that contradicts what is known, in a line of items.jsonl."""

    kind: str
    severity: str
    sentence: str
    """The sentence of the completion that claims it, at most 500 characters."""
    claimed: str
    """What it claims, such as "mri" or "no effusion"."""
