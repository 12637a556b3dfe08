"""The claims of predictions, checked against what is known of their items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medr1 import answers
from medr1.claims import CheckedText, check, known_of
from medr1.documents.hallucination import ItemContradiction
from medr1.records import Prediction

MAX_SENTENCE = 500
"""The most characters of a sentence in items.jsonl."""


@dataclass(frozen=True, slots=True)
class ItemClaims:
    """What became of the claims of one item, without their texts."""

    has_text: bool = False
    """Whether the model wrote a completion."""
    n_claims: int = 0
    n_checked: int = 0
    checked: tuple[tuple[str, int], ...] = ()
    """(kind, number of its claims that can be checked), for kinds that have some."""
    contradicted: frozenset[str] = frozenset()
    """The kinds of its contradictions."""


def checked_text(prediction: Prediction, verdict: answers.Verdict | None) -> CheckedText | None:
    """The claims of one prediction; None where the model wrote no text, or the item failed.

    Args:
        prediction: The item with its completion.
        verdict: Its verdict, with the answer that the completion must not contradict.
    """
    text = prediction.generated_text
    if verdict is None or not text:
        return None
    return check(text, known_of(prediction.sample, verdict.extraction.answer))


def checked_texts(
    predictions: Sequence[Prediction], verdicts: Sequence[answers.Verdict | None]
) -> list[CheckedText | None]:
    """`checked_text` of each item.

    Args:
        predictions: The items.
        verdicts: Their verdicts, in the same order.
    """
    return list(map(checked_text, predictions, verdicts))


def item_claims(checked: CheckedText | None) -> ItemClaims:
    """The numbers of one item, for the columns of `judging`."""
    if checked is None:
        return ItemClaims()
    return ItemClaims(
        True,
        len(checked.claims),
        checked.n_checked,
        checked.checked,
        frozenset(item.kind for item in checked.contradictions),
    )


def item_contradictions(checked: CheckedText | None) -> list[ItemContradiction]:
    """The contradictions of one item, for items.jsonl and the gallery of report.html."""
    if checked is None:
        return []
    return [
        ItemContradiction(
            kind=item.kind,
            severity=item.severity,
            sentence=item.sentence[:MAX_SENTENCE],
            claimed=item.claimed,
        )
        for item in checked.contradictions
    ]
