"""Decoded pixels of any depth and mode to 8-bit RGB, and what was done to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from medr1.errors import ItemError

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339


def to_rgb(image: Image.Image, shown: str) -> tuple[Image.Image, list[str]]:
    """The loaded picture as RGB, and what was done that is not exact or alters its look."""
    deep, kind = _deep_values(image)
    if deep is not None:
        return _windowed(image, deep, kind, shown)
    if image.has_transparency_data:
        return _on_white(image)
    if image.mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        rgb = ImageCms.profileToProfile(
            image, lab, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
        assert rgb is not None
        return rgb, ["lab_to_rgb"]
    if image.mode in ("CMYK", "YCbCr", "HSV"):
        return image.convert("RGB"), [f"{image.mode.lower()}_to_rgb"]
    return image.convert("RGB"), []


def _on_white(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """Transparency laid on white; an alpha channel that hides everything is taken as unused."""
    if image.mode == "La":
        image = image.convert("LA")
    rgba = image.convert("RGBA")
    alpha = rgba.getchannel("A")
    low, high = alpha.getextrema()
    if low == 255:
        return rgba.convert("RGB"), []
    if high == 0:
        return rgba.convert("RGB"), ["empty_alpha_ignored"]
    white = Image.new("RGB", rgba.size, (255, 255, 255))
    white.paste(rgba, mask=alpha)
    return white, ["alpha_on_white"]


def _deep_values(image: Image.Image) -> tuple[NDArray[Any] | None, str]:
    """The pixels (H, W) where they are not 8-bit unsigned, and what they are; else (None, "")."""
    tags: Any = getattr(image, "tag_v2", {})
    unsigned = tags.get(_SAMPLE_FORMAT, (1,))[0] == 1
    if image.mode.startswith("I;16"):
        return np.asarray(image), "16-bit"
    if image.mode == "F":
        return np.asarray(image), "float"
    if image.mode == "I":
        values = np.asarray(image)
        return values.view(np.uint32) if unsigned else values, "integer"
    if image.mode == "L" and not unsigned:
        return np.asarray(image).view(np.int8), "8-bit signed"
    return None, ""


def _windowed(
    image: Image.Image, values: NDArray[Any], kind: str, shown: str
) -> tuple[Image.Image, list[str]]:
    """Grey levels of any kind to 8 bits: a line from the least to the greatest finite value."""
    notes = []
    finite = np.isfinite(values) if kind == "float" else None
    if finite is not None and not finite.any():
        raise ItemError(
            "image_unreadable", f"image {shown}: no pixel is a finite number; export it again."
        )
    low, high = _range(values, finite)
    if low == high:
        notes.append(f"constant {low:.9g} ({kind}) shown black")
    else:
        notes.append(f"windowed {low:.9g}..{high:.9g} ({kind})")
    if finite is not None and not finite.all():
        notes.append(f"nonfinite_pixels {int(finite.size - finite.sum())}")
    grey = np.zeros(values.shape, np.uint8)
    rows = max(1, (1 << 20) // values.shape[1])
    for top in range(0, len(values) if low < high else 0, rows):
        part = values[top : top + rows].astype(np.float64)
        share = np.nan_to_num((part - low) / (high - low), nan=0.0, posinf=1.0, neginf=0.0)
        grey[top : top + rows] = np.rint(share * 255)
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0 and low < high:
        grey = 255 - grey
        notes.append("white_is_zero_inverted")
    if isinstance(level := image.info.get("transparency"), int) and (values == level).any():
        grey[values == level] = 255
        notes.append("alpha_on_white")
    return Image.fromarray(grey).convert("RGB"), notes


def _range(values: NDArray[Any], finite: NDArray[np.bool_] | None) -> tuple[float, float]:
    """The least and the greatest of the finite values."""
    if finite is None:
        return float(values.min()), float(values.max())
    low = values.min(where=finite, initial=np.inf)
    high = values.max(where=finite, initial=-np.inf)
    return float(low), float(high)


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
