"""summary.csv, and the writing of all CSV files with guarded cells.

Spreadsheets execute a cell that begins with "=", "+", "-" or "@". Names and answers come from files
that somebody else wrote, so every cell of every CSV file goes through `guard_cell`.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

from medr1.csv_cells import guard
from medr1.documents.metric import Metric
from medr1.documents.summary import Summary
from medr1.report.terminal.expert_review import review_coefficients, review_shares
from medr1.report.terminal.layout import HIDDEN
from medr1.report.terminal.reasoning import reasoning_shares

COLUMNS = ("results", "protocol", "scope", "group", "metric", "value", "lo", "hi", "n")
"""The columns of summary.csv; `lo` and `hi` are the bounds of the 95 % interval."""


def summary_csv(summaries: Iterable[Summary]) -> str:
    """summary.csv, long form: a row for each file, scope (all, modality ...), group and metric."""
    return csv_text((row for summary in summaries for row in summary_rows(summary)), COLUMNS)


def summary_rows(summary: Summary) -> Iterator[dict[str, object]]:
    """The rows of one summary. Shares are in [0, 1]; a value that could not be computed is None."""

    def row(scope: str, group: str, name: str, metric: Metric) -> dict[str, object]:
        low, high = metric.ci95 or (None, None)
        start = (summary.results or "", summary.protocol, scope, group, name)
        return dict(zip(COLUMNS, (*start, metric.value, low, high, metric.n), strict=True))

    def number(name: str, value: float | None) -> dict[str, object]:
        return row("all", "", name, Metric(value=value, ci95=None, n=summary.n))

    for name, metric in summary.metrics.items():
        yield row("all", "", name, metric)
    yield number("n_error", summary.n_error)
    yield number("n_unparsed", summary.n_unparsed)
    yield number("n_refused", summary.n_refused)
    yield number("n_undecided", summary.n_undecided)
    yield number("n_truncated", summary.n_truncated)
    for group, name, metric in _protocol_rows(summary):
        yield row("protocol", group, name, metric)
    for finding in summary.findings:
        yield row("finding", finding.finding, "prevalence", finding.prevalence)
        yield row("finding", finding.finding, "sensitivity", finding.sensitivity)
        yield row("finding", finding.finding, "specificity", finding.specificity)
        yield row("finding", finding.finding, "ppv", finding.ppv)
        yield row("finding", finding.finding, "npv", finding.npv)
    if blind := summary.blind:
        yield number("chance", blind.chance)
        yield row("all", "", "option_prior", blind.option_prior)
        yield row("all", "", "image_gain", blind.image_gain)
        yield row("all", "", "image_needed", blind.image_needed)
        for name, metric in blind.predictors.items():
            yield row("blind", name, "accuracy", metric)
    for ablation in summary.ablations:
        kind = ablation.ablation
        yield row("all", kind, "accuracy_without_image", ablation.accuracy_without_image)
        yield row("all", kind, "ablation_gain", ablation.ablation_gain)
        if ablation.visual_reliance:
            yield row("all", kind, "visual_reliance", ablation.visual_reliance)
        yield row("all", kind, "same_answer", ablation.same_answer)
        yield row("all", kind, "image_sensitivity", ablation.image_sensitivity)
        yield row("all", kind, "visual_claims", ablation.visual_claims)
        hallucinated = ablation.hallucinated_visual_reasoning
        yield row("all", kind, "hallucinated_visual_reasoning", hallucinated)
    for group, name, metric in (*_reasoning_rows(summary), *_token_rows(summary)):
        yield row("all", group, name, metric)
    for cells in _check_rows(summary):
        yield row(*cells)
    if judge := summary.judge:
        yield row("all", "", "accuracy_with_judge", judge.accuracy_with_judge)
        yield row("open", "", "accuracy", judge.open_accuracy)
        yield row("open", "", "accuracy_with_judge", judge.open_accuracy_with_judge)
        yield row("open", "", "judge_agreement", judge.rules_weighted.share)
        yield row("open", "", "cohen_kappa", judge.rules_weighted.kappa)
    if review := summary.review:
        for name, _, metric in (*review_shares(review), *review_coefficients(review)):
            yield row("all", "", name, metric)
    for kind, groups in summary.groups.items():
        for group, content in groups.items():
            for name, metric in content.metrics.items():
                yield row(kind, group, name, metric)
        if groups:
            for name, metric in summary.macro[kind].metrics.items():
                yield row(kind, "(macro)", name, metric)


def _protocol_rows(summary: Summary) -> Iterator[tuple[str, str, Metric]]:
    """Protocol, name and value of what each protocol gives."""
    for protocol, metric in summary.protocols.items():
        yield protocol, "accuracy", metric
    for protocol, entry in (summary.protocol_rows or {}).items():
        counts = {"n_without_answer": entry.n_without_answer}
        counts |= {"n_lost": entry.n_lost, "n_gained": entry.n_gained}
        for name, count in counts.items():
            yield protocol, name, Metric(value=count, ci95=None, n=summary.n)


def _check_rows(summary: Summary) -> Iterator[tuple[str, str, str, Metric]]:
    """Scope, group, name and value of the numbers about claims and about the reasoning."""
    if claims := summary.hallucination:
        yield "all", "", "hallucination", claims.rate
        for name, kind_rate in claims.kinds.items():
            yield "contradiction", name, "hallucination", kind_rate.rate
        for name, metric in claims.severities.items():
            yield "severity", name, "hallucination_severity", metric
    if checks := summary.reasoning:
        for key, _, metric in reasoning_shares(checks):
            yield "reasoning", "", key, metric
        yield "reasoning", "", "words", checks.words


def _reasoning_rows(summary: Summary) -> Iterator[tuple[str, str, Metric]]:
    """Group, name and value of the numbers about edited reasoning."""
    for part in summary.reasoning_use or ():
        group = f"reasoning {part.edit}"
        yield group, "same_answer", part.same_answer
        yield group, "changed_answer", part.changed_answer
        yield group, "accuracy", part.accuracy
        yield group, "accuracy_edited", part.accuracy_edited
        yield group, "reasoning_difference", part.difference
        if part.other_answer:
            yield group, "other_answer", part.other_answer
        if part.other_letter:
            yield group, "other_letter", part.other_letter


def _token_rows(summary: Summary) -> Iterator[tuple[str, str, Metric]]:
    """Group, name and value of the numbers about the tokens' probabilities."""
    if tokens := summary.token_uncertainty:
        yield "", "token_variance", tokens.variance
        yield "", "image_shift", tokens.image_shift
        yield "", "auroc_token_variance", tokens.auroc_variance
        yield "", "auroc_image_shift", tokens.auroc_image_shift
        yield "", "auroc_token_uncertainty", tokens.auroc_combined


def csv_text(rows: Iterable[Mapping[str, object]], columns: Sequence[str]) -> str:
    """CSV with a header and "\\n" as line end, every cell guarded by `guard_cell`.

    Args:
        rows: Column -> value. None or a missing key is a blank cell, other keys are ignored.
        columns: The names of the columns, in order.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([guard_cell(row.get(column)) for column in columns])
    return buffer.getvalue()


def guard_cell(value: object) -> str:
    """The value as the text of a cell that no spreadsheet runs as a formula.

    Control characters other than tab and line ends are removed.
    """
    if value is None:
        return ""
    text = "".join(c for c in str(value) if c in "\t\r\n" or unicodedata.category(c) not in HIDDEN)
    return guard(text)
