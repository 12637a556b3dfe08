"""Weights of 4 or 8 bits, by bitsandbytes: its configuration, and what it needs of a device."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from medr1.errors import InputError

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig, PreTrainedModel

Bits = Literal[4, 8]
"""Bits of a weight. 4: NF4, with a scale for each 64 weights. 8: LLM.int8()."""


def bitsandbytes_config(bits: Bits, dtype: torch.dtype) -> BitsAndBytesConfig:
    """The configuration for weights that are only read, with the defaults of `medr1 train`.

    `loading.load_weights` adds the names of the modules that are not quantized.

    Args:
        bits: Bits of a weight.
        dtype: The dtype to compute in. With 8 bits, the quantized layers read float16.

    Raises:
        ModuleNotFoundError: bitsandbytes is not installed.
    """
    package = "bitsandbytes"
    if find_spec(package) is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    from transformers import BitsAndBytesConfig

    if bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
    )


def require_quantizing(device: torch.device) -> None:
    """Refuse a device on which bitsandbytes does not work, or would run downloaded code.

    On MPS it takes kernels from a hub where the package kernels is installed.

    Args:
        device: Where the model will run.

    Raises:
        InputError: On MPS, bitsandbytes is too old, or kernels is installed.
    """
    if device.type != "mps":
        return
    if find_spec("bitsandbytes.backends.mps") is None:
        raise InputError(
            "this version of bitsandbytes has no weights of 4 or 8 bits on MPS. Update it, or use "
            "--device cpu."
        )
    if find_spec("kernels") is not None:
        raise InputError(
            "on MPS, bitsandbytes would run kernels from a hub, which medr1 never runs. Uninstall "
            "the package kernels, or use --device cpu."
        )


def compute_in_own_dtype(model: PreTrainedModel) -> None:
    """Let layers of 4 bits compute in the configured dtype on every CPU.

    On CPUs with AVX512-BF16, bitsandbytes packs the weights at the first pass without gradients.
    Such a layer computes in bfloat16, and cannot be trained afterwards: it has no gradient.

    Args:
        model: The model, before its first pass.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]  # its own flag
