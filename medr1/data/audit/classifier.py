"""A small text classifier that answers without the image, from question and option alone.

Each option of each item is one row, labelled with whether it is the right option. A logistic
regression, fitted by averaged stochastic gradient descent, scores the rows; the option with the
highest score is the item's answer. A row's features, hashed into 2^20 columns: the option's words
and pairs of neighbouring words, the whole option, the whole option crossed with each word of the
question, the option's letter, and whether it is the longest or the shortest option.
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

from medr1.data.audit.blind import Scores, normalized_option
from medr1.records import LETTERS, Sample

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_COLUMNS = 1 << 20
_MIX = 0x9E3779B1
"""Knuth's multiplicative constant: spreads the crossing of two hashes over the columns."""
_ROWS_SEEN = 1_000_000
"""Training passes over the rows until so many rows have been used; between 5 and 50 passes."""
_MAX_QUESTION_WORDS = 64
_THREADS = 4


def classifier_scores(
    train: Sequence[Sample],
    test: Sequence[Sample],
    label_sets: Sequence[Sequence[str | None]],
) -> list[list[Scores]]:
    """Fit the classifier once for each set of labels, and score the test items with each fit.

    Deterministic: the same samples give the same scores.

    Args:
        train: Training items, one at least; each has options.
        test: Items to score.
        label_sets: Each set has the right letter of every training item: the true letters, or
            shuffled ones as a control.

    Returns:
        For each set, for each item of `test`: letter -> score (the logit of being right).
    """
    from sklearn.linear_model import SGDClassifier

    train_rows = _features(train)
    with_options = [sample for sample in test if sample.options]
    test_rows = _features(with_options) if with_options else None
    passes = max(5, min(50, _ROWS_SEEN // train_rows.shape[0]))

    # The features do not depend on the labels, so they are computed once for all fits.
    def test_scores(letters: Sequence[str | None]) -> list[float]:
        labels = [
            letter == right_letter
            for sample, right_letter in zip(train, letters, strict=True)
            for letter in sample.options
        ]
        model = SGDClassifier(
            loss="log_loss", alpha=1e-6, max_iter=passes, tol=None, average=True, random_state=0
        )
        model.fit(train_rows, labels)
        return [] if test_rows is None else model.decision_function(test_rows).tolist()

    item_scores: list[list[Scores]] = []
    with ThreadPoolExecutor(_THREADS) as pool:  # a fit releases the interpreter's lock
        # The scores come as one list over all options of all items: each option takes the next.
        for values in map(iter, pool.map(test_scores, label_sets)):
            item_scores.append(
                [{letter: next(values) for letter in sample.options} for sample in test]
            )
    return item_scores


def _features(samples: Sequence[Sample]) -> csr_matrix:
    """A sparse row of unit length for each option of each sample, in order."""
    import numpy as np
    from scipy.sparse import csr_matrix

    # The arrays of the CSR format: row r has the columns columns[starts[r]:starts[r + 1]].
    columns = array("i")
    starts = array("q", [0])
    for sample in samples:
        words = _question_words(sample.question)
        lengths = sorted({len(text) for text in sample.options.values()})
        for letter, text in sample.options.items():
            option_hash, parts = _option_parts(normalized_option(text))
            columns.extend(parts)
            # Option and question word together: "which option is right under this word".
            columns.extend([((option_hash ^ word) * _MIX >> 7) % _COLUMNS for word in words])
            # Columns 0 to 7: the letter. Column 8: neither shortest nor longest, 9: shortest,
            # 10: longest. Hashed features may fall on these columns too, which is rare.
            columns.append(LETTERS.find(letter))
            if len(lengths) > 1:
                columns.append(
                    len(LETTERS) + (len(text) == lengths[0]) + 2 * (len(text) == lengths[-1])
                )
            starts.append(len(columns))
    indptr = np.frombuffer(starts, dtype=np.int64)
    # Each row has unit length: its n features weigh 1 / sqrt(n) each.
    weights = 1 / np.sqrt(np.diff(indptr))
    data = np.repeat(weights, np.diff(indptr))
    shape = (len(starts) - 1, _COLUMNS)
    return csr_matrix((data, np.frombuffer(columns, dtype=np.int32), indptr), shape=shape)


@lru_cache(maxsize=100_000)
def _question_words(question: str) -> tuple[int, ...]:
    """The hashes of the question's different words, at most _MAX_QUESTION_WORDS."""
    words = dict.fromkeys(re.findall(r"\w+", question.lower()))
    return tuple(_hash(f"q {word}") for word in list(words)[:_MAX_QUESTION_WORDS])


@lru_cache(maxsize=100_000)
def _option_parts(text: str) -> tuple[int, tuple[int, ...]]:
    """The hash of the whole option, and the columns of its words, pairs and itself."""
    words = re.findall(r"\w+", text)
    pairs = [f"{first} {second}" for first, second in pairwise(words)]
    option_hash = _hash(f"o {text}")
    # The prefixes keep a word of the option ("w"), a word of the question ("q") and an option of
    # one word ("o") apart.
    parts = {_hash(f"w {part}") % _COLUMNS for part in (*words, *pairs)} | {option_hash % _COLUMNS}
    return option_hash, tuple(sorted(parts))


def _hash(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))
