"""The parts of report.html on calibration, abstention and other measures of trust in the answers.

Each part is sentences, rows of tables, and charts in pixels. Calibration: does the confidence equal
the accuracy? Abstention: which answers should be left to a clinician? Summaries of older versions
lack some keys; the parts that need them are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medr1.report.charts import severity
from medr1.report.charts.severity import severity_charts
from medr1.report.charts.shares import (
    CHART,
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
from medr1.report.pages.sanitize import count_text, interval_of, one_line, short_path, visible
from medr1.report.pages.self_consistency import self_consistency_view
from medr1.report.terminal.comparison import UNADJUSTED
from medr1.report.terminal.robustness import headline_sentence, sentences
from medr1.report.terminal.tables import percent

BARS = 44
"""The height in pixels of the small histogram under the reliability diagram."""

_CALIBRATION_METRICS = {
    "ece": ("expected calibration error (ECE)", "15 bins of equal width"),
    "ece_mass": ("ECE, equal mass", "15 bins with equally many items"),
    "ece_debiased": ("debiased error", "root mean square, without the part by chance"),
    "mce": ("maximum calibration error (MCE)", "the worst bin"),
    "brier": ("Brier score", "of the confidence"),
    "brier_options": ("Brier score, options", "of all option probabilities, 0 to 2"),
    "nll": ("negative log-likelihood (NLL)", "of the correct option, in nats"),
    "auroc": ("AUROC", "how often a correct answer has more confidence than a wrong one"),
}
"""Metric -> its name in the table of calibration, and what it is."""
_SELECTIVE_METRICS = {
    "risk": ("error rate", "all answers with a confidence"),
    "risk_at_80": ("error rate at 80 % coverage", "the 80 % with the highest confidence"),
    "aurc": ("area under the risk-coverage curve (AURC)", "mean error rate over all coverages"),
    "e_aurc": ("excess AURC", "AURC less that of the best possible order"),
}
"""Metric -> its name in the table of abstention, and what it is."""

Section = Mapping[str, Any]
"""A part of the summary."""


def trust_view(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of the page by name; None for what the summary does not have."""
    held_out = short_path(summary.get("calibrate_on"))
    return {
        "calibration": _part(summary.get("calibration"), "metrics", _calibration, held_out),
        "abstention": _part(summary.get("selective"), "metrics", _abstention, held_out),
        "uncertainty": self_consistency_view(summary.get("uncertainty")),
        "ensembles": ensembles_view(summary),
        "robustness": _robustness(summary.get("robustness")),
        "chart": CHART,
    }


def _part(section: Section | None, key: str, view: Any, held_out: str) -> dict[str, Any] | None:
    """What `view` makes of a section; the reason if it has no numbers; None without a section."""
    if not section:
        return None
    if not section.get(key):
        return {"reason": one_line(section.get("reason"), 300)}
    return {"reason": "", **view(section, held_out)}


def _robustness(document: Section | None) -> dict[str, Any] | None:
    """The sentences and charts of robustness.json; None if it is not in the summary."""
    if not document:
        return None
    return {
        "headline": headline_sentence(document),
        "sentences": sentences(document),
        "unadjusted": UNADJUSTED,
        "warnings": [visible(text, 600) for text in document["warnings"]],
        "charts": severity_charts(document),
        "chart": severity.CHART,
    }


# --- calibration --------------------------------------------------------------------------------


def _calibration(section: Section, held_out: str) -> dict[str, Any]:
    metrics, temperature = section["metrics"], section.get("temperature") or {}
    scaled = temperature.get("metrics") or {}  # the same metrics after temperature scaling
    largest_bin = max(section["bins"], key=lambda a_bin: a_bin["n"])
    return {
        "source": one_line(section["source"]),
        "n": count_text(section["n"]),
        "n_without": section.get("n_without", 0),
        "sentence": (
            f"Where the confidence is about {percent(largest_bin['confidence'])}, the accuracy is "
            f"{percent(largest_bin['accuracy']['value'])} ({count_text(largest_bin['n'])} answers)."
        ),
        "overall": _overall(metrics),
        "rows": [
            {
                "name": title,
                "note": note,
                **_metric_cell(name, metrics[name]),
                "scaled": _metric_cell(name, scaled[name]) if name in scaled else None,
            }
            for name, (title, note) in _CALIBRATION_METRICS.items()
            if name in metrics
        ],
        "parts": [
            (name.replace("_", " "), number_text(value))
            for name, value in (section.get("brier_parts") or {}).items()
        ],
        "temperature": _temperature(temperature, held_out),
        "scaled": _scaled_header(metrics, scaled),
        "diagram": _diagram(section["bins"]),
        "groups": [
            _calibration_group(name, group)
            for name, group in ((section.get("groups") or {}).get("modality") or {}).items()
        ],
    }


