"""The part `reasoning_use` of summary.json: whether answers follow the reasoning before them."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

from medr1.documents.metric import Metric


class ReasoningUse(Struct, frozen=True, kw_only=True):
    """The same model on the same questions, with its earlier reasoning edited in one way."""

    results: str
    """The file of the answers from edited reasoning."""
    edit: str
    """cut, shuffle, empty, swap or none."""
    paired_by: str
    n: int
    """Number of items whose reasoning the edit changed; for none, all items with reasoning."""
    n_left_out: int
    """Number of items without reasoning, or whose reasoning the edit left as it was."""
    same_answer: Metric
    """The share of the items with the same answer."""
    changed_answer: Metric
    """The share of the items with another answer; an item without any answer is in neither."""
    accuracy: Metric
    """Of the answers after the model's own reasoning."""
    accuracy_edited: Metric
    """Of the answers after the edited reasoning."""
    difference: Metric
    """Accuracy after the edited reasoning minus that after the own."""
    other_answer: Metric | UnsetType = UNSET
    """The share that takes the text of the other question's answer; only for swap."""
    other_letter: Metric | UnsetType = UNSET
    """The share that takes the letter of the other question's answer; only for swap."""
