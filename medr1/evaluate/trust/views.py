"""Test-time augmentation: several mild views of each picture taken as one answer.

The views are the picture as it is and under each perturbation of pictures at its least severity.
Shapes: V views, N items with all of them, K options (NaN where an item has fewer).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medr1.evaluate.estimates import difference_metric, mean_metric, null
from medr1.evaluate.judging import Judged, Mask, Values
from medr1.evaluate.trust.ensemble import mutual_information
from medr1.evaluate.trust.ranking import auroc_metric

Rows = NDArray[np.intp]


def views(
    judged: Judged, clean: Mask, others: Sequence[Mask], partner: Rows, fewest: int
) -> dict[str, Any]:
    """What the mean of the views' option probabilities says beside the one answer.

    `others` says where each further view is, `partner` has each row's item as it is. Null with a
    reason where fewer than `fewest` items have probabilities in every view.
    """
    scores = judged.columns.scores
    rows = _rows_of_all(
        clean & scores.has_options, [m & scores.has_options for m in others], partner
    )
    n = rows.shape[1]
    if len(others) < 2 or n < fewest:
        return null(f"fewer than two views, or than {fewest} items with option_probs in all views")
    seen = scores.probabilities[rows]
    mean = np.nan_to_num(seen.mean(axis=0), nan=-1.0).argmax(axis=1)
    each = np.nan_to_num(seen, nan=-1.0).argmax(axis=2)
    where = np.zeros(len(judged), dtype=bool)
    where[rows[0]] = True

    def placed(values: Values) -> Values:
        found = np.zeros(len(judged))
        found[rows[0]] = values
        return found

    right = placed((mean == scores.right[rows[0]]).astype(np.float64))
    information = placed(mutual_information(seen))
    return {
        "num_views": len(rows),
        **mean_metric(right, judged, where),
        "one_answer": mean_metric(judged.correct, judged, where),
        "difference": difference_metric(right, judged.correct, judged, where),
        "flip_rate": mean_metric(
            placed((each != each[0]).any(axis=0).astype(np.float64)), judged, where
        ),
        "mutual_information": mean_metric(information, judged, where),
        "auroc": auroc_metric(information, judged.correct == 0, judged, where),
    }


def _rows_of_all(clean: Mask, others: Sequence[Mask], partner: Rows) -> Rows:
    """The rows (V, N) of the items that are asked in every view, as they are first."""
    tables = []
    for mask in (clean, *others):
        place = np.full(len(partner), -1, dtype=np.intp)
        place[partner[mask]] = np.flatnonzero(mask)
        tables.append(place)
    found = np.stack(tables)
    return found[:, (found >= 0).all(axis=0)]
