"""Whole-slide images: a thumbnail of the slide, tiles at a magnification, tiles with tissue.

OpenSlide reads them (the extra `slides`). Only slides in one file are read, which are all TIFFs:
.svs, .ndpi, .scn, .bif and pyramids. Of what a slide states, only its sizes, magnification and
micrometres per pixel are used. The pictures of its label and of the whole glass are never read,
because they often show a name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medr1.data.roots import open_image
from medr1.data.scans.location import unreadable
from medr1.data.scans.montage import MAX_ASPECT
from medr1.data.scans.view import View
from medr1.errors import ItemError
from medr1.installation import extra

if TYPE_CHECKING:
    from openslide import OpenSlide

THUMBNAIL_SIDE = 1024
"""Pixels on the longer side of a thumbnail, at most."""
TILE_SIDE = 512
"""Pixels on each side of a tile."""
MAX_REGION = 64_000_000
"""Most pixels of a level that are read for one image."""
MAX_STORED_TILE = 16_777_216
"""Most pixels of a tile as the file stores it: OpenSlide holds some of them in memory."""
MAX_PLACES = 1_000_000
"""Most places of a grid in which tissue is looked for."""
MIN_TISSUE = 0.05
"""Least share of a tile with tissue."""
MIN_SATURATION = 12
"""Least difference between the colours of a pixel, of 255, that is taken as stain."""

_STRIP = 4_000_000
"""Pixels that are decoded at once."""
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ENDINGS = (".svs", ".ndpi", ".scn", ".bif")
_SEVERAL_FILES = (".mrxs", ".vms", ".vmu")
"""Endings of slides with several files. Such a file names the others, which may be anywhere."""
_SAME = 1.01
"""Ratio of two scales up to which they are the same: the sides of a level are rounded."""
_OVER = 1.1
"""Ratio to the slide's magnification up to which a tile is shown at that: 40x may be 39.6x."""


@dataclass(frozen=True)
class Slide:
    """A slide whose header was read. The file is opened again for each image of it."""

    path: Path
    label: str
    """Its name in quotes, for errors."""
    levels: tuple[tuple[int, int], ...]
    """Width and height of each level in pixels, the largest first."""
    downsamples: tuple[float, ...]
    """Pixels of the largest level beside a pixel of each level."""
    magnification: float
    """Of the largest level; 0 if the file does not state it."""
    micrometres: float
    """Of a pixel of the largest level; 0 if the file does not state them."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the largest level in pixels."""
        return self.levels[0]

    def scale(self, downsample: float) -> str:
        """The scale of an image of the slide, as notes have it; empty if it is not known.

        Args:
            downsample: Pixels of the largest level beside a pixel of the image.
        """
        parts = []
        if self.magnification:
            parts.append(f"{self.magnification / downsample:.3g}x")
        if self.micrometres:
            distance = f"{self.micrometres * downsample:.3g} um per pixel"
            parts.append(f"({distance})" if parts else distance)
        return " ".join(parts)


def is_slide(head: bytes, name: str) -> bool:
    """Whether a file is a whole-slide image by its name. A pyramid named .tif may be one too.

    Args:
        head: Its first bytes, at least four if it has as many.
        name: Its name.
    """
    ending = Path(name.lower()).suffix
    return ending in _SEVERAL_FILES or (ending in _ENDINGS and head[:4] in _TIFF)


def open_slide(path: Path, label: str) -> Slide:
    """Read the header of a whole-slide image, or of another TIFF of tiles, and check it.

    Args:
        path: The file. Its name is in no error.
        label: The name of the image in quotes, for errors.

    Raises:
        ItemError: As `roots.open_image`; image_unreadable for a damaged file or one of another
            format; image_too_large for tiles that would take too much memory.
    """
    if path.suffix.lower() in _SEVERAL_FILES:
        raise unreadable(
            label,
            f"a slide of several files ({path.suffix.lower()}); export the region that is asked "
            "about as PNG, or the slide as a pyramid in one TIFF",
        )
    with open_image(path, label) as file:
        if file.read(4) not in _TIFF:
            raise unreadable(label, "the file is damaged, or is not a slide; export it again")
    with _opened(path, label) as slide:
        properties = slide.properties
        for number, (width, height) in enumerate(slide.level_dimensions):
            stored = [
                _number(properties.get(f"openslide.level[{number}].tile-{side}"), 1e18) or length
                for side, length in (("width", width), ("height", height))
            ]
            if math.prod(stored) > MAX_STORED_TILE:
                raise ItemError(
                    "image_too_large",
                    f"image {label}: it is stored in tiles of more than {MAX_STORED_TILE:,} "
                    "pixels; export it with smaller tiles.",
                )
        micrometres = _number(properties.get("openslide.mpp-x"), 1000)
        magnification = _number(properties.get("openslide.objective-power"), 1000)
        if not magnification and micrometres:
            magnification = 10 / micrometres
        return Slide(
            path,
            label,
            tuple(slide.level_dimensions),
            tuple(slide.level_downsamples),
            magnification,
            micrometres,
        )


