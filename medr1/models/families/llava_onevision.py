"""LLaVA-OneVision, and models trained from it.

An image is cut into tiles if it is the only one of its prompt, and not cut if there are several. So
its features depend on the other images of the prompt.
"""

from __future__ import annotations

from medr1.models.families.batched import BatchedFamily


class LlavaOnevisionFamily(BatchedFamily):
    """The processor counts the images of each prompt (`batch_num_images`)."""

    name = "LLaVA-OneVision"
    processors = ("LlavaOnevisionProcessor",)
    image_arguments = ("pixel_values", "image_sizes", "batch_num_images")
