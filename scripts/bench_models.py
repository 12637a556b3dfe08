"""Models with random weights, and images of 384 pixels, for the benchmarks."""

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
from medr1.models.loading import LoadedModel, load_model

# Parts of a Qwen2.5-VL configuration; 3b is that of Qwen2.5-VL-3B.
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
    """A model with random weights, and the embedded model's processor for 384-pixel images.

    It never ends a completion early, so that each has its full length.

    Args:
        size: A key of `SIZES`.
        device: Device, or "auto".
        dtype: Data type of the weights, or "auto".
    """
    loaded = load_model(tiny_vl_folder(), device=device, dtype=dtype)
    config, sizes = loaded.model.config.to_dict(), SIZES[size]
    heads, key_value_heads = sizes["heads"]
    head_size = sizes["text"]["hidden_size"] // heads
    text = {
        **config["text_config"],
        **sizes["text"],
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        "vocab_size": sizes["vocab"],
        "layer_types": None,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e6,
            "mrope_section": [head_size // 8, 3 * head_size // 16, 3 * head_size // 16],
        },
    }
    vision = {**sizes["vision"], "out_hidden_size": sizes["text"]["hidden_size"]}
    tokens = {name: config[name] for name in config if name.endswith("_token_id")}
    torch.manual_seed(0)
    with torch.device(loaded.device):
        model = Qwen2_5_VLForConditionalGeneration(
            Qwen2_5_VLConfig(text_config=text, vision_config=vision, **tokens)
        )
    model.set_attn_implementation(loaded.model.config._attn_implementation)
    model.generation_config.pad_token_id = loaded.model.generation_config.pad_token_id
    model.generation_config.eos_token_id = None  # so that completions have their full length
    loaded.processor.image_processor.size = {"shortest_edge": 3136, "longest_edge": 401408}
    module: torch.nn.Module = model  # `to` has types there, and none in transformers' model
    module.to(loaded.dtype)
    return replace(loaded, model=model.eval())


def enlarged(questions: Questions, folder: Path) -> Questions:
    """The questions with their images resized to 384 x 384 pixels, the size of Med-R1's images.

    Args:
        questions: The questions.
        folder: Folder to which the resized images are written.
    """
    samples = []
    for sample in questions.samples:
        for name in sample.images:
            target = folder / Path(name).with_suffix(".png").name
            if not target.exists():
                image = load_image(resolve_image(name, questions.image_root)).image
                image.resize((384, 384)).save(target)
        samples.append(
            replace(
                sample, images=tuple(Path(name).with_suffix(".png").name for name in sample.images)
            )
        )
    return replace(questions, samples=samples, image_root=ImageRoot(folder))
