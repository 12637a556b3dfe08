"""The slices of a DICOM file or series with the values of their modality."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medr1.data.scans.dicom_file import DicomHeader
from medr1.data.scans.dicom_grey import (
    file_windows,
    is_plain,
    modality_function,
    modality_of,
    stored_numbers,
)
from medr1.data.scans.dicom_image import displayed_frame, frame_geometry
from medr1.data.scans.dicom_picture import chosen_frames, dicom_errors
from medr1.data.scans.dicom_pixels import PixelLayout, pixel_layout, stored_values
from medr1.data.scans.location import ImageLocation
from medr1.data.scans.montage import check_montage, square_pixels, square_size
from medr1.data.scans.stack import (
    PERCENTILES_NAME,
    GreySlice,
    ShownRange,
    StackDescription,
    ct_ranges,
    linear_range,
    square_slice,
    without_repeats,
)
from medr1.data.scans.view import View
from medr1.data.scans.windows import NAMED, ct_window, percentile_range, window_of


@dataclass(frozen=True)
class DicomStack:
    """A DICOM file or series; each slice is read from its file when it is asked for."""

    location: ImageLocation
    description: StackDescription
    memory: int = 0

    def slice(self, number: int) -> GreySlice | Image.Image:
        """The values of a slice, or its image if it is in colour.

        Args:
            number: Its number, from 1.

        Raises:
            ItemError: It cannot be read, or does not exist.
        """
        place = replace(self.location, view=View(slices=(number,)))
        with _first_frame(place) as (header, frame, _):
            layout, geometry = pixel_layout(header), frame_geometry(header, frame)
            stored_shape = (layout.rows, layout.columns)
            shape = stored_shape[::-1] if geometry.is_transposed else stored_shape
            check_montage(square_size(shape, geometry.spacing), 1, 1, place.label)
            if _is_colour(layout):
                levels, *_ = displayed_frame(header, frame, "")
                return square_pixels(levels, geometry.spacing)
            values, padding = _values(header, layout, frame)
            hidden = None if padding is None else geometry.turned(padding)
            return square_slice(geometry.turned(values), hidden, geometry.spacing)


def open_dicom_stack(location: ImageLocation) -> DicomStack:
    """The slices of a DICOM file or series.

    Args:
        location: The file or series, and the view that the image shows.

    Raises:
        ItemError: It cannot be read.
    """
    total = len(location.slices)
    with _first_frame(location) as (header, frame, numbers):
        total = total or header.frames
        layout = pixel_layout(header)
        if _is_colour(layout):
            return DicomStack(location, StackDescription(total, numbers, ()))
        windows, unit = _windows(header, layout, frame, location.view.window)
        is_inverted = layout.photometric == "MONOCHROME1"
    return DicomStack(location, StackDescription(total, numbers, windows, is_inverted, unit))


@contextmanager
def _first_frame(location: ImageLocation) -> Iterator[tuple[DicomHeader, int, tuple[int, ...]]]:
    """(header, frame, numbers of all slices that are shown) of the first slice that is shown."""
    with dicom_errors(location.label), closing(chosen_frames(location)) as frames:
        header, frame, numbers, _ = next(frames)
        yield header, frame, numbers


def _is_colour(layout: PixelLayout) -> bool:
    return layout.samples == 3 or layout.photometric == "PALETTECOLOR"


def _values(
    header: DicomHeader, layout: PixelLayout, frame: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_] | None]:
    """The values of the modality as stored, (rows, columns), and which pixels are padding."""
    numbers, padding = stored_numbers(stored_values(header, layout, frame), header, layout)
    return modality_function(header, frame)[0](numbers), padding


def _windows(
    header: DicomHeader, layout: PixelLayout, frame: int, chosen: str
) -> tuple[tuple[ShownRange, ...], int]:
    """The windows of a slice, that of the view first, and their unit."""
    is_ct = modality_of(header) == "CT"
    windows = []
    if chosen and (is_ct or chosen[0] in "+-0123456789") and (pair := window_of(chosen)):
        windows.append(linear_range(chosen if chosen in NAMED else "of the model", *pair))
    own = file_windows(header, frame)
    for number, window in enumerate(own, start=1):
        if window is not None:
            center, width, function = window
            name = "of the file" if len(own) == 1 else f"of the file, {number}"
            if function == "LINEAR":
                windows.append(linear_range(name, center, width))
            else:
                windows.append(ShownRange(name, center - width / 2, center + width / 2))
    unit = int(is_ct or bool(windows))
    if is_plain(layout, modality_function(header, frame)[1]):
        windows.append(ShownRange("all levels", 0, 2**layout.bits_stored - 1))
    if is_ct:
        part = str(header.elements.get("BodyPartExamined") or "")
        return without_repeats([*windows, _of_body_part(part), *ct_ranges()]), unit
    values, padding = _values(header, layout, frame)
    usable = np.isfinite(values) if padding is None else np.isfinite(values) & ~padding
    if usable.any():
        windows.append(ShownRange(PERCENTILES_NAME, *percentile_range(values[usable])))
    return without_repeats(windows or [ShownRange("all levels", 0, 1)]), unit


def _of_body_part(body_part: str) -> ShownRange:
    name, (center, width) = ct_window(body_part)
    return linear_range(name, center, width)
