"""Settings for MPS, PyTorch's backend for the GPU of a Mac: memory limits, and smaller images.

The developers have not tried this on a Mac: the limits follow PyTorch's documentation of MPS.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import ProcessorMixin

MAX_PIXELS = 512 * 28 * 28
"""Pixels of 512 image tokens; with many more, attention has run out of memory on MPS."""
HIGH, LOW = "PYTORCH_MPS_HIGH_WATERMARK_RATIO", "PYTORCH_MPS_LOW_WATERMARK_RATIO"
"""Environment variables of PyTorch: the limit on MPS memory, and where it starts to free memory."""

logger = logging.getLogger("medr1")


def mps_environment(
    platform: str = sys.platform, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The environment variables to set before torch is imported.

    Operators that MPS lacks run on the CPU. On a Mac the memory limits are set as well, unless the
    user has set one of them: PyTorch refuses a low limit above the high one, so both are set or
    neither.

    Args:
        platform: As in `sys.platform`; "darwin" is a Mac.
        environment: The variables that are set already.
    """
    settings = {"PYTORCH_ENABLE_MPS_FALLBACK": "1"}
    if platform == "darwin" and HIGH not in environment and LOW not in environment:
        settings |= {HIGH: "1.0", LOW: "0.9"}
    return settings


def unlimited_memory(environment: Mapping[str, str] = os.environ) -> str | None:
    """A warning if the limit on MPS memory was switched off (0.0), else None."""
    try:
        is_unlimited = float(environment.get(HIGH, "1")) == 0
    except ValueError:
        return None
    if not is_unlimited:
        return None
    return f"{HIGH}=0.0 switches the memory limit off and may crash the machine; unset it."


def limit_pixels(processor: ProcessorMixin, device: torch.device) -> None:
    """On MPS, make the processor shrink images to at most MAX_PIXELS; elsewhere do nothing.

    Despite its name, `size["longest_edge"]` of the image processor is a number of pixels; it is
    what counts, and `max_pixels` is ignored.

    Args:
        processor: Of the checkpoint; it is changed in place.
        device: Where the model runs.
    """
    if device.type != "mps":
        return
    if problem := unlimited_memory():
        logger.warning("%s", problem)
    size = processor.image_processor.size
    if size["longest_edge"] > MAX_PIXELS:
        logger.info(
            "max_pixels is %d on MPS instead of the checkpoint's %d, to fit its memory; "
            "--device cpu keeps the checkpoint's.",
            MAX_PIXELS,
            size["longest_edge"],
        )
        size["longest_edge"] = MAX_PIXELS
