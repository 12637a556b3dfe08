"""The one safe loader: a file that a data set names, to 8-bit RGB pixels and what was done to them.

Only PNG, JPEG, TIFF, BMP and WebP are decoded, in this process and without a helper program. Size
and shape are judged from the header, before any pixel is decoded. What would change how the
picture looks (orientation, transparency, depth) is done here, in one way, and noted. Messages name
the file without its folder: they end up in result files, which say nothing about the host.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
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
from medr1.data.pixels import check_deep_colour, is_deep_colour, to_rgb
from medr1.errors import ItemError

T = TypeVar("T")

MAX_PIXELS = 89_000_000
"""Just under the size from which Pillow itself warns of a decompression bomb."""
MAX_BYTES = 200 * 1024**2
MAX_ASPECT = 200
"""Qwen's grid rule refuses longer sides beyond this many times the shorter one."""
MAX_SCANS = 64
"""Passes of a progressive JPEG; encoders write about ten, and each costs the time of a whole."""

_READERS: tuple[tuple[bytes, Callable[[IO[bytes]], Image.Image]], ...] = (
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (b"\xff\xd8\xff", JpegImagePlugin.jpeg_factory),
    (b"II", TiffImagePlugin.TiffImageFile),
    (b"MM", TiffImagePlugin.TiffImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
)
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    KeyError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    ImageCms.PyCMSError,
)
"""What Pillow's decoders raise on damaged files; 160,000 damaged ones raised the first three."""

_REMOTE = re.compile(
    r"\s*(?:(?:https?|ftps?|file|data|s3|gs|hf)\s*:|[a-z][a-z0-9+.-]+://|//|\\\\)", re.IGNORECASE
)
_NO_SUCH_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
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


@dataclass(frozen=True)
class LoadedImage:
    """A decoded picture, without any metadata of its file."""

    image: Image.Image
    """8-bit RGB."""
    notes: tuple[str, ...]
    """What was done, such as "exif_orientation_6" or "windowed 0..4095 (16-bit)"."""


def resolve_image(name: str, root: Path) -> Path:
    """Where the image that an item names lies.

    A relative name stays below `root`, also through symbolic links; an absolute one is taken as
    the user's file says it. ItemError: image_remote, image_outside_root, image_missing.
    """
    shown = _shorten(name)
    if _REMOTE.match(name):
        raise ItemError(
            "image_remote",
            f"image {shown}: only local files are read; download it and name the file's path.",
        )
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        name = "\0"
    if not name.strip() or "\0" in name:
        raise ItemError("image_missing", f"image {shown}: not a file name; correct it.")
    if os.path.isabs(name):
        return Path(name)
    top = os.path.realpath(root)
    found = os.path.realpath(os.path.join(top, name))
    if os.path.commonpath([top, found]) != top:
        raise ItemError(
            "image_outside_root",
            f"image {shown}: leads out of the image folder; set --image-root to the folder "
            "that holds it, or name its absolute path.",
        )
    return Path(found)


