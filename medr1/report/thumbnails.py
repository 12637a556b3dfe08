"""Small pictures for the gallery, drawn anew from the pixels: nothing else of a file goes along."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medr1.errors import ItemError

if TYPE_CHECKING:
    from PIL import Image

SIDE = 160
"""Pixels of the longer side."""
MAX_IMAGES = 4
"""Of one item; the page says how many more it has."""
MAX_TOTAL_BYTES = 6 * 1024**2

_WORDS = {
    "image_missing": "image not found",
    "image_remote": "image not on this machine",
    "image_outside_root": "image outside the image folder",
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

    `image_root` is one folder, or one for each results file by the items' `results`.
    """
    found: dict[str, bytes | str] = {}
    total = 0
    for item in items:
        results = str(item.get("results"))
        root = image_root if isinstance(image_root, Path) else image_root.get(results, Path())
        for name in list(item.get("images") or ())[:MAX_IMAGES]:
            key = thumbnail_key(item, name)
            if key in found:
                continue
            if total >= max_total_bytes:
                found[key] = "left out: the page would be too large"
                continue
            found[key] = made = _thumbnail(name, root)
            total += len(made) if isinstance(made, bytes) else 0
    return found


def _thumbnail(name: str, root: Path) -> bytes | str:
    from medr1.data.images import load_image, resolve_image

    try:
        image = load_image(resolve_image(name, root)).image
    except ItemError as error:
        return _WORDS.get(error.code, "image not readable")
    return _jpeg(image)


def _jpeg(image: Image.Image) -> bytes:
    image.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80, optimize=True)
    return out.getvalue()
