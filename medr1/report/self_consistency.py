"""Self-consistency of several samples of each question, as the page shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medr1.report.curves import joined
from medr1.report.sanitize import count, line
from medr1.report.shares import cell, change, x_of, y_of, y_ticks
from medr1.report.tables import percent

Section = Mapping[str, Any]


def self_consistency_view(section: Section | None) -> dict[str, Any] | None:
    """The part of the page; None where there were no samples."""
    if not section or not section.get("pass_at_k"):
        return None
    fewest, most = section["num_samples"]
    return {
        "samples": f"{fewest}" if fewest == most else f"{fewest} to {most}",
        "n": count(section["n"]),
        "said": _said(section),
        "curve": _curve(section["pass_at_k"]),
        "agreement": [
            {"name": line(row["agreement"]), "n": count(row["n"]), "right": cell(row["accuracy"])}
            for row in section["by_agreement"]
        ],
        "rows": _rows(section),
    }


def _said(section: Section) -> str:
    found, rows = section["self_consistency"], section["by_agreement"]
    said = (
        f"The answer that most samples give is right for "
        f"{percent(found['majority_accuracy']['value'])} of the questions, the one answer for "
        f"{percent(found['accuracy']['value'])} ({change(found['difference'])})."
    )
    if len(rows) > 1:
        said += (
            f" Where {line(rows[0]['agreement'])} samples agree, the one answer is right "
            f"{percent(rows[0]['accuracy']['value'])} of the time; where only "
            f"{line(rows[-1]['agreement'])} do, {percent(rows[-1]['accuracy']['value'])}."
        )
    return said


def _rows(section: Section) -> list[dict[str, Any]]:
    entropy, stability = section["entropy"], section["stability"]
    agreement = section["self_consistency"]["agreement"]
    named = (
        ("mean agreement", "samples that give the most frequent answer", agreement),
        ("answer entropy", "0 all alike, 100 % all different", entropy["mean"]),
        ("AUROC of entropy", "a wrong answer's samples differ more", entropy["auroc"]),
        ("all samples agree", "share of the questions", stability["all_agree"]),
        ("two samples agree", "drawn at random", stability["pairwise_agreement"]),
        ("accuracy from run to run", "standard deviation", stability["between_run_sd"]),
    )
    return [{"name": name, "note": note, **cell(metric)} for name, note, metric in named]


def _curve(by_k: Sequence[Section]) -> dict[str, Any]:
    """pass@k from one to all samples, with its interval."""
    most = by_k[-1]["k"]
    places = [x_of((one["k"] - 1) / max(most - 1, 1)) for one in by_k]
    ends = [one["ci95"] or (one["value"],) * 2 for one in by_k]
    upper = [(x, y_of(high)) for x, (_, high) in zip(places, ends, strict=True)]
    lower = [(x, y_of(low)) for x, (low, _) in zip(places, ends, strict=True)]
    points = [(x, y_of(one["value"])) for x, one in zip(places, by_k, strict=True)]
    named = {1, (most + 1) // 2, most}
    first, last = percent(by_k[0]["value"]), percent(by_k[-1]["value"])
    return {
        "path": joined(points),
        "dots": points,
        "spread": joined([*upper, *reversed(lower)]),
        "x_ticks": [
            (x, str(one["k"])) for x, one in zip(places, by_k, strict=True) if one["k"] in named
        ],
        "y_ticks": y_ticks(),
        "said": f"{first} with one sample, {last} with {most}",
    }
