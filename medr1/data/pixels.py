"""Convert decoded images of any bit depth and mode to 8-bit RGB, with notes on what was changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, TiffImagePlugin

from medr1.errors import ItemError

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
"""Tags of TIFF."""


def to_rgb(image: Image.Image, label: str) -> tuple[Image.Image, list[str]]:
    """Convert an image to 8-bit RGB.

    Args:
        image: The image, already decoded. It is closed as soon as it is not needed, to save memory.
        label: The file's name in quotes, for error messages (`roots.shorten`).

    Returns:
        (the RGB image, notes on each conversion that is not exact or that changes how it looks).

    Raises:
        ItemError: No pixel is a finite number (image_unreadable).
    """
    kind = _deep_kind(image)
    if kind:
        return _windowed(image, kind, label)
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
    """Convert an image to another mode, and close the original."""
    converted = image.convert(mode)
    image.close()
    return converted


def _on_white(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """Put a transparent image on white; an alpha channel that hides all pixels is ignored."""
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
    """The kind of the pixels, such as "16-bit"; "" if they are 8-bit and unsigned."""
    if image.mode.startswith("I;16"):
        return "16-bit"
    if image.mode in ("F", "I"):
        return "float" if image.mode == "F" else "integer"
    return "8-bit signed" if image.mode == "L" and not _unsigned(image) else ""


@dataclass(frozen=True)
class GreyValues:
    """The values of a grey picture with more than 8 bits."""

    values: NDArray[np.number]
    """(rows, columns)."""
    is_inverted: bool
    """Whether the lowest value is white."""


def deep_values(image: Image.Image) -> GreyValues | None:
    """The values that `to_rgb` maps to 8 bits; None for a picture that it does not map.

    Args:
        image: The image, already decoded.
    """
    if not is_deep_grey(image):
        return None
    values = np.concatenate([strip for _, strip in _strips(image)])
    return GreyValues(values, getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0)


def is_deep_grey(image: Image.Image) -> bool:
    """Whether a picture is grey, and has more than 8 bits or a sign.

    Args:
        image: The image, which need not be decoded yet.
    """
    return bool(_deep_kind(image))


def _unsigned(image: Image.Image) -> bool:
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    return bool(tags.get(_SAMPLE_FORMAT, (1,))[0] == 1)


def _strips(image: Image.Image) -> Iterator[tuple[int, NDArray[np.number]]]:
    """(first row, values (rows, width)) of each strip of rows; one strip is in memory at a time."""
    width, height = image.size
    view = {"I": np.uint32 if _unsigned(image) else np.int32, "L": np.int8}.get(image.mode)
    rows = max(1, (1 << 20) // width)
    for top in range(0, height, rows):
        values = np.asarray(image.crop((0, top, width, min(top + rows, height))))
        yield top, values.view(view) if view else values


def _windowed(image: Image.Image, kind: str, label: str) -> tuple[Image.Image, list[str]]:
    """Map grey levels to 8 bits, linearly from the smallest to the largest finite value."""
    notes = []
    low, high, finite = _range(image)
    if not finite:
        raise ItemError(
            "image_unreadable", f"image {label}: no pixel is a finite number; export it again."
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
    transparent_level = image.info.get("transparency")
    grey, has_transparent = Image.new("L", image.size), False
    # Many pixels share the few 16-bit values, so the result of each value is computed once.
    table = _levels(np.arange(low, high + 1), low, high) if kind == "16-bit" else None
    for top, values in _strips(image):
        if table is None:
            levels = _levels(values, low, high)
        else:
            levels = table[np.subtract(values, np.asarray(low).astype(values.dtype))]
        if inverted:
            levels = 255 - levels
        if isinstance(transparent_level, int) and (mask := values == transparent_level).any():
            levels[mask] = 255
            has_transparent = True
        grey.paste(Image.fromarray(levels), (0, top))
    image.close()
    return _converted(grey, "RGB"), [*notes, "alpha_on_white"] if has_transparent else notes


def _levels(values: NDArray[np.number], low: float, high: float) -> NDArray[np.uint8]:
    """The values as 0 (`low`) to 255 (`high`); 0 for NaN, and if `low` equals `high`."""
    if low == high:
        return np.zeros(values.shape, np.uint8)
    share = values.astype(np.float64)
    share -= low
    share /= high - low
    if not np.isfinite(share.sum()):  # as soon as one value is not finite
        np.nan_to_num(share, copy=False, nan=0.0, posinf=1.0, neginf=0.0)
    share *= 255
    return np.rint(share, out=share).astype(np.uint8)


def _range(image: Image.Image) -> tuple[float, float, int]:
    """The smallest and the largest finite value, and the number of finite values."""
    low, high, count = np.inf, -np.inf, 0
    for _, values in _strips(image):
        smallest, largest = values.min(), values.max()
        if not np.isfinite(smallest) or not np.isfinite(largest):
            values = values[np.isfinite(values)]
            smallest, largest = values.min(initial=np.inf), values.max(initial=-np.inf)
        count += values.size
        low, high = min(low, float(smallest)), max(high, float(largest))
    return low, high, count


def is_deep_colour(image: Image.Image, head: bytes) -> bool:
    """Whether a colour image has 16 bits per channel, of which Pillow decodes the upper 8.

    Args:
        image: The image, which need not be decoded yet.
        head: The first bytes of its file, at least 26.
    """
    if image.format == "PNG":
        depth, kind = head[24:26]
        return depth == 16 and kind in (2, 4, 6)
    bits = getattr(image, "tag_v2", {}).get(_BITS, ())
    return len(bits) > 1 and max(bits) > 8


def check_deep_colour(rgb: Image.Image, label: str) -> None:
    """Refuse a 16-bit colour image that uses only its lowest levels.

    12 bits that are stored in 16 would leave 16 levels in 8 bits, so the image would look black.

    Args:
        rgb: The image with the upper 8 bits of each channel.
        label: The file's name in quotes, for error messages.

    Raises:
        ItemError: No channel uses more than 16 levels (image_unreadable).
    """
    if all(high < 16 for _, high in rgb.getextrema()):  # type: ignore[misc]
        raise ItemError(
            "image_unreadable",
            f"image {label}: 16-bit colour that only uses the lowest levels; "
            "scale it to 8 bits per channel first.",
        )
