"""The one safe loader: a file that a data set names, to 8-bit RGB pixels and what was done to them.

Only PNG, JPEG, TIFF, BMP and WebP are decoded, in this process and without a helper program. What
a file would cost is judged by its structure (`data.containers`), before any pixel is decoded: not
more than about a second and 300 MB. What would change how the picture looks (orientation,
transparency, depth) is done here, in one way, and noted.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from PIL import (
    BmpImagePlugin,
    Image,
    ImageCms,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from medr1.data.burned_in import header_notes
from medr1.data.containers import Container, TooMuch, read_container, tiff_scans, tiff_work
from medr1.data.pixels import check_deep_colour, is_deep_colour, to_rgb
from medr1.data.roots import open_image, shorten
from medr1.errors import ItemError

MAX_DECODED = 300_000_000
"""Bytes that decoding may hold at once: of 37 megapixels, of 30 in a progressive JPEG."""
MAX_PIXELS = 89_000_000
"""As stored; just under the size from which Pillow itself warns of a decompression bomb."""
MAX_SCANNED = 450_000_000
"""Pixels of a JPEG times its scans, each of which may take a pass over all pixels; a byte counts
as 10 of them, or as 3 where there is one scan."""
MAX_BYTES = 200 * 1024**2
MAX_ASPECT = 200
"""Qwen's grid rule refuses longer sides beyond this many times the shorter one."""

