"""Scans in items: which slices, tiles and window are asked about, and what is told of a file.

Of a series, a volume or a slide with tiles, each chosen part becomes an image of the item, with a
name that says which part it is. A DICOM file gets the name of `private_names`, and what may be told
of it (`dicom_tags`) becomes metadata of the item.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from medr1.data.images import is_picture
from medr1.data.roots import ImageRoot, open_image, resolve_image
from medr1.data.scans.formats import RASTER_ENDINGS
from medr1.data.scans.options import ScanOptions
from medr1.data.scans.private_names import (
    FILE_NAME,
    PrivateNames,
    Slices,
    is_alias,
    names_of,
)
from medr1.data.scans.view import (
    DEFAULT_SLICES,
    View,
    montage_columns,
    parse_slices,
    split_view,
)
from medr1.data.spellings import has_own_id
from medr1.errors import InputError, ItemError
from medr1.records import Failure, Sample, sample_id

if TYPE_CHECKING:
    from medr1.data.scans.dicom_file import DicomHeader

_UNRESOLVED = {
    "image_remote": "only local files are read; download it and name the file's path",
    "image_outside_root": "not in the image folder; set --image-root to the folder that has it",
}
"""Code of an error of `resolve_image` -> its message, without the name of the file."""
_HEAD = 132
_DICOM_ENDING = re.compile(r"\.(?:dcm|dicom|dic|ima|dc3)", re.IGNORECASE)
_DICOM_NAME = re.compile(
    r"(?:.*\.(?:dcm|dicom|dic|ima|dc3|\d+)|[^.]*)(?:#.*)?", re.IGNORECASE | re.DOTALL
)
"""A name with such an ending, without one, or with a number at its end, as that of a UID; a wrong
view may follow."""


@dataclass(frozen=True)
class _ScanView:
    """One image name of an item, after its scan was looked into."""

    names: tuple[str, ...]
    """The names of the images that are shown in its place."""
    metadata: Mapping[str, object] = field(default_factory=dict)
    """What is told of the scan."""
    failure: Failure | None = None


def show_scans(
    samples: Sequence[Sample],
    root: ImageRoot,
    options: ScanOptions,
    *,
    is_temporary: bool = False,
) -> tuple[list[Sample], dict[int, Failure]]:
    """The samples with the parts of their scans as images.

    Args:
        samples: The samples. Those without a scan stay as they are.
        root: The folder of the images.
        options: How scans are shown.
        is_temporary: Whether nothing is written beside the images, if no key is there.

    Returns:
        (the samples, and for the index of each whose scan cannot be used, why).

    Raises:
        InputError: The private file of names is damaged, or a slice or window does not exist.
    """
    reader = _ScanReader(root, options.checked(), is_temporary)
    with_scans, failures, counts = [], {}, Counter[str]()
    for index, sample in enumerate(samples):
        if all(name.lower().endswith(RASTER_ENDINGS) for name in sample.images):
            with_scans.append(sample)
            continue
        views = [reader.view_of(name) for name in sample.images]
        item_names = tuple(map(_item_name, sample.images, views))
        with_scans.append(_with_scans(_with_id(sample, item_names, counts), views))
        if (failure := next((one.failure for one in views if one.failure), None)) is not None:
            failures[index] = failure
    reader.save()
    return with_scans, failures


def with_private_names(samples: Sequence[Sample], root: ImageRoot) -> list[Sample]:
    """The samples with the names and ids that `show_scans` gave to DICOM files of this folder.

    For commands that open no images, so that the questions pair with results. Only the private file
    of names is read, and a name that is not in it stays.

    Args:
        samples: The samples.
        root: The folder of the images.

    Raises:
        InputError: The private file of names is damaged.
    """
    if not (root.path / FILE_NAME).is_file():
        return list(samples)
    names, counts, renamed = names_of(root.path), Counter[str](), list[Sample]()
    for sample in samples:
        images = tuple(_known_name(name, root, names) for name in sample.images)
        with_id = _with_id(sample, images, counts) if images != sample.images else sample
        renamed.append(replace(with_id, images=images))
    return renamed


def _known_name(name: str, root: ImageRoot, names: PrivateNames) -> str:
    """The name with the alias of its file or series, if there is one."""
    file_name, view = split_view(name)
    if file_name.lower().endswith(RASTER_ENDINGS) or is_alias(file_name):
        return name
    try:
        path = resolve_image(file_name, root).path
    except ItemError:
        alias = names.known_alias(file_name)
        return f"{alias}{view}" if alias else name
    folder = path.parent if path.name.upper() == "DICOMDIR" else path
    alias = names.known_alias(_relative(folder, root) + _series_part(view))
    return f"{alias}{replace(view, series=0)}" if alias else name


def _window(view: View, name: str) -> str:
    """The window of a view that a name states, as `parse_window` writes it; ItemError if wrong."""
    from medr1.data.scans.windows import parse_window

    try:
        return parse_window(view.window) if view.window else ""
    except InputError as error:
        raise ItemError("image_unreadable", f"image {name!r}: {error}") from None


def _item_name(name: str, scan: _ScanView) -> str:
    """What an image is called in the hash of its item.

    It has the alias of a DICOM file, and only the view that the item itself states. So runs with
    other slices or windows have the same ids.
    """
    file_name, view = split_view(name)
    alias = split_view(next(iter(scan.names), name))[0]
    if is_alias(alias) and not is_alias(file_name):
        return f"{alias}{replace(view, series=0)}"
    return name


def _with_id(sample: Sample, names: tuple[str, ...], counts: Counter[str]) -> Sample:
    """The sample with the hash of these image names as its id, if its id is such a hash.

    `counts` has how often each hash occurred: two names of one file have one alias.
    """
    if has_own_id(sample) or names == sample.images:
        return sample
    item_id = sample_id(replace(sample, images=names))
    counts[item_id] += 1
    return replace(sample, id=f"{item_id}-{counts[item_id]}" if counts[item_id] > 1 else item_id)


def _with_scans(sample: Sample, scans: Sequence[_ScanView]) -> Sample:
    """The sample with the images and metadata of its scans; its own metadata goes first."""
    images = tuple(name for one in scans for name in one.names)
    described = [one.metadata for one in scans if one.metadata]
    metadata = {
        key: value
        for key, value in (described[0] if described else {}).items()
        if all(other.get(key) == value for other in described)
    }
    modality = metadata.pop("modality", None)
    return replace(
        sample,
        images=images,
        modality=sample.modality or (str(modality) if modality else None),
        metadata={**metadata, **sample.metadata},
    )


def _relative(path: Path, root: ImageRoot) -> str:
    """The path from the image root, or the absolute path of a file outside it."""
    folder, real = os.path.realpath(root.path), os.path.realpath(path)
    inside = os.path.relpath(real, folder)
    return real if inside.startswith("..") else inside.replace(os.sep, "/")


def _series_part(view: View) -> str:
    """What is added to the name of a folder for one of several series in it."""
    return f"#{view.series}" if view.series else ""


class _ScanReader:
    """Looks into the scans of items, each once."""

    def __init__(self, root: ImageRoot, options: ScanOptions, is_temporary: bool) -> None:
        self._root = root
        self._options = options
        self._is_temporary = is_temporary
        self._views: dict[str, _ScanView] = {}
        self._has_new_names = False

    def view_of(self, name: str) -> _ScanView:
        """What is shown in place of an image name."""
        if name not in self._views:
            self._views[name] = self._look_into(name)
        return self._views[name]

    def save(self) -> None:
        """Write the new names of DICOM files into the private file."""
        if self._has_new_names:
            self._names().save()

    def _names(self) -> PrivateNames:
        return names_of(self._root.path, is_temporary=self._is_temporary)

    def _look_into(self, name: str) -> _ScanView:
        file_name, view = split_view(name)
        if file_name.lower().endswith(RASTER_ENDINGS):
            return _ScanView((name,))
        if is_alias(file_name):
            return self._of_alias(name, file_name, view)
        try:
            path = resolve_image(file_name, self._root).path
        except ItemError as error:
            if not _has_dicom_name(file_name):
                return _ScanView((name,))  # the message comes when the image is loaded
            alias = self._add(file_name)
            problem = _UNRESOLVED.get(error.code, "not a file name")
            failure = Failure(error.code, f"image {alias!r}: {problem}.")
            return _ScanView((f"{alias}{view}",), failure=failure)
        if path.name.upper() == "DICOMDIR" and path.is_file():
            path, file_name = path.parent, os.path.dirname(file_name) or "."
        is_series = path.is_dir()
        alias, own_name = "", _relative(path, self._root)
        if is_series:
            alias, view = self._add(own_name + _series_part(view)), replace(view, series=0)
        elif _looks_like_dicom(path):
            alias = self._add(own_name, ((own_name, 0),))
        try:
            if alias and not path.exists():
                place = f"its name is in {FILE_NAME} beside the images. Check the path and "
                where = "check --image-path." if self._is_temporary else f"{place}--image-root."
                raise ItemError("image_missing", f"image {alias!r}: no such file; {where}")
            if is_series:
                return self._series(path, alias, view, split_view(name)[1].series)
            return self._dicom(path, alias, view) if alias else self._other(path, file_name, view)
        except ItemError as error:
            failure = Failure(error.code, str(error))
            return _ScanView((f"{alias}{view}" if alias else name,), failure=failure)

    def _add(self, name: str, slices: Slices = ()) -> str:
        """The alias of a file or series with this name, as `PrivateNames.add`."""
        if not self._has_new_names:
            self._names().make_key()
            self._has_new_names = True
        return self._names().add(name, slices)

    def _of_alias(self, name: str, alias: str, view: View) -> _ScanView:
        """A DICOM file or series that is named by its alias, as in a file that medr1 wrote."""
        from medr1.data.scans.dicom_picture import open_dicom

        try:
            location = resolve_image(alias, self._root)
            with open_dicom(location.files[0], location.label) as header:
                total = len(location.slices) or header.frames
                return self._parts(alias, view, total, self._described(header))
        except ItemError:
            return _ScanView((name,))  # the message comes when the image is loaded

    def _described(self, header: DicomHeader) -> dict[str, object]:
        """What may be told of a file."""
        from medr1.data.scans.dicom_tags import described

        told_too = self._options.with_manufacturer
        return described(header, self._names().hash_of, with_manufacturer=told_too)

    def _series(self, folder: Path, alias: str, view: View, number: int) -> _ScanView:
        """The chosen slices of one of the series in a folder; `number` is 0 or that of a series."""
        from medr1.data.scans.dicom_picture import open_dicom
        from medr1.data.scans.series import chosen_series, read_series

        every = read_series(folder, repr(alias))
        series = chosen_series(every, number, repr(alias))
        place = _relative(folder, self._root)
        slices = tuple(
            (os.path.join(place, path).replace(os.sep, "/"), frame) for path, frame in series.slices
        )
        self._add(place + _series_part(View(series=number)), slices)
        with open_dicom(folder / series.slices[0][0], repr(alias)) as header:
            return self._parts(alias, view, len(slices), self._described(header))

    def _dicom(self, path: Path, alias: str, view: View) -> _ScanView:
        """A DICOM file, or the chosen frames of it."""
        from medr1.data.scans.dicom_picture import open_dicom

        with open_dicom(path, repr(alias)) as header:
            return self._parts(alias, view, header.frames, self._described(header))

    def _other(self, path: Path, file_name: str, view: View) -> _ScanView:
        """A volume, a slide or any other file."""
        from medr1.data.scans.nifti import is_nifti, open_volume
        from medr1.data.scans.slides import is_slide, open_slide, tissue_tiles

        label = repr(file_name)
        try:
            with open_image(path) as file:
                head = file.read(_HEAD) or b""
        except ItemError:
            return _ScanView((f"{file_name}{view}",))
        if is_nifti(head, path.name):
            volume = open_volume(path, label)
            plane = view.plane or self._options.plane
            view = replace(view, plane=plane or volume.acquired_plane())
            return self._parts(file_name, view, volume.number(plane), {"plane": view.plane})
        magnification = self._options.magnification
        if is_slide(head, path.name) and magnification and not view.magnification:
            choice = parse_slices(self._options.slices or "1")
            tiles = tissue_tiles(open_slide(path, label), magnification, choice.number or 1)
            views = [replace(view, magnification=magnification, tile=tile) for tile in tiles]
            return _ScanView(tuple(f"{file_name}{one}" for one in views))
        return _ScanView((f"{file_name}{view}",))

    def _parts(
        self, name: str, view: View, total: int, metadata: Mapping[str, object]
    ) -> _ScanView:
        """The names of the chosen slices of a file or series that has so many."""
        view = replace(view, window=_window(view, name) or self._options.window)
        if view.slices or total == 1:
            number = len(view.slices)
            columns = view.columns or (montage_columns(number) if number > 1 else 0)
            return _ScanView((f"{name}{replace(view, columns=columns)}",), metadata)
        choice = parse_slices(self._options.slices or DEFAULT_SLICES)
        numbers = choice.of(total)
        if choice.grid:
            columns = min(choice.grid[1], len(numbers)) if len(numbers) > 1 else 0
            return _ScanView((f"{name}{replace(view, slices=numbers, columns=columns)}",), metadata)
        views = [replace(view, slices=(number,)) for number in numbers]
        return _ScanView(tuple(f"{name}{one}" for one in views), metadata)


def _has_dicom_name(name: str) -> bool:
    """Whether a file that cannot be looked into has a name as DICOM files have."""
    return _DICOM_NAME.fullmatch(re.split(r"[/\\]", name)[-1]) is not None


def _looks_like_dicom(path: Path) -> bool:
    """Whether a file is DICOM, or may be a damaged one by its name."""
    from medr1.data.scans.dicom_file import is_dicom

    try:
        with open_image(path) as file:
            head = file.read(_HEAD) or b""
    except ItemError:
        return _has_dicom_name(path.name)
    if is_dicom(head) or _DICOM_ENDING.fullmatch(path.suffix):
        return True
    return _has_dicom_name(path.name) and not is_picture(head)
