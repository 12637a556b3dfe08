"""Read the structure of an image file, and refuse a harmful one, before it is decoded.

The author of a file can make its decoding take any time and memory: with thousands of markers,
compressed texts that become huge, directories that repeat the same bytes, or many scans over the
same pixels. For each format there is a reader here that needs little time and memory itself, and
refuses a file beyond the limits below. It also checks the checksums of PNG, the only format that
has them. The decoder gets PNG and JPEG without their metadata, only what the pixels need.
"""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from medr1.data.exif import MAX_TEXT, MAX_TEXTS, exif_number, exif_texts

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

MAX_PARTS = 65_536
"""Most chunks of a PNG; libpng writes one per 8 KB, so 30 megapixels have about 15,000."""
MAX_SEGMENTS = 4_096
"""Most segments of a JPEG, including its scans; an ICC profile alone has up to 255."""
MAX_HEADER = 16 * 1024**2
"""Most bytes of a JPEG before its first scan, and of all values in the directories of a TIFF."""
MAX_ENTRIES = 1_024
"""Most entries in the directories of a TIFF; a file with all standard tags has about a hundred."""
MAX_VALUES = 131_072
"""Most numbers of one tag of a TIFF: 30 megapixels in tiles of 16 x 16 pixels are 117,188 tiles."""

_BLOCK = 1 << 16
"""Bytes that are read at once."""
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
"""A marker in the compressed pixels of a JPEG that begins a segment. An escaped 0xFF, a restart
marker or a fill byte begins none."""
_ORIENTATION, _NUM_IMAGES, _SUBDIRECTORIES = 0x112, 0xB001, (330, 34665, 34853, 40965)
"""Tags of EXIF, MPF and TIFF; the last four are directories: TIFF, EXIF, GPS, interoperability."""
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_TIFF_SIZES |= {13: 4, 16: 8, 17: 8, 18: 8}
"""TIFF's code of a type -> bytes of one value."""


DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    EOFError,
    struct.error,
    zlib.error,
)
"""What decoders of images raise if a file is damaged; a tag of a wrong type is a TypeError."""


class LimitExceeded(ValueError):
    """Decoding a file would take more time or memory than any real image needs."""


@dataclass(frozen=True)
class Container:
    """The structure of one image file, as far as decoding needs it."""

    stream: IO[bytes]
    """The bytes that the decoder reads."""
    size: tuple[int, int] | None = None
    """Width and height in pixels; None unless the decoder needs memory for them on opening."""
    orientation: int = 0
    """The EXIF orientation, 1 to 8; 0 if there is none, or if the decoder applies it (TIFF)."""
    num_images: int = 1
    num_scans: int = 1
    """Number of passes over the pixels of a JPEG; at least two if it is progressive."""
    inflated_bytes: int = 0
    """Bytes of the pixels of a PNG once inflated; 0 for other formats."""
    values_per_pixel: float = 3.0
    """Values that a JPEG stores per pixel: 1 for grey, 1.5 if colour has half the resolution."""
    texts: tuple[str, ...] = ()
    """The texts of a PNG's or JPEG's metadata, each after its name: "Modality: US"."""


class _JoinedParts(io.RawIOBase):
    """A file that consists of bytes and of sections (start, length) of another file, in order."""

    def __init__(self, file: IO[bytes], parts: list[bytes | tuple[int, int]]) -> None:
        self.file = file
        self.parts = parts
        self.ends: list[int] = []
        for part in parts:
            length = len(part) if isinstance(part, bytes) else part[1]
            self.ends.append((self.ends[-1] if self.ends else 0) + length)
        self.position = self.part = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.position = max(0, offset + (0, self.position, self.ends[-1])[whence])
        self.part = 0
        return self.position

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer).cast("B")
        while self.part < len(self.parts) and self.ends[self.part] <= self.position:
            self.part += 1
        if self.part == len(self.parts):
            return 0
        part, start = self.parts[self.part], self.ends[self.part - 1] if self.part else 0
        skip, count = self.position - start, min(len(target), self.ends[self.part] - self.position)
        if isinstance(part, bytes):
            data = part[skip : skip + count]
        else:
            self.file.seek(part[0] + skip)
            data = self.file.read(count)
        target[: len(data)] = data
        self.position += len(data)
        return len(data)


