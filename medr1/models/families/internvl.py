"""InternVL3 in transformers' own format (the checkpoints whose names end with -hf)."""

from __future__ import annotations

from medr1.models.families.batched import BatchedFamily


class InternVLFamily(BatchedFamily):
    """An image is cut into tiles, each with the same number of image tokens."""

    name = "InternVL"
    processors = ("InternVLProcessor",)
