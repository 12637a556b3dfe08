"""Puts slices together into one image, and gives them square pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medr1.errors import ItemError

MAX_PIXELS = 37_000_000
"""Most pixels of an image that is made from slices: 300 MB with the copies of it."""
MAX_STRETCH = 200
"""Largest ratio of the two sides of a pixel."""
MAX_ASPECT = 200
"""Largest ratio of the longer to the shorter side of an image, as for other images."""

Levels = NDArray[np.uint8]


def montage(levels: Sequence[Levels], columns: int) -> Levels:
    """Slices side by side, row by row; a smaller one is in the middle of its place, on black.

    Args:
        levels: The slices, each of shape (rows, columns) or (rows, columns, 3); all in grey, or
            all in colour.
        columns: Slices in a row.

    Returns:
        The montage, with as many axes as a slice. One slice is returned as it is.
    """
    if len(levels) == 1:
        return levels[0]
    height, width = (max(part.shape[axis] for part in levels) for axis in (0, 1))
    columns = min(columns, len(levels))
    rows = math.ceil(len(levels) / columns)
    result = np.zeros((rows * height, columns * width, *levels[0].shape[2:]), np.uint8)
    for number, part in enumerate(levels):
        row, column = divmod(number, columns)
        top = row * height + (height - part.shape[0]) // 2
        left = column * width + (width - part.shape[1]) // 2
        result[top : top + part.shape[0], left : left + part.shape[1]] = part
    return result


def square_size(shape: tuple[int, ...], spacing: tuple[float, float]) -> tuple[int, int]:
    """Width and height of a slice whose pixels are made square, by enlarging its coarser side.

    Args:
        shape: Rows and columns, and further axes.
        spacing: Distance of its rows, and of its columns, in mm. If one of them is not above 0,
            or one is over MAX_STRETCH times the other, the pixels are taken as square.
    """
    rows, columns = shape[:2]
    row_mm, column_mm = spacing
    if not are_usable(spacing):
        return columns, rows
    finest = min(spacing)
    return max(1, round(columns * column_mm / finest)), max(1, round(rows * row_mm / finest))


def are_usable(spacing: tuple[float, float]) -> bool:
    """Whether both distances are above 0, and neither is over MAX_STRETCH times the other."""
    low, high = sorted(spacing)
    return low > 0 and math.isfinite(high) and high <= MAX_STRETCH * low


def square_pixels(levels: Levels, spacing: tuple[float, float]) -> Image.Image:
    """A slice as an image with square pixels, interpolated bilinearly.

    Args:
        levels: Shape (rows, columns) or (rows, columns, 3).
        spacing: Distance of its rows, and of its columns, in mm; as in `square_size`.
    """
    image = Image.fromarray(np.ascontiguousarray(levels))
    size = square_size(levels.shape, spacing)
    return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)


def check_montage(size: tuple[int, int], number: int, columns: int, label: str) -> None:
    """Refuse an image from slices that would be too large, before it is made.

    Args:
        size: Width and height of the largest slice, after its pixels were made square.
        number: Slices.
        columns: Slices in a row.
        label: The name of the image in quotes.

    Raises:
        ItemError: image_too_large or image_bad_shape.
    """
    columns = min(columns, number)
    width, height = size[0] * columns, size[1] * math.ceil(number / columns)
    if width * height > MAX_PIXELS:
        raise ItemError(
            "image_too_large",
            f"image {label}: {number} slices of {size[0]} x {size[1]} pixels are more than "
            f"{MAX_PIXELS:,} pixels; show fewer slices, or make them smaller.",
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ItemError(
            "image_bad_shape",
            f"image {label}: {width} x {height} pixels, one side over {MAX_ASPECT} times the "
            "other; choose another plane, or crop it.",
        )
