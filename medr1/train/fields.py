"""The fields of TRL's configurations, which options and lines of a YAML file set, and their types.

The fields, their types and the texts that a field may have are read from the installed TRL.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import cache

from medr1.errors import InputError

CONFIGS = {"grpo": "GRPOConfig", "sft": "SFTConfig"}
"""Training method -> the name of its configuration in TRL."""
COMPARED = {
    "grpo": (
        *("loss_type", "scale_rewards", "importance_sampling_level"),
        *("multi_objective_aggregation", "vllm_mode", "vllm_importance_sampling_mode"),
    ),
    "sft": ("loss_type",),
}
"""Method -> fields whose choices TRL does not list: its trainer only compares them with texts."""
_OURS = {
    "grpo": (
        *("rewards", "rollout_url", "dynamic_sampling", "papo", "papo_entropy"),
        *("curriculum", "group_by_image", "group_by_length"),
    ),
    "sft": (),
}
"""Method -> the settings of medr1 itself that only this method reads."""

REFUSED = {
    "trust_remote_code": "a checkpoint's own code is never run",
    "model_init_kwargs": "the checkpoint is loaded completely or not at all, by --model-path",
    "remove_unused_columns": "the rewards read these columns",
    "dataset_config": "--data names a file or a folder",
    "dataset_streaming": "images are always read when they are needed",
    "eval_strategy": "--eval-data is validated every --eval-steps",
    "eval_on_start": "--eval-data is validated before the first step as well",
    "load_best_model_at_end": "with --eval-data, the best checkpoint is in the folder best",
    "completion_only_loss": "the loss is always that of the completion",
    "assistant_only_loss": "the loss is always that of the completion",
    "packing": "TRL packs only texts without images",
    "eval_packing": "TRL packs only texts without images",
    "padding_free": "TRL supports it only for texts without images",
    "pad_to_multiple_of": "TRL supports it only for texts without images",
    "truncation_mode": "no text is cut: one that is too long is refused",
    "chat_template_path": "the checkpoint's own chat template is used, as it is for inference",
    "eos_token": "the completion ends with the token that the checkpoint stops at",
    "resume_from_checkpoint": "the same command with the same --output-dir resumes the run",
    "save_only_model": "a run could not be resumed from such checkpoints",
    "ignore_data_skip": "a resumed run would train on other questions",
    "enable_jit_checkpoint": "SIGTERM and SIGUSR1 already save, where a run can be resumed exactly",
}
"""Fields that cannot be set -> why, as text."""

_GRPO_DEFAULTS: Mapping[str, object] = {
    "remove_unused_columns": False,
    "disable_tqdm": True,
    "report_to": [],
    "gradient_checkpointing": False,
    "ddp_timeout": 600,  # seconds until a process that hangs ends the run
}
DEFAULTS: Mapping[str, Mapping[str, object]] = {
    "grpo": _GRPO_DEFAULTS,
    # TRL would cut at 1024 tokens, within the image or the answer.
    "sft": {**_GRPO_DEFAULTS, "max_length": None},
}
"""Method -> the fields whose default differs from TRL's, with medr1's default."""

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
"""The texts that a field of type bool may have."""


@cache
def trainer_fields(method: str = "grpo") -> Mapping[str, object]:
    """Name -> type, for the fields of a method's configuration."""
    import trl

    return typing.get_type_hints(getattr(trl, CONFIGS[method]))


@cache
def choices(method: str = "grpo") -> Mapping[str, tuple[str, ...]]:
    """Field -> the texts that it may have, for each field of a method that has such a list."""
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
    trainer = sys.modules[getattr(trl, CONFIGS[method].replace("Config", "Trainer")).__module__]
    # for the others, take the texts with which the trainer's source compares the field
    compared: dict[str, set[str]] = {name: set() for name in COMPARED[method]}
    for node in ast.walk(ast.parse(inspect.getsource(trainer))):
        if not isinstance(node, ast.Compare) or not isinstance(node.left, ast.Attribute):
            continue
        if node.left.attr in compared:
            parts = (part for other in node.comparators for part in ast.walk(other))
            constants = (part.value for part in parts if isinstance(part, ast.Constant))
            compared[node.left.attr] |= {value for value in constants if isinstance(value, str)}
    return {**listed, **{name: tuple(sorted(texts)) for name, texts in compared.items() if texts}}


def require_method_fields(method: str, names: Iterable[str]) -> None:
    """Check that each field or setting belongs to the method.

    Args:
        method: The training method, a key of `CONFIGS`.
        names: Names of fields and settings. Names that no method has are ignored.

    Raises:
        InputError: A name belongs to another method only.
    """
    for name in names:
        methods = [m for m in CONFIGS if name in trainer_fields(m) or name in _OURS[m]]
        if methods and method not in methods:
            raise InputError(
                f"{name} belongs to --method {methods[0]} and has no effect on {method}. "
                "Leave it out of the command and the config file."
            )


