"""Calibration and abstention as the page draws them: sentences, rows, and charts in pixels.

A key that an older file does not have leaves its part of the page out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medr1.report import severity
from medr1.report.comparison import UNADJUSTED
from medr1.report.curves import joined, number
from medr1.report.ensembles import ensembles_view
from medr1.report.robustness import headline_sentence, sentences
from medr1.report.sanitize import count, interval, line, short_path, visible
from medr1.report.self_consistency import self_consistency_view
from medr1.report.severity import severity_charts
from medr1.report.shares import CHART, cell, change, plain, x_of, x_ticks, y_of, y_ticks
from medr1.report.tables import percent

BARS = 44
"""Height of the small histogram under the reliability diagram."""

_WORDS = {
    "ece": ("ECE", "15 equally wide bins"),
    "ece_mass": ("ECE, equal mass", "15 bins of as many items"),
    "ece_debiased": ("debiased error", "root mean square, less what chance adds"),
    "mce": ("MCE", "the worst bin"),
    "brier": ("Brier score", "of the confidence"),
    "brier_options": ("Brier score, options", "of all options' probabilities, 0 to 2"),
    "nll": ("NLL", "of the right option, in nats"),
    "auroc": ("AUROC", "a right answer is surer than a wrong one"),
}
_RANKED = {
    "risk": ("error", "all answers with a confidence"),
    "risk_at_80": ("error at 80 % coverage", "the surest 80 %"),
    "aurc": ("AURC", "mean error over all coverages"),
    "e_aurc": ("excess AURC", "above the best possible order"),
}

Section = Mapping[str, Any]


def trust_view(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What the page says of calibration and abstention; None for what the summary does not have."""
    held_out = short_path(summary.get("calibrate_on"))
    return {
        "calibration": _part(summary.get("calibration"), "metrics", _calibration, held_out),
        "abstention": _part(summary.get("selective"), "metrics", _abstention, held_out),
        "uncertainty": self_consistency_view(summary.get("uncertainty")),
        "together": ensembles_view(summary),
        "robustness": _robustness(summary.get("robustness")),
        "chart": CHART,
    }


def _part(section: Section | None, key: str, view: Any, held_out: str) -> dict[str, Any] | None:
    """The view of a section, or the reason why it has none."""
    if not section:
        return None
    if not section.get(key):
        return {"reason": line(section.get("reason"), 300)}
    return {"reason": "", **view(section, held_out)}


def _robustness(document: Section | None) -> dict[str, Any] | None:
    """What worse pictures and other words cost; None where it is not in the summary."""
    if not document:
        return None
    return {
        "headline": headline_sentence(document),
        "said": sentences(document),
        "unadjusted": UNADJUSTED,
        "warnings": [visible(text, 600) for text in document["warnings"]],
        "charts": severity_charts(document),
        "chart": severity.CHART,
    }


# --- calibration --------------------------------------------------------------------------------


def _calibration(section: Section, held_out: str) -> dict[str, Any]:
    metrics, temperature = section["metrics"], section.get("temperature") or {}
    after = temperature.get("metrics") or {}
    fullest = max(section["bins"], key=lambda one: one["n"])
    return {
        "source": line(section["source"]),
        "n": count(section["n"]),
        "n_without": section.get("n_without", 0),
        "said": (
            f"When the model is about {percent(fullest['confidence'])} sure, it is right "
            f"{percent(fullest['accuracy']['value'])} of the time ({count(fullest['n'])} answers)."
        ),
        "overall": _overall(metrics),
        "rows": [
            {
                "name": title,
                "note": note,
                **_as_shown(name, metrics[name]),
                "after": _as_shown(name, after[name]) if name in after else None,
            }
            for name, (title, note) in _WORDS.items()
            if name in metrics
        ],
        "parts": [
            (name.replace("_", " "), number(value))
            for name, value in (section.get("brier_parts") or {}).items()
        ],
        "temperature": _temperature(temperature, held_out),
        "after": _after(metrics, after),
        "diagram": _diagram(section["bins"]),
        "groups": [
            _calibration_group(name, group)
            for name, group in ((section.get("groups") or {}).get("modality") or {}).items()
        ],
    }


def _after(metrics: Section, after: Section) -> str:
    """What the column with temperature is called, if there is one: it may be of fewer answers."""
    if not after:
        return ""
    n = after["accuracy"]["n"]
    return "with temperature" + (f", of {n:,}" if n != metrics["accuracy"]["n"] else "")


def _overall(metrics: Section) -> str:
    gap = metrics["overconfidence"]
    if gap["ci95"] and gap["ci95"][0] > 0:
        verdict = "surer than it should be"
    elif gap["ci95"] and gap["ci95"][1] < 0:
        verdict = "less sure than it could be"
    else:
        verdict = "no clear difference" if gap["ci95"] else "a difference without an interval"
    return (
        f"On average it is {percent(metrics['confidence']['value'])} sure and "
        f"{percent(metrics['accuracy']['value'])} right: {verdict} ({change(gap)})."
    )


def _temperature(found: Section, held_out: str) -> str:
    if found.get("value") is None:
        return f"No temperature: {line(found.get('reason'), 200)}."
    shown = plain(found)
    around = f" ({shown['interval']})" if shown["interval"] else ""
    return (
        f"Temperature {shown['value']}{around}, fitted on {count(found['n'])} other questions "
        f"({held_out}): over 1 the model was too sure, under 1 not sure enough. No answer changes "
        "by it."
    )


