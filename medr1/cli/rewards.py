"""`medr1 rewards`: scores of every reward for a file of completions."""

from __future__ import annotations

import json

import click

from medr1.cli.common import Medr1Command, common_options, option
from medr1.terminal import echo
from medr1.workflows.rewards import score_completions


@click.command(
    cls=Medr1Command,
    workflow=score_completions,
    short_help="Score a file of completions with every reward.",
)
@click.argument("file", metavar="FILE")
@option(
    "--prompt",
    metavar="NAME|FILE",
    help="Prompt template whose format the format reward expects: a name or a text file, as for "
    "`medr1 infer`.",
)
@common_options
def rewards(file: str, prompt: str) -> None:
    """Score a file of completions with every reward.

    FILE is JSONL. Each line has `content` (the completion), `solution` (the right answer) and
    optionally `problem` (the question with its options). For each line, one line of JSON with all
    scores is printed.

    \b
    Rewards, from 0 to 1:
      accuracy            1 if the answer is right, as in `medr1 eval`
      format              1 for the format that --prompt asks for
      format-think        1 for reasoning, then the answer
      format-nothink      1 for the answer only
      format-think-after  1 for the answer, then reasoning
      accuracy-authors    accuracy by the rules of Med-R1's training
      format-authors      format by the rules of Med-R1's training
      token-f1            words that the answer shares with the right one
      edit-similarity     similarity of the letters of the two answers
      option-similarity   the same, and 0 for questions without options
      numeric-closeness   closeness of the numbers in the two answers

    \b
    Examples:
      medr1 rewards completions.jsonl --prompt nothink
    """
    for scores in score_completions(file, prompt=prompt):
        echo(json.dumps(scores))
