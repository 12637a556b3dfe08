"""Monte Carlo dropout: several passes over a question with the model's own dropout switched on.

Each pass drops other connections, as in training. How far the passes differ measures what the model
does not know (epistemic uncertainty). Gal and Ghahramani (2016), Dropout as a Bayesian
Approximation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from medr1.errors import InputError
from medr1.models.loading import LoadedModel

if TYPE_CHECKING:
    from torch.nn import Module


def require_dropout(loaded: LoadedModel) -> None:
    """Raise InputError for a model without dropout: all its passes would be the same."""
    if not _dropout_modules(loaded.model):
        raise InputError(
            f"checkpoint {loaded.path} has no dropout to sample: neither attention_dropout in its "
            "config.json, nor an adapter with lora_dropout (train --use-peft --lora-dropout 0.1)."
        )


@contextmanager
def dropout_on(loaded: LoadedModel, seed: int) -> Iterator[None]:
    """Switch the model's dropout on; everything else stays in evaluation mode.

    torch's random state is the caller's again afterwards.

    Args:
        loaded: The model.
        seed: Seed of torch's random numbers, which decide what is dropped.
    """
    import torch

    modules = _dropout_modules(loaded.model)
    gpus = [loaded.device] if loaded.device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(seed)
        try:
            # Set on each module itself: train() would also switch all modules inside it.
            for module in modules:
                module.training = True
            yield
        finally:
            for module in modules:
                module.training = False


def _dropout_modules(model: Module) -> list[Module]:
    """The modules with a dropout probability above 0."""
    return [module for module in model.modules() if _dropout_probability(module) > 0]


def _dropout_probability(module: Module) -> float:
    """The dropout probability of a module itself: its `p`, its attention's, or its adapter's."""
    import torch

    if isinstance(module, torch.nn.Dropout):
        return module.p
    # A LoRA layer has one dropout module for each of its adapters.
    layers = getattr(module, "lora_dropout", {}).values()
    attention_dropout = float(getattr(module, "attention_dropout", 0.0))
    return max([attention_dropout, *(_dropout_probability(layer) for layer in layers)])
