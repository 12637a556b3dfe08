"""What differs between a card and the card of the same commands run again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from medr1.documents.card import Card
from medr1.documents.metric import Metric
from medr1.documents.reproduction import ComparedAnswers, ComparedFact, Reproduction
from medr1.evaluate.cards.items import item_columns
from medr1.files import to_json

_EQUAL = 1e-9
"""Numbers that differ by less are equal, up to rounding."""


def reproduction(card: Card, now: Card, name: str, notes: Sequence[str] = ()) -> Reproduction:
    """Compare a card with that of a second run.

    Args:
        card: The card that is reproduced.
        now: The card of the second run.
        name: The name of the first card's file.
        notes: Sentences about what could not be run as it was.

    Raises:
        InputError: The items of a card are damaged.
    """
    facts = list(_facts(card, now))
    answers = _answers(card, now, name)
    same_items = answers is None or (
        answers.n_card == answers.n_now == answers.n_both and not answers.n_other_answer
    )
    same_number = _same_metric(card.accuracy, now.accuracy)
    changed = any(fact.decides and fact.differs for fact in facts)
    return Reproduction(
        card=name,
        equal=same_items and same_number and not changed,
        accuracy=card.accuracy,
        accuracy_now=now.accuracy,
        answers=answers,
        facts=facts,
        notes=list(notes),
    )


def _facts(card: Card, now: Card) -> Iterator[ComparedFact]:
    """Whatever decides the number, then what may change it in the last digits."""
    pairs: tuple[tuple[str, str | None, str | None, bool], ...] = (
        ("questions", card.data.sha256, now.data.sha256, True),
        ("images", card.data.images_sha256, now.data.images_sha256, True),
        ("weights", card.model.sha256, now.model.sha256, True),
        ("prompt", card.prompt.sha256, now.prompt.sha256, True),
        ("decoding", _decoding(card), _decoding(now), True),
        ("protocol", card.protocol, now.protocol, True),
        ("training questions", _training(card), _training(now), False),
        ("device", card.model.device, now.model.device, False),
        ("data type", card.model.dtype, now.model.dtype, False),
        ("quantization", card.model.quantization, now.model.quantization, False),
        ("server", _server(card), _server(now), False),
    )
    for name, before, after, decides in pairs:
        if before is not None or after is not None:
            yield ComparedFact(name=name, card=before, now=after, decides=decides)
    yield from _versions("run", card.versions, now.versions)
    yield from _versions("evaluation", card.evaluation_versions, now.evaluation_versions)


def _versions(part: str, card: Mapping[str, str], now: Mapping[str, str]) -> Iterator[ComparedFact]:
    """The versions of the libraries of the run or of the evaluation."""
    for name in dict.fromkeys((*card, *now)):
        yield ComparedFact(
            name=f"version of {name} ({part})",
            card=card.get(name),
            now=now.get(name),
            decides=False,
        )


def _decoding(card: Card) -> str | None:
    """The settings of the decoding and the seed as one text."""
    return None if card.decoding is None else " ".join(to_json([card.decoding, card.seed]).split())


def _training(card: Card) -> str | None:
    return card.blind.train_sha256 if card.blind else None


def _server(card: Card) -> str | None:
    return card.model.server.software if card.model.server else None


def _answers(card: Card, now: Card, name: str) -> ComparedAnswers | None:
    """How many items have another answer; None where a card has no items."""
    if card.items is None or now.items is None:
        return None
    before, after = item_columns(card.items, name), item_columns(now.items, "the second run")
    _, old, new = np.intersect1d(before.ids, after.ids, assume_unique=True, return_indices=True)
    return ComparedAnswers(
        n_card=len(before.ids),
        n_now=len(after.ids),
        n_both=len(old),
        n_other_answer=int(np.count_nonzero(before.answers[old] != after.answers[new])),
        n_other_verdict=int(np.count_nonzero(before.correct[old] != after.correct[new])),
    )


def _same_metric(first: Metric, second: Metric) -> bool:
    """Whether two metrics have the same value and interval."""
    sides = [(metric.value, *(metric.ci95 or ())) for metric in (first, second)]
    return len(sides[0]) == len(sides[1]) and all(
        a == b or (a is not None and b is not None and abs(a - b) < _EQUAL)
        for a, b in zip(*sides, strict=True)
    )
