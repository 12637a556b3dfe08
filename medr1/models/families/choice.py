"""Which family a checkpoint belongs to, by the model_type in its config.json."""

from __future__ import annotations

from collections.abc import Mapping

from medr1.models.families.batched import BatchedFamily
from medr1.models.families.family import Family
from medr1.models.families.gemma3 import Gemma3Family
from medr1.models.families.internvl import InternVLFamily
from medr1.models.families.llava_onevision import LlavaOnevisionFamily
from medr1.models.families.qwen import Qwen35Family, QwenFamily
from medr1.models.families.smolvlm import SmolVLMFamily

FAMILIES: Mapping[str, Family] = {
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe"), QwenFamily()),
    **dict.fromkeys(("qwen3_5", "qwen3_5_moe"), Qwen35Family()),
    "gemma3": Gemma3Family(),
    "internvl": InternVLFamily(),
    "llava_onevision": LlavaOnevisionFamily(),
    **dict.fromkeys(("smolvlm", "idefics3"), SmolVLMFamily()),
}
"""model_type -> its family. Any other type that transformers has belongs to `Family` itself."""
BATCHED_TYPES = tuple(name for name, kind in FAMILIES.items() if isinstance(kind, BatchedFamily))
"""The types whose prompts medr1 runs in batches."""
SHARING_TYPES = tuple(name for name, kind in FAMILIES.items() if kind.shares_prompts)
"""The types whose prompts training can run once for a group of completions."""


def family_of(model_type: str) -> Family | None:
    """The family of a model type; None if transformers has no such image-text-to-text model.

    Args:
        model_type: The value in config.json.
    """
    if model_type in FAMILIES:
        return FAMILIES[model_type]
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    return Family() if model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES else None
