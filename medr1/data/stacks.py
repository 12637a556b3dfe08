"""Opens an image whose window or slice a reader can change: a scan, or a picture of 16 bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from medr1.data.images import grey_values
from medr1.data.scans.formats import scan_format
from medr1.data.scans.location import ImageLocation
from medr1.data.scans.stack import (
    PERCENTILES_NAME,
    GreySlice,
    ShownRange,
    Stack,
    StackDescription,
    without_repeats,
)
from medr1.data.scans.windows import percentile_range
from medr1.errors import ItemError


@dataclass(frozen=True)
class _PictureStack:
    """A grey picture with more than 8 bits, which is decoded when it is asked for."""

    location: ImageLocation
    description: StackDescription
    memory: int = 0

    def slice(self, number: int) -> GreySlice | Image.Image:
        """The values of the picture, whose number is 1; ItemError as in `Stack`."""
        picture = grey_values(self.location)
        if number != 1 or picture is None:
            raise ItemError("image_missing", f"image {self.location.label}: no such slice.")
        return GreySlice(picture.values)


def open_stack(location: ImageLocation, modality: str = "") -> Stack | None:
    """The slices of a scan, or a grey picture with more than 8 bits; None for any other image.

    Args:
        location: Where the image is.
        modality: Modality of the item, for a file that has none.

    Raises:
        ItemError: The file cannot be read.
    """
    if (scan := scan_format(location)) is not None:
        return scan.stack(location, modality) if scan.stack else None
    picture = grey_values(location)
    if picture is None:
        return None
    finite = picture.values[np.isfinite(picture.values)]
    if not finite.size:
        return None
    windows = (
        ShownRange("all levels", float(finite.min()), float(finite.max())),
        ShownRange(PERCENTILES_NAME, *percentile_range(finite)),
    )
    return _PictureStack(
        location, StackDescription(1, (1,), without_repeats(windows), picture.is_inverted)
    )
