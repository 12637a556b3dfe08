"""The slices of a scan with their values, for a page that lets a reader change the window.

A stack is opened once; then each slice can be read by its number. Of a file's header, only numbers
are told; the names of windows are those that medr1 gives them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medr1.data.scans.montage import square_size
from medr1.data.scans.windows import NAMED

PERCENTILES_NAME = "percentiles"
"""Name of the window from percentile 0.5 to 99.5."""
_MAX_CODE = 65_535
_HEADER = "<IIdd"


@dataclass(frozen=True)
class ShownRange:
    """A window as the values that it shows black and white."""

    name: str
    low: float
    """Shown black."""
    high: float
    """Shown white. If it is not above `low`, values above `low` are white."""


@dataclass(frozen=True)
class StackDescription:
    """What is told of the slices of a scan."""

    total: int
    """How many slices there are."""
    shown: tuple[int, ...]
    """Numbers of the slices that the view of the image shows, from 1."""
    windows: tuple[ShownRange, ...]
    """The window at the beginning, and others to choose from; none for slices in colour."""
    is_inverted: bool = False
    """Whether the lowest value is white (MONOCHROME1)."""
    unit: int = 0
    """1 if the windows are DICOM's LINEAR, whose black and white are width - 1 apart; else 0."""


@dataclass(frozen=True)
class GreySlice:
    """The values of a slice with square pixels."""

    values: NDArray[Any]
    """(rows, columns), in the unit of the windows."""
    hidden: NDArray[np.bool_] | None = None
    """(rows, columns): pixels that are black with any window; None for none."""

    def encoded(self) -> bytes:
        """The slice as a page reads it.

        Width and height (32-bit integers), the value of code 1 and the difference between codes
        (64-bit floats), and then the code of each pixel, row by row (16-bit integers), all
        little-endian. Code 0 is a pixel that is black with any window.
        """
        values = np.asarray(self.values, np.float64)
        usable = np.isfinite(values)
        if self.hidden is not None:
            usable &= ~self.hidden
        low, step = _scale(values[usable])
        codes = np.zeros(values.shape, "<u2")
        codes[usable] = np.rint((values[usable] - low) / step) + 1
        rows, columns = values.shape
        return struct.pack(_HEADER, columns, rows, low, step) + codes.tobytes()


class Stack(Protocol):
    """A scan whose slices can be read one by one."""

    @property
    def description(self) -> StackDescription:
        """What is told of the slices."""

    @property
    def memory(self) -> int:
        """Bytes that are kept in memory for it."""

    def slice(self, number: int) -> GreySlice | Image.Image:
        """The values of a slice, or its image if it is in colour.

        Args:
            number: Its number, from 1.

        Raises:
            ItemError: It cannot be read, or does not exist.
        """


def _scale(values: NDArray[np.float64]) -> tuple[float, float]:
    """The value of code 1, and the difference between codes; exact for whole numbers."""
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if high - low < _MAX_CODE and np.array_equal(values, np.rint(values)):
        return low, 1.0
    return low, (high - low) / (_MAX_CODE - 1) or 1.0


def square_slice(
    values: NDArray[Any], hidden: NDArray[np.bool_] | None, spacing: tuple[float, float]
) -> GreySlice:
    """A slice with square pixels, its values interpolated bilinearly.

    Args:
        values: (rows, columns).
        hidden: (rows, columns): pixels that are black with any window; None for none.
        spacing: Distance of the rows, and of the columns, in mm; as in `montage.square_size`.
    """
    size = square_size(values.shape, spacing)
    if size == values.shape[::-1]:
        return GreySlice(values, hidden)
    outside = ~np.isfinite(values) if hidden is None else hidden | ~np.isfinite(values)
    if outside.any():
        inside = values[~outside]
        values = np.where(outside, inside.min() if inside.size else 0, values)
    resized = Image.fromarray(np.ascontiguousarray(values, np.float32)).resize(
        size, Image.Resampling.BILINEAR
    )
    mask = Image.fromarray(np.ascontiguousarray(outside)).resize(size, Image.Resampling.NEAREST)
    return GreySlice(np.asarray(resized), np.asarray(mask))


def linear_range(name: str, center: float, width: float) -> ShownRange:
    """A window of DICOM's function LINEAR.

    Args:
        name: Its name on the page.
        center: Centre of the window.
        width: Its width, at least 1.
    """
    return ShownRange(name, center - width / 2, center + width / 2 - 1)


def ct_ranges() -> list[ShownRange]:
    """The named windows, which are for CT."""
    return [linear_range(name, *window) for name, window in NAMED.items()]


def without_repeats(windows: Iterable[ShownRange]) -> tuple[ShownRange, ...]:
    """The windows without those whose name or range an earlier one has.

    Args:
        windows: Windows, the most important first.
    """
    chosen: list[ShownRange] = []
    for window in windows:
        is_new = all(
            window.name != other.name and (window.low, window.high) != (other.low, other.high)
            for other in chosen
        )
        if is_new:
            chosen.append(window)
    return tuple(chosen)
