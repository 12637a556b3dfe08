"""The part of a file that an image shows: its slices, plane, window, or place on a slide.

A view follows the file's name, after "#": `brain.nii.gz#plane=coronal&slice=90&window=brain`. So
the name of each image in a results file tells exactly what the model was shown.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from medr1.errors import InputError

PLANES = ("axial", "coronal", "sagittal")
MAX_MONTAGE = 100
"""Most slices in one montage."""

_VIEW = re.compile(
    r"(?P<name>.*)#(?P<view>(?:slices?|series|columns|plane|window|magnification|tile)=[^#/\\]*)",
    re.DOTALL,
)
_NUMBERS = re.compile(r"\d{1,9}(?:,\d{1,9})*")


@dataclass(frozen=True)
class View:
    """Which part of a file is shown; the empty view is the file's only image."""

    slices: tuple[int, ...] = ()
    """Numbers of slices or frames, from 1. Several are shown as a montage, row by row."""
    columns: int = 0
    """Columns of the montage; 0 if there is only one slice."""
    plane: str = ""
    """One of PLANES, for a volume; empty for the plane in which it was acquired."""
    window: str = ""
    """A name of `windows.NAMED`, "medgemma", or centre and width as "40,400"; empty for the
    window of the file."""
    magnification: float = 0.0
    """Of a tile on a slide, such as 10 for 10x; 0 for a thumbnail of the slide."""
    tile: tuple[int, int] = (0, 0)
    """Left and top edge of the tile, in pixels of the slide's largest level."""
    series: int = 0
    """Number of one of the series in a folder, from 1; 0 if there is only one."""

    def __str__(self) -> str:
        """The view as it follows the name of a file: "#slice=3&window=brain"; empty if it is."""
        text = "&".join(self._parts())
        return f"#{text}" if text else ""

    def _parts(self) -> Iterator[str]:
        if self.series:
            yield f"series={self.series}"
        if self.plane:
            yield f"plane={self.plane}"
        if self.slices:
            key = "slice" if len(self.slices) == 1 else "slices"
            yield f"{key}={','.join(map(str, self.slices))}"
        if self.columns:
            yield f"columns={self.columns}"
        if self.magnification:
            yield f"magnification={self.magnification:g}"
            yield f"tile={self.tile[0]},{self.tile[1]}"
        if self.window:
            yield f"window={self.window}"


def split_view(name: str) -> tuple[str, View]:
    """Separate an image name from the view that follows it.

    Args:
        name: The name of an image, such as "scan.dcm#slice=3".

    Returns:
        (the name of the file, its view). A name without a view, or with another text after "#",
        stays as it is and has the empty view.
    """
    match = _VIEW.fullmatch(name)
    if match is None:
        return name, View()
    values = dict(part.partition("=")[::2] for part in match["view"].split("&"))
    try:
        view = _view(values)
    except ValueError:
        return name, View()
    return match["name"], view


def _view(values: dict[str, str]) -> View:
    """The view with these values by their keys, which are removed; ValueError if one is wrong."""
    slices = _numbers(values.pop("slice", "") or values.pop("slices", ""))
    columns, tile = _numbers(values.pop("columns", "")), _numbers(values.pop("tile", ""))
    series, plane = _numbers(values.pop("series", "")), values.pop("plane", "")
    magnification = float(values.pop("magnification", "") or 0)
    window = values.pop("window", "")
    is_possible = (
        not values
        and plane in ("", *PLANES)
        and len(slices) <= MAX_MONTAGE
        and math.isfinite(magnification)
        and magnification >= 0
    )
    if not is_possible:
        raise ValueError
    left, top = (*tile, 0, 0)[:2]
    number_of_columns, number_of_series = (*columns, 0)[0], (*series, 0)[0]
    return View(
        slices, number_of_columns, plane, window, magnification, (left, top), number_of_series
    )


def _numbers(text: str) -> tuple[int, ...]:
    """The numbers of a text such as "3,7,12"; none if it is empty, ValueError if it is another."""
    if text and not _NUMBERS.fullmatch(text):
        raise ValueError
    return tuple(map(int, text.split(","))) if text else ()


@dataclass(frozen=True)
class SliceChoice:
    """Which slices of a series or volume are asked about (`--slices`)."""

    number: int = 0
    """How many slices, evenly spaced; 0 if `numbers` names them."""
    numbers: tuple[int, ...] = ()
    """The numbers of the slices, from 1."""
    grid: tuple[int, int] | None = None
    """Rows and columns of a montage; None if each slice is an image of its own."""

    def of(self, total: int) -> tuple[int, ...]:
        """The numbers of the chosen slices, from 1.

        Evenly spaced slices are the middles of equal parts, so that the first and the last one,
        which often show nothing, are left out.

        Args:
            total: The slices that there are.

        Raises:
            InputError: A slice is named that does not exist.
        """
        if self.numbers:
            if missing := [n for n in self.numbers if not 1 <= n <= total]:
                available = (
                    f"there are {total} slices. Name slices from 1 to {total}"
                    if total > 1
                    else "there is only one slice. Leave out its number"
                )
                raise InputError(f"--slices {missing[0]}: {available}.")
            return self.numbers
        number = min(self.number, total)
        return tuple(int((i + 0.5) * total / number) + 1 for i in range(number))


DEFAULT_SLICES = "montage:3x3"
"""What is shown of a series without --slices: one image, which every model takes."""


def parse_slices(text: str) -> SliceChoice:
    """Read the value of --slices: "9", "3,7,12" or "montage:3x3".

    Args:
        text: The value.

    Raises:
        InputError: It is none of these.
    """
    compact = "".join(text.split()).lower()
    if match := re.fullmatch(r"montage:(\d{1,2})x(\d{1,2})", compact):
        rows, columns = int(match[1]), int(match[2])
        if 1 < rows * columns <= MAX_MONTAGE:
            return SliceChoice(number=rows * columns, grid=(rows, columns))
    elif re.fullmatch(r"\d{1,4}", compact) and int(compact):
        return SliceChoice(number=int(compact))
    elif _NUMBERS.fullmatch(compact) and 0 not in (numbers := _numbers(compact)):
        return SliceChoice(numbers=numbers)
    raise InputError(
        f"--slices {text!r} is not known. Write a number of slices (9), the numbers of slices from "
        f"1 (3,7,12), or a montage of at most {MAX_MONTAGE} (montage:3x3)."
    )


def montage_columns(number: int) -> int:
    """The columns of a montage of so many slices, as square as possible."""
    return math.ceil(math.sqrt(number))
