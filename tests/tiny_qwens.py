"""Tiny checkpoints with random weights of Qwen3-VL with experts and of Qwen3.5.

They are made as those of `tiny_families`, without any download. In Qwen3.5, three of four layers
have linear attention (the gated delta rule) and one has full attention.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiny_families import qwen_tokenizer, text_settings, write
from transformers import (
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3_5MoeConfig,
    Qwen3_5MoeForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)
from transformers.models.qwen3_5.tokenization_qwen3_5 import Qwen3_5Tokenizer

PATCH_SIZE = 16
WIDTH = 2 * PATCH_SIZE  # of an image token: two by two patches

# The form is that of TRL's chat_templates/qwen3_vl.jinja, a copy of the published one, without
# tools and videos.
QWEN3_VL_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['content'] is string -%}
{{- message['content'] -}}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}
{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- else -%}
{{- part['text'] -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""

# The form is that of TRL's chat_templates/qwen3_5_nothink.jinja, a copy of the published one of the
# small models, without tools and videos. Texts are trimmed, and reasoning is empty.
QWEN3_5_TEMPLATE = """\
{%- macro parts(content) -%}
{%- if content is string -%}
{{- content -}}
{%- else -%}
{%- for part in content -%}
{%- if part['type'] == 'image' -%}
{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- else -%}
{{- part['text'] -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{{- '<think>\\n\\n</think>\\n\\n' if loop.last and message['role'] == 'assistant' else '' -}}
{{- parts(message['content']) | trim + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' -}}
{%- endif -%}
"""


def _tokenizer(kind: type) -> Any:
    special = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer = qwen_tokenizer(special, kind)
    tokenizer.add_tokens(["<think>", "</think>"])
    return tokenizer


def _processor(tokenizer: Any, template: str) -> Qwen3VLProcessor:
    """One to nine tokens for an image."""
    sizes = {
        "patch_size": PATCH_SIZE,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "size": {"shortest_edge": WIDTH**2, "longest_edge": 9 * WIDTH**2},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    video = Qwen3VLVideoProcessor(**sizes)
    return Qwen3VLProcessor(Qwen2VLImageProcessor(**sizes), tokenizer, video, template)


def _vision(**more: Any) -> dict[str, Any]:
    return {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "patch_size": PATCH_SIZE,
        "out_hidden_size": 64,
        "num_position_embeddings": 36,
        **more,
    }


def _tokens(tokenizer: Any) -> dict[str, int]:
    """The fields of a configuration that name a token."""
    names = ("image_pad", "video_pad", "vision_start", "vision_end")
    fields = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    places = tokenizer.convert_tokens_to_ids([f"<|{name}|>" for name in names])
    return dict(zip(fields, places, strict=True))


# twice the size of an expert is not hidden_size: published files have some matrices transposed,
# and transformers sees it by their shapes
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48}


def qwen3_vl_moe(folder: Path) -> None:
    """Write a Qwen3-VL with four experts in each layer, two of them for each token."""
    tokenizer = _tokenizer(Qwen2Tokenizer)
    rotary = {"mrope_section": [6, 5, 5], "mrope_interleaved": True, "rope_theta": 5e6}
    text = text_settings(
        tokenizer,
        head_dim=32,  # not hidden_size / num_attention_heads; so it is in the published ones
        rope_parameters={"rope_type": "default", **rotary},
        tie_word_embeddings=False,
        **EXPERTS,
    )
    config = Qwen3VLMoeConfig(
        text_config=text,
        vision_config=_vision(deepstack_visual_indexes=[0, 1]),
        tie_word_embeddings=False,
        **_tokens(tokenizer),
    )
    processor = _processor(tokenizer, QWEN3_VL_TEMPLATE)
    write(folder, Qwen3VLMoeForConditionalGeneration, config, processor, ["<|im_end|>"])


def _qwen3_5(folder: Path, config_class: Any, model_class: Any, **more: Any) -> None:
    """Write a Qwen3.5: three layers with linear attention and a fourth with full attention."""
    tokenizer = _tokenizer(Qwen3_5Tokenizer)
    rotary = {"mrope_section": [3, 3, 2], "mrope_interleaved": True, "rope_theta": 1e7}
    text = text_settings(
        tokenizer,
        num_hidden_layers=4,
        head_dim=64,
        rope_parameters={"rope_type": "default", "partial_rotary_factor": 0.25, **rotary},
        linear_key_head_dim=16,
        linear_value_head_dim=16,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        tie_word_embeddings=False,
    )
    if more:
        text.pop("intermediate_size")  # all layers have experts
    config = config_class(
        text_config={**text, **more},
        vision_config=_vision(),
        tie_word_embeddings=False,
        **_tokens(tokenizer),
    )
    assert len(set(config.text_config.layer_types)) == 2
    write(folder, model_class, config, _processor(tokenizer, QWEN3_5_TEMPLATE), ["<|im_end|>"])


def qwen3_5(folder: Path) -> None:
    """Write a Qwen3.5."""
    _qwen3_5(folder, Qwen3_5Config, Qwen3_5ForConditionalGeneration)


def qwen3_5_moe(folder: Path) -> None:
    """Write a Qwen3.5 with four experts in each layer and one that every token has."""
    experts = {**EXPERTS, "shared_expert_intermediate_size": 48}
    _qwen3_5(folder, Qwen3_5MoeConfig, Qwen3_5MoeForConditionalGeneration, **experts)


QWENS: dict[str, Callable[[Path], None]] = {
    "qwen3_vl_moe": qwen3_vl_moe,
    "qwen3_5": qwen3_5,
    "qwen3_5_moe": qwen3_5_moe,
}
"""Model type -> what writes a checkpoint of it into a folder."""
