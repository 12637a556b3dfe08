"""Score a file of completions with rewards."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path

from medr1.errors import InputError
from medr1.rewards import DEFAULT_REWARDS, reward_functions, score_completion


def score_completions(
    file: str | Path,
    *,
    rewards: Sequence[str] | None = None,
    prompt: str = "think",
    columns: Mapping[str, str] | None = None,
) -> Iterator[dict[str, float]]:
    """Score the completions of a file one after the other.

    Args:
        file: JSONL, JSON, CSV, TSV, .xlsx or Parquet. Each item has `content` (the completion),
            `solution` (the right answer) and optionally `problem` (the question with its options),
            `num_tokens` (the tokens of the completion) and `output_without_image` (the completion
            for the question without its image).
        rewards: Rewards to compute: names of rewards.REWARDS or rewards.MODEL_REWARDS, with
            parameters as in "soft-overlong:max_length=512:cache=128", or package.module:function;
            None: each that needs no parameter, no extra package and no further column.
        prompt: Prompt template whose format the format reward expects: a name or a text file.
        columns: One of these keys -> column of the file: {"content": "reply"}.

    Yields:
        Name of a reward -> score in [0, 1], for each line.

    Raises:
        InputError: A reward or the prompt is unknown, a reward model or judge cannot be used, or
            the file or a line of it cannot be read.
        Medr1Error: A judge cannot be reached.
    """
    from medr1.data.completions import read_completions

    completions = read_completions(Path(file), columns or {})
    functions = reward_functions(rewards or DEFAULT_REWARDS, prompt)
    for where, completion in completions:
        with redirect_stdout(sys.stderr):  # stdout is for the result; a user's reward may print
            try:
                scores = score_completion(
                    functions,
                    completion.content,
                    completion.solution,
                    completion.problem,
                    completion.num_tokens,
                    completion.output_without_image,
                )
            except InputError as error:
                raise InputError(f"{where}: {error}") from None
        yield scores
