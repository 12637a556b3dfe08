"""Several passes of each question taken as one answer, by the mean of their probabilities.

The passes are mild views of its picture (test-time augmentation: the picture as it is and under
each perturbation at its least severity), or runs with the model's own dropout on. Shapes: V passes,
N items with all of them, K options (NaN where an item has fewer).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medr1.evaluate.estimates import difference_metric, mean_metric, null
from medr1.evaluate.judging import Judged, Mask, Values
from medr1.evaluate.trust.ensemble import entropy, mutual_information
from medr1.evaluate.trust.ranking import auroc_metric

Rows = NDArray[np.intp]
MIN_ITEMS = 20
"""Under so many items a share says next to nothing: its interval is 40 points wide."""
NO_DROPOUT = (
    "the results hold no passes with dropout; a model that has some makes them: "
    "infer --dropout-samples 8"
)


def tta_metrics(
    judged: Judged, clean: Mask, others: Sequence[Mask], partner: Rows
) -> dict[str, Any]:
    """Test-time augmentation: accuracy of the mean over the views of each image, beside one pass.

    `others` says where each further view is, `partner` has each row's item as it is. Null with a
    reason where fewer than MIN_ITEMS items have probabilities in every view.
    """
    scores = judged.columns.scores
    rows = _rows_of_all(
        clean & scores.has_options, [m & scores.has_options for m in others], partner
    )
    if len(others) < 2 or rows.shape[1] < MIN_ITEMS:
        return null(
            f"fewer than two views, or than {MIN_ITEMS} items with option_probs in all views"
        )
    return {"num_views": len(rows), **_mean_prediction(judged, rows[0], scores.probabilities[rows])}


def dropout(judged: Judged) -> dict[str, Any]:
    """The `dropout` part of summary.json: the mean over `dropout_probs` beside `option_probs`.

    Null with a reason where fewer than MIN_ITEMS items have them. Of items with fewer passes than
    others, and those without any, n_without says how many.
    """
    scores = judged.columns.scores
    if not scores.dropout.shape[1]:
        return null(NO_DROPOUT)
    unknown = np.isnan(scores.probabilities)[:, None]
    whole = (np.isnan(scores.dropout) == unknown).all(axis=(1, 2))  # of the same options
    rows = np.flatnonzero(scores.has_options & whole)
    if len(rows) < MIN_ITEMS:
        return null(f"fewer than {MIN_ITEMS} items have all passes with dropout")
    found = _mean_prediction(judged, rows, scores.dropout[rows].swapaxes(0, 1))
    n_without = len(judged) - len(rows)
    return {"num_samples": scores.dropout.shape[1], "n_without": n_without, **found}


def _mean_prediction(judged: Judged, rows: Rows, seen: Values) -> dict[str, Any]:
    """The mean of the passes' probabilities (V, N, K) as answers; `rows` (N) are their items.

    It stands beside the option that is most probable in one pass as it is, not beside what was
    written, which may be no option at all.
    """
    scores = judged.columns.scores
    where = np.zeros(len(judged), dtype=bool)
    where[rows] = True

    def placed(values: Values | Mask) -> Values:
        found = np.zeros(len(judged))
        found[rows] = values
        return found

    mean, each = seen.mean(axis=0), _most_probable(seen)
    right = placed(_most_probable(mean) == scores.right_index[rows])
    alone = placed(_most_probable(scores.probabilities[rows]) == scores.right_index[rows])
    information, total = placed(mutual_information(seen)), placed(entropy(mean))
    return {
        **mean_metric(right, judged, where),
        "one_pass": mean_metric(alone, judged, where),
        "difference": difference_metric(right, alone, judged, where),
        "flip_rate": mean_metric(placed((each != each[0]).any(axis=0)), judged, where),
        "mutual_information": mean_metric(information, judged, where, share=False),
        "predictive_entropy": mean_metric(total, judged, where, share=False),
        "auroc": auroc_metric(information, right == 0, judged, where),
        "auroc_entropy": auroc_metric(total, right == 0, judged, where),
    }


def _most_probable(probabilities: Values) -> Rows:
    """The place of the most probable option, the first of equals; NaN is none."""
    return np.nan_to_num(probabilities, nan=-1.0).argmax(axis=-1)


def _rows_of_all(clean: Mask, others: Sequence[Mask], partner: Rows) -> Rows:
    """The rows (V, N) of the items that are asked in every view, as they are first."""
    tables = []
    for mask in (clean, *others):
        place = np.full(len(partner), -1, dtype=np.intp)
        place[partner[mask]] = np.flatnonzero(mask)
        tables.append(place)
    found = np.stack(tables)
    return found[:, (found >= 0).all(axis=0)]