def read_container(file: IO[bytes], head: bytes, *, complete: bool = True) -> Container:
    """Read the structure of an image file, and check it against the limits.

    Args:
        file: The image file, open for reading.
        head: The first bytes of the file, which tell its format.
        complete: Whether to read all of the structure, or only the part before the pixels.

    Returns:
        The structure; for a format without a reader here (BMP), only the file itself.

    Raises:
        LimitExceeded: Decoding the file would take too much time or memory.
        SyntaxError: The file is damaged.
    """
    file.seek(0)
    reader = next((reader for magic, reader in _READERS.items() if head.startswith(magic)), None)
    return reader(file, complete) if reader else Container(file)


# --- PNG --------------------------------------------------------------------------------------


def _png(file: IO[bytes], complete: bool) -> Container:
    """Check all chunks and their checksums; the decoder gets header, palette and pixels only."""
    parts: list[bytes | tuple[int, int]] = [file.read(8)]
    data: list[bytes | tuple[int, int]] = []
    num_images, previous, exif, texts = 1, b"", b"", list[str]()
    for count in range(MAX_PARTS + 1):
        head = file.read(8)
        (length,), name = _unpack(">I4x", head), head[4:]
        start = file.tell()
        if count == 0 and (name, length) != (b"IHDR", 13):
            raise SyntaxError("the header is not the first chunk")
        if name == b"IEND" or (name == b"IDAT" and not complete):
            break
        content = file.read(length) if length <= _BLOCK else b""
        _check_crc(file, name, content, length)
        if name in (b"IHDR", b"PLTE", b"tRNS") and not data:
            if length > 768:
                raise SyntaxError("a palette of more than 256 colours")
            parts.append(struct.pack(">I", length) + name + content + file_crc(name, content))
        elif name == b"IDAT" and (not data or previous == b"IDAT"):
            # The pixels are in consecutive chunks; one after another chunk is no part of them.
            data.append((start, length))
        elif name == b"eXIf":
            exif = exif or content
        elif name in (b"tEXt", b"iTXt") and len(texts) < MAX_TEXTS:
            key, _, value = content.partition(b"\0")
            texts.append(f"{key.decode('latin-1')}: {value[:MAX_TEXT].decode('latin-1')}")
        elif name == b"acTL" and length >= 4:
            (num_images,) = struct.unpack(">I", content[:4])
        previous = name
    else:
        raise LimitExceeded(f"a PNG of more than {MAX_PARTS:,} chunks")
    total = sum(part[1] for part in data if isinstance(part, tuple))
    inflated = _png_bytes(parts[1])
    # Even pixels that cannot be compressed are packed in little more than their own bytes.
    if complete and total > 1024**2 + 5 * inflated // 4:
        raise LimitExceeded("a PNG with more data than its pixels need")
    # All IDAT chunks become one chunk. Their checksums were checked above, and Pillow does not
    # check that of the one chunk, so it is 0.
    tail = b"\0\0\0\0" + struct.pack(">I", 0) + b"IEND" + file_crc(b"IEND", b"")
    stream = _JoinedParts(file, [*parts, struct.pack(">I", total) + b"IDAT", *data, tail])
    buffered = io.BufferedReader(stream, _BLOCK)
    orientation, texts = exif_number(exif, _ORIENTATION), texts + exif_texts(exif)
    return Container(
        buffered, None, orientation, num_images, inflated_bytes=inflated, texts=tuple(texts)
    )


def _check_crc(file: IO[bytes], name: bytes, content: bytes, length: int) -> None:
    """Raise SyntaxError if the checksum of a chunk is wrong; the file is behind its `content`."""
    crc, remaining = zlib.crc32(content, zlib.crc32(name)), length - len(content)
    while remaining and (block := file.read(min(remaining, 1 << 20))):
        crc, remaining = zlib.crc32(block, crc), remaining - len(block)
    if remaining or _unpack(">I", file.read(4)) != (crc,):
        raise SyntaxError(f"the checksum of its chunk {name.decode('ascii', 'replace')} is wrong")


def file_crc(name: bytes, content: bytes) -> bytes:
    """The checksum of a PNG chunk in the four bytes that the file has."""
    return struct.pack(">I", zlib.crc32(name + content))


