"""What medr1 has to know of a model family, with defaults for any image-text-to-text model.

`Family` is enough for a model that transformers has: it is asked one prompt at a time by
transformers' own `generate`, and trained by TRL. A family with passes of its own, which answer many
prompts at a time, is a `BatchedFamily` (batched.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from medr1.models.calls import token_ids

if TYPE_CHECKING:
    from transformers import BatchFeature, PreTrainedConfig, ProcessorMixin


class Family:
    """What differs between architectures; the methods here suit any image-text-to-text model."""

    name: str = "generic"
    processors: tuple[str, ...] = ()
    """Names of the processor classes; () for any that has a tokenizer and an image processor."""
    has_pixel_limits: bool = False
    """Whether the image processor resizes an image to a number of pixels between two limits, as
    Qwen's does: min_pixels and max_pixels."""
    shares_prompts: bool = False
    """Whether training can run the prompt of a group once (train/shared_prefix)."""

    def require_valid(self, config: PreTrainedConfig) -> None:
        """Raise ValueError for a resolved configuration that no model can have.

        Args:
            config: As transformers builds it from config.json.
        """
        if getattr(config, "is_encoder_decoder", False):
            raise ValueError("models with an encoder and a decoder are not supported")

    def count_parameters(self, config: PreTrainedConfig) -> int:
        """About how many parameters a model of this configuration has, within a few per cent.

        Args:
            config: As transformers builds it from config.json.
        """
        import torch
        from transformers import AutoModelForImageTextToText

        # on the meta device parameters have shapes, and no memory
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(
                deepcopy(config), attn_implementation="eager"
            )
        return sum(parameter.numel() for parameter in model.parameters())

    def trial_inputs(self, processor: ProcessorMixin) -> BatchFeature:
        """The model's inputs for a small image and a question mark.

        Args:
            processor: Of the checkpoint.
        """
        from PIL import Image

        image = {"type": "image", "image": Image.new("RGB", (56, 56))}
        content = [image, {"type": "text", "text": "?"}]
        return prompt_inputs(processor, [{"role": "user", "content": content}])

    def image_tokens(self, processor: ProcessorMixin, sizes: Sequence[tuple[int, int]]) -> int:
        """The number of tokens that the images of one prompt take.

        Tokens that the processor writes around an image are included. It encodes a prompt with
        blank images of these sizes.

        Args:
            processor: Of the checkpoint.
            sizes: Width and height of each image in pixels, before it is resized.
        """
        from PIL import Image

        if not sizes:
            return 0
        content: list[dict[str, object]] = [
            {"type": "image", "image": Image.new("RGB", size)} for size in sizes
        ]
        content.append({"type": "text", "text": "?"})
        messages: Any = [{"role": "user", "content": content}]
        text = str(
            processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        )
        # the text has one token for each image
        num_text = len(token_ids(processor, [text])[0]) - len(sizes)
        return len(prompt_inputs(processor, messages)["input_ids"][0]) - num_text


def prompt_inputs(processor: ProcessorMixin, messages: Sequence[Mapping[str, Any]]) -> BatchFeature:
    """The model's inputs for a prompt, made by the processor's own chat template.

    Args:
        processor: Of the checkpoint.
        messages: The turns, each with its role and its content, a list of parts:
            {"type": "image", "image": ...}, {"type": "text", ...}.
    """
    chat: Any = list(messages)
    inputs: Any = processor.apply_chat_template(
        chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    features: BatchFeature = inputs
    return features
