"""Score a file of completions with rewards."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path

from medr1.errors import InputError
from medr1.files import parse_json, read_text
from medr1.rewards import WITHOUT_PARAMETERS, reward_functions, score_completion


def score_completions(
    file: str | Path, *, rewards: Sequence[str] | None = None, prompt: str = "think"
) -> Iterator[dict[str, float]]:
    """Score the completions of a JSONL file one after the other.

    Args:
        file: Each line has `content` (the completion), `solution` (the right answer) and
            optionally `problem` (the question with its options) and `num_tokens` (the tokens of
            the completion).
        rewards: Rewards to compute: names of rewards.REWARDS, with parameters as in
            "soft-overlong:max_length=512:cache=128", or package.module:function; None: each that
            needs no parameter.
        prompt: Prompt template whose format the format reward expects: a name or a text file.

    Yields:
        Name of a reward -> score in [0, 1], for each line.

    Raises:
        InputError: A reward or the prompt is unknown, or the file or a line of it cannot be read.
    """
    text = read_text(Path(file))
    if not text.strip():
        raise InputError(f"{file} is empty. Put at least one completion into it.")
    functions = reward_functions(rewards or WITHOUT_PARAMETERS, prompt)
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        case: object = parse_json(line, str(file), first_line=number)
        texts = case if isinstance(case, dict) else {}
        for key in ("content", "solution"):
            if not isinstance(texts.get(key), str):
                raise InputError(f"{where}: expected an object with a text {key!r}.")
        num_tokens = texts.get("num_tokens")
        if num_tokens is not None and (type(num_tokens) is not int or num_tokens < 0):
            raise InputError(f"{where}: expected num_tokens as a whole number of at least 0.")
        with redirect_stdout(sys.stderr):  # stdout is for the result; a user's reward may print
            try:
                scores = score_completion(
                    functions, texts["content"], texts["solution"], texts.get("problem"), num_tokens
                )
            except InputError as error:
                raise InputError(f"{where}: {error}") from None
        yield scores
