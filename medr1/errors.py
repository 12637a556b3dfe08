"""What medr1 says when it cannot go on: one sentence with what, where and what to do next.

A user's mistake is one of these and never a traceback; a bug is any other exception and always
is one. Each kind carries the exit code of the command line.
"""


class Medr1Error(Exception):
    """The run failed, or a gate was not met."""

    exit_code = 1


class InputError(Medr1Error, ValueError):
    """Usage or input is refused: a file, an option, a configuration key."""

    exit_code = 2


class ItemError(Medr1Error, ValueError):
    """One item of many cannot be used; it becomes an error record and the others go on.

    `code` is stable and for programs (`image_missing`, `no_question`), the message for people.
    """

    exit_code = 2

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ItemErrorsOverBudget(Medr1Error):
    """The run finished, with more item errors than were allowed."""

    exit_code = 3


class StateError(Medr1Error):
    """A file that medr1 itself wrote is corrupt."""

    exit_code = 4


class LockedError(Medr1Error):
    """Another run holds the output."""

    exit_code = 5


class OutputError(Medr1Error, OSError):
    """The output has no space or is not writable."""

    exit_code = 6


class NonFiniteError(Medr1Error, ArithmeticError):
    """Training produced a reward, a loss or a gradient that is not a finite number."""

    exit_code = 7


class StoppedBySignal(Medr1Error):
    """A signal ended the run in good order; the same command goes on from what was saved."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
