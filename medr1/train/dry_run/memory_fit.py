"""Split the batches of a run into parts that fit into memory: `--fit-memory`.

    parts             k, the smallest divisor of the batch size whose plan fits
    batch size / k    rows of one pass, in each process
    accumulation * k  passes of an update

An update has the same rows, and completions are sampled for as many prompts at once as before.
With the losses and settings that are accepted here, the gradient of an update does not depend on
the parts, up to rounding; with dropout, each part draws masks of its own.

A resumed run takes the number of parts from its training.json, so that it repeats the same passes
also where another amount of memory is free.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from msgspec import UNSET
from msgspec.structs import replace as replace_field

from medr1.documents.training import BatchParts, TrainingPlan
from medr1.errors import InputError
from medr1.models.loading import LoadedModel
from medr1.terminal import counted
from medr1.train.dry_run.activations import activations
from medr1.train.dry_run.plan import generates, pass_shape
from medr1.train.dry_run.plan_text import size_text
from medr1.train.settings import TrainingSettings, trainer_config

if TYPE_CHECKING:
    from trl import GRPOConfig, SFTConfig

SHARE = 0.9
"""The largest share of a device's memory that the plan may need. The rest is for libraries and
fragmentation, which the plan does not count."""


def fit_memory(
    settings: TrainingSettings,
    plan: TrainingPlan,
    loaded: LoadedModel,
    device_bytes: int,
    recorded: TrainingPlan | None = None,
) -> tuple[TrainingSettings, TrainingPlan]:
    """The settings and the plan of a run whose batches are split until the plan fits.

    Every process of a run chooses the same parts: it takes the smallest memory of all processes,
    and what the first process knows of an interrupted run.

    Args:
        settings: The settings of the run.
        plan: Its plan, from `run.resolve_plan`.
        loaded: The model; an outline without weights is enough.
        device_bytes: The memory that this process can use.
        recorded: In the first process, the plan of the interrupted run that is resumed, if there
            is one.

    Raises:
        InputError: Not even the smallest part fits, or a setting makes the gradient depend on the
            parts.
    """
    from accelerate.utils import gather_object

    config = trainer_config(settings, loaded)
    _require_independent(config)
    batch, accumulation = config.per_device_train_batch_size, config.gradient_accumulation_steps
    own = (device_bytes, _recorded_parts(recorded, plan, batch, accumulation))
    all_processes: list[tuple[int, int | None]] = gather_object([own])
    device_bytes, known_parts = min(values[0] for values in all_processes), all_processes[0][1]
    shape = pass_shape(settings, plan.prompts, shares=plan.shared_prefix)
    activation_bytes = {
        parts: activations(loaded.model.config, config, shape, batch // parts)
        for parts in range(1, batch + 1)
        if batch % parts == 0 and _keeps_updates(config, plan, batch // parts)
    }
    others = sum(plan.bytes_per_process.values()) - plan.bytes_per_process["activations_estimate"]
    limit = int(SHARE * device_bytes)
    fitting = (parts for parts, size in activation_bytes.items() if others + size <= limit)
    parts = known_parts if known_parts in activation_bytes else next(fitting, None)
    if parts is None:
        parts = min(activation_bytes, key=activation_bytes.__getitem__)
        smallest = activation_bytes[parts]
        raise InputError(_refusal(config, settings, plan, batch // parts, others, smallest, limit))
    split = BatchParts(
        parts=parts,
        batch_size=batch // parts,
        gradient_accumulation_steps=accumulation * parts,
        needed_bytes=others + activation_bytes[parts],
        device_bytes=device_bytes,
    )
    settings = _split_settings(settings, split)
    return settings, replace_field(
        plan,
        batch_parts=split,
        bytes_per_process={
            **plan.bytes_per_process,
            "activations_estimate": activation_bytes[parts],
        },
        trainer_fields=dict(settings.trainer),
    )


def _recorded_parts(
    recorded: TrainingPlan | None, plan: TrainingPlan, batch: int, accumulation: int
) -> int | None:
    """The parts of the interrupted run, if it had the same batches and number of processes."""
    if recorded is None or recorded.batch_parts is UNSET:
        return None
    split = recorded.batch_parts
    is_same = (
        recorded.processes == plan.processes
        and split.batch_size * split.parts == batch
        and split.gradient_accumulation_steps == accumulation * split.parts
    )
    return split.parts if is_same else None


def _keeps_updates(config: GRPOConfig | SFTConfig, plan: TrainingPlan, rows: int) -> bool:
    """Whether passes of so many rows leave the same completions in each update.

    With shared prompts, complete groups are shuffled, or equal parts of groups where a batch is too
    small for a group. If a generation is used for several updates, other parts of groups would be
    in another update.
    """
    if not generates(config) or not plan.shared_prefix:
        return True
    generations = config.num_generations or 1
    group_part = math.gcd(generations, config.per_device_train_batch_size)
    is_one_update = config.gradient_accumulation_steps % (config.steps_per_generation or 1) == 0
    return is_one_update or math.gcd(generations, rows) == group_part


def _require_independent(config: GRPOConfig | SFTConfig) -> None:
    """Raise InputError for settings with which the gradient depends on the parts of a batch."""
    reason = next(_dependences(config), None)
    if reason:
        raise InputError(
            f"--fit-memory: {reason}, so a run would depend on the memory of its machine. Leave "
            "out one of the two, or set --batch-size and --gradient-accumulation-steps."
        )


def _dependences(config: GRPOConfig | SFTConfig) -> Iterator[str]:
    if not generates(config):
        if config.dataloader_drop_last:
            yield "--dataloader-drop-last leaves out the last incomplete batch"
        return
    if config.loss_type == "bnpo":
        yield "--loss-type bnpo divides by the tokens of each batch"
    if config.top_entropy_quantile < 1:
        yield "--top-entropy-quantile compares the tokens of each batch"
    if config.entropy_coef or config.use_adaptive_entropy:
        yield "the entropy bonus is a mean over the tokens of each batch"


def _split_settings(settings: TrainingSettings, split: BatchParts) -> TrainingSettings:
    """The settings with the numbers of a split; a generation has as many completions as before."""
    if split.parts == 1:
        return settings
    trainer = {
        **settings.trainer,
        "per_device_train_batch_size": split.batch_size,
        "gradient_accumulation_steps": split.gradient_accumulation_steps,
    }
    if steps := trainer.get("steps_per_generation"):
        trainer["steps_per_generation"] = steps * split.parts
    return replace(settings, trainer=trainer)


def _refusal(
    config: GRPOConfig | SFTConfig,
    settings: TrainingSettings,
    plan: TrainingPlan,
    rows: int,
    others: int,
    activation_bytes: int,
    limit: int,
) -> str:
    """The message of a run of which not even a part with so many rows fits.

    `activation_bytes` are those of its activations, `others` all others.
    """
    is_grpo, num_bytes = generates(config), plan.bytes_per_process
    is_quantized = settings.model.get("load_in_4bit") or settings.model.get("load_in_8bit")
    has_adapter = settings.model.get("use_peft")
    remedies = {
        # it makes activations smaller, which is not enough if the others do not fit
        "--gradient-checkpointing": not config.gradient_checkpointing and others <= limit,
        "--use-peft": not has_adapter,
        "--load-in-4bit": has_adapter and not is_quantized and plan.device == "cuda",
        "--dtype bfloat16": plan.dtype == "float32",
        "--beta 0": num_bytes["reference_model"],
        "a lower --max-pixels": plan.prompts.max_pixels is not UNSET,
        "a lower --max-completion-length": is_grpo,
        "a lower --batch-size, for fewer completions at once": (
            is_grpo and num_bytes["generation_cache"] > limit // 2
        ),
    }
    helpful = [name for name, helps in remedies.items() if helps]
    passes = counted(rows, "completion" if is_grpo else "item")
    sizes = [size_text(size).strip() for size in (others + activation_bytes, limit)]
    return (
        f"--fit-memory: with {passes} in a pass, the run needs {sizes[0]} and the memory of "
        f"libraries, and {SHARE:.0%} of the memory ({plan.device}) are {sizes[1]}. These lower it: "
        f"{', '.join(helpful)}."
    )