_READERS: tuple[tuple[bytes, Callable[[IO[bytes]], Image.Image]], ...] = (
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (b"II", TiffImagePlugin.TiffImageFile),
    (b"MM", TiffImagePlugin.TiffImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
)
_DECODE_ERRORS = (
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
    ImageCms.PyCMSError,
    Image.DecompressionBombError,
)
"""What Pillow's decoders raise on damaged files: a tag of another type than it should have is a
TypeError."""

_HEAD = 132
"""Bytes that are read of a file before its format is known; DICOM says its name at the end."""
_ORIENTATION = 0x112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


_T = TypeVar("_T")


@dataclass(frozen=True)
class LoadedImage:
    """A decoded picture, without any metadata of its file."""

    image: Image.Image
    """8-bit RGB."""
    notes: tuple[str, ...]
    """What was done, such as "exif_orientation_6" or "windowed 0..4095 (16-bit)"."""


def load_image(path: Path, *, side: int = 0) -> LoadedImage:
    """Decode one file to 8-bit RGB; safe to call from several threads.

    `side` says that the picture will be made smaller, to so many pixels on its longer side: a JPEG
    may then be decoded at a half, a quarter or an eighth of its size, but at least twice `side`.

    16- and 32-bit and float pixels are mapped linearly, the least finite value to 0 and the
    greatest to 255 (NaN to 0); a constant picture becomes black. Transparency is laid on white.
    ItemError, with these codes: image_missing, image_not_file, image_unreadable (damaged, or of
    another format), image_too_large (bytes, pixels, scans), image_bad_shape (longer than 200
    times its width), image_animated (more than one picture).
    """
    shown = shorten(path.name)
    with open_image(path) as file:
        return _load(file, os.fstat(file.fileno()).st_size, shown, side)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels as stored, from the header alone; ItemError as in `load_image`."""
    return _of_header(path, lambda image, _: image.size)


def text_notes(path: Path) -> list[str]:
    """What `load_image` notes of text in the picture, from the header alone, with its errors."""
    return _of_header(path, lambda image, container: header_notes(_texts(image, container)))


def _of_header(path: Path, ask: Callable[[Image.Image, Container], _T]) -> _T:
    shown = shorten(path.name)
    with open_image(path) as file:
        size = os.fstat(file.fileno()).st_size
        return _explained(shown, lambda: ask(*_opened(file, size, shown, whole=False)[:2]))


def _texts(image: Image.Image, container: Container) -> list[str]:
    """The texts of a header with their names, as "Modality: US"."""
    tags = {tag: value for tag, value in dict(_tags(image)).items() if isinstance(value, str)}
    return [*container.texts, *(f"{tag}: {value}" for tag, value in tags.items())]


def decode_image(content: bytes, name: str, *, side: int = 0) -> LoadedImage:
    """Decode what a file of that name held, as `load_image` does, with its errors."""
    return _load(io.BytesIO(content), len(content), shorten(name), side)


def _load(file: IO[bytes] | io.FileIO, size: int, shown: str, side: int) -> LoadedImage:
    return _explained(shown, lambda: _decode(file, size, shown, side))


def _explained(shown: str, work: Callable[[], _T]) -> _T:
    """What `work` returns; what a decoder raises becomes an ItemError."""
    try:
        return work()
    except ItemError:
        raise
    except TooMuch as error:
        raise _too_large(shown, str(error)) from None
    except _DECODE_ERRORS as error:
        raise ItemError(
            "image_unreadable",
            f"image {shown}: damaged or not what it seems ({_reason(error)}); "
            "export it again, best as PNG.",
        ) from None


def _too_large(shown: str, what: str) -> ItemError:
    return ItemError("image_too_large", f"image {shown}: {what}; make it smaller.")


def _reason(error: BaseException) -> str:
    """The decoder's words on one line, without addresses and paths."""
    said = " ".join(str(error).split())
    return type(error).__name__ if not said or "0x" in said or "/" in said else said[:100]


def _decode(file: IO[bytes] | io.FileIO, size: int, shown: str, side: int) -> LoadedImage:
    image, container, deep_colour = _opened(file, size, shown, side=side)
    notes = []
    if container.pictures > 1:
        notes.append(f"first_of_{container.pictures}_pictures")
    orientation = _tags(image).get(_ORIENTATION) or container.orientation
    image.load()  # Pillow applies the orientation of a TIFF here
    rgb, done = to_rgb(image, shown)
    notes += done
    if deep_colour:
        check_deep_colour(rgb, shown)
        notes.append("color16_high_byte")
    if orientation in _TURNS:
        notes.append(f"exif_orientation_{orientation}")
        if image.format != "TIFF":
            rgb = rgb.transpose(_TURNS[orientation])
    rgb.info = {}
    notes += header_notes(_texts(image, container))
    return LoadedImage(rgb, tuple(notes))


def _opened(
    file: IO[bytes] | io.FileIO, size: int, shown: str, *, side: int = 0, whole: bool = True
) -> tuple[Image.Image, Container, bool]:
    """The picture before it is decoded, and whether each channel has 16 bits.

    ItemError where it may not be decoded. Without `whole` only the header is looked at.
    """
    head = file.read(_HEAD) or b""
    reader = next((reader for magic, reader in _READERS if head.startswith(magic)), None)
    if reader is None:
        raise ItemError("image_unreadable", f"image {shown}: {_format_hint(head)}")
    if size > MAX_BYTES:
        raise _too_large(shown, f"the file is larger than {MAX_BYTES:,} bytes")
    stream = io.BufferedReader(file) if isinstance(file, io.FileIO) else file
    container = read_container(stream, head, whole=whole)
    if container.size:
        _check_shape(container.size, shown)
        _check_cost(container.size, 16 * _pixels(container.size) + 2 * size, shown)
    image = reader(container.stream)  # not Image.open, which warns of what is refused below
    _check_shape(image.size, shown)
    animated = bool(getattr(image, "is_animated", False)) or container.pictures > 1
    if animated and image.format != "JPEG":
        raise ItemError(
            "image_animated",
            f"image {shown}: holds more than one picture; save the one to ask about.",
        )
    deep_colour = is_deep_colour(image, head)
    if whole:
        scans = tiff_scans(stream, _tags(image)) if image.format == "TIFF" else container.scans
        _check_scans(image, scans, size, shown)
    full = image.size
    if side and image.format == "JPEG":
        # Pillow keeps both sides above these, and the longer one is what counts
        share = 2 * side / max(full)
        image.draft(None, (max(1, int(full[0] * share)), max(1, int(full[1] * share))))
    _check_cost(image.size, _cost(image, container, full, size, deep_colour), shown)
    return image, container, deep_colour


def _tags(image: Image.Image) -> Any:
    """The tags of a TIFF; none of another picture."""
    return getattr(image, "tag_v2", {})


def _pixels(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _cost(
    image: Image.Image,
    container: Container,
    full: tuple[int, int],
    size: int,
    deep_colour: bool,
) -> int:
    """The most bytes held at once from here to 8-bit RGB; `full`: the size before any draft.

    Pillow holds colour in four bytes a pixel, and every change makes a copy. What takes more time
    for its memory than others (to inflate, to lay on white, run lengths in Python) counts as more.
    """
    pixels, raw, buffer = _pixels(image.size), container.raw, 0
    if image.format == "WEBP":
        return 16 * pixels + 2 * size
    if image.format == "BMP" and image.info.get("compression") in (1, 2):
        return 300 * pixels + 100 * size
    if container.scans > 1:
        buffer = int(2 * container.samples * _pixels(full))
    if image.format == "TIFF" and _tags(image).get(259, 1) != 1:
        pixels, raw, buffer = tiff_work(_tags(image))
    weight = 12 if deep_colour or image.has_transparency_data else 8
    return max(weight * pixels, 4 * pixels + buffer, 33 * raw // 10)


def _check_cost(size: tuple[int, int], cost: int, shown: str) -> None:
    if cost > MAX_DECODED:
        raise _too_large(
            shown,
            f"{size[0]} x {size[1]} pixels, as they are stored, take {cost // 10**6:,} MB to "
            f"decode, more than {MAX_DECODED // 10**6:,}",
        )


def _check_scans(image: Image.Image, scans: float, size: int, shown: str) -> None:
    """Refuse a JPEG that goes over its pixels so often that a small file takes minutes."""
    is_jpeg = image.format == "JPEG" or _tags(image).get(259) in (6, 7)
    if is_jpeg and scans * _pixels(image.size) + (10 if scans > 1 else 3) * size > MAX_SCANNED:
        raise ItemError(
            "image_too_large",
            f"image {shown}: a JPEG of {scans:.0f} scans over {_pixels(image.size):,} pixels, in "
            f"{size:,} bytes; export it again, not progressive or at a lower quality.",
        )


def _format_hint(head: bytes) -> str:
    if not head:
        return "the file is empty; export it again."
    if head[128:132] == b"DICM":
        return "a DICOM file; export its pixels as PNG with the window you read it in."
    return "none of PNG, JPEG, TIFF, BMP, WebP by its content; convert it to PNG."


def _check_shape(size: tuple[int, int], shown: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise _too_large(shown, f"has more than {MAX_PIXELS:,} pixels")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ItemError(
            "image_bad_shape",
            f"image {shown}: {width} x {height} is longer than {MAX_ASPECT} times its width; "
            "crop it.",
        )
