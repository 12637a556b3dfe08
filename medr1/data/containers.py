"""The structure of an image file, read before a decoder sees the file.

How much time and memory a file takes is for its author to choose: thousands of markers, text that
inflates, directories that point at the same bytes again and again, scans over the same pixels. Each
reader here walks one format in bounded time and memory and refuses what goes too far. It verifies
what a format lets one verify, the checksums of PNG, and leaves out all metadata of PNG and JPEG:
the decoder gets what the pixels need.
"""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from medr1.data.exif import MAX_TEXT, MAX_TEXTS, exif_number, exif_texts

MAX_PARTS = 65_536
"""Chunks of a PNG; libpng writes one for 8 KB, so that 30 megapixels have about 15,000."""
MAX_SEGMENTS = 4_096
"""Segments of a JPEG with their scans; an ICC profile has up to 255."""
MAX_HEADER = 16 * 1024**2
"""Bytes of a JPEG before its first scan, and of all values in the directories of a TIFF."""
MAX_ENTRIES = 1_024
"""Entries of the directories of a TIFF; one with every standard tag has about a hundred."""
MAX_VALUES = 131_072
"""Numbers under one tag of a TIFF: 30 megapixels in tiles of 16 x 16 pixels have 117,188 tiles."""

_BLOCK = 1 << 16
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
"""In entropy-coded data: no stuffed byte, no restart marker and no filling."""
_ORIENTATION, _N_PICTURES, _SUBDIRECTORIES = 0x112, 0xB001, (330, 34665, 34853, 40965)
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_TIFF_SIZES |= {13: 4, 16: 8, 17: 8, 18: 8}


class TooMuch(ValueError):
    """A file asks for more work than any picture needs."""


@dataclass(frozen=True)
class Container:
    """What a file holds."""

    stream: IO[bytes]
    """What the decoder reads."""
    size: tuple[int, int] | None = None
    """Width and height, where the decoder takes memory for them as soon as it opens the file."""
    orientation: int = 0
    """The EXIF tag; 0 where there is none, or where the decoder applies it (TIFF)."""
    pictures: int = 1
    scans: int = 1
    """Passes over the pixels of a JPEG; two at least where it is progressive."""
    raw: int = 0
    """Bytes that have to be inflated, where they are packed losslessly."""
    samples: float = 3.0
    """Values that a JPEG stores for each pixel: 1 for grey, 1.5 for colour at half its size."""
    texts: tuple[str, ...] = ()
    """Texts of PNG's and JPEG's metadata with their names: "Modality: US"."""


class _Parts(io.RawIOBase):
    """One file made of bytes and of stretches (start, length) of another file."""

    def __init__(self, file: IO[bytes], parts: list[bytes | tuple[int, int]]) -> None:
        self.file = file
        self.parts = parts
        self.ends: list[int] = []
        for part in parts:
            length = len(part) if isinstance(part, bytes) else part[1]
            self.ends.append((self.ends[-1] if self.ends else 0) + length)
        self.place = self.part = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.place = max(0, offset + (0, self.place, self.ends[-1])[whence])
        self.part = 0
        return self.place

    def readinto(self, buffer: Any) -> int:
        while self.part < len(self.parts) and self.ends[self.part] <= self.place:
            self.part += 1
        if self.part == len(self.parts):
            return 0
        part, start = self.parts[self.part], self.ends[self.part - 1] if self.part else 0
        inside, most = self.place - start, min(len(buffer), self.ends[self.part] - self.place)
        if isinstance(part, bytes):
            data = part[inside : inside + most]
        else:
            self.file.seek(part[0] + inside)
            data = self.file.read(most)
        buffer[: len(data)] = data
        self.place += len(data)
        return len(data)


def read_container(file: IO[bytes], head: bytes, *, whole: bool = True) -> Container:
    """The file that begins with `head`; without `whole`, only as far as its width and height need.

    Raises TooMuch, or SyntaxError where the file is damaged.
    """
    file.seek(0)
    reader = next((reader for magic, reader in _READERS.items() if head.startswith(magic)), None)
    return reader(file, whole) if reader else Container(file)