def load_image(
    path: Path, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> LoadedImage:
    """Decode one file to 8-bit RGB; safe to call from several threads.

    16- and 32-bit and float pixels are mapped linearly, the least finite value to 0 and the
    greatest to 255 (NaN to 0); a constant picture becomes black. Transparency is laid on white.
    ItemError, with these codes: image_missing, image_not_file, image_unreadable (damaged, or of
    another format), image_too_large (bytes, pixels, passes), image_bad_shape (longer than 200
    times its width), image_animated (more than one picture).
    """
    shown = _shorten(path.name)
    with _open(path, shown) as file:
        return _load(file, os.fstat(file.fileno()).st_size, shown, max_pixels, max_bytes)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels as stored, from the header alone; ItemError as in `load_image`."""
    return _of_header(path, lambda image: image.size)


def text_notes(path: Path) -> list[str]:
    """What `load_image` notes of text in the picture, from the header alone, with its errors."""
    return _of_header(path, header_notes)


def _of_header(path: Path, ask: Callable[[Image.Image], T]) -> T:
    shown = _shorten(path.name)
    with _open(path, shown) as file:
        try:
            image = _opened(file, file.read(132), shown)
            _check_header(image, shown, MAX_PIXELS)
            return ask(image)
        except Image.DecompressionBombError:
            raise _too_many_pixels(shown, MAX_PIXELS) from None
        except _DECODE_ERRORS as error:
            raise _unreadable(shown, error) from None


def decode_image(content: bytes, name: str) -> LoadedImage:
    """Decode what a file of that name held, as `load_image` does, with its errors."""
    return _load(io.BytesIO(content), len(content), _shorten(name), MAX_PIXELS, MAX_BYTES)


def _load(file: IO[bytes], size: int, shown: str, max_pixels: int, max_bytes: int) -> LoadedImage:
    if size > max_bytes:
        raise ItemError(
            "image_too_large",
            f"image {shown}: the file is larger than {max_bytes:,} bytes; make it smaller.",
        )
    try:
        return _decode(file, shown, max_pixels)
    except ItemError:
        raise
    except Image.DecompressionBombError:  # of WebP, which allocates when it is opened
        raise _too_many_pixels(shown, max_pixels) from None
    except _DECODE_ERRORS as error:
        raise _unreadable(shown, error) from None


def _unreadable(shown: str, error: BaseException) -> ItemError:
    return ItemError(
        "image_unreadable",
        f"image {shown}: damaged or not what it seems ({_reason(error)}); "
        "export it again, best as PNG.",
    )


def _shorten(name: str) -> str:
    return repr(name if len(name) <= 100 else f"{name[:60]}...{name[-30:]}")


def _reason(error: BaseException) -> str:
    """The decoder's words on one line, without addresses and paths."""
    said = " ".join(str(error).split())
    return type(error).__name__ if not said or "0x" in said or "/" in said else said[:100]


def _open(path: Path, shown: str) -> IO[bytes]:
    """A regular file, opened without waiting for a writer or starting a device."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError:
        raise ItemError("image_missing", f"image {shown}: not a file name; correct it.") from None
    except OSError as error:
        if error.errno in _NO_SUCH_FILE:
            raise ItemError(
                "image_missing", f"image {shown}: no such file; check the path and --image-root."
            ) from None
        if error.errno == errno.ENXIO:  # a socket
            raise _not_a_file(shown) from None
        raise ItemError(
            "image_unreadable",
            f"image {shown}: cannot be opened ({error.strerror}); check its permissions.",
        ) from None
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return os.fdopen(handle, "rb")
    os.close(handle)
    raise _not_a_file(shown)


def _not_a_file(shown: str) -> ItemError:
    return ItemError(
        "image_not_file", f"image {shown}: not a regular file; name the picture's own file."
    )


def _too_many_pixels(shown: str, max_pixels: int) -> ItemError:
    return ItemError(
        "image_too_large",
        f"image {shown}: has more than {max_pixels:,} pixels; make it smaller.",
    )


def _decode(file: IO[bytes], shown: str, max_pixels: int) -> LoadedImage:
    head = file.read(132)
    image = _opened(file, head, shown)
    _check_header(image, shown, max_pixels)
    notes = []
    if image.format == "MPO":
        notes.append(f"first_of_{getattr(image, 'n_frames', 1)}_pictures")
    tags: Any = getattr(image, "tag_v2", {})
    orientation = tags.get(_ORIENTATION)  # Pillow applies it to a TIFF when it loads
    deep_colour = is_deep_colour(image, head)
    image.load()
    if image.format != "TIFF":
        orientation = image.getexif().get(_ORIENTATION)
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
    notes += header_notes(image)
    return LoadedImage(rgb, tuple(notes))


def _opened(file: IO[bytes], head: bytes, shown: str) -> Image.Image:
    """The picture with its header read; `head` are the file's first bytes."""
    file.seek(0)
    reader = next((reader for magic, reader in _READERS if head.startswith(magic)), None)
    if reader is None:
        raise ItemError("image_unreadable", f"image {shown}: {_format_hint(head)}")
    if reader is JpegImagePlugin.jpeg_factory:
        _check_scans(file, shown)
    return reader(file)  # not Image.open, which warns of large pictures before they are refused


def _format_hint(head: bytes) -> str:
    if not head:
        return "the file is empty; export it again."
    if head[128:132] == b"DICM":
        return "a DICOM file; export its pixels as PNG with the window you read it in."
    return "none of PNG, JPEG, TIFF, BMP, WebP by its content; convert it to PNG."


def _check_scans(file: IO[bytes], shown: str) -> None:
    """Refuse a JPEG with so many passes that a small file would take minutes."""
    scans, last = 0, b""
    while block := file.read(1 << 20):
        scans += (last + block).count(b"\xff\xda")
        last = block[-1:]
    file.seek(0)
    if scans > MAX_SCANS:
        raise ItemError(
            "image_too_large",
            f"image {shown}: a JPEG of {scans} scans, more than {MAX_SCANS}; export it again.",
        )


def _check_header(image: Image.Image, shown: str, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise _too_many_pixels(shown, max_pixels)
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ItemError(
            "image_bad_shape",
            f"image {shown}: {width} x {height} is longer than {MAX_ASPECT} times its width; "
            "crop it.",
        )
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise ItemError(
            "image_animated",
            f"image {shown}: holds more than one picture; save the one to ask about.",
        )
