"""robustness.html: how perturbed images and reworded questions change accuracy, as one page.

It shows small charts by severity, examples on one of the user's own images, all numbers, and a
methods paragraph for a paper. The page opens offline and has no script. All text from files is
escaped by the template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medr1.report.charts.severity import CHART, severity_charts
from medr1.report.pages.page import asset, csp_hash, template
from medr1.report.pages.sanitize import count_text, interval_of, one_line, visible
from medr1.report.pages.summary import manifest, model_name
from medr1.report.pages.thumbnails import data_uri
from medr1.report.terminal.comparison import UNADJUSTED, is_significant, p_text
from medr1.report.terminal.robustness import headline_sentence, sentences, worst_first
from medr1.report.terminal.tables import interval_text, percent

Document = Mapping[str, Any]
"""robustness.json, or a part of it: a perturbation, or a cell (a perturbation at one severity)."""
Thumbnails = Mapping[tuple[str, int], bytes | str]
"""(perturbation, severity) -> JPEG, or a sentence that says why there is none."""


def robustness_html(
    document: Document, *, thumbnails: Thumbnails, burned_in: str | None = None
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
        title=model_name(document),
        style=style,
        style_hash=csp_hash(style),
        headline=_headline(document),
        sentences=sentences(document),
        warnings=[visible(text, 600) for text in document["warnings"]],
        charts=severity_charts(document),
        unadjusted=UNADJUSTED,
        table=_table(document, perturbations),
        examples=_examples(perturbations, thumbnails),
        burned_in=burned_in,
        original=data_uri(original) if isinstance(original, bytes) else None,
        no_original=one_line(original, 500) if isinstance(original, str) else None,
        groups=_groups(document, perturbations),
        left_out=_left_out(document, perturbations),
        definitions=[_definition(perturbation) for perturbation in perturbations],
        methods=methods(document),
        manifest=manifest(document),
        version=__version__,
        chart=CHART,
    )


def _headline(document: Document) -> dict[str, Any]:
    """The numbers at the top of the page."""
    mean, original = document["mean_corruption_accuracy"], document["clean"]["accuracy"]
    blind = document["blind"].get("accuracy") or {}
    interval = f"95 % CI {interval_of(mean)} %" if mean["ci95"] else one_line(mean.get("reason"))
    unit = one_line(document["clusters"]["unit"])
    return {
        "known": original["value"] is not None,
        "value": percent(mean["value"]),
        "under": interval,
        "clean": _with_interval(original),
        "blind": _with_interval(blind) if blind else "not asked",
        "n": count_text(document["n"]),
        "clusters": f"{count_text(document['clusters']['n'])} {unit}s",
        "sentence": headline_sentence(document),
    }


def _with_interval(metric: Document) -> str:
    """Such as "75.0 % (63.6 to 86.8)"."""
    interval = interval_of(metric)
    return percent(metric["value"]) + (f" ({interval})" if interval else "")


# --- tables -----------------------------------------------------------------------------------


def _table(document: Document, perturbations: Sequence[Document]) -> list[dict[str, Any]]:
    """The rows of each perturbation, one for each severity, and the grey image last."""
    table = [
        {
            "name": one_line(perturbation["title"], 60),
            "rows": [_row(cell) for cell in perturbation["cells"]],
        }
        for perturbation in perturbations
    ]
    if "accuracy" in document["blind"]:
        rows = [_row({"severity": "", **document["blind"]})]
        table.append({"name": "Grey image", "rows": rows})
    return table


def _row(cell: Document) -> dict[str, Any]:
    difference = cell["difference"]
    row = {
        "severity": str(cell["severity"]),
        "n": count_text(cell["n"]),
        "reason": one_line(difference.get("reason"), 200) if difference["value"] is None else "",
    }
    if row["reason"]:
        return row
    return {
        **row,
        "accuracy": percent(cell["accuracy"]["value"]),
        "accuracy_interval": interval_of(cell["accuracy"]),
        "difference": f"{100 * difference['value']:+z.1f}",
        "difference_interval": interval_of(difference, signed=True),
        "p": p_text(cell["p_holm"]) if "p_holm" in cell else "",
        "significant": is_significant(cell),
        "flips": percent(cell["flip_rate"]["value"]),
        "flips_interval": interval_of(cell["flip_rate"]),
        "lost": percent(cell["right_to_wrong"]["value"]),
        "won": percent(cell["wrong_to_right"]["value"]),
        "confidence": percent(cell["confidence"]["value"]),
        "ece": percent(cell["ece"]["value"]),
    }


def _examples(perturbations: Sequence[Document], thumbnails: Thumbnails) -> list[dict[str, Any]]:
    """The example image under each perturbation of images, at severity 1, 3 and 5."""
    rows = []
    for perturbation in perturbations:
        by_severity = {
            severity: data_uri(jpeg)
            for (kind, severity), jpeg in thumbnails.items()
            if kind == perturbation["name"] and isinstance(jpeg, bytes)
        }
        if by_severity:  # not for perturbations of the question
            images = [(severity, by_severity.get(severity)) for severity in (1, 3, 5)]
            rows.append({"name": one_line(perturbation["title"], 60), "images": images})
    return rows


def _groups(document: Document, perturbations: Sequence[Document]) -> dict[str, Any] | None:
    """A row for each modality with the change at each perturbation's highest severity."""
    groups = document["groups"]["modality"]
    if not groups:
        return None
    kinds = [perturbation for perturbation in perturbations if perturbation["cells"]]
    rows = []
    for name, group in groups.items():
        highest = [group["differences"][kind["name"]][-1] for kind in kinds]
        rows.append(
            {
                "name": one_line(name, 60),
                "n": count_text(group["n"]),
                "accuracy": percent(group["accuracy"]["value"]),
                "cells": [
                    (f"{100 * m['value']:+z.1f}", interval_text(m["ci95"], True), _shade(m))
                    if m["value"] is not None
                    else ("-", "", 0)
                    for m in highest
                ],
            }
        )
    heads = [f"{kind['title']} {kind['cells'][-1]['severity']}" for kind in kinds]
    return {"kinds": [one_line(head, 60) for head in heads], "rows": rows}