@contextmanager
def _opened(path: Path, label: str) -> Iterator[OpenSlide]:
    """The slide as OpenSlide opens it; its errors, which may have texts of the file, are one."""
    try:
        import openslide
    except ModuleNotFoundError:
        install = f"pip install {extra('slides')}"
        raise unreadable(label, f"a slide needs OpenSlide, which is not here: {install}") from None

    try:
        with openslide.OpenSlide(path) as slide:
            yield slide
    except openslide.OpenSlideError:
        raise unreadable(
            label,
            "the file is damaged, or not a slide that OpenSlide reads; export it again, as a "
            "pyramid of tiles in one TIFF",
        ) from None


def _number(text: str | None, highest: float) -> float:
    """A property as a number above 0 and up to `highest`; else 0."""
    try:
        number = float(text or 0)
    except ValueError:
        return 0.0
    return number if 0 < number <= highest else 0.0


def slide_image(slide: Slide, view: View, side: int = 0) -> tuple[Image.Image, tuple[str, ...]]:
    """A thumbnail of a slide, or a tile of it, as RGB on white, and the note on its scale.

    Args:
        slide: The slide.
        view: The view; without a magnification it is the thumbnail.
        side: Pixels on the longer side of the thumbnail; 0 for THUMBNAIL_SIDE.

    Raises:
        ItemError: A view that the slide does not have, a region that is too large to read, or a
            damaged file.
    """
    if view.slices or view.plane or view.window:
        raise unreadable(
            slide.label, "a slide has no slices, planes or windows; name a magnification and tile"
        )
    if view.magnification:
        return _tile(slide, view.magnification, view.tile)
    width, height = slide.size
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ItemError(
            "image_bad_shape",
            f"image {slide.label}: {width} x {height} pixels, one side over {MAX_ASPECT} times "
            "the other; crop it.",
        )
    downsample = max(1.0, max(width, height) / (side or THUMBNAIL_SIDE))
    target = _thumbnail_size(slide, side)
    image = _region(slide, (0, 0), (width, height), downsample, target)
    scale = slide.scale(downsample)
    return image, (f"thumbnail of a slide{', ' if scale else ''}{scale}",)


def slide_size(slide: Slide, view: View) -> tuple[int, int]:
    """Width and height of the picture of `slide_image`.

    Args:
        slide: The slide.
        view: The view.
    """
    if view.magnification:
        return TILE_SIDE, TILE_SIDE
    return _thumbnail_size(slide, 0)


def _thumbnail_size(slide: Slide, side: int) -> tuple[int, int]:
    """Width and height of a thumbnail; `side` as in `slide_image`."""
    width, height = slide.size
    downsample = max(1.0, max(width, height) / (side or THUMBNAIL_SIDE))
    return max(1, round(width / downsample)), max(1, round(height / downsample))


def _tile(
    slide: Slide, magnification: float, place: tuple[int, int]
) -> tuple[Image.Image, tuple[str, ...]]:
    downsample = _downsample(slide, magnification)
    (left, top), (width, height) = place, slide.size
    if not (left < width and top < height):
        raise unreadable(
            slide.label,
            f"tile {left},{top} is outside the slide of {width} x {height} pixels; name its left "
            "and top edge",
        )
    side = round(TILE_SIDE * downsample)
    image = _region(slide, place, (side, side), downsample, (TILE_SIDE, TILE_SIDE))
    note = f"tile at {slide.scale(downsample)}, left {left}, top {top} of {width} x {height}"
    return image, (note,)


def _downsample(slide: Slide, magnification: float) -> float:
    """Pixels of the largest level beside a pixel at a magnification."""
    if not slide.magnification:
        raise unreadable(
            slide.label,
            "the slide states no magnification and no micrometres per pixel; show its thumbnail, "
            "or export the region that is asked about as PNG",
        )
    if magnification > _OVER * slide.magnification:
        raise unreadable(
            slide.label,
            f"{magnification:g}x is more than the {slide.magnification:.3g}x of the slide; ask "
            "for less",
        )
    return max(1.0, slide.magnification / magnification)


