"""Perturb images by a known amount: blur, noise, exposure, compression, geometry, occlusion.

`PERTURBATIONS` has every kind with its amount at each severity, and the source of these numbers.
Each is a pure function of the image, the kind, the severity and a seed. The size and mode of an
image stay the same, so that a model divides it into the same patches.

Most numbers are those of ImageNet-C, which are for images of 224 pixels: Hendrycks and Dietterich
(2019), "Benchmarking neural network robustness to common corruptions and perturbations". That
severities have to suit medical images is from Di Salvo et al. (2024), MedMNIST-C. The numbers with
the source "medr1" were chosen here.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from medr1.data.images import decode_image

SEVERITIES = (1, 2, 3, 4, 5)
"""From the weakest to the strongest."""
IMAGENET_C = "Hendrycks & Dietterich 2019 (ImageNet-C)"
OURS = "medr1"
GREY = (128, 128, 128)
"""Mid-grey in RGB."""

_SIDE = 224
"""The shorter side, in pixels, for which lengths are stated; they grow with the image."""

Pixels = NDArray[np.float32]
"""(height, width, 3), values in [0, 1]."""


@dataclass(frozen=True)
class Perturbation:
    """A kind of perturbation, with its amount at each severity."""

    title: str
    """The name on pages, such as "Gaussian blur"."""
    parameter: str
    """The meaning of the amount, such as "quality"."""
    values: tuple[float, ...]
    """The amount at each severity; a single number if the kind has only one severity."""
    source: str
    """The source of the amounts."""
    apply: Callable[[Image.Image, float, np.random.Generator], Image.Image]

    @property
    def severities(self) -> tuple[int, ...]:
        """1 to 5, or only 1."""
        return SEVERITIES[: len(self.values)]


def perturb(image: Image.Image, kind: str, severity: int = 1, seed: int = 0) -> Image.Image:
    """Perturb an image.

    Random numbers depend on the seed, the kind and the image's pixels; for noise also on the
    severity. The direction of a rotation and the position of an occlusion are therefore the same
    at every severity.

    Args:
        image: The image, in RGB; it is not changed.
        kind: A key of `PERTURBATIONS`.
        severity: 1 to 5, or only 1 for some kinds (`Perturbation.severities`).
        seed: Seed of the random numbers.

    Returns:
        A new image of the same size and mode.

    Raises:
        ValueError: The kind does not have this severity.
        KeyError: There is no such kind.
    """
    perturbation = PERTURBATIONS[kind]
    if severity not in perturbation.severities:
        raise ValueError(f"{kind} has the severities {perturbation.severities}, not {severity}")
    seed_severity = severity if kind in _RANDOM_BY_SEVERITY else 0
    digest = hashlib.sha256(
        f"{seed} {kind} {seed_severity} {image.size} ".encode() + image.tobytes()
    )
    rng = np.random.default_rng(int.from_bytes(digest.digest(), "big"))
    return perturbation.apply(image, perturbation.values[severity - 1], rng)


# --- noise ------------------------------------------------------------------------------------


def _noisy(image: Image.Image, noise: Callable[[Pixels], NDArray[np.floating]]) -> Image.Image:
    """Add noise to values in [0, 1]; the three channels of a grey image get the same noise.

    ImageNet-C has different noise in each channel; a scanner with one channel does not.
    """
    pixels = _pixels(image)
    if _is_grey(image):
        return _image(np.repeat(noise(pixels[..., :1]), 3, axis=-1))
    return _image(noise(pixels))


def _is_grey(image: Image.Image) -> bool:
    red, green, blue = image.split()
    return not any(ImageChops.difference(red, other).getbbox() for other in (green, blue))


def _gaussian_noise(image: Image.Image, value: float, rng: np.random.Generator) -> Image.Image:
    return _noisy(image, lambda x: x + value * rng.standard_normal(x.shape, np.float32))


def _speckle_noise(image: Image.Image, value: float, rng: np.random.Generator) -> Image.Image:
    return _noisy(image, lambda x: x * (1 + value * rng.standard_normal(x.shape, np.float32)))


def _shot_noise(image: Image.Image, value: float, rng: np.random.Generator) -> Image.Image:
    return _noisy(image, lambda x: rng.poisson(x * value) / value)


# --- sharpness and compression ----------------------------------------------------------------


def _gaussian_blur(image: Image.Image, value: float, rng: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(value * min(image.size) / _SIDE))


def _downscale(image: Image.Image, value: float, rng: np.random.Generator) -> Image.Image:
    small = tuple(max(1, int(side * value)) for side in image.size)
    box = Image.Resampling.BOX
    return image.resize(small, box).resize(image.size, box)  # type: ignore[arg-type]


def _jpeg(image: Image.Image, value: float, rng: np.random.Generator) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(value))
    return decode_image(file.getvalue(), "compressed").image


# --- exposure ---------------------------------------------------------------------------------


def _contrast(image: Image.Image, value: float, rng: np.random.Generator) -> Image.Image:
    pixels = _pixels(image)
    means = pixels.mean(axis=(0, 1), keepdims=True)
    return _image((pixels - means) * value + means)


def _brightness(image: Image.Image, value: float, rng: np.random.Generator) -> Image.Image:
    """Add to the V of HSV; hue and saturation stay the same, and black becomes grey."""
    pixels = _pixels(image)
    largest = pixels.max(axis=-1, keepdims=True)
    new_largest = np.minimum(largest + np.float32(value), 1)
    share = np.divide(pixels, largest, where=largest > 0, out=np.ones_like(pixels))
    return _image(share * new_largest)


def _gamma(image: Image.Image, value: float, rng: np.random.Generator) -> Image.Image:
    return _image(_pixels(image) ** np.float32(value))


# --- geometry and occlusion -------------------------------------------------------------------


def _rotation(image: Image.Image, value: float, rng: np.random.Generator) -> Image.Image:
    """Rotate to a random side; empty corners get the median colour of the image's edge."""
    degrees = value if rng.random() < 0.5 else -value
    return image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=_edge_colour(image))


