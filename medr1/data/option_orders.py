"""Other orders of the options of a question, and which questions have an order of their own.

Numbers in ascending order, options in alphabetical order, or "none of the above" as the last option
have no random order: a model prefers it without having seen the question.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import numpy as np

from medr1.records import LETTERS, Sample

_LAST = re.compile(
    r"\b(all|none|both|neither|any)\b.*\b(above|these|them|options|answers)\b|\bother\b"
    r"|^(all|none|both|neither|other)\b|cannot be (determined|answered)|\bA and B\b",
    re.IGNORECASE,
)
"""Options that refer to others, or that stand last by custom."""
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_MOST_OPTIONS = 6
"""With more options, orders are drawn and not listed: 7 options have 5,040."""


def has_natural_order(texts: Sequence[str]) -> bool:
    """Whether options in this order have it for a reason.

    They are sorted, by number or alphabet, up or down, or one of them refers to the others.

    Args:
        texts: The texts of the options, in their order.
    """
    if any(_LAST.search(text) for text in texts):
        return True
    numbers = [_NUMBER.findall(text) for text in texts]
    if all(numbers) and _is_sorted([float(n[0]) for n in numbers]):
        return True
    return _is_sorted([text.casefold() for text in texts])


def _is_sorted(values: Sequence[float] | Sequence[str]) -> bool:
    ordered = sorted(values)
    return list(values) in (ordered, ordered[::-1])


def other_orders(sample: Sample, count: int, seed: int) -> list[Sample]:
    """The question with its options in other orders that have no reason of their own.

    Args:
        sample: A question with options, whose own order has none.
        count: Number of orders; fewer are returned if there are fewer.
        seed: With the id of the question, it decides which orders are returned.

    Returns:
        Questions with the same letters for other texts. Their ground truth is not changed.
    """
    texts = tuple(sample.options.values())
    digest = hashlib.sha256(f"{seed} {sample.id}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    orders = [
        order
        for order in _candidates(texts, count, rng)
        if order != texts and not has_natural_order(order)
    ]
    return [
        replace(sample, options=dict(zip(LETTERS, order, strict=False))) for order in orders[:count]
    ]


def _candidates(
    texts: tuple[str, ...], count: int, rng: np.random.Generator
) -> list[tuple[str, ...]]:
    """Different orders of the texts, in random order."""
    if len(texts) <= _MOST_OPTIONS:
        every = sorted(set(permutations(texts)))
        return [every[index] for index in rng.permutation(len(every))]
    candidates = (tuple(texts[i] for i in rng.permutation(len(texts))) for _ in range(4 * count))
    return list(dict.fromkeys(candidates))
