"""The list of TRL's fields that `medr1 train --fields` prints, with types, defaults and reasons."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from enum import Enum

from medr1.documents.training import TrainingField, TrainingFields
from medr1.train.fields import (
    CONFIGS,
    DEFAULTS,
    REFUSED,
    choices,
    model_fields,
    trainer_fields,
)

_BY_OPTION = {"use_cpu": "--device", "bf16": "--dtype", "fp16": "--dtype"}
"""Field -> the option of medr1 that its default follows."""


def field_list(method: str) -> TrainingFields:
    """Every field of TRL's configurations for a method, with its type and default.

    Defaults are those of `medr1 train`, which differ from TRL's for a few fields.

    Args:
        method: The training method, a key of `CONFIGS`.
    """
    import trl

    hints = {**trainer_fields(method), **model_fields()}
    fields = []
    for config in (CONFIGS[method], "ModelConfig", "ScriptArguments"):
        for entry in dataclasses.fields(getattr(trl, config)):
            if not entry.init or entry.name not in hints:
                continue
            fields.append(_describe(entry, config, hints[entry.name], method))
            del hints[entry.name]  # the first configuration that has it counts
    return TrainingFields(method=method, fields=fields)


def _describe(
    entry: dataclasses.Field[object], config: str, hint: object, method: str
) -> TrainingField:
    """A field as the list shows it."""
    default, required = entry.default, False
    if entry.default_factory is not dataclasses.MISSING:
        default = entry.default_factory()
    elif default is dataclasses.MISSING:
        default, required = None, True
    if entry.name in _BY_OPTION and config == CONFIGS[method]:
        default = f"by {_BY_OPTION[entry.name]}"
    default = DEFAULTS[method].get(entry.name, default)
    return TrainingField(
        name=entry.name,
        option=f"--{entry.name.replace('_', '-')}",
        config=config,
        type=type_text(hint),
        choices=list(choices(method).get(entry.name, ())),
        required=required,
        default=default.value if isinstance(default, Enum) else default,
        refused=REFUSED.get(entry.name),
    )


def type_text(hint: object) -> str:
    """A type as text, such as "float | null" or "list[str]".

    Args:
        hint: The type of a field.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is type(None):
        return "null"
    if origin is typing.Literal:
        return " | ".join(map(str, arguments))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(dict.fromkeys(type_text(argument) for argument in arguments))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " | ".join(str(member.value) for member in hint)
    if isinstance(origin, type):
        return f"{origin.__name__}[{', '.join(type_text(argument) for argument in arguments)}]"
    return getattr(hint, "__name__", str(hint))


def field_text(listed: TrainingFields) -> str:
    """The list as text: the fields of each configuration, then those that are refused.

    Args:
        listed: The list, from `field_list`.
    """
    rows: dict[str, list[TrainingField]] = {}
    for field in listed.fields:
        rows.setdefault("refused" if field.refused else field.config, []).append(field)
    refused = rows.pop("refused", [])
    lines: list[str] = []
    for config, fields in rows.items():
        lines += [f"{config}:", *_columns({field.name: _value(field) for field in fields}), ""]
    reasons = {field.name: str(field.refused) for field in refused}
    return "\n".join([*lines, "cannot be set:", *_columns(reasons)])


def _value(field: TrainingField) -> str:
    """The type, or the texts that the field may have, and the default."""
    kind = field.type if not field.choices else " | ".join(field.choices)
    default = "null" if field.default is None else str(field.default)
    return f"{kind}, required" if field.required else f"{kind} [default: {default}]"


def _columns(texts: Mapping[str, str]) -> Iterator[str]:
    """Lines with a name and its text, the texts in one column."""
    width = max(map(len, texts), default=0)
    return (f"  {name:{width}}  {text}" for name, text in texts.items())