@cache
def model_fields() -> Mapping[str, object]:
    """Name -> type, for the fields of TRL's ModelConfig and ScriptArguments that may be set."""
    from trl import ModelConfig, ScriptArguments

    hints = {**typing.get_type_hints(ModelConfig), **typing.get_type_hints(ScriptArguments)}
    ours = ("model_name_or_path", "dtype", "dataset_name", "datasets")
    return {name: hint for name, hint in hints.items() if name not in ours}


def convert_values(values: Mapping[str, object], method: str = "grpo") -> dict[str, object]:
    """Convert values to the types of their fields.

    A value may be a text, as on the command line, and YAML reads a number such as `1e-6` as a text.
    A list is written as `a,b` or in JSON, a mapping in JSON.

    Args:
        values: Field -> value. The fields are in the method's `trainer_fields` or in
            `model_fields`.
        method: The training method, a key of `CONFIGS`.

    Returns:
        Field -> value of the field's type.

    Raises:
        InputError: A field cannot be set, or a value has another type or is no choice of its field.
    """
    hints = {**trainer_fields(method), **model_fields()}
    for name in values.keys() & REFUSED.keys():
        raise InputError(f"{name} cannot be set: {REFUSED[name]}. Leave it out.")
    for name in values.keys() & choices(method).keys():
        if values[name] is not None and values[name] not in choices(method)[name]:
            raise InputError(_not_a_choice(name, values[name], choices(method)[name]))
    return {name: _convert(name, value, hints[name]) for name, value in values.items()}


def _not_a_choice(name: str, value: object, texts: Iterable[object]) -> str:
    return f"{name}: {value!r} is not one of {', '.join(map(str, texts))}."


def _convert(name: str, value: object, hint: object) -> object:
    """Convert one value to the type of its field; InputError if that is not possible."""
    kinds = list(_members(hint))
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Enum):
            members = [member.value for member in kind]
            value = "no" if value is False else value  # YAML reads a bare `no` as false
            if value not in members:
                raise InputError(_not_a_choice(name, value, members))
            return value
    for kind in sorted(kinds, key=_strictness):
        try:
            return _as(value, kind)
        except (ValueError, TypeError):
            continue
    type_names = " or ".join(_type_name(kind) for kind in kinds)
    raise InputError(f"{name}: {value!r} is not {type_names}. Correct the value.")


def _members(hint: object) -> Iterable[object]:
    """The types of a union, or the type itself."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        for member in typing.get_args(hint):
            yield from _members(member)
    else:
        yield hint


_ORDER = (type(None), bool, int, float, list, dict, typing.Literal)
"""The types of a union are tried in this order, then any other; str is last, as any text fits."""


def _strictness(kind: object) -> int:
    """The position of a type in the order in which the types of a union are tried."""
    base = typing.get_origin(kind) or kind
    return _ORDER.index(base) if base in _ORDER else len(_ORDER)


def _as(value: object, kind: object) -> object:
    """The value as this type; ValueError or TypeError if it has another."""
    base = typing.get_origin(kind) or kind
    text = value.strip() if isinstance(value, str) else None
    if base is type(None):
        return _require(None, value is None or text in ("null", "None", "none"))
    if base is bool:
        word = _WORDS[text.lower()] if text and text.lower() in _WORDS else value
        return _require(word, isinstance(word, bool))
    if isinstance(value, bool) and base in (int, float):
        raise TypeError
    if base is int and isinstance(value, str | int):
        return int(value)
    if base is float and isinstance(value, str | int | float):
        return float(value)
    if base is list:
        return _as_list(value, kind)
    if base is dict:
        mapping = json.loads(value) if isinstance(value, str) else value
        return _require(mapping, isinstance(mapping, dict))
    if base is typing.Literal:
        return _require(value, value in typing.get_args(kind))
    return _require(value, isinstance(base, type) and isinstance(value, base))


def _as_list(value: object, kind: object) -> list[object]:
    """The value as a list, from a list or a text such as `a,b`, with items of the list's type."""
    if isinstance(value, str):
        is_json = value.lstrip().startswith("[")
        value = json.loads(value) if is_json else [part.strip() for part in value.split(",")]
    if not isinstance(value, list | tuple):
        raise TypeError
    inner = typing.get_args(kind)
    return [_as(part, inner[0]) for part in value] if inner else list(value)


def _require(value: object, condition: bool) -> object:
    """The value; TypeError if the condition is false."""
    if not condition:
        raise TypeError
    return value


def _type_name(kind: object) -> str:
    """A type as text for a message, such as "a whole number"."""
    base = typing.get_origin(kind) or kind
    words: dict[object, str] = {bool: "true or false", int: "a whole number", float: "a number"}
    words |= {str: "a text", list: "a list", dict: "a mapping", type(None): "null"}
    if base is typing.Literal:
        return ", ".join(map(repr, typing.get_args(kind)))
    return words.get(base, getattr(base, "__name__", str(base)))
