"""Small images for the pages, encoded anew from the pixels, without anything else of the file.

Headers and metadata, which may name a patient, are not copied. Text in the pixels is not removed:
`burned_in_warning` says if there may be any.
"""

from __future__ import annotations

import base64
import io
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medr1.data.burned_in import burned_in_reason, reason_in_notes, warning
from medr1.data.roots import ImageRoot, resolve_image, suggested_image_root
from medr1.documents.items import GalleryItem
from medr1.errors import ItemError
from medr1.report.pages.sanitize import one_line

if TYPE_CHECKING:
    from PIL import Image

    from medr1.records import Sample

SIDE = 160
"""The pixels of the longer side."""
SMALLER_SIDES = (128, 96, 80, 64)
"""The pixels of the longer side if so many larger images would be more than MAX_TOTAL_BYTES."""
NUM_MEASURED = 40
"""Number of images by which the size of all is estimated."""
MAX_IMAGES = 4
"""The most images of one item; the page says how many more it has."""
MAX_TOTAL_BYTES = 6 * 1024**2
"""From this many bytes of JPEGs on, a page gets no further images."""
LARGER_SIDE = 512
"""The pixels of the longer side of a larger copy, which an enlarged image shows."""
MAX_LARGER_BYTES = 9 * 1024**2
"""From this many bytes of larger copies on, no further ones are made."""

NOT_FOUND = "image not found"
OUTSIDE = "image outside the image folder"
_WORDS = {
    "image_missing": NOT_FOUND,
    "image_remote": "image not on this machine",
    "image_outside_root": OUTSIDE,
}
"""The code of an error in reading an image -> what the page shows instead of the image."""


def thumbnail_key(item: GalleryItem, name: str) -> str:
    """The key of an image in the result of `make_thumbnails`.

    It holds the results file too, since two files may use one image name for different images.

    Args:
        item: The item.
        name: The image's name in the item.
    """
    return f"{item.row.results}\n{name}"


def make_thumbnails(
    items: Iterable[GalleryItem],
    image_root: Path | Mapping[str, Path],
    *,
    max_total_bytes: int = MAX_TOTAL_BYTES,
) -> dict[str, bytes | str]:
    """By `thumbnail_key`, a JPEG for each image of the items, or in words why there is none.

    Args:
        items: The items of a gallery.
        image_root: The folder of the images, or one folder for each results file, by the items'
            results file. Images outside it are never shown, since somebody else wrote the results.
        max_total_bytes: The size from which on further images are left out.
    """
    places = {
        thumbnail_key(item, name): (name, _root_of(item, image_root))
        for item in items
        for name in item.prediction.sample.images[:MAX_IMAGES]
    }
    side = _fitting_side(list(places.values()), max_total_bytes)
    thumbnails: dict[str, bytes | str] = {}
    total = 0
    for key, (name, root) in places.items():
        if total >= max_total_bytes:
            thumbnails[key] = "left out: the page would be too large"
            continue
        image = _load(name, root)
        thumbnails[key] = thumbnail = image if isinstance(image, str) else _jpeg(image, side)
        total += len(thumbnail) if isinstance(thumbnail, bytes) else 0
    # the folder to suggest is that of all images outside, so they have to be known first
    outside = [key.partition("\n")[2] for key, value in thumbnails.items() if value == OUTSIDE]
    for key, value in thumbnails.items():
        if value == OUTSIDE:
            thumbnails[key] = _outside_words(key.partition("\n")[2], outside)
    return thumbnails


