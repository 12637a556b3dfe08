"""What `medr1 contamination` prints."""

from __future__ import annotations

from medr1.documents.contamination import Contamination
from medr1.documents.metric import Metric

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
        f"preference for the published order  {_with_interval(document.preference, 3)}  "
        "(0.5: none)",
        f"its log-probability above the others  {_with_interval(document.gain, 2)} nats",
    ]
    if document.p_value is not None:
        lines += [f"p-value  {document.p_value:.4f}", "", conclusion(document)]
    return "\n".join(lines) + "\n"


def conclusion(document: Contamination) -> str:
    """What the p-value means, in one or two sentences.

    Args:
        document: The content of contamination.json.
    """
    if document.p_value is None:
        return "No question was compared."
    if document.p_value < ALPHA:
        return (
            "The model prefers the published order. That is a sign that it was trained on these "
            "questions, or that their options are not in a random order."
        )
    return (
        "No significant preference for the published order. That does not show that the model was "
        "not trained on these questions."
    )


def _with_interval(metric: Metric, digits: int) -> str:
    if metric.value is None:
        return f"no value ({metric.reason})"
    text = f"{metric.value:.{digits}f}"
    if metric.ci95 is None:
        return text
    low, high = metric.ci95
    return f"{text} (95 % CI {low:.{digits}f} to {high:.{digits}f})"
