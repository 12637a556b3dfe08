"""Compare the embedded model on a device with the same model on the CPU in float32.

The reference uses eager attention and one plain forward pass, without medr1's own inference engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medr1.data.images import load_image
from medr1.data.readers import read_questions
from medr1.data.roots import resolve_image
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.models.calls import greedy_tokens
from medr1.models.loading import LoadedModel, load_model
from medr1.prompts import chat_messages

if TYPE_CHECKING:
    import torch
    from transformers import BatchFeature

TOLERANCE = {"float32": 2e-3, "float16": 0.05, "bfloat16": 0.25}
"""Largest accepted difference of a logit at the last token of the prompt."""
N_QUESTIONS = 3
N_TOKENS = 12
"""Greedy tokens that are compared for each question."""


def compare_with_cpu(device: torch.device, dtype: str, attention: str) -> tuple[float, bool]:
    """Run the embedded model on a device and on the CPU, and compare logits and tokens.

    Args:
        device: The device to check.
        dtype: float32, float16 or bfloat16, for the device.
        attention: Attention implementation on the device: sdpa or eager.

    Returns:
        The largest difference of a logit (inf for nan), and whether the greedy tokens are equal.
    """
    cpu_logits, cpu_tokens = _logits_and_tokens(
        load_model(tiny_vl_folder(), device="cpu", attention="eager")
    )
    on_device = load_model(tiny_vl_folder(), device=device.type, dtype=dtype, attention=attention)
    device_logits, device_tokens = _logits_and_tokens(on_device)
    difference = float((cpu_logits - device_logits).abs().max())
    is_number = difference == difference  # nan is not equal to itself
    return (difference if is_number else float("inf")), cpu_tokens == device_tokens


def _logits_and_tokens(loaded: LoadedModel) -> tuple[torch.Tensor, list[list[int]]]:
    """The logits at the end of each prompt, on the CPU in float32, and the greedy tokens."""
    import torch

    inputs = _inputs(loaded)
    with torch.inference_mode():
        logits = loaded.model(**inputs).logits[:, -1].float().cpu()
        output = greedy_tokens(loaded.model, **inputs, max_new_tokens=N_TOKENS)
    return logits, output[:, inputs["input_ids"].shape[1] :].tolist()


def _inputs(loaded: LoadedModel) -> BatchFeature:
    """The first questions of the embedded validation split, by the model's own processor."""
    questions = read_questions(tiny_vqa_folder() / "validation.json", limit=N_QUESTIONS)
    samples, root = questions.samples, questions.image_root
    texts = [
        loaded.processor.apply_chat_template(
            chat_messages(sample, loaded.info.prompt or "nothink", loaded.info.answer_style),
            add_generation_prompt=True,
            tokenize=False,
        )
        for sample in samples
    ]
    images = [[load_image(resolve_image(n, root)).image for n in s.images] for s in samples]
    processed = loaded.processor(text=texts, images=images, padding=True, return_tensors="pt")
    inputs: BatchFeature = processed.to(loaded.device)
    inputs["pixel_values"] = inputs["pixel_values"].to(loaded.dtype)
    return inputs
