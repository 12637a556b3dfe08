"""One summary.json as what the page's template draws: texts, and lengths on a scale.

A key that an older file does not have, or has as null, leaves its part of the page out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from medr1.report.audit import PREDICTORS
from medr1.report.checklist import checklist
from medr1.report.confusion import heat_table
from medr1.report.methods import METRIC_WORDS, asked_about, methods_text
from medr1.report.sanitize import count, interval, line, short_path, visible
from medr1.report.tables import percent
from medr1.report.trust import trust_view

PLOT_WIDTH = 200
"""Of a row of a forest plot: 0 and 1 lie MARGIN from its ends."""
MARGIN = 8
CHART_WIDTH, CHART_HEIGHT = 480, 120
MAX_GROUPS = 40
MAX_BARS = 40
MAX_WARNINGS = 40

_UNANSWERED = {
    "unparsed": "nothing that reads as an answer",
    "ambiguous": "several answers at once",
    "refused": "the model declined",
    "truncated": "cut off before an answer",
    "empty": "no text at all",
}
_LENGTHS = {"num_tokens": "tokens", "characters": "characters"}
_PROTOCOLS = {
    "default": "any clear answer counts",
    "strict": "exactly one answer block",
    "authors-counting": "the original's rule for counting: the integer in the first answer block",
    "authors-geometry": "the original's rule for geometry: math-verify on the whole output",
    "authors-vqa": "the original's rule: the word in the first answer block",
    "authors-nothink": "the original's rule without reasoning",
}

_LOST = ("n_unparsed", "n_truncated", "n_error")

Summary = Mapping[str, Any]


def summary_view(summary: Summary, place: int) -> dict[str, Any]:
    """Everything the page says about one results file."""
    accuracy = (summary.get("metrics") or {}).get("accuracy") or {}
    return {
        "anchor": f"results-{place + 1}",
        "name": short_path(summary.get("results")) or f"results {place + 1}",
        "model": model_name(summary),
        "headline": _headline(summary, accuracy),
        "held_against": _held_against(summary, accuracy),
        "warnings": [visible(text, 600) for text in (summary.get("warnings") or ())[:MAX_WARNINGS]],
        "metrics": [_metric(name, m) for name, m in (summary.get("metrics") or {}).items()],
        "protocols": [
            forest_row(name, metric, note=_PROTOCOLS.get(name, ""))
            for name, metric in (summary.get("protocols") or {}).items()
        ],
        "groups": _groups(summary, accuracy),
        "trust": trust_view(summary),
        "findings": [_finding(f) for f in (summary.get("findings") or ())[:MAX_GROUPS]],
        "confusion": heat_table(summary.get("confusion")),
        "confusion_text": heat_table(summary.get("confusion_text")),
        "unanswered": _shares(summary.get("unanswered"), summary.get("n"), _UNANSWERED),
        "extraction": _shares(summary.get("extraction"), summary.get("n"), {}),
        "lengths": [
            _length(label, found)
            for key, label in _LENGTHS.items()
            if (found := (summary.get("lengths") or {}).get(key))
        ],
        "truncated": count(summary.get("n_truncated")),
        "manifest": manifest(summary),
        "methods": methods_text(summary),
        "checklist": checklist(summary),
    }


def overview(summaries: Sequence[Summary]) -> list[dict[str, Any]]:
    """A row for each file: its accuracy on a common scale, and what was lost."""
    rows = []
    for place, summary in enumerate(summaries):
        accuracy = (summary.get("metrics") or {}).get("accuracy") or {}
        name = short_path(summary.get("results")) or f"results {place + 1}"
        rows.append(
            {
                **forest_row(name, {**accuracy, "n": summary.get("n")}),
                "anchor": f"results-{place + 1}",
                "model": model_name(summary),
                "protocol": line(summary.get("protocol")),
                "lost": [count(summary.get(key)) for key in _LOST],
            }
        )
    return rows


def model_name(summary: Summary) -> str:
    """The model as the run's meta calls it, or what to say where it is not known."""
    return short_path((summary.get("meta") or {}).get("model")) or "model not named"


def _headline(summary: Summary, accuracy: Mapping[str, Any]) -> dict[str, Any]:
    n, value = summary.get("n"), accuracy.get("value")
    right = round(value * n) if isinstance(n, int) and value is not None else None
    counts = [
        ("without a readable answer", summary.get("n_unparsed")),
        ("refused", summary.get("n_refused")),
        ("undecided by the rules", summary.get("n_undecided")),
        ("cut off at the token limit", summary.get("n_truncated")),
        ("failed before an answer", summary.get("n_error")),
    ]
    return {
        "value": percent(value),
        "interval": interval(accuracy),
        "method": line(accuracy.get("method")),
        "reason": line(accuracy.get("reason"), 300),
        "n": count(n),
        "right": count(right) if right is not None else None,
        "about": asked_about(summary),
        "protocol": line(summary.get("protocol")) or "not stated",
        "counts": [(label, count(k), _share_of(k, n)) for label, k in counts if k is not None],
    }


