"""What every stage of training uses: one step, and a line of progress."""

from __future__ import annotations

import time
from typing import Any

import torch


def update(
    optimizer: torch.optim.Optimizer, weights: list[Any], loss: torch.Tensor, rate: float
) -> None:
    """One clipped step at this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    optimizer.step()


def report(line: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
