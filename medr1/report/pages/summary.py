"""One summary.json as report.html's template needs it: texts, and positions in pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from msgspec.structs import replace

from medr1.documents.metric import Metric
from medr1.documents.summary import Blind, FindingMetrics, Group, ImageAblation, Length, Summary
from medr1.metrics.registry import METRICS
from medr1.report.pages.checklist import checklist
from medr1.report.pages.confusion import heat_table
from medr1.report.pages.expert_review import review_view
from medr1.report.pages.facets import LETTERS, TEXTS, Facets
from medr1.report.pages.judge import judge_view
from medr1.report.pages.methods import methods_text, question_subjects
from medr1.report.pages.reasoning import reasoning_view
from medr1.report.pages.sanitize import count_text, interval_of, one_line, short_path, visible
from medr1.report.pages.trust import trust_view
from medr1.report.protocol_words import RULES, difference_text
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
_PROTOCOLS = {
    "default": "any clear answer counts",
    "strict": "exactly one answer block",
    "authors-counting": "the original's rule for counting: the integer in the first answer block",
    "authors-geometry": "the original's rule for geometry: math-verify on the whole completion",
    "authors-vqa": "the original's rule: the word in the first answer block",
    "authors-nothink": "the original's rule without reasoning",
}
"""Protocol -> what counts as an answer."""


def summary_view(summary: Summary, place: int, facets: Facets) -> dict[str, object]:
    """Everything that the page shows of one results file.

    Args:
        summary: The content of summary.json.
        place: The position of the file on the page, from 0 on.
        facets: What the gallery can be filtered by, for links to the items of groups and cells.
    """
    link = partial(facets.link, summary.results)
    return {
        "anchor": f"results-{place + 1}",
        "name": short_path(summary.results) or f"results {place + 1}",
        "model": model_name(summary.meta),
        "headline": _headline(summary),
        "baselines": _baselines(summary),
        "warnings": [visible(text, 600) for text in summary.warnings[:MAX_WARNINGS]],
        "metrics": [_metric(name, metric) for name, metric in summary.metrics.items()],
        "protocols": [
            forest_row(name, metric, note=_PROTOCOLS.get(name, ""))
            for name, metric in summary.protocols.items()
        ],
        "protocol_rows": _protocol_rows(summary),
        "judge": judge_view(summary.judge) if summary.judge else None,
        "review": review_view(summary.review) if summary.review else None,
        "reasoning": reasoning_view(summary.reasoning),
        "groups": _groups(summary, link),
        "trust": trust_view(summary),
        "findings": [_finding(finding) for finding in summary.findings[:MAX_GROUPS]],
        "confusion": heat_table(summary.confusion, partial(link, LETTERS)),
        "confusion_text": heat_table(summary.confusion_text, partial(link, TEXTS)),
        "unanswered": _shares(summary.unanswered, summary.n, _UNANSWERED),
        "extraction": _shares(summary.extraction_methods, summary.n, {}),
        "lengths": [
            _length(label, lengths)
            for label, lengths in (
                ("tokens", summary.lengths.num_tokens),
                ("characters", summary.lengths.characters),
            )
            if lengths is not None
        ],
        "truncated": count_text(summary.n_truncated),
        "manifest": manifest(summary.meta, summary.results, summary.sha256, summary.date or None),
        "methods": methods_text(summary),
        "checklist": checklist(summary),
    }


def _protocol_rows(summary: Summary) -> list[dict[str, object]]:
    """In what each protocol of --protocol all differs from `default`; empty without it."""
    return [
        {
            "name": name,
            "rule": RULES.get(name, ""),
            "n": count_text(row.accuracy.n),
            "no_answer": count_text(row.n_without_answer),
            "differ": count_text(row.n_lost + row.n_gained),
            "score": percent(row.score.value) if row.score else "",
            "difference": difference_text(row),
        }
        for name, row in (summary.protocol_rows or {}).items()
    ]


def overview(summaries: Sequence[Summary]) -> list[dict[str, object]]:
    """A row for each file: its accuracy on a common scale, and its failures."""
    rows = []
    for place, summary in enumerate(summaries):
        name = short_path(summary.results) or f"results {place + 1}"
        failures = (summary.n_unparsed, summary.n_truncated, summary.n_error)
        rows.append(
            {
                **forest_row(name, replace(summary.metrics["accuracy"], n=summary.n)),
                "anchor": f"results-{place + 1}",
                "model": model_name(summary.meta),
                "protocol": one_line(summary.protocol),
                "failures": list(map(count_text, failures)),
            }
        )
    return rows


def model_name(meta: Mapping[str, object]) -> str:
    """The model's name in the run's metadata, or "model not named"."""
    return short_path(meta.get("model")) or "model not named"


def _headline(summary: Summary) -> dict[str, object]:
    """Accuracy, the number of questions, and how many of them have no usable answer."""
    n, accuracy = summary.n, summary.metrics["accuracy"]
    # accuracy is the mean of n values that are 0 or 1; its product with n is whole but for rounding
    n_correct = round(accuracy.value * n) if accuracy.value is not None else None
    counts = (
        ("without a readable answer", summary.n_unparsed),
        ("where the model declined to answer", summary.n_refused),
        ("that the rules cannot judge", summary.n_undecided),
        ("cut off at the token limit", summary.n_truncated),
        ("failed before an answer", summary.n_error),
    )
    return {
        "value": percent(accuracy.value),
        "interval": interval_of(accuracy),
        "method": one_line(accuracy.method),
        "reason": one_line(accuracy.reason, 300),
        "n": count_text(n),
        "correct": count_text(n_correct) if n_correct is not None else None,
        "about": question_subjects(summary),
        "protocol": one_line(summary.protocol),
        "counts": [(label, count_text(k), _share_of(k, n)) for label, k in counts],
    }


def _share_of(part: int, n: int) -> str:
    """A part in percent of n; empty if n is 0."""
    return percent(part / n) if n else ""


def _baselines(summary: Summary) -> dict[str, object] | None:
    """Accuracy beside that of chance, of blind predictors, and of the model without the image.

    None if the summary has none of these.
    """
    blind, ablations, accuracy = summary.blind, summary.ablations, summary.metrics["accuracy"]
    has_blind = blind is not None and not (blind.chance is None and blind.best.value is None)
    if not has_blind and not ablations:
        return None
    # the same model without the image comes before models that never see one
    rows = [forest_row("this model", accuracy)]
    for ablation in ablations:
        kind = one_line(ablation.ablation, 20)
        rows.append(forest_row(f"this model, no image ({kind})", ablation.accuracy_without_image))
    gain = gain_interval = None
    if blind is not None:
        rows += _blind_rows(blind)
        gain = points(blind.image_gain.value)
        gain_interval = interval_of(blind.image_gain, signed=True)
    return {
        "rows": rows,
        "gain": gain,
        "gain_interval": gain_interval or "",
        "image_ablation": _ablation_sentence(ablations[0]) if ablations else None,
        "dependence": [row for ablation in ablations for row in _dependence_rows(ablation)],
    }


def _dependence_rows(ablation: ImageAblation) -> Iterator[dict[str, object]]:
    """The rows of the table "Dependence on the image" for one ablation."""
    gain = "Visual reliance" if ablation.visual_reliance else "Gain by the image"
    metrics = (
        (gain, ablation.ablation_gain, True),
        ("Image sensitivity: answers that change", ablation.image_sensitivity, False),
        ("Completions that claim to see something", ablation.visual_claims, False),
        (
            "Hallucinated visual reasoning: such a claim, and the same answer without the image",
            ablation.hallucinated_visual_reasoning,
            False,
        ),
    )
    for name, metric, signed in metrics:
        yield {
            "name": name,
            "kind": one_line(ablation.ablation, 20),
            "value": percent(metric.value, signed),
            "interval": interval_of(metric, signed=signed) or metric.reason or "",
            "n": metric.n,
        }


def _blind_rows(blind: Blind) -> list[dict[str, object]]:
    """The rows of the predictors without the image, of chance, and of items that need an image."""
    rows = []
    for name, metric in blind.predictors.items():
        label = PREDICTORS.get(name, one_line(name, 60))
        rows.append(forest_row(f"without image: {label}", metric))
    if blind.chance is not None:
        metric = Metric(value=blind.chance, ci95=None, n=blind.best.n)
        rows.append(forest_row("chance (random guessing)", metric))
    note = "items that no predictor without image answers correctly where it is above chance"
    rows.append(forest_row("this model, on items that need an image", blind.image_needed, note))
    return rows


def points(difference: float | None) -> str | None:
    """A difference of shares in words, such as "+2.0 percentage points"; None for None."""
    return f"{100 * difference:+z.1f} percentage points" if difference is not None else None


def _ablation_sentence(ablation: ImageAblation) -> str | None:
    """What the image adds to this model's accuracy, in a sentence; None if it is not known."""
    gain, same = points(ablation.ablation_gain.value), ablation.same_answer.value
    if gain is None or same is None:
        return None
    bounds = interval_of(ablation.ablation_gain, signed=True)
    return (
        f"The image changes this model's accuracy by {gain}"
        f"{f' (95 % CI {bounds})' if bounds else ''}; {percent(same)} of the answers are "
        "the same without it."
    )