def _edge_colour(image: Image.Image) -> tuple[int, ...]:
    pixels = np.asarray(image)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return tuple(int(channel) for channel in np.median(edge, axis=0))


def _crop(image: Image.Image, value: float, rng: np.random.Generator) -> Image.Image:
    margins = [side * (1 - value) / 2 for side in image.size]
    box = (*margins, *(side - margin for side, margin in zip(image.size, margins, strict=True)))
    return image.resize(image.size, Image.Resampling.BICUBIC, box=box)  # type: ignore[arg-type]


def _occlusion(image: Image.Image, value: float, rng: np.random.Generator) -> Image.Image:
    """Cover a rectangle of the image's shape with grey; it includes that of the lower severity."""
    sides = [max(1, round(side * value**0.5)) for side in image.size]
    lengths = zip(rng.random(2), image.size, sides, strict=True)
    corner = [int(share * (length - side)) for share, length, side in lengths]
    covered = image.copy()
    covered.paste(GREY, (*corner, corner[0] + sides[0], corner[1] + sides[1]))
    return covered


def _flip_horizontal(image: Image.Image, value: float, rng: np.random.Generator) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def _flip_vertical(image: Image.Image, value: float, rng: np.random.Generator) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)


def _blank(image: Image.Image, value: float, rng: np.random.Generator) -> Image.Image:
    """A mid-grey image of the same size."""
    return Image.new("RGB", image.size, GREY)


def _pixels(image: Image.Image) -> Pixels:
    """The values of an image in [0, 1]."""
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def _image(pixels: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8))


_RANDOM_BY_SEVERITY = ("gaussian_noise", "shot_noise", "speckle_noise")
"""Kinds with other random numbers at each severity."""

_BLUR = f"standard deviation in pixels, for a shorter side of {_SIDE}"
_NOISE = "standard deviation, of values in 0 to 1"
_SPECKLE = "standard deviation, as a share of the value"
_PHOTONS = "mean count of the brightest value"
_CONTRAST_SHARE = "share of the contrast that is left"
_BRIGHTNESS_OFFSET = "added to the V of HSV, in 0 to 1"
_PIXEL_SHARE = "share of each side's pixels that is left"
_SIDE_SHARE = "share of each side that is kept"
_AREA_SHARE = "share of the area that is covered"

PERTURBATIONS: dict[str, Perturbation] = {
    "gaussian_blur": Perturbation(
        "Gaussian blur", _BLUR, (1, 2, 3, 4, 6), IMAGENET_C, _gaussian_blur
    ),
    "gaussian_noise": Perturbation(
        "Gaussian noise", _NOISE, (0.08, 0.12, 0.18, 0.26, 0.38), IMAGENET_C, _gaussian_noise
    ),
    "shot_noise": Perturbation("Shot noise", _PHOTONS, (60, 25, 12, 5, 3), IMAGENET_C, _shot_noise),
    "speckle_noise": Perturbation(
        "Speckle noise", _SPECKLE, (0.15, 0.2, 0.35, 0.45, 0.6), IMAGENET_C, _speckle_noise
    ),
    "contrast": Perturbation(
        "Lower contrast", _CONTRAST_SHARE, (0.4, 0.3, 0.2, 0.1, 0.05), IMAGENET_C, _contrast
    ),
    "brightness": Perturbation(
        "Higher brightness", _BRIGHTNESS_OFFSET, (0.1, 0.2, 0.3, 0.4, 0.5), IMAGENET_C, _brightness
    ),
    "gamma_dark": Perturbation("Darker gamma", "exponent", (1.25, 1.5, 2, 2.5, 3), OURS, _gamma),
    "gamma_bright": Perturbation(
        "Brighter gamma", "exponent", (0.8, 0.67, 0.5, 0.4, 0.33), OURS, _gamma
    ),
    "jpeg": Perturbation("JPEG compression", "quality", (25, 18, 15, 10, 7), IMAGENET_C, _jpeg),
    "downscale": Perturbation(
        "Lower resolution", _PIXEL_SHARE, (0.6, 0.5, 0.4, 0.3, 0.25), IMAGENET_C, _downscale
    ),
    "rotation": Perturbation("Rotation", "degrees", (3, 6, 10, 15, 20), OURS, _rotation),
    "crop": Perturbation("Centre crop", _SIDE_SHARE, (0.9, 0.8, 0.7, 0.6, 0.5), OURS, _crop),
    "occlusion": Perturbation(
        "Occlusion", _AREA_SHARE, (0.05, 0.1, 0.2, 0.3, 0.4), OURS, _occlusion
    ),
    "flip_horizontal": Perturbation("Left-right flip", "none", (1,), OURS, _flip_horizontal),
    "flip_vertical": Perturbation("Upside-down flip", "none", (1,), OURS, _flip_vertical),
    "blank": Perturbation("Grey image", "none", (1,), OURS, _blank),
}
"""Name -> kind. `blank` removes the image altogether: what a model still answers right, it answers
without seeing the image."""
