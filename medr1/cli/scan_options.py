"""The options of scans: DICOM files and series, NIfTI volumes and slides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from medr1.cli.common import add_options, option
from medr1.data.scans.view import PLANES

if TYPE_CHECKING:
    from medr1.data.scans.options import ScanOptions

scan_options = add_options(
    option(
        "--window",
        group="Images",
        metavar="NAME|C/W",
        help="Grey levels of DICOM and NIfTI that are shown: brain, subdural, stroke, lung, "
        "mediastinum, bone or liver (for CT, in Hounsfield units), medgemma (three windows as red, "
        "green and blue), or centre and width, such as 40/400. [default: the file's own]",
    ),
    option(
        "--slices",
        group="Images",
        metavar="N|N,N,...|montage:RxC",
        help="Slices of a series, volume or clip: a number of evenly spaced ones (9), their "
        "numbers from 1 (3,7,12), each as an image of its own, or one image of them in rows and "
        "columns (montage:3x3). Of a slide with --magnification, the number of tiles. [default: "
        "montage:3x3; of a slide, 1]",
    ),
    option(
        "--plane",
        group="Images",
        type=click.Choice(PLANES),
        help="Plane of the slices of a NIfTI volume. [default: that in which it was acquired]",
    ),
    option(
        "--magnification",
        group="Images",
        type=click.FloatRange(min=0, min_open=True),
        help="Magnification of whole-slide images, such as 10: the tiles of 512 pixels with most "
        "tissue are shown. [default: a thumbnail of the slide]",
    ),
    option(
        "--manufacturer",
        "with_manufacturer",
        group="Images",
        is_flag=True,
        help="Add the manufacturer of the DICOM machine to the metadata of the items.",
    ),
)
"""--window and the other options of scans; `scans_from` reads them."""
_NAMES = ("window", "slices", "plane", "magnification", "with_manufacturer")


def scans_from(options: dict[str, object]) -> ScanOptions:
    """Take the options of scans out of a command's options.

    Args:
        options: Name of a parameter -> value. The entries of `scan_options` are removed.

    Raises:
        InputError: A value cannot be used.
    """
    from medr1.data.scans.options import ScanOptions

    values = {name: options.pop(name) for name in _NAMES}
    given_values = {name: value for name, value in values.items() if value is not None}
    return ScanOptions(**given_values).checked()  # type: ignore[arg-type]
