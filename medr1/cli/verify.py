"""`medr1 verify`: checks that a checkpoint is complete, unchanged and safe to load."""

from __future__ import annotations

import click

from medr1.cli.common import Medr1Command, argument, common_options, json_option, offline_option
from medr1.terminal import echo, one_line
from medr1.workflows.verify import Check, verify_checkpoint

_WORDS = {True: "ok", None: "?", False: "FAILED"}


@click.command(
    cls=Medr1Command,
    workflow=verify_checkpoint,
    short_help="Check that a checkpoint is complete and unchanged.",
)
@argument("checkpoint", metavar="CHECKPOINT")
@offline_option
@json_option
@common_options
def verify(checkpoint: str, offline: bool, as_json: bool) -> None:
    """Check that a checkpoint or a LoRA adapter is complete, unchanged and safe to load.

    CHECKPOINT is its folder, its short name (VQA_CT), or its id on the Hugging Face hub. One line
    is printed per check; the exit code is 2 if a check fails. Files are compared with the
    SHA256SUMS in the folder, if there is one.

    \b
    Examples:
      medr1 verify checkpoints/tiny-vl
    """
    from medr1.errors import InputError
    from medr1.files import to_json

    def show(check: Check) -> None:
        echo(one_line(f"{_WORDS[check.passed]:<6} {check.name}: {check.message}"))

    result = verify_checkpoint(checkpoint, offline=offline, on_check=None if as_json else show)
    folder, failed = result.folder, result.failed
    if as_json:
        checks = [{"check": c.name, "ok": c.passed, "message": c.message} for c in result.checks]
        echo(to_json({"checkpoint": str(folder), "ok": not failed, "checks": checks}), nl=False)
    if failed:
        raise InputError(
            f"{folder} failed these checks: {', '.join(failed)}. Do not use it; download it again."
        )
