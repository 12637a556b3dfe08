"""`medr1 rewards`: scores of rewards for a file of completions."""

from __future__ import annotations

import json

import click

from medr1.cli.common import (
    CommaList,
    Medr1Command,
    argument,
    columns_of,
    common_options,
    map_option,
    option,
)
from medr1.rewards import MODEL_REWARDS, REWARDS, Parameter
from medr1.terminal import echo
from medr1.workflows.rewards import score_completions


def _table() -> str:
    """The rewards and their parameters, one in each line."""
    lines = []
    for name, reward in REWARDS.items():
        lines.append(f"  {name:<18}  {reward.description}")
        lines += [f"    {_parameter(parameter)}" for parameter in reward.parameters]
    for name, model_reward in MODEL_REWARDS.items():
        lines.append(f"  {name:<18}  {model_reward.description}")
        for text in model_reward.parameters:
            lines.append(f"    {f'{text.name}={text.placeholder}':<12}  {text.description}")
    return "\n".join(lines)


def _parameter(parameter: Parameter) -> str:
    """One parameter with its default, such as "cache=N       tokens ...; in training ..."."""
    name = f"{parameter.name}={'N' if parameter.kind is int else 'FLOAT'}"
    default = "" if parameter.default is None else f" [default: {parameter.default}]"
    if parameter.training_setting:
        default = f"; in training {parameter.training_setting}"
    return f"{name:<12}  {parameter.description}{default}"


HELP = """Score a file of completions with rewards.

FILE is JSONL, JSON, CSV, TSV, .xlsx or Parquet. Each item has `content` (the completion),
`solution` (the right answer) and optionally `problem` (the question with its options),
`num_tokens` (the tokens of the completion) and `output_without_image` (the completion for the
question without its image). For each, one line of JSON with the scores is printed.

\b
Parameters are written after the name of a reward:
  soft-overlong:max_length=512:cache=128
  judge:url=http://127.0.0.1:8000/v1:model=NAME

`semantic` is high for opposite answers too: "no pleural effusion" has 0.89 for "pleural effusion",
and "right lung" 0.92 for "left lung". Give it a small weight beside `accuracy`.

\b
Rewards, from 0 to 1 (model: any number):
{table}

\b
Examples:
  medr1 rewards completions.jsonl --prompt nothink
  medr1 rewards completions.jsonl --rewards accuracy,token-f1
  medr1 rewards answers.csv --map content=reply --map solution=label
"""


@click.command(
    "rewards",
    cls=Medr1Command,
    workflow=score_completions,
    short_help="Score a file of completions with rewards.",
    help=HELP.format(table=_table()),
)
@argument("file", metavar="FILE")
@option(
    "--rewards",
    group="Metrics",
    type=CommaList(str),
    metavar="NAME,...",
    help="Rewards to compute, or your own as package.module:function. [default: each that needs no "
    "parameter, extra package or further column]",
)
@option(
    "--prompt",
    group="Prompt",
    metavar="NAME|FILE",
    help="Prompt template whose format the format reward expects: a name or a text file, as for "
    "`medr1 infer`.",
)
@map_option("FILE", "content=reply")
@common_options
def score(
    file: str, rewards: tuple[str, ...] | None, prompt: str, mapping: tuple[str, ...]
) -> None:
    """Print the scores of each completion in a file."""
    columns = columns_of(mapping)
    for scores in score_completions(file, rewards=rewards, prompt=prompt, columns=columns):
        echo(json.dumps(scores))
