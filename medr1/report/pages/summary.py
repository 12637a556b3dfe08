"""One summary.json as report.html's template needs it: texts, and positions in pixels.

Summaries of older versions lack some keys or have null for them. The parts of the page that need
them are then left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from medr1.metrics.registry import METRICS
from medr1.report.pages.checklist import checklist
from medr1.report.pages.confusion import heat_table
from medr1.report.pages.methods import methods_text, question_subjects
from medr1.report.pages.sanitize import count_text, interval_of, one_line, short_path, visible
from medr1.report.pages.trust import trust_view
from medr1.report.terminal.audit import PREDICTORS
from medr1.report.terminal.tables import percent

PLOT_WIDTH = 200
"""The pixels of a row of a forest plot; shares of 0 and 1 lie MARGIN from its ends."""
MARGIN = 8
CHART_WIDTH, CHART_HEIGHT = 480, 120
"""The pixels of a histogram."""
MAX_GROUPS = 40
MAX_BARS = 40
MAX_WARNINGS = 40

_UNANSWERED = {
    "unparsed": "nothing that can be read as an answer",
    "ambiguous": "several answers at once",
    "refused": "the model declined to answer",
    "truncated": "cut off before an answer",
    "empty": "no text",
}
"""Why a completion has no readable answer -> what that means."""
_LENGTHS = {"num_tokens": "tokens", "characters": "characters"}
_PROTOCOLS = {
    "default": "any clear answer counts",
    "strict": "exactly one answer block",
    "authors-counting": "the original's rule for counting: the integer in the first answer block",
    "authors-geometry": "the original's rule for geometry: math-verify on the whole completion",
    "authors-vqa": "the original's rule: the word in the first answer block",
    "authors-nothink": "the original's rule without reasoning",
}
"""Protocol -> what counts as an answer."""

_FAILURES = ("n_unparsed", "n_truncated", "n_error")
"""The numbers of failures that the overview has columns for."""

Summary = Mapping[str, Any]
"""The content of summary.json."""


def summary_view(summary: Summary, place: int) -> dict[str, Any]:
    """Everything that the page shows of one results file.

    Args:
        summary: The content of summary.json.
        place: The position of the file on the page, from 0 on.
    """
    accuracy = (summary.get("metrics") or {}).get("accuracy") or {}
    return {
        "anchor": f"results-{place + 1}",
        "name": short_path(summary.get("results")) or f"results {place + 1}",
        "model": model_name(summary),
        "headline": _headline(summary, accuracy),
        "baselines": _baselines(summary, accuracy),
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
            _length(label, lengths)
            for key, label in _LENGTHS.items()
            if (lengths := (summary.get("lengths") or {}).get(key))
        ],
        "truncated": count_text(summary.get("n_truncated")),
        "manifest": manifest(summary),
        "methods": methods_text(summary),
        "checklist": checklist(summary),
    }


def overview(summaries: Sequence[Summary]) -> list[dict[str, Any]]:
    """A row for each file: its accuracy on a common scale, and its failures."""
    rows = []
    for place, summary in enumerate(summaries):
        accuracy = (summary.get("metrics") or {}).get("accuracy") or {}
        name = short_path(summary.get("results")) or f"results {place + 1}"
        rows.append(
            {
                **forest_row(name, {**accuracy, "n": summary.get("n")}),
                "anchor": f"results-{place + 1}",
                "model": model_name(summary),
                "protocol": one_line(summary.get("protocol")),
                "failures": [count_text(summary.get(key)) for key in _FAILURES],
            }
        )
    return rows


def model_name(summary: Summary) -> str:
    """The model's name in the run's metadata, or "model not named"."""
    return short_path((summary.get("meta") or {}).get("model")) or "model not named"


def _headline(summary: Summary, accuracy: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracy, the number of questions, and how many of them have no usable answer."""
    n, value = summary.get("n"), accuracy.get("value")
    # accuracy is the mean of n values that are 0 or 1; its product with n is whole but for rounding
    n_correct = round(value * n) if isinstance(n, int) and value is not None else None
    counts = [
        ("without a readable answer", summary.get("n_unparsed")),
        ("where the model declined to answer", summary.get("n_refused")),
        ("that the rules cannot judge", summary.get("n_undecided")),
        ("cut off at the token limit", summary.get("n_truncated")),
        ("failed before an answer", summary.get("n_error")),
    ]
    return {
        "value": percent(value),
        "interval": interval_of(accuracy),
        "method": one_line(accuracy.get("method")),
        "reason": one_line(accuracy.get("reason"), 300),
        "n": count_text(n),
        "correct": count_text(n_correct) if n_correct is not None else None,
        "about": question_subjects(summary),
        "protocol": one_line(summary.get("protocol")) or "not stated",
        "counts": [(label, count_text(k), _share_of(k, n)) for label, k in counts if k is not None],
    }


