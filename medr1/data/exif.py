"""Read numbers and texts from the first directory of EXIF data, in limited time and memory.

Damaged data is no error: the entries before the damage are returned. MPF data, of a JPEG with
several images, has the same layout.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

MAX_TEXTS, MAX_TEXT = 64, 2_000
"""The most texts of a file's metadata that are read, and the most bytes of each."""
_NUMBERS = {1: "B", 3: "H", 4: "I"}
"""EXIF's code of a type of whole numbers -> its format in `struct`."""


def exif_number(data: bytes, number_tag: int) -> int:
    """The whole number with a tag in the first directory of EXIF or MPF data.

    Args:
        data: The EXIF data, with or without "Exif" and two zero bytes at its beginning.
        number_tag: The tag's number, such as 0x112 for the orientation.

    Returns:
        The number; 0 if the tag is missing or is not a whole number.
    """
    for order, tag, kind, _, value in _directory(data):
        if tag == number_tag and kind in _NUMBERS:
            return int(struct.unpack_from(f"{order}{_NUMBERS[kind]}", value)[0])
    return 0


def exif_texts(data: bytes) -> list[str]:
    """The texts in the first directory of EXIF data, each after its tag: "270: a description"."""
    data = data.removeprefix(b"Exif\0\0")
    texts: list[str] = []
    for order, tag, kind, length, value in _directory(data):
        if kind == 2 and len(texts) < MAX_TEXTS:
            (start,) = struct.unpack(f"{order}I", value)
            text = value[:length] if length <= 4 else data[start : start + min(length, MAX_TEXT)]
            texts.append(f"{tag}: {text.decode('latin-1')}")
    return texts


def _directory(data: bytes) -> Iterator[tuple[str, int, int, int, bytes]]:
    """(byte order, tag, type, number of values, four bytes) of each entry of the first directory.

    The four bytes are the values, or where they start if they need more bytes.
    """
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
