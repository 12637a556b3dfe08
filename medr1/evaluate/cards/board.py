"""A board: cards of the same questions and protocol in one table, and which differ."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from itertools import combinations

from msgspec.structs import replace

from medr1.documents.board import BoardPair, BoardRow, BoardTable
from medr1.documents.card import Card
from medr1.documents.metric import Metric
from medr1.evaluate.cards.items import ItemColumns, item_columns, same_items
from medr1.stats.letters import compact_letters
from medr1.stats.significance import holm, sign_flip_test

ALPHA = 0.05
"""The level at which two cards are told apart."""
_Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


def board_tables(cards: Mapping[str, Card]) -> list[BoardTable]:
    """The tables of a board, the one with most cards first.

    Args:
        cards: File of a card -> the card.

    Raises:
        InputError: The items of a card are damaged.
    """
    columns = {name: item_columns(card.items, name) for name, card in cards.items() if card.items}
    members: dict[Hashable, list[str]] = {}
    for name, card in cards.items():
        members.setdefault(_questions(name, card, columns), []).append(name)
    tables = [_table({name: cards[name] for name in names}, columns) for names in members.values()]
    return sorted(tables, key=lambda table: (-len(table.rows), table.data or "", table.protocol))


def _questions(name: str, card: Card, columns: Mapping[str, ItemColumns]) -> Hashable:
    """What cards of one table have in common: the questions and the protocol.

    Without a hash of the data, the items tell the questions; without both, a card stands alone.
    """
    questions: Hashable = card.data.sha256
    if questions is None:
        items = columns.get(name)
        questions = items.ids.tobytes() if items is not None else name
    return questions, card.data.n, card.protocol


def _table(cards: Mapping[str, Card], columns: Mapping[str, ItemColumns]) -> BoardTable:
    """One table; its pairs are tested, and its rows have letters."""
    names = sorted(cards, key=lambda name: (-(cards[name].accuracy.value or 0.0), name))
    pairs = [_pair(a, b, cards, columns) for a, b in combinations(names, 2)]
    adjusted = holm([pair.p for pair in pairs])
    pairs = [replace(pair, p_holm=p) for pair, p in zip(pairs, adjusted, strict=True)]
    places = {name: place for place, name in enumerate(names)}
    different = [
        (places[pair.first], places[pair.second])
        for pair in pairs
        if pair.p_holm is not None and pair.p_holm < ALPHA
    ]
    letters = compact_letters(len(names), different)
    card = cards[names[0]]
    return BoardTable(
        data=card.data.name,
        data_sha256=card.data.sha256,
        n=card.data.n,
        protocol=card.protocol,
        rows=[
            _row(name, cards[name], letters[place] if letters else None)
            for place, name in enumerate(names)
        ],
        pairs=pairs,
    )


def _row(name: str, card: Card, letters: str | None) -> BoardRow:
    leaks = card.leakage.kinds.values() if card.leakage else ()
    counts = [leak.items for leak in leaks if leak.items is not None]
    return BoardRow(
        card=name,
        model=card.model.name,
        model_sha256=card.model.sha256,
        prompt=card.prompt.name,
        date=card.date,
        accuracy=card.accuracy,
        groups=letters,
        best_without_image=card.blind.best if card.blind else None,
        image_gain=card.blind.image_gain if card.blind else None,
        n_without_answer=card.n_without_answer,
        n_leaked=max(counts) if counts else None,
    )


def _pair(
    first: str, second: str, cards: Mapping[str, Card], columns: Mapping[str, ItemColumns]
) -> BoardPair:
    """The test of two cards: paired where both have the same items."""
    a, b = cards[first].accuracy, cards[second].accuracy
    one, other = columns.get(first), columns.get(second)
    if one is not None and other is not None and same_items(one, other):
        # the coarser clusters, where one card resamples images and the other patients
        clusters = min((one.clusters, other.clusters), key=lambda codes: len(set(codes.tolist())))
        difference = one.correct.astype(float) - other.correct.astype(float)
        p = sign_flip_test(difference, clusters.tolist())
        value = float(difference.mean())
        return BoardPair(
            first=first, second=second, difference=value, p=p, p_holm=None, test="paired"
        )
    p = _unpaired_p(a, b)
    return BoardPair(
        first=first,
        second=second,
        difference=None if a.value is None or b.value is None else a.value - b.value,
        p=p,
        p_holm=None,
        test="none" if p is None else "unpaired",
    )


def _unpaired_p(a: Metric, b: Metric) -> float | None:
    """The two-sided p value of two independent accuracies; None where one has no interval.

    z = (a - b) / sqrt(se_a^2 + se_b^2), where a standard error is half the width of the 95 %
    interval over 1.96.
    """
    if a.value is None or b.value is None or a.ci95 is None or b.ci95 is None:
        return None
    errors = [(metric.ci95[1] - metric.ci95[0]) / (2 * _Z) for metric in (a, b) if metric.ci95]
    error = math.hypot(*errors)
    return math.erfc(abs(a.value - b.value) / error / math.sqrt(2)) if error else None
