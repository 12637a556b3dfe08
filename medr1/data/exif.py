"""What stands in the first directory of EXIF data, read in bounded time and memory."""

from __future__ import annotations

import struct
from collections.abc import Iterator

MAX_TEXTS, MAX_TEXT = 64, 2_000
"""Texts of a file's metadata that are looked at, and characters of each."""
_NUMBERS = {1: "B", 3: "H", 4: "I"}


def exif_number(data: bytes, wanted: int) -> int:
    """The number under a tag of the first directory of EXIF or MPF data; 0 where there is none."""
    for order, tag, kind, _, value in _directory(data):
        if tag == wanted and kind in _NUMBERS:
            return int(struct.unpack_from(f"{order}{_NUMBERS[kind]}", value)[0])
    return 0


def exif_texts(data: bytes) -> list[str]:
    """The texts in the first directory of EXIF data, with their tags."""
    data = data.removeprefix(b"Exif\0\0")
    texts: list[str] = []
    for order, tag, kind, length, value in _directory(data):
        if kind == 2 and len(texts) < MAX_TEXTS:
            (start,) = struct.unpack(f"{order}I", value)
            text = value[:length] if length <= 4 else data[start : start + min(length, MAX_TEXT)]
            texts.append(f"{tag}: {text.decode('latin-1')}")
    return texts


def _directory(data: bytes) -> Iterator[tuple[str, int, int, int, bytes]]:
    """(byte order, tag, kind, number of values, their four bytes) of the first directory."""
    data = data.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            yield order, *struct.unpack_from(f"{order}HHI4s", data, place)
    except struct.error:
        return
