"""Aligned text tables for the terminal, and the table of summary.json.

Names and answers come from files that somebody else wrote. Each cell goes through `clean`, so that
none of them can send control characters to the terminal.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

from wcwidth import wcswidth

from medr1.documents.judge import Agreement, JudgeResult
from medr1.documents.metric import Metric, Missing
from medr1.documents.summary import Blind, FindingMetrics, Summary

_SPACES = "\t\n\v\f\r\x85\u2028\u2029"
HIDDEN = {"Cc", "Cf", "Cs"}
"""Unicode categories of invisible characters: control, format (as text direction), surrogate."""
_NAME_WIDTH = 40
"""The most terminal columns for the names of rows, the first column of a table."""
_BOLD, _YELLOW, _PLAIN = "\x1b[1m", "\x1b[33m", "\x1b[0m"

Row = tuple[str, ...]
"""The cells of one row of a table, the row's name first."""


def clean(value: object) -> str:
    """The value as one line of visible text, without terminal escapes or direction marks."""
    text = "".join(" " if c in _SPACES else c for c in str(value))
    return "".join(c for c in text if unicodedata.category(c) not in HIDDEN).strip()


# --- the summary of an evaluation ---------------------------------------------------------------


def summary_table(summary: Summary, *, width: int = 80, color: bool = False) -> str:
    """What `medr1 eval` prints of one results file: all metrics, baselines, groups and warnings.

    Args:
        summary: The content of summary.json (`evaluate.metrics.summarize`).
        width: Columns of the terminal. Longer names and notes are shortened with an ellipsis.
        color: Whether headers are bold and warnings yellow.
    """
    parts = [_title(summary), *grid(_HEADER, list(_metric_rows(summary)), width, color)]
    if rows := list(_trust_rows(summary)):
        parts += ["", *grid(("confidence and agreement", *_HEADER[1:]), rows, width, color)]
    if summary.judge:
        parts += ["", *_judge_part(summary.judge, width, color)]
    if summary.protocols:
        rows = [_row(name, metric) for name, metric in summary.protocols.items()]
        parts += ["", *grid(("accuracy by protocol", *_HEADER[1:]), rows, width, color)]
    if findings := summary.findings:
        rows = list(map(_finding_row, findings[:_MAX_FINDINGS]))
        parts += ["", *grid(_FINDINGS_HEADER, rows, width, color)]
        if len(findings) > len(rows):
            parts.append(f"{len(findings) - len(rows)} more rows are in summary.csv")
        parts += textwrap.wrap(_FINDINGS_NOTE, max(width, 20))
    for kind, groups in summary.groups.items():
        if groups:
            rows = [_row(name, group.metrics["accuracy"]) for name, group in groups.items()]
            if len(rows) > 1:
                rows.append((*_row("mean of the groups", summary.macro[kind].accuracy)[:-1], ""))
            header = (f"accuracy by {kind}", *_HEADER[1:])
            parts += ["", *grid(header, rows, width, color)]
    if reasons := _reasons_without_interval(summary):
        note = f"No 95 % CI where: {clean('; '.join(reasons))}."
        parts += ["", *textwrap.wrap(note, max(width, 20))]
    if summary.warnings:
        parts.append("")
    for warning in summary.warnings:
        lines = textwrap.fill(f"! {clean(warning)}", max(width, 20), subsequent_indent="  ")
        parts.append(f"{_YELLOW}{lines}{_PLAIN}" if color else lines)
    return "\n".join(parts)


_HEADER: Row = ("metric", "value", "95 % CI", "n")
_FINDINGS_HEADER: Row = ("question/option", "sensitivity", "specificity", "n", "positive")
_FINDINGS_NOTE = "positive: yes, or this option, is the right answer. n: items that offer it."
_MAX_FINDINGS = 8
_UNANSWERED = {
    "unparsed": "no answer found",
    "ambiguous": "several answers",
    "truncated": "cut off",
    "empty": "no text",
}
"""Why a completion has no readable answer, in two or three words."""