def _scaled_header(metrics: Section, scaled: Section) -> str:
    """The header of the column after temperature scaling; empty if there is none.

    Not every answer can be scaled. If they are fewer, the header says how many they are.
    """
    if not scaled:
        return ""
    n = scaled["accuracy"]["n"]
    n_answers = f", {n:,} answers" if n != metrics["accuracy"]["n"] else ""
    return "after temperature scaling" + n_answers


def _overall(metrics: Section) -> str:
    """Mean confidence against accuracy in a sentence: overconfident, underconfident or neither."""
    gap = metrics["overconfidence"]
    if gap["ci95"] and gap["ci95"][0] > 0:
        verdict = "the model is overconfident"
    elif gap["ci95"] and gap["ci95"][1] < 0:
        verdict = "the model is underconfident"
    else:
        verdict = "no clear difference" if gap["ci95"] else "a difference without an interval"
    return (
        f"The mean confidence is {percent(metrics['confidence']['value'])}, the accuracy "
        f"{percent(metrics['accuracy']['value'])}: {verdict} ({difference_text(gap)})."
    )


def _temperature(temperature: Section, held_out: str) -> str:
    """The fitted temperature in a sentence, or why there is none."""
    if temperature.get("value") is None:
        return f"No temperature: {one_line(temperature.get('reason'), 200)}."
    cell = number_cell(temperature)
    interval = f" (95 % CI {cell['interval']})" if cell["interval"] else ""
    return (
        f"Temperature {cell['value']}{interval}, fitted on {count_text(temperature['n'])} other "
        f"questions ({held_out}). Above 1 the model was overconfident, below 1 underconfident. "
        "Temperature scaling changes no answer."
    )


