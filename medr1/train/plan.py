"""What a run will do, said before it starts: steps, prompts, tokens and memory.

    medr1 train --config configs/tiny.yaml --output-dir output/tiny --dry-run

Bytes are of one process. The activations are an estimate, and so is the memory that libraries,
fragments and communication buffers take beside all this, which is not counted at all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, TypeGuard

from medr1.data.readers import Questions
from medr1.models import LoadedModel
from medr1.train.lengths import PromptLength, pixel_limits, prompt_lengths, render_prompt
from medr1.train.sft import target_tokens

if TYPE_CHECKING:
    from trl import GRPOConfig, SFTConfig

BYTES_OF_A_LAYER = 34
"""Kept for the backward pass, a token, layer and hidden value, in 16 bits and without attention
scores (arXiv 2205.05198, equation 1)."""
BYTES_OF_A_LAYER_RECOMPUTED = 2
"""With gradient checkpointing: the input of each layer."""


@dataclass(frozen=True)
class Sharding:
    """How the processes share a model: what `accelerate launch` has put into the environment."""

    kind: str
    """none | replicated | fsdp | zero1 | zero2 | zero3"""
    processes: int

    @property
    def weights(self) -> int:
        """Over how many processes the weights are split."""
        return self.processes if self.kind in ("fsdp", "zero3") else 1

    @property
    def gradients(self) -> int:
        """Over how many processes the gradients are split."""
        return self.processes if self.kind in ("fsdp", "zero2", "zero3") else 1

    @property
    def optimizer(self) -> int:
        """Over how many processes the optimizer's state is split."""
        return self.processes if self.kind in ("fsdp", "zero1", "zero2", "zero3") else 1


def sharding(environment: Mapping[str, str] = os.environ) -> Sharding:
    """The sharding in force, from what torchrun and accelerate set for each process."""
    processes = int(environment.get("WORLD_SIZE", "1"))
    if environment.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        stage = environment.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
        return Sharding("replicated" if stage == "0" else f"zero{stage}", processes)
    if environment.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        return Sharding("fsdp", processes)
    return Sharding("none" if processes == 1 else "replicated", processes)


def num_steps(config: GRPOConfig | SFTConfig, num_samples: int, processes: int) -> int:
    """Optimizer steps of the run: max_steps, or the epochs' as TRL's sampler deals them out.

    GRPO leaves out a group of prompts that does not fill a generation batch, as TRL does.
    """
    if config.max_steps > 0:
        return int(config.max_steps)
    at_once = config.per_device_train_batch_size * processes
    if generates(config):
        batches_of_a_generation = config.steps_per_generation or 1
        completions = at_once * batches_of_a_generation
        generations = num_samples // (completions // (config.num_generations or 1))
        batches = generations * batches_of_a_generation * config.num_iterations
    elif config.dataloader_drop_last:
        batches = num_samples // at_once
    else:
        batches = ceil(num_samples / at_once)
    return ceil(ceil(batches / config.gradient_accumulation_steps) * config.num_train_epochs)


def generates(config: GRPOConfig | SFTConfig) -> TypeGuard[GRPOConfig]:
    """Whether the method samples completions: GRPO does, SFT does not."""
    return hasattr(config, "num_generations")


