"""NIfTI volumes (.nii, .nii.gz): slices in the three planes, as radiologists look at them.

The affine of the header tells which way the axes of the voxels point; the axis closest to each
direction of the patient is taken. Axial and coronal slices have the patient's right on their left
side; sagittal ones have anterior on the left. Anterior, or the head, is at the top. Slices are
numbered from 1: axial from the head down, coronal from anterior to posterior, sagittal from right
to left. Of the header, only numbers are read: its texts may identify a person.

The voxels are read once from beginning to end, one layer at a time, so memory does not grow with
the volume, whether or not it is compressed.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medr1.data.roots import open_image
from medr1.data.scans.location import unreadable
from medr1.data.scans.montage import (
    are_usable,
    check_montage,
    montage,
    square_pixels,
    square_size,
)
from medr1.data.scans.view import DEFAULT_SLICES, PLANES, View, montage_columns, parse_slices
from medr1.data.scans.windows import named_levels, percentile_range, range_levels
from medr1.errors import ItemError

MAX_VOLUME = 2 * 1024**3
"""Most bytes of a volume, uncompressed, with what precedes it in the file."""
MAX_SHOWN = 300_000_000
"""Most bytes of the slices that are read at once, and of one layer of a volume."""
MAX_SAMPLE = 1_000_000
"""Most voxels of which the percentiles are computed."""

_LEAST_STARTS = {348: 352, 540: 544}
"""Size of a header, of NIfTI-1 and NIfTI-2 -> the least place at which voxels begin."""
_BEGINNINGS = {
    struct.pack(f"{order}i", size): (size, order) for size in _LEAST_STARTS for order in "<>"
}
"""First bytes of a file -> size of its header, and numpy's sign of the byte order."""
_GZIP = b"\x1f\x8b"
_KINDS = {
    **{2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8"},
    **{256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"},
}
"""NIfTI's code of what a voxel is -> numpy's."""
_REFUSED_KINDS = {
    **dict.fromkeys((128, 2304), "colours"),
    **dict.fromkeys((32, 1792, 2048), "complex numbers"),
}
_MILLIMETRES = {1: 1000.0, 3: 0.001}
"""NIfTI's code of metres and of micrometres -> mm."""
_DAMAGED = (OSError, EOFError, zlib.error)
"""What a file raises that is cut off, or whose compressed content is damaged."""
_CHUNK = 1024**2
MAX_LENGTH = 1e40
"""Greatest number of an affine, in mm: more than a 32-bit number, which NIfTI-1 has."""

# The directions that the axes of a picture point in: left, posterior, inferior.
_NORMALS = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Plane -> the direction in which its slices are numbered."""
_SIDES = {"axial": (1, 0), "coronal": (2, 0), "sagittal": (2, 1)}
"""Plane -> the directions of its rows, from the top, and of its columns, from the left."""

Values = NDArray[np.float64]
_File: TypeAlias = "gzip.GzipFile | io.BufferedReader[io.FileIO] | io.BytesIO"


def is_nifti(head: bytes, name: str) -> bool:
    """Whether a file is NIfTI: by its content, or for a compressed one by its name.

    Args:
        head: Its first bytes, at least four if it has as many.
        name: Its name.
    """
    if head.startswith(_GZIP):
        return name.lower().endswith((".nii.gz", ".nii"))
    return head[:4] in _BEGINNINGS


@dataclass(frozen=True)
class Volume:
    """A NIfTI file whose header was read. Its voxels are read when slices are asked for."""

    path: Path
    label: str
    """Its name in quotes, for errors."""
    shape: tuple[int, int, int]
    """Voxels along the three axes, as stored."""
    kind: np.dtype[Any]
    """What a voxel is in the file."""
    start: int
    """Where the voxels begin, in bytes of the uncompressed file."""
    scaling: tuple[float, float] | None
    """Slope and intercept of the values; None if the voxels are the values."""
    axes: tuple[tuple[int, bool], ...]
    """For left, posterior and inferior: the stored axis, and whether it points the other way."""
    spacings: tuple[float, float, float]
    """Distance of voxels along the three stored axes, in mm."""
    notes: tuple[str, ...]
    """What a reader of its pictures should know, such as "first_of_120_volumes"."""
    content: bytes | None = None
    """The uncompressed file, if `in_memory` read it."""

    def in_memory(self) -> Volume:
        """The volume with its content in memory, for a compressed file of at most MAX_SHOWN bytes.

        A slice of a compressed file is otherwise reached by reading all that is before it.

        Raises:
            ItemError: The file is damaged.
        """
        size = self.start + math.prod(self.shape) * self.kind.itemsize
        with _content(self.path, self.label) as file:
            if not isinstance(file, gzip.GzipFile) or size > MAX_SHOWN:
                return self
            return replace(self, content=_exactly(file, size))

    def acquired_plane(self) -> str:
        """The plane whose slices are the fewest or the farthest apart: axial if there is none."""
        axes = {plane: self.axes[_NORMALS[plane]][0] for plane in PLANES}
        single = [plane for plane in PLANES if self.shape[axes[plane]] == 1]
        if len(single) == 1:
            return single[0]
        plane = "axial"
        for other in PLANES:
            if self.spacings[axes[other]] > 1.01 * self.spacings[axes[plane]]:
                plane = other
        return plane

    def number(self, plane: str) -> int:
        """How many slices a plane has; "" is the acquired plane."""
        return self.shape[self.axes[_NORMALS[plane or self.acquired_plane()]][0]]

    def spacing(self, plane: str) -> tuple[float, float]:
        """Distance of the rows and of the columns of a plane's slices, in mm."""
        rows, columns = _SIDES[plane or self.acquired_plane()]
        return self.spacings[self.axes[rows][0]], self.spacings[self.axes[columns][0]]

    def size(self, plane: str) -> tuple[int, int]:
        """Rows and columns of a plane's slices."""
        rows, columns = _SIDES[plane or self.acquired_plane()]
        return self.shape[self.axes[rows][0]], self.shape[self.axes[columns][0]]

    def slices(self, plane: str, numbers: Sequence[int]) -> Iterator[Values]:
        """The values of slices, each of shape (rows, columns), as they are looked at.

        The file is read once for all of them.

        Args:
            plane: One of PLANES; "" for the acquired plane.
            numbers: Numbers of the slices, from 1.

        Raises:
            ItemError: A slice does not exist, they are too large, or the file is damaged.
        """
        return self._slices(plane, numbers, None)

    def slices_and_range(
        self, plane: str, numbers: Sequence[int]
    ) -> tuple[Iterator[Values], tuple[float, float]]:
        """The values of slices, and the range to show of them: percentiles of the volume.

        The percentiles are those of at most MAX_SAMPLE evenly spaced voxels. If most voxels are
        the same, the range is from the least to the greatest of all.

        Args:
            plane: As for `slices`.
            numbers: As for `slices`.

        Raises:
            ItemError: As for `slices`, or if no voxel has a finite value.
        """
        sample = _Sample(self.shape)
        slices = self._slices(plane, numbers, sample)
        voxels = sample.voxels()
        if not voxels.size:
            raise unreadable(self.label, "its voxels have no finite values; export it again")
        low, high = sorted(self._scaled(np.array(sample.extremes)).tolist())
        return slices, percentile_range(self._scaled(voxels), (low, high))

    def _slices(
        self, plane: str, numbers: Sequence[int], sample: _Sample | None
    ) -> Iterator[Values]:
        """The values of slices; the file has been read when this returns."""
        plane = plane or self.acquired_plane()
        axis, is_reversed = self.axes[_NORMALS[plane]]
        total = self.shape[axis]
        if missing := [number for number in numbers if not 1 <= number <= total]:
            raise unreadable(
                self.label,
                f"there is no {plane} slice {missing[0]}; name slices from 1 to {total}",
            )
        places = [total - number if is_reversed else number - 1 for number in numbers]
        chosen = sorted(set(places))
        if len(chosen) * math.prod(self.size(plane)) * self.kind.itemsize > MAX_SHOWN:
            raise ItemError(
                "image_too_large",
                f"image {self.label}: {len(chosen)} slices are more than {MAX_SHOWN:,} bytes; "
                "show fewer slices.",
            )
        by_place = dict(zip(chosen, self._read(axis, chosen, sample), strict=True))
        return (self._scaled(self._turned(by_place[place], plane)) for place in places)

    def _read(self, axis: int, places: list[int], sample: _Sample | None) -> list[NDArray[Any]]:
        """The slices at places of a stored axis, as they are stored."""
        if axis == 2:
            needed, across = set(places), None
        else:
            needed = set(range(self.shape[2]))
            across = np.empty((self.shape[2], len(places), self.shape[1 - axis]), self.kind)
        layers: dict[int, NDArray[Any]] = {}
        for number, layer in self._layers(needed if sample is None else set(range(self.shape[2]))):
            if sample is not None:
                sample.add(number, layer)
            if across is not None:
                across[number] = layer[places] if axis == 0 else layer[:, places].T
            elif number in needed:
                layers[number] = layer
        if across is None:
            return [layers[place] for place in places]
        return [across[:, i].T for i in range(len(places))]

    def _layers(self, needed: set[int]) -> Iterator[tuple[int, NDArray[Any]]]:
        """Layers of the volume, with their numbers: voxels of shape (first axis, second axis)."""
        width, height, _ = self.shape
        size = width * height * self.kind.itemsize
        opened = _content(self.path, self.label)
        with io.BytesIO(self.content) if self.content is not None else opened as file:
            place = 0
            for number in sorted(needed):
                start = self.start + number * size
                _skip(file, start - place)
                content = _exactly(file, size)
                place = start + size
                yield number, np.frombuffer(content, self.kind).reshape(height, width).T

    def _turned(self, stored: NDArray[Any], plane: str) -> NDArray[Any]:
        """A slice, of the two other axes as stored, with the rows and columns of its plane."""
        (row_axis, rows_reversed), (column_axis, columns_reversed) = (
            self.axes[side] for side in _SIDES[plane]
        )
        turned = stored if row_axis < column_axis else stored.T
        return turned[:: -1 if rows_reversed else 1, :: -1 if columns_reversed else 1]

    def _scaled(self, voxels: NDArray[Any]) -> Values:
        values = voxels.astype(np.float64)
        if self.scaling is None:
            return values
        slope, intercept = self.scaling
        with np.errstate(over="ignore", invalid="ignore"):
            return values * slope + intercept


class _Sample:
    """Evenly spaced finite voxels of a volume, and its least and greatest finite voxel."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._stride = 1
        while math.prod(-(-length // self._stride) for length in shape) > MAX_SAMPLE:
            self._stride += 1
        self._parts: list[NDArray[Any]] = []
        self.extremes: tuple[Any, ...] = ()

    def add(self, number: int, layer: NDArray[Any]) -> None:
        """Take the voxels of one layer that belong to the sample."""
        if number % self._stride == 0:
            self._parts.append(_finite(layer[:: self._stride, :: self._stride]))
        finite = _finite(layer)
        if finite.size:
            extremes = (*self.extremes, finite.min(), finite.max())
            self.extremes = min(extremes), max(extremes)

    def voxels(self) -> NDArray[Any]:
        """The sample; empty if no voxel of it is finite."""
        return np.concatenate(self._parts)


def _finite(voxels: NDArray[Any]) -> NDArray[Any]:
    return voxels[np.isfinite(voxels)] if voxels.dtype.kind == "f" else voxels.ravel(order="K")


@contextmanager
def _content(path: Path, label: str) -> Iterator[_File]:
    """The uncompressed content of a file, from its beginning."""
    with open_image(path, label) as raw, io.BufferedReader(raw) as file:
        try:
            yield gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == _GZIP else file
        except _DAMAGED:
            raise unreadable(
                label, "the file is cut off or damaged; copy or export it again"
            ) from None


def _skip(file: _File, size: int) -> None:
    """Go on by so many bytes; a compressed file is read, in small parts."""
    if not isinstance(file, gzip.GzipFile):
        file.seek(size, io.SEEK_CUR)
        return
    while size > 0:
        size -= len(_exactly(file, min(size, _CHUNK)))


def _exactly(file: _File, size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise EOFError
    return content


def open_volume(path: Path, label: str) -> Volume:
    """Read the header of a NIfTI file (.nii or .nii.gz, NIfTI-1 or NIfTI-2), and check it.

    Args:
        path: The file. Its name is in no error.
        label: The name of the image in quotes, for errors.

    Raises:
        ItemError: As `roots.open_image`; image_unreadable for a damaged file, a pair of .hdr and
            .img, or voxels that are not real numbers; image_too_large.
    """
    with _content(path, label) as file:
        beginning = file.read(4)
        if beginning not in _BEGINNINGS:
            raise unreadable(label, "the file is damaged, or is not NIfTI; export it again")
        size, order = _BEGINNINGS[beginning]
        block = beginning + _exactly(file, size - 4)
        stored_size = 0 if isinstance(file, gzip.GzipFile) else file.seek(0, io.SEEK_END)
    header = _header(block, order, label)
    shape, num_volumes = _shape(header, label)
    kind = _kind(header, order, label)
    start = _start(header, size, label)
    end = start + math.prod(shape) * kind.itemsize
    if end > MAX_VOLUME or shape[0] * shape[1] * kind.itemsize > MAX_SHOWN:
        raise ItemError(
            "image_too_large",
            f"image {label}: {' x '.join(map(str, shape))} voxels are more than "
            f"{MAX_VOLUME:,} bytes, or a layer of them more than {MAX_SHOWN:,}; resample it to "
            "fewer voxels.",
        )
    if stored_size and end > stored_size:
        raise unreadable(label, "the file is cut off or damaged; copy or export it again")
    axes, spacings, notes = _geometry(header, label)
    if num_volumes > 1:
        notes = (f"first_of_{num_volumes}_volumes", *notes)
    return Volume(path, label, shape, kind, start, _scaling(header, label), axes, spacings, notes)


def _header(block: bytes, order: str, label: str) -> Any:
    """nibabel's header of a single file, which is not checked yet."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    is_second = len(block) == 540
    magic = block[4:8] if is_second else block[344:348]
    if magic in (b"ni1\0", b"ni2\0"):
        raise unreadable(
            label, "its voxels are in another file (.hdr and .img); save both as one .nii.gz"
        )
    if magic != (b"n+2\0" if is_second else b"n+1\0"):
        raise unreadable(
            label, "an Analyze image, or a damaged NIfTI header; save it as one .nii.gz"
        )
    header: Any = Nifti2Header if is_second else Nifti1Header
    return header(block, order, check=False)


def _shape(header: Any, label: str) -> tuple[tuple[int, int, int], int]:
    """The voxels along the three axes, and the number of volumes."""
    dimensions = [int(length) for length in header["dim"]]
    lengths = dimensions[1 : 1 + max(0, dimensions[0])]
    if not 1 <= dimensions[0] <= 7 or min(lengths) < 1:
        raise unreadable(label, "its header has impossible dimensions; export it again")
    width, height, depth = (*lengths, 1, 1)[:3]
    return (width, height, depth), math.prod(lengths[3:])


def _kind(header: Any, order: str, label: str) -> np.dtype[Any]:
    code = int(header["datatype"])
    if code not in _KINDS:
        content = _REFUSED_KINDS.get(code, "of a kind that is not read")
        raise unreadable(
            label, f"its voxels are {content}; save one value for each, as 32-bit numbers"
        )
    return np.dtype(order + _KINDS[code])


def _start(header: Any, size: int, label: str) -> int:
    """Where the voxels begin. What is between them and the header is never read."""
    start, least = float(header["vox_offset"]), _LEAST_STARTS[size]
    if start == 0:
        return least
    if not least <= start <= MAX_VOLUME:  # NaN too
        raise unreadable(label, "its header has an impossible vox_offset; export it again")
    return int(start)


def _scaling(header: Any, label: str) -> tuple[float, float] | None:
    """Slope and intercept; None if the slope is 0 or not finite, which means: no scaling."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not math.isfinite(slope):
        return None
    if not math.isfinite(intercept):
        raise unreadable(label, "its header has an impossible scl_inter; export it again")
    return slope, intercept


def _geometry(
    header: Any, label: str
) -> tuple[tuple[tuple[int, bool], ...], tuple[float, float, float], tuple[str, ...]]:
    """(axes and spacings as `Volume` has them, notes).

    Without any orientation, the axes are taken to point right, to anterior and to superior, as
    the standard has it (its method 1).
    """
    from nibabel.affines import voxel_sizes
    from nibabel.orientations import io_orientation

    pixdim = header["pixdim"]
    pixdim[0] = -1 if pixdim[0] < 0 else 1
    pixdim[1:4] = np.abs(pixdim[1:4])
    notes = []
    if not header["sform_code"] and not header["qform_code"]:
        affine = np.diag([*np.asarray(pixdim[1:4], np.float64), 1.0])
        orientation = np.array([[0, 1], [1, 1], [2, 1]])
        notes.append("orientation_not_stated (left and right may be exchanged)")
    else:
        affine = _affine(header, label)
        orientation = io_orientation(affine)
        if header["sform_code"] and header["qform_code"]:
            other = _affine_or_none(header.get_qform)
            if other is not None and not np.array_equal(io_orientation(other), orientation):
                notes.append("orientation_of_sform (that of the qform differs)")
        if np.isnan(orientation).any():
            raise unreadable(label, "its header has an impossible affine; export it again")
    unit = _MILLIMETRES.get(int(header["xyzt_units"]) % 8, 1.0)
    spacings = np.asarray(voxel_sizes(affine), np.float64) * unit
    if not are_usable((float(spacings.min()), float(spacings.max()))):
        spacings[:] = 1
        notes.append("spacing_not_stated (pixels are taken as square)")
    axes = []
    for direction in range(3):
        (stored,) = np.flatnonzero(orientation[:, 0] == direction)
        axes.append((int(stored), bool(orientation[stored, 1] == 1)))
    x, y, z = map(float, spacings)
    return tuple(axes), (x, y, z), tuple(notes)


def _affine(header: Any, label: str) -> NDArray[np.float64]:
    """The affine of the header: that of its sform, or else of its qform."""
    affine = _affine_or_none(header.get_best_affine)
    if affine is None:
        raise unreadable(label, "its header has an impossible affine; export it again")
    return affine


def _affine_or_none(read: Callable[[], Any]) -> NDArray[np.float64] | None:
    """An affine of a header; None if it is impossible, such as a quaternion longer than 1."""
    from nibabel.spatialimages import HeaderDataError

    try:
        with np.errstate(all="ignore"):
            affine = np.asarray(read(), np.float64)
    except (HeaderDataError, ValueError):
        return None
    is_possible = np.abs(affine[:3]) < MAX_LENGTH  # False for NaN
    return affine if is_possible.all() else None


def nifti_size(volume: Volume, view: View) -> tuple[int, int]:
    """Width and height of the picture of `nifti_image`.

    Args:
        volume: The volume.
        view: The view.
    """
    plane, numbers, columns = shown_slices(volume, view)
    width, height = square_size(volume.size(plane), volume.spacing(plane))
    columns = min(columns, len(numbers))
    return width * columns, height * math.ceil(len(numbers) / columns)


def shown_slices(volume: Volume, view: View) -> tuple[str, tuple[int, ...], int]:
    """The plane, the numbers of the slices, and the columns of the montage.

    Args:
        volume: The volume.
        view: The view.
    """
    plane = view.plane or volume.acquired_plane()
    numbers, columns = view.slices, view.columns
    if not numbers:
        choice = parse_slices(DEFAULT_SLICES)
        numbers = choice.of(volume.number(plane))
        columns = choice.grid[1] if choice.grid else 0
    return plane, numbers, columns or montage_columns(len(numbers))


def nifti_image(volume: Volume, view: View) -> tuple[Image.Image, tuple[str, ...]]:
    """The slices of a view as one RGB image with square pixels, and notes.

    Without a window, all slices of a volume have the same one: percentiles of the volume. A view
    without slices is a montage of evenly spaced slices.

    Args:
        volume: The volume.
        view: The view.

    Raises:
        ItemError: As `Volume.slices`; also for a view of a slide, or if the image would be too
            large or too narrow.
    """
    if view.magnification:
        raise unreadable(volume.label, "a volume has no magnification; name slices instead")
    plane, numbers, columns = shown_slices(volume, view)
    total = volume.number(plane)
    spacing = volume.spacing(plane)
    check_montage(square_size(volume.size(plane), spacing), len(numbers), columns, volume.label)
    if view.window:
        levels_and_notes = [
            named_levels(values, view.window) for values in volume.slices(plane, numbers)
        ]
    else:
        slices, (low, high) = volume.slices_and_range(plane, numbers)
        levels_and_notes = [range_levels(values, low, high, " of the volume") for values in slices]
    parts = [np.asarray(square_pixels(levels, spacing)) for levels, _ in levels_and_notes]
    image = Image.fromarray(montage(parts, columns)).convert("RGB")
    word = "slice" if len(numbers) == 1 else "slices"
    place = f"{plane} {word} {','.join(map(str, numbers))} of {total}"
    return image, (*volume.notes, place, levels_and_notes[0][1])