def _region(
    slide: Slide,
    place: tuple[int, int],
    size: tuple[int, int],
    downsample: float,
    target: tuple[int, int],
) -> Image.Image:
    """A part of a slide, reduced; what is outside the slide is white.

    `place` and `size` are in pixels of the largest level, and `target` is the size of the image.
    The smallest level that has all the pixels is read, in strips.
    """
    fitting = [n for n, ratio in enumerate(slide.downsamples) if ratio <= _SAME * downsample]
    level = max(fitting, key=lambda n: slide.downsamples[n])
    ratio = slide.downsamples[level]
    width, height = (max(1, round(length / ratio)) for length in size)
    if width * height > MAX_REGION:
        raise ItemError(
            "image_too_large",
            f"image {slide.label}: the slide has no level small enough for this: {width} x "
            f"{height} pixels would be read, more than {MAX_REGION:,}; show a tile at a higher "
            "magnification.",
        )
    factor = max(1, min(width // target[0], height // target[1]))
    rows = max(1, _STRIP // (width * factor)) * factor
    result = Image.new("RGB", (-(-width // factor), -(-height // factor)), "white")
    with _opened(slide.path, slide.label) as source:
        for top in range(0, height, rows):
            corner = place[0], place[1] + round(top * ratio)
            strip = source.read_region(corner, level, (width, min(rows, height - top)))
            opaque = Image.new("RGB", strip.size, "white")
            opaque.paste(strip, mask=strip.getchannel("A"))
            result.paste(opaque.reduce(factor), (0, top // factor))
    return result if result.size == target else result.resize(target, Image.Resampling.BILINEAR)


def tissue_tiles(slide: Slide, magnification: float, number: int) -> list[tuple[int, int]]:
    """Places of tiles with tissue, spread over the slide: left and top edges at the largest level.

    Tissue is what has colour on a thumbnail (Otsu's threshold of the saturation). The first tile
    is the one with the most tissue. Each further one is, of those with at least 0.7 times as
    much, the farthest from the others; after them come those with less, in order.

    Args:
        slide: The slide.
        magnification: Magnification of the tiles.
        number: Most tiles; there are fewer if less of the slide has tissue.

    Raises:
        ItemError: As `slide_image`, or if the slide has too many tiles.
    """
    downsample = _downsample(slide, magnification)
    edge = round(TILE_SIDE * downsample)
    columns, rows = (max(1, length // edge) for length in slide.size)
    if columns * rows > MAX_PLACES:
        raise ItemError(
            "image_too_large",
            f"image {slide.label}: {columns * rows:,} tiles, more than {MAX_PLACES:,}; choose a "
            "lower magnification.",
        )
    thumbnail, _ = slide_image(slide, View())
    shares = _tile_shares(tissue(np.asarray(thumbnail)), edge / slide.size[0], columns, rows)
    chosen = _spread(shares, number)
    return [(column * edge, row * edge) for row, column in chosen]


def tissue(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which pixels show stained tissue: by Otsu's threshold of their saturation.

    Args:
        pixels: Shape (rows, columns, 3).
    """
    saturation = pixels.max(axis=2) - pixels.min(axis=2)
    counts = np.bincount(saturation.ravel(), minlength=256).astype(np.float64)
    levels = np.arange(256)
    below, sums = np.cumsum(counts), np.cumsum(counts * levels)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = sums / below - (sums[-1] - sums) / above
        between = np.nan_to_num(below * above * difference**2, nan=0.0, posinf=0.0)
    return np.asarray(saturation > max(int(np.argmax(between)), MIN_SATURATION))


def _tile_shares(
    mask: NDArray[np.bool_], edge: float, columns: int, rows: int
) -> NDArray[np.float64]:
    """The share of tissue of each tile of a grid, shape (rows, columns).

    `edge` is the edge of a tile, as a share of the width of the mask.
    """
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1))
    sums[1:, 1:] = mask.cumsum(axis=0).cumsum(axis=1)
    length = edge * mask.shape[1]

    def edges(number: int, limit: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        first = np.minimum((np.arange(number) * length).astype(np.int64), limit - 1)
        last = np.rint((np.arange(number) + 1) * length).astype(np.int64)
        return first, np.clip(last, first + 1, limit)

    top, bottom = (part[:, None] for part in edges(rows, mask.shape[0]))
    left, right = (part[None, :] for part in edges(columns, mask.shape[1]))
    total = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return np.asarray(total / ((bottom - top) * (right - left)), np.float64)


def _spread(shares: NDArray[np.float64], number: int) -> list[tuple[int, int]]:
    """Rows and columns of tiles with much tissue that are far from each other."""
    order = np.argsort(-shares, axis=None, kind="stable")
    order = order[shares.ravel()[order] >= MIN_TISSUE]
    if not order.size:
        return []
    ranked = np.stack(np.unravel_index(order, shares.shape), axis=1)
    num_rich = int((shares.ravel()[order] >= 0.7 * shares.max()).sum())
    rich, chosen = ranked[:num_rich], [0]
    distances = ((rich - rich[0]) ** 2).sum(axis=1)
    while len(chosen) < min(number, num_rich):
        chosen.append(int(np.argmax(distances)))
        distances = np.minimum(distances, ((rich - rich[chosen[-1]]) ** 2).sum(axis=1))
    places = [*rich[chosen].tolist(), *ranked[num_rich:].tolist()][:number]
    return [(int(row), int(column)) for row, column in places]