def _share_of(part: Any, whole: Any) -> str:
    return percent(part / whole) if isinstance(part, int) and whole else ""


def _held_against(summary: Summary, accuracy: Mapping[str, Any]) -> dict[str, Any] | None:
    """Accuracy beside what guessing and the options alone give; None where neither is known."""
    blind = summary.get("blind") or {}
    chance, best = blind.get("chance"), blind.get("best") or {}
    ablation = summary.get("image_ablation") or {}
    if chance is None and best.get("value") is None and not ablation:
        return None
    gain = blind.get("image_gain") or {}
    added = gain.get("value")
    rows = [forest_row("this model", accuracy)]
    if ablation:
        kind = line(ablation.get("ablation"), 20)
        rows.append(
            forest_row(f"this model, no image ({kind})", ablation["accuracy_without_image"])
        )
    for name, metric in (blind.get("predictors") or {}).items():
        blindly = PREDICTORS.get(name, line(name, 60))
        rows.append(forest_row(f"without any image: {blindly}", metric))
    if chance is not None:
        rows.append(forest_row("guessing", {"value": chance, "n": best.get("n")}))
    if needed := blind.get("image_needed"):
        note = "not answered by a blind predictor where it is above guessing"
        rows.append(forest_row("this model, where an image is needed", needed, note))
    return {
        "rows": rows,
        "gain": f"{100 * added:+z.1f} percentage points" if added is not None else None,
        "gain_interval": interval(gain, signed=True),
        "image_ablation": _ablation_sentence(ablation),
    }


def _ablation_sentence(ablation: Mapping[str, Any]) -> str | None:
    """What the image adds, in a sentence."""
    gain, same = ablation.get("ablation_gain") or {}, ablation.get("same_answer") or {}
    if gain.get("value") is None or same.get("value") is None:
        return None
    bounds = interval(gain, signed=True)
    return (
        f"With the image {100 * gain['value']:+z.1f} percentage points"
        f"{f' ({bounds})' if bounds else ''}; {percent(same['value'])} of the answers are the same "
        "without it."
    )


def _metric(name: str, metric: Mapping[str, Any] | None) -> dict[str, Any]:
    label, meaning = METRIC_WORDS.get(name, (line(name, 60), ""))
    found = metric or {}
    return {
        **forest_row(label, found),
        "meaning": meaning,
        "signature": line(found.get("signature"), 200),
        "method": line(found.get("method")),
    }


def forest_row(name: str, metric: Mapping[str, Any] | None, note: str = "") -> dict[str, Any]:
    """A line of a forest plot: its numbers, and where point and interval lie."""
    found = metric or {}
    value, ci95 = found.get("value"), found.get("ci95")
    return {
        "name": line(name),
        "note": line(note, 200),
        "value": percent(value),
        "interval": interval(found),
        "reason": "" if value is not None else line(found.get("reason") or "not computed", 300),
        "n": count(found.get("n")) if found.get("n") is not None else "",
        "at": at_share(value),
        "low": at_share(ci95[0]) if ci95 else None,
        "high": at_share(ci95[1]) if ci95 else None,
    }


def at_share(share: float | None) -> float | None:
    if share is None:
        return None
    return round(MARGIN + min(1.0, max(0.0, share)) * (PLOT_WIDTH - 2 * MARGIN), 1)


