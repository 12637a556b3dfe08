"""LoRA adapters: reading their settings, and applying them to the base model.

A LoRA adapter holds small matrices that are added to some weights of a base model. An adapter is
applied completely or refused. Its settings are read as plain data: nothing in them is imported or
run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medr1.checkpoints.finding import find_checkpoint, is_adapter, is_checkpoint
from medr1.checkpoints.structure import read_configuration, tensor_shapes
from medr1.errors import InputError

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel

WEIGHTS = "adapter_model.safetensors"
"""The file of an adapter's tensors."""
_PREFIX = "base_model.model."
"""PEFT puts this before the name of each tensor."""
_LORA_TENSOR = re.compile(r"(.+)\.(lora_A|lora_embedding_A)(?:\.weight)?")
_MODULE_NAME = re.compile(r"[\w.]+")

# Settings that change what the adapter computes. They are passed to PEFT.
_APPLIED_SETTINGS = (
    "r", "lora_alpha", "fan_in_fan_out", "bias", "use_rslora", "use_dora", "lora_bias",
    "alpha_pattern", "modules_to_save", "lora_dropout",
)  # fmt: skip
# Settings that say how it was trained. Which modules it changes is taken from its tensors.
_IGNORED_SETTINGS = {
    "peft_type", "base_model_name_or_path", "revision", "task_type", "auto_mapping", "peft_version",
    "inference_mode", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
    "rank_pattern", "init_lora_weights", "loftq_config", "megatron_config",
    "megatron_core", "runtime_config", "qalora_group_size", "ensure_weight_tying",
}  # fmt: skip
_INITIALISATIONS = (None, True, False, "gaussian", "orthogonal")
"""Values of init_lora_weights with which the training left the base as it was.

With others the training began by changing the weights of the base, so that the adapter does not fit
the base that it names.
"""


@dataclass(frozen=True)
class AdapterSettings:
    """The settings of a LoRA adapter that were checked."""

    rank: int
    """The number of rows of a matrix lora_A, for each module that `rank_pattern` does not name."""
    rank_pattern: Mapping[str, float]
    """Full name of a module, or the last parts of it -> its rank."""
    applied: Mapping[str, object]
    """Settings that change what the adapter computes, as PEFT takes them; those with null are left
    out."""


def find_base(folder: Path, *, offline: bool = False) -> Path:
    """The folder of the base model of an adapter.

    Args:
        folder: The adapter.
        offline: Whether the network may not be used.

    Returns:
        The folder that adapter_config.json names: relative to the adapter, else as
        `find_checkpoint` finds it.

    Raises:
        InputError: If no base is named, it is not found, or it is an adapter itself.
    """
    config = read_configuration(folder / "adapter_config.json")
    name, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not isinstance(name, str) or not name:
        raise InputError(
            f"{folder}/adapter_config.json does not name its base. Add base_model_name_or_path."
        )
    relative = folder / name
    try:
        base = (
            relative
            if is_checkpoint(relative)
            else find_checkpoint(name, offline=offline, revision=str(revision or "") or None)
        )
    except InputError as error:
        raise InputError(f"adapter {folder}: its base {name} cannot be found: {error}") from None
    if is_adapter(base):
        raise InputError(f"adapter {folder}: its base {base} is an adapter. Merge that one first.")
    return base


def read_adapter(folder: Path) -> AdapterSettings:
    """The settings of a LoRA adapter, checked.

    InputError for an adapter of another kind, and for a setting that is invalid or that medr1 does
    not support. Settings that name code to import (auto_mapping) or patterns for the names of
    modules (target_modules) are never passed on to PEFT. The names in alpha_pattern, which PEFT
    reads as regular expressions, may only consist of letters, digits, "_" and ".".
    """
    where = folder / "adapter_config.json"
    config = read_configuration(where)
    if config.get("peft_type") != "LORA":
        raise InputError(f"{where}: peft_type {config.get('peft_type')!r} is not LORA.")
    unsupported = [
        key
        for key, value in config.items()
        if value and key not in {*_APPLIED_SETTINGS, *_IGNORED_SETTINGS}
    ]
    if unsupported or config.get("init_lora_weights") not in _INITIALISATIONS:
        raise InputError(
            f"{where}: {(unsupported or ['init_lora_weights'])[0]} is not supported. Merge the "
            "adapter with the tool that made it."
        )
    rank = config.get("r")
    if type(rank) is not int or rank < 1:
        raise InputError(f"{where}: r must be a whole number of at least 1.")
    alpha_pattern, rank_pattern = (
        _pattern(config, key, where) for key in ("alpha_pattern", "rank_pattern")
    )
    for name, value in {
        **alpha_pattern, **rank_pattern, "lora_alpha": config.get("lora_alpha")
    }.items():  # fmt: skip
        if not _MODULE_NAME.fullmatch(name) or type(value) not in (int, float):
            raise InputError(f"{where}: {name[:40]!r} must be the name of a module with a number.")
    dropout = config.get("lora_dropout") or 0.0
    if not isinstance(dropout, int | float) or dropout is True or not 0 <= dropout < 1:
        raise InputError(f"{where}: lora_dropout must be a number of at least 0 and below 1.")
    if config.get("bias", "none") not in ("none", "all", "lora_only"):
        raise InputError(f"{where}: bias must be none, all or lora_only.")
    saved = config.get("modules_to_save") or []
    if not isinstance(saved, list) or not all(isinstance(n, str) for n in saved):
        raise InputError(f"{where}: modules_to_save must be a list of names.")
    if not (folder / WEIGHTS).is_file():
        raise InputError(
            f"adapter {folder} holds no {WEIGHTS}. Other formats can run code and are not read; "
            "fetch it as safetensors."
        )
    return AdapterSettings(
        rank,
        {name: value for name, value in rank_pattern.items() if isinstance(value, int | float)},
        {key: config[key] for key in _APPLIED_SETTINGS if config.get(key) is not None},
    )


