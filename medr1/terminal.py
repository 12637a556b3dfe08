"""Output to the terminal. Control characters in text from files are escaped.

Names, answers and messages can come from files that are not trusted. A control character in them
could change colours, clear the screen or set the title of the terminal, and a direction character
could reorder a line. They are written as JSON escapes, so that a printed JSON document stays valid
and unchanged.
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
"""Needed between letters of Persian, Hindi and other languages; they are harmless."""


def printable(text: str) -> str:
    """The text with its control and direction characters as escapes, such as \\u001b.

    Line ends and tabs are kept.
    """
    return _SPECIAL.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    if character in _JOINERS or unicodedata.category(character) not in _HIDDEN:
        return character
    return json.dumps(character)[1:-1]


def counted(number: int, noun: str) -> str:
    """A number with its noun, such as "1 step" or "2,000 steps".

    Args:
        number: The number.
        noun: The noun in the singular; its plural has an s.
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def one_line(text: str) -> str:
    """`printable` text on one line, so that a message cannot imitate a second one."""
    return printable(text.replace("\n", " "))


def echo(text: object = "", *, lead: str = "", err: bool = False, nl: bool = True) -> None:
    """Write `printable` text to stdout.

    Args:
        text: What to write; control characters are escaped.
        lead: Written before the text and not escaped, such as colour codes.
        err: Write to stderr instead.
        nl: End with a newline.
    """
    click.echo(lead + printable(str(text)), err=err, nl=nl)


def echo_error(error: BaseException) -> None:
    """Write the message of an error to stderr, on one line."""
    echo(f"Error: {one_line(str(error))}", err=True)


def echo_usage(error: click.ClickException) -> None:
    """Write click's message about a wrong command line to stderr."""
    message = io.StringIO()
    error.show(message)
    echo(message.getvalue(), err=True, nl=False)


def echo_traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Write a traceback to stderr; to be used as sys.excepthook.

    Args:
        kind: Class of the exception.
        error: The exception.
        trace: Its traceback.
    """
    echo("".join(traceback.format_exception(kind, error, trace)), err=True, nl=False)


class _Record(logging.LogRecord):
    """A log record, of medr1 or of a library, with a `printable` message."""

    def getMessage(self) -> str:
        message = super().getMessage()
        return one_line(message) if self.name == "medr1" else printable(message)


def set_up_logging(quiet: bool, verbose: bool) -> None:
    """Send the logger "medr1" to stderr, and escape control characters of all loggers.

    Args:
        quiet: Only warnings and errors.
        verbose: Debug messages too, and Python's warnings.
    """
    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    logging.setLogRecordFactory(_Record)
    logging.captureWarnings(verbose)
    for name in ("medr1", "py.warnings"):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.handlers = [logging.StreamHandler(sys.stderr)]
        logger.propagate = False
