"""The picture of a DICOM file or series: one frame, or several as a montage."""

from __future__ import annotations

import io
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from medr1.data.containers import LimitExceeded
from medr1.data.roots import open_image
from medr1.data.scans.dicom_file import CANNOT_READ, DicomHeader, is_dicom, read_header
from medr1.data.scans.dicom_image import displayed_frame, frame_geometry
from medr1.data.scans.dicom_tags import text_in_pixels
from medr1.data.scans.location import ImageLocation
from medr1.data.scans.montage import check_montage, montage, square_pixels, square_size
from medr1.data.scans.view import DEFAULT_SLICES, SliceChoice, View, montage_columns, parse_slices
from medr1.errors import InputError, ItemError

_NOT_FOR_DICOM = "a view of it has a plane or a magnification, which DICOM slices do not have"


def dicom_picture(location: ImageLocation) -> tuple[Image.Image, tuple[str, ...]]:
    """The RGB image that a location shows, and notes on what was changed.

    Args:
        location: A DICOM file, or the slices of a series.

    Raises:
        ItemError: It cannot be read, or is too large.
    """
    parts, sizes, notes = [], [], dict[str, None]()
    with dicom_errors(location.label):
        for header, frame, numbers, total in chosen_frames(location):
            if total > 1:
                word = "slice" if len(numbers) == 1 else "slices"
                notes[f"{word} {','.join(map(str, numbers))} of {total}"] = None
            levels, geometry, frame_notes = displayed_frame(header, frame, location.view.window)
            sizes.append(square_size(levels.shape, geometry.spacing))
            if len(sizes) == 1:
                _check(location, sizes[0], len(numbers))
            parts.append(np.asarray(square_pixels(levels, geometry.spacing)))
            notes |= dict.fromkeys((*frame_notes, *text_in_pixels(header)))
    if len({part.ndim for part in parts}) > 1:
        parts = [part if part.ndim == 3 else np.stack([part] * 3, axis=-1) for part in parts]
    image = Image.fromarray(montage(parts, _columns(location, len(parts)))).convert("RGB")
    return image, tuple(notes)


def dicom_size(location: ImageLocation) -> tuple[int, int]:
    """Width and height of the picture in pixels, from headers alone.

    Args:
        location: A DICOM file, or the slices of a series.

    Raises:
        ItemError: As `dicom_picture`.
    """
    sizes = []
    with dicom_errors(location.label):
        for header, frame, *_ in chosen_frames(location):
            rows, columns = header.whole("Rows"), header.whole("Columns")
            geometry = frame_geometry(header, frame)
            shape = (columns, rows) if geometry.is_transposed else (rows, columns)
            sizes.append(square_size(shape, geometry.spacing))
    width, height = (max(size[axis] for size in sizes) for axis in (0, 1))
    columns = min(_columns(location, len(sizes)), len(sizes))
    return width * columns, height * -(-len(sizes) // columns)


def dicom_text_notes(location: ImageLocation) -> list[str]:
    """The notes on text in the pixels, from the header of the first file.

    Args:
        location: A DICOM file, or the slices of a series.

    Raises:
        ItemError: As `dicom_picture`.
    """
    with dicom_errors(location.label):
        header, *_ = next(chosen_frames(location))
        return text_in_pixels(header)


@contextmanager
def open_dicom(path: Path, label: str) -> Iterator[DicomHeader]:
    """The header of a DICOM file, as long as the file is open.

    Args:
        path: The file.
        label: Its name in quotes for messages.

    Raises:
        ItemError: It cannot be read.
    """
    with dicom_errors(label), open_image(path, label) as file:
        yield read_header(*_buffered(file))


def _columns(location: ImageLocation, number: int) -> int:
    """The columns of a montage of so many slices."""
    return location.view.columns or montage_columns(number)


def _check(location: ImageLocation, size: tuple[int, int], number: int) -> None:
    check_montage(size, number, _columns(location, number), location.label)


def chosen_frames(
    location: ImageLocation,
) -> Generator[tuple[DicomHeader, int, tuple[int, ...], int]]:
    """(header, frame, numbers of all slices that are shown, of how many) of each shown slice.

    Args:
        location: A DICOM file, or the slices of a series.
    """
    view = location.view
    if view.plane or view.magnification:
        raise ItemError("image_unreadable", _NOT_FOR_DICOM)
    if location.slices:
        numbers = _numbers(view, len(location.slices))
        for number in numbers:
            path, frame = location.slices[number - 1]
            with open_image(path, location.label) as file:
                yield read_header(*_buffered(file)), frame, numbers, len(location.slices)
        return
    with open_image(location.path, location.label) as file:
        header = read_header(*_buffered(file))
        numbers = _numbers(view, header.frames)
        for frame in numbers:
            yield header, frame, numbers, header.frames


def _buffered(file: io.FileIO) -> tuple[IO[bytes], int]:
    """The file for reading, and its bytes; ItemError if it is not DICOM."""
    stream = io.BufferedReader(file)
    if not is_dicom(stream.read(132)):
        raise ItemError("image_unreadable", "it is not a DICOM file")
    return stream, os.fstat(file.fileno()).st_size


def _numbers(view: View, total: int) -> tuple[int, ...]:
    """The numbers of the slices that are shown, of so many."""
    if not view.slices:
        return parse_slices(DEFAULT_SLICES).of(total)
    return SliceChoice(numbers=view.slices).of(total)


@contextmanager
def dicom_errors(label: str) -> Iterator[None]:
    """Any error of reading becomes an ItemError that names the image by its label.

    Args:
        label: The name of the image in quotes.
    """
    try:
        yield
    except LimitExceeded as error:
        raise ItemError("image_too_large", f"image {label}: {error}; make it smaller.") from None
    except InputError as error:  # a slice that does not exist
        raise ItemError("image_missing", f"image {label}: {error}") from None
    except ItemError as error:
        if str(error).startswith("image "):
            raise
        raise ItemError(
            error.code, f"image {label}: {error}; export it again as DICOM or PNG."
        ) from None
    except CANNOT_READ as error:
        raise ItemError(
            "image_unreadable",
            f"image {label}: the DICOM file is damaged ({type(error).__name__}); export it again.",
        ) from None
