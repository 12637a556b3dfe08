"""The items of a results file with their verdicts: items.jsonl, and the gallery of report.html."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from msgspec import UNSET, Struct, UnsetType

from medr1.documents.hallucination import ItemContradiction
from medr1.documents.reasoning import ReasoningRow
from medr1.records import Prediction


class ItemRow(Struct, frozen=True, kw_only=True):
    """A line of items.jsonl: one item with its extracted answer and verdict."""

    results: str | None = None
    """The results file."""
    id: str
    answer_type: str
    ground_truth: str | None
    extracted_answer: str | None
    extraction: str | None
    """How the answer was extracted; None without a completion."""
    trace: list[str]
    """The steps of the extraction."""
    correct: bool
    undecided: str | None
    """Why the rules cannot judge the answer; None where they can."""
    finish_reason: str | None
    error: str | None
    """The code of the error, for an item that failed."""
    reasoning: ReasoningRow | UnsetType | None = UNSET
    """The checks of the reasoning; None without one. The key is there only if they were made."""
    contradictions: list[ItemContradiction] | UnsetType = UNSET
    """Claims that contradict what is known; the key is there only if claims were checked."""

    @property
    def kind(self) -> str:
        """See `verdict_kind`."""
        return verdict_kind(
            correct=self.correct,
            failed=self.error is not None,
            undecided=self.undecided is not None,
            answered=self.extracted_answer is not None,
            extraction=self.extraction,
            truncated=self.finish_reason == "length",
        )


def verdict_kind(
    *,
    correct: bool,
    failed: bool,
    undecided: bool,
    answered: bool,
    extraction: str | None,
    truncated: bool,
) -> str:
    """The kind of an item's verdict: "right", or why it does not count as correct.

    Args:
        correct: Whether the answer is right.
        failed: Whether the item failed before it had a completion.
        undecided: Whether the rules cannot judge the answer.
        answered: Whether an answer could be extracted.
        extraction: How it was extracted, or why it could not be.
        truncated: Whether the completion was cut off at the token limit.

    Returns:
        right, failed, undecided, wrong, ambiguous, refused, empty, truncated or unparsed.
    """
    if correct:
        return "right"
    if failed:
        return "failed"
    if undecided:
        return "undecided"
    if answered:
        return "wrong"
    if extraction in ("ambiguous", "refused", "empty"):
        return extraction
    return "truncated" if truncated else "unparsed"


class GalleryCandidate(NamedTuple):
    """What the choice of the gallery's items needs to know of one item."""

    results: str
    kind: str
    """See `verdict_kind`."""
    modality: str | None


ConfusionPair = tuple[str, str | None]
"""Ground truth and the model's answer, as in a `summary.ConfusionCell`; None without an answer."""


@dataclass(frozen=True)
class GalleryItem:
    """One item of the gallery of report.html."""

    prediction: Prediction
    row: ItemRow
    metadata: Mapping[str, str]
    """Only the keys of --group-by and --cluster-by."""
    hidden: Mapping[str, str]
    """Identifier in the item's metadata, such as a name -> the text that replaces it."""
    burned_in: str | None
    """Why the image may contain text, such as a patient's name; None where it does not."""
    reasoning: str | None
    groups: Mapping[str, str | None]
    """Kind, such as modality -> the item's group, as in summary.json; None for no group."""
    by_letter: ConfusionPair | None
    """Its cell of the confusion matrix by letters; None for an item that is in none."""
    by_text: ConfusionPair | None
    """Its cell of the confusion matrix by the texts of the options."""
