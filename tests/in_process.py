"""`medr1 ...` as a user types it, in this process: it has torch already, and a new one reads it."""

import contextlib
import os
from collections.abc import Mapping
from subprocess import CompletedProcess

from click.testing import CliRunner

from medr1.cli import cli


def medr1(
    *args: object,
    cwd: str | os.PathLike[str] = ".",
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> CompletedProcess[str]:
    """The exit code and both streams; what would be a traceback is raised."""
    typed = [str(arg) for arg in args]
    with contextlib.chdir(cwd):
        done = CliRunner(catch_exceptions=False).invoke(cli, typed, env=env, input=stdin)
    return CompletedProcess(["medr1", *typed], done.exit_code, done.stdout, done.stderr)
