"""`medr1 rewards`: scores of rewards for a file of completions."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

import click

from medr1.cli.common import CommaList, Medr1Command, common_options, option
from medr1.rewards import REWARDS, WITHOUT_PARAMETERS, Parameter
from medr1.terminal import echo


def _table() -> str:
    """The rewards and their parameters, one in each line."""
    lines = []
    for name, reward in REWARDS.items():
        lines.append(f"  {name:<18}  {reward.description}")
        lines += [f"    {_parameter(parameter)}" for parameter in reward.parameters]
    return "\n".join(lines)


def _parameter(parameter: Parameter) -> str:
    """One parameter with its default, such as "cache=N       tokens ...; in training ..."."""
    name = f"{parameter.name}={'N' if parameter.kind is int else 'FLOAT'}"
    default = "" if parameter.default is None else f" [default: {parameter.default}]"
    if parameter.training_setting:
        default = f"; in training {parameter.training_setting}"
    return f"{name:<12}  {parameter.description}{default}"


HELP = """Score a file of completions with rewards.

FILE is JSONL. Each line has `content` (the completion), `solution` (the right answer) and
optionally `problem` (the question with its options) and `num_tokens` (the tokens of the
completion). For each line, one line of JSON with the scores is printed.

\b
Parameters are written after the name of a reward:
  soft-overlong:max_length=512:cache=128

\b
Rewards, from 0 to 1:
{table}

\b
Examples:
  medr1 rewards completions.jsonl --prompt nothink
  medr1 rewards completions.jsonl --rewards accuracy,token-f1
"""


@click.command(
    cls=Medr1Command,
    short_help="Score a file of completions with rewards.",
    help=HELP.format(table=_table()),
)
@click.argument("file", metavar="FILE")
@option(
    "--rewards",
    "names",
    type=CommaList(str),
    metavar="NAME,...",
    default=",".join(WITHOUT_PARAMETERS),
    show_default=False,
    help="Rewards to compute, or your own as package.module:function. [default: each that needs no "
    "parameter]",
)
@option(
    "--prompt",
    metavar="NAME|FILE",
    default="think",
    help="Prompt template whose format the format reward expects: a name or a text file, as for "
    "`medr1 infer`.",
)
@common_options
def rewards(file: str, names: tuple[str, ...], prompt: str) -> None:
    """Print the scores of each completion in a file."""
    from medr1.errors import InputError
    from medr1.files import parse_json, read_text
    from medr1.rewards import reward_functions, score_completion

    text = read_text(Path(file))
    if not text.strip():
        raise InputError(f"{file} is empty. Put at least one completion into it.")
    functions = reward_functions(names, prompt)
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        case = parse_json(line, file, first_line=number)
        for key in ("content", "solution"):
            if not isinstance(case, dict) or not isinstance(case.get(key), str):
                raise InputError(f"{where}: expected an object with a text {key!r}.")
        num_tokens = case.get("num_tokens")
        if num_tokens is not None and (type(num_tokens) is not int or num_tokens < 0):
            raise InputError(f"{where}: expected num_tokens as a whole number of at least 0.")
        with redirect_stdout(sys.stderr):  # stdout is for the result; a user's reward may print
            try:
                scores = score_completion(
                    functions, case["content"], case["solution"], case.get("problem"), num_tokens
                )
            except InputError as error:
                raise InputError(f"{where}: {error}") from None
        echo(json.dumps(scores))
