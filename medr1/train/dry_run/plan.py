"""The plan of a run, computed before it starts: steps, prompts, tokens and memory.

    medr1 train --config configs/tiny.yaml --output-dir output/tiny --dry-run

Bytes are those of one process. The activations are an estimate. The memory of libraries, memory
lost to fragmentation, and communication buffers come on top and are not counted.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, TypeGuard

from msgspec import UNSET

from medr1.data.readers import Questions
from medr1.documents.training import LongestPrompt, PromptPlan, TokenRange, TrainingPlan
from medr1.models.loading import LoadedModel, library_versions
from medr1.models.parts import language_model
from medr1.prompts import prompt_name
from medr1.train.dry_run.activations import PassShape, activations
from medr1.train.dry_run.prompt_lengths import (
    PromptLength,
    pixel_limits,
    prompt_lengths,
    render_prompt,
)
from medr1.train.dry_run.trl_limits import not_shared_reason
from medr1.train.settings import TrainingSettings, compute_dtype
from medr1.train.sft import target_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from trl import GRPOConfig, SFTConfig

NOT_SHARED = "shared prefix is off, and each prompt is run once per completion: %s."
"""The warning of a run whose prompts cannot be shared; %s: the reason, as a phrase."""


@dataclass(frozen=True)
class Sharding:
    """How the processes of a run share the model."""

    kind: str
    """none | replicated | fsdp | zero1 | zero2 | zero3"""
    processes: int
    """Number of processes."""

    @property
    def weights(self) -> int:
        """Number of processes that the weights are split over; 1: each has all of them."""
        return self.processes if self.kind in ("fsdp", "zero3") else 1

    @property
    def gradients(self) -> int:
        """Number of processes that the gradients are split over; 1: each has all of them."""
        return self.processes if self.kind in ("fsdp", "zero2", "zero3") else 1

    @property
    def optimizer(self) -> int:
        """Number of processes that the optimizer's state is split over; 1: each has all of it."""
        return self.processes if self.kind in ("fsdp", "zero1", "zero2", "zero3") else 1


def current_sharding(environment: Mapping[str, str] = os.environ) -> Sharding:
    """The sharding of this run, from the variables that torchrun and accelerate set."""
    processes = int(environment.get("WORLD_SIZE", "1"))
    if environment.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        stage = environment.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
        return Sharding("replicated" if stage == "0" else f"zero{stage}", processes)
    if environment.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        return Sharding("fsdp", processes)
    return Sharding("none" if processes == 1 else "replicated", processes)


def num_steps(config: GRPOConfig | SFTConfig, num_samples: int, processes: int) -> int:
    """The number of optimizer steps of a run: max_steps, or that of its epochs.

    GRPO leaves out the last prompts if they do not fill a generation batch, as TRL's sampler does.

    Args:
        config: The trainer's configuration.
        num_samples: Number of items to train on.
        processes: Number of processes of the run.
    """
    if config.max_steps > 0:
        return int(config.max_steps)
    rows = config.per_device_train_batch_size * processes
    if generates(config):
        batches_per_generation = config.steps_per_generation or 1
        completions = rows * batches_per_generation
        generations = num_samples // (completions // (config.num_generations or 1))
        batches = generations * batches_per_generation * config.num_iterations
    elif config.dataloader_drop_last:
        batches = num_samples // rows
    else:
        batches = ceil(num_samples / rows)
    return ceil(ceil(batches / config.gradient_accumulation_steps) * config.num_train_epochs)


def generates(config: GRPOConfig | SFTConfig) -> TypeGuard[GRPOConfig]:
    """Whether the method samples completions: GRPO does, SFT does not."""
    return hasattr(config, "num_generations")


