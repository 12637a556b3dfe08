"""What every method trains on: the samples as plain text, and their images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medr1.data.images import load_image
from medr1.data.readers import Questions
from medr1.data.roots import ImageRoot, resolve_image
from medr1.models import LoadedModel, control_tokens
from medr1.prompts import as_plain_text
from medr1.records import Sample
from medr1.train.lengths import image_tokens, pixel_limits, set_pixel_limits
from medr1.train.settings import TrainingSettings

if TYPE_CHECKING:
    from PIL.Image import Image


def prepare(loaded: LoadedModel, questions: Questions, settings: TrainingSettings) -> list[Sample]:
    """The samples to train on; the model and its processor are made what the settings ask for.

    Control tokens in questions stay text. InputError where an item cannot be used.
    """
    tokens = control_tokens(loaded.processor)
    samples = [as_plain_text(sample, tokens) for sample in questions.require_complete()]
    set_pixel_limits(loaded.processor, settings.min_pixels, settings.max_pixels)
    if settings.freeze_vision:
        loaded.model.model.visual.requires_grad_(False)
    return samples


def most_tokens(loaded: LoadedModel) -> int:
    """How many tokens the model takes in all."""
    return int(loaded.model.config.get_text_config().max_position_embeddings)


def open_images(
    samples: Sequence[Sample], image_root: ImageRoot, processor: Any
) -> dict[str, Image]:
    """The images of the samples by name, each decoded once and made small before the next is."""
    names = dict.fromkeys(name for sample in samples for name in sample.images)
    return {
        name: shrunk(load_image(resolve_image(name, image_root)).image, processor) for name in names
    }


def shrunk(image: Image, processor: Any) -> Image:
    """The picture as the processor resizes it, where that takes pixels away; else as it is.

    What the processor makes of either is the same to the bit, so it is as it is also where the
    processor would resize the smaller one again: where the least pixels are about the most.
    """
    from PIL import Image

    if image.width * image.height <= pixel_limits(processor)[1]:
        return image
    images = processor.image_processor
    features = images([image], do_rescale=False, do_normalize=False, return_tensors="pt")
    _, rows, columns = features["image_grid_thw"][0].tolist()
    merge, side = images.merge_size, images.patch_size
    # patches in the order in which the vision tower merges them, each of several equal frames
    patches = features["pixel_values"].reshape(
        rows // merge, columns // merge, merge, merge, 3, -1, side, side
    )
    pixels = patches[:, :, :, :, :, 0].permute(0, 2, 5, 1, 3, 6, 4)
    small = Image.fromarray(pixels.reshape(rows * side, columns * side, 3).byte().numpy())
    is_final = image_tokens(processor, *small.size) == image_tokens(processor, *image.size)
    return small if is_final else image
