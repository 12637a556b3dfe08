"""The parts of report.html on calibration, abstention and other measures of trust in the answers.

Each part is sentences, rows of tables, and charts in pixels. Calibration: does the confidence equal
the accuracy? Abstention: which answers should be left to a clinician?
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from medr1.documents.metric import Metric, Missing, value_of
from medr1.documents.robustness import Robustness
from medr1.documents.summary import Summary
from medr1.documents.trust import (
    BrierDecomposition,
    Calibration,
    CalibrationGroup,
    CalibrationMetrics,
    Conformal,
    Deferral,
    DeferralRates,
    ReliabilityBin,
    RiskPoint,
    Selective,
    SelectiveMetrics,
    Temperature,
)
from medr1.report.charts import severity
from medr1.report.charts.severity import severity_charts
from medr1.report.charts.shares import (
    CHART,
    Cell,
    difference_text,
    number_cell,
    share_cell,
    x_of,
    x_ticks,
    y_of,
    y_ticks,
)
from medr1.report.charts.training_curves import number_text, svg_points
from medr1.report.pages.ensembles import ensembles_view
from medr1.report.pages.reasoning_use import reasoning_use_view
from medr1.report.pages.sanitize import count_text, interval_of, one_line, short_path, visible
from medr1.report.pages.self_consistency import self_consistency_view
from medr1.report.pages.token_uncertainty import token_uncertainty_view
from medr1.report.terminal.comparison import UNADJUSTED
from medr1.report.terminal.robustness import headline_sentence, sentences
from medr1.report.terminal.tables import percent

BARS = 44
"""The height in pixels of the small histogram under the reliability diagram."""

View = dict[str, object]
"""A part of the page, as the template needs it."""


def trust_view(summary: Summary) -> View:
    """The parts of the page by name; None for what the summary does not have."""
    held_out = short_path(summary.calibrate_on)
    calibration, selective = summary.calibration, summary.selective
    return {
        "calibration": _reason(calibration)
        if isinstance(calibration, Missing)
        else _calibration(calibration, held_out),
        "abstention": _reason(selective)
        if isinstance(selective, Missing)
        else _abstention(selective, held_out),
        "uncertainty": self_consistency_view(summary.uncertainty),
        "ensembles": ensembles_view(summary),
        "reasoning_use": reasoning_use_view(summary.reasoning_use),
        "tokens": token_uncertainty_view(summary.token_uncertainty),
        "robustness": _robustness(summary.robustness) if summary.robustness else None,
        "chart": CHART,
    }


def _reason(part: Missing) -> View:
    """Why a part has no numbers."""
    return {"reason": one_line(part.reason, 300)}


def _robustness(document: Robustness) -> View:
    """The sentences and charts of robustness.json."""
    return {
        "headline": headline_sentence(document.mean_relative_drop),
        "sentences": sentences(document),
        "unadjusted": UNADJUSTED,
        "warnings": [visible(text, 600) for text in document.warnings],
        "charts": severity_charts(document),
        "chart": severity.CHART,
    }


# --- calibration --------------------------------------------------------------------------------


def _calibration(section: Calibration, held_out: str) -> View:
    metrics, temperature = section.metrics, section.temperature
    # the same metrics after temperature scaling
    scaled = None if isinstance(temperature, Missing) else temperature.metrics
    largest_bin = max(section.bins, key=lambda a_bin: a_bin.n)
    return {
        "reason": "",
        "source": one_line(section.source),
        "n": count_text(section.n),
        "n_without": section.n_without,
        "sentence": (
            f"Where the confidence is about {percent(largest_bin.confidence)}, the accuracy is "
            f"{percent(largest_bin.accuracy.value)} ({count_text(largest_bin.n)} answers)."
        ),
        "overall": _overall(metrics),
        "rows": _metric_rows(metrics, scaled),
        "brier_terms": _brier_terms(section.brier_decomposition),
        "temperature": _temperature(temperature, held_out),
        "scaled": _scaled_header(metrics, scaled),
        "diagram": _diagram(section.bins),
        "groups": [
            _calibration_group(name, group) for name, group in section.groups["modality"].items()
        ],
    }


def _metric_rows(metrics: CalibrationMetrics, scaled: CalibrationMetrics | None) -> list[View]:
    """The rows of the table of calibration, without the metrics that were not computed."""
    rows: list[View] = []
    for title, note, metric_of, cell in _CALIBRATION_METRICS:
        metric, scaled_metric = metric_of(metrics), metric_of(scaled) if scaled else None
        if metric:
            scaled_cell = cell(scaled_metric) if scaled_metric else None
            rows.append({"name": title, "note": note, **cell(metric), "scaled": scaled_cell})
    return rows


def _error_cell(metric: Metric) -> Cell:
    """A calibration error; if it is biased upwards, it has its size by chance, and no interval."""
    cell = share_cell(metric)
    if metric.by_chance is None:
        return cell
    return {**cell, "interval": f"by chance {percent(metric.by_chance)}"}


_CALIBRATION_METRICS: tuple[
    tuple[str, str, Callable[[CalibrationMetrics], Metric | None], Callable[[Metric], Cell]], ...
] = (
    (
        "expected calibration error (ECE)",
        "15 bins of equal width",
        lambda metrics: metrics.ece,
        _error_cell,
    ),
    (
        "ECE, equal mass",
        "15 bins with equally many items",
        lambda metrics: metrics.ece_mass,
        _error_cell,
    ),
    (
        "debiased error",
        "root mean square, without the part by chance",
        lambda metrics: metrics.ece_debiased,
        _error_cell,
    ),
    ("maximum calibration error (MCE)", "the worst bin", lambda metrics: metrics.mce, _error_cell),
    ("Brier score", "of the confidence", lambda metrics: metrics.brier, number_cell),
    (
        "Brier score, options",
        "of all option probabilities, 0 to 2",
        lambda metrics: metrics.brier_options,
        number_cell,
    ),
    (
        "negative log-likelihood (NLL)",
        "of the correct option, in nats",
        lambda metrics: metrics.nll,
        number_cell,
    ),
    (
        "AUROC",
        "how often a correct answer has more confidence than a wrong one",
        lambda metrics: metrics.auroc,
        share_cell,
    ),
)
"""For each row of the table of calibration: its name, what it is, the metric, and its form."""


def _brier_terms(terms: BrierDecomposition) -> list[tuple[str, str]]:
    """The terms of the Brier score: name and number."""
    return [
        ("reliability", number_text(terms.reliability)),
        ("resolution", number_text(terms.resolution)),
        ("uncertainty", number_text(terms.uncertainty)),
        ("within bins", number_text(terms.within_bins)),
    ]


def _scaled_header(metrics: CalibrationMetrics, scaled: CalibrationMetrics | None) -> str:
    """The header of the column after temperature scaling; empty if there is none.

    Not every answer can be scaled. If they are fewer, the header says how many they are.
    """
    if scaled is None:
        return ""
    n = scaled.accuracy.n
    n_answers = f", {n:,} answers" if n != metrics.accuracy.n else ""
    return "after temperature scaling" + n_answers


def _overall(metrics: CalibrationMetrics) -> str:
    """Mean confidence against accuracy in a sentence: overconfident, underconfident or neither."""
    gap = metrics.overconfidence
    if gap.ci95 and gap.ci95[0] > 0:
        verdict = "the model is overconfident"
    elif gap.ci95 and gap.ci95[1] < 0:
        verdict = "the model is underconfident"
    else:
        verdict = "no clear difference" if gap.ci95 else "a difference without an interval"
    return (
        f"The mean confidence is {percent(metrics.confidence.value)}, the accuracy "
        f"{percent(metrics.accuracy.value)}: {verdict} ({difference_text(gap)})."
    )


def _temperature(part: Temperature | Missing, held_out: str) -> str:
    """The fitted temperature in a sentence, or why there is none."""
    if isinstance(part, Missing):
        return f"No temperature: {one_line(part.reason, 200)}."
    cell = number_cell(part.temperature)
    interval = f" (95 % CI {cell['interval']})" if cell["interval"] else ""
    return (
        f"Temperature {cell['value']}{interval}, fitted on {count_text(part.temperature.n)} other "
        f"questions ({held_out}). Above 1 the model was overconfident, below 1 underconfident. "
        "Temperature scaling changes no answer."
    )


def _diagram(bins: Sequence[ReliabilityBin]) -> View:
    """The reliability diagram: accuracy over confidence, and below it the answers in each bin."""
    most = max(a_bin.n for a_bin in bins)
    points, bars = [], []
    for a_bin in bins:
        accuracy = value_of(a_bin.accuracy)
        low, high = a_bin.accuracy.ci95 or (accuracy, accuracy)
        description = (
            f"confidence {percent(a_bin.low)} to {percent(a_bin.high)}, mean "
            f"{percent(a_bin.confidence)}: accuracy {percent(accuracy)} "
            f"({interval_of(a_bin.accuracy) or 'no interval'}), n = {a_bin.n}"
        )
        points.append(
            {
                "x": x_of(a_bin.confidence),
                "y": y_of(accuracy),
                "low": y_of(low),
                "high": y_of(high),
                "description": description,
            }
        )
        height = round(BARS * a_bin.n / most, 1)
        x = x_of(a_bin.low)
        bars.append(
            {
                "x": x,
                "y": BARS - height,
                "width": round(x_of(a_bin.high) - x - 1, 1),
                "height": height,
                "description": description,
            }
        )
    return {
        "points": points,
        "bars": bars,
        "bars_height": BARS,
        "most": count_text(most),
        "x_ticks": x_ticks(),
        "y_ticks": y_ticks(),
        "diagonal": svg_points([(x_of(0), y_of(0)), (x_of(1), y_of(1))]),
    }


def _calibration_group(name: str, group: CalibrationGroup) -> View:
    """One modality's row, or the reason why it has no numbers."""
    metrics = group.metrics
    return {
        "name": one_line(name),
        "n": count_text(group.n),
        "reason": one_line(group.reason),
        "cells": [
            share_cell(metrics.confidence),
            share_cell(metrics.accuracy),
            share_cell(metrics.overconfidence, signed=True),
            _error_cell(metrics.ece),
            _error_cell(metrics.ece_debiased),
            number_cell(metrics.brier),
            share_cell(metrics.auroc),
        ]
        if metrics
        else [],
    }


