"""The fields of TRL's configurations by name: what a flag or a line of YAML may set, and its type.

Nothing is listed by hand: the fields, their types and what a text may be are those of the installed
TRL.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import types
import typing
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import cache
from typing import Any

from medr1.errors import InputError

CONFIGS = {"grpo": "GRPOConfig", "sft": "SFTConfig"}
"""The methods, and TRL's configuration of each."""
COMPARED = {
    "grpo": (
        *("loss_type", "scale_rewards", "importance_sampling_level"),
        *("multi_objective_aggregation", "vllm_mode", "vllm_importance_sampling_mode"),
    ),
    "sft": ("loss_type",),
}
"""Texts whose choices stand only in the code of TRL's trainers, where they are compared."""
_OURS = {"grpo": ("rewards",), "sft": ()}
"""Settings of medr1's own that one method alone reads."""

REFUSED = {
    "trust_remote_code": "a checkpoint's own code is never run",
    "model_init_kwargs": "the checkpoint is loaded completely or not at all, by --model-path",
    "remove_unused_columns": "the rewards read these columns",
    "dataset_config": "--data names a file or a folder",
    "dataset_streaming": "images are read when their turn comes, without it",
    "eval_strategy": "--eval-data is validated every --eval-steps",
    "eval_on_start": "--eval-data is validated before the first step as well",
    "load_best_model_at_end": "the best checkpoint under --eval-data stands in the folder best",
    "completion_only_loss": "the loss is that of the completion, always",
    "assistant_only_loss": "the loss is that of the completion, always",
    "packing": "TRL packs texts alone, and no images",
    "eval_packing": "TRL packs texts alone, and no images",
    "padding_free": "TRL has it for texts alone, and not with images",
    "pad_to_multiple_of": "TRL has it for texts alone, and not with images",
    "truncation_mode": "nothing is cut: what is too long is refused",
    "chat_template_path": "the checkpoint's own chat template is used, as it is for inference",
    "eos_token": "the completion ends with the token that the checkpoint stops at",
    "resume_from_checkpoint": "the same command with the same --output-dir goes on by itself",
    "save_only_model": "a run could not be gone on with from its checkpoints",
    "ignore_data_skip": "a run that goes on would see other questions",
    "enable_jit_checkpoint": "SIGTERM and SIGUSR1 already save, where it is exact",
}
"""Fields that would break what medr1 promises, and why."""

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@cache
def trainer_fields(method: str = "grpo") -> Mapping[str, Any]:
    """The types of the fields of the method's configuration by name."""
    import trl

    return typing.get_type_hints(getattr(trl, CONFIGS[method]))


@cache
def choices(method: str = "grpo") -> Mapping[str, tuple[str, ...]]:
    """What a text may be, for each field that takes only some: as TRL lists or compares it."""
    import trl
    from transformers import AttentionInterface

    own = [name for name in AttentionInterface().valid_keys() if "shared_prefix" not in name]
    listed: dict[str, tuple[str, ...]] = {"attn_implementation": ("eager", *sorted(own))}
    listed |= {
        entry.name: tuple(entry.metadata["choices"])
        for config in (CONFIGS[method], "ModelConfig")
        for entry in dataclasses.fields(getattr(trl, config))
        if "choices" in entry.metadata
    }
    trainer = inspect.getmodule(getattr(trl, CONFIGS[method].replace("Config", "Trainer")))
    compared: dict[str, set[str]] = {name: set() for name in COMPARED[method]}
    for node in ast.walk(ast.parse(inspect.getsource(typing.cast(Any, trainer)))):
        if not isinstance(node, ast.Compare) or not isinstance(node.left, ast.Attribute):
            continue
        if node.left.attr in compared:
            parts = (part for other in node.comparators for part in ast.walk(other))
            constants = (part.value for part in parts if isinstance(part, ast.Constant))
            compared[node.left.attr] |= {value for value in constants if isinstance(value, str)}
    return {**listed, **{name: tuple(sorted(texts)) for name, texts in compared.items() if texts}}


def require_of(method: str, names: Iterable[str]) -> None:
    """InputError for a field or setting that another method has, and this one has not."""
    for name in names:
        owners = [m for m in CONFIGS if name in trainer_fields(m) or name in _OURS[m]]
        if owners and method not in owners:
            raise InputError(
                f"{name} belongs to --method {owners[0]} and means nothing to {method}. "
                "Leave it out."
            )


