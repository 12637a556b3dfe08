"""Windows: which grey levels of a scan are shown from black to white.

The named windows are for CT, in Hounsfield units (HU), as radiologists set them (Radiopaedia,
"Windowing (CT)", https://radiopaedia.org/articles/windowing-ct). `medgemma` is the image that
MedGemma 1.5 was trained with: three windows as the red, green and blue of one picture (its model
card, and Google's notebook for CT).
"""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray

from medr1.errors import InputError, did_you_mean

NAMED: dict[str, tuple[float, float]] = {
    "brain": (40, 80),
    "subdural": (75, 215),
    "stroke": (40, 40),
    "lung": (-600, 1500),
    "mediastinum": (50, 350),
    "bone": (400, 1800),
    "liver": (30, 150),
}
"""Name -> (centre, width) in HU."""
MEDGEMMA = "medgemma"
MEDGEMMA_RANGES = ((-1024.0, 1024.0), (-135.0, 215.0), (0.0, 80.0))
"""Lowest and highest HU of red, green and blue: wide, soft tissue, brain."""
DEFAULT_CT = (40.0, 400.0)
"""Centre and width for a CT that has no window and shows neither head nor chest."""
PERCENTILES = (0.5, 99.5)
"""Without any window, values from the lower to the upper percentile are shown."""

_BY_BODY_PART = {
    **dict.fromkeys(("HEAD", "BRAIN", "SKULL"), "brain"),
    **dict.fromkeys(("CHEST", "LUNG", "THORAX"), "mediastinum"),
}
_PAIR = re.compile(r"([+-]?\d+(?:\.\d+)?)[/,]([+-]?\d+(?:\.\d+)?)")

Levels = NDArray[np.uint8]
Values = NDArray[np.floating]


def parse_window(text: str) -> str:
    """Check the value of --window, and write it as a view has it.

    Args:
        text: A name, or centre and width as "40/400".

    Returns:
        The name in lower case, or "40,400".

    Raises:
        InputError: It is neither.
    """
    name = "".join(text.split()).lower()
    if name in NAMED or name == MEDGEMMA:
        return name
    match = _PAIR.fullmatch(name)
    if match and float(match[2]) >= 1:
        return f"{float(match[1]):g},{float(match[2]):g}"
    choices = (
        f"Choose from {', '.join(NAMED)}, {MEDGEMMA}, or write centre and width, such as 40/400."
    )
    raise InputError(f"unknown window {text!r}. {did_you_mean(name, [*NAMED, MEDGEMMA], choices)}")


def window_of(name: str) -> tuple[float, float] | None:
    """Centre and width of a window that `parse_window` returned; None for medgemma.

    Args:
        name: A name, or "40,400".
    """
    if name == MEDGEMMA:
        return None
    if name in NAMED:
        return NAMED[name]
    center, width = re.split("[,/]", name)
    return float(center), float(width)


def ct_window(body_part: str) -> tuple[str, tuple[float, float]]:
    """(name, centre and width) for a CT without a window.

    Args:
        body_part: DICOM's Body Part Examined; empty if it is not known.
    """
    name = _BY_BODY_PART.get(body_part.strip().upper(), "")
    return (name, NAMED[name]) if name else ("soft tissue", DEFAULT_CT)


def linear(values: Values, center: float, width: float) -> Levels:
    """DICOM's function LINEAR (PS3.3 C.11.2.1.2.1), to 0..255.

    Args:
        values: Any shape.
        center: Centre of the window.
        width: Its width, at least 1.
    """
    if width == 1:
        return np.where(values <= center - 0.5, np.uint8(0), np.uint8(255))
    return ramp(values, center - width / 2, center + width / 2 - 1)


def ramp(values: Values, low: float, high: float) -> Levels:
    """The values as 0 (`low` and below) to 255 (`high` and above), rounded; 0 for NaN.

    Args:
        values: Any shape.
        low: Shown black.
        high: Shown white; above `low`.
    """
    share = (np.asarray(values, np.float64) - low) / (high - low)
    return to_levels(share)


def linear_exact(values: Values, center: float, width: float) -> Levels:
    """DICOM's function LINEAR_EXACT (PS3.3 C.11.2.1.3.2), to 0..255.

    Args:
        values: Any shape.
        center: Centre of the window.
        width: Its width, above 0.
    """
    return ramp(values, center - width / 2, center + width / 2)


def sigmoid(values: Values, center: float, width: float) -> Levels:
    """DICOM's function SIGMOID (PS3.3 C.11.2.1.3.1), to 0..255.

    Args:
        values: Any shape.
        center: Centre of the window.
        width: Its width, above 0.
    """
    exponent = -4 * (np.asarray(values, np.float64) - center) / width
    return to_levels(1 / (1 + np.exp(np.clip(exponent, -700, 700))))


def to_levels(share: NDArray[np.float64]) -> Levels:
    """Shares of white as levels: 0 to 255, rounded; 0 for NaN.

    Args:
        share: Any shape; values outside [0, 1] are clipped.
    """
    return np.rint(255 * np.clip(np.nan_to_num(share, nan=0.0), 0, 1)).astype(np.uint8)


def percentile_range(
    values: Values, extremes: tuple[float, float] | None = None
) -> tuple[float, float]:
    """The range that is shown of values without a window: two PERCENTILES of the finite ones.

    Args:
        values: Any shape, with at least one finite value.
        extremes: The range if the percentiles are equal; None for the least and the greatest of
            the values.
    """
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, PERCENTILES)
    if not low < high:  # most of the values are the same
        low, high = extremes or (finite.min(), finite.max())
    return float(low), float(high)


def named_levels(values: Values, name: str) -> tuple[Levels, str]:
    """The values with a window that was asked for, and the note on it.

    Args:
        values: Any shape, in HU for a named window.
        name: What `parse_window` returned.

    Returns:
        (levels, note). The levels have the shape of the values, and a further axis of the three
        colours for medgemma.
    """
    window = window_of(name)
    if window is None:
        colours = [ramp(values, low, high) for low, high in MEDGEMMA_RANGES]
        ranges = ", ".join(f"{low:g}..{high:g}" for low, high in MEDGEMMA_RANGES)
        return np.stack(colours, axis=-1), f"window {name}: {ranges} as red, green, blue"
    return linear(values, *window), window_note(name if name in NAMED else "", *window)


def window_note(name: str, center: float, width: float) -> str:
    """The note on a window, such as "window brain: 40/80".

    Args:
        name: Its name or origin; may be empty.
        center: Its centre.
        width: Its width.
    """
    return f"window{' ' if name else ''}{name}: {center:g}/{width:g}"


def range_levels(
    values: Values, low: float, high: float, population: str = ""
) -> tuple[Levels, str]:
    """The values of a range that `percentile_range` returned, and the note on it.

    Args:
        values: Any shape.
        low: Shown black.
        high: Shown white. If it is equal to `low`, everything is black.
        population: What the percentiles are of, such as " of the volume"; empty for the values.
    """
    if not math.isfinite(high - low) or low == high:
        return np.zeros(values.shape, np.uint8), f"constant {low:.9g} shown black"
    lower, upper = PERCENTILES
    note = f"windowed {low:.9g}..{high:.9g} (percentiles {lower:g} and {upper:g}{population})"
    return ramp(values, low, high), note