def _png_bytes(header: bytes | tuple[int, int]) -> int:
    """Bytes of all rows of a PNG once inflated, by its header chunk."""
    assert isinstance(header, bytes)
    width, height, depth, kind = struct.unpack(">IIBB", header[8:18])
    channels = {2: 3, 4: 2, 6: 4}.get(kind, 1)
    # 2 bytes more per row: the filter's code, and the last byte, which may not be full.
    return int(height * (width * depth * channels // 8 + 2))


# --- JPEG -------------------------------------------------------------------------------------


def _jpeg(file: IO[bytes], complete: bool) -> Container:
    """Check the segments before the first scan, leave metadata out, and count the scans."""
    header, num_images, values_per_pixel = bytearray(file.read(2)), 1, 3.0
    segments, progressive, exif, texts = 0, False, b"", list[str]()
    while (code := _segment_code(file)) != 0xDA:
        segments += 1
        if segments > MAX_SEGMENTS or file.tell() > MAX_HEADER:
            raise LimitExceeded(
                f"a JPEG of more than {MAX_SEGMENTS:,} segments or {MAX_HEADER:,} bytes"
            )
        (length,) = _unpack(">H", file.read(2))
        content = file.read(length - 2) if length > 2 else b""
        if code == 0xE1 and content.startswith(b"Exif\0\0"):
            exif = exif or content
        if code == 0xFE and len(texts) < MAX_TEXTS:
            texts.append(f"comment: {content[:MAX_TEXT].decode('latin-1')}")
        if code == 0xE2 and content.startswith(b"MPF\0"):
            num_images = max(num_images, exif_number(content[4:], _NUM_IMAGES))
        if code in (0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF):
            raise SyntaxError("arithmetic coding")
        if code in (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7):
            values_per_pixel, progressive = _values_per_pixel(content), code in (0xC2, 0xC6)
        # 0xE1 to 0xEF and 0xFE are metadata. Of these the decoder needs 0xEE, the colour space.
        if not (0xE0 < code <= 0xEF or code == 0xFE) or code == 0xEE:
            header += struct.pack(">BBH", 0xFF, code, length) + content
    start = file.tell() - 2
    num_scans = max(_count_scans(file, MAX_SEGMENTS - segments) if complete else 1, 1 + progressive)
    stream = _JoinedParts(file, [bytes(header), (start, file.seek(0, os.SEEK_END) - start)])
    buffered = io.BufferedReader(stream, _BLOCK)
    orientation, texts = exif_number(exif, _ORIENTATION), texts + exif_texts(exif)
    return Container(
        buffered, None, orientation, num_images, num_scans, 0, values_per_pixel, tuple(texts)
    )


def _segment_code(file: IO[bytes]) -> int:
    """The code of the next marker of a segment; a few bytes before it are skipped."""
    for _ in range(64):
        if file.read(1) == b"\xff":
            (code,) = _unpack("B", file.read(1))
            if code == 0xFF:
                file.seek(-1, os.SEEK_CUR)
            elif code > 0x01 and not 0xD0 <= code <= 0xD8:  # the others have no content
                return int(code)
    raise SyntaxError("no marker where a segment should begin")


def _values_per_pixel(frame: bytes) -> float:
    """The mean number of values per pixel, by the sampling factors of the frame's components."""
    factors = list(frame[7::3][: frame[5] if len(frame) > 5 else 0])
    areas = [max(1, byte >> 4) * max(1, byte & 15) for byte in factors]
    widest = max((byte >> 4 for byte in factors), default=1)
    tallest = max((byte & 15 for byte in factors), default=1)
    return sum(areas) / max(1, widest * tallest) if areas else 3.0


def _count_scans(file: IO[bytes], max_segments: int) -> int:
    """The number of scans; the file is behind the marker of the first one."""
    scans = 1
    for _ in range(max_segments):
        code = _next_marker(file)
        if code in (None, 0xD9):
            return scans
        scans += code == 0xDA
        (length,) = _unpack(">H", file.read(2))
        file.seek(max(0, length - 2), os.SEEK_CUR)
    raise LimitExceeded(f"a JPEG of more than {MAX_SEGMENTS:,} segments")


def _next_marker(file: IO[bytes]) -> int | None:
    """The code of the next marker in the compressed pixels; None at the end of the file."""
    while block := file.read(_BLOCK):
        if match := _MARKER.search(block):
            file.seek(match.end() - len(block), os.SEEK_CUR)
            return block[match.end() - 1]
        if len(block) > 1 and block.endswith(b"\xff"):  # a marker across two blocks
            file.seek(-1, os.SEEK_CUR)
    return None


# --- TIFF -------------------------------------------------------------------------------------


def _tiff(file: IO[bytes], complete: bool) -> Container:
    """Check the number of entries, values and bytes in the first directory and those below it."""
    header = file.read(16)
    order, big = "<" if header[:2] == b"II" else ">", header[2:4] in (b"+\0", b"\0+")
    offsets = [_unpack(f"{order}8xQ" if big else f"{order}4xI", header)[0]]
    entries = size = 0
    while offsets:
        file.seek(offsets.pop())
        number = file.read(8 if big else 2)
        if entries and not number:
            continue  # directories below the first one are metadata, and may be cut off
        (count,) = _unpack(f"{order}Q" if big else f"{order}H", number)
        entries += count + 1  # + 1, so that directories without entries are limited too
        if entries > MAX_ENTRIES:
            raise LimitExceeded(f"a TIFF of more than {MAX_ENTRIES:,} tags")
        block = io.BytesIO(file.read(count * (20 if big else 12)))
        for _ in range(count):
            entry = block.read(20 if big else 12)
            tag, kind, values, offset = _unpack(f"{order}HHQQ" if big else f"{order}HHII", entry)
            size += values * _TIFF_SIZES.get(kind, 1)
            if size > MAX_HEADER or (kind not in (1, 2, 6, 7) and values > MAX_VALUES):
                raise LimitExceeded("a TIFF with more metadata than an image needs")
            if tag in _SUBDIRECTORIES and values == 1:
                offsets.append(offset)
    file.seek(0)
    return Container(file)


def tiff_scans(file: IO[bytes], tags: ImageFileDirectory_v2) -> float:
    """Count the scans of the JPEGs in a TIFF that is compressed with JPEG.

    Args:
        file: The TIFF, open for reading.
        tags: Its tags by number, such as Pillow's `tag_v2`.

    Returns:
        The mean number of scans per strip or tile, each of which is a JPEG; 1 for other TIFFs.

    Raises:
        SyntaxError: Strips share their bytes; a few bytes could then be decoded thousands of times.
    """
    # 259 is the compression, 279 and 325 the bytes, 273 and 324 the offsets of strips and tiles.
    if tags.get(259) not in (6, 7):
        return 1.0
    size, scans, last = file.seek(0, os.SEEK_END), 0, b""
    if sum(tags.get(279, ()) or tags.get(325, ())) > size:
        raise SyntaxError("its strips overlap")
    file.seek(0)
    while block := file.read(1 << 20):
        scans, last = scans + (last + block).count(b"\xff\xda"), block[-1:]
    return scans / max(1, len(tags.get(273, ()) or tags.get(324, ())))


def tiff_work(tags: ImageFileDirectory_v2) -> tuple[int, int, int]:
    """The work of decoding a compressed TIFF, by its tags (Pillow's `tag_v2`).

    Returns:
        (pixels, including those of tiles beyond the edges; bytes of all pixels once inflated;
        bytes of the largest strip or tile, compressed and inflated together).
    """
    # 256 and 257 are width and height of the image, 322 and 323 of a tile; 278 is the rows of a
    # strip, 258 the bits of a value, 277 the values of a pixel, 279 and 325 the bytes of the parts.
    width, height = _integer(tags, 256), _integer(tags, 257)
    across, down = (
        _integer(tags, 322) or width,
        _integer(tags, 323) or _integer(tags, 278) or height,
    )
    pixels = -(-width // across) * across * height
    if 322 in tags:
        pixels = -(-width // across) * across * -(-height // down) * down
    else:
        down = min(down, height)
    bits = tags.get(258, (1,))
    bits_per_pixel = max(8, sum(bits) if len(bits) > 1 else bits[0] * tags.get(277, 1))
    largest = max(tags.get(279, ()) or tags.get(325, ()) or (0,))
    return pixels, pixels * bits_per_pixel // 8, across * down * bits_per_pixel // 8 + largest


def _integer(tags: ImageFileDirectory_v2, tag: int) -> int:
    """The positive whole number of a tag; 0 if there is none."""
    value = tags.get(tag, 0)
    return value if isinstance(value, int) and value > 0 else 0


# --- WebP -------------------------------------------------------------------------------------


def _webp(file: IO[bytes], complete: bool) -> Container:
    """Read width and height from the first chunk, and the orientation from EXIF."""
    head = file.read(30)
    kind, size, orientation = head[12:16], None, 0
    if kind == b"VP8 ":  # lossy
        width, height = _unpack("<26xHH", head)
        size = width & 0x3FFF, height & 0x3FFF
    elif kind == b"VP8L":  # lossless
        (bits,) = _unpack("<21xI5x", head)
        size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8X":  # with further chunks, such as EXIF
        low, high = _unpack("<22xII", head)
        size = (low >> 16 | (high & 0xFF) << 16) + 1, (high >> 8) + 1
    else:
        raise SyntaxError("no image in the WebP file")
    file.seek(12)
    for _ in range(64 if kind == b"VP8X" and complete else 0):
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


def _unpack(layout: str, data: bytes) -> tuple[int, ...]:
    """The whole numbers in `data`; SyntaxError if the file is cut off before their end."""
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
"""First bytes of a file -> the reader of that format."""
