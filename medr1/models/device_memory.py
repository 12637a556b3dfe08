"""The memory of the device that a model runs on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def device_memory(device: torch.device, environment: Mapping[str, str] = os.environ) -> int:
    """The bytes that one process can use on a device.

    On a GPU they are all bytes of it, whatever is in use now, and on a Mac's GPU as many as its
    driver recommends. On the CPU they are those that are available now, divided by the number of
    processes of this run on the machine.

    Args:
        device: The device.
        environment: Variables, of which torchrun sets LOCAL_WORLD_SIZE.
    """
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device if device.index is not None else None)[1])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    import psutil

    available: int = psutil.virtual_memory().available
    return available // int(environment.get("LOCAL_WORLD_SIZE", "1"))
