"""A configuration file: YAML with `option: value` lines, to what a command line could have said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from medr1.errors import InputError
from medr1.files import read_text

MAX_DEPTH = 20
MAX_NUMBER = 10**300
"""A larger whole number is no float, and may be too long to be written as text."""


def read_config(path: Path) -> dict[str, Any]:
    """A YAML mapping with its keys in snake case; a click error where it is not one."""
    import yaml

    try:
        text = read_text(path)
        _require_plain(text)
        document = yaml.safe_load(text)
    except InputError as error:
        raise click.UsageError(str(error)) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not valid YAML"
        raise click.UsageError(f"{path}{place}: {problem}. Correct it there.") from None
    except (ValueError, OverflowError) as error:  # such as 2001-13-45, which is no date
        raise click.UsageError(f"{path}: {error}. Put it into quotes, or correct it.") from None
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise click.UsageError(f"{path}: expected `option: value` lines.")
    return {key.replace("-", "_"): value for key, value in document.items()}


def _require_plain(text: str) -> None:
    """Refuse, before a value is built, what a few bytes can make huge, deep or of another type."""
    import yaml

    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        problem = ""
        if depth > MAX_DEPTH:
            problem = f"nested more than {MAX_DEPTH} deep"
        elif isinstance(event, yaml.AliasEvent):
            problem = "an alias (*name), which is not read; write the value itself"
        elif getattr(event, "tag", None) is not None:
            problem = "a tag (!name), which is not read; leave it out"
        if problem:
            mark: Any = event.start_mark
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def as_typed(value: Any, option: click.Option, where: str) -> Any:
    """The value of an option as a command line has it: text, but true, false and null.

    A list is for an option that takes several.
    """
    several = option.multiple or option.type.name.endswith(",...")
    if isinstance(value, list) and several:
        return [_scalar(one, f"{where} (in the list)") for one in value]
    return _scalar(value, where)


def _scalar(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, list | dict):
        kind = "a list" if isinstance(value, list) else "a mapping"
        raise click.UsageError(f"{where} is {kind} where one value is expected.")
    if isinstance(value, int) and abs(value) > MAX_NUMBER:
        raise click.UsageError(f"{where} is a number too large.")
    return str(value)
