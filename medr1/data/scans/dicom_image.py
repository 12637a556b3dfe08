"""One frame of a DICOM file as an 8-bit RGB image, as a viewer would show it."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medr1.data.scans.dicom_file import BIG_ENDIAN, DicomHeader
from medr1.data.scans.dicom_grey import first_number, functional_group, grey_levels
from medr1.data.scans.dicom_pixels import (
    PixelLayout,
    pixel_layout,
    stored_values,
    swapped_words,
)
from medr1.data.scans.windows import Levels
from medr1.errors import ItemError

if TYPE_CHECKING:
    from pydicom import Dataset

_AXES = {0: "sagittal", 1: "coronal", 2: "axial"}
"""Axis of the patient that the normal of a slice follows -> plane."""
_DISPLAYED = {
    "axial": ((0, 1), (1, 1)),
    "coronal": ((0, 1), (2, -1)),
    "sagittal": ((1, 1), (2, -1)),
}
"""Plane -> for the columns (to the right) and the rows (down) of the picture: the axis of the
patient, and its direction. Axes are DICOM's: 0 to the left, 1 to the back, 2 to the head."""


_PROJECTIONS = ("CR", "DX", "MG", "XA", "RF", "RG", "IO", "PX")
"""Modalities whose images have no place in the patient, whatever their header states."""


@dataclass(frozen=True)
class FrameGeometry:
    """How a stored frame becomes the displayed one."""

    is_transposed: bool
    """Whether rows and columns are exchanged, before any flip."""
    flips: tuple[bool, bool]
    """Whether left and right, and whether top and bottom are exchanged."""
    spacing: tuple[float, float]
    """Distance of the displayed rows, and of the columns, in mm or in any other unit."""

    def turned(self, stored: NDArray[Any]) -> NDArray[Any]:
        """The displayed frame of a stored one, (rows, columns) with any further axes."""
        frame = stored.swapaxes(0, 1) if self.is_transposed else stored
        return frame[:: -1 if self.flips[1] else 1, :: -1 if self.flips[0] else 1]


def displayed_frame(
    header: DicomHeader, frame: int, window: str
) -> tuple[Levels, FrameGeometry, list[str]]:
    """One frame as it is displayed, before pixels are made square.

    Args:
        header: The header of the file.
        frame: Number of the frame, from 1.
        window: What `windows.parse_window` returned; empty for the window of the file.

    Returns:
        (levels (rows, columns) or (rows, columns, 3); how they were turned, and their spacing;
        notes).

    Raises:
        ItemError: The frame cannot be shown.
        LimitExceeded: It would take too much memory.
        One of CANNOT_READ: The file is damaged.
    """
    layout = pixel_layout(header)
    stored = stored_values(header, layout, frame)
    if layout.samples == 3:
        levels, notes = _colour_levels(stored, layout), list[str]()
    elif layout.photometric == "PALETTECOLOR":
        levels, notes = _palette_levels(stored, header), ["palette_to_rgb"]
    else:
        levels, notes = grey_levels(stored, header, layout, frame, window)
    geometry = frame_geometry(header, frame)
    if geometry.is_transposed or any(geometry.flips):
        notes.append("turned to the radiological orientation")
    return geometry.turned(levels), geometry, notes


def _colour_levels(stored: NDArray[Any], layout: PixelLayout) -> Levels:
    """RGB values as 8-bit levels."""
    shift = max(layout.bits_stored - 8, 0)
    scale = 255 / (2 ** min(layout.bits_stored, 8) - 1)
    values = (stored.astype(np.int64) & ((1 << layout.bits_stored) - 1)) >> shift
    levels: Levels = np.rint(values * scale).astype(np.uint8)
    return levels


def _palette_levels(stored: NDArray[Any], header: DicomHeader) -> Levels:
    """The colours of a palette as 8-bit levels."""
    from pydicom.pixels.processing import apply_color_lut

    names = [f"{colour}PaletteColorLookupTableDescriptor" for colour in ("Red", "Green", "Blue")]
    descriptors = [header.elements.get(name) for name in names]
    if not all(d and len(d) == 3 and int(d[2]) in (8, 16) for d in descriptors):
        raise ItemError("image_unreadable", "it has no usable palette")
    colours = apply_color_lut(stored, _with_little_endian_palette(header))
    if colours.dtype.itemsize == 2:
        return (colours >> 8).astype(np.uint8)
    return colours.astype(np.uint8)