def _pattern(config: Mapping[str, object], key: str, where: Path) -> Mapping[str, object]:
    """The object under a key of the settings; {} if there is none, InputError for another value."""
    pattern = config.get(key) or {}
    if not isinstance(pattern, dict):
        raise InputError(f"{where}: {key} must be an object of module names with numbers.")
    return pattern


def current_name(name: str) -> str:
    """The name of a tensor in today's transformers, for a name of today's or of older versions.

    "base_model.model.visual.x" -> "base_model.model.model.visual.x"
    "base_model.model.model.layers.0.x" -> "base_model.model.model.language_model.layers.0.x"
    """
    bare = name.removeprefix(_PREFIX)
    # older versions had `visual` beside `model`, and the language model directly in `model`
    bare = re.sub(r"^(visual)\.", r"model.\1.", bare)
    bare = re.sub(r"^model\.(layers|embed_tokens|norm)\.", r"model.language_model.\1.", bare)
    return _PREFIX + bare


def apply_adapter(
    model: PreTrainedModel, folder: Path, base: Path, *, merge: bool = True
) -> PreTrainedModel:
    """The base model with an adapter applied.

    Args:
        model: The base model; it is changed in place.
        folder: The adapter.
        base: The folder of the base model, for error messages.
        merge: Whether the adapter is added into the weights. If False, its matrices stay beside
            them as modules of their own, with their dropout.

    Returns:
        The model; all weights of a merged one can be trained.

    Raises:
        InputError: If the adapter is invalid, or its tensors do not fit the base.
    """
    from peft import LoraConfig, PeftModel
    from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file
    from transformers import PreTrainedModel

    settings = read_adapter(folder)
    shapes = {current_name(n): shape for n, shape in tensor_shapes(folder / WEIGHTS).items()}
    ranks = _ranks(shapes, settings, folder)
    modules = dict(model.named_modules())
    if missing := sorted(name for name in ranks if name not in modules):
        raise _misfit(folder, base, f"the base has no {missing[0]}")
    # First the adapter is built with random matrices, then they are replaced by those of the file.
    # PEFT gets the modules and ranks as plain names, taken from the tensors.
    # `read_adapter` has checked the types of the settings, or LoraConfig does.
    new_config: Callable[..., LoraConfig] = LoraConfig
    try:
        config = new_config(
            **settings.applied,
            rank_pattern={re.escape(n): rank for n, rank in ranks.items() if rank != settings.rank},
            target_modules=sorted(ranks),
            init_lora_weights=True,
        )
        peft_model = PeftModel(model, config)
    except (ValueError, TypeError) as error:
        raise _misfit(folder, base, " ".join(str(error).split())[:200]) from None
    # every tensor that PEFT expects has to be in the file with that shape, and no other
    expected = {
        name: tuple(tensor.shape)
        for name, tensor in get_peft_model_state_dict(
            peft_model, save_embedding_layers=False
        ).items()
    }
    for name in sorted(expected.keys() | shapes.keys()):
        if expected.get(name) != shapes.get(name):
            raise _misfit(
                folder,
                base,
                f"{name} has the shape {shapes.get(name)}, the base needs {expected.get(name)}",
            )
    tensors = {current_name(name): tensor for name, tensor in load_file(folder / WEIGHTS).items()}
    set_peft_model_state_dict(peft_model, tensors)
    if not merge:
        applied = peft_model.get_base_model()
        assert isinstance(applied, PreTrainedModel)
        return applied
    merged = peft_model.merge_and_unload()
    assert isinstance(merged, PreTrainedModel)
    merged.requires_grad_(True)  # PEFT freezes the base's weights
    return merged


def _ranks(
    shapes: Mapping[str, tuple[int, ...]], settings: AdapterSettings, folder: Path
) -> dict[str, int]:
    """Module -> rank of its LoRA matrices; InputError where tensors and settings differ in it."""
    ranks = {}
    for name, shape in shapes.items():
        if match := _LORA_TENSOR.fullmatch(name):
            module = match[1].removeprefix(_PREFIX)
            # a pattern names a module by its full name or by the last parts of it
            rank = next(
                (
                    value
                    for part, value in settings.rank_pattern.items()
                    if module == part or module.endswith("." + part)
                ),
                settings.rank,
            )
            if not shape or shape[0] != rank:
                raise InputError(
                    f"adapter {folder}: {name} has the shape {shape}, its settings say rank "
                    f"{rank}. Fetch it again."
                )
            ranks[module] = shape[0]
    if not ranks:
        raise InputError(f"adapter {folder} holds no LoRA tensors. Fetch it again.")
    return ranks


def _misfit(folder: Path, base: Path, problem: str) -> InputError:
    """The error that an adapter does not fit its base."""
    return InputError(
        f"adapter {folder} does not fit its base {base}: {problem}. Name the base it was trained "
        "on in adapter_config.json."
    )
