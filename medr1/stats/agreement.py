"""Agreement of two raters that say yes or no."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def agreement_cells(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Floats:
    """What each item adds to the 2 x 2 table of two raters: (items, 4), a single 1 in each row.

    The columns: both say yes, only the first, only the second, neither.

    Args:
        first: Whether the first rater says yes, one entry for each item.
        second: The same of the second rater.
    """
    cells = (first & second, first & ~second, ~first & second, ~first & ~second)
    return np.column_stack(cells).astype(np.float64)


def raw_agreement(sums: Floats) -> Floats:
    """The share of items on which both raters agree, for each row of sums of cells (rows, 4)."""
    agreement: Floats = (sums[:, 0] + sums[:, 3]) / sums.sum(axis=1)
    return agreement


def cohen_kappa(sums: Floats) -> Floats:
    """Cohen's kappa (P - E) / (1 - E), for each row of sums of cells (rows, 4).

    P is the share of items on which the raters agree, E the share that is expected of raters with
    the same frequencies of yes who do not depend on each other. NaN where both raters give one and
    the same answer to all items.

    Source: Cohen (1960). Agrees with scikit-learn (`cohen_kappa_score`), also with weights.
    """
    total = sums.sum(axis=1)
    first, second = (sums[:, 0] + sums[:, 1]) / total, (sums[:, 0] + sums[:, 2]) / total
    expected = first * second + (1 - first) * (1 - second)
    one_answer = expected > 1 - 1e-12
    kappa = (raw_agreement(sums) - expected) / np.where(one_answer, 1.0, 1 - expected)
    return np.where(one_answer, np.nan, kappa)
