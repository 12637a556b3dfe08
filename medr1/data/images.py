"""Load images safely: decode a file to 8-bit RGB, with notes on what was changed.

All images of data sets are read here, because a file from others may be made to do harm. PNG, JPEG,
TIFF, BMP and WebP are decoded here, in this process and without another program; scans (DICOM,
NIfTI, slides) by `data.scans`, with limits of their own. The cost of a file is estimated from its
structure (`data.containers`) before any pixel is decoded; a file that needs more than about a
second and 300 MB is refused. Orientation, transparency and bit depth change how an image looks, so
they are always applied in the same way, and noted.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

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
from medr1.data.containers import (
    DAMAGED,
    Container,
    LimitExceeded,
    read_container,
    tiff_scans,
    tiff_work,
)
from medr1.data.other_formats import format_hint, slide_hint
from medr1.data.pixels import (
    GreyValues,
    check_deep_colour,
    deep_values,
    is_deep_colour,
    is_deep_grey,
    to_rgb,
)
from medr1.data.roots import open_image, shorten
from medr1.data.scans.formats import as_location, scan_format
from medr1.data.scans.location import ImageLocation
from medr1.data.tiff_levels import further_images
from medr1.errors import ItemError

MAX_DECODED = 300_000_000
"""Most bytes in memory at once: enough for 37 megapixels, or 30 in a progressive JPEG."""
MAX_PIXELS = 89_000_000
"""Most pixels as stored; just below the size at which Pillow warns of a decompression bomb."""
MAX_SCANNED = 450_000_000
"""Most pixels of a JPEG times its scans, because each scan may go over all pixels. A byte of the
file counts as 10 pixels, or as 3 if there is only one scan."""
MAX_BYTES = 200 * 1024**2
"""Most bytes of a file."""
MAX_ASPECT = 200
"""Largest ratio of the longer to the shorter side; Qwen's image processor refuses a larger one."""

