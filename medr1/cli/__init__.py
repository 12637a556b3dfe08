"""The command line, one file per command.

Heavy libraries (torch, transformers, numpy) are imported inside the functions that need them, so
that `medr1 --help` is quick.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import NoReturn

import click

from medr1 import __version__
from medr1.cli.board import board
from medr1.cli.common import handle_broken_pipe
from medr1.cli.compare import compare
from medr1.cli.contamination import contamination
from medr1.cli.data import data
from medr1.cli.demo import demo
from medr1.cli.doctor import doctor
from medr1.cli.eval import evaluate
from medr1.cli.export import export
from medr1.cli.fetch import fetch
from medr1.cli.help import GroupedCommands
from medr1.cli.infer import infer
from medr1.cli.matrix import matrix
from medr1.cli.merge import merge
from medr1.cli.reproduce import reproduce
from medr1.cli.review import review
from medr1.cli.rewards import score
from medr1.cli.robustness import robustness
from medr1.cli.schema import schema
from medr1.cli.train import train
from medr1.cli.verify import verify
from medr1.models.mps import mps_environment
from medr1.terminal import echo, echo_traceback, echo_usage


@click.group(
    cls=GroupedCommands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="medr1", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Train, run and evaluate vision-language models on medical visual questions.

    Research software, not for clinical use. `medr1 COMMAND --help` explains a command.

    \b
    Examples:
      medr1 demo
      medr1 train --config configs/tiny.yaml --output-dir output/tiny
      medr1 infer --model-path tiny-vl --image-path scan.png \\
          --question "..."
      medr1 eval results.json
    """
    if ctx.invoked_subcommand is None:
        echo(ctx.get_help())


for heading, commands in {
    "Try it": (demo, doctor),
    "Data": (data,),
    "Train and run": (train, infer),
    "Evaluate": (
        *(evaluate, compare, matrix, robustness, contamination),
        *(review, reproduce, board, score),
    ),
    "Checkpoints": (fetch, verify, merge, export),
    "Documents": (schema,),
}.items():
    cli.add_section(heading, *commands)


_EXIT_CODES = {"SIGTERM": 128 + signal.SIGTERM, "SIGUSR1": 75}
"""Signal with which Slurm and others stop a job -> exit code; 75 means: run it again."""


def _terminate(signum: int, frame: object) -> NoReturn:
    """End at a signal, with its exit code."""
    echo("Terminated. Files that were written completely are kept.", err=True)
    sys.exit(_EXIT_CODES[signal.Signals(signum).name])


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    sys.excepthook = echo_traceback
    for signum in signal.Signals:
        if signum.name in _EXIT_CODES:  # Windows has no SIGUSR1
            signal.signal(signum, _terminate)
    if sys.platform == "win32":  # where a pipe or file would get the system's old code page
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8")
    for name, value in {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
        # OpenMP threads that wait in a long busy loop make a loaded machine several times
        # slower; threads that never do so make an idle machine slower by a third.
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "20000",
        **mps_environment(),
    }.items():
        os.environ.setdefault(name, value)
    color = False if os.environ.get("NO_COLOR") else None
    try:
        code = cli.main(standalone_mode=False, prog_name="medr1", color=color)
        sys.stdout.flush()
    except click.ClickException as error:
        echo_usage(error)
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        echo("Interrupted. Files that were written completely are kept.", err=True)
        code = 130
    except BrokenPipeError:
        code = handle_broken_pipe()
    sys.exit(code if isinstance(code, int) else 0)
