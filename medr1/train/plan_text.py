"""The plan of a run as people read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_BYTES = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "autocast_copies": "copies to compute in",
    "reference_model": "reference model",
    "activations_estimate": "activations (estimate)",
    "generation_cache": "cache while generating",
}


def plan_text(plan: Mapping[str, Any]) -> str:
    """What `train.run.resolved` found, a line each, without the versions and hashes."""
    rows = [*_run(plan), ("", ""), *_prompts(plan["prompts"]), ("", ""), *_memory(plan)]
    fields = {**plan["trainer_fields"], **plan["model_fields"]}
    if fields:
        rows += [("", ""), *((name, str(value)) for name, value in sorted(fields.items()))]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:{width}}  {value}".rstrip() for name, value in rows]
    return "\n".join([*lines, "", "the first prompt", plan["prompts"]["first"]])


def _run(plan: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    total, trained = plan["parameters"], plan["trained_parameters"]
    processes = plan["processes"]
    yield "model", str(plan["model"])
    rewarded = f", rewarded for {', '.join(plan['rewards'])}" if "rewards" in plan else ""
    yield "method", f"{plan['method']}, prompt {plan['prompt']}{rewarded}"
    yield "parameters", f"{total:,}, of which {trained:,} ({trained / total:.1%}) are trained"
    if "dropout" in plan:
        yield "dropout", str(plan["dropout"])
    yield "numbers", f"weights {plan['weights_dtype']}, computing in {plan['dtype']}"
    shared = "" if processes == 1 else f", {processes} processes, {plan['sharding']}"
    yield "device", plan["device"] + shared
    yield "questions", f"{plan['samples']:,}"
    of_a_step = f"{plan['prompts_per_step']:,} prompts"
    if "completions_per_step" in plan:
        of_a_step = f"{plan['completions_per_step']:,} completions of {of_a_step}"
    yield "steps", f"{plan['steps']:,}, each of {of_a_step}"


def _prompts(prompts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("prompt_tokens", "image_tokens", "target_tokens"):
        if name not in prompts:
            continue
        tokens = prompts[name]
        spread = f"{tokens['min']:,} to {tokens['max']:,}, mean {tokens['mean']:,}"
        same = tokens["min"] == tokens["max"]
        yield name.replace("_", " "), f"{tokens['min']:,}" if same else spread
    yield "pixels of an image", f"{prompts['min_pixels']:,} to {prompts['max_pixels']:,}"
    longest = prompts["longest"]
    yield "longest", f"{longest['id']}: {', '.join(longest['images'])}"


def _memory(plan: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    num_bytes = plan["bytes_per_process"]
    alone = plan["processes"] == 1
    yield "memory" if alone else "memory of a process", ""
    for key, name in _BYTES.items():
        if num_bytes[key]:
            yield f"  {name}", _size(num_bytes[key])
    yield "  in all", f"{_size(sum(num_bytes.values()))}, and what libraries take beside"


def _size(count: int) -> str:
    """Bytes in the unit that leaves few digits."""
    for unit, bytes_of_it in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= bytes_of_it:
            return f"{count / bytes_of_it:6.1f} {unit}"
    return f"{count / 2**10:6.1f} KiB"
