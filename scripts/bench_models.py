"""What the benchmarks run on: random weights of a size, images of 384 pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from medr1.data.images import load_image
from medr1.data.readers import Questions
from medr1.data.roots import ImageRoot, resolve_image
from medr1.data.tiny import tiny_vl_folder
from medr1.models import LoadedModel, load_model

SIZES: dict[str, Any] = {
    "20m": {
        "text": {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 8},
        "heads": (6, 2),
        "vision": {"hidden_size": 192, "intermediate_size": 576, "depth": 5, "num_heads": 4},
        "vocab": 4096,
    },
    "3b": {
        "text": {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36},
        "heads": (16, 2),
        "vision": {"hidden_size": 1280, "intermediate_size": 3420, "depth": 32, "num_heads": 16},
        "vocab": 151936,
    },
}


def random_model(size: str, device: str = "auto", dtype: str = "auto") -> LoadedModel:
    """The embedded model's processor, taking 384-pixel images, with random weights of a size."""
    loaded = load_model(tiny_vl_folder(), device=device, dtype=dtype)
    config, wanted = loaded.model.config.to_dict(), SIZES[size]
    heads, key_value_heads = wanted["heads"]
    head = wanted["text"]["hidden_size"] // heads
    text = {
        **config["text_config"],
        **wanted["text"],
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        "vocab_size": wanted["vocab"],
        "layer_types": None,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e6,
            "mrope_section": [head // 8, 3 * head // 16, 3 * head // 16],
        },
    }
    vision = {**wanted["vision"], "out_hidden_size": wanted["text"]["hidden_size"]}
    tokens = {name: config[name] for name in config if name.endswith("_token_id")}
    torch.manual_seed(0)
    with torch.device(loaded.device):
        made = Qwen2_5_VLForConditionalGeneration(
            Qwen2_5_VLConfig(text_config=text, vision_config=vision, **tokens)
        )
    made.set_attn_implementation(loaded.model.config._attn_implementation)
    made.generation_config.pad_token_id = loaded.model.generation_config.pad_token_id
    made.generation_config.eos_token_id = None  # every answer has its full length
    loaded.processor.image_processor.size = {"shortest_edge": 3136, "longest_edge": 401408}
    return replace(loaded, model=made.to(loaded.dtype).eval())


def enlarged(questions: Questions, folder: Path) -> Questions:
    """The questions with their images at 384 pixels, as Med-R1's are."""
    samples = []
    for sample in questions.samples:
        for name in sample.images:
            target = folder / Path(name).with_suffix(".png").name
            if not target.exists():
                image = load_image(resolve_image(name, questions.image_root)).image
                image.resize((384, 384)).save(target)
        samples.append(
            replace(sample, images=tuple(Path(n).with_suffix(".png").name for n in sample.images))
        )
    return replace(questions, samples=samples, image_root=ImageRoot(folder))
