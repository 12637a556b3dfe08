"""robustness.html: how perturbed images and reworded questions change accuracy, as one page.

It shows small charts by severity, examples on one of the user's own images, all numbers, and a
methods paragraph for a paper. The page opens offline and has no script. All text from files is
escaped by the template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medr1.documents.metric import Metric, Missing, value_of
from medr1.documents.robustness import (
    GroupDifference,
    PerturbationResult,
    Robustness,
    RobustnessCell,
)
from medr1.report.charts.severity import CHART, parameter_text, severity_charts
from medr1.report.pages.page import asset, csp_hash, template
from medr1.report.pages.sanitize import count_text, interval_of, one_line, visible
from medr1.report.pages.summary import manifest, model_name
from medr1.report.pages.thumbnails import data_uri
from medr1.report.terminal.comparison import UNADJUSTED, is_significant, p_text
from medr1.report.terminal.robustness import headline_sentence, sentences, worst_first
from medr1.report.terminal.tables import percent

Thumbnails = Mapping[tuple[str, int], bytes | str]
"""(perturbation, severity) -> JPEG, or a sentence that says why there is none."""


def robustness_html(
    document: Robustness, *, thumbnails: Thumbnails, burned_in: str | None = None
) -> str:
    """The page as HTML.

    Args:
        document: robustness.json (`evaluate.trust.robustness.robustness`).
        thumbnails: One example image under each perturbation, from `perturbed_thumbnails`.
        burned_in: A warning that there may be text, such as a name, in the example image.
    """
    from medr1 import __version__

    style = asset("report.css")
    perturbations = worst_first(document)
    original = thumbnails.get(("none", 0))
    return template("robustness.html").render(
        title=model_name(document.meta),
        style=style,
        style_hash=csp_hash(style),
        headline=_headline(document),
        sentences=sentences(document),
        warnings=[visible(text, 600) for text in document.warnings],
        charts=severity_charts(document),
        unadjusted=UNADJUSTED,
        table=_table(document, perturbations),
        examples=_examples(perturbations, thumbnails),
        burned_in=burned_in,
        original=data_uri(original) if isinstance(original, bytes) else None,
        no_original=one_line(original, 500) if isinstance(original, str) else None,
        groups=_groups(document, perturbations),
        excluded=_excluded(document, perturbations),
        definitions=[_definition(perturbation) for perturbation in perturbations],
        methods=methods(document),
        manifest=manifest(document.meta),
        version=__version__,
        chart=CHART,
    )


def _headline(document: Robustness) -> dict[str, object]:
    """The numbers at the top of the page."""
    mean, original = document.mean_corruption_accuracy, document.clean.accuracy
    grey = document.grey_image
    interval = f"95 % CI {interval_of(mean)} %" if mean.ci95 else one_line(mean.reason)
    unit = one_line(document.clusters.unit)
    return {
        "known": original.value is not None,
        "value": percent(mean.value),
        "under": interval,
        "clean": _with_interval(original),
        "grey_image": "not asked"
        if isinstance(grey, Missing)
        else _with_interval(grey.cell.accuracy),
        "n": count_text(document.n),
        "clusters": f"{count_text(document.clusters.n)} {unit}s",
        "sentence": headline_sentence(document.mean_relative_drop),
    }


def _with_interval(metric: Metric) -> str:
    """Such as "75.0 % (63.6 to 86.8)"."""
    interval = interval_of(metric)
    return percent(metric.value) + (f" ({interval})" if interval else "")


# --- tables -----------------------------------------------------------------------------------


def _table(
    document: Robustness, perturbations: Sequence[PerturbationResult]
) -> list[dict[str, object]]:
    """The rows of each perturbation, one for each severity, and the grey image last."""
    table: list[dict[str, object]] = [
        {
            "name": one_line(perturbation.title, 60),
            "rows": [_row(str(cell.severity), cell) for cell in perturbation.cells],
        }
        for perturbation in perturbations
    ]
    if not isinstance(document.grey_image, Missing):
        table.append({"name": "Grey image", "rows": [_row("", document.grey_image.cell)]})
    return table


def _row(severity: str, cell: RobustnessCell) -> dict[str, object]:
    difference = cell.difference
    row = {"severity": severity, "n": count_text(cell.n), "reason": ""}
    if difference.value is None:
        return {**row, "reason": one_line(difference.reason, 200)}
    return {
        **row,
        "accuracy": percent(cell.accuracy.value),
        "accuracy_interval": interval_of(cell.accuracy),
        "difference": f"{100 * difference.value:+z.1f}",
        "difference_interval": interval_of(difference, signed=True),
        "p": p_text(cell.p_holm),
        "significant": is_significant(cell),
        "flips": percent(cell.flip_rate.value),
        "flips_interval": interval_of(cell.flip_rate),
        "lost": percent(cell.right_to_wrong.value),
        "won": percent(cell.wrong_to_right.value),
        "confidence": percent(cell.confidence.value),
        "ece": percent(cell.ece.value),
    }


def _examples(
    perturbations: Sequence[PerturbationResult], thumbnails: Thumbnails
) -> list[dict[str, object]]:
    """The example image under each perturbation of images, at severity 1, 3 and 5."""
    rows: list[dict[str, object]] = []
    for perturbation in perturbations:
        by_severity = {
            severity: data_uri(jpeg)
            for (kind, severity), jpeg in thumbnails.items()
            if kind == perturbation.name and isinstance(jpeg, bytes)
        }
        if by_severity:  # not for perturbations of the question
            images = [(severity, by_severity.get(severity)) for severity in (1, 3, 5)]
            rows.append({"name": one_line(perturbation.title, 60), "images": images})
    return rows


def _groups(
    document: Robustness, perturbations: Sequence[PerturbationResult]
) -> dict[str, object] | None:
    """A row for each modality with the change at each perturbation's highest severity."""
    groups = document.groups["modality"]
    if not groups:
        return None
    kinds = [perturbation for perturbation in perturbations if perturbation.cells]
    rows = [
        {
            "name": one_line(name, 60),
            "n": count_text(group.n),
            "accuracy": percent(group.accuracy.value),
            "cells": [_group_cell(group.differences[kind.name][-1]) for kind in kinds],
        }
        for name, group in groups.items()
    ]
    heads = [f"{kind.title} {kind.cells[-1].severity}" for kind in kinds]
    return {"kinds": [one_line(head, 60) for head in heads], "rows": rows}


