"""SmolVLM and Idefics 3, which have the same architecture."""

from __future__ import annotations

from medr1.models.families.batched import BatchedFamily


class SmolVLMFamily(BatchedFamily):
    """An image is cut into tiles; text between them says the row and column of each."""

    name = "SmolVLM"
    processors = ("SmolVLMProcessor", "Idefics3Processor")
    image_arguments = ("pixel_values", "pixel_attention_mask")