def _metric(name: str, metric: Metric) -> dict[str, object]:
    known = METRICS.get(name)
    label, meaning = (known.label, known.meaning) if known else (one_line(name, 60), "")
    return {
        **forest_row(label, metric),
        "meaning": meaning,
        "signature": one_line(metric.signature, 200),
        "method": one_line(metric.method),
    }


def forest_row(name: str, metric: Metric, note: str = "") -> dict[str, object]:
    """A row of a forest plot: its numbers, and where its point and interval lie in pixels.

    Args:
        name: The label at the left.
        metric: A share with its interval. Without a value, the row shows the reason.
        note: A few words that explain the name.
    """
    value, ci95 = metric.value, metric.ci95
    return {
        "name": one_line(name),
        "note": one_line(note, 200),
        "value": percent(value),
        "interval": interval_of(metric),
        "reason": "" if value is not None else one_line(metric.reason or "not computed", 300),
        "n": count_text(metric.n),
        "x": plot_x(value),
        "x_low": plot_x(ci95[0]) if ci95 else None,
        "x_high": plot_x(ci95[1]) if ci95 else None,
    }


def plot_x(share: float | None) -> float | None:
    """The place of a share in a row of a forest plot, in pixels; None for None."""
    if share is None:
        return None
    return round(MARGIN + min(1.0, max(0.0, share)) * (PLOT_WIDTH - 2 * MARGIN), 1)


