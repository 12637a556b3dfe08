"""A small text classifier that answers without looking: what words of question and option tell.

Each option of each item is one row, with the label whether it is the gold one; a logistic
regression, fitted by averaged stochastic gradient descent, scores the rows, and the highest score
within an item is its answer. A row's features, hashed into 2^20 columns: the option's words and
pairs of neighbouring words, the whole option, the whole option with each word of the question, its
letter, and whether it is the longest or shortest.
"""

from __future__ import annotations

import re
import zlib
from array import array
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from medr1.data.audit.blind import Scores, normal_option
from medr1.records import LETTERS, Sample

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_COLUMNS = 1 << 20
_MIX = 0x9E3779B1
"""Knuth's multiplicative constant: spreads the crossing of two hashes over the columns."""
_ROWS_SEEN = 1_000_000
"""Passes are made over the training rows until so many have been seen, five at least."""
_MAX_QUESTION_WORDS = 64
_THREADS = 4


def classifier_scores(
    train: Sequence[Sample], test: Sequence[Sample], golds: Sequence[Sequence[str | None]]
) -> list[list[Scores]]:
    """For each set of gold letters of train: for each test sample a score for each letter.

    Every training sample has options and a gold letter in each set; there is one at least.
    Deterministic: the same samples give the same scores.
    """
    from sklearn.linear_model import SGDClassifier

    learned = _features(train)
    asked = [sample for sample in test if sample.options]
    rows = _features(asked) if asked else None
    passes = max(5, min(50, _ROWS_SEEN // learned.shape[0]))

    def fitted(letters: Sequence[str | None]) -> list[float]:
        labels = [
            letter == gold
            for sample, gold in zip(train, letters, strict=True)
            for letter in sample.options
        ]
        model = SGDClassifier(
            loss="log_loss", alpha=1e-6, max_iter=passes, tol=None, average=True, random_state=0
        )
        model.fit(learned, labels)
        return [] if rows is None else model.decision_function(rows).tolist()

    found: list[list[Scores]] = []
    with ThreadPoolExecutor(_THREADS) as pool:  # a fit runs outside the interpreter's lock
        for values in map(iter, pool.map(fitted, golds)):
            found.append([{letter: next(values) for letter in s.options} for s in test])
    return found


def _features(samples: Sequence[Sample]) -> csr_matrix:
    """A row of unit length for each option of each sample, in order."""
    import numpy as np
    from scipy.sparse import csr_matrix

    columns = array("i")
    starts = array("q", [0])
    for sample in samples:
        words = _question_words(sample.question)
        lengths = sorted({len(text) for text in sample.options.values()})
        for letter, text in sample.options.items():
            whole, parts = _option_parts(normal_option(text))
            columns.extend(parts)
            columns.extend([((whole ^ word) * _MIX >> 7) % _COLUMNS for word in words])
            columns.append(LETTERS.find(letter))
            if len(lengths) > 1:
                columns.append(
                    len(LETTERS) + (len(text) == lengths[0]) + 2 * (len(text) == lengths[-1])
                )
            starts.append(len(columns))
    indptr = np.frombuffer(starts, dtype=np.int64)
    weights = 1 / np.sqrt(np.diff(indptr))
    data = np.repeat(weights, np.diff(indptr))
    shape = (len(starts) - 1, _COLUMNS)
    return csr_matrix((data, np.frombuffer(columns, dtype=np.int32), indptr), shape=shape)


@lru_cache(maxsize=100_000)
def _question_words(question: str) -> tuple[int, ...]:
    words = dict.fromkeys(re.findall(r"\w+", question.lower()))
    return tuple(_hash(f"q {word}") for word in list(words)[:_MAX_QUESTION_WORDS])


@lru_cache(maxsize=100_000)
def _option_parts(text: str) -> tuple[int, tuple[int, ...]]:
    """The hash of the whole option, and the columns of its words, pairs and itself."""
    words = re.findall(r"\w+", text)
    pairs = [f"{one} {other}" for one, other in pairwise(words)]
    whole = _hash(f"o {text}")
    parts = {_hash(f"w {part}") % _COLUMNS for part in (*words, *pairs)} | {whole % _COLUMNS}
    return whole, tuple(sorted(parts))


def _hash(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))
