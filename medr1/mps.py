"""What a Mac's graphics device asks for: its memory limits, and images that fit them.

Not tried on a Mac by the developers: the limits follow PyTorch's documentation of MPS.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

MAX_PIXELS = 512 * 28 * 28
"""What 512 image tokens show; attention over many more has failed on MPS for want of memory."""
HIGH, LOW = "PYTORCH_MPS_HIGH_WATERMARK_RATIO", "PYTORCH_MPS_LOW_WATERMARK_RATIO"

logger = logging.getLogger("medr1")


def mps_environment(
    platform: str = sys.platform, given: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """What is set before torch is imported: missing operators on the CPU, memory within the limit.

    Both memory ratios or neither: PyTorch refuses a low one above the high one.
    """
    settings = {"PYTORCH_ENABLE_MPS_FALLBACK": "1"}
    if platform == "darwin" and HIGH not in given and LOW not in given:
        settings |= {HIGH: "1.0", LOW: "0.9"}
    return settings


def unlimited_memory(given: Mapping[str, str] = os.environ) -> str | None:
    """What is wrong where the limit on MPS memory was lifted, which may crash the system."""
    try:
        lifted = float(given.get(HIGH, "1")) == 0
    except ValueError:
        return None
    if not lifted:
        return None
    return f"{HIGH}=0.0 lifts the memory limit and may crash the machine; unset it."


def limit_pixels(processor: Any, device: torch.device) -> None:
    """Make the processor shrink images to what MPS has memory for; any other device: nothing.

    `size["longest_edge"]` is what is read, and is a number of pixels; `max_pixels` is ignored.
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