def _groups(summary: Summary, accuracy: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A forest plot for each kind of group, in the file's order, with the mean of the groups."""
    found = []
    chance = (summary.get("blind") or {}).get("chance")
    for kind, groups in (summary.get("groups") or {}).items():
        if not groups:
            continue
        named = list(groups.items())
        kept = named
        if len(named) > MAX_GROUPS:  # the largest, still in their order
            least = sorted((g.get("n") or 0 for _, g in named), reverse=True)[MAX_GROUPS - 1]
            kept = [pair for pair in named if (pair[1].get("n") or 0) >= least][:MAX_GROUPS]
        macro = (summary.get("macro") or {}).get(kind) or {}
        found.append(
            {
                "kind": line(str(kind).replace("_", " "), 60),
                "rows": [_group(name, group) for name, group in kept],
                "left_out": len(named) - len(kept),
                "macro": forest_row("mean of the groups", {**macro, "n": None})
                if macro.get("value") is not None
                else None,
                "overall": at_share(accuracy.get("value")),
                "chance": at_share(chance),
            }
        )
    return found


def _group(name: str, group: Mapping[str, Any]) -> dict[str, Any]:
    metric = (group.get("metrics") or {}).get("accuracy") or {}
    return {
        **forest_row(name or "(empty)", {**metric, "n": group.get("n", metric.get("n"))}),
        "unparsed": count(group.get("n_unparsed")),
    }


def _finding(finding: Mapping[str, Any]) -> dict[str, Any]:
    def cell(name: str) -> dict[str, str]:
        metric = finding.get(name) or {}
        reason = "" if metric.get("value") is not None else line(metric.get("reason"), 200)
        return {
            "value": percent(metric.get("value")),
            "interval": interval(metric),
            "reason": reason,
        }

    names = ("prevalence", "sensitivity", "specificity", "ppv", "npv")
    return {
        "name": line(finding.get("finding"), 80),
        "positive": line(finding.get("positive"), 40),
        "n": count(finding.get("n")),
        "n_positive": count(finding.get("n_positive")),
        "n_unanswered": count(finding.get("n_unanswered")),
        "cells": [cell(name) for name in names],
    }


def _shares(
    counts: Mapping[str, int] | None, n: Any, words: Mapping[str, str]
) -> list[dict[str, str]]:
    """Kinds with how often they came, the commonest first; kinds that never came are left out."""
    present = [(kind, k) for kind, k in (counts or {}).items() if k]
    return [
        {
            "name": line(kind.replace("_", " "), 60),
            "note": words.get(kind, ""),
            "count": count(k),
            "share": _share_of(k, n),
        }
        for kind, k in sorted(present, key=lambda pair: (-pair[1], pair[0]))[:MAX_GROUPS]
    ]


def _length(label: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers of a distribution of lengths, and its histogram as rectangles."""
    numbers = [
        (name, f"{found[key]:,.0f}")
        for key, name in (("mean", "mean"), ("median", "median"), ("p95", "95th percentile"))
        if found.get(key) is not None
    ]
    if found.get("max") is not None:
        numbers.append(("longest", f"{found['max']:,.0f}"))
    bars = _merged(found.get("histogram") or ())
    most = max((n for _, _, n in bars), default=0)
    step = CHART_WIDTH / max(1, len(bars))
    drawn = [
        {
            "x": round(i * step, 1),
            "y": round(CHART_HEIGHT * (1 - n / most), 1) if most else CHART_HEIGHT,
            "width": round(max(1.0, step - 1), 1),
            "height": round(CHART_HEIGHT * n / most, 1) if most else 0,
            "said": f"{low:,.0f} to {high:,.0f}: {n:,}",
        }
        for i, (low, high, n) in enumerate(bars)
    ]
    return {
        "label": label,
        "n": count(found.get("n")),
        "numbers": numbers,
        "bars": drawn,
        "most": count(most),
        "first": f"{bars[0][0]:,.0f}" if bars else "",
        "last": f"{bars[-1][1]:,.0f}" if bars else "",
    }


def _merged(histogram: Iterable[Sequence[float]]) -> list[tuple[float, float, int]]:
    """At most MAX_BARS bins: neighbours are joined where there are more."""
    bins = [(low, high, int(n)) for low, high, n in histogram]
    size = -(-len(bins) // MAX_BARS) or 1
    parts = [bins[start : start + size] for start in range(0, len(bins), size)]
    return [(part[0][0], part[-1][1], sum(n for _, _, n in part)) for part in parts]


def manifest(summary: Summary) -> list[tuple[str, str]]:
    """What is known of run and data, a name and a value each; hashes stand in full."""
    meta = summary.get("meta") or {}
    known = [
        ("results file", short_path(summary.get("results"))),
        ("results SHA-256", summary.get("sha256")),
        ("model", short_path(meta.get("model"))),
        ("model SHA-256", meta.get("model_sha256")),
        ("data", short_path(meta.get("data"))),
        ("data SHA-256", meta.get("data_sha256")),
        ("prompt", meta.get("prompt")),
        ("prompt SHA-256", meta.get("prompt_sha256")),
        ("decoding", _pairs(meta.get("decoding"))),
        ("seed", meta.get("seed")),
        ("device", meta.get("device")),
        ("precision", meta.get("dtype")),
        ("versions", _pairs(meta.get("versions"))),
        ("questions in the run", meta.get("n")),
    ]
    return [(name, visible(value, 1000)) for name, value in known if value not in (None, "")]


def _pairs(values: Any) -> str:
    if not isinstance(values, Mapping):
        return "" if values is None else str(values)
    return ", ".join(f"{str(key).replace('_', ' ')} {value}" for key, value in values.items())
