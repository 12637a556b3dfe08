"""Which family a checkpoint belongs to, by the model_type in its config.json."""

from __future__ import annotations

from collections.abc import Mapping

from medr1.models.families.family import Family
from medr1.models.families.generic import GENERIC
from medr1.models.families.qwen import QWEN

FAMILIES: Mapping[str, Family] = {
    "qwen2_vl": QWEN,
    "qwen2_5_vl": QWEN,
    "qwen3_vl": QWEN,
    "qwen3_vl_moe": QWEN,
}
"""model_type -> its family; any other type belongs to GENERIC, if transformers has it."""
OWN_TYPES = tuple(name for name, family in FAMILIES.items() if family.has_own_passes)
"""The types for which medr1 has its own passes."""


def family_of(model_type: str) -> Family | None:
    """The family of a model type; None if transformers has no such image-text-to-text model.

    Args:
        model_type: The value in config.json.
    """
    if model_type in FAMILIES:
        return FAMILIES[model_type]
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    return GENERIC if model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES else None
