"""The log-probability of each token of a completion, with the images and with grey ones.

The completions are given, so one pass over prompt and completion is enough (teacher forcing). The
numbers are those of the model itself: a repetition penalty or a temperature does not change them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medr1.infer.local.generation import BatchFeatures, Prefix, prefill, score_tokens
from medr1.infer.local.inputs import Row
from medr1.infer.predictions import CompletionLogprobs
from medr1.models.loading import LoadedModel


def completion_logprobs(
    loaded: LoadedModel,
    rows: Sequence[Row],
    prefix: Prefix,
    completions: Sequence[Sequence[int]],
) -> list[CompletionLogprobs]:
    """The log-probability of each token of the completion of each row.

    Args:
        loaded: The model.
        rows: The prompts; those with images have grey ones too (`PromptImages.blank`).
        prefix: The same prompts, as `prefill` ran them; unchanged afterwards.
        completions: For each row the token ids of its completion; may be empty.
    """
    blanks = [row.images.blank if row.images else None for row in rows]
    blank_rows = [
        replace(row, images=blank) for row, blank in zip(rows, blanks, strict=True) if blank
    ]
    of_blank: list[list[float]] = []
    if blank_rows:
        blank_prefix = prefill(loaded, blank_rows, BatchFeatures(loaded, blank_rows))
        behind_blank = [tokens for tokens, blank in zip(completions, blanks, strict=True) if blank]
        of_blank = _logprobs(loaded, blank_prefix, behind_blank)
    remaining = iter(of_blank)
    return [
        CompletionLogprobs(with_image, next(remaining) if blank else None)
        for with_image, blank in zip(_logprobs(loaded, prefix, completions), blanks, strict=True)
    ]


def _logprobs(
    loaded: LoadedModel, prefix: Prefix, completions: Sequence[Sequence[int]]
) -> list[list[float]]:
    strings = [[tokens] if tokens else [] for tokens in completions]
    scores = score_tokens(loaded, prefix, [[]] * len(strings), strings)
    return [row[0] if row else [] for row in scores]
