"""Any image-text-to-text model of transformers, through its own processor and `generate`."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from medr1.models.families.family import Family

if TYPE_CHECKING:
    from transformers import BatchFeature, PreTrainedConfig, ProcessorMixin


def _require_valid(config: PreTrainedConfig) -> None:
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError("models with an encoder and a decoder are not supported")


def _count_parameters(config: PreTrainedConfig) -> int:
    """The number of parameters of the model, which is built without memory for them."""
    import torch
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(
            deepcopy(config), attn_implementation="eager"
        )
    return sum(parameter.numel() for parameter in model.parameters())


def _trial_inputs(processor: ProcessorMixin) -> BatchFeature:
    from PIL import Image

    image = {"type": "image", "image": Image.new("RGB", (56, 56))}
    return prompt_inputs(processor, [image, {"type": "text", "text": "?"}])


def prompt_inputs(processor: ProcessorMixin, content: list[dict[str, object]]) -> BatchFeature:
    """The model's inputs for a prompt of one turn, made by the processor's own chat template.

    Args:
        processor: Of the checkpoint.
        content: The parts of the turn: {"type": "image", "image": ...}, {"type": "text", ...}.
    """
    messages: Any = [{"role": "user", "content": content}]
    inputs: Any = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    features: BatchFeature = inputs
    return features


GENERIC = Family(
    "generic",
    processors=(),
    has_own_passes=False,
    require_valid=_require_valid,
    count_parameters=_count_parameters,
    trial_inputs=_trial_inputs,
)
