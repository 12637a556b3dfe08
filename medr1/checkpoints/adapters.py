"""A LoRA adapter: read as data, put onto its base whole or not at all, or merged into it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from medr1.checkpoints.finding import find_checkpoint, is_adapter, is_checkpoint
from medr1.checkpoints.structure import read_configuration, tensor_shapes
from medr1.errors import InputError

WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_PART = re.compile(r"(.+)\.(lora_A|lora_embedding_A)(?:\.weight)?")
_PLAIN = re.compile(r"[\w.]+")

# What decides the numbers, and is handed to peft.
_USED = (
    "r", "lora_alpha", "fan_in_fan_out", "bias", "use_rslora", "use_dora", "lora_bias",
    "alpha_pattern", "modules_to_save", "lora_dropout",
)  # fmt: skip
# What says how it was trained; the modules are those that the file has tensors for.
_UNREAD = {
    "peft_type", "base_model_name_or_path", "revision", "task_type", "auto_mapping", "peft_version",
    "inference_mode", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
    "rank_pattern", "init_lora_weights", "loftq_config", "megatron_config",
    "megatron_core", "runtime_config", "qalora_group_size", "ensure_weight_tying",
}  # fmt: skip
_STARTS = (None, True, False, "gaussian", "orthogonal")
"""How a training began without changing the base; other ways leave another base than it says."""


def find_base(folder: Path, *, offline: bool = False) -> Path:
    """The folder of an adapter's base: beside the adapter, here, by short name or from the hub."""
    config = read_configuration(folder / "adapter_config.json")
    name, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not isinstance(name, str) or not name:
        raise InputError(
            f"{folder}/adapter_config.json does not name its base. Add base_model_name_or_path."
        )
    beside = folder / name
    try:
        base = (
            beside
            if is_checkpoint(beside)
            else find_checkpoint(name, offline=offline, revision=str(revision or "") or None)
        )
    except InputError as error:
        raise InputError(f"adapter {folder}: its base {name} cannot be had: {error}") from None
    if is_adapter(base):
        raise InputError(f"adapter {folder}: its base {base} is an adapter. Merge that one first.")
    return base


def read_adapter(folder: Path) -> dict[str, Any]:
    """The settings of a LoRA adapter; InputError for another kind, or one that medr1 cannot read.

    Names for other code to import or to match against are never handed on.
    """
    where = folder / "adapter_config.json"
    config = read_configuration(where)
    if config.get("peft_type") != "LORA":
        raise InputError(f"{where}: peft_type {config.get('peft_type')!r} is not LORA.")
    odd = [key for key, value in config.items() if value and key not in {*_USED, *_UNREAD}]
    if odd or config.get("init_lora_weights") not in _STARTS:
        raise InputError(
            f"{where}: {(odd or ['init_lora_weights'])[0]} is not supported. Merge the adapter "
            "with the tool that made it."
        )
    if type(config.get("r")) is not int or config["r"] < 1:
        raise InputError(f"{where}: r must be a whole number of at least 1.")
    patterns = {**(config.get("alpha_pattern") or {}), **(config.get("rank_pattern") or {})}
    for name, value in {**patterns, "lora_alpha": config.get("lora_alpha")}.items():
        if not _PLAIN.fullmatch(name) or type(value) not in (int, float):
            raise InputError(f"{where}: {name[:40]!r} must be the name of a module with a number.")
    share = config.get("lora_dropout") or 0.0
    if type(share) not in (int, float) or not 0 <= share < 1:
        raise InputError(f"{where}: lora_dropout must be a share of at least 0 and below 1.")
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
    return config


def current_name(name: str) -> str:
    """A tensor's name as today's transformers has it; older ones had no `model.` in front."""
    bare = name.removeprefix(_PREFIX)
    bare = re.sub(r"^(visual)\.", r"model.\1.", bare)
    bare = re.sub(r"^model\.(layers|embed_tokens|norm)\.", r"model.language_model.\1.", bare)
    return _PREFIX + bare


def apply_adapter(model: Any, folder: Path, base: Path, *, merge: bool = True) -> Any:
    """The base model with the adapter merged into its weights; InputError where they do not fit.

    Without `merge` it lies beside them, with its dropout.
    """
    from peft import LoraConfig, PeftModel
    from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    config = read_adapter(folder)
    held = {current_name(n): shape for n, shape in tensor_shapes(folder / WEIGHTS).items()}
    ranks = _ranks(held, config, folder)
    modules = dict(model.named_modules())
    if missing := sorted(name for name in ranks if name not in modules):
        raise _misfit(folder, base, f"{missing[0]} is not there")
    try:
        settings = LoraConfig(
            **{key: config[key] for key in _USED if config.get(key) is not None},
            rank_pattern={re.escape(n): rank for n, rank in ranks.items() if rank != config["r"]},
            target_modules=sorted(ranks),
            init_lora_weights=True,
        )
        peft_model = PeftModel(model, settings)
    except (ValueError, TypeError) as error:
        raise _misfit(folder, base, " ".join(str(error).split())[:200]) from None
    wanted = {
        name: tuple(tensor.shape)
        for name, tensor in get_peft_model_state_dict(
            peft_model, save_embedding_layers=False
        ).items()
    }
    for name in sorted(wanted.keys() | held.keys()):
        if wanted.get(name) != held.get(name):
            raise _misfit(
                folder, base, f"{name} is {held.get(name)}, the base takes {wanted.get(name)}"
            )
    tensors = {current_name(name): tensor for name, tensor in load_file(folder / WEIGHTS).items()}
    set_peft_model_state_dict(peft_model, tensors)
    if not merge:
        return peft_model.get_base_model()
    merged = peft_model.merge_and_unload()  # type: ignore[operator]
    return merged.requires_grad_(True)  # which PEFT takes from a base: it can be trained again


def _ranks(held: dict[str, Any], config: dict[str, Any], folder: Path) -> dict[str, int]:
    """Module -> the rank that its tensors have, which must be the one that the settings say."""
    ranks = {}
    for name, shape in held.items():
        if match := _PART.fullmatch(name):
            module = match[1].removeprefix(_PREFIX)
            said = next(
                (
                    rank
                    for part, rank in (config.get("rank_pattern") or {}).items()
                    if module == part or module.endswith("." + part)
                ),
                config["r"],
            )
            if not shape or shape[0] != said:
                raise InputError(
                    f"adapter {folder}: {name} is {shape}, its settings say rank {said}. "
                    "Fetch it again."
                )
            ranks[module] = said
    if not ranks:
        raise InputError(f"adapter {folder} holds no LoRA tensors. Fetch it again.")
    return ranks


def _misfit(folder: Path, base: Path, said: str) -> InputError:
    return InputError(
        f"adapter {folder} does not fit its base {base}: {said}. Give it the base it was trained "
        "on, in adapter_config.json."
    )
