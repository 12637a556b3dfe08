"""The slices of a NIfTI volume with their values."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from medr1.data.scans.location import ImageLocation
from medr1.data.scans.montage import check_montage, square_size
from medr1.data.scans.nifti import Volume, open_volume, shown_slices
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
from medr1.data.scans.windows import NAMED, window_of


@dataclass(frozen=True)
class VolumeStack:
    """The slices of one plane of a volume, whose voxels are in memory if the file is compressed."""

    volume: Volume
    plane: str
    description: StackDescription

    @property
    def memory(self) -> int:
        """Bytes that are kept in memory for it."""
        return len(self.volume.content or b"")

    def slice(self, number: int) -> GreySlice | Image.Image:
        """The values of a slice.

        Args:
            number: Its number, from 1.

        Raises:
            ItemError: It cannot be read, or does not exist.
        """
        spacing = self.volume.spacing(self.plane)
        size = square_size(self.volume.size(self.plane), spacing)
        check_montage(size, 1, 1, self.volume.label)
        (values,) = self.volume.slices(self.plane, (number,))
        return square_slice(values, None, spacing)


def open_volume_stack(location: ImageLocation, modality: str) -> VolumeStack:
    """The slices of a NIfTI volume.

    Args:
        location: The file, and the view that the image shows.
        modality: Modality of the item, because the file has none; "CT" has its named windows.

    Raises:
        ItemError: It cannot be read.
    """
    volume = open_volume(location.path, location.label).in_memory()
    plane, numbers, _ = shown_slices(volume, location.view)
    _, (low, high) = volume.slices_and_range(plane, numbers[:1])
    windows, chosen = [ShownRange(PERCENTILES_NAME, low, high)], location.view.window
    if chosen and (pair := window_of(chosen)):
        windows.insert(0, linear_range(chosen if chosen in NAMED else "of the model", *pair))
    if modality.strip().upper() == "CT":
        windows += ct_ranges()
    unit = int(len(windows) > 1)
    description = StackDescription(
        volume.number(plane), numbers, without_repeats(windows), unit=unit
    )
    return VolumeStack(volume, plane, description)