_READERS: tuple[tuple[bytes, Callable[[IO[bytes]], Image.Image]], ...] = (
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (b"II", TiffImagePlugin.TiffImageFile),
    (b"MM", TiffImagePlugin.TiffImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
)
"""First bytes of a file -> Pillow's decoder of that format."""
_DECODE_ERRORS = (*DAMAGED, ImageCms.PyCMSError, Image.DecompressionBombError)
"""What Pillow's decoders raise if a file is damaged."""

_HEAD = 132
"""Bytes of a file that tell its format; in a DICOM file, the last four of them are "DICM"."""
_ORIENTATION = 0x112
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> the transposition that makes the image upright."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class LoadedImage:
    """A decoded image, without the metadata of its file."""

    image: Image.Image
    """The pixels in 8-bit RGB."""
    notes: tuple[str, ...]
    """What was changed, such as "exif_orientation_6" or "windowed 0..4095 (16-bit)"; of how many
    images or levels one was read ("first_of_2_pictures", "largest_of_3_levels"); and what the
    header says about text in the pixels (`burned_in.header_notes`)."""


def load_image(source: Path | ImageLocation, *, side: int = 0) -> LoadedImage:
    """Decode an image to 8-bit RGB; safe to call from several threads.

    16-bit, 32-bit and float pixels are mapped linearly, the smallest finite value to 0 and the
    largest to 255 (NaN to 0); a constant image becomes black. A transparent image is put on white.
    A scan (DICOM, NIfTI, slide) is shown as `data.scans` describes.

    Args:
        source: The file, or where the image is.
        side: Pixels of the longer side that the image will be reduced to afterwards; 0 if it will
            not be reduced. A JPEG may then be decoded at a half, a quarter or an eighth of its
            size, but at no less than twice `side`, which is faster.

    Raises:
        ItemError: With one of the codes image_missing, image_not_file, image_unreadable (damaged,
            or of another format), image_too_large (bytes, pixels or scans), image_bad_shape (one
            side over 200 times the other) and image_animated (several images; a pyramid is
            read at its largest level).
    """
    location = as_location(source)
    if (scan := scan_format(location)) is not None:
        return LoadedImage(*scan.picture(location))
    with open_image(location.path, location.label) as file:
        return _load(file, os.fstat(file.fileno()).st_size, location.label, side)


def image_size(source: Path | ImageLocation) -> tuple[int, int]:
    """Width and height in pixels, read from the header; ItemError as in `load_image`.

    Args:
        source: The file, or where the image is.
    """
    location = as_location(source)
    if (scan := scan_format(location)) is not None:
        return scan.size(location)
    return _from_header(location, lambda image, _: image.size)


def grey_values(source: Path | ImageLocation) -> GreyValues | None:
    """The values of a grey picture with more than 8 bits; None for any other picture.

    Args:
        source: The file, or where the image is; not a scan.

    Raises:
        ItemError: As in `load_image`.
    """
    location = as_location(source)
    if not _from_header(location, lambda image, _: is_deep_grey(image)):
        return None
    with open_image(location.path, location.label) as file:
        size = os.fstat(file.fileno()).st_size
        return _with_item_errors(location.label, lambda: _deep_values(file, size, location.label))


def _deep_values(file: io.FileIO, size: int, label: str) -> GreyValues | None:
    image, container, _ = _open_checked(file, size, label)
    orientation = _tags(image).get(_ORIENTATION) or container.orientation
    image.load()  # Pillow applies the orientation of a TIFF here
    if orientation in _TRANSPOSITIONS and image.format != "TIFF":
        image = image.transpose(_TRANSPOSITIONS[orientation])
    return deep_values(image)


def text_notes(source: Path | ImageLocation) -> list[str]:
    """The notes on text in the pixels, read from the header; ItemError as in `load_image`.

    Args:
        source: The file, or where the image is.
    """
    location = as_location(source)
    if (scan := scan_format(location)) is not None:
        return scan.text_notes(location)
    return _from_header(location, lambda image, container: header_notes(_texts(image, container)))


def _from_header(location: ImageLocation, value_of: Callable[[Image.Image, Container], _T]) -> _T:
    """A value that is computed from the header of a file, before its pixels are decoded."""
    label = location.label
    with open_image(location.path, label) as file:
        size = os.fstat(file.fileno()).st_size
        return _with_item_errors(
            label, lambda: value_of(*_open_checked(file, size, label, complete=False)[:2])
        )


def _texts(image: Image.Image, container: Container) -> list[str]:
    """The texts of a header, each after its name: "Modality: US"."""
    tags = {tag: value for tag, value in dict(_tags(image)).items() if isinstance(value, str)}
    return [*container.texts, *(f"{tag}: {value}" for tag, value in tags.items())]


def is_picture(head: bytes) -> bool:
    """Whether a file begins as a PNG, JPEG, TIFF, BMP or WebP.

    Args:
        head: Its first bytes.
    """
    return any(head.startswith(magic) for magic, _ in _READERS)


def decode_image(content: bytes, name: str, *, side: int = 0) -> LoadedImage:
    """Decode the content of an image file, as `load_image` does.

    Args:
        content: The bytes of the file.
        name: The file's name, for error messages.
        side: As in `load_image`.

    Raises:
        ItemError: As in `load_image`, except for image_missing and image_not_file.
    """
    return _load(io.BytesIO(content), len(content), shorten(name), side)


def _load(file: IO[bytes] | io.FileIO, size: int, label: str, side: int) -> LoadedImage:
    return _with_item_errors(label, lambda: _decode(file, size, label, side))


def _with_item_errors(label: str, decode: Callable[[], _T]) -> _T:
    """The result of `decode()`; an exception of a decoder becomes an ItemError."""
    try:
        return decode()
    except ItemError:
        raise
    except LimitExceeded as error:
        raise _too_large(label, str(error)) from None
    except _DECODE_ERRORS as error:
        raise ItemError(
            "image_unreadable",
            f"image {label}: the file is damaged or of another format ({_reason(error)}); "
            "export it again, best as PNG.",
        ) from None


def _too_large(label: str, problem: str) -> ItemError:
    return ItemError("image_too_large", f"image {label}: {problem}; make it smaller.")


def _reason(error: BaseException) -> str:
    """The decoder's message on one line; only the error's name if it has addresses or paths."""
    message = " ".join(str(error).split())
    if not message or "0x" in message or "/" in message:
        return type(error).__name__
    return message[:100]


def _decode(file: IO[bytes] | io.FileIO, size: int, label: str, side: int) -> LoadedImage:
    image, container, deep_colour = _open_checked(file, size, label, side=side)
    notes = []
    if container.num_images > 1:
        notes.append(f"first_of_{container.num_images}_pictures")
    if image.format == "TIFF" and (further := further_images(container.stream)).num_images:
        kind, rest = ("largest", "levels") if further.are_levels else ("first", "pictures")
        notes.append(f"{kind}_of_{1 + further.num_images}_{rest}")
    orientation = _tags(image).get(_ORIENTATION) or container.orientation
    image.load()  # Pillow applies the orientation of a TIFF here
    rgb, conversion_notes = to_rgb(image, label)
    notes += conversion_notes
    if deep_colour:
        check_deep_colour(rgb, label)
        notes.append("color16_high_byte")
    if orientation in _TRANSPOSITIONS:
        notes.append(f"exif_orientation_{orientation}")
        if image.format != "TIFF":
            rgb = rgb.transpose(_TRANSPOSITIONS[orientation])
    rgb.info = {}
    notes += header_notes(_texts(image, container))
    return LoadedImage(rgb, tuple(notes))


def _open_checked(
    file: IO[bytes] | io.FileIO, size: int, label: str, *, side: int = 0, complete: bool = True
) -> tuple[Image.Image, Container, bool]:
    """Open an image that is safe to decode; ItemError if it is not.

    Returns the image, not decoded yet, its structure, and whether each channel has 16 bits. Without
    `complete`, only the header is read.
    """
    head, name = file.read(_HEAD) or b"", label[1:-1]
    reader = next((reader for magic, reader in _READERS if head.startswith(magic)), None)
    hint = slide_hint(name) or (None if reader else format_hint(head, name))
    if reader is None or hint:
        raise ItemError("image_unreadable", f"image {label}: {hint}")
    if size > MAX_BYTES:
        raise _too_large(label, f"the file is larger than {MAX_BYTES:,} bytes")
    stream = io.BufferedReader(file) if isinstance(file, io.FileIO) else file
    container = read_container(stream, head, complete=complete)
    if container.size:
        _check_shape(container.size, label)
        _check_cost(container.size, 16 * _pixels(container.size) + 2 * size, label)
    image = reader(container.stream)  # Image.open would warn of images that are refused below
    _check_shape(image.size, label)
    animated = bool(getattr(image, "is_animated", False)) or container.num_images > 1
    if image.format == "TIFF":
        animated = animated and not further_images(stream).pages_are_levels
    if animated and image.format != "JPEG":
        raise ItemError(
            "image_animated",
            f"image {label}: contains several images; save the one that is asked about.",
        )
    deep_colour = is_deep_colour(image, head)
    if complete:
        scans = tiff_scans(stream, _tags(image)) if image.format == "TIFF" else container.num_scans
        _check_scans(image, scans, size, label)
    full_size = image.size
    if side and image.format == "JPEG":
        # Pillow decodes at the smallest of its sizes that is no smaller than this on either side.
        share = 2 * side / max(full_size)
        image.draft(None, (max(1, int(full_size[0] * share)), max(1, int(full_size[1] * share))))
    _check_cost(image.size, _cost(image, container, full_size, size, deep_colour), label)
    return image, container, deep_colour


def _tags(image: Image.Image) -> TiffImagePlugin.ImageFileDirectory_v2:
    """The tags of a TIFF by number; empty for another format."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return image.tag_v2
    return TiffImagePlugin.ImageFileDirectory_v2()


def _pixels(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _cost(
    image: Image.Image,
    container: Container,
    full_size: tuple[int, int],
    size: int,
    deep_colour: bool,
) -> int:
    """The most bytes in memory at once until the image is 8-bit RGB, as an estimate.

    `full_size` is the size before a JPEG is decoded smaller, and `size` the file's bytes. Pillow
    needs four bytes for a pixel in colour, and each conversion makes a copy. Steps that are slow
    for their memory (inflating, transparency, run lengths in a BMP) count as more bytes.
    """
    pixels, inflated, buffer = _pixels(image.size), container.inflated_bytes, 0
    if image.format == "WEBP":
        return 16 * pixels + 2 * size
    if image.format == "BMP" and image.info.get("compression") in (1, 2):
        return 300 * pixels + 100 * size
    if container.num_scans > 1:
        buffer = int(2 * container.values_per_pixel * _pixels(full_size))
    if image.format == "TIFF" and _tags(image).get(259, 1) != 1:
        pixels, inflated, buffer = tiff_work(_tags(image))
    weight = 12 if deep_colour or image.has_transparency_data else 8
    return max(weight * pixels, 4 * pixels + buffer, 33 * inflated // 10)


def _check_cost(size: tuple[int, int], cost: int, label: str) -> None:
    if cost > MAX_DECODED:
        raise _too_large(
            label,
            f"{size[0]} x {size[1]} pixels, as they are stored, take {cost // 10**6:,} MB to "
            f"decode, more than {MAX_DECODED // 10**6:,}",
        )


def _check_scans(image: Image.Image, scans: float, size: int, label: str) -> None:
    """Refuse a JPEG with so many scans that a small file would take minutes to decode."""
    is_jpeg = image.format == "JPEG" or _tags(image).get(259) in (6, 7)
    if is_jpeg and scans * _pixels(image.size) + (10 if scans > 1 else 3) * size > MAX_SCANNED:
        raise ItemError(
            "image_too_large",
            f"image {label}: a JPEG of {scans:.0f} scans over {_pixels(image.size):,} pixels, in "
            f"{size:,} bytes; export it again, not progressive or at a lower quality.",
        )


def _check_shape(size: tuple[int, int], label: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise _too_large(label, f"has more than {MAX_PIXELS:,} pixels")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ItemError(
            "image_bad_shape",
            f"image {label}: {width} x {height} pixels, one side over {MAX_ASPECT} times the "
            "other; crop it.",
        )
