"""What `medr1 eval` prints, the tables of summary.json, and how shares are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from medr1.documents.judge import Agreement, JudgeResult
from medr1.documents.metric import Metric, Missing
from medr1.documents.protocols import ProtocolRow
from medr1.documents.summary import Blind, FindingMetrics, Summary
from medr1.report.terminal.expert_review import (
    coefficient_rows,
    review_note,
    review_shares,
    review_title,
)
from medr1.report.terminal.hallucination import claims_note, claims_rows
from medr1.report.terminal.layout import WIDTH, Row, clean, filled, grid
from medr1.report.terminal.reasoning import reasoning_note, reasoning_shares
from medr1.report.terminal.row_notes import (
    EXPLAIN,
    accuracy_notes,
    protocol_row_notes,
    protocol_sentences,
    trust_notes,
)

# --- the summary of an evaluation ---------------------------------------------------------------


def summary_table(summary: Summary, *, width: int = WIDTH) -> str:
    """What `medr1 eval` prints of one results file: all metrics, baselines, groups and warnings.

    Args:
        summary: The content of summary.json (`evaluate.metrics.summarize`).
        width: Columns of the terminal. Longer names are shortened with an ellipsis.
    """
    return "\n\n".join("\n".join(part) for part in _parts(summary, width) if part)


def _parts(summary: Summary, width: int) -> Iterator[list[str]]:
    """The lines of each part: the title, the tables with what their rows mean, and the warnings."""

    def part(header: Row, rows: Sequence[Row], *notes: str) -> list[str]:
        lines = grid(header, rows, width) if rows else []
        return [*lines, *(filled(note, width) for note in notes if lines)]

    yield _title_lines(summary, width)
    yield part(_HEADER, [*_metric_rows(summary)], *accuracy_notes(summary), EXPLAIN)
    header = ("confidence and agreement", *_HEADER[1:])
    yield part(header, [*_trust_rows(summary)], *trust_notes(summary))
    if summary.judge:
        header = (f"judge: {summary.judge.model}", *_HEADER[1:])
        yield part(header, [*_judge_rows(summary.judge)], judge_note(summary.judge))
    if summary.review:
        header = (review_title(summary.review), *_HEADER[1:])
        rows = [_row(name, metric) for _, name, metric in review_shares(summary.review)]
        rows += coefficient_rows(summary.review)
        yield part(header, rows, review_note(summary.review))
    if checks := summary.reasoning:
        rows = [_row(label, metric) for _, label, metric in reasoning_shares(checks)]
        yield part(("reasoning", *_HEADER[1:]), rows, reasoning_note(checks))
    if summary.hallucination and summary.hallucination.n_claims:
        claims = summary.hallucination
        header = ("completions that contradict", *_HEADER[1:])
        yield part(header, [_row(*row) for row in claims_rows(claims)], claims_note(claims))
    if summary.protocol_rows:
        rows = list(map(_protocol_row, *zip(*summary.protocol_rows.items(), strict=True)))
        yield part(_PROTOCOLS_HEADER, rows, *protocol_row_notes(summary.protocol_rows))
    else:
        rows = [_row(name, metric) for name, metric in summary.protocols.items()]
        yield part(("accuracy by protocol", *_HEADER[1:]), rows, *protocol_sentences(summary))
    rows = list(map(_finding_row, summary.findings[:_MAX_FINDINGS]))
    more = len(summary.findings) - len(rows)
    more_note = [f"{more} more rows are in summary.csv"] if more else []
    yield part(_FINDINGS_HEADER, rows, *more_note, _FINDINGS_NOTE)
    for kind, groups in summary.groups.items():
        rows = [_row(name, group.metrics["accuracy"]) for name, group in groups.items()]
        if len(rows) > 1:
            rows.append((*_row("mean of the groups", summary.macro[kind].accuracy)[:-1], ""))
        yield part((f"accuracy by {kind}", *_HEADER[1:]), rows)
    if reasons := _reasons_without_interval(summary):
        yield [filled(f"No 95 % CI where: {'; '.join(reasons)}.", width)]
    yield [filled(f"! {warning}", width, "  ") for warning in summary.warnings]


_HEADER: Row = ("metric", "value", "95 % CI", "n")
_PROTOCOLS_HEADER: Row = ("accuracy by protocol", *_HEADER[1:], "no answer", "differ")
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


def _title_lines(summary: Summary, width: int) -> list[str]:
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
    name = [clean(summary.results)] if summary.results else []
    return [*name, filled(f"{summary.n} items, protocol {summary.protocol}; {counts}", width)]


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
    for ablation in summary.ablations:
        yield _row(f"  without the image ({ablation.ablation})", ablation.accuracy_without_image)
        name = " (visual reliance)" if ablation.visual_reliance else ""
        yield _row(f"  gain from the image{name}", ablation.ablation_gain, signed=True)
        yield _row("  same answer without image", ablation.same_answer)
        yield _row("  image sensitivity", ablation.image_sensitivity)
        yield _row("  completions that claim to see", ablation.visual_claims)
        hallucinated = ablation.hallucinated_visual_reasoning
        yield _row("  hallucinated visual reasoning", hallucinated)
    for part in summary.reasoning_use or ():
        yield _row(f"  after edited reasoning ({part.edit})", part.accuracy_edited)
        yield _row("  change of the accuracy", part.difference, signed=True)
        yield _row("  same answer after the edit", part.same_answer)
        yield _row("  another answer after the edit", part.changed_answer)
        if part.other_answer:
            yield _row("  takes the other question's answer", part.other_answer)
        if part.other_letter:
            yield _row("  takes the letter of that answer", part.other_letter)


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
    if tokens := summary.token_uncertainty:
        yield _row("AUROC of token variance and image shift", tokens.auroc_combined)
        yield _row("  of the token variance alone", tokens.auroc_variance)
        yield _row("  of the shift without the image alone", tokens.auroc_image_shift)
    if not isinstance(dropout := summary.dropout, Missing):
        prediction = dropout.prediction
        yield _row(f"accuracy, mean of {dropout.num_samples} dropout passes", prediction.accuracy)
        yield _row("  gain over one pass without dropout", prediction.difference, signed=True)
    if ensemble := summary.ensemble:
        majority = ensemble.majority
        yield _row(f"accuracy, majority of {len(ensemble.members)} files", majority.accuracy)
        gain = majority.differences[ensemble.members[0]]
        yield _row("  gain over this file", gain, signed=True)


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
        return name, "-", metric.reason or "", str(metric.n)
    value, interval = percent(metric.value, signed), interval_text(metric.ci95, signed)
    return name, value, interval, str(metric.n)


def _protocol_row(name: str, row: ProtocolRow) -> Row:
    counts = (str(row.n_without_answer), str(row.n_lost + row.n_gained))
    return (*_row(name, row.accuracy), *counts)


# --- numbers ----------------------------------------------------------------------


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
