"""The verdicts on the items of a card, as short texts in its JSON and as arrays."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medr1.documents.card import CardItems
from medr1.errors import InputError
from medr1.evaluate.judging import Judged

MAX_ITEMS = 10_000_000
"""Most items of a card that is read."""


@dataclass(frozen=True)
class ItemColumns:
    """The items of a card as arrays of shape (items,), in the order of `ids`."""

    ids: NDArray[np.uint64]
    """Hashes of the ids, in ascending order, each once."""
    answers: NDArray[np.uint32]
    """Hashes of the extracted answers; 0 where there is none."""
    correct: NDArray[np.uint8]
    """1 for a right answer, else 0."""
    clusters: NDArray[np.uint32]
    """Items with the same number are not independent."""


def card_items(judged: Judged) -> CardItems | None:
    """The items as a card holds them; None where two of them cannot be told apart by their hash."""
    hashes = np.array([_hash(name, 8) for name in judged.ids], dtype=np.uint64)
    order = np.argsort(hashes, kind="stable")
    ids = hashes[order]
    if len(ids) > MAX_ITEMS or bool((ids[1:] == ids[:-1]).any()):
        return None
    answer_hashes = np.array(
        [
            0 if outcome.answer is None else _hash(outcome.answer, 4)
            for outcome in judged.outcomes.values
        ],
        dtype=np.uint32,
    )
    return CardItems(
        n=len(ids),
        ids=_packed(ids),
        answers=_packed(answer_hashes[judged.outcomes.codes][order]),
        correct=_packed(judged.correct[order].astype(np.uint8)),
        clusters=_packed(judged.clusters[order].astype(np.uint32)),
    )


def item_columns(items: CardItems, name: str) -> ItemColumns:
    """The items of a card as arrays.

    Args:
        items: As the card has them.
        name: The card's file, for the error.

    Raises:
        InputError: They are damaged.
    """
    if not 0 < items.n <= MAX_ITEMS:
        raise InputError(f"{name}: {items.n} items are not possible. Write the card again.")
    columns = ItemColumns(
        _unpacked(items.ids, np.uint64, items.n, name),
        _unpacked(items.answers, np.uint32, items.n, name),
        _unpacked(items.correct, np.uint8, items.n, name),
        _unpacked(items.clusters, np.uint32, items.n, name),
    )
    if bool((columns.ids[1:] <= columns.ids[:-1]).any()) or bool((columns.correct > 1).any()):
        raise InputError(f"{name}: its items are damaged. Write the card again.")
    return columns


def same_items(first: ItemColumns, second: ItemColumns) -> bool:
    """Whether two cards are about the same items.

    Args:
        first: The items of one card.
        second: Those of the other.
    """
    return len(first.ids) == len(second.ids) and bool((first.ids == second.ids).all())


def _hash(text: str, num_bytes: int) -> int:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:num_bytes], "little")


def _packed(values: NDArray[Any]) -> str:
    little = values.astype(values.dtype.newbyteorder("<"))
    return base64.b64encode(zlib.compress(little.tobytes(), 9)).decode("ascii")


def _unpacked(text: str, kind: type[np.generic], n: int, name: str) -> NDArray[Any]:
    """The array of a text; no more memory is used than n numbers need."""
    dtype = np.dtype(kind).newbyteorder("<")
    size = n * dtype.itemsize
    try:
        content = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), size + 1)
    except (binascii.Error, ValueError, zlib.error):
        content = b""
    if len(content) != size:
        raise InputError(f"{name}: its items are damaged. Write the card again.")
    return np.frombuffer(content, dtype=dtype).astype(kind)
