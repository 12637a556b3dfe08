"""Score a file of completions with rewards."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from medr1.errors import InputError
from medr1.rewards import (
    DEFAULT_REWARDS,
    MODEL_REWARDS,
    RewardFunction,
    reward_functions,
    score_batch,
    score_completion,
)

if TYPE_CHECKING:
    from medr1.data.completions import CompletionToScore

    _Placed = tuple[str, CompletionToScore]
    """The place of a completion in its file, for messages, and the completion."""

_BATCH = 64
"""Completions about which another model is asked together."""


def score_completions(
    file: str | Path,
    *,
    rewards: Sequence[str] | None = None,
    prompt: str = "think",
    columns: Mapping[str, str] | None = None,
) -> Iterator[dict[str, float]]:
    """Score the completions of a file one after the other.

    Rewards that ask another model are asked about many completions together.

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
    asks_model = any(function.__name__ in MODEL_REWARDS for function in functions)
    for batch in _batches(completions, _BATCH if asks_model else 1):
        with redirect_stdout(sys.stderr):  # stdout is for the result; a user's reward may print
            by_models = _scores_by_models(functions, batch)
        for (where, completion), known in zip(batch, by_models, strict=True):
            others = [function for function in functions if function.__name__ not in known]
            with redirect_stdout(sys.stderr):
                try:
                    scores = score_completion(
                        others,
                        completion.content,
                        completion.solution,
                        completion.problem,
                        completion.num_tokens,
                        completion.output_without_image,
                    )
                except InputError as error:
                    raise InputError(f"{where}: {error}") from None
            scores |= known
            yield {function.__name__: scores[function.__name__] for function in functions}


def _batches(values: Iterator[_Placed], size: int) -> Iterator[list[_Placed]]:
    """The values in lists of `size`; the last one may be shorter."""
    while batch := list(islice(values, size)):
        yield batch


def _scores_by_models(
    functions: Sequence[RewardFunction], batch: Sequence[_Placed]
) -> list[dict[str, float]]:
    """The scores of the rewards that ask another model, which they are asked for together.

    If one completion cannot be scored, there are none: then each is scored for itself, so that the
    message names the right one.
    """
    models = [function for function in functions if function.__name__ in MODEL_REWARDS]
    columns: dict[str, Sequence[object]] = {
        "id": [where for where, _ in batch],
        "solution": [completion.solution for _, completion in batch],
        "problem": [completion.problem for _, completion in batch],
    }
    try:
        return score_batch(models, [completion.content for _, completion in batch], columns)
    except InputError:
        return [{} for _ in batch]
