"""Checks of arguments that several workflows have: choices, numbers, and paths to write."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from medr1.errors import InputError, OutputError
from medr1.files import require_apart, temporary


def require_choice(name: str, value: str | None, choices: Iterable[str]) -> None:
    """Refuse a value that is not one of the choices of an argument; None is accepted.

    Args:
        name: Name of the argument, for the message.
        value: Its value.
        choices: The values that it may have.

    Raises:
        InputError: The value is another one.
    """
    choices = tuple(choices)
    if value is not None and value not in choices:
        raise InputError(f"{name}: {value!r} is not one of {', '.join(choices)}.")


def require_at_least(lowest: int, **numbers: int | None) -> None:
    """Refuse a number that is too small; None is accepted.

    Args:
        lowest: The smallest number that is accepted.
        **numbers: Name of an argument -> its value.

    Raises:
        InputError: A number is smaller.
    """
    for name, number in numbers.items():
        if number is not None and number < lowest:
            raise InputError(f"{name}: {number} is less than {lowest}. Give a larger number.")


def require_share(**numbers: float) -> None:
    """InputError for a number that is not from 0 to 1; the keyword is the argument's name."""
    for name, number in numbers.items():
        if not 0 <= number <= 1:
            raise InputError(f"{name}: {number} is not from 0 to 1.")


def optional_path(path: str | Path | None) -> Path | None:
    """The path; None for None and for an empty text."""
    return Path(path) if path else None


def keep_apart(output: str | Path | None, inputs: Iterable[str | Path | None], move: bool) -> None:
    """Refuse an output that `overwrite` would rename although it is, or holds, an input.

    Args:
        output: The output file or folder; None if nothing is written.
        inputs: Files and folders that are read; None, and a hub id, are skipped.
        move: Whether an existing output is renamed to .bak, as with --overwrite.

    Raises:
        InputError: An input would be moved away with the old output.
    """
    from medr1.data.spreadsheets import file_and_sheet

    if move and output:
        sources = (file_and_sheet(Path(source))[0] for source in inputs if source)
        require_apart(Path(output), sources)


def require_writable(path: Path) -> None:
    """OutputError if this file could not be written; called before the work, which may be long."""
    parent = path.parent
    while not os.path.exists(parent):
        parent = parent.parent
    if not parent.is_dir():
        raise OutputError(f"cannot write {path}: {parent} is not a folder. Choose another place.")
    try:
        with suppress(FileNotFoundError):
            os.lstat(temporary(path.absolute()))  # raises another error if its name is too long
        # Permissions do not tell everything (a full disk, a read-only file system): try it.
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror} ({parent}). Choose another place."
        ) from None
