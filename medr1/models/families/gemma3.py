"""Gemma 3 and MedGemma: layers with a sliding window, and image tokens that see each other.

In a layer with a sliding window, a token sees only the latest tokens before it. The tokens of one
image see each other in both directions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medr1.models.families.batched import BatchedFamily, Prompts

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Gemma3Family(BatchedFamily):
    """The model derives its attention masks from token types: 1 for a part of an image."""

    name = "Gemma 3"
    processors = ("Gemma3Processor",)

    def prompt_arguments(self, model: PreTrainedModel, prompts: Prompts) -> dict[str, object]:
        """The embeddings with the images' features, and the token types.

        Args:
            model: As in `BatchedFamily`.
            prompts: As in `BatchedFamily`.
        """
        arguments = super().prompt_arguments(model, prompts)
        return {**arguments, "token_type_ids": self.is_image(model, prompts).long()}
