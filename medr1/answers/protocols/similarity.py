"""The option that is most similar to a text, by difflib, as two published protocols choose it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def nearest(texts: Sequence[str], target: str) -> int | None:
    """The index of the text with the largest `SequenceMatcher.ratio` to the target.

    Args:
        texts: The options, as the protocol writes them.
        target: The answer.

    Returns:
        The first index with the largest ratio; None if no text has a character in common with the
        target. From 200 characters on, difflib leaves out characters that are frequent in the
        target, as it does in the authors' code.
    """
    matcher = difflib.SequenceMatcher(None, "", target)
    ratios = []
    for text in texts:
        matcher.set_seq1(text)
        ratios.append(matcher.ratio())
    best = max(ratios, default=0.0)
    return ratios.index(best) if best > 0 else None