def _with_little_endian_palette(header: DicomHeader) -> Dataset:
    """The elements, with the words of a palette in the order in which pydicom reads them."""
    if header.transfer_syntax != BIG_ENDIAN:
        return header.elements
    elements = copy(header.elements)
    for name in (f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")):
        if isinstance(table := elements.get(name), bytes):
            setattr(elements, name, swapped_words(table))
    return elements


# --- geometry -----------------------------------------------------------------------------------


def directions(header: DicomHeader, frame: int) -> NDArray[np.float64] | None:
    """The directions of rows and columns in the patient, (2, 3); None if they are not stated.

    The first is that of increasing column numbers (along a row), the second that of increasing
    row numbers. Axes: to the left, to the back, to the head.

    Args:
        header: The header of the file.
        frame: Number of the frame, from 1.
    """
    place = functional_group(header, frame, "PlaneOrientationSequence") or header.elements
    vectors = _numbers(place, "ImageOrientationPatient", 6)
    if vectors is None:
        return None
    rows = vectors.reshape(2, 3)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / norms if np.all(norms > 1e-6) else None


def plane_of(orientation: NDArray[np.float64]) -> str:
    """The plane that a slice is nearest to: axial, coronal or sagittal.

    Args:
        orientation: What `directions` returned.
    """
    return _AXES[int(np.argmax(np.abs(np.cross(*orientation))))]


def frame_geometry(header: DicomHeader, frame: int) -> FrameGeometry:
    """How a frame is turned by whole axes to the radiological convention, and its spacing.

    The patient's right is on the left of an axial or coronal picture, and the front on the left of
    a sagittal one; the front or the head is at the top. A projection stays as it is stored.

    Args:
        header: The header of the file.
        frame: Number of the frame, from 1.
    """
    spacing = _any_spacing(header, frame)
    orientation = directions(header, frame)
    if orientation is None or str(header.elements.get("Modality")).strip() in _PROJECTIONS:
        return FrameGeometry(False, (False, False), spacing)
    (right_axis, right_sign), (down_axis, down_sign) = _DISPLAYED[plane_of(orientation)]
    along_row, along_column = orientation
    is_transposed = bool(abs(along_row[right_axis]) < abs(along_column[right_axis]))
    to_right, down = (along_column, along_row) if is_transposed else (along_row, along_column)
    flips = bool(to_right[right_axis] * right_sign < 0), bool(down[down_axis] * down_sign < 0)
    return FrameGeometry(is_transposed, flips, spacing[::-1] if is_transposed else spacing)


def pixel_spacing(header: DicomHeader, frame: int) -> tuple[float, float] | None:
    """Millimetres between rows and between columns; None if they are not stated.

    Args:
        header: The header of the file.
        frame: Number of the frame, from 1.
    """
    place = functional_group(header, frame, "PixelMeasuresSequence") or header.elements
    for source, keyword in (
        (place, "PixelSpacing"),
        (header.elements, "ImagerPixelSpacing"),
    ):
        spacing = _numbers(source, keyword, 2)
        if spacing is not None and np.all(spacing > 0):
            return float(spacing[0]), float(spacing[1])
    return None


def _any_spacing(header: DicomHeader, frame: int) -> tuple[float, float]:
    """The spacing of stored rows and columns; without one, the ratio of a pixel's sides."""
    if (spacing := pixel_spacing(header, frame)) is not None:
        return spacing
    stated = _numbers(header.elements, "PixelAspectRatio", 2)
    return (1.0, 1.0) if stated is None else (float(stated[0]), float(stated[1]))


def _numbers(place: Dataset, keyword: str, count: int) -> NDArray[np.float64] | None:
    """The numbers of an element, if there are so many and all are finite."""
    value = place.get(keyword)
    try:
        numbers = np.array([float(v) for v in value], np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if len(numbers) == count and np.isfinite(numbers).all() else None


def slice_position(header: DicomHeader, frame: int) -> float | None:
    """Where a slice lies on the axis through its plane, in the order in which slices are shown.

    Axial slices are shown from the head down, coronal ones from the front to the back, and
    sagittal ones from the patient's right to the left. None if it is not stated.

    Args:
        header: The header of the file.
        frame: Number of the frame, from 1.
    """
    orientation = directions(header, frame)
    place = functional_group(header, frame, "PlanePositionSequence") or header.elements
    position = _numbers(place, "ImagePositionPatient", 3)
    if orientation is None or position is None:
        return None
    normal = np.cross(*orientation)
    axis = int(np.argmax(np.abs(normal)))
    sign = -1.0 if axis == 2 else 1.0
    return float(position @ normal * np.sign(normal[axis]) * sign)


def first_value(header: DicomHeader, keyword: str) -> float | None:
    """The first number of an element.

    Args:
        header: The header of the file.
        keyword: The element's keyword.
    """
    return first_number(header.elements.get(keyword))