def _title(summary: Summary) -> str:
    """The file's name, how many items it has, and how many of them have no usable answer."""

    def reasons(counts_by_reason: Mapping[str, int]) -> str:
        items = counts_by_reason.items()
        words = ((_UNANSWERED.get(name) or clean(name).replace("_", " "), n) for name, n in items)
        return f" ({', '.join(f'{n} {word}' for word, n in words)})" if items else ""

    unanswered = reasons({k: n for k, n in summary.unanswered.items() if k != "refused"})
    undecided = reasons(summary.undecided.reasons)
    counts = ", ".join(
        (
            f"{summary.n_error} failed",
            f"{summary.n_unparsed} without a readable answer{unanswered}",
            f"{summary.n_refused} where the model declined to answer",
            f"{summary.n_undecided} that the rules cannot judge{undecided}",
            f"{summary.n_truncated} cut off at the token limit",
        )
    )
    name = f"{clean(summary.results)}\n" if summary.results else ""
    text = f"{summary.n} items, protocol {summary.protocol}; {counts}"
    return f"{name}{textwrap.fill(text, 80)}\n"


def _finding_row(finding: FindingMetrics) -> Row:
    cells = map(value_with_interval, (finding.sensitivity, finding.specificity))
    return (finding.finding, *cells, str(finding.n), str(finding.n_positive))


def value_with_interval(metric: Metric, signed: bool = False) -> str:
    """A value and its interval in one cell, such as "68.0 % (64.1 to 71.8)".

    Args:
        metric: A share, or a difference of shares.
        signed: Whether it is a difference. It has no unit then: the table's header names it.
    """
    interval = interval_text(metric.ci95, signed)
    text = percent(metric.value, signed).removesuffix(" points")
    return text + (f" ({interval})" if interval else "")


def best_predictor(blind: Blind) -> str:
    """The name of the best predictor without the image, such as "text classifier"."""
    name = blind.best_predictor or "none"
    return name.removeprefix("question_option_").replace("_", " ")


def _reasons_without_interval(summary: Summary) -> list[str]:
    """Why some numbers of the tables have a value and no interval; each reason once."""
    metrics = [*summary.metrics.values(), *summary.protocols.values()]
    for finding in summary.findings[:_MAX_FINDINGS]:
        metrics += [finding.sensitivity, finding.specificity]
    for groups in summary.groups.values():
        metrics += [group.metrics["accuracy"] for group in groups.values()]
    methods = (m.method or "" for m in metrics if m.value is not None and not m.ci95)
    reasons = (method.removesuffix("no interval").rstrip(":, ") for method in methods)
    plain = (reason.replace("no spread", "all resamples are equal") for reason in reasons)
    return list(dict.fromkeys(filter(None, plain)))


def _metric_rows(summary: Summary) -> Iterator[Row]:
    """One row for each metric. The baselines of accuracy follow it at once, indented."""
    for name, metric in summary.metrics.items():
        yield _row(name, metric)
        if name == "accuracy":
            yield from _accuracy_rows(summary)


def _accuracy_rows(summary: Summary) -> Iterator[Row]:
    """What the accuracy is compared with: the file's own, baselines, the same without images."""
    if summary.n_undecided:
        yield _row("  items the rules can judge", summary.undecided.coverage)
    if stated := summary.stated_accuracy:
        yield f"  stated in the file ({stated.protocol})", percent(stated.value), "", ""
    if blind := summary.blind:
        yield "  chance", percent(blind.chance), "", ""
        yield _row(f"  best without image ({best_predictor(blind)})", blind.best)
        yield _row("  gain over best without image", blind.image_gain, signed=True)
        yield _row("  on items that need an image", blind.image_needed)
    if ablation := summary.image_ablation:
        yield _row(f"  without the image ({ablation.ablation})", ablation.accuracy_without_image)
        yield _row("  gain from the image", ablation.ablation_gain, signed=True)
        yield _row("  same answer without image", ablation.same_answer)


