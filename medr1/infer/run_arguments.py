"""The record of what a run was asked to do, from which `medr1 reproduce` runs it again."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path

from msgspec import convert, structs

from medr1.documents.run_arguments import InferenceArguments
from medr1.files import printable
from medr1.installation import embedded_name
from medr1.prompts import template


def recorded_run(arguments: Mapping[str, object], prompt: str | None) -> dict[str, object]:
    """The part of the record of a run that says what was asked.

    Args:
        arguments: The arguments of `run_inference` by name; those that do not decide the answers
            are left out.
        prompt: The prompt template of all questions; None if it depends on the question.
    """
    names = {field.name for field in structs.fields(InferenceArguments)}
    values = {name: _value(value) for name, value in arguments.items() if name in names}
    return {
        "arguments": convert(values, InferenceArguments),
        "prompt_text": printable(template(prompt)) if prompt else None,
        "python": platform.python_version(),
    }


def _value(argument: object) -> object:
    """An argument as JSON has it."""
    if is_dataclass(argument) and not isinstance(argument, type):
        return asdict(argument)
    if argument is None or isinstance(argument, bool | int | float):
        return argument
    return printable(embedded_name(argument) if isinstance(argument, str | Path) else str(argument))