def _groups(
    summary: Summary, link: Callable[[str, list[str]], str | None]
) -> list[dict[str, object]]:
    """A forest plot for each kind of group, such as modality, with the mean of the groups last.

    `link` makes the link to the items of a group, from "group KIND" and the names of groups.
    """
    plots: list[dict[str, object]] = []
    chance = summary.blind.chance if summary.blind else None
    for kind, groups in summary.groups.items():
        if not groups:
            continue
        all_groups = list(groups.items())
        visible_groups = all_groups
        if len(all_groups) > MAX_GROUPS:  # the largest, in the order of the file
            sizes = sorted((group.n for _, group in all_groups), reverse=True)
            smallest = sizes[MAX_GROUPS - 1]
            large = [(name, group) for name, group in all_groups if group.n >= smallest]
            visible_groups = large[:MAX_GROUPS]
        macro = summary.macro[kind].accuracy
        plots.append(
            {
                "kind": one_line(kind.replace("_", " "), 60),
                "rows": [
                    {**_group(name, group), "link": link(f"group {kind}", [name])}
                    for name, group in visible_groups
                ],
                "left_out": len(all_groups) - len(visible_groups),
                "macro": {**forest_row("mean of the groups", macro), "n": ""}
                if macro.value is not None
                else None,
                "overall": plot_x(summary.metrics["accuracy"].value),
                "chance": plot_x(chance),
            }
        )
    return plots


def _group(name: str, group: Group) -> dict[str, object]:
    return {
        **forest_row(name or "(empty)", replace(group.metrics["accuracy"], n=group.n)),
        "unparsed": count_text(group.n_unparsed),
    }


