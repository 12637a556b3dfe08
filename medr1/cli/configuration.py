"""Values of a configuration file, as for --config, in the form of the command line."""

from __future__ import annotations

import click

MAX_NUMBER = 10**300
"""Largest whole number: a larger one does not fit a float, and may be too long for `str`."""


def as_typed(value: object, option: click.Option, where: str) -> object:
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


def _scalar(value: object, where: str) -> object:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, list | dict):
        kind = "a list" if isinstance(value, list) else "a mapping"
        raise click.UsageError(f"{where} is {kind}; expected one value.")
    if isinstance(value, int) and abs(value) > MAX_NUMBER:
        raise click.UsageError(f"{where} is too large a number.")
    return str(value)
