"""Numbers about the tokens of each completion, as columns over all items.

They come from `infer --token-logprobs`. Of each list of log-probabilities only two numbers are
kept, so that memory does not grow with the length of the completions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medr1.evaluate.coded import Mask, Values
from medr1.records import Prediction


@dataclass(frozen=True)
class TokenColumns:
    """Two numbers for each item; NaN where the file has no log-probabilities for them."""

    variance: Values
    """The variance of the log-probabilities of the completion's tokens, in nats squared."""
    shift: Values
    """The mean over the tokens of |log-probability with the image - without it|, in nats."""

    @classmethod
    def concatenate(cls, parts: Sequence[TokenColumns]) -> TokenColumns:
        """The parts one after the other."""
        return cls(
            np.concatenate([part.variance for part in parts]),
            np.concatenate([part.shift for part in parts]),
        )

    @property
    def known(self) -> Mask:
        """Where both numbers are known."""
        return np.isfinite(self.variance) & np.isfinite(self.shift)


def token_columns(predictions: Sequence[Prediction]) -> TokenColumns:
    """The columns of predictions, one entry for each."""
    columns = np.full((2, len(predictions)), np.nan)
    for position, prediction in enumerate(predictions):
        with_image = prediction.token_logprobs
        if not with_image:
            continue
        logprobs = np.array(with_image, dtype=np.float64)
        columns[0, position] = logprobs.var()
        without_image = prediction.token_logprobs_without_image
        if without_image is not None and len(without_image) == len(logprobs):
            columns[1, position] = np.abs(logprobs - np.array(without_image)).mean()
    return TokenColumns(*columns)
