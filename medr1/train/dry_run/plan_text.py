"""The plan of a run as text, as `medr1 train --dry-run` prints it."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import UNSET

from medr1.documents.training import BatchParts, PromptPlan, TrainingPlan
from medr1.terminal import counted

_BYTES = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "autocast_copies": "copies in 16 bits",
    "reference_model": "reference model",
    "activations_estimate": "activations (estimate)",
    "generation_cache": "generation cache",
    "gathered_weights": "weights gathered to generate",
}
"""Key of `bytes_per_process` in the plan -> its name in the text."""


def plan_text(plan: TrainingPlan) -> str:
    """The plan of `train.run.resolve_plan`, one line per fact, without the versions and hashes."""
    rows = [*_run(plan), ("", ""), *_prompts(plan.prompts), ("", ""), *_memory(plan)]
    fields = {**plan.trainer_fields, **plan.model_fields}
    if fields:
        rows += [("", ""), *((name, _value(name, fields[name])) for name in sorted(fields))]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:{width}}  {value}".rstrip() for name, value in rows]
    return "\n".join([*lines, "", "the first prompt", plan.prompts.first])


def _value(name: str, value: object) -> str:
    """A field's value; TRL keeps numbers of steps as floats, and reads one below 1 as a share."""
    if not name.endswith("_steps") or not isinstance(value, float):
        return str(value)
    return str(int(value)) if value.is_integer() else f"{value:g} (share of all steps)"


def _run(plan: TrainingPlan) -> Iterator[tuple[str, str]]:
    total, trained = plan.parameters, plan.trained_parameters
    processes = plan.processes
    yield "model", plan.model
    rewards = f", rewards {', '.join(plan.rewards)}" if plan.rewards is not UNSET else ""
    yield "method", f"{plan.method}, prompt {plan.prompt}{rewards}"
    yield "parameters", f"{total:,}, of which {trained:,} ({trained / total:.1%}) are trained"
    if plan.papo is not UNSET:
        divergence, entropy = plan.papo
        yield "PAPO", f"{divergence:g}" + (f", entropy loss {entropy:g}" if entropy else "")
    if plan.dropout is not UNSET:
        yield "dropout", plan.dropout
    if plan.not_shared is not UNSET:
        yield "shared prefix", f"no ({plan.not_shared})"
    yield "data type", f"weights {plan.weights_dtype}, computation {plan.dtype}"
    sharding = "" if processes == 1 else f", {processes} processes, {plan.sharding}"
    yield "device", plan.device + sharding
    order = f", {plan.question_order}" if plan.question_order is not UNSET else ""
    yield "questions", f"{plan.samples:,}{order}"
    per_step = counted(plan.prompts_per_step, "prompt")
    if plan.completions_per_step is not UNSET:
        per_step = f"{counted(plan.completions_per_step, 'completion')} of {per_step}"
    yield "steps", f"{plan.steps:,}, each with {per_step}"
    if plan.batch_parts is not UNSET:
        yield "passes", _parts(plan.batch_parts, is_grpo=plan.completions_per_step is not UNSET)


def _parts(split: BatchParts, *, is_grpo: bool) -> str:
    """How --fit-memory splits the batches."""
    rows = counted(split.batch_size, "completion" if is_grpo else "item")
    parts = "batches are not split" if split.parts == 1 else f"each batch in {split.parts:,} parts"
    memory = size_text(split.device_bytes).strip()
    return f"{rows} at a time, {parts} (--fit-memory, {memory} of memory)"


def _prompts(prompts: PromptPlan) -> Iterator[tuple[str, str]]:
    ranges = {
        "prompt tokens": prompts.prompt_tokens,
        "image tokens": prompts.image_tokens,
        "target tokens": prompts.target_tokens,
    }
    for name, tokens in ranges.items():
        if tokens is UNSET:
            continue
        token_range = f"{tokens.min:,} to {tokens.max:,}, mean {tokens.mean:,}"
        yield name, f"{tokens.min:,}" if tokens.min == tokens.max else token_range
    if prompts.min_pixels is not UNSET and prompts.max_pixels is not UNSET:
        yield "pixels per image", f"{prompts.min_pixels:,} to {prompts.max_pixels:,}"
    yield "longest prompt", f"{prompts.longest.id}: {', '.join(prompts.longest.images)}"


def _memory(plan: TrainingPlan) -> Iterator[tuple[str, str]]:
    num_bytes = plan.bytes_per_process
    is_single = plan.processes == 1
    yield "memory" if is_single else "memory per process", ""
    for key, name in _BYTES.items():
        if num_bytes[key]:
            yield f"  {name}", size_text(num_bytes[key])
    yield "  total", f"{size_text(sum(num_bytes.values()))}, plus the memory of libraries"


def size_text(count: int) -> str:
    """A number of bytes in the largest unit of which there is at least one, padded on the left."""
    for unit, unit_bytes in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= unit_bytes:
            return f"{count / unit_bytes:6.1f} {unit}"
    return f"{count / 2**10:6.1f} KiB"