def memory(
    model: PreTrainedModel,
    config: GRPOConfig | SFTConfig,
    sharding: Sharding,
    shape: PassShape,
    *,
    has_adapter: bool,
    bits: int | None = None,
) -> dict[str, int]:
    """The memory of one process in bytes, by kind.

    Args:
        model: The model as it is trained; an outline without weights is enough.
        config: The trainer's configuration.
        sharding: How the processes share the model.
        shape: What a pass with gradient consists of.
        has_adapter: Whether an adapter is trained instead of all weights.
        bits: 4 or 8 if the weights under an adapter are quantized, otherwise None.

    Returns:
        Kind, such as "weights" or "optimizer" -> bytes.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    num_trained = sum(p.numel() for p in trained)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    weights -= _quantization_savings(model, bits) if bits else 0
    gradients = sum(p.numel() * p.element_size() for p in trained)
    optimizer = 2 * gradients  # AdamW's two moments
    copies = 0
    if config.bf16 or config.fp16:
        # DeepSpeed keeps weights and gradients in 16 bits, and for each weight 12 bytes in the
        # optimizer: the weight and two moments in 32 bits.
        if sharding.kind.startswith("zero"):
            weights, gradients = sum(2 * p.numel() for p in model.parameters()), 2 * num_trained
            optimizer = 12 * num_trained
        elif sharding.kind != "fsdp":  # autocast keeps 16-bit copies of trained 32-bit weights
            copies = 2 * sum(p.numel() for p in trained if p.element_size() == 4)
    # With an adapter, the model itself is the reference while the adapter is turned off.
    needs_reference = generates(config) and config.beta != 0 and not has_adapter
    new_tokens = (config.max_completion_length or 0) if generates(config) else 0
    return {
        "weights": weights // sharding.weights,
        "gradients": gradients // sharding.gradients,
        "optimizer": optimizer // sharding.optimizer,
        "autocast_copies": copies,
        "reference_model": weights // sharding.weights if needs_reference else 0,
        "activations_estimate": activations(
            model.config, config, shape, config.per_device_train_batch_size
        ),
        "generation_cache": (
            _cache(model, config, shape.tokens + new_tokens) if generates(config) else 0
        ),
        "gathered_weights": _gathered_weights(model, config, sharding) if generates(config) else 0,
    }


def _quantization_savings(model: PreTrainedModel, bits: int) -> int:
    """The bytes that quantization saves in the language model's linear layers.

    Each 64 weights share a scale of 32 bits.
    """
    from torch.nn import Linear

    quantized = [
        module.weight
        for name, module in language_model(model).named_modules()
        if isinstance(module, Linear) and "lora_" not in name
    ]
    return sum(int(p.numel() * (p.element_size() - bits / 8 - 4 / 64)) for p in quantized)


def _cache(model: PreTrainedModel, config: GRPOConfig, tokens: int) -> int:
    """The bytes of keys and values while the completions of a generation batch are generated."""
    text = model.config.get_text_config()
    head_size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    element = 2 if config.bf16 or config.fp16 else 4
    bytes_per_token = 2 * text.num_hidden_layers * heads * head_size * element
    completions = config.per_device_train_batch_size * (config.steps_per_generation or 1)
    return int(completions * tokens * bytes_per_token)


def _gathered_weights(model: PreTrainedModel, config: GRPOConfig, sharding: Sharding) -> int:
    """The bytes of sharded weights that are complete in each process while it generates.

    FSDP2 gathers the language model (train/gathered_weights.py), ZeRO-3 the complete model.
    """
    if sharding.kind not in ("fsdp", "zero3") or not config.ds3_gather_for_generation:
        return 0
    if sharding.kind == "fsdp" and config.use_vllm:  # TRL sends one weight at a time
        return 0
    part = language_model(model) if sharding.kind == "fsdp" else model
    is_16_bit = config.bf16 or config.fp16
    return sum((2 if is_16_bit else p.element_size()) * p.numel() for p in part.parameters())


def dropout_note(model: PreTrainedModel, config: GRPOConfig) -> str | None:
    """What dropout means for shared prompts, as a phrase; None if nothing is dropped in training.

    Args:
        model: The model as it is trained.
        config: The trainer's configuration. Its `disable_dropout` turns off the dropout layers, but
            not the dropout of the attention.
    """
    from torch.nn import Dropout

    layers = [module.p for module in model.modules() if isinstance(module, Dropout)]
    attention = getattr(model.config.get_text_config(), "attention_dropout", 0.0)
    highest = max([attention, *([] if config.disable_dropout else layers)])
    if not highest:
        return None
    return (
        f"{highest:g}; the completions of a group share one dropout mask of their prompt; with "
        "--no-shared-prefix each has its own, as in stock TRL"
    )


def prompt_plan(
    loaded: LoadedModel, questions: Questions, prompt: str, completions: Sequence[str] = ()
) -> PromptPlan:
    """The part `prompts` of the plan: token counts, the longest prompt, and the first as text.

    Args:
        loaded: The model.
        questions: The items to train on.
        prompt: A prompt template, as in `prompts.template`.
        completions: With SFT, the target of each item.
    """
    targets = target_tokens(loaded, completions) if completions else None
    lengths = prompt_lengths(loaded, questions.samples, questions.image_root, prompt, targets)
    longest = max(lengths, key=lambda length: length.total)
    has_limits = loaded.family.has_pixel_limits
    min_pixels, max_pixels = pixel_limits(loaded.processor) if has_limits else (UNSET, UNSET)
    return PromptPlan(
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        image_tokens=_range([p.image for p in lengths]),
        prompt_tokens=_range([p.prompt for p in lengths]),
        target_tokens=_range(targets) if targets else UNSET,
        longest=_longest_prompt(longest),
        first=render_prompt(loaded, questions.samples[0], prompt),
        first_target=completions[0] if completions else UNSET,
    )


def _range(values: list[int]) -> TokenRange:
    mean = round(sum(values) / len(values), 1)
    return TokenRange(min=min(values), mean=mean, max=max(values))


def _longest_prompt(length: PromptLength) -> LongestPrompt:
    return LongestPrompt(
        id=length.sample.id,
        images=list(length.sample.images),
        tokens=length.total,
        image=length.image,
    )


def pass_shape(settings: TrainingSettings, prompts: PromptPlan, *, shares: bool) -> PassShape:
    """What a pass with gradient of a run consists of.

    Args:
        settings: The settings of the run.
        prompts: The part `prompts` of its plan.
        shares: Whether prompts are shared; SFT has one row for each.
    """
    return PassShape(
        prompts.longest.tokens,
        image_tokens=prompts.longest.image,
        shares=shares and settings.method == "grpo",
        # an adapter is on the language model, unless its layers are named
        trains_vision=not settings.freeze_vision and not settings.model.get("use_peft"),
        passes=2 if settings.papo else 1,
    )


def run_plan(
    loaded: LoadedModel,
    questions: Questions,
    config: GRPOConfig | SFTConfig,
    settings: TrainingSettings,
    trained: PreTrainedModel,
    *,
    bits: int | None = None,
    completions: Sequence[str] = (),
) -> TrainingPlan:
    """The plan of a run whose settings were checked.

    Args:
        loaded: The model that training starts from.
        questions: The items to train on.
        config: The trainer's configuration.
        settings: The settings of the run.
        trained: The model as it is trained, with frozen parts or an adapter. Only its shapes are
            read, so it may be an outline without weights.
        bits: 4 or 8 if the weights under an adapter are quantized, otherwise None.
        completions: With SFT, the target of each item.
    """
    sharding = current_sharding()
    rows = config.per_device_train_batch_size * config.gradient_accumulation_steps
    rows *= sharding.processes
    prompts = prompt_plan(loaded, questions, settings.prompt, completions)
    has_adapter = bool(settings.model.get("use_peft"))
    num_generations = (config.num_generations or 1) if generates(config) else 1
    sizes = [(p.numel(), p.requires_grad) for p in trained.parameters()]
    dropout = not_shared = None
    if generates(config) and settings.shared_prefix:
        not_shared = not_shared_reason(loaded.model, config)
        dropout = None if not_shared else dropout_note(trained, config)
    return TrainingPlan(
        model=str(loaded.path),
        device=loaded.device.type,
        dtype=compute_dtype(settings, loaded),
        weights_dtype=str(loaded.dtype).removeprefix("torch."),
        method=settings.method,
        prompt=prompt_name(settings.prompt),
        rewards=list(settings.rewards) if generates(config) else UNSET,
        freeze_vision=settings.freeze_vision,
        shared_prefix=settings.shared_prefix and not_shared is None,
        not_shared=not_shared or UNSET,
        dropout=dropout or UNSET,
        papo=(settings.papo, settings.papo_entropy) if settings.papo else UNSET,
        samples=len(questions.samples),
        steps=num_steps(config, len(questions.samples), sharding.processes),
        completions_per_step=rows if generates(config) else UNSET,
        prompts_per_step=rows // num_generations,
        parameters=sum(size for size, _ in sizes),
        trained_parameters=sum(size for size, is_trained in sizes if is_trained),
        sharding=sharding.kind,
        processes=sharding.processes,
        bytes_per_process=memory(
            trained,
            config,
            sharding,
            pass_shape(settings, prompts, shares=settings.shared_prefix and not_shared is None),
            has_adapter=has_adapter,
            bits=bits,
        ),
        prompts=prompts,
        trainer_fields=dict(settings.trainer),
        model_fields=dict(settings.model),
        data_sha256=questions.sha256,
        versions=library_versions(),
    )
