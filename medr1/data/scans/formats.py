"""Which of the files that are no ordinary pictures an image is, and how such a file is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medr1.data.scans.location import ImageLocation

if TYPE_CHECKING:
    from PIL import Image

    from medr1.data.scans.stack import Stack

_HEAD = 132
RASTER_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
"""Endings of ordinary pictures, which are not looked into."""


@dataclass(frozen=True)
class ScanFormat:
    """How files of one format are shown."""

    picture: Callable[[ImageLocation], tuple[Image.Image, tuple[str, ...]]]
    """The RGB image, and notes on what was changed."""
    size: Callable[[ImageLocation], tuple[int, int]]
    """Its width and height."""
    text_notes: Callable[[ImageLocation], list[str]]
    """Notes on text in the pixels."""
    stack: Callable[[ImageLocation, str], Stack] | None = None
    """Its slices with their values, with the modality of the item; None where it has no slices."""


def as_location(source: Path | ImageLocation) -> ImageLocation:
    """Where an image is.

    Args:
        source: The file, or where the image is.
    """
    from medr1.data.roots import shorten

    if isinstance(source, ImageLocation):
        return source
    return ImageLocation(source, shorten(source.name))


def scan_format(location: ImageLocation) -> ScanFormat | None:
    """The format of a scan, by its first bytes; None for any other image.

    Args:
        location: Where the image is.

    Raises:
        ItemError: As `roots.open_image`, if the file has to be looked into.
    """
    from medr1.data.roots import open_image

    if location.slices:
        return _dicom()
    if location.view.magnification:  # which any pyramid has
        return _slide()
    name = location.path.name
    if name.lower().endswith(RASTER_ENDINGS):
        return None
    with open_image(location.path, location.label) as file:
        return format_of(file.read(_HEAD) or b"", name)


def format_of(head: bytes, name: str) -> ScanFormat | None:
    """The format of a scan; None for any other file.

    Args:
        head: The first bytes of the file, 132 if it has as many.
        name: Its name.
    """
    from medr1.data.scans.dicom_file import is_dicom
    from medr1.data.scans.nifti import is_nifti
    from medr1.data.scans.slides import is_slide

    if is_dicom(head):
        return _dicom()
    if is_nifti(head, name):
        return _nifti()
    return _slide() if is_slide(head, name) else None


def _dicom() -> ScanFormat:
    from medr1.data.scans.dicom_picture import dicom_picture, dicom_size, dicom_text_notes

    return ScanFormat(dicom_picture, dicom_size, dicom_text_notes, _dicom_stack)


def _dicom_stack(location: ImageLocation, modality: str) -> Stack:
    from medr1.data.scans.dicom_stack import open_dicom_stack

    return open_dicom_stack(location)


def _volume_stack(location: ImageLocation, modality: str) -> Stack:
    from medr1.data.scans.nifti_stack import open_volume_stack

    return open_volume_stack(location, modality)


def _nifti() -> ScanFormat:
    from medr1.data.scans.nifti import nifti_image, nifti_size, open_volume

    return ScanFormat(
        lambda location: nifti_image(open_volume(location.path, location.label), location.view),
        lambda location: nifti_size(open_volume(location.path, location.label), location.view),
        lambda _: [],
        _volume_stack,
    )


def _slide() -> ScanFormat:
    from medr1.data.scans.slides import open_slide, slide_image, slide_size

    return ScanFormat(
        lambda location: slide_image(open_slide(location.path, location.label), location.view),
        lambda location: slide_size(open_slide(location.path, location.label), location.view),
        lambda _: [],
    )
