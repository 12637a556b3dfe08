"""The checks: each judges one thing, and says what to do where it is wrong.

`machine` collects the facts; this module judges them, and measures attention and the embedded
model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from medr1.doctor import machine
from medr1.doctor.machine import ChosenSettings, MachineFacts
from medr1.errors import InputError
from medr1.models.mps import unlimited_memory

SCHEMA = "medr1.doctor/2"
PARAMETERS_3B = 3.75e9
"""Parameters of Qwen2.5-VL-3B with its vision tower: 7.5 GB in two bytes each, 15 GB in four."""
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes of a parameter."""


@dataclass(frozen=True)
class CheckResult:
    """The result of one check, an entry of "checks" in the JSON document."""

    status: str
    """ok, warn or FAIL."""
    check: str
    """What was checked, such as "memory"."""
    message: str
    """The observation."""
    todo: str = ""
    """What to do; "" for nothing."""


def examine(device: str = "auto") -> dict[str, Any]:
    """Run all checks; the result is the document that `medr1 doctor --json` prints.

    It has the facts of `machine`, the "checks", and "ok": whether none of them is FAIL. Raises
    InputError where the machine does not have this device.
    """
    facts = machine.facts(device)
    results = [
        *check_libraries(facts.libraries),
        *check_memory(facts),
        *_check_mac(facts),
        *_check_attention(facts.chosen),
        *_check_model(facts.chosen),
    ]
    return {
        "schema": SCHEMA,
        "ok": all(result.status != "FAIL" for result in results),
        **asdict(facts),
        "checks": [asdict(result) for result in results],
    }


def check_libraries(libraries: dict[str, dict[str, str | None]]) -> Iterator[CheckResult]:
    """A FAIL for each library that is missing or too old, and one result about the others.

    `libraries`: from `machine.compared_versions`.
    """
    from packaging.specifiers import SpecifierSet

    failed, untested = False, []
    for name, versions in libraries.items():
        installed, tested = versions["installed"], versions["tried"]
        needs = versions["needs"] or ""
        upgrade = f"pip install -U '{name}{needs}'"
        if installed is None:
            failed = True
            yield CheckResult("FAIL", "libraries", f"{name} is not installed", upgrade)
        elif needs and not SpecifierSet(needs).contains(installed, prereleases=True):
            failed = True
            problem = f"{name} {installed}, medr1 needs {needs}"
            yield CheckResult("FAIL", "libraries", problem, upgrade)
        # "2.15.0+cpu" is the same release as "2.15.0"
        elif tested and installed.split("+")[0] != tested:
            untested.append(f"{name} {installed} (tested: {tested})")
    if untested:
        problem = f"not the tested versions: {', '.join(untested)}"
        todo = "if something looks wrong: pip install -r scripts/constraints.txt"
        yield CheckResult("warn", "libraries", problem, todo)
    elif not failed:
        yield CheckResult("ok", "libraries", "the versions that were tested together")


def check_memory(facts: MachineFacts) -> Iterator[CheckResult]:
    """Whether a checkpoint of 3B parameters fits on the chosen device, and on the disk.

    `facts`: from `machine.facts`.
    """
    chosen = facts.chosen
    device = next(entry for entry in facts.devices if entry.kind == chosen.device)
    # The entry of the CPU has no memory; there the available memory of the machine counts.
    free = device.free or facts.memory.available
    where = "of memory available" if device.free is None else f"on {chosen.device}"
    need = PARAMETERS_3B * BYTES[chosen.dtype]
    half = PARAMETERS_3B * 2
    memory = f"{free / 1e9:.1f} GB {where}; a 3B model needs {need / 1e9:.1f} GB in {chosen.dtype}"
    # 1.2: a fifth more than the parameters, for images, caches and activations.
    if free > 1.2 * need:
        yield CheckResult("ok", "memory", memory)
    elif free > 1.2 * half:
        todo = "for a 3B model use --dtype bfloat16, which needs half of that"
        yield CheckResult("warn", "memory", memory, todo)
    else:
        fits = free / 1.2 / 2 / 1e9
        todo = f"with --dtype bfloat16 a model of up to {fits:.1f}B parameters fits"
        yield CheckResult("warn", "memory", memory, todo)
    disk_free = facts.disk_free
    disk = f"{disk_free / 1e9:.1f} GB free in this folder"
    if disk_free > half:
        yield CheckResult("ok", "disk", disk)
    else:
        disk += "; a 3B checkpoint takes 7.5 GB"
        todo = "choose a folder on another disk: medr1 fetch --output-dir"
        yield CheckResult("warn", "disk", disk, todo)


