"""The tables of a review about a model's accuracy, its automatic verdicts and its confidence."""

from __future__ import annotations

from collections.abc import Sequence

from medr1.documents.metric import Metric
from medr1.documents.review import ConfidenceBin, ReviewSummary, RuleCheck
from medr1.report.terminal.layout import WIDTH, Row, filled, grid
from medr1.report.terminal.tables import interval_text, percent

_CALIBRATION_NOTE = (
    "Bins of confidence have about equally many items. A model is calibrated where experts call as "
    "many answers right as its confidence says."
)


def rule_tables(document: ReviewSummary, *, width: int = WIDTH) -> list[list[str]]:
    """The lines of the tables of each model, the first one's before the second one's.

    Args:
        document: The content of review.json.
        width: Columns of the terminal.
    """
    first = document.automatic_accuracy, document.corrected_accuracy, document.rule
    second = document.second_model
    if second is None or document.preference is None:
        tables = _tables(*first, "", width)
    else:
        names = [f": {name}" if name else "" for name in document.preference.models]
        others = second.automatic_accuracy, second.corrected_accuracy, second.rule
        tables = [
            [filled(f"Model a, the first{names[0]}", width)],
            *_tables(*first, "a: ", width),
            [filled(f"Model b, the second{names[1]}", width)],
            *_tables(*others, "b: ", width),
        ]
    has_bins = document.rule and document.rule.calibration
    return [*tables, [filled(_CALIBRATION_NOTE, width)]] if has_bins else tables


def _tables(
    automatic: Metric, corrected: Metric, rule: RuleCheck | None, model: str, width: int
) -> list[list[str]]:
    """The tables of one model; `model` is what their titles begin with."""
    rows = [
        share_row("automatic accuracy", automatic),
        share_row("accuracy corrected by experts", corrected),
    ]
    if rule:
        rows += [
            share_row("precision of the rule", rule.precision),
            share_row("recall of the rule", rule.recall),
            _auroc_row(rule.confidence_auroc),
        ]
    tables = [grid((f"{model}of all items", "value", "95 % CI", "n"), rows, width)]
    if rule and rule.by_answer_type:
        header = (
            f"{model}answer type",
            "items",
            "judged",
            "precision (95 % CI)",
            "recall (95 % CI)",
        )
        types: list[Row] = [
            (
                name.replace("_", " "),
                str(entry.n_items),
                str(entry.n_judged),
                _share(entry.precision),
                _share(entry.recall),
            )
            for name, entry in rule.by_answer_type.items()
        ]
        tables.append(grid(header, types, width))
    if rule and rule.calibration:
        tables.append(_calibration(rule.calibration, model, width))
    return tables


def _calibration(bins: Sequence[ConfidenceBin], model: str, width: int) -> list[str]:
    """The table of the bins of confidence."""
    header = (f"{model}confidence", "mean", "items", "judged", "right, by experts (95 % CI)")
    rows: list[Row] = [
        (
            f"{entry.low:.2f} to {entry.high:.2f}",
            f"{entry.mean_confidence:.2f}",
            str(entry.n_items),
            str(entry.expert_accuracy.n),
            _share(entry.expert_accuracy),
        )
        for entry in bins
    ]
    return grid(header, rows, width)


def share_row(name: str, metric: Metric) -> Row:
    """The row of one share, with the reason where there is none.

    Args:
        name: What the share is.
        metric: Its value, in [0, 1].
    """
    if metric.value is None:
        return name, "-", metric.reason or "", ""
    return name, percent(metric.value), interval_text(metric.ci95), str(metric.n)


def _auroc_row(metric: Metric) -> Row:
    """The row of the AUROC, which is no share; with the reason where there is none."""
    if metric.value is None:
        return "AUROC of confidence", "-", metric.reason or "", ""
    interval = f"{metric.ci95[0]:.2f} to {metric.ci95[1]:.2f}" if metric.ci95 else ""
    return "AUROC of confidence", f"{metric.value:.2f}", interval, str(metric.n)


def _share(metric: Metric) -> str:
    """A share with its interval in one cell, such as "68.0 % (64.1 to 71.8)"."""
    if metric.value is None:
        return "-"
    interval = interval_text(metric.ci95)
    return f"{percent(metric.value)} ({interval})" if interval else percent(metric.value)
