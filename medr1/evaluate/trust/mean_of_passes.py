"""Several passes over each question combined into one answer: the mean of their probabilities.

Two kinds of passes:

- Mild views of the image (test-time augmentation, TTA): the unchanged image, and the image under
  each perturbation at its lowest severity.
- Runs with the model's own dropout left on (Monte Carlo dropout, Gal and Ghahramani, 2016).

Shapes: V passes, N items that have all of them, K options (NaN where an item has fewer options).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medr1.documents.metric import Missing
from medr1.documents.trust import Dropout, MeanPrediction, TestTimeAugmentation
from medr1.evaluate.coded import Mask, Values
from medr1.evaluate.estimates import difference_metric, mean_metric
from medr1.evaluate.judging import Judged
from medr1.evaluate.trust.ensemble import entropy, mutual_information
from medr1.evaluate.trust.ranking import auroc_metric

Rows = NDArray[np.intp]
"""Indices of items."""
MIN_ITEMS = 20
"""With fewer items nothing is computed: the interval of a share is 40 points wide."""
NO_DROPOUT = (
    "the results hold no passes with dropout; a model with dropout layers can make them: "
    "infer --dropout-samples 8"
)


def tta_metrics(
    judged: Judged, clean: Mask, views: Sequence[Mask], clean_row: Rows
) -> TestTimeAugmentation | Missing:
    """Test-time augmentation: the accuracy of the mean over all views, beside the unchanged image.

    Args:
        judged: All items of a robustness run; each perturbed image is an item of its own.
        clean: Which items have the unchanged image, shape (items,).
        views: For each further view, which items show it, shape (items,) each.
        clean_row: For each item the index of its item with the unchanged image, shape (items,).

    Returns:
        The section; missing for fewer than two views, or where fewer than MIN_ITEMS items have
        option probabilities in every view.
    """
    scores = judged.columns.scores
    rows = _rows_in_all_views(
        clean & scores.has_options, [m & scores.has_options for m in views], clean_row
    )
    if len(views) < 2 or rows.shape[1] < MIN_ITEMS:
        return Missing(
            reason=f"fewer than two views, or than {MIN_ITEMS} items with option_probs in all views"
        )
    prediction = _mean_prediction(judged, rows[0], scores.probabilities[rows])
    return TestTimeAugmentation(num_views=len(rows), prediction=prediction)


def dropout(judged: Judged) -> Dropout | Missing:
    """The section `dropout` of summary.json: the mean over `dropout_probs`, beside `option_probs`.

    Missing where fewer than MIN_ITEMS items have all passes. n_without counts the items
    with fewer passes than the others, or with none.
    """
    scores = judged.columns.scores
    if not scores.dropout.shape[1]:
        return Missing(reason=NO_DROPOUT)
    unknown = np.isnan(scores.probabilities)[:, None]
    # every pass has probabilities for exactly the options of option_probs
    complete = (np.isnan(scores.dropout) == unknown).all(axis=(1, 2))
    rows = np.flatnonzero(scores.has_options & complete)
    if len(rows) < MIN_ITEMS:
        return Missing(reason=f"fewer than {MIN_ITEMS} items have all passes with dropout")
    return Dropout(
        num_samples=scores.dropout.shape[1],
        n_without=len(judged) - len(rows),
        prediction=_mean_prediction(judged, rows, scores.dropout[rows].swapaxes(0, 1)),
    )


def _mean_prediction(judged: Judged, rows: Rows, probabilities: Values) -> MeanPrediction:
    """Metrics of the answers that the mean of the passes' probabilities (V, N, K) gives.

    `rows` (N) are the indices of their items. The comparison, `single_pass`, is the most probable
    option of the unchanged pass, not the text that the model wrote, which may be no option at all.
    """
    scores = judged.columns.scores
    where = np.zeros(len(judged), dtype=bool)
    where[rows] = True

    def in_all_items(values: Values | Mask) -> Values:
        column = np.zeros(len(judged))
        column[rows] = values
        return column

    mean, each = probabilities.mean(axis=0), _most_probable(probabilities)
    right = in_all_items(_most_probable(mean) == scores.right_index[rows])
    single_pass = in_all_items(
        _most_probable(scores.probabilities[rows]) == scores.right_index[rows]
    )
    information = in_all_items(mutual_information(probabilities))
    total = in_all_items(entropy(mean))
    return MeanPrediction(
        accuracy=mean_metric(right, judged, where),
        single_pass=mean_metric(single_pass, judged, where),
        difference=difference_metric(right, single_pass, judged, where),
        flip_rate=mean_metric(in_all_items((each != each[0]).any(axis=0)), judged, where),
        mutual_information=mean_metric(information, judged, where, share=False),
        predictive_entropy=mean_metric(total, judged, where, share=False),
        auroc=auroc_metric(information, right == 0, judged, where),
        auroc_entropy=auroc_metric(total, right == 0, judged, where),
    )


def _most_probable(probabilities: Values) -> Rows:
    """The index of the most probable option along the last axis; of equal ones the first."""
    options: Rows = np.nan_to_num(probabilities, nan=-1.0).argmax(axis=-1)
    return options


def _rows_in_all_views(clean: Mask, views: Sequence[Mask], clean_row: Rows) -> Rows:
    """The indices (V, N) of the items that are present in every view, the unchanged one first.

    Row v has the items of view v, and column i the views of one question.
    """
    tables = []
    for mask in (clean, *views):
        # at the index of each clean item: the index of that question's item in this view, or -1
        row_in_view = np.full(len(clean_row), -1, dtype=np.intp)
        row_in_view[clean_row[mask]] = np.flatnonzero(mask)
        tables.append(row_in_view)
    all_rows = np.stack(tables)
    return all_rows[:, (all_rows >= 0).all(axis=0)]
