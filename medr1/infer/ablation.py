"""Taking the picture away: what a model still gets right then, it did not see.

none: the pictures as they are. blank: mid-grey of the same size. noise: random pixels of the same
size. shuffle: the picture of another question.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from medr1.data.perturbations import GREY
from medr1.data.readers import Questions

if TYPE_CHECKING:
    from PIL.Image import Image


def shuffle_images(questions: Questions, seed: int) -> Questions:
    """The same questions, each with the images of a random one, at times its own.

    An item that cannot be used keeps what it has.
    """
    samples = list(questions.samples)
    usable = [index for index in range(len(samples)) if index not in questions.failures]
    images = [samples[index].images for index in usable]
    random.Random(seed).shuffle(images)
    for index, other in zip(usable, images, strict=True):
        samples[index] = replace(samples[index], images=other)
    return replace(questions, samples=samples)


def ablate(image: Image, kind: str, seed: str) -> Image:
    """The picture that is shown in the place of `image` (RGB); `seed` decides the noise."""
    from PIL import Image as images

    if kind == "blank":
        return images.new("RGB", image.size, GREY)
    if kind == "noise":
        shape = (image.height, image.width, 3)
        pixels = np.random.default_rng(list(seed.encode("utf-8", "surrogatepass"))).integers(
            0, 256, shape, np.uint8
        )
        return images.fromarray(pixels)
    return image
