"""The part of report.html on the reasoning: whether it fits the answer, and its form."""

from __future__ import annotations

from medr1.documents.reasoning import ReasoningChecks
from medr1.report.charts.shares import share_cell
from medr1.report.pages.sanitize import count_text
from medr1.report.terminal.reasoning import reasoning_note, reasoning_shares


def reasoning_view(checks: ReasoningChecks | None) -> dict[str, object] | None:
    """What the page shows of the reasoning: a sentence, and the rows of a table.

    Args:
        checks: The part `reasoning` of summary.json; None where no item has a reasoning.
    """
    if checks is None:
        return None
    return {
        "sentence": reasoning_note(checks),
        "rows": [
            {
                "name": label.strip(),
                "is_part": label.startswith(" "),
                "n": count_text(metric.n),
                **share_cell(metric),
            }
            for _, label, metric in reasoning_shares(checks)
        ],
    }