def _shade(metric: Document) -> int:
    """A cell's colour, 0 to 10: a loss of 50 points or more has the strongest.

    A loss that is not significant has no colour, and a gain has none either.
    """
    if not is_significant(metric):
        return 0
    return round(10 * min(1.0, max(0.0, -2 * metric["value"])))


def _left_out(document: Document, perturbations: Sequence[Document]) -> list[str]:
    """For each perturbation, how many items were left out of it and why."""
    titles = {p["name"]: p["title"] for p in perturbations}
    titles = {"none": "Not asked at all", **titles}
    return [
        f"{one_line(titles.get(kind, kind), 60)}: "
        + ", ".join(f"{count_text(n)} {one_line(reason, 100)}" for reason, n in reasons.items())
        for kind, reasons in document["left_out"].items()
    ]


def _definition(perturbation: Document) -> dict[str, str]:
    """What the perturbation's number means, its value at each severity, and its source."""
    cells = perturbation["cells"] if perturbation["is_scale"] else ()
    parameter = perturbation["parameter"]
    return {
        "title": one_line(perturbation["title"], 60),
        "parameter": one_line(parameter, 100) if perturbation["is_scale"] else "",
        "numbers": ", ".join(f"{cell['severity']}: {cell['parameter']:g}" for cell in cells),
        "source": one_line(perturbation["source"], 200),
    }


def methods(document: Document) -> str:
    """A methods paragraph for a paper: what was done, with what, and the main results."""
    meta = document["meta"]
    names = [perturbation["title"].lower() for perturbation in document["perturbations"]]
    mean, original = document["mean_corruption_accuracy"], document["clean"]["accuracy"]
    drop = document["mean_relative_drop"]
    versions = meta.get("versions") or {}
    unit = one_line(document["clusters"]["unit"])
    severities = (
        "; the parameters of the severities are those of ImageNet-C (Hendrycks and Dietterich, "
        "2019) or medr1's own, as listed"
        if any(perturbation["is_scale"] for perturbation in document["perturbations"])
        else ""
    )
    text = (
        f"Robustness was measured with medr1 {one_line(versions.get('medr1', ''), 20)} on "
        f"{count_text(document['n'])} questions about {count_text(document['clusters']['n'])} "
        f"{unit}s of {one_line(meta.get('data', 'the data'), 60)} "
        f"(model {model_name(document)}, SHA-256 {one_line(meta.get('model_sha256', ''))[:12]}; "
        f"prompt {one_line(meta.get('prompt'), 40)}; seed {meta.get('seed')}). Each question was "
        f"asked in its original form and under {', '.join(names)}{severities}. Items whose ground "
        "truth a perturbation could change were left out of it. Changes are relative to the same "
        f"items in their original form, with 95 % confidence intervals by a paired bootstrap over "
        f"{unit}s, not adjusted for the number of comparisons. Significance was decided by exact "
        "sign-flip tests with Holm's correction (p < 0.05)."
    )
    if original["value"] is not None:
        text += f" Accuracy was {_with_interval(original)} on the original questions"
        blind = document["blind"].get("accuracy") or {}
        if blind.get("value") is not None:
            text += f" and {_with_interval(blind)} with a grey image"
        text += "."
    if mean["value"] is not None:
        text += f" Mean corruption accuracy was {_with_interval(mean)}"
        text += f", a relative drop of {_with_interval(drop)}" if drop["value"] is not None else ""
        text += "."
    return text