# --- abstention ---------------------------------------------------------------------------------


def _abstention(section: Selective, held_out: str) -> View:
    """The risk-coverage curve, the threshold for deferring, and conformal prediction sets."""
    deferral, conformal, curve = section.deferral, section.conformal, section.curve
    return {
        "reason": "",
        "n": count_text(section.n),
        "rows": _selective_rows(section.metrics),
        "curve": svg_points((x_of(point.coverage), y_of(point.risk)) for point in curve),
        "curve_description": (
            f"error rate {percent(curve[0].risk)} among the {percent(curve[0].coverage)} "
            f"with the highest confidence, {percent(curve[-1].risk)} among all"
        ),
        "marked": None if isinstance(deferral, Missing) else _marked(curve, deferral.threshold),
        "target": None if isinstance(deferral, Missing) else y_of(deferral.target_risk),
        "x_ticks": x_ticks(),
        "y_ticks": y_ticks(),
        "deferral": _no_part("threshold", deferral)
        if isinstance(deferral, Missing)
        else _deferral(deferral, held_out),
        "deferral_rows": [] if isinstance(deferral, Missing) else _deferral_rows(deferral),
        "conformal": _no_part("sets", conformal)
        if isinstance(conformal, Missing)
        else _conformal(conformal, held_out),
        "conformal_rows": [] if isinstance(conformal, Missing) else _conformal_rows(conformal),
    }


