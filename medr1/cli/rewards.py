"""`medr1 rewards`: what every reward says of a file of completions."""

from __future__ import annotations

import json
from pathlib import Path

import click

from medr1.cli.common import Medr1Command, common_options, option
from medr1.terminal import echo


@click.command(cls=Medr1Command, short_help="Score a file of completions with every reward.")
@click.argument("file", metavar="FILE")
@option(
    "--prompt",
    metavar="NAME|FILE",
    default="think",
    help="Prompt whose format the format reward expects: a name, or a file as for `infer`.",
)
@common_options
def rewards(file: str, prompt: str) -> None:
    """Score completions with every reward: a JSON line in, a JSON line out, in order.

    FILE is JSONL with `content`, `solution` and optional `problem`.
    """
    from medr1.errors import InputError
    from medr1.files import parse_json, read_text
    from medr1.rewards import score_completion

    for number, line in enumerate(read_text(Path(file)).splitlines(), 1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        case = parse_json(line, file, first_line=number)
        for key in ("content", "solution"):
            if not isinstance(case, dict) or not isinstance(case.get(key), str):
                raise InputError(f"{where}: expected an object with a text {key!r}.")
        scores = score_completion(case["content"], case["solution"], case.get("problem"), prompt)
        echo(json.dumps(scores))