def larger_copies(
    items: Iterable[GalleryItem],
    image_root: Path | Mapping[str, Path],
    thumbnails: Mapping[str, bytes | str],
    *,
    max_total_bytes: int = MAX_LARGER_BYTES,
) -> dict[str, bytes | None]:
    """By `thumbnail_key`, a JPEG of LARGER_SIDE for each image that is larger than its thumbnail.

    The images of wrong items come first. The value is None if there are too many bytes already.

    Args:
        items: The items of a gallery.
        image_root: As in `make_thumbnails`.
        thumbnails: The result of `make_thumbnails`.
        max_total_bytes: The size from which on no further copies are made.
    """
    wrong_first = sorted(items, key=lambda item: item.row.kind == "right")
    copies: dict[str, bytes | None] = {}
    total = 0
    for item in wrong_first:
        for name in item.prediction.sample.images[:MAX_IMAGES]:
            key, root = thumbnail_key(item, name), _root_of(item, image_root)
            thumbnail = thumbnails.get(key)
            if key in copies or not isinstance(thumbnail, bytes) or not _is_reduced(thumbnail):
                continue
            if _original_side(name, root) <= max(_size(thumbnail)):
                continue
            image = _load(name, root, LARGER_SIDE) if total < max_total_bytes else ""
            copy = None if isinstance(image, str) else _jpeg(image, LARGER_SIDE)
            copies[key] = copy
            total += len(copy or b"")
    return copies


def _size(jpeg: bytes) -> tuple[int, int]:
    """Width and height of a JPEG in pixels."""
    from PIL import Image

    with Image.open(io.BytesIO(jpeg)) as image:
        return image.size


def _is_reduced(thumbnail: bytes) -> bool:
    """Whether a thumbnail has the size of one that was scaled down."""
    return max(_size(thumbnail)) in (SIDE, *SMALLER_SIDES)


def _original_side(name: str, root: Path) -> int:
    """The pixels of the longer side of an image file; 0 if it cannot be read."""
    from medr1.data.images import image_size

    try:
        return max(image_size(resolve_image(name, ImageRoot(root, closed=True))))
    except ItemError:
        return 0


