"""Families that medr1 asks in batches: prompts run once, with keys and values that are kept.

    encode_images     the images of a prompt: pixels, and the text that stands for them
    image_features    the vision tower's output, computed once
    prompt_arguments  the model's arguments for a batch of prompts with these features
    attention         which tokens see each other where answer strings are packed behind a prompt

The defaults suit a model whose positions count the tokens, and whose image features take the places
of the image tokens among the embeddings.

Shapes: B rows, P prompt tokens (left padded), Q new tokens, K keys, W width of the language model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from medr1.models.families.family import Family

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from transformers import PreTrainedModel, ProcessorMixin


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """The images of one prompt, as the processor prepares them. Compared by identity."""

    texts: tuple[str, ...]
    """For each image the text that stands for it in the prompt: its image tokens, and for some
    families tokens around them."""
    inputs: Mapping[str, torch.Tensor]
    """The arguments of the model's `get_image_features`."""

    def with_dtype(self, dtype: torch.dtype) -> EncodedImages:
        """The same images with pixels in another dtype.

        Args:
            dtype: That of the model.
        """
        inputs = {
            name: value.to(dtype) if value.is_floating_point() else value
            for name, value in self.inputs.items()
        }
        return EncodedImages(self.texts, inputs)

    def on_device(self, device: torch.device) -> EncodedImages:
        """The same images on another device.

        Args:
            device: That of the model.
        """
        return EncodedImages(self.texts, {k: v.to(device) for k, v in self.inputs.items()})


@dataclass(frozen=True)
class ImageFeatures:
    """The vision tower's output for the images of one prompt."""

    tokens: torch.Tensor
    """One vector for each image token, (tokens, W)."""
    layers: tuple[torch.Tensor, ...] = ()
    """The same for several layers of the vision tower; only Qwen3-VL has these."""


@dataclass(frozen=True)
class Prompts:
    """A batch of B prompts; rows without images have an empty part of the images."""

    ids_BP: torch.Tensor
    """Token ids, left padded."""
    mask_BP: torch.Tensor
    """1 for a token, 0 for padding."""
    images: Sequence[EncodedImages]
    """The images of the rows that have some, in their order."""
    features: Sequence[ImageFeatures]
    """Their features, one for each of `images`."""

    def without_last(self) -> Prompts:
        """The same prompts without their last tokens, which are no image tokens."""
        return replace(self, ids_BP=self.ids_BP[:, :-1], mask_BP=self.mask_BP[:, :-1])


@dataclass(frozen=True)
class Positions:
    """The positions of the tokens of B prompts."""

    ids: torch.Tensor
    """The model's `position_ids`: (B, P), or (3, B, P) for time, height and width."""
    deltas_B1: torch.Tensor | None = None
    """The model's `rope_deltas`: a new token's position is the count of tokens before it plus this.
    None: 0 for all."""

    @property
    def last_B(self) -> torch.Tensor:
        """Position of the last prompt token, the same on each axis."""
        ids_NBP = self.ids if self.ids.ndim == 3 else self.ids[None]
        return ids_NBP[0, :, -1]

    def repeat(self, times: int) -> Positions:
        """Each row several times, next to each other.

        Args:
            times: How often.
        """
        deltas_B1 = self.deltas_B1
        if deltas_B1 is not None:
            deltas_B1 = deltas_B1.repeat_interleave(times, 0)
        return Positions(self.ids.repeat_interleave(times, -2), deltas_B1)