def _check_mac(facts: MachineFacts) -> Iterator[CheckResult]:
    if problem := unlimited_memory():
        yield CheckResult("FAIL", "mps memory", problem, "unset PYTORCH_MPS_HIGH_WATERMARK_RATIO")
    if facts.is_mac:
        note = "the developers have not tested medr1 on a Mac"
        todo = "rely on the checks below, and report what they find"
        yield CheckResult("warn", "mac", note, todo)


def _check_attention(chosen: ChosenSettings) -> Iterator[CheckResult]:
    """Whether torch's fused attention is right on the device: a FAIL for each wrong case."""
    import torch

    from medr1.doctor.attention import CASES, TOLERANCE, attention_differences

    device = torch.device(chosen.device)
    dtypes = ("float32", "bfloat16") if device.type == "cpu" else tuple(TOLERANCE)
    largest: dict[str, float] = {}
    failed = False
    todo = "use --device cpu, or another version of torch"
    if chosen.attention == "eager":
        todo = f"nothing: medr1 uses eager attention on {device.type}"
    try:
        for name, dtype, difference in attention_differences(device, dtypes):
            largest[dtype] = max(largest.get(dtype, 0.0), difference)
            # "not <=", because a comparison with nan is False
            if not difference <= TOLERANCE[dtype]:
                failed = True
                problem = (
                    f"{name}, {dtype}: wrong by {difference:.2g} (allowed {TOLERANCE[dtype]:.2g})"
                )
                # With eager attention the fused one is not used, so its fault does no harm.
                status = "warn" if chosen.attention == "eager" else "FAIL"
                yield CheckResult(status, "attention", problem, todo)
    except RuntimeError as error:
        failed = True
        yield CheckResult("FAIL", "attention", " ".join(str(error).split())[:120], todo)
    if not failed:
        differences = ", ".join(f"{value:.1e} in {dtype}" for dtype, value in largest.items())
        agreement = (
            f"{len(CASES) * len(dtypes)} cases agree with a plain attention in float64; "
            f"largest difference {differences}"
        )
        yield CheckResult("ok", "attention", agreement)


def _check_model(chosen: ChosenSettings) -> Iterator[CheckResult]:
    """Whether the embedded model gives the same on the device as on the CPU in float32."""
    import torch

    from medr1.doctor.agreement import N_QUESTIONS, TOLERANCE, compare_with_cpu

    device = torch.device(chosen.device)
    attention = chosen.attention
    for dtype in dict.fromkeys((chosen.dtype, "float32")):
        settings = f"{device.type} {dtype} {attention}"
        try:
            difference, same_tokens = compare_with_cpu(device, dtype, attention)
        except (InputError, RuntimeError) as error:
            problem = f"{settings}: {' '.join(str(error).split())[:160]}"
            todo = "run it inside the checkout; elsewhere use --device cpu"
            yield CheckResult("FAIL", "embedded model", problem, todo)
            continue
        comparison = (
            f"{settings} compared with cpu float32 eager: logits differ by at most {difference:.1e}"
        )
        todo = "use --device cpu, or another version of torch"
        if not difference <= TOLERANCE[dtype]:
            yield CheckResult("FAIL", "embedded model", comparison, todo)
        elif not same_tokens:
            # Rounding in a 16-bit dtype may change a token; in float32 it should not.
            status = "FAIL" if dtype == "float32" else "warn"
            if status == "warn":
                todo = "answers may differ a little in this dtype; use --dtype float32 to avoid it"
            yield CheckResult(
                status, "embedded model", f"{comparison}, different greedy tokens", todo
            )
        else:
            comparison += f", the same tokens for {N_QUESTIONS} questions"
            yield CheckResult("ok", "embedded model", comparison)
