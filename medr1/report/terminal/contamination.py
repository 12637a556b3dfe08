"""What `medr1 contamination` prints."""

from __future__ import annotations

from medr1.documents.contamination import Contamination
from medr1.documents.metric import Metric
from medr1.report.terminal.tables import value_with_interval

ALPHA = 0.05
"""Below this p-value, a preference is called significant."""


def contamination_text(document: Contamination) -> str:
    """The numbers, and a sentence on what they mean.

    Args:
        document: The content of contamination.json.
    """
    lines = [
        f"{document.model} on {document.data}: {document.n:,} questions, up to "
        f"{document.orders} orders of the options each",
        f"left out: {document.n_without_options:,} without options, {document.n_natural_order:,} "
        f"with options in a natural order, {document.n_failed:,} failed",
        "",
        "other orders that are less probable (95 % CI)  "
        f"{value_with_interval(document.preference)}; 50 % is no preference",
        f"log-probability above that of the others (95 % CI)  {_nats(document.gain)}",
    ]
    if document.p_value is not None:
        lines += [f"p-value  {document.p_value:.4f}", "", _conclusion(document.p_value)]
    return "\n".join(lines) + "\n"


def _conclusion(p_value: float) -> str:
    """What the p-value means."""
    if p_value < ALPHA:
        return (
            "The model prefers the published order. That is a sign that it was trained on these "
            "questions, or that their options are not in a random order."
        )
    return (
        "No significant preference for the published order. That does not show that the model was "
        "not trained on these questions."
    )


def _nats(metric: Metric) -> str:
    """A difference of log-probabilities with its interval."""
    if metric.value is None:
        return f"no value ({metric.reason})"
    if metric.ci95 is None:
        return f"{metric.value:.2f} nats"
    low, high = metric.ci95
    return f"{metric.value:.2f} nats ({low:.2f} to {high:.2f})"
