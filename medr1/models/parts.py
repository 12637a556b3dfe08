"""The parts of a vision-language model: which one is the language model, and which are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medr1.errors import InputError

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import PreTrainedModel


def language_model(model: PreTrainedModel) -> Module:
    """The part that reads and writes text, without the output layer.

    Args:
        model: The model; an outline without weights is enough.
    """
    decoder: Module = model.get_decoder()
    return decoder


def not_quantized(model: PreTrainedModel) -> list[str]:
    """The names of the modules that keep their weights when a model is loaded in 4 or 8 bits.

    These are the parts beside the language model, such as the vision tower, and the output layer.

    Args:
        model: The model; an outline without weights is enough.

    Returns:
        Names as in `named_modules`, such as ["model.visual", "lm_head"]. Their submodules keep
        their weights too.

    Raises:
        InputError: The language model is not a part of its own.
    """
    parts = list(model.model.children()) if hasattr(model, "model") else []
    decoder = language_model(model)
    if decoder not in parts:
        raise InputError(
            f"a {model.config.model_type} cannot be loaded in 4 or 8 bits: its language model is "
            "not a part of its own. Load it without --load-in-4bit and --load-in-8bit."
        )
    parts.remove(decoder)
    parts.append(model.get_output_embeddings())
    return [name for name, module in model.named_modules() if module in parts]