@cache
def model_fields() -> Mapping[str, Any]:
    """The types of the fields of TRL's ModelConfig and ScriptArguments by name."""
    from trl import ModelConfig, ScriptArguments

    hints = {**typing.get_type_hints(ModelConfig), **typing.get_type_hints(ScriptArguments)}
    ours = ("model_name_or_path", "dtype", "dataset_name", "datasets")
    return {name: hint for name, hint in hints.items() if name not in ours}


def checked(values: Mapping[str, Any], method: str = "grpo") -> dict[str, Any]:
    """The values in their fields' types; InputError for a field that is refused or another type.

    Every key is in the method's `trainer_fields` or in `model_fields`. Texts, as the command line
    gives them, and YAML's `1e-6`, which is a text there, are read; a list is `a,b` or JSON, a
    mapping JSON.
    """
    hints = {**trainer_fields(method), **model_fields()}
    for name in values.keys() & REFUSED.keys():
        raise InputError(f"{name} cannot be set: {REFUSED[name]}. Leave it out.")
    for name in values.keys() & choices(method).keys():
        if values[name] is not None and values[name] not in choices(method)[name]:
            raise InputError(_none_of(name, values[name], choices(method)[name]))
    return {name: converted(name, value, hints[name]) for name, value in values.items()}


def _none_of(name: str, value: Any, texts: Iterable[Any]) -> str:
    return f"{name}: {value!r} is not one of {', '.join(map(str, texts))}."


def converted(name: str, value: Any, hint: Any) -> Any:
    """One value in the type that a hint asks for; InputError where it has none of its types."""
    kinds = list(_members(hint))
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Enum):
            members = [member.value for member in kind]
            value = "no" if value is False else value  # YAML reads a bare `no` as false
            if value not in members:
                raise InputError(_none_of(name, value, members))
            return value
    for kind in sorted(kinds, key=_strictness):
        try:
            return _as(value, kind)
        except (ValueError, TypeError):
            continue
    wanted = " or ".join(_said(kind) for kind in kinds)
    raise InputError(f"{name}: {value!r} is not {wanted}. Correct it there.")


def _members(hint: Any) -> Iterable[Any]:
    """The types of a union, or the type."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        for member in typing.get_args(hint):
            yield from _members(member)
    else:
        yield hint


_ORDER = (type(None), bool, int, float, list, dict, typing.Literal)


def _strictness(kind: Any) -> int:
    """Which type is tried first: a text is the last that anything is."""
    base = typing.get_origin(kind) or kind
    return _ORDER.index(base) if base in _ORDER else len(_ORDER)


def _as(value: Any, kind: Any) -> Any:
    """The value as this kind, or ValueError or TypeError."""
    base = typing.get_origin(kind) or kind
    text = value.strip() if isinstance(value, str) else None
    if base is type(None):
        return _only(None, value is None or text in ("null", "None", "none"))
    if base is bool:
        known = _WORDS[text.lower()] if text and text.lower() in _WORDS else value
        return _only(known, isinstance(known, bool))
    if isinstance(value, bool) and base in (int, float):
        raise TypeError
    if base is int:
        return _only(int(value), text is not None or isinstance(value, int))
    if base is float:
        return _only(float(value), text is not None or isinstance(value, int | float))
    if base is list:
        return _as_list(value, kind)
    if base is dict:
        found = json.loads(value) if text is not None else value
        return _only(found, isinstance(found, dict))
    if base is typing.Literal:
        return _only(value, value in typing.get_args(kind))
    return _only(value, isinstance(value, base))


def _as_list(value: Any, kind: Any) -> list[Any]:
    if isinstance(value, str):
        is_json = value.lstrip().startswith("[")
        value = json.loads(value) if is_json else [part.strip() for part in value.split(",")]
    if not isinstance(value, list | tuple):
        raise TypeError
    inner = typing.get_args(kind)
    return [_as(part, inner[0]) for part in value] if inner else list(value)


def _only(value: Any, condition: bool) -> Any:
    if not condition:
        raise TypeError
    return value


def _said(kind: Any) -> str:
    """A type in words."""
    base = typing.get_origin(kind) or kind
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    words |= {list: "a list", dict: "a mapping", type(None): "null"}
    if base is typing.Literal:
        return ", ".join(map(repr, typing.get_args(kind)))
    return words.get(base, getattr(base, "__name__", str(base)))