def memory(
    model: Any,
    config: GRPOConfig | SFTConfig,
    split: Sharding,
    longest: int,
    *,
    has_adapter: bool,
    bits: int | None = None,
) -> dict[str, int]:
    """Bytes by kind on one process; `longest` is the most tokens that go in at once.

    `bits`: what a weight under an adapter is held in, where that is 4 or 8.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    num_trained = sum(p.numel() for p in trained)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    weights -= _saved(model, bits) if bits else 0
    gradients = sum(p.numel() * p.element_size() for p in trained)
    optimizer = 2 * gradients  # AdamW's two moments
    copies = 0
    if config.bf16 or config.fp16:
        if split.kind.startswith("zero"):  # 16 bits, with 32-bit weights in the optimizer
            weights, gradients = sum(2 * p.numel() for p in model.parameters()), 2 * num_trained
            optimizer = 12 * num_trained
        elif split.kind != "fsdp":
            copies = 2 * sum(p.numel() for p in trained if p.element_size() == 4)
    needs_reference = generates(config) and config.beta != 0 and not has_adapter
    new = (config.max_completion_length or 0) if generates(config) else 0
    return {
        "weights": weights // split.weights,
        "gradients": gradients // split.gradients,
        "optimizer": optimizer // split.optimizer,
        "autocast_copies": copies,
        "reference_model": weights // split.weights if needs_reference else 0,
        "activations_estimate": _activations(model, config, longest, new),
        "generation_cache": _cache(model, config, longest + new) if generates(config) else 0,
    }


def _saved(model: Any, bits: int) -> int:
    """Bytes that the linear layers under an adapter do not take, being held in so few bits.

    Each 64 weights have a scale of 32 bits.
    """
    from torch.nn import Linear

    held = [
        module.weight
        for name, module in model.named_modules()
        if isinstance(module, Linear) and "language_model" in name and "lora_" not in name
    ]
    return sum(int(p.numel() * (p.element_size() - bits / 8 - 4 / 64)) for p in held)


def _activations(model: Any, config: GRPOConfig | SFTConfig, longest: int, new: int) -> int:
    """Bytes kept for the backward pass of one batch, with the logits of `new` tokens.

    SFT keeps no logits: TRL makes them in tiles, again in the backward pass.
    """
    text = model.config.get_text_config()
    element = 2 if config.bf16 or config.fp16 else 4
    kept = text.num_hidden_layers * BYTES_OF_A_LAYER
    if config.gradient_checkpointing:
        kept = text.num_hidden_layers * BYTES_OF_A_LAYER_RECOMPUTED + BYTES_OF_A_LAYER
    layers = (longest + new) * text.hidden_size * kept * element // 2
    logits = new * text.vocab_size * (4 + element)
    return config.per_device_train_batch_size * (layers + logits)


def _cache(model: Any, config: GRPOConfig, tokens: int) -> int:
    """Bytes of keys and values while a generation batch is being completed."""
    text = model.config.get_text_config()
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    element = 2 if config.bf16 or config.fp16 else 4
    of_a_token = 2 * text.num_hidden_layers * text.num_key_value_heads * head * element
    completions = config.per_device_train_batch_size * (config.steps_per_generation or 1)
    return completions * tokens * of_a_token


def dropout_in_groups(model: Any, config: Any) -> str | None:
    """Where a model has dropout in training: what shared prompts draw once; None where none is.

    `disable_dropout` of TRL reaches the layers of dropout, and not that of the attention.
    """
    from torch.nn import Dropout

    layers = [module.p for module in model.modules() if isinstance(module, Dropout)]
    attention = getattr(model.config.get_text_config(), "attention_dropout", 0.0)
    most = max([attention, *([] if config.disable_dropout else layers)])
    if not most:
        return None
    return (
        f"{most:g}; the completions of a group have one mask of their prompt; "
        "--no-shared-prefix draws one each, as stock TRL does"
    )


def prompt_plan(
    loaded: LoadedModel, questions: Questions, prompt: str, completions: Sequence[str] = ()
) -> dict[str, Any]:
    """Tokens of the prompts, the longest by name, and the first as the model sees it.

    `completions` are what is learned after them, by SFT.
    """
    targets = target_tokens(loaded, completions) if completions else None
    lengths = prompt_lengths(loaded, questions.samples, questions.image_root, prompt, targets)
    longest = max(lengths, key=lambda length: length.total)
    least, most = pixel_limits(loaded.processor)
    return {
        "min_pixels": least,
        "max_pixels": most,
        "image_tokens": _range([p.image for p in lengths]),
        "prompt_tokens": _range([p.prompt for p in lengths]),
        **({"target_tokens": _range(targets)} if targets else {}),
        "longest": _described(longest),
        "first": render_prompt(loaded, questions.samples[0], prompt),
        **({"first_target": completions[0]} if completions else {}),
    }


def _range(values: list[int]) -> dict[str, float]:
    return {"min": min(values), "mean": round(sum(values) / len(values), 1), "max": max(values)}


def _described(length: PromptLength) -> dict[str, Any]:
    sample = length.sample
    images = list(sample.images)
    return {"id": sample.id, "images": images, "tokens": length.total, "image": length.image}


def run_plan(
    loaded: LoadedModel,
    questions: Questions,
    config: GRPOConfig | SFTConfig,
    prompt: str,
    trained: Any,
    *,
    has_adapter: bool,
    bits: int | None = None,
    completions: Sequence[str] = (),
) -> dict[str, Any]:
    """The plan of a run on `trained`: the model with what is frozen or added, on any device."""
    split = sharding()
    rows = config.per_device_train_batch_size * config.gradient_accumulation_steps
    rows *= split.processes
    prompts = prompt_plan(loaded, questions, prompt, completions)
    longest = int(prompts["longest"]["tokens"])
    a_step = {"prompts_per_step": rows}
    if generates(config):
        groups = rows // (config.num_generations or 1)
        a_step = {"completions_per_step": rows, "prompts_per_step": groups}
    counted = [(p.numel(), p.requires_grad) for p in trained.parameters()]
    return {
        "samples": len(questions.samples),
        "steps": num_steps(config, len(questions.samples), split.processes),
        **a_step,
        "parameters": sum(n for n, _ in counted),
        "trained_parameters": sum(n for n, is_trained in counted if is_trained),
        "sharding": split.kind,
        "processes": split.processes,
        "bytes_per_process": memory(
            trained, config, split, longest, has_adapter=has_adapter, bits=bits
        ),
        "prompts": prompts,
    }
