"""A config.json that mlx-vlm can read too.

transformers 5 writes the settings of the language model into `text_config`. mlx-vlm reads those of
Qwen2-VL and Qwen2.5-VL at the top level, as they are in the checkpoints on the Hugging Face hub.
"""

from __future__ import annotations

from collections.abc import Mapping

_NOT_COPIED = ("dtype", "layer_types", "model_type", "rope_parameters")
"""Keys of text_config without their place, or with another meaning, at the top level."""


def flat_config(config: Mapping[str, object]) -> dict[str, object]:
    """The configuration with the settings of the language model also at the top level.

    transformers 5 and vLLM read the same model from it as before. A key that is at the top level
    already keeps its value. `rope_parameters` are added as `rope_theta` and `rope_scaling`, their
    names in transformers 4. The vision configuration loses its `model_type`, for which mlx-vlm
    accepts only its own default, and which transformers does not need.

    Args:
        config: The content of config.json of a Qwen2-VL or Qwen2.5-VL checkpoint.
    """
    flat = dict(config)
    text, vision = config.get("text_config"), config.get("vision_config")
    if isinstance(text, Mapping):
        added = {key: value for key, value in text.items() if key not in _NOT_COPIED}
        rope = text.get("rope_parameters")
        if isinstance(rope, Mapping):
            if "rope_theta" in rope:
                added["rope_theta"] = rope["rope_theta"]
            if "mrope_section" in rope:
                added["rope_scaling"] = {"type": "mrope", "mrope_section": rope["mrope_section"]}
        flat = added | flat
    if isinstance(vision, Mapping):
        flat["vision_config"] = {k: v for k, v in vision.items() if k != "model_type"}
    return flat
