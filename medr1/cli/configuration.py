"""Values of a configuration file, as for --config, in the form of the command line."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import click

from medr1.errors import InputError, did_you_mean
from medr1.installation import embedded_path

MAX_NUMBER = 10**300
"""Largest whole number: a larger one does not fit a float, and may be too long for `str`."""

_INPUT_METAVARS = {"PATH", "FILE", "DIR", "DIR|ID", "NAME|FILE"}
"""The placeholders of options that name a file or folder, in the help."""
_WRITTEN_OPTIONS = ("output_", "write_", "judge_cache", "pass_rates")
"""The options among them that name what is written begin with one of these."""


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


def resolve_input(value: object, option: click.Option, config: Path) -> object:
    """A value of the file, with an input path replaced by where it was found.

    A relative path is looked up in the current folder, then in the folder of the configuration
    file, and then in the folder above that. A path that is in none of them stays as it is.

    Args:
        value: The value, from `as_typed`.
        option: The option that it is for.
        config: The configuration file.
    """
    if not _is_input(option):
        return value
    if isinstance(value, list):
        return [resolve_input(item, option, config) for item in value]
    if isinstance(value, str) and not os.path.exists(os.path.expanduser(value)):
        for folder in folders_of(config):
            if os.path.exists(folder / value):
                return str(folder / value)
    return value


def find_embedded_inputs(ctx: click.Context) -> None:
    """Let data/tiny_vqa_ds be the embedded data set, in the options and arguments that are read.

    So the commands of the README run in any folder. A path that exists stays as it is.

    Args:
        ctx: The context of the command, after parsing.
    """
    for param in ctx.command.params:
        name = str(param.name)
        if name in ctx.params and _is_input(param):
            value = ctx.params[name]
            is_list = isinstance(value, tuple)
            ctx.params[name] = tuple(map(_embedded, value)) if is_list else _embedded(value)


def _embedded(value: object) -> object:
    """The embedded file or folder, if the value is its name and no path that exists."""
    if isinstance(value, str) and value.startswith("data/") and not os.path.exists(value):
        with suppress(InputError):
            return str(embedded_path(value))
    return value


def _is_input(param: click.Parameter) -> bool:
    """Whether the value of an option or argument is a path that is read."""
    return param.metavar in _INPUT_METAVARS and not str(param.name).startswith(_WRITTEN_OPTIONS)


def folders_of(config: Path) -> tuple[Path, Path]:
    """The folders in which relative paths of a file are looked up, after the current one.

    Args:
        config: The configuration file.
    """
    folder = config.absolute().parent
    return folder, folder.parent


def unknown_key(key: str, known_keys: Iterable[str], where: str) -> str:
    """The message for a key of a configuration file that is unknown, with the most similar one.

    Args:
        key: The unknown key.
        known_keys: All keys that may stand there.
        where: Where the key was found, such as the name of the file.
    """
    hint = did_you_mean(key, known_keys, "See --help for the known keys.")
    return f"{where}: unknown key {key!r}. {hint}"


def lookup_note(ctx: click.Context, message: str) -> str:
    """Where a path of the configuration file was looked up, if the message names such a path.

    Args:
        ctx: The context of the command.
        message: The message of an error.

    Returns:
        A sentence with a blank before it; "" if the message names no such path.
    """
    config, values = ctx.meta.get("medr1.config"), (ctx.default_map or {}).values()
    missing = [v for v in values if isinstance(v, str) and "/" in v and v in message]
    if config is None or not missing or any(map(os.path.exists, missing)):
        return ""
    beside, above = folders_of(config)
    return f" {config.name} names it; it is not in the current folder, {beside} or {above}."
