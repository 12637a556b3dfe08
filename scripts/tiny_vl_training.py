"""Functions for all stages of training: one step, and a progress line."""

from __future__ import annotations

import time
from typing import Any

import torch


def update(
    optimizer: torch.optim.Optimizer, weights: list[Any], loss: torch.Tensor, rate: float
) -> None:
    """Make one step with clipped gradients.

    Args:
        optimizer: The optimizer of the weights.
        weights: The weights that are trained.
        loss: The loss of the batch.
        rate: The learning rate of this step.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    optimizer.step()


def report(line: str) -> None:
    """Print a progress line with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