def _trust_rows(summary: Summary) -> Iterator[Row]:
    """Calibration, abstention and agreement of several answers, as far as the summary has them."""
    if not isinstance(calibration := summary.calibration, Missing):
        metrics, temperature = calibration.metrics, calibration.temperature
        yield _row("overconfidence (confidence - accuracy)", metrics.overconfidence, signed=True)
        yield _row("expected calibration error (ece)", metrics.ece)
        # 95 % of the models whose confidence is exactly right have an error below this by chance
        if metrics.ece.by_chance is not None:
            yield "  95 % limit if perfectly calibrated", percent(metrics.ece.by_chance), "", ""
        if not isinstance(temperature, Missing) and temperature.metrics:
            yield _row("  after temperature scaling", temperature.metrics.ece)
        yield _row("debiased error (ece_debiased)", metrics.ece_debiased)
        yield _row("AUROC of the confidence (auroc)", metrics.auroc)
    if not isinstance(selective := summary.selective, Missing):
        yield _row("area under risk-coverage curve (aurc)", selective.metrics.aurc)
        if not isinstance(deferral := selective.deferral, Missing):
            target = percent(deferral.target_risk)
            yield _row(f"deferred (target: at most {target} errors)", deferral.deferred)
            yield _row("  error rate of the items not deferred", deferral.risk)
        if not isinstance(conformal := selective.conformal, Missing):
            label = f"conformal coverage (target {percent(conformal.nominal)})"
            yield _row(label, conformal.split.coverage)
    if not isinstance(uncertainty := summary.uncertainty, Missing):
        consistency = uncertainty.self_consistency
        yield _row("accuracy of the samples' majority", consistency.majority_accuracy)
        yield _row("agreement of the samples", consistency.agreement)
    if not isinstance(dropout := summary.dropout, Missing):
        prediction = dropout.prediction
        yield _row(f"accuracy, mean of {dropout.num_samples} dropout passes", prediction.accuracy)
        yield _row("  gain over one pass without dropout", prediction.difference, signed=True)
    if ensemble := summary.ensemble:
        majority = ensemble.majority
        yield _row(f"accuracy, majority of {len(ensemble.members)} files", majority.accuracy)
        gain = majority.differences[ensemble.members[0]]
        yield _row("  gain over this file", gain, signed=True)


def _judge_part(result: JudgeResult, width: int, color: bool) -> Iterator[str]:
    """The lines on the judge: its accuracy below that of the rules, and the agreement."""
    header = (f"judge: {clean(result.model)}", *_HEADER[1:])
    yield from grid(header, list(_judge_rows(result)), width, color)
    yield from textwrap.wrap(judge_note(result), max(width, 20))


def judge_note(result: JudgeResult) -> str:
    """How many answers the judge was asked about, and what became of them."""
    return (
        f"The judge was asked about {result.n_asked} of {result.n_open} open answers: "
        f"{result.n_unclear} unclear, {result.n_failed} failed. It calls {result.n_changed} "
        "right that the rules do not."
    )


def _judge_rows(result: JudgeResult) -> Iterator[Row]:
    yield _row("accuracy by the rules", result.accuracy)
    yield _row("accuracy with the judge", result.accuracy_with_judge)
    yield _row("  difference", result.gain, signed=True)
    yield _row("open questions by the rules", result.open_accuracy)
    yield _row("open questions with the judge", result.open_accuracy_with_judge)
    for name, agreement in judge_agreements(result):
        yield _row(f"agreement, {name}", agreement.share)
        yield _number_row("  Cohen's kappa", agreement.kappa)


def judge_agreements(result: JudgeResult) -> Iterator[tuple[str, Agreement]]:
    """Which two raters are compared, and their agreement."""
    yield "judge and rules, as asked", result.rules
    yield "judge and rules, all open", result.rules_weighted
    if result.people:
        yield "judge and people", result.people.judge
        yield "rules and people", result.people.rules


def _number_row(name: str, metric: Metric) -> Row:
    """As `_row`, of a number that is no share."""
    if metric.value is None:
        return _row(name, metric)
    interval = " to ".join(f"{bound:.2f}" for bound in metric.ci95 or ())
    return name, f"{metric.value:.2f}", interval, str(metric.n)


