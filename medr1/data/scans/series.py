"""Finds the DICOM series in a folder, and the order of their slices."""

from __future__ import annotations

import io
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medr1.data.roots import open_image
from medr1.data.scans.dicom_file import CANNOT_READ, DicomHeader, is_dicom, read_header
from medr1.data.scans.dicom_image import directions, first_value, slice_position
from medr1.data.scans.dicom_tags import MODALITIES
from medr1.errors import ItemError
from medr1.terminal import counted

MAX_FILES = 20_000
"""Most files of a folder that are looked at."""
_MAX_NAMED = 6
"""Most series that a message names."""
_HEAD = 132


@dataclass(frozen=True)
class Series:
    """The slices of a series, in the order in which they are shown."""

    modality: str
    """Such as "CT"; empty if it is not known."""
    slices: tuple[tuple[str, int], ...]
    """(path relative to the folder, frame from 1) of each slice."""


@dataclass(frozen=True)
class _Image:
    """One slice, before it has a place in its series."""

    path: str
    frame: int
    position: float | None
    number: float
    modality: str


def read_series(folder: Path, label: str) -> list[Series]:
    """The series below a folder, the one with the most slices first.

    Slices belong together if they have the same series, size and orientation. Axial slices run from
    the head down, coronal ones from front to back, sagittal ones from the patient's right to the
    left; slices without a position are in the order of their instance numbers. A file with several
    frames is a series of its own.

    Args:
        folder: The folder. Files that are not DICOM, or have no pixels, are left out.
        label: Its name for messages.

    Raises:
        ItemError: It has no DICOM images, or too many files.
    """
    groups: dict[tuple[object, ...], list[_Image]] = defaultdict(list)
    num_damaged = 0
    for path in _files(folder, label):
        try:
            header = _header(folder / path, label)
            if header is None or not header.pixel_keyword:
                continue
            for image in _images(path, header):
                groups[_group(image, header)].append(image)
        except (ItemError, *CANNOT_READ):
            num_damaged += 1
    if not groups:
        damaged = f" ({counted(num_damaged, 'file')} cannot be read)" if num_damaged else ""
        raise ItemError(
            "image_not_file", f"image {label}: a folder without DICOM images{damaged}; name a file."
        )
    series = [_sorted_series(images) for images in groups.values()]
    return sorted(series, key=lambda one: (-len(one.slices), one.slices[0]))


def chosen_series(series: list[Series], number: int, label: str) -> Series:
    """One of the series of a folder.

    Args:
        series: What `read_series` returned.
        number: Its number, from 1; 0 if the folder should have only one.
        label: The name of the folder for messages.

    Raises:
        ItemError: There are several, and none is chosen, or no such number.
    """
    if number == 0 and len(series) == 1:
        return series[0]
    if 1 <= number <= len(series):
        return series[number - 1]
    kinds = [
        f"{i}: {one.modality or 'unknown modality'}, {counted(len(one.slices), 'image')}"
        for i, one in enumerate(series[:_MAX_NAMED], start=1)
    ]
    more = f"; {len(series) - _MAX_NAMED} more" if len(series) > _MAX_NAMED else ""
    raise ItemError(
        "image_several_series",
        f"image {label}: the folder has {len(series)} series ("
        f"{'; '.join(kinds)}{more}). Add the number of one to its name: #series=1.",
    )


def _files(folder: Path, label: str) -> Iterator[str]:
    """The files below the folder, relative to it, sorted; links to folders are not followed."""
    paths: list[str] = []
    for parent, folders, files in os.walk(folder):
        folders.sort()
        paths += [os.path.relpath(os.path.join(parent, name), folder) for name in files]
        if len(paths) > MAX_FILES:
            raise ItemError(
                "image_too_large",
                f"image {label}: a folder with more than {MAX_FILES:,} files; name the folder of "
                "one study or series.",
            )
    yield from sorted(paths)


def _header(path: Path, label: str) -> DicomHeader | None:
    """The header of a file; None if it is not DICOM."""
    with open_image(path, label) as file:
        stream = io.BufferedReader(file)
        if not is_dicom(stream.read(_HEAD)):
            return None
        return read_header(stream, os.fstat(file.fileno()).st_size)


def _images(path: str, header: DicomHeader) -> Iterator[_Image]:
    """The slices in a file; not its header, because all of them together may be large."""
    modality = str(header.elements.get("Modality") or "").strip().upper()
    modality = modality if modality in MODALITIES else ""
    for frame in range(1, header.frames + 1):
        number = first_value(header, "InstanceNumber")
        order = float(frame) if header.frames > 1 else number if number is not None else np.inf
        yield _Image(path, frame, slice_position(header, frame), order, modality)


def _group(image: _Image, header: DicomHeader) -> tuple[object, ...]:
    """What slices of one series have in common."""
    orientation = directions(header, image.frame)
    turned = tuple(np.round(orientation, 1).ravel()) if orientation is not None else None
    uid, size = (
        header.elements.get("SeriesInstanceUID"),
        (header.whole("Rows", 0), header.whole("Columns", 0)),
    )
    return uid, size, turned, image.path if header.frames > 1 else None


def _sorted_series(images: list[_Image]) -> Series:
    """The slices in the order in which they are shown."""
    positions = Counter(image.position for image in images)
    # frames of a clip have no positions, or all the same one
    by_position = None not in positions and len(positions) > 1

    def key(image: _Image) -> tuple[float, float, str]:
        position = image.position if by_position and image.position is not None else 0.0
        return position, image.number, image.path

    ordered = sorted(images, key=key)
    return Series(ordered[0].modality, tuple((image.path, image.frame) for image in ordered))
