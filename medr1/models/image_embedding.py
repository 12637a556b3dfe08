"""The embedding of an image: the mean of what a checkpoint's vision tower gives for its tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medr1.errors import InputError
from medr1.models.families.batched import BatchedFamily
from medr1.models.loading import LoadedModel, batched_family

if TYPE_CHECKING:
    from PIL.Image import Image


def embed_images(loaded: LoadedModel, images: Iterable[Image]) -> NDArray[np.float64]:
    """The embeddings of images, one after the other.

    Args:
        loaded: A model of a family that medr1 asks in batches.
        images: RGB images.

    Returns:
        (images, width of the language model).

    Raises:
        InputError: The vision tower of the model cannot be run alone.
    """
    import torch

    if not isinstance(loaded.family, BatchedFamily):
        raise InputError(
            f"the vision tower of {loaded.path} cannot be run alone: medr1 asks models of the type "
            f"{loaded.model.config.model_type} one prompt at a time. Choose a Qwen-VL, for example."
        )
    family, rows = batched_family(loaded), []
    for image in images:
        (encoded,) = family.encode_images(loaded.processor, [[image]])
        with torch.inference_mode():
            (features,) = family.image_features(
                loaded.model, [encoded.with_dtype(loaded.dtype).on_device(loaded.device)]
            )
        rows.append(features.tokens.double().mean(0).cpu().numpy())
    return np.stack(rows) if rows else np.zeros((0, 0))