def _diagram(bins: Sequence[Section]) -> dict[str, Any]:
    """The reliability diagram: accuracy over confidence, and below it the answers in each bin."""
    most = max(a_bin["n"] for a_bin in bins)
    points, bars = [], []
    for a_bin in bins:
        accuracy = a_bin["accuracy"]
        low, high = accuracy["ci95"] or (accuracy["value"],) * 2
        description = (
            f"confidence {percent(a_bin['low'])} to {percent(a_bin['high'])}, mean "
            f"{percent(a_bin['confidence'])}: accuracy {percent(accuracy['value'])} "
            f"({interval_of(accuracy) or 'no interval'}), n = {a_bin['n']}"
        )
        points.append(
            {
                "x": x_of(a_bin["confidence"]),
                "y": y_of(accuracy["value"]),
                "low": y_of(low),
                "high": y_of(high),
                "description": description,
            }
        )
        height = round(BARS * a_bin["n"] / most, 1)
        x = x_of(a_bin["low"])
        bars.append(
            {
                "x": x,
                "y": BARS - height,
                "width": round(x_of(a_bin["high"]) - x - 1, 1),
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


def _calibration_group(name: str, group: Section) -> dict[str, Any]:
    """One modality's row, or the reason why it has no numbers."""
    row = {
        "name": one_line(name),
        "n": count_text(group["n"]),
        "reason": one_line(group.get("reason")),
    }
    keys = ("confidence", "accuracy", "overconfidence", "ece", "ece_debiased", "brier", "auroc")
    metrics = group.get("metrics") or {}
    return {**row, "cells": [_metric_cell(key, metrics[key]) for key in keys if metrics]}


def _metric_cell(name: str, metric: Section) -> dict[str, str]:
    """A metric of calibration as a cell, each in its own form."""
    # an error that is biased upwards has no interval; beside it is its size by chance
    if (by_chance := metric.get("by_chance")) is not None:
        return {**share_cell(metric), "interval": f"by chance {percent(by_chance)}"}
    if name in ("brier", "brier_options", "nll"):
        return number_cell(metric)
    return share_cell(metric, signed=name == "overconfidence")


# --- abstention ---------------------------------------------------------------------------------


def _abstention(section: Section, held_out: str) -> dict[str, Any]:
    """The risk-coverage curve, the threshold for deferring, and conformal prediction sets."""
    referral, conformal = section.get("referral") or {}, section.get("conformal") or {}
    curve = section["curve"]
    threshold = referral.get("threshold")
    # the point of the curve at the threshold: the last one whose confidence reaches it
    at_threshold = next(
        (p for p in reversed(curve) if threshold is not None and p["threshold"] >= threshold), None
    )
    return {
        "n": count_text(section["n"]),
        "rows": [
            {"name": title, "note": note, **share_cell(section["metrics"][name])}
            for name, (title, note) in _SELECTIVE_METRICS.items()
            if name in section["metrics"]
        ],
        "curve": svg_points((x_of(point["coverage"]), y_of(point["risk"])) for point in curve),
        "curve_description": (
            f"error rate {percent(curve[0]['risk'])} among the {percent(curve[0]['coverage'])} "
            f"with the highest confidence, {percent(curve[-1]['risk'])} among all"
        ),
        "marked": {"x": x_of(at_threshold["coverage"]), "y": y_of(at_threshold["risk"])}
        if at_threshold
        else None,
        "target": y_of(referral["target_risk"]) if threshold is not None else None,
        "x_ticks": x_ticks(),
        "y_ticks": y_ticks(),
        "referral": _referral(referral, held_out),
        "referral_rows": [
            {
                "name": one_line(name),
                "deferred": share_cell(group["referred"]),
                "risk": share_cell(group["risk"]),
            }
            for name, group in [("all", referral), *(referral.get("groups") or {}).items()]
            if threshold is not None
        ],
        "conformal": _conformal(conformal, held_out),
        "conformal_rows": _conformal_rows(conformal),
    }


def _referral(referral: Section, held_out: str) -> str:
    """The threshold of confidence below which questions are deferred, in sentences."""
    if referral.get("threshold") is None:
        return f"No threshold: {one_line(referral.get('reason'), 300)}."
    target = percent(referral["target_risk"])
    return (
        f"For at most {target} wrong answers: use the answers with a confidence of at least "
        f"{percent(referral['threshold'])}, and defer the other questions to a clinician. The "
        f"threshold was chosen on {held_out} so that, with a probability of "
        f"{percent(referral['level'])}, the error rate of the answered questions is below the "
        "target, if the questions are independent. On these results it defers "
        f"{percent(referral['referred']['value'])} of the questions."
    )


def _conformal(conformal: Section, held_out: str) -> str:
    """What the conformal prediction sets are, in sentences, or why there are none."""
    if conformal.get("quantile") is None:
        return f"No sets: {one_line(conformal.get('reason'), 300)}."
    without_own = conformal.get("without_own_quantile") or ()
    sentence = (
        f"The set of a question is all options with a probability of at least "
        f"{percent(1 - conformal['quantile'])}. It contains the correct option for "
        f"{percent(conformal['nominal'])} of questions like those of {held_out} "
        f"({count_text(conformal['n_calibration'])})."
    )
    if without_own:
        names = ", ".join(one_line(name, 40) for name in without_own)
        sentence += f" Modalities with too few of these for a threshold of their own: {names}."
    return sentence


def _conformal_rows(conformal: Section) -> list[dict[str, Any]]:
    """Coverage and size of the sets, for all questions and each modality, for both thresholds."""
    if conformal.get("quantile") is None:
        return []
    kinds = (
        ("one threshold for all", conformal["split"]),
        ("one for each modality", conformal["mondrian"]),
    )
    rows = []
    for kind, sets in kinds:
        for name, group in [("all", sets), *sets["groups"].items()]:
            cells = [share_cell(group["coverage"]), number_cell(group["size"])]
            cells += [share_cell(group[key]) for key in ("single", "empty")]
            rows.append(
                {
                    "kind": kind if name == "all" else "",
                    "name": one_line(name),
                    "n": count_text(group["coverage"]["n"]),
                    "cells": cells,
                }
            )
    return rows