def _finding(finding: FindingMetrics) -> dict[str, object]:
    """One finding, such as pneumonia, with its sensitivity, specificity and predictive values."""

    def cell(metric: Metric) -> dict[str, str]:
        return {
            "value": percent(metric.value),
            "interval": interval_of(metric),
            "reason": "" if metric.value is not None else one_line(metric.reason, 200),
        }

    metrics = (
        *(finding.prevalence, finding.sensitivity, finding.specificity),
        *(finding.ppv, finding.npv),
    )
    return {
        "name": one_line(finding.finding, 80),
        "positive": one_line(finding.positive, 40),
        "n": count_text(finding.n),
        "n_positive": count_text(finding.n_positive),
        "n_unanswered": count_text(finding.n_unanswered),
        "cells": list(map(cell, metrics)),
    }


def _shares(counts: Mapping[str, int], n: int, words: Mapping[str, str]) -> list[dict[str, str]]:
    """How often each kind occurs, the most frequent first, without those that never do.

    `words` are the notes that explain the kinds.
    """
    present = [(kind, k) for kind, k in counts.items() if k]
    return [
        {
            "name": one_line(kind.replace("_", " "), 60),
            "note": words.get(kind, ""),
            "count": count_text(k),
            "share": _share_of(k, n),
        }
        for kind, k in sorted(present, key=lambda pair: (-pair[1], pair[0]))[:MAX_GROUPS]
    ]


def _length(label: str, lengths: Length) -> dict[str, object]:
    """The lengths of the completions: mean, median and so on, and a histogram in pixels."""
    numbers = [
        ("mean", f"{lengths.mean:,.0f}"),
        ("median", f"{lengths.median:,.0f}"),
        ("95th percentile", f"{lengths.p95:,.0f}"),
        ("longest", f"{lengths.max:,.0f}"),
    ]
    bins = _merged(lengths.histogram)
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
        "n": count_text(lengths.n),
        "numbers": numbers,
        "bars": bars,
        "most": count_text(most),
        "first": f"{bins[0][0]:,.0f}" if bins else "",
        "last": f"{bins[-1][1]:,.0f}" if bins else "",
    }


def _merged(bins: Sequence[tuple[float, float, int]]) -> list[tuple[float, float, int]]:
    """(from, to, number) of at most MAX_BARS bins: neighbours are joined if there are more."""
    size = -(-len(bins) // MAX_BARS) or 1  # how many bins become one, rounded up
    parts = [bins[start : start + size] for start in range(0, len(bins), size)]
    return [(part[0][0], part[-1][1], sum(n for _, _, n in part)) for part in parts]


def manifest(
    meta: Mapping[str, object],
    results: str | None = None,
    sha256: str | None = None,
    date: str | None = None,
) -> list[tuple[str, str]]:
    """Name and value of what is known about a run and its data, with the full hashes.

    Args:
        meta: How the results were made, as the file states it.
        results: The results file.
        sha256: Its SHA-256.
        date: When the run started, in ISO 8601.
    """
    entries = [
        ("results file", short_path(results)),
        ("results SHA-256", sha256),
        ("start of the run", date),
        ("model", short_path(meta.get("model"))),
        ("model SHA-256", meta.get("model_sha256")),
        ("data", short_path(meta.get("data"))),
        ("data SHA-256", meta.get("data_sha256")),
        ("prompt", meta.get("prompt")),
        ("prompt SHA-256", meta.get("prompt_sha256")),
        ("decoding", _pairs(meta.get("decoding"))),
        ("seed", meta.get("seed")),
        ("device", meta.get("device")),
        ("server", _pairs(meta.get("server"))),
        ("precision", meta.get("dtype")),
        ("quantization", meta.get("quantization")),
        ("versions", _pairs(meta.get("versions"))),
        ("questions in the run", meta.get("n")),
    ]
    return [(name, visible(value, 1000)) for name, value in entries if value not in (None, "")]


def _pairs(values: object) -> str:
    """ "max new tokens 512, do sample False" of a dictionary; another value as text."""
    if not isinstance(values, Mapping):
        return "" if values is None else str(values)
    return ", ".join(f"{str(key).replace('_', ' ')} {value}" for key, value in values.items())
