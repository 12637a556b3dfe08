"""Image ablation: replace the image of a question, to test whether the model uses it.

What a model still answers correctly then, it did not read from the image. Four kinds: none, the
images as they are; blank, grey (GREY) of the same size; noise, random pixels of the same size;
shuffle, the image of another question.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from medr1.data.perturbations import GREY, perturb
from medr1.data.readers import Questions

if TYPE_CHECKING:
    from PIL.Image import Image


def shuffle_images(questions: Questions, seed: int) -> Questions:
    """Give each question the images of a random question, which by chance may be its own.

    Args:
        questions: The questions of a file; items that cannot be used keep their images.
        seed: Seed of the shuffle.
    """
    samples = list(questions.samples)
    usable = [index for index in range(len(samples)) if index not in questions.failures]
    images = [samples[index].images for index in usable]
    random.Random(seed).shuffle(images)
    for index, new_images in zip(usable, images, strict=True):
        samples[index] = replace(samples[index], images=new_images)
    return replace(questions, samples=samples)


def ablate(image: Image, kind: str, seed: str) -> Image:
    """Make the image that is shown in place of `image`.

    Args:
        image: The RGB image.
        kind: blank or noise; any other kind returns the image itself, because shuffle exchanges
            the file names beforehand (`shuffle_images`).
        seed: A text that decides the noise, such as seed and file name.
    """
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


def shown_image(
    name: str, image: Image, perturbation: tuple[str, int] | None, ablation: str, seed: int
) -> Image:
    """Make the image that the model is shown in place of `image`.

    Args:
        name: Path of the image as in the file of questions.
        image: The RGB image.
        perturbation: (kind, severity) of its perturbation; None for none.
        ablation: As `kind` of `ablate`.
        seed: Seed of noise and of perturbations.
    """
    if perturbation is not None:
        image = perturb(image, *perturbation, seed)
    return ablate(image, ablation, f"{seed} {name}")


def change_notes(perturbation: tuple[str, int] | None, ablation: str) -> tuple[str, ...]:
    """What `shown_image` does to an image, in words; () for nothing.

    Args:
        perturbation: As in `shown_image`.
        ablation: As in `shown_image`.
    """
    notes = []
    if perturbation is not None:
        notes.append(f"perturbed: {perturbation[0]}, severity {perturbation[1]}")
    if ablation in ("blank", "noise"):
        notes.append(f"ablated: {ablation}")
    return tuple(notes)