def _diagram(bins: Sequence[Section]) -> dict[str, Any]:
    """Points of accuracy over confidence with their intervals, and how many items each has."""
    most = max(one["n"] for one in bins)
    points, bars = [], []
    for one in bins:
        low, high = one["accuracy"]["ci95"] or (one["accuracy"]["value"],) * 2
        said = (
            f"{percent(one['low'])} to {percent(one['high'])} sure, on average "
            f"{percent(one['confidence'])}: {percent(one['accuracy']['value'])} right "
            f"({interval(one['accuracy']) or 'no interval'}), n = {one['n']}"
        )
        points.append(
            {
                "x": x_of(one["confidence"]),
                "y": y_of(one["accuracy"]["value"]),
                "low": y_of(low),
                "high": y_of(high),
                "said": said,
            }
        )
        height = round(BARS * one["n"] / most, 1)
        left = x_of(one["low"])
        width = round(x_of(one["high"]) - left - 1, 1)
        bars.append({"x": left, "y": BARS - height, "width": width, "height": height, "said": said})
    return {
        "points": points,
        "bars": bars,
        "bars_height": BARS,
        "most": count(most),
        "x_ticks": x_ticks(),
        "y_ticks": y_ticks(),
        "diagonal": joined([(x_of(0), y_of(0)), (x_of(1), y_of(1))]),
    }


def _calibration_group(name: str, group: Section) -> dict[str, Any]:
    row = {"name": line(name), "n": count(group["n"]), "reason": line(group.get("reason"))}
    names = ("confidence", "accuracy", "overconfidence", "ece", "ece_debiased", "brier", "auroc")
    found = group.get("metrics") or {}
    return {**row, "cells": [_as_shown(key, found[key]) for key in names if found]}


def _as_shown(name: str, metric: Section) -> dict[str, str]:
    if (chance := metric.get("by_chance")) is not None:
        return {**cell(metric), "interval": f"chance {percent(chance)}"}
    if name in ("brier", "brier_options", "nll"):
        return plain(metric)
    return cell(metric, signed=name == "overconfidence")


# --- abstention ---------------------------------------------------------------------------------


def _abstention(section: Section, held_out: str) -> dict[str, Any]:
    referral, conformal = section.get("referral") or {}, section.get("conformal") or {}
    curve = section["curve"]
    threshold = referral.get("threshold")
    at = next(
        (p for p in reversed(curve) if threshold is not None and p["threshold"] >= threshold), None
    )
    return {
        "n": count(section["n"]),
        "rows": [
            {"name": title, "note": note, **cell(section["metrics"][name])}
            for name, (title, note) in _RANKED.items()
            if name in section["metrics"]
        ],
        "curve": joined((x_of(point["coverage"]), y_of(point["risk"])) for point in curve),
        "curve_said": (
            f"error {percent(curve[0]['risk'])} among the surest {percent(curve[0]['coverage'])}, "
            f"{percent(curve[-1]['risk'])} among all"
        ),
        "marked": {"x": x_of(at["coverage"]), "y": y_of(at["risk"])} if at else None,
        "target": y_of(referral["target_risk"]) if threshold is not None else None,
        "x_ticks": x_ticks(),
        "y_ticks": y_ticks(),
        "referral": _referral(referral, held_out),
        "referral_rows": [
            {
                "name": line(name),
                "referred": cell(found["referred"]),
                "risk": cell(found["risk"]),
            }
            for name, found in [("all", referral), *(referral.get("groups") or {}).items()]
            if threshold is not None
        ],
        "conformal": _conformal(conformal, held_out),
        "conformal_rows": _conformal_rows(conformal),
    }  # fmt: skip


def _referral(found: Section, held_out: str) -> str:
    if found.get("threshold") is None:
        return f"No threshold: {line(found.get('reason'), 300)}."
    return (
        f"For at most {percent(found['target_risk'])} wrong answers, answer where the confidence "
        f"is at least {percent(found['threshold'])} and refer the rest to a clinician. Chosen on "
        f"{held_out} so that, with {percent(found['level'])} confidence, the error of what is "
        "answered stays under the target, questions taken as independent; here that refers "
        f"{percent(found['referred']['value'])} of the questions."
    )


def _conformal(found: Section, held_out: str) -> str:
    if found.get("quantile") is None:
        return f"No sets: {line(found.get('reason'), 300)}."
    fallen = found.get("without_own_quantile") or ()
    said = (
        f"All options with a probability of at least {percent(1 - found['quantile'])} make a set "
        f"that holds the right one for {percent(found['nominal'])} of questions like those of "
        f"{held_out} ({count(found['n_calibration'])})."
    )
    if fallen:
        names = ", ".join(line(name, 40) for name in fallen)
        said += f" Too few of these for a limit of their own: {names}."
    return said


def _conformal_rows(found: Section) -> list[dict[str, Any]]:
    if found.get("quantile") is None:
        return []
    kinds = (("one limit for all", found["split"]), ("one for each modality", found["mondrian"]))
    rows = []
    for kind, sets in kinds:
        for name, one in [("all", sets), *sets["groups"].items()]:
            cells = [cell(one["coverage"]), plain(one["size"])]
            cells += [cell(one[key]) for key in ("single", "empty")]
            n = count(one["coverage"]["n"])
            rows.append(
                {"kind": kind if name == "all" else "", "name": line(name), "n": n, "cells": cells}
            )
    return rows  # fmt: skip
