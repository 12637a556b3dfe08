"""Packages that only some settings need, looked for before anything is loaded.

What the libraries raise where one is missing has no common kind (ImportError, RuntimeError,
PackageNotFoundError), and comes late: after the model is loaded, or at the first step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

ATTENTION = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_interface"}


def require_extras(fields: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> None:
    """Raise ModuleNotFoundError for the first package that these fields need and that is missing.

    `fields` are those of TRL's configurations; `environment` what accelerate has put there.
    """
    for package in needed(fields, environment):
        if find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)


def needed(fields: Mapping[str, Any], environment: Mapping[str, str]) -> Iterator[str]:
    """The packages that fields of TRL's configurations need beside TRL itself."""
    if fields.get("use_peft"):
        yield "peft"
    if fields.get("use_vllm"):
        yield "vllm"
    optimizer = str(fields.get("optim", ""))
    if fields.get("load_in_4bit") or fields.get("load_in_8bit") or _is_of_bitsandbytes(optimizer):
        yield "bitsandbytes"
    if fields.get("deepspeed") or environment.get("ACCELERATE_USE_DEEPSPEED") == "true":
        yield "deepspeed"
    if fields.get("use_liger_kernel"):
        yield "liger_kernel"
    attention = str(fields.get("attn_implementation") or "")
    if attention in ATTENTION:
        yield ATTENTION[attention]


def _is_of_bitsandbytes(optimizer: str) -> bool:
    if "torch" in optimizer:
        return False
    return "8bit" in optimizer or "bnb" in optimizer or optimizer.startswith("paged_")
