"""What is known of one benchmark: its files, how a record becomes an item, its published counts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

ImageRef = bytes | tuple[str, ...]
"""An image: its bytes, or the names under which its file may be in the source, in order."""
Record = Mapping[str, object]
"""One record as its file has it."""


@dataclass(frozen=True)
class BenchmarkItem:
    """A record with the keys of medr1, and its images."""

    item: Mapping[str, object]
    """The keys that `data.items.read_item` reads; other keys become metadata."""
    images: Sequence[ImageRef]
    split: str | None = None
    """The split, where the record says it and not the name of its file."""


@dataclass(frozen=True)
class Benchmark:
    """One benchmark."""

    title: str
    """The name of the data set, which its items have as `dataset`."""
    files: Mapping[re.Pattern[str], str | None]
    """Pattern of a file's path below the source -> its split; None where the records say it."""
    item_of: Callable[[Record, str], BenchmarkItem | None]
    """The item of a record and the path of its file; None for a record that is no part of it."""
    published: Mapping[str, int | tuple[int, ...]]
    """Split, or split and class or language ("test closed") -> number of items that the authors or
    the literature state; several, if the published forms of the data set differ."""
    hub: str = ""
    """Its name on the Hugging Face hub, owner/name or owner/name/folder; "" if it is elsewhere."""
    licence: str = ""
    """The licence that its page there states; "" where it states none that covers all of it."""
    defects: Sequence[str] = ()
    """What is known to be wrong or unusual in the published files, as sentences."""


def text_of(record: Record, key: str) -> str:
    """A value of a record as text without blanks around it; "" for a missing one.

    Args:
        record: The record.
        key: Its key.
    """
    value = record.get(key)
    return "" if value is None else str(value).strip()


def embedded_images(record: Record, keys: Sequence[str]) -> list[ImageRef]:
    """The images of a Hugging Face data set in these columns, without empty ones.

    Args:
        record: A row; a column of images has objects with `bytes` and `path`.
        keys: The columns, in order.
    """
    images: list[ImageRef] = []
    for key in keys:
        value = record.get(key)
        if isinstance(value, Mapping):
            content, path = value.get("bytes"), value.get("path")
            if isinstance(content, bytes):
                images.append(content)
            elif isinstance(path, str):
                images.append((path,))
        elif isinstance(value, bytes):
            images.append(value)
    return images


def rest_of(record: Record, used: Sequence[str]) -> dict[str, object]:
    """The other values of a record, for the metadata.

    Args:
        record: The record.
        used: The keys that are left out.
    """
    return {
        key: value for key, value in record.items() if key not in used and value not in (None, "")
    }


def closed_by_answer(answer: str) -> str:
    """CLOSED for an answer yes or no, else OPEN: where a data set has no such mark."""
    return "CLOSED" if answer.casefold().rstrip(".") in ("yes", "no") else "OPEN"
