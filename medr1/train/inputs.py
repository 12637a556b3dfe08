"""The inputs of all training methods: the samples as plain text, and their images."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medr1.data.images import load_image
from medr1.data.readers import Questions
from medr1.data.roots import ImageRoot, resolve_image
from medr1.models.families.family import Family
from medr1.models.loading import LoadedModel, control_tokens
from medr1.models.parts import freeze_vision
from medr1.prompts import as_plain_text
from medr1.records import Sample
from medr1.train.dry_run.prompt_lengths import (
    pixel_limits,
    require_no_pixel_limits,
    set_pixel_limits,
)
from medr1.train.settings import TrainingSettings

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers import ProcessorMixin


Row = dict[str, Any]
"""A row of a training set, by column, as TRL passes it on."""
Batch = dict[str, Any]
"""A batch of TRL: name -> tensor, list with an entry per row, or None."""


def prepare_samples(
    loaded: LoadedModel, questions: Questions, settings: TrainingSettings
) -> list[Sample]:
    """Prepare the samples, the processor and the model for training.

    Control tokens in the texts of items become plain text. The processor gets the limits of pixels,
    and the vision tower is frozen if the settings say so.

    Args:
        loaded: The model and its processor, which are changed.
        questions: The questions to train on.
        settings: The settings of the run.

    Returns:
        The samples to train on.

    Raises:
        InputError: An item has no ground truth or no usable image path, or the limits of pixels
            leave no image or cannot be set for this model.
    """
    tokens = control_tokens(loaded.processor)
    samples = [as_plain_text(sample, tokens) for sample in questions.require_complete()]
    if loaded.family.has_pixel_limits:
        set_pixel_limits(loaded.processor, settings.min_pixels, settings.max_pixels)
    else:
        require_no_pixel_limits(loaded, settings.min_pixels, settings.max_pixels)
    if settings.freeze_vision:
        freeze_vision(loaded.model)
    return samples


def max_tokens(loaded: LoadedModel) -> int:
    """The most tokens that the model accepts, prompt and completion together."""
    text = loaded.model.config.get_text_config()
    # a model whose configuration has no such number takes texts of any length
    return int(getattr(text, "max_position_embeddings", None) or sys.maxsize)


def open_images(
    samples: Sequence[Sample], image_root: ImageRoot, processor: ProcessorMixin, family: Family
) -> dict[str, Image]:
    """Open the images of samples. Each image is shrunk before the next is opened, to save memory.

    Args:
        samples: The samples. An image of several samples is opened once.
        image_root: Where relative image paths start.
        processor: The model's processor.
        family: The model's family.

    Returns:
        Name of the image, as in the samples -> the image.

    Raises:
        ItemError: An image cannot be read.
    """
    names = dict.fromkeys(name for sample in samples for name in sample.images)
    return {
        name: shrink(load_image(resolve_image(name, image_root)).image, processor, family)
        for name in names
    }


def shrink(image: Image, processor: ProcessorMixin, family: Family) -> Image:
    """The image as the processor shrinks it; the image itself if the processor does not shrink it.

    The processor returns exactly the same tensors for both. This holds only if it does not resize
    the smaller image again, which can happen if `min_pixels` is close to `max_pixels`; then the
    image itself is returned. An image of a family without limits of pixels is returned as it is.

    Args:
        image: An image in RGB.
        processor: The model's processor.
        family: The model's family.
    """
    from PIL import Image

    if not family.has_pixel_limits:
        return image
    if image.width * image.height <= pixel_limits(processor)[1]:
        return image
    image_processor = processor.image_processor
    features = image_processor([image], do_rescale=False, do_normalize=False, return_tensors="pt")
    _, rows, columns = features["image_grid_thw"][0].tolist()
    merge, side = image_processor.merge_size, image_processor.patch_size
    # Patches are in the order in which the vision tower merges them; each has several equal frames.
    patches = features["pixel_values"].reshape(
        rows // merge, columns // merge, merge, merge, 3, -1, side, side
    )
    pixels = patches[:, :, :, :, :, 0].permute(0, 2, 5, 1, 3, 6, 4)
    smaller = Image.fromarray(pixels.reshape(rows * side, columns * side, 3).byte().numpy())
    tokens = [family.image_tokens(processor, [size]) for size in (smaller.size, image.size)]
    return smaller if tokens[0] == tokens[1] else image
