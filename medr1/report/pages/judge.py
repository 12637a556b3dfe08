"""The part of report.html on a judge: a model that judges open answers, beside the rules."""

from __future__ import annotations

from medr1.documents.judge import JudgeResult
from medr1.report.charts.shares import Cell, number_cell, share_cell
from medr1.report.pages.sanitize import count_text, one_line
from medr1.report.terminal.tables import judge_agreements, judge_note


def judge_view(result: JudgeResult) -> dict[str, object]:
    """What the page shows of a judge: a sentence, and the rows of a table."""
    rows: list[tuple[str, int, Cell]] = [
        (name, metric.n, share_cell(metric, signed=signed))
        for name, metric, signed in (
            ("accuracy by the rules", result.accuracy, False),
            ("accuracy with the judge", result.accuracy_with_judge, False),
            ("difference", result.gain, True),
            ("open questions, by the rules", result.open_accuracy, False),
            ("open questions, with the judge", result.open_accuracy_with_judge, False),
        )
    ]
    for name, agreement in judge_agreements(result):
        rows.append((f"agreement, {name}", agreement.share.n, share_cell(agreement.share)))
        rows.append((f"Cohen's kappa, {name}", agreement.kappa.n, number_cell(agreement.kappa)))
    return {
        "model": one_line(result.model, 100),
        "prompt_sha256": result.prompt_sha256,
        "sentence": judge_note(result),
        "rows": [{"name": name, "n": count_text(n), **cell} for name, n, cell in rows],
    }
