"""The exceptions of medr1, each with its exit code of the command line.

A message tells what is wrong, where, and what to do. A user's mistake raises one of these and is
shown without a traceback. Any other exception is a bug and is shown with its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class Medr1Error(Exception):
    """Base class: the run failed, or a required value of a metric was not reached."""

    exit_code = 1


class InputError(Medr1Error, ValueError):
    """Wrong usage or input: a file, an option, a configuration key."""

    exit_code = 2


class ItemError(Medr1Error, ValueError):
    """One item cannot be used. Its error is recorded, and the run continues with the others.

    `code` is for programs and does not change between versions (`image_missing`, `no_question`).
    """

    exit_code = 2

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ItemErrorsOverBudget(Medr1Error):
    """The run finished with more item errors than `--max-errors` allows."""

    exit_code = 3


class StateError(Medr1Error):
    """A file that medr1 wrote is damaged."""

    exit_code = 4


class LockedError(Medr1Error):
    """Another run is writing to the output."""

    exit_code = 5


class OutputError(Medr1Error, OSError):
    """The output cannot be written, for example because the disk is full."""

    exit_code = 6


class NonFiniteError(Medr1Error, ArithmeticError):
    """Training produced a reward, a loss or a gradient that is not a finite number."""

    exit_code = 7


class StoppedBySignal(Medr1Error):
    """A signal stopped the run after its work was saved; the same command resumes it."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def did_you_mean(name: str, known_names: Iterable[str], otherwise: str) -> str:
    """The end of a message about an unknown name: the most similar known one, as a question.

    Args:
        name: The unknown name.
        known_names: The names that would be right.
        otherwise: The text if none of them is similar.
    """
    similar_names = get_close_matches(name, list(known_names), n=1)
    return f"Did you mean {similar_names[0]}?" if similar_names else otherwise
