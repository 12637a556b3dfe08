"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL, also with experts, for which medr1 has its own passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medr1.models.calls import image_token
from medr1.models.families.family import Family

if TYPE_CHECKING:
    from transformers import BatchFeature, PreTrainedConfig, ProcessorMixin


def _require_valid(config: PreTrainedConfig) -> None:
    """ValueError where attention heads do not divide the width, or experts are too few."""
    text, vision = config.text_config, config.vision_config
    kv_heads = text.num_key_value_heads or text.num_attention_heads
    vision_width = getattr(vision, "embed_dim", None) or vision.hidden_size
    ratios = (
        (text.hidden_size, text.num_attention_heads),
        (text.num_attention_heads, kv_heads),
        (vision_width, vision.num_heads),
    )
    for whole, part in ratios:
        if whole % part:
            raise ValueError(f"{part} heads cannot share {whole}")
    if (num_experts := getattr(text, "num_experts", None)) is None:
        return
    if not 0 < text.num_experts_per_tok <= num_experts:
        raise ValueError(f"a token cannot have {text.num_experts_per_tok} of {num_experts} experts")
    for name in ("moe_intermediate_size", "decoder_sparse_step"):
        if getattr(text, name) < 1:
            raise ValueError(f"{name} is {getattr(text, name)}, expected 1 or more")


def _mlp_parameters(text: PreTrainedConfig) -> int:
    """The parameters in the MLPs of all layers: three matrices for each, or for each expert."""
    dense = 3 * text.hidden_size * text.intermediate_size
    num_experts = getattr(text, "num_experts", None)
    if num_experts is None:
        return int(text.num_hidden_layers * dense)
    # the router has a vector for each expert
    sparse = num_experts * (3 * text.hidden_size * text.moe_intermediate_size + text.hidden_size)
    num_sparse = sum(
        number not in text.mlp_only_layers and (number + 1) % text.decoder_sparse_step == 0
        for number in range(text.num_hidden_layers)
    )
    return int(num_sparse * sparse + (text.num_hidden_layers - num_sparse) * dense)


def count_parameters(config: PreTrainedConfig) -> int:
    """About how many parameters a Qwen-VL of this configuration has, within a few per cent.

    Counted are the matrices of the language model, its embeddings, and the vision tower. Norms and
    biases are left out: they are small.
    """
    text, vision = config.text_config, config.vision_config
    width, heads = text.hidden_size, text.num_attention_heads
    kv_heads = text.num_key_value_heads or heads
    head_size = getattr(text, "head_dim", None) or width // heads
    # a layer: queries and output, keys and values
    attention = 2 * width * head_size * (heads + kv_heads)
    tied = getattr(config, "tie_word_embeddings", False)
    embeddings = text.vocab_size * width * (1 if tied else 2)

    # Qwen2-VL, Qwen2.5-VL and Qwen3-VL name the sizes of the vision tower differently
    vision_width = getattr(vision, "embed_dim", None) or vision.hidden_size
    out_width = getattr(vision, "out_hidden_size", None) or vision.hidden_size
    mlp_width = getattr(vision, "intermediate_size", None) or int(vision_width * vision.mlp_ratio)
    mlp_matrices = 3 if config.model_type == "qwen2_5_vl" else 2
    block = 4 * vision_width * vision_width + mlp_matrices * vision_width * mlp_width
    # a merger joins neighbouring patches into one token of the language model
    merged_width = vision_width * vision.spatial_merge_size**2
    mergers = 1 + len(getattr(vision, "deepstack_visual_indexes", None) or ())
    patches = vision_width * vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    positions = (getattr(vision, "num_position_embeddings", None) or 0) * vision_width
    tower = (
        vision.depth * block
        + mergers * merged_width * (merged_width + out_width)
        + patches
        + positions
    )
    layers = text.num_hidden_layers * attention + _mlp_parameters(text)
    return int(layers + embeddings + tower)


def _trial_inputs(processor: ProcessorMixin) -> BatchFeature:
    from PIL import Image

    text = f"<|vision_start|>{image_token(processor)}<|vision_end|>?"
    image = Image.new("RGB", (56, 56))
    inputs: BatchFeature = processor(text=[text], images=[image], return_tensors="pt")
    return inputs


QWEN = Family(
    "Qwen-VL",
    processors=("Qwen2VLProcessor", "Qwen2_5_VLProcessor", "Qwen3VLProcessor"),
    has_own_passes=True,
    require_valid=_require_valid,
    count_parameters=count_parameters,
    trial_inputs=_trial_inputs,
)
