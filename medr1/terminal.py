"""All that medr1 writes to a terminal, through `echo`: no text of others can steer it.

Names, answers and messages come from files of others. A control character in them could recolour,
clear or retitle a terminal, and a direction character could reorder a line: they are shown as
escapes, in the form that JSON has for them, so that a JSON document stays the same document.
"""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import traceback
import unicodedata
from types import TracebackType

import click

_SPECIAL = re.compile(r"[^\n\t\x20-\x7e]")
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS = "\u200c\u200d"
"""Written between letters of Persian, Hindi and others; they hide nothing and reorder nothing."""


def printable(text: str) -> str:
    """The text with its control and direction characters as escapes, such as \\u001b.

    Line ends and tabs stay.
    """
    return _SPECIAL.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    if character in _JOINERS or unicodedata.category(character) not in _HIDDEN:
        return character
    return json.dumps(character)[1:-1]


def one_line(text: str) -> str:
    """The text as `printable` has it, on one line: a message cannot begin another."""
    return printable(text.replace("\n", " "))


def echo(text: object = "", *, lead: str = "", err: bool = False, nl: bool = True) -> None:
    """Write the text as `printable` has it, behind a `lead` of our own that may have colours."""
    click.echo(lead + printable(str(text)), err=err, nl=nl)


def echo_error(error: BaseException) -> None:
    """Write the one sentence of an error to stderr."""
    echo(f"Error: {one_line(str(error))}", err=True)


def echo_usage(error: click.ClickException) -> None:
    """Write what click says of a command line that it refuses to stderr."""
    said = io.StringIO()
    error.show(said)
    echo(said.getvalue(), err=True, nl=False)


def echo_traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Write a traceback to stderr; for sys.excepthook."""
    echo("".join(traceback.format_exception(kind, error, trace)), err=True, nl=False)


class _Record(logging.LogRecord):
    """What is logged, by us or by a library, as `printable` has it."""

    def getMessage(self) -> str:
        said = super().getMessage()
        return one_line(said) if self.name == "medr1" else printable(said)


def set_up_logging(quiet: bool, verbose: bool) -> None:
    """Let the logger "medr1" write to stderr, and every logger nothing but `printable` text."""
    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    logging.setLogRecordFactory(_Record)
    logging.captureWarnings(verbose)
    for name in ("medr1", "py.warnings"):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.handlers = [logging.StreamHandler(sys.stderr)]
        logger.propagate = False
