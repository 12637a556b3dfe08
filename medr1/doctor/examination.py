"""The judgements: one finding for each thing looked at, with what to do where it is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from medr1.doctor import machine
from medr1.errors import InputError
from medr1.mps import unlimited_memory

SCHEMA = "medr1.doctor/1"
PARAMETERS_3B = 3.75e9
"""Of Qwen2.5-VL-3B with its vision tower: 7.5 GB in two bytes each, 15 GB in four."""
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class Finding:
    """ok, warn or FAIL, what was looked at, what was seen, and what to do."""

    status: str
    check: str
    said: str
    todo: str = ""


def examine(device: str = "auto") -> dict[str, Any]:
    """The facts and the findings as one document; `ok` where nothing failed.

    Raises InputError where the device asked for is not here.
    """
    document = machine.facts(device)
    findings = [
        *library_findings(document["libraries"]),
        *memory_findings(document),
        *_mac_findings(document),
        *_attention_findings(document["chosen"]),
        *_model_findings(document["chosen"]),
    ]
    return {
        "schema": SCHEMA,
        "ok": all(finding.status != "FAIL" for finding in findings),
        **document,
        "checks": [asdict(finding) for finding in findings],
    }


def library_findings(libraries: dict[str, dict[str, str | None]]) -> Iterator[Finding]:
    """A FAIL for each library that is missing or too old, and one line about the others."""
    from packaging.specifiers import SpecifierSet

    wrong, other = False, []
    for name, its in libraries.items():
        have, tried, needs = its["installed"], its["tried"], its["needs"] or ""
        upgrade = f"pip install -U '{name}{needs}'"
        if have is None:
            wrong = True
            yield Finding("FAIL", "libraries", f"{name} is not installed", upgrade)
        elif needs and not SpecifierSet(needs).contains(have, prereleases=True):
            wrong = True
            yield Finding("FAIL", "libraries", f"{name} {have}, medr1 needs {needs}", upgrade)
        elif tried and have.split("+")[0] != tried:
            other.append(f"{name} {have} (tried: {tried})")
    if other:
        again = "if something looks wrong: pip install -r scripts/constraints.txt"
        yield Finding("warn", "libraries", f"not the versions tried: {', '.join(other)}", again)
    elif not wrong:
        yield Finding("ok", "libraries", "the versions that were tried together")


def memory_findings(document: dict[str, Any]) -> Iterator[Finding]:
    """Whether a checkpoint of 3B parameters fits the chosen device, and the disk."""
    chosen = document["chosen"]
    own = next(d for d in document["devices"] if d["kind"] == chosen["device"])
    free = own["free"] or document["memory"]["available"]
    where = "of memory available" if own["free"] is None else f"on {chosen['device']}"
    need = PARAMETERS_3B * BYTES[chosen["dtype"]]
    half = PARAMETERS_3B * 2
    said = f"{free / 1e9:.1f} GB {where}; a 3B model is {need / 1e9:.1f} GB in {chosen['dtype']}"
    if free > 1.2 * need:
        yield Finding("ok", "memory", said)
    elif free > 1.2 * half:
        todo = "for 3B: --dtype bfloat16, half of that"
        yield Finding("warn", "memory", said, todo)
    else:
        fits = free / 1.2 / 2 / 1e9
        todo = f"with --dtype bfloat16 a model of up to {fits:.1f}B parameters fits"
        yield Finding("warn", "memory", said, todo)
    disk = document["disk_free"]
    if disk > half:
        yield Finding("ok", "disk", f"{disk / 1e9:.1f} GB free in this folder")
    else:
        said = f"{disk / 1e9:.1f} GB free in this folder; a 3B checkpoint takes 7.5 GB"
        yield Finding("warn", "disk", said, "medr1 fetch --output-dir names another place")


def _mac_findings(document: dict[str, Any]) -> Iterator[Finding]:
    if problem := unlimited_memory():
        yield Finding("FAIL", "mps memory", problem, "unset PYTORCH_MPS_HIGH_WATERMARK_RATIO")
    if document["is_mac"]:
        said = "not tried on a Mac by the developers"
        yield Finding("warn", "mac", said, "trust the checks below, and report what they find")


def _attention_findings(chosen: dict[str, str]) -> Iterator[Finding]:
    import torch

    from medr1.doctor.attention import CASES, TOLERANCE, compare

    device = torch.device(chosen["device"])
    dtypes = ("float32", "bfloat16") if device.type == "cpu" else tuple(TOLERANCE)
    worst: dict[str, float] = {}
    wrong = False
    todo = "use --device cpu, or another torch"
    if chosen["attention"] == "eager":
        todo = f"nothing: attention eager is used on {device.type} already"
    try:
        for name, dtype, apart in compare(device, dtypes):
            worst[dtype] = max(worst.get(dtype, 0.0), apart)
            if not apart <= TOLERANCE[dtype]:
                wrong = True
                said = f"{name}, {dtype}: off by {apart:.2g} (allowed {TOLERANCE[dtype]:.2g})"
                # what is not used cannot harm
                status = "warn" if chosen["attention"] == "eager" else "FAIL"
                yield Finding(status, "attention", said, todo)
    except RuntimeError as error:
        wrong = True
        yield Finding("FAIL", "attention", " ".join(str(error).split())[:120], todo)
    if not wrong:
        most = ", ".join(f"{apart:.1e} in {dtype}" for dtype, apart in worst.items())
        said = f"{len(CASES) * len(dtypes)} cases against a plain one in float64: within {most}"
        yield Finding("ok", "attention", said)


def _model_findings(chosen: dict[str, str]) -> Iterator[Finding]:
    import torch

    from medr1.doctor.agreement import N_QUESTIONS, TOLERANCE, compare

    device = torch.device(chosen["device"])
    attention = chosen["attention"]
    for dtype in dict.fromkeys((chosen["dtype"], "float32")):
        where = f"{device.type} {dtype} {attention}"
        try:
            apart, same = compare(device, dtype, attention)
        except (InputError, RuntimeError) as error:
            said = " ".join(str(error).split())[:160]
            todo = "run it inside the checkout; elsewhere use --device cpu"
            yield Finding("FAIL", "embedded model", f"{where}: {said}", todo)
            continue
        said = f"{where} against cpu float32 eager: logits within {apart:.1e}"
        if not apart <= TOLERANCE[dtype]:
            yield Finding("FAIL", "embedded model", said, "use --device cpu, or another torch")
        elif not same:
            status = "FAIL" if dtype == "float32" else "warn"
            todo = "answers may differ a little in this dtype; --dtype float32 does not"
            if status == "FAIL":
                todo = "use --device cpu, or another torch"
            yield Finding(status, "embedded model", f"{said}, other greedy tokens", todo)
        else:
            said += f", the same tokens for {N_QUESTIONS} questions"
            yield Finding("ok", "embedded model", said)
