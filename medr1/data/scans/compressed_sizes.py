"""Reads the size of a JPEG, JPEG-LS or JPEG 2000 image from its header, before it is decoded."""

from __future__ import annotations

import struct

_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""Markers of the segment with the size: those of JPEG, and that of JPEG-LS."""
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_JP2_BOX = b"\0\0\0\x0cjP  "
_MAX_SEGMENTS = 4_096


def codestream_size(content: bytes) -> tuple[int, int] | None:
    """Width and height in pixels; None if there is no readable header.

    Args:
        content: One compressed image.
    """
    try:
        if content.startswith(b"\xff\xd8"):
            return _jpeg_size(content)
        if content.startswith(_JP2_BOX):
            start = content.find(b"\xff\x4f\xff\x51", 0, 1 << 16)
            return _jpeg2000_size(content[start:]) if start >= 0 else None
        return _jpeg2000_size(content) if content.startswith(b"\xff\x4f") else None
    except (struct.error, IndexError):
        return None


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    place = 2
    for _ in range(_MAX_SEGMENTS):
        if content[place] != 0xFF:
            return None
        while content[place] == 0xFF:  # fill bytes
            place += 1
        marker = content[place]
        place += 1
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", content, place + 3)
            return width, height
        if marker not in _WITHOUT_LENGTH:
            place += struct.unpack_from(">H", content, place)[0]
    return None


def _jpeg2000_size(content: bytes) -> tuple[int, int] | None:
    """From the segment SIZ, which has to be the first one."""
    if content[2:4] != b"\xff\x51":
        return None
    right, bottom, left, top = struct.unpack_from(">4I", content, 8)
    return right - left, bottom - top
