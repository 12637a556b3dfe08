"""Check that the packages which only some settings need are installed, before anything is loaded.

The libraries notice a missing package late, after the model is loaded or at the first step, and
raise different exceptions (ImportError, RuntimeError, PackageNotFoundError).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec

ATTENTION = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_interface"}
"""Value of `attn_implementation` -> the package that it needs."""


def require_extras(
    fields: Mapping[str, object], environment: Mapping[str, str] = os.environ
) -> None:
    """Check that the packages which these settings need are installed.

    Args:
        fields: Fields of TRL's configurations by name.
        environment: The environment variables, which accelerate uses to ask for DeepSpeed.

    Raises:
        ModuleNotFoundError: A package is missing; its `name` is the first such package.
    """
    for package in required_packages(fields, environment):
        if find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)


def required_packages(
    fields: Mapping[str, object], environment: Mapping[str, str]
) -> Iterator[str]:
    """The packages that settings need besides TRL itself.

    Args:
        fields: Fields of TRL's configurations by name.
        environment: The environment variables, which accelerate uses to ask for DeepSpeed.

    Returns:
        The names of the modules to import.
    """
    if fields.get("use_peft"):
        yield "peft"
    if fields.get("use_vllm"):
        yield "vllm"
    optimizer = str(fields.get("optim", ""))
    if fields.get("load_in_4bit") or fields.get("load_in_8bit") or _needs_bitsandbytes(optimizer):
        yield "bitsandbytes"
    if fields.get("deepspeed") or environment.get("ACCELERATE_USE_DEEPSPEED") == "true":
        yield "deepspeed"
    if fields.get("use_liger_kernel"):
        yield "liger_kernel"
    attention = str(fields.get("attn_implementation") or "")
    if attention in ATTENTION:
        yield ATTENTION[attention]


def _needs_bitsandbytes(optimizer: str) -> bool:
    if "torch" in optimizer:
        return False
    return "8bit" in optimizer or "bnb" in optimizer or optimizer.startswith("paged_")