def _share_of(part: Any, whole: Any) -> str:
    """A part in percent of the whole; empty if one of them is not known."""
    return percent(part / whole) if isinstance(part, int) and whole else ""


def _baselines(summary: Summary, accuracy: Mapping[str, Any]) -> dict[str, Any] | None:
    """Accuracy beside that of chance, of blind predictors, and of the model without the image.

    None if the summary has none of these.
    """
    blind = summary.get("blind") or {}
    chance, best = blind.get("chance"), blind.get("best") or {}
    ablation = summary.get("image_ablation") or {}
    if chance is None and best.get("value") is None and not ablation:
        return None
    image_gain = blind.get("image_gain") or {}
    gain = image_gain.get("value")
    # the same model without the image comes before models that never see one
    rows = [forest_row("this model", accuracy)]
    if ablation:
        kind = one_line(ablation.get("ablation"), 20)
        rows.append(
            forest_row(f"this model, no image ({kind})", ablation["accuracy_without_image"])
        )
    for name, metric in (blind.get("predictors") or {}).items():
        label = PREDICTORS.get(name, one_line(name, 60))
        rows.append(forest_row(f"without image: {label}", metric))
    if chance is not None:
        row = forest_row("chance (random guessing)", {"value": chance, "n": best.get("n")})
        rows.append(row)
    if needed := blind.get("image_needed"):
        note = "items that no predictor without image answers correctly where it is above chance"
        rows.append(forest_row("this model, on items that need an image", needed, note))
    return {
        "rows": rows,
        "gain": f"{100 * gain:+z.1f} percentage points" if gain is not None else None,
        "gain_interval": interval_of(image_gain, signed=True),
        "image_ablation": _ablation_sentence(ablation),
    }


def _ablation_sentence(ablation: Mapping[str, Any]) -> str | None:
    """What the image adds to this model's accuracy, in a sentence; None if it is not known."""
    gain, same = ablation.get("ablation_gain") or {}, ablation.get("same_answer") or {}
    if gain.get("value") is None or same.get("value") is None:
        return None
    bounds = interval_of(gain, signed=True)
    return (
        f"The image changes this model's accuracy by {100 * gain['value']:+z.1f} percentage points"
        f"{f' (95 % CI {bounds})' if bounds else ''}; {percent(same['value'])} of the answers are "
        "the same without it."
    )


def _metric(name: str, metric: Mapping[str, Any] | None) -> dict[str, Any]:
    known = METRICS.get(name)
    label, meaning = (known.label, known.meaning) if known else (one_line(name, 60), "")
    entry = metric or {}
    return {
        **forest_row(label, entry),
        "meaning": meaning,
        "signature": one_line(entry.get("signature"), 200),
        "method": one_line(entry.get("method")),
    }


def forest_row(name: str, metric: Mapping[str, Any] | None, note: str = "") -> dict[str, Any]:
    """A row of a forest plot: its numbers, and where its point and interval lie in pixels.

    Args:
        name: The label at the left.
        metric: A share with its interval. Without a value, the row shows the reason.
        note: A few words that explain the name.
    """
    entry = metric or {}
    value, ci95 = entry.get("value"), entry.get("ci95")
    reason = one_line(entry.get("reason") or "not computed", 300)
    return {
        "name": one_line(name),
        "note": one_line(note, 200),
        "value": percent(value),
        "interval": interval_of(entry),
        "reason": "" if value is not None else reason,
        "n": count_text(entry.get("n")) if entry.get("n") is not None else "",
        "x": plot_x(value),
        "x_low": plot_x(ci95[0]) if ci95 else None,
        "x_high": plot_x(ci95[1]) if ci95 else None,
    }


def plot_x(share: float | None) -> float | None:
    """The place of a share in a row of a forest plot, in pixels; None for None."""
    if share is None:
        return None
    return round(MARGIN + min(1.0, max(0.0, share)) * (PLOT_WIDTH - 2 * MARGIN), 1)


