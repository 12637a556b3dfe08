"""Reads a configuration file: YAML with `option: value` lines, as for --config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from medr1.errors import InputError
from medr1.files import read_text

MAX_DEPTH = 20
"""Lists and mappings inside each other, at most."""
MAX_NUMBER = 10**300
"""Largest whole number: a larger one does not fit a float, and may be too long for `str`."""


def read_config(path: Path) -> dict[str, Any]:
    """The file's keys, with underscores, and their values; click.UsageError if it has no such."""
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
    except (ValueError, OverflowError) as error:  # 2001-13-45 looks like a date and is none
        raise click.UsageError(
            f"{path}: {error}. Correct the value, or put it into quotes."
        ) from None
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise click.UsageError(f"{path}: expected `option: value` lines.")
    return {key.replace("-", "_"): value for key, value in document.items()}


def _require_plain(text: str) -> None:
    """Refuse aliases, tags and deep nesting, before a value is built from them.

    A few lines of aliases can expand to gigabytes, and a tag asks for another type.
    """
    import yaml

    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        problem = ""
        if depth > MAX_DEPTH:
            problem = f"lists and mappings are nested more than {MAX_DEPTH} deep"
        elif isinstance(event, yaml.AliasEvent):
            problem = "an alias (*name) is not allowed here; write the value itself"
        elif getattr(event, "tag", None) is not None:
            problem = "a tag (!name) is not allowed here; leave it out"
        if problem:
            mark: Any = event.start_mark
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def as_typed(value: Any, option: click.Option, where: str) -> Any:
    """A value of the file in the form of the command line, so that click checks its type.

    Everything becomes text, except true, false and null: `seed: 3` -> "3".

    Args:
        value: The value as YAML has it.
        option: The option that it is for; a list is accepted if the option takes several values.
        where: File and key, for a message.

    Raises:
        click.UsageError: A list or a mapping where one value is expected.
    """
    takes_several = option.multiple or option.type.name.endswith(",...")
    if isinstance(value, list) and takes_several:
        return [_scalar(item, f"{where} (in the list)") for item in value]
    return _scalar(value, where)


def _scalar(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, list | dict):
        kind = "a list" if isinstance(value, list) else "a mapping"
        raise click.UsageError(f"{where} is {kind}; expected one value.")
    if isinstance(value, int) and abs(value) > MAX_NUMBER:
        raise click.UsageError(f"{where} is too large a number.")
    return str(value)
