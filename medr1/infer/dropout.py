"""Dropout sampling: the answer asked again with a model's own dropout left on.

Each pass draws other connections to drop, as training did; how far the passes differ is what the
model does not know. Gal and Ghahramani (2016), Dropout as a Bayesian Approximation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from medr1.errors import InputError
from medr1.models import LoadedModel


def require_dropout(loaded: LoadedModel) -> None:
    """Refuse a model that drops nothing: all its passes would be the same."""
    if not _dropping(loaded.model):
        raise InputError(
            f"checkpoint {loaded.path} has no dropout to sample: neither attention_dropout in its "
            "config.json, nor an adapter with lora_dropout (train --use-peft --lora-dropout 0.1)."
        )


@contextmanager
def dropout_on(loaded: LoadedModel, seed: int) -> Iterator[None]:
    """The model with its dropout on, drawn from the seed; all else stays in evaluation mode."""
    import torch

    modules = _dropping(loaded.model)
    gpus = [loaded.device] if loaded.device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(seed)
        try:
            for module in modules:
                module.training = True
            yield
        finally:
            for module in modules:
                module.training = False


def _dropping(model: Any) -> list[Any]:
    """The modules that drop a share above 0 while they are in training mode."""
    return [module for module in model.modules() if _share(module) > 0]


def _share(module: Any) -> float:
    """The share that a module itself drops: its `p`, its attention's, or its adapter's."""
    import torch

    if isinstance(module, torch.nn.Dropout):
        return module.p
    layers = getattr(module, "lora_dropout", {}).values()
    return max([getattr(module, "attention_dropout", 0.0), *(_share(layer) for layer in layers)])
