"""What every method trains on: the samples as plain text, and their images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medr1.data.images import load_image
from medr1.data.readers import Questions
from medr1.data.roots import ImageRoot, resolve_image
from medr1.models import LoadedModel, control_tokens
from medr1.prompts import as_plain_text
from medr1.records import Sample
from medr1.train.lengths import set_pixel_limits
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


def open_images(samples: Sequence[Sample], image_root: ImageRoot) -> dict[str, Image]:
    """The images of the samples by name, each decoded once."""
    names = dict.fromkeys(name for sample in samples for name in sample.images)
    return {name: load_image(resolve_image(name, image_root)).image for name in names}