def _row(name: str, metric: Metric, *, signed: bool = False) -> Row:
    """Name, value, interval and n of a metric; a dash and the reason if it has no value."""
    if metric.value is None:
        return name, "-", clean(metric.reason or ""), str(metric.n)
    value, interval = percent(metric.value, signed), interval_text(metric.ci95, signed)
    return name, value, interval, str(metric.n)


# --- numbers and alignment ----------------------------------------------------------------------


def percent(value: float | None, signed: bool = False) -> str:
    """A share as text, such as "68.0 %"; a difference of shares in points, such as "+2.0 points".

    Args:
        value: A share, 1.0 for 100 %. None gives a dash.
        signed: Whether it is a difference: in percentage points, with a "+" if it is positive.
    """
    if value is None:
        return "-"
    # "z" prints -0.0 as 0.0
    return f"{100 * value:+z.1f} points" if signed else f"{100 * value:.1f} %"


def interval_text(ci95: Sequence[float] | None, signed: bool = False) -> str:
    """A confidence interval in percent, such as "64.1 to 71.8".

    Args:
        ci95: Both bounds as shares, 1.0 for 100 %. None gives an empty text.
        signed: Whether positive bounds get a "+".
    """
    if not ci95:
        return ""
    low, high = (f"{100 * x:+z.1f}" if signed else f"{100 * x:.1f}" for x in ci95)
    return f"{low} to {high}"


def grid(header: Row, rows: Sequence[Row], width: int, color: bool) -> list[str]:
    """The lines of an aligned table, names to the left and numbers to the right.

    A row whose second cell is "-" has no value. Its third cell is then the reason: it starts where
    the interval would end up, takes the rest of the line, and is shortened at the table's width.

    Args:
        header: The titles of the columns.
        rows: As many cells each as the header has.
        width: The most columns of the terminal that a line takes.
        color: Whether the header is bold.
    """
    n_values = len(header) - 1
    # a reason does not widen the column of the intervals
    widths = [
        max(terminal_columns(row[i]) for row in (header, *rows) if i != 2 or row[1] != "-")
        for i in range(1, n_values + 1)
    ]
    room = max(12, min(_NAME_WIDTH, width - sum(widths) - 2 * n_values))
    names = [truncate(_row_name(row[0]), room) for row in (header, *rows)]
    name_width = max(map(terminal_columns, names))
    lines = []
    for name, row in zip(names, (header, *rows), strict=True):
        cells = [name + " " * (name_width - terminal_columns(name))]
        if row[1] == "-":
            cells += [row[1].rjust(widths[0]), row[2] if n_values > 1 else ""]
        else:
            cells += [align_right(cell, n) for cell, n in zip(row[1:], widths, strict=True)]
        lines.append(truncate("  ".join(cells).rstrip(), max(width, 20)))
    return [f"{_BOLD}{lines[0]}{_PLAIN}" if color else lines[0], *lines[1:]]


def _row_name(name: str) -> str:
    """The name, cleaned; an indentation of two blanks is kept."""
    return ("  " if name.startswith("  ") else "") + clean(name)


def terminal_columns(text: str) -> int:
    """How many columns of a terminal a text takes: East Asian characters two, accents none."""
    return wcswidth(text)


def align_right(text: str, columns: int) -> str:
    """The text with blanks before it, so that it ends at a column of the terminal.

    Args:
        text: A text without line ends.
        columns: The width of the result in terminal columns. A wider text stays as it is.
    """
    return " " * (columns - terminal_columns(text)) + text


def truncate(text: str, columns: int) -> str:
    """The text, shortened with an ellipsis if it is wider than a number of terminal columns.

    Args:
        text: A text without line ends.
        columns: The most terminal columns of the result, the ellipsis counted.
    """
    if terminal_columns(text) <= columns:
        return text
    while text and terminal_columns(text) > columns - 1:
        text = text[:-1]
    return text + "…"