# --- PNG --------------------------------------------------------------------------------------


def _png(file: IO[bytes], whole: bool) -> Container:
    """Every chunk with its checksum; the decoder gets the pixels and what they mean."""
    parts: list[bytes | tuple[int, int]] = [file.read(8)]
    data: list[bytes | tuple[int, int]] = []
    pictures, before, exif, texts = 1, b"", b"", list[str]()
    for count in range(MAX_PARTS + 1):
        length, name = _unpacked(">I4s", file.read(8))
        start = file.tell()
        if count == 0 and (name, length) != (b"IHDR", 13):
            raise SyntaxError("the header is not the first chunk")
        if name == b"IEND" or (name == b"IDAT" and not whole):
            break
        content = file.read(length) if length <= _BLOCK else b""
        _check_crc(file, name, content, length)
        if name in (b"IHDR", b"PLTE", b"tRNS") and not data:
            if length > 768:
                raise SyntaxError("a palette of more than 256 colours")
            parts.append(struct.pack(">I", length) + name + content + file_crc(name, content))
        elif name == b"IDAT" and (not data or before == b"IDAT"):
            data.append((start, length))
        elif name == b"eXIf":
            exif = exif or content
        elif name in (b"tEXt", b"iTXt") and len(texts) < MAX_TEXTS:
            key, _, value = content.partition(b"\0")
            texts.append(f"{key.decode('latin-1')}: {value[:MAX_TEXT].decode('latin-1')}")
        elif name == b"acTL" and length >= 4:
            (pictures,) = struct.unpack(">I", content[:4])
        before = name
    else:
        raise TooMuch(f"a PNG of more than {MAX_PARTS:,} chunks")
    total = sum(part[1] for part in data if isinstance(part, tuple))
    raw = _png_bytes(parts[1])
    if whole and total > 1024**2 + 5 * raw // 4:
        raise TooMuch("a PNG with more data than its pixels need")
    tail = b"\0\0\0\0" + struct.pack(">I", 0) + b"IEND" + file_crc(b"IEND", b"")
    stream = _Parts(file, [*parts, struct.pack(">I", total) + b"IDAT", *data, tail])
    buffered = io.BufferedReader(stream, _BLOCK)
    orientation, texts = exif_number(exif, _ORIENTATION), texts + exif_texts(exif)
    return Container(buffered, None, orientation, pictures, raw=raw, texts=tuple(texts))


def _check_crc(file: IO[bytes], name: bytes, content: bytes, length: int) -> None:
    """SyntaxError where the chunk's checksum is not that of what stands in it."""
    crc, left = zlib.crc32(content, zlib.crc32(name)), length - len(content)
    while left and (block := file.read(min(left, 1 << 20))):
        crc, left = zlib.crc32(block, crc), left - len(block)
    if left or _unpacked(">I", file.read(4)) != (crc,):
        raise SyntaxError(f"the checksum of its chunk {name.decode('ascii', 'replace')} is wrong")


def file_crc(name: bytes, content: bytes) -> bytes:
    """The checksum of a PNG's chunk, as it stands in the file."""
    return struct.pack(">I", zlib.crc32(name + content))