def _group_cell(change: GroupDifference) -> tuple[str, str, int]:
    """A change of accuracy in points, its interval, and its colour."""
    difference = change.difference
    if difference.value is None:
        return "-", "", 0
    points = f"{100 * difference.value:+z.1f}"
    return points, interval_of(difference, signed=True), _shade(change)


def _shade(change: GroupDifference) -> int:
    """A cell's colour, 0 to 10: a loss of 50 points or more has the strongest.

    A loss that is not significant has no colour, and a gain has none either.
    """
    if not is_significant(change):
        return 0
    return round(10 * min(1.0, max(0.0, -2 * value_of(change.difference))))


def _excluded(document: Robustness, perturbations: Sequence[PerturbationResult]) -> list[str]:
    """For each perturbation, how many items were left out of it and why."""
    titles = {perturbation.name: perturbation.title for perturbation in perturbations}
    titles = {"none": "Not asked at all", **titles}
    return [
        f"{one_line(titles.get(kind, kind), 60)}: "
        + ", ".join(f"{count_text(n)} {one_line(reason, 100)}" for reason, n in reasons.items())
        for kind, reasons in document.excluded.items()
    ]


def _definition(perturbation: PerturbationResult) -> dict[str, str]:
    """What the perturbation's number means, its value at each severity, and its source."""
    cells = perturbation.cells if perturbation.is_scale else []
    return {
        "title": one_line(perturbation.title, 60),
        "parameter": one_line(perturbation.parameter, 100) if perturbation.is_scale else "",
        "numbers": ", ".join(f"{cell.severity}: {parameter_text(cell)}" for cell in cells),
        "source": one_line(perturbation.source, 200),
    }


def methods(document: Robustness) -> str:
    """A methods paragraph for a paper: what was done, with what, and the main results."""
    meta, grey = document.meta, document.grey_image
    names = [perturbation.title.lower() for perturbation in document.perturbations]
    mean, original = document.mean_corruption_accuracy, document.clean.accuracy
    drop = document.mean_relative_drop
    versions = meta.get("versions")
    medr1_version = versions.get("medr1") if isinstance(versions, Mapping) else None
    unit = one_line(document.clusters.unit)
    severities = (
        "; the parameters of the severities are those of ImageNet-C (Hendrycks and Dietterich, "
        "2019) or medr1's own, as listed"
        if any(perturbation.is_scale for perturbation in document.perturbations)
        else ""
    )
    text = (
        f"Robustness was measured with medr1 {one_line(medr1_version, 20)} on "
        f"{count_text(document.n)} questions about {count_text(document.clusters.n)} "
        f"{unit}s of {one_line(meta.get('data', 'the data'), 60)} "
        f"(model {model_name(meta)}, SHA-256 {one_line(meta.get('model_sha256', ''))[:12]}; "
        f"prompt {one_line(meta.get('prompt'), 40)}; seed {meta.get('seed')}). Each question was "
        f"asked in its original form and under {', '.join(names)}{severities}. Items whose ground "
        "truth a perturbation could change were left out of it. Changes are relative to the same "
        f"items in their original form, with 95 % confidence intervals by a paired bootstrap over "
        f"{unit}s, not adjusted for the number of comparisons. Significance was decided by exact "
        "sign-flip tests with Holm's correction (p < 0.05)."
    )
    if original.value is not None:
        text += f" Accuracy was {_with_interval(original)} on the original questions"
        if not isinstance(grey, Missing) and grey.cell.accuracy.value is not None:
            text += f" and {_with_interval(grey.cell.accuracy)} with a grey image"
        text += "."
    if mean.value is not None:
        text += f" Mean corruption accuracy was {_with_interval(mean)}"
        text += f", a relative drop of {_with_interval(drop)}" if drop.value is not None else ""
        text += "."
    return text