class BatchedFamily(Family):
    """A family whose prompts medr1 runs in batches, and whose answer strings it packs."""

    image_arguments: tuple[str, ...] = ("pixel_values",)
    """The arguments of the model's `get_image_features`, as the image processor names them."""

    def encode_images(
        self, processor: ProcessorMixin, rows: Sequence[Sequence[Image]]
    ) -> list[EncodedImages]:
        """Prepare the images of prompts for the vision tower.

        Args:
            processor: Of the checkpoint.
            rows: The images of each prompt, one at least.
        """
        return [self._encode(processor, images) for images in rows]

    def _encode(self, processor: Any, images: Sequence[Image]) -> EncodedImages:
        import torch

        settings = {**processor._merge_kwargs()["images_kwargs"], "return_tensors": "pt"}
        # one list of images for each prompt
        inputs, texts = processor._process_images([list(images)], **settings)
        tensors = {name: torch.as_tensor(inputs[name]) for name in self.image_arguments}
        return EncodedImages(tuple(texts), tensors)

    def image_features(
        self, model: PreTrainedModel, images: Sequence[EncodedImages]
    ) -> list[ImageFeatures]:
        """Run the vision tower on the images of prompts, one prompt after the other.

        Args:
            model: The model.
            images: The images of each prompt, with tensors on the model's device.
        """
        import torch

        features = []
        for prompt_images in images:
            # The attribute is a method; torch says that it may be a tensor, which is not called.
            output: Any = model.get_image_features(**prompt_images.inputs, return_dict=True)  # type: ignore[operator]
            pooled = output.pooler_output
            parts = [pooled] if isinstance(pooled, torch.Tensor) else list(pooled)
            tokens = torch.cat([part.reshape(-1, part.shape[-1]) for part in parts])
            features.append(ImageFeatures(tokens))
        return features

    def positions(self, model: PreTrainedModel, prompts: Prompts) -> Positions:
        """The positions of the tokens of prompts.

        Args:
            model: The model.
            prompts: The prompts.
        """
        return Positions((prompts.mask_BP.cumsum(-1) - 1).clamp(min=0))

    def position_ids(self, positions_BQ: torch.Tensor) -> torch.Tensor:
        """The model's `position_ids` for text behind a prompt, from the number of each token.

        Args:
            positions_BQ: Position of each token.
        """
        return positions_BQ

    def prompt_arguments(self, model: PreTrainedModel, prompts: Prompts) -> dict[str, object]:
        """The arguments of the inner model that carry the tokens and images of prompts.

        Args:
            model: The model.
            prompts: The prompts, as far as they are run.
        """
        import torch

        if not prompts.features:
            return {"input_ids": prompts.ids_BP}
        is_image_BP = self.is_image(model, prompts)
        # The id of an image token may lie outside of the embeddings.
        embeddings: Any = model.get_input_embeddings()
        text_BPW = embeddings(prompts.ids_BP.masked_fill(is_image_BP, 0))
        images = torch.cat([features.tokens for features in prompts.features]).to(text_BPW.dtype)
        return {"inputs_embeds": text_BPW.masked_scatter(is_image_BP[..., None], images)}

    def is_image(self, model: PreTrainedModel, prompts: Prompts) -> torch.Tensor:
        """Whether each token of prompts stands for a part of an image, (B, P).

        Args:
            model: The model.
            prompts: The prompts.
        """
        image_token = int(model.config.image_token_id)
        return (prompts.ids_BP == image_token) & (prompts.mask_BP == 1)

    def continue_from(self, model: PreTrainedModel, positions: Positions) -> None:
        """Prepare the model so that `generate` continues prompts which are in a cache.

        Args:
            model: The model.
            positions: Those of the prompts.
        """

    def attention(
        self,
        model: PreTrainedModel,
        visible_BQK: torch.Tensor,
        queries_BQ: torch.Tensor,
        keys_BK: torch.Tensor,
    ) -> torch.Tensor | dict[str, torch.Tensor]:
        """The model's `attention_mask` for text behind prompts: 0 to see, the lowest number not to.

        Args:
            model: The model.
            visible_BQK: Whether a query may see a key, in a layer with full attention.
            queries_BQ: Number of each query in its text.
            keys_BK: Number of each key in its text.

        Returns:
            (B, 1, Q, K); for a model that also has layers with a sliding window, one of that shape
            for each type of layer.
        """
        text = model.config.get_text_config()
        types = set(getattr(text, "layer_types", None) or ())
        if "sliding_attention" not in types:
            return additive_mask(visible_BQK, model.dtype)
        is_near_BQK = queries_BQ[:, :, None] - keys_BK[:, None, :] < text.sliding_window
        masks = {"full_attention": visible_BQK, "sliding_attention": visible_BQK & is_near_BQK}
        return {kind: additive_mask(masks[kind], model.dtype) for kind in sorted(types)}


def additive_mask(visible_BQK: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A mask that is added to attention scores, (B, 1, Q, K): 0 to see, the lowest number not to.

    Args:
        visible_BQK: Whether each query sees each key.
        dtype: The dtype of the scores.
    """
    import torch

    mask_BQK = torch.zeros(visible_BQK.shape, dtype=dtype, device=visible_BQK.device)
    return mask_BQK.masked_fill_(~visible_BQK, torch.finfo(dtype).min)[:, None]