def _png_bytes(header: bytes | tuple[int, int]) -> int:
    """Bytes of the rows that the header chunk announces."""
    assert isinstance(header, bytes)
    width, height, depth, kind = struct.unpack(">IIBB", header[8:18])
    channels = {2: 3, 4: 2, 6: 4}.get(kind, 1)
    return int(height * (width * depth * channels // 8 + 2))


# --- JPEG -------------------------------------------------------------------------------------


def _jpeg(file: IO[bytes], whole: bool) -> Container:
    """The segments before the first scan, less the metadata among them, and the scans' number."""
    header, pictures, samples = bytearray(file.read(2)), 1, 3.0
    segments, progressive, exif, texts = 0, False, b"", list[str]()
    while (code := _segment_code(file)) != 0xDA:
        segments += 1
        if segments > MAX_SEGMENTS or file.tell() > MAX_HEADER:
            raise TooMuch(f"a JPEG of more than {MAX_SEGMENTS:,} segments or {MAX_HEADER:,} bytes")
        (length,) = _unpacked(">H", file.read(2))
        content = file.read(length - 2) if length > 2 else b""
        if code == 0xE1 and content.startswith(b"Exif\0\0"):
            exif = exif or content
        if code == 0xFE and len(texts) < MAX_TEXTS:
            texts.append(f"comment: {content[:MAX_TEXT].decode('latin-1')}")
        if code == 0xE2 and content.startswith(b"MPF\0"):
            pictures = max(pictures, exif_number(content[4:], _N_PICTURES))
        if code in (0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF):
            raise SyntaxError("arithmetic coding")
        if code in (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7):
            samples, progressive = _samples(content), code in (0xC2, 0xC6)
        if not (0xE0 < code <= 0xEF or code == 0xFE) or code == 0xEE:
            header += struct.pack(">BBH", 0xFF, code, length) + content
    start = file.tell() - 2
    scans = max(_scans(file, MAX_SEGMENTS - segments) if whole else 1, 1 + progressive)
    stream = _Parts(file, [bytes(header), (start, file.seek(0, os.SEEK_END) - start)])
    buffered = io.BufferedReader(stream, _BLOCK)
    orientation, texts = exif_number(exif, _ORIENTATION), texts + exif_texts(exif)
    return Container(buffered, None, orientation, pictures, scans, 0, samples, tuple(texts))


def _segment_code(file: IO[bytes]) -> int:
    """The code of the next marker that has content, a few bytes of filling or junk before it."""
    for _ in range(64):
        if file.read(1) == b"\xff":
            (code,) = _unpacked("B", file.read(1))
            if code == 0xFF:
                file.seek(-1, os.SEEK_CUR)
            elif code > 0x01 and not 0xD0 <= code <= 0xD8:
                return int(code)
    raise SyntaxError("no marker where a segment should begin")


def _samples(frame: bytes) -> float:
    """Values for each pixel, by the sampling factors of the frame's components."""
    factors = list(frame[7::3][: frame[5] if len(frame) > 5 else 0])
    areas = [max(1, byte >> 4) * max(1, byte & 15) for byte in factors]
    widest = max((byte >> 4 for byte in factors), default=1)
    tallest = max((byte & 15 for byte in factors), default=1)
    return sum(areas) / max(1, widest * tallest) if areas else 3.0


def _scans(file: IO[bytes], most: int) -> int:
    """How many scans follow; the file stands behind the marker of the first."""
    scans = 1
    for _ in range(most):
        code = _next_marker(file)
        if code in (None, 0xD9):
            return scans
        scans += code == 0xDA
        (length,) = _unpacked(">H", file.read(2))
        file.seek(max(0, length - 2), os.SEEK_CUR)
    raise TooMuch(f"a JPEG of more than {MAX_SEGMENTS:,} segments")


def _next_marker(file: IO[bytes]) -> int | None:
    """The code of the next marker in entropy-coded data; None at the end of the file."""
    while block := file.read(_BLOCK):
        if hit := _MARKER.search(block):
            file.seek(hit.end() - len(block), os.SEEK_CUR)
            return block[hit.end() - 1]
        if len(block) > 1 and block.endswith(b"\xff"):
            file.seek(-1, os.SEEK_CUR)
    return None


# --- TIFF -------------------------------------------------------------------------------------


def _tiff(file: IO[bytes], whole: bool) -> Container:
    """The first directory and those below it: few entries, few values, few bytes."""
    header = file.read(16)
    order, big = "<" if header[:2] == b"II" else ">", header[2:4] in (b"+\0", b"\0+")
    offsets = [_unpacked(f"{order}8xQ" if big else f"{order}4xI", header)[0]]
    entries = size = 0
    while offsets:
        file.seek(offsets.pop())
        number = file.read(8 if big else 2)
        if entries and not number:
            continue  # what lies below the first directory is metadata, and may be cut off
        (count,) = _unpacked(f"{order}Q" if big else f"{order}H", number)
        entries += count + 1  # directories without entries may not go on for ever either
        if entries > MAX_ENTRIES:
            raise TooMuch(f"a TIFF of more than {MAX_ENTRIES:,} tags")
        block = io.BytesIO(file.read(count * (20 if big else 12)))
        for _ in range(count):
            entry = block.read(20 if big else 12)
            tag, kind, values, place = _unpacked(f"{order}HHQQ" if big else f"{order}HHII", entry)
            size += values * _TIFF_SIZES.get(kind, 1)
            if size > MAX_HEADER or (kind not in (1, 2, 6, 7) and values > MAX_VALUES):
                raise TooMuch("a TIFF with more metadata than a picture needs")
            if tag in _SUBDIRECTORIES and values == 1:
                offsets.append(place)
    file.seek(0)
    return Container(file)


def tiff_scans(file: IO[bytes], tags: Any) -> float:
    """The mean number of scans of the JPEGs in a TIFF, one for each strip or tile; else 1.

    SyntaxError where strips share their bytes: one JPEG could then stand for thousands.
    """
    if tags.get(259) not in (6, 7):
        return 1.0
    size, scans, last = file.seek(0, os.SEEK_END), 0, b""
    if sum(tags.get(279, ()) or tags.get(325, ())) > size:
        raise SyntaxError("its strips overlap")
    file.seek(0)
    while block := file.read(1 << 20):
        scans, last = scans + (last + block).count(b"\xff\xda"), block[-1:]
    return scans / max(1, len(tags.get(273, ()) or tags.get(324, ())))


def tiff_work(tags: Any) -> tuple[int, int, int]:
    """Of a compressed TIFF: pixels with what tiles reach beyond it, bytes to inflate, and bytes of
    the strip or tile that is in memory, packed and inflated."""
    width, height = _whole(tags, 256), _whole(tags, 257)
    across, down = _whole(tags, 322) or width, _whole(tags, 323) or _whole(tags, 278) or height
    pixels = -(-width // across) * across * height
    if 322 in tags:
        pixels = -(-width // across) * across * -(-height // down) * down
    else:
        down = min(down, height)
    bits = tags.get(258, (1,))
    deep = max(8, sum(bits) if len(bits) > 1 else bits[0] * tags.get(277, 1))
    largest = max(tags.get(279, ()) or tags.get(325, ()) or (0,))
    return pixels, pixels * deep // 8, across * down * deep // 8 + largest


def _whole(tags: Any, tag: int) -> int:
    """The whole number under a tag; 0 where there is none."""
    value = tags.get(tag, 0)
    return value if isinstance(value, int) and value > 0 else 0


# --- WebP -------------------------------------------------------------------------------------


def _webp(file: IO[bytes], whole: bool) -> Container:
    """Width and height from the first chunk, the orientation from EXIF."""
    head = file.read(30)
    kind, size, orientation = head[12:16], None, 0
    if kind == b"VP8 ":
        width, height = _unpacked("<26xHH", head)
        size = width & 0x3FFF, height & 0x3FFF
    elif kind == b"VP8L":
        (bits,) = _unpacked("<21xI5x", head)
        size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8X":
        low, high = _unpacked("<22xII", head)
        size = (low >> 16 | (high & 0xFF) << 16) + 1, (high >> 8) + 1
    else:
        raise SyntaxError("no picture in the WebP file")
    file.seek(12)
    for _ in range(64 if kind == b"VP8X" and whole else 0):
        header = file.read(8)
        if len(header) < 8:
            break
        name, length = struct.unpack("<4sI", header)
        if name == b"EXIF":
            orientation = exif_number(file.read(min(length, _BLOCK)), _ORIENTATION)
            break
        file.seek(length + length % 2, os.SEEK_CUR)
    file.seek(0)
    return Container(file, size, orientation)


def _unpacked(layout: str, data: bytes) -> tuple[Any, ...]:
    """`data` by its layout; SyntaxError where the file ends before it."""
    try:
        return struct.unpack_from(layout, data)
    except struct.error:
        raise SyntaxError("the file is cut off") from None


_READERS: dict[bytes, Callable[[IO[bytes], bool], Container]] = {
    b"\x89PNG": _png,
    b"\xff\xd8\xff": _jpeg,
    b"II": _tiff,
    b"MM": _tiff,
    b"RIFF": _webp,
}
