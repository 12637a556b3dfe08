"""Models of medr1's own architectures with random weights, as small as the embedded one."""

from dataclasses import replace

import torch
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
)

from medr1.models.loading import CheckpointInfo

ARCHITECTURES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe")


def random_model(kind, tiny_model):
    """A model of another class with random weights, of the embedded one's sizes and tokens."""
    config = tiny_model.model.config.to_dict()
    text = {**config["text_config"], "head_dim": 32, "vocab_size": 683}
    text["num_key_value_heads"] = 2  # each for two query heads
    vision = config["vision_config"]
    shared = {key: config[key] for key in config if key.endswith("_token_id")}
    torch.manual_seed(0)
    if kind == "qwen2_vl":
        vision = {**vision, "embed_dim": 64, "hidden_size": 128, "mlp_ratio": 2}
        classes = Qwen2VLConfig, Qwen2VLForConditionalGeneration
    elif kind == "qwen2_5_vl":
        classes = Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
    else:
        vision = {
            **{k: vision[k] for k in ("depth", "hidden_size", "intermediate_size", "num_heads")},
            **{"out_hidden_size": 128, "patch_size": 14, "temporal_patch_size": 2},
            **{"deepstack_visual_indexes": [0, 1], "num_position_embeddings": 64},
        }
        text.pop("layer_types")  # Qwen3-VL's configuration has none
        classes = Qwen3VLConfig, Qwen3VLForConditionalGeneration
        if kind == "qwen3_vl_moe":
            text.update(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=48)
            classes = Qwen3VLMoeConfig, Qwen3VLMoeForConditionalGeneration
    for part in (text, vision):
        part.pop("model_type", None)
        part.pop("architectures", None)
    model = classes[1](classes[0](text_config=text, vision_config=vision, **shared))
    model.generation_config.eos_token_id = tiny_model.model.generation_config.eos_token_id
    model.generation_config.pad_token_id = tiny_model.model.generation_config.pad_token_id
    return replace(tiny_model, model=model.eval(), info=CheckpointInfo("nothink", "text"))
