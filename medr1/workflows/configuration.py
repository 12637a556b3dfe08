"""Read a configuration file: YAML with `option: value` lines."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from medr1.errors import InputError
from medr1.files import read_text

MAX_DEPTH = 20
"""Lists and mappings inside each other, at most."""


class Mark(Protocol):
    """A place in a YAML file, counted from 0."""

    line: int
    column: int


def read_config(path: Path) -> dict[str, object]:
    """The file's keys, with underscores, and their values; InputError if it has no such."""
    import yaml

    try:
        text = read_text(path)
        _require_plain(text, path)
        document = yaml.safe_load(text)
    except InputError:  # a ValueError too
        raise
    except yaml.YAMLError as error:
        place = _place(getattr(error, "problem_mark", None))
        problem = getattr(error, "problem", None) or "not valid YAML"
        raise InputError(f"{path}{place}: {problem}. Correct it there.") from None
    except (ValueError, OverflowError) as error:  # 2001-13-45 looks like a date and is none
        raise InputError(f"{path}: {error}. Correct the value, or put it into quotes.") from None
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise InputError(f"{path}: expected `option: value` lines.")
    return {key.replace("-", "_"): value for key, value in document.items()}


def _require_plain(text: str, path: Path) -> None:
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
            raise InputError(f"{path}{_place(event.start_mark)}: {problem}. Correct it there.")


def _place(mark: Mark | None) -> str:
    """Where something is in a file, for a message; "" if that is not known."""
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
