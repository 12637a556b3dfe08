"""The part of report.html on a review by experts."""

from __future__ import annotations

from medr1.documents.metric import Metric
from medr1.documents.review import ExpertReview
from medr1.report.charts.shares import Cell, reason_cell, share_cell
from medr1.report.pages.sanitize import count_text, one_line
from medr1.report.terminal.expert_review import (
    review_coefficients,
    review_note,
    review_shares,
    review_title,
)


def review_view(review: ExpertReview) -> dict[str, object]:
    """What the page shows of a review: a sentence, and the rows of three tables."""
    rows = [(name, metric, share_cell(metric)) for _, name, metric in review_shares(review)]
    rows += [
        (name, metric, _coefficient_cell(metric)) for _, name, metric in review_coefficients(review)
    ]
    rule = review.rule
    return {
        "title": review_title(review).capitalize(),
        "sentence": review_note(review),
        "rows": [{"name": name, "n": count_text(m.n), **cell} for name, m, cell in rows],
        "types": [
            {
                "name": one_line(name.replace("_", " "), 40),
                "n_items": count_text(entry.n_items),
                "n": count_text(entry.n_judged),
                "precision": share_cell(entry.precision),
                "recall": share_cell(entry.recall),
            }
            for name, entry in (rule.by_answer_type if rule else {}).items()
        ],
        "bins": [
            {
                "name": f"{entry.low:.2f} to {entry.high:.2f}",
                "mean": f"{entry.mean_confidence:.2f}",
                "n_items": count_text(entry.n_items),
                "n": count_text(entry.expert_accuracy.n),
                **share_cell(entry.expert_accuracy),
            }
            for entry in (rule.calibration if rule else [])
        ],
    }


def _coefficient_cell(metric: Metric) -> Cell:
    """A coefficient from -1 to 1 with two decimals, as the terminal shows it."""
    if metric.value is None:
        return reason_cell(metric.reason)
    interval = " to ".join(f"{bound:.2f}" for bound in metric.ci95 or ())
    return {"value": f"{metric.value:.2f}", "interval": interval, "reason": ""}
