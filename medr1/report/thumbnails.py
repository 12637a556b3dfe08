"""Small pictures for the gallery, drawn anew from the pixels: nothing else of a file goes along."""

from __future__ import annotations

import base64
import io
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medr1.data.burned_in import noted, warning
from medr1.data.roots import ImageRoot, folder_to_name, resolve_image
from medr1.errors import ItemError
from medr1.report.sanitize import line

if TYPE_CHECKING:
    from PIL import Image

    from medr1.records import Sample

SIDE = 160
"""Pixels of the longer side."""
MAX_IMAGES = 4
"""Of one item; the page says how many more it has."""
MAX_TOTAL_BYTES = 6 * 1024**2

NOT_FOUND = "image not found"
OUTSIDE = "image outside the image folder"
_WORDS = {
    "image_missing": NOT_FOUND,
    "image_remote": "image not on this machine",
    "image_outside_root": OUTSIDE,
}


def thumbnail_key(item: Mapping[str, Any], name: str) -> str:
    """What `make_thumbnails` calls the picture: two files may have one image name, or one id."""
    return f"{item.get('results')}\n{name}"


def make_thumbnails(
    items: Iterable[Mapping[str, Any]],
    image_root: Path | Mapping[str, Path],
    *,
    max_total_bytes: int = MAX_TOTAL_BYTES,
) -> dict[str, bytes | str]:
    """A JPEG for each image of the items, or in words why there is none.

    `image_root` is one folder, or one for each results file by the items' `results`. Only what lies
    below it is shown, whoever wrote the results.
    """
    found: dict[str, bytes | str] = {}
    total, items = 0, list(items)
    for item in items:
        root = _root_of(item, image_root)
        for name in list(item.get("images") or ())[:MAX_IMAGES]:
            key = thumbnail_key(item, name)
            if key in found:
                continue
            if total >= max_total_bytes:
                found[key] = "left out: the page would be too large"
                continue
            image = _loaded(name, root)
            found[key] = made = image if isinstance(image, str) else _jpeg(image)
            total += len(made) if isinstance(made, bytes) else 0
    outside = [key.partition("\n")[2] for key, made in found.items() if made == OUTSIDE]
    for key, made in found.items():
        if made == OUTSIDE:
            found[key] = _outside_words(key.partition("\n")[2], outside)
    return found


def burned_in(
    items: Iterable[Mapping[str, Any]],
    image_root: Path | Mapping[str, Path],
    thumbnails: Mapping[str, bytes | str],
) -> str | None:
    """A warning where text may stand in the pictures that are shown; None where nothing says so."""
    reasons = []
    for item in items:
        names = list(item.get("images") or ())[:MAX_IMAGES]
        shown = [n for n in names if isinstance(thumbnails.get(thumbnail_key(item, n)), bytes)]
        if shown:
            headers = (_header_says(name, _root_of(item, image_root)) for name in shown)
            reasons.append(item.get("burned_in") or next(filter(None, headers), None))
    return warning(reasons, "questions shown with their pictures")


def _header_says(name: str, root: Path) -> str | None:
    """What the header of a picture says of text in it."""
    from medr1.data.images import text_notes

    try:
        return noted(text_notes(resolve_image(name, ImageRoot(root, closed=True))))
    except ItemError:
        return None


def _root_of(item: Mapping[str, Any], image_root: Path | Mapping[str, Path]) -> Path:
    if isinstance(image_root, Path):
        return image_root
    return image_root.get(str(item.get("results")), Path())


def _outside_words(name: str, outside: Sequence[str]) -> str:
    """Which --image-root shows an image outside the folder; `outside` are all that lie there."""
    if not os.path.isabs(name):
        return OUTSIDE
    folder = line(folder_to_name(name, [one for one in outside if os.path.isabs(one)]), 300)
    return f"{OUTSIDE}: --image-root {shlex.quote(folder)} shows it"


def data_uri(jpeg: bytes) -> str:
    """The picture as the source of an image in a page."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"


def _loaded(name: str, root: Path, side: int = SIDE) -> Image.Image | str:
    """The image, for pictures of so many pixels (0: of any); in words why there is none."""
    from medr1.data.images import load_image

    try:
        return load_image(resolve_image(name, ImageRoot(root, closed=True)), side=side).image
    except ItemError as error:
        return _WORDS.get(error.code, "image not readable")


def perturbed_thumbnails(
    samples: Iterable[Sample], root: Path, kinds: Iterable[str], *, seed: int = 0
) -> dict[tuple[str, int], bytes | str]:
    """(kind, severity) -> a JPEG of the first image that can be shown, at severity 1, 3 and 5.

    As it is: ("none", 0), in words where no image can be shown because all lie outside the folder.
    Kinds that do nothing to a picture are left out.
    """
    from medr1.data.perturbations import PERTURBATIONS, perturb

    names = dict.fromkeys(name for sample in samples for name in sample.images)
    image, outside = None, []
    for name in names:
        image = _loaded(name, root, side=0)
        if not isinstance(image, str):
            break
        outside += [name] if image == OUTSIDE else []
    if image is None or isinstance(image, str):
        return {("none", 0): _outside_words(outside[0], outside)} if outside else {}
    made: dict[tuple[str, int], bytes | str] = {("none", 0): _jpeg(image.copy())}
    for kind in kinds:
        if kind in PERTURBATIONS:
            for severity in {1, 3, 5}.intersection(PERTURBATIONS[kind].severities):
                made[kind, severity] = _jpeg(perturb(image, kind, severity, seed))
    return made


def _jpeg(image: Image.Image) -> bytes:
    image.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80, optimize=True)
    return out.getvalue()