def _fitting_side(places: Sequence[tuple[str, Path]], max_total_bytes: int) -> int:
    """The pixels of the longer side with which all images have at most so many bytes.

    `places` are the images' names and folders. A few of them are measured.
    """
    step = max(1, len(places) // NUM_MEASURED)
    if step == 1:
        return SIDE
    images = [_load(name, root) for name, root in places[::step]]
    loaded = [image for image in images if not isinstance(image, str)]
    for side in (SIDE, *SMALLER_SIDES):
        sizes = [len(_jpeg(image.copy(), side)) for image in loaded]
        if sum(sizes) / max(1, len(images)) * len(places) <= max_total_bytes:
            return side
    return SMALLER_SIDES[-1]


def burned_in_warning(
    items: Iterable[GalleryItem],
    image_root: Path | Mapping[str, Path],
    thumbnails: Mapping[str, bytes | str],
) -> str | None:
    """A warning that there may be text, such as a name, in the images of a page.

    Args:
        items: The items of the gallery.
        image_root: As in `make_thumbnails`.
        thumbnails: The result of `make_thumbnails`.

    Returns:
        The warning; None if neither the items nor the images' headers say so.
    """
    reasons = []
    for item in items:
        visible_names = [
            name
            for name in item.prediction.sample.images[:MAX_IMAGES]
            if isinstance(thumbnails.get(thumbnail_key(item, name)), bytes)
        ]
        if visible_names:
            notes = (_header_note(name, _root_of(item, image_root)) for name in visible_names)
            reasons.append(item.burned_in or next(filter(None, notes), None))
    return warning(reasons, "questions shown with their images")


def _header_note(name: str, root: Path) -> str | None:
    """What an image file's header says about text in the pixels; None if it says nothing."""
    from medr1.data.images import text_notes

    try:
        return reason_in_notes(text_notes(resolve_image(name, ImageRoot(root, closed=True))))
    except ItemError:
        return None


def _root_of(item: GalleryItem, image_root: Path | Mapping[str, Path]) -> Path:
    if isinstance(image_root, Path):
        return image_root
    return image_root.get(item.row.results or "", Path())


def _outside_words(name: str, outside: Sequence[str]) -> str:
    """What is shown instead of an image outside the folder: which --image-root would show it.

    `outside` are the names of all such images, whose common folder is suggested.
    """
    if not os.path.isabs(name):
        return OUTSIDE
    absolute = [path for path in outside if os.path.isabs(path)]
    folder = one_line(suggested_image_root(name, absolute), 300)
    return f"{OUTSIDE}: --image-root {shlex.quote(folder)} shows it"


def data_uri(jpeg: bytes) -> str:
    """A JPEG as the `src` of an image in HTML."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"


def _load(name: str, root: Path, side: int = SIDE) -> Image.Image | str:
    """The image, or in words why there is none.

    `side` are the pixels of the longer side that will be needed: a large JPEG may then be decoded
    smaller, but at least twice as large. 0 decodes any image in full.
    """
    from medr1.data.images import load_image

    try:
        return load_image(resolve_image(name, ImageRoot(root, closed=True)), side=side).image
    except ItemError as error:
        return _WORDS.get(error.code, "image not readable")


def sample_thumbnails(
    samples: Iterable[Sample], root: Path
) -> tuple[dict[str, list[bytes | str]], str | None]:
    """A JPEG of each image of some items, and a warning if there may be text in the images.

    Args:
        samples: The items, of which each has at most MAX_IMAGES images shown.
        root: The folder of the images. Images outside it are never shown.

    Returns:
        (item's id -> for each image a JPEG, or in words why there is none; the warning or None).
    """
    samples = list(samples)
    outside = [name for sample in samples for name in sample.images if os.path.isabs(name)]
    thumbnails: dict[str, list[bytes | str]] = {}
    reasons = []
    for sample in samples:
        parts: list[bytes | str] = []
        for name in sample.images[:MAX_IMAGES]:
            image = _load(name, root)
            if isinstance(image, str):
                parts.append(_outside_words(name, outside) if image == OUTSIDE else image)
            else:
                parts.append(_jpeg(image))
        thumbnails[sample.id] = parts
        if any(isinstance(part, bytes) for part in parts):
            notes = (_header_note(name, root) for name in sample.images[:MAX_IMAGES])
            reasons.append(burned_in_reason(sample) or next(filter(None, notes), None))
    return thumbnails, warning(reasons, "questions shown with their images")


def perturbed_thumbnails(
    samples: Iterable[Sample], root: Path, kinds: Iterable[str], *, seed: int = 0
) -> dict[tuple[str, int], bytes | str]:
    """One image as JPEGs: in its original form and under each perturbation at severity 1, 3 and 5.

    Args:
        samples: Items; the first of their images that can be read is used.
        root: The folder of the images. Images outside it are never shown.
        kinds: Names of perturbations. Those of questions, which leave images alone, are ignored.
        seed: The seed of random perturbations.

    Returns:
        (perturbation, severity) -> JPEG, the original as ("none", 0). If all images lie outside the
        folder, the original is a sentence that says so; if none can be read, the result is empty.
    """
    from medr1.data.perturbations import PERTURBATIONS, perturb

    names = dict.fromkeys(name for sample in samples for name in sample.images)
    image, outside = None, []
    for name in names:
        image = _load(name, root, side=0)
        if not isinstance(image, str):
            break
        outside += [name] if image == OUTSIDE else []
    if image is None or isinstance(image, str):
        return {("none", 0): _outside_words(outside[0], outside)} if outside else {}
    thumbnails: dict[tuple[str, int], bytes | str] = {("none", 0): _jpeg(image.copy())}
    for kind in kinds:
        if kind in PERTURBATIONS:
            for severity in {1, 3, 5}.intersection(PERTURBATIONS[kind].severities):
                thumbnails[kind, severity] = _jpeg(perturb(image, kind, severity, seed))
    return thumbnails


def _jpeg(image: Image.Image, side: int = SIDE) -> bytes:
    """The image as a JPEG of at most `side` pixels a side; it is scaled down in place."""
    # load_image has removed the metadata (`info`) of the original file, so none is saved here
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    quality = 80 if side >= SIDE else 65
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()
