"""Decoded pixels of any depth and mode to 8-bit RGB, and what was done to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from medr1.errors import ItemError

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339


def to_rgb(image: Image.Image, shown: str) -> tuple[Image.Image, list[str]]:
    """The loaded picture as RGB, and what was done that is not exact or alters its look.

    `image` is closed as soon as it is not needed: of two copies one is memory wasted.
    """
    kind = _deep_kind(image)
    if kind:
        return _windowed(image, kind, shown)
    if image.has_transparency_data:
        return _on_white(image)
    if image.mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        rgb = ImageCms.profileToProfile(
            image, lab, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
        assert rgb is not None
        return rgb, ["lab_to_rgb"]
    notes = [f"{image.mode.lower()}_to_rgb"] if image.mode in ("CMYK", "YCbCr", "HSV") else []
    return _converted(image, "RGB"), notes


def _converted(image: Image.Image, mode: str) -> Image.Image:
    """The picture in that mode, and the one before closed."""
    converted = image.convert(mode)
    image.close()
    return converted


def _on_white(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """Transparency laid on white; an alpha channel that hides everything is taken as unused."""
    if image.mode == "La":
        image = _converted(image, "LA")
    rgba = image if image.mode == "RGBA" else _converted(image, "RGBA")
    alpha = rgba.getchannel("A")
    low, high = alpha.getextrema()
    if low == 255:
        return _converted(rgba, "RGB"), []
    if high == 0:
        return _converted(rgba, "RGB"), ["empty_alpha_ignored"]
    white = Image.new("RGB", rgba.size, (255, 255, 255))
    white.paste(rgba, mask=alpha)
    rgba.close()
    return white, ["alpha_on_white"]


def _deep_kind(image: Image.Image) -> str:
    """What the pixels are where they are not 8-bit unsigned; else ""."""
    if image.mode.startswith("I;16"):
        return "16-bit"
    if image.mode in ("F", "I"):
        return "float" if image.mode == "F" else "integer"
    return "8-bit signed" if image.mode == "L" and not _unsigned(image) else ""


def _unsigned(image: Image.Image) -> bool:
    tags: Any = getattr(image, "tag_v2", {})
    return bool(tags.get(_SAMPLE_FORMAT, (1,))[0] == 1)


def _strips(image: Image.Image) -> Iterator[tuple[int, NDArray[Any]]]:
    """(first row, values (rows, W)) one after the other: few are in memory at a time."""
    width, height = image.size
    view = {"I": np.uint32 if _unsigned(image) else np.int32, "L": np.int8}.get(image.mode)
    rows = max(1, (1 << 20) // width)
    for top in range(0, height, rows):
        values = np.asarray(image.crop((0, top, width, min(top + rows, height))))
        yield top, values.view(view) if view else values


def _windowed(image: Image.Image, kind: str, shown: str) -> tuple[Image.Image, list[str]]:
    """Grey levels of any kind to 8 bits: a line from the least to the greatest finite value."""
    notes = []
    low, high, finite = _range(image)
    if not finite:
        raise ItemError(
            "image_unreadable", f"image {shown}: no pixel is a finite number; export it again."
        )
    if low == high:
        notes.append(f"constant {low:.9g} ({kind}) shown black")
    else:
        notes.append(f"windowed {low:.9g}..{high:.9g} ({kind})")
    if unusable := image.width * image.height - finite:
        notes.append(f"nonfinite_pixels {unusable}")
    inverted = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0 and low < high
    if inverted:
        notes.append("white_is_zero_inverted")
    level = image.info.get("transparency")
    grey, hidden = Image.new("L", image.size), False
    table = _levels(np.arange(low, high + 1), low, high) if kind == "16-bit" else None
    for top, values in _strips(image):
        if table is None:
            levels = _levels(values, low, high)
        else:
            levels = table[values - values.dtype.type(low)]
        if inverted:
            levels = 255 - levels
        if isinstance(level, int) and (see_through := values == level).any():
            levels[see_through] = 255
            hidden = True
        grey.paste(Image.fromarray(levels), (0, top))
    image.close()
    return _converted(grey, "RGB"), [*notes, "alpha_on_white"] if hidden else notes


def _levels(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """The values as 0 (`low`) to 255 (`high`); 0 where there is nothing between them, or NaN."""
    if low == high:
        return np.zeros(values.shape, np.uint8)
    share = values.astype(np.float64)
    share -= low
    share /= high - low
    if not np.isfinite(share.sum()):
        np.nan_to_num(share, copy=False, nan=0.0, posinf=1.0, neginf=0.0)
    share *= 255
    return np.rint(share, out=share).astype(np.uint8)


def _range(image: Image.Image) -> tuple[float, float, int]:
    """The least and the greatest of the finite values, and how many are finite."""
    low, high, count = np.inf, -np.inf, 0
    for _, values in _strips(image):
        least, most = values.min(), values.max()
        if not np.isfinite(least) or not np.isfinite(most):
            values = values[np.isfinite(values)]
            least, most = values.min(initial=np.inf), values.max(initial=-np.inf)
        count += values.size
        low, high = min(low, float(least)), max(high, float(most))
    return low, high, count


def is_deep_colour(image: Image.Image, head: bytes) -> bool:
    """Whether each channel has 16 bits, of which Pillow decodes the upper 8."""
    if image.format == "PNG":
        depth, kind = head[24:26]
        return depth == 16 and kind in (2, 4, 6)
    bits = getattr(image, "tag_v2", {}).get(_BITS, ())
    return len(bits) > 1 and max(bits) > 8


def check_deep_colour(rgb: Image.Image, shown: str) -> None:
    """12 bits stored in 16 would leave 16 levels, nearly black: better none than such a picture."""
    if all(high < 16 for _, high in rgb.getextrema()):  # type: ignore[misc]
        raise ItemError(
            "image_unreadable",
            f"image {shown}: 16-bit colour that uses the lowest levels only; "
            "scale it to 8 bits a channel first.",
        )