def _groups(summary: Summary, accuracy: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A forest plot for each kind of group, such as modality, with the mean of the groups last."""
    plots = []
    chance = (summary.get("blind") or {}).get("chance")
    for kind, groups in (summary.get("groups") or {}).items():
        if not groups:
            continue
        all_groups = list(groups.items())
        shown_groups = all_groups
        if len(all_groups) > MAX_GROUPS:  # the largest, in the order of the file
            sizes = sorted((g.get("n") or 0 for _, g in all_groups), reverse=True)
            smallest = sizes[MAX_GROUPS - 1]
            large = [pair for pair in all_groups if (pair[1].get("n") or 0) >= smallest]
            shown_groups = large[:MAX_GROUPS]
        macro = (summary.get("macro") or {}).get(kind) or {}
        plots.append(
            {
                "kind": one_line(str(kind).replace("_", " "), 60),
                "rows": [_group(name, group) for name, group in shown_groups],
                "left_out": len(all_groups) - len(shown_groups),
                "macro": forest_row("mean of the groups", {**macro, "n": None})
                if macro.get("value") is not None
                else None,
                "overall": plot_x(accuracy.get("value")),
                "chance": plot_x(chance),
            }
        )
    return plots


def _group(name: str, group: Mapping[str, Any]) -> dict[str, Any]:
    metric = (group.get("metrics") or {}).get("accuracy") or {}
    return {
        **forest_row(name or "(empty)", {**metric, "n": group.get("n", metric.get("n"))}),
        "unparsed": count_text(group.get("n_unparsed")),
    }


def _finding(finding: Mapping[str, Any]) -> dict[str, Any]:
    """One finding, such as pneumonia, with its sensitivity, specificity and predictive values."""

    def cell(name: str) -> dict[str, str]:
        metric = finding.get(name) or {}
        reason = "" if metric.get("value") is not None else one_line(metric.get("reason"), 200)
        return {
            "value": percent(metric.get("value")),
            "interval": interval_of(metric),
            "reason": reason,
        }

    names = ("prevalence", "sensitivity", "specificity", "ppv", "npv")
    return {
        "name": one_line(finding.get("finding"), 80),
        "positive": one_line(finding.get("positive"), 40),
        "n": count_text(finding.get("n")),
        "n_positive": count_text(finding.get("n_positive")),
        "n_unanswered": count_text(finding.get("n_unanswered")),
        "cells": [cell(name) for name in names],
    }


def _shares(
    counts: Mapping[str, int] | None, n: Any, words: Mapping[str, str]
) -> list[dict[str, str]]:
    """How often each kind occurs, the most frequent first, without those that never do.

    `words` are the notes that explain the kinds.
    """
    present = [(kind, k) for kind, k in (counts or {}).items() if k]
    return [
        {
            "name": one_line(kind.replace("_", " "), 60),
            "note": words.get(kind, ""),
            "count": count_text(k),
            "share": _share_of(k, n),
        }
        for kind, k in sorted(present, key=lambda pair: (-pair[1], pair[0]))[:MAX_GROUPS]
    ]


def _length(label: str, lengths: Mapping[str, Any]) -> dict[str, Any]:
    """The lengths of the completions: mean, median and so on, and a histogram in pixels."""
    numbers = [
        (name, f"{lengths[key]:,.0f}")
        for key, name in (("mean", "mean"), ("median", "median"), ("p95", "95th percentile"))
        if lengths.get(key) is not None
    ]
    if lengths.get("max") is not None:
        numbers.append(("longest", f"{lengths['max']:,.0f}"))
    bins = _merged(lengths.get("histogram") or ())
    most = max((n for _, _, n in bins), default=0)
    step = CHART_WIDTH / max(1, len(bins))
    bars = [
        {
            "x": round(i * step, 1),
            "y": round(CHART_HEIGHT * (1 - n / most), 1) if most else CHART_HEIGHT,
            "width": round(max(1.0, step - 1), 1),
            "height": round(CHART_HEIGHT * n / most, 1) if most else 0,
            "description": f"{low:,.0f} to {high:,.0f}: {n:,}",
        }
        for i, (low, high, n) in enumerate(bins)
    ]
    return {
        "label": label,
        "n": count_text(lengths.get("n")),
        "numbers": numbers,
        "bars": bars,
        "most": count_text(most),
        "first": f"{bins[0][0]:,.0f}" if bins else "",
        "last": f"{bins[-1][1]:,.0f}" if bins else "",
    }


def _merged(histogram: Iterable[Sequence[float]]) -> list[tuple[float, float, int]]:
    """(from, to, number) of at most MAX_BARS bins: neighbours are joined if there are more."""
    bins = [(low, high, int(n)) for low, high, n in histogram]
    size = -(-len(bins) // MAX_BARS) or 1  # how many bins become one, rounded up
    parts = [bins[start : start + size] for start in range(0, len(bins), size)]
    return [(part[0][0], part[-1][1], sum(n for _, _, n in part)) for part in parts]


def manifest(summary: Summary) -> list[tuple[str, str]]:
    """Name and value of what is known about the run and the data, with the full hashes."""
    meta = summary.get("meta") or {}
    entries = [
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
    return [(name, visible(value, 1000)) for name, value in entries if value not in (None, "")]


def _pairs(values: Any) -> str:
    """ "max new tokens 512, do sample False" of a dictionary; another value as text."""
    if not isinstance(values, Mapping):
        return "" if values is None else str(values)
    return ", ".join(f"{str(key).replace('_', ' ')} {value}" for key, value in values.items())
