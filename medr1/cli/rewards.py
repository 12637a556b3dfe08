"""`medr1 rewards`: scores of every reward for a file of completions."""

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
    from medr1.errors import InputError
    from medr1.files import parse_json, read_text
    from medr1.rewards import score_completion

    text = read_text(Path(file))
    if not text.strip():
        raise InputError(f"{file} is empty. Put at least one completion into it.")
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        case = parse_json(line, file, first_line=number)
        for key in ("content", "solution"):
            if not isinstance(case, dict) or not isinstance(case.get(key), str):
                raise InputError(f"{where}: expected an object with a text {key!r}.")
        scores = score_completion(case["content"], case["solution"], case.get("problem"), prompt)
        echo(json.dumps(scores))