def _no_part(name: str, part: Missing) -> str:
    return f"No {name}: {one_line(part.reason, 300)}."


def _selective_rows(metrics: SelectiveMetrics) -> list[Cell]:
    """The rows of the table of abstention."""
    rows = (
        ("error rate", "all answers with a confidence", metrics.risk),
        (
            "error rate at 80 % coverage",
            "the 80 % with the highest confidence",
            metrics.risk_at_80,
        ),
        (
            "area under the risk-coverage curve (AURC)",
            "mean error rate over all coverages",
            metrics.aurc,
        ),
        ("excess AURC", "AURC less that of the best possible order", metrics.e_aurc),
    )
    return [{"name": name, "note": note, **share_cell(metric)} for name, note, metric in rows]


def _marked(curve: Sequence[RiskPoint], threshold: float) -> dict[str, float] | None:
    """The point of the curve at the threshold: the last one whose confidence reaches it."""
    for point in reversed(curve):
        if point.threshold >= threshold:
            return {"x": x_of(point.coverage), "y": y_of(point.risk)}
    return None


def _deferral(deferral: Deferral, held_out: str) -> str:
    """The threshold of confidence below which questions are deferred, in sentences."""
    return (
        f"For at most {percent(deferral.target_risk)} wrong answers: use the answers with a "
        f"confidence of at least {percent(deferral.threshold)}, and defer the other questions to "
        f"a clinician. The threshold was chosen on {held_out} so that, with a probability of "
        f"{percent(deferral.level)}, the error rate of the answered questions is below the "
        "target, if the questions are independent. On these results it defers "
        f"{percent(deferral.deferred.value)} of the questions."
    )


def _deferral_rows(deferral: Deferral) -> list[View]:
    """The rates at the threshold, of all questions and of each modality."""
    by_name: list[tuple[str, Deferral | DeferralRates]] = [
        ("all", deferral),
        *deferral.groups.items(),
    ]
    return [
        {
            "name": one_line(name),
            "deferred": share_cell(rates.deferred),
            "risk": share_cell(rates.risk),
        }
        for name, rates in by_name
    ]


def _conformal(conformal: Conformal, held_out: str) -> str:
    """What the conformal prediction sets are, in sentences."""
    sentence = (
        f"The set of a question is all options with a probability of at least "
        f"{percent(1 - conformal.quantile)}. It contains the correct option for "
        f"{percent(conformal.nominal)} of questions like those of {held_out} "
        f"({count_text(conformal.n_calibration)})."
    )
    if conformal.without_own_quantile:
        names = ", ".join(one_line(name, 40) for name in conformal.without_own_quantile)
        sentence += f" Modalities with too few of these for a threshold of their own: {names}."
    return sentence


def _conformal_rows(conformal: Conformal) -> list[View]:
    """Coverage and size of the sets, for all questions and each modality, for both thresholds."""
    kinds = (
        ("one threshold for all", conformal.split),
        ("one for each modality", conformal.mondrian),
    )
    rows: list[View] = []
    for kind, sets in kinds:
        for name, group in [("all", sets), *sets.groups.items()]:
            cells = [share_cell(group.coverage), number_cell(group.size)]
            cells += [share_cell(group.single), share_cell(group.empty)]
            rows.append(
                {
                    "kind": kind if name == "all" else "",
                    "name": one_line(name),
                    "n": count_text(group.coverage.n),
                    "cells": cells,
                }
            )
    return rows
