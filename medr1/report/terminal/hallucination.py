"""Names and sentences about the part `hallucination` of summary.json."""

from __future__ import annotations

from collections.abc import Iterator

from medr1.documents.hallucination import Hallucination
from medr1.documents.metric import Metric

KIND_NAMES = {
    "modality": "modality",
    "body_part": "body part",
    "side": "side of the body",
    "plane": "plane or view",
    "finding": "finding",
    "own_answer": "its own answer",
}
"""Kind of contradiction -> its name in tables."""


def claims_rows(part: Hallucination) -> Iterator[tuple[str, Metric]]:
    """The label and the rate of each kind that could be checked, after that of all kinds."""
    yield "anything that is known of the item", part.rate
    for name, kind in part.kinds.items():
        if kind.rate.n:
            yield f"  {KIND_NAMES[name]} ({kind.severity})", kind.rate


def claims_note(part: Hallucination) -> str:
    """A sentence with the numbers of claims."""
    unchecked = part.n_claims - part.n_claims_checked
    return (
        f"Rules read {part.n_claims} claims in {part.n_with_text} completions; "
        f"{part.n_claims_checked} can be checked against what is known of the item, {unchecked} "
        "cannot, and count as nothing. n: items with a claim that can be checked."
    )
