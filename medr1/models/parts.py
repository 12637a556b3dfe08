"""The parts of a vision-language model: which one is the language model, and which are not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from medr1.errors import InputError

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import PreTrainedModel

_LINEAR_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The usual names of the linear layers of a language model."""


def language_model(model: PreTrainedModel) -> Module:
    """The part that reads and writes text, without the output layer.

    Args:
        model: The model; an outline without weights is enough.
    """
    decoder: Module = model.get_decoder()
    return decoder


def language_model_path(model: PreTrainedModel) -> str:
    """The name of the language model as in `named_modules`, such as "model.language_model".

    Args:
        model: The model; an outline without weights is enough.

    Raises:
        InputError: The language model is not a part of its own.
    """
    decoder = language_model(model)
    path = next((name for name, module in model.named_modules() if module is decoder), "")
    if path in ("", "model"):
        raise InputError(
            f"the language model of a {model.config.model_type} is not a part of its own. Leave "
            "out --freeze-vision, and give --lora-target-modules with --use-peft."
        )
    return path


def freeze_vision(model: PreTrainedModel) -> None:
    """Freeze what is neither the language model nor the output layer, such as the vision tower.

    Args:
        model: The model, which is changed; an outline without weights is enough.

    Raises:
        InputError: The language model is not a part of its own.
    """
    language_model_path(model)
    parts = (language_model(model), model.get_output_embeddings())
    trained = {id(weights) for part in parts if part is not None for weights in part.parameters()}
    for weights in model.parameters():
        if id(weights) not in trained:
            weights.requires_grad_(False)


def lora_targets(model: PreTrainedModel) -> str:
    """The linear layers that get an adapter, as a regular expression of their complete names.

    They are the layers of the language model with the usual names, or all of its linear layers if
    none has such a name. The vision tower may have layers of the same names; it gets no adapter.

    Args:
        model: The model; an outline without weights is enough.

    Raises:
        InputError: The language model is not a part of its own.
    """
    from torch.nn import Linear

    path, decoder = language_model_path(model), language_model(model)
    linear = (name for name, module in decoder.named_modules() if isinstance(module, Linear))
    names = dict.fromkeys(name.rpartition(".")[2] for name in linear)
    usual = [name for name in _LINEAR_LAYERS if name in names]
    if path == "model.language_model" and len(usual) == len(_LINEAR_LAYERS):
        # a run that is resumed has this text in its files
        return rf".*language_model.*\.({'|'.join(usual)})"
    last_names = "|".join(usual or map(re.escape, names))
    return rf"{re.escape(path)}\.(.*\.)?({last_names})"


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
