"""robustness.html: what perturbing pictures and questions costs, as a page that opens offline.

Small charts of accuracy, confidence and changed answers by severity, each perturbation on one of
the user's own pictures, the numbers, and a paragraph to cite. The page has no script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medr1.report.comparison import UNADJUSTED, is_shown, p_text
from medr1.report.page import asset, csp_hash, template
from medr1.report.robustness import headline_sentence, sentences, worst_first
from medr1.report.sanitize import count, interval, line, visible
from medr1.report.sections import manifest, model_name
from medr1.report.severity import CHART, severity_charts
from medr1.report.tables import interval_text, percent
from medr1.report.thumbnails import data_uri

Document = Mapping[str, Any]
Thumbnails = Mapping[tuple[str, int], bytes | str]


def robustness_html(
    document: Document, *, thumbnails: Thumbnails, burned_in: str | None = None
) -> str:
    """The page of a robustness.json document; `thumbnails` from `perturbed_thumbnails`.

    `burned_in` warns of text that may stand in the picture that is shown.
    """
    from medr1 import __version__

    style = asset("report.css")
    found = worst_first(document)
    original = thumbnails.get(("none", 0))
    return template("robustness.html").render(
        title=model_name(document),
        style=style,
        style_hash=csp_hash(style),
        headline=_headline(document),
        said=sentences(document),
        warnings=[visible(text, 600) for text in document["warnings"]],
        charts=severity_charts(document),
        unadjusted=UNADJUSTED,
        table=_table(document, found),
        examples=_examples(found, thumbnails),
        burned_in=burned_in,
        original=data_uri(original) if isinstance(original, bytes) else None,
        no_original=line(original, 500) if isinstance(original, str) else None,
        groups=_groups(document, found),
        left_out=_left_out(document, found),
        definitions=[_definition(one) for one in found],
        methods=methods(document),
        manifest=manifest(document),
        version=__version__,
        chart=CHART,
    )


def _headline(document: Document) -> dict[str, Any]:
    mean, clean = document["mean_corruption_accuracy"], document["clean"]["accuracy"]
    blind = document["blind"].get("accuracy") or {}
    return {
        "known": clean["value"] is not None,
        "value": percent(mean["value"]),
        "under": f"95 % interval {interval(mean)} %" if mean["ci95"] else line(mean.get("reason")),
        "clean": _with_interval(clean),
        "blind": _with_interval(blind) if blind else "not asked",
        "n": count(document["n"]),
        "clusters": f"{count(document['clusters']['n'])} {line(document['clusters']['unit'])}s",
        "sentence": headline_sentence(document),
    }


def _with_interval(metric: Document) -> str:
    bounds = interval(metric)
    return percent(metric["value"]) + (f" ({bounds})" if bounds else "")


# --- tables -----------------------------------------------------------------------------------


def _table(document: Document, found: Sequence[Document]) -> list[dict[str, Any]]:
    """What each perturbation has at its severities, the grey picture last."""
    table = [
        {"name": line(one["title"], 60), "rows": [_row(cell) for cell in one["cells"]]}
        for one in found
    ]
    if "accuracy" in document["blind"]:
        rows = [_row({"severity": "", **document["blind"]})]
        table.append({"name": "Grey picture", "rows": rows})
    return table


def _row(cell: Document) -> dict[str, Any]:
    difference = cell["difference"]
    found = {
        "severity": str(cell["severity"]),
        "n": count(cell["n"]),
        "reason": line(difference.get("reason"), 200) if difference["value"] is None else "",
    }
    if found["reason"]:
        return found
    return {
        **found,
        "accuracy": percent(cell["accuracy"]["value"]),
        "accuracy_interval": interval(cell["accuracy"]),
        "difference": f"{100 * difference['value']:+z.1f}",
        "difference_interval": interval(difference, signed=True),
        "p": p_text(cell["p_holm"]) if "p_holm" in cell else "",
        "shown": is_shown(cell),
        "flips": percent(cell["flip_rate"]["value"]),
        "flips_interval": interval(cell["flip_rate"]),
        "lost": percent(cell["right_to_wrong"]["value"]),
        "won": percent(cell["wrong_to_right"]["value"]),
        "confidence": percent(cell["confidence"]["value"]),
        "ece": percent(cell["ece"]["value"]),
    }


def _examples(found: Sequence[Document], thumbnails: Thumbnails) -> list[dict[str, Any]]:
    rows = []
    for one in found:
        own = {
            severity: data_uri(jpeg)
            for (kind, severity), jpeg in thumbnails.items()
            if kind == one["name"] and isinstance(jpeg, bytes)
        }
        if own:
            pictures = [(s, own.get(s)) for s in (1, 3, 5)]
            rows.append({"name": line(one["title"], 60), "pictures": pictures})
    return rows


def _groups(document: Document, found: Sequence[Document]) -> dict[str, Any] | None:
    """The change at each perturbation's highest severity, a row for each modality."""
    groups = document["groups"]["modality"]
    if not groups:
        return None
    kinds = [one for one in found if one["cells"]]
    rows = []
    for name, group in groups.items():
        last = [group["differences"][one["name"]][-1] for one in kinds]
        rows.append(
            {
                "name": line(name, 60),
                "n": count(group["n"]),
                "accuracy": percent(group["accuracy"]["value"]),
                "cells": [
                    (f"{100 * m['value']:+z.1f}", interval_text(m["ci95"], True), _shade(m))
                    if m["value"] is not None
                    else ("-", "", 0)
                    for m in last
                ],
            }
        )
    heads = [f"{one['title']} {one['cells'][-1]['severity']}" for one in kinds]
    return {"kinds": [line(head, 60) for head in heads], "rows": rows}


def _shade(metric: Document) -> int:
    """0 to 10: how large the loss is; 0 for one that is not shown."""
    if not is_shown(metric):
        return 0
    return round(10 * min(1.0, max(0.0, -2 * metric["value"])))


def _left_out(document: Document, found: Sequence[Document]) -> list[str]:
    titles = {"none": "Not asked at all", **{one["name"]: one["title"] for one in found}}
    return [
        f"{line(titles.get(kind, kind), 60)}: "
        + ", ".join(f"{count(n)} {line(reason, 100)}" for reason, n in why.items())
        for kind, why in document["left_out"].items()
    ]


def _definition(one: Document) -> dict[str, str]:
    cells = one["cells"] if one["is_scale"] else ()
    return {
        "title": line(one["title"], 60),
        "parameter": line(one["parameter"], 100) if one["is_scale"] else "",
        "numbers": ", ".join(f"{cell['severity']}: {cell['parameter']:g}" for cell in cells),
        "source": line(one["source"], 200),
    }


def methods(document: Document) -> str:
    """A paragraph for a paper: what was done, with what, and what came out."""
    meta = document["meta"]
    names = [one["title"].lower() for one in document["perturbations"]]
    mean, clean = document["mean_corruption_accuracy"], document["clean"]["accuracy"]
    drop = document["mean_relative_drop"]
    versions = meta.get("versions") or {}
    severities = (
        "; the numbers behind the severities are those of ImageNet-C (Hendrycks and Dietterich, "
        "2019) or medr1's own, as listed"
        if any(one["is_scale"] for one in document["perturbations"])
        else ""
    )
    text = (
        f"Robustness was measured with medr1 {line(versions.get('medr1', ''), 20)} on "
        f"{count(document['n'])} questions about {count(document['clusters']['n'])} "
        f"{line(document['clusters']['unit'])}s of {line(meta.get('data', 'the data'), 60)} "
        f"(model {model_name(document)}, SHA-256 {line(meta.get('model_sha256', ''))[:12]}; prompt "
        f"{line(meta.get('prompt'), 40)}; seed {meta.get('seed')}). Each question was asked as it "
        f"is and under {', '.join(names)}{severities}. Items whose right answer a "
        "perturbation could change were left out of it. Changes are against the same items as "
        f"they are, with 95 % intervals by a paired bootstrap over "
        f"{line(document['clusters']['unit'])}s, not adjusted for the number of comparisons, and "
        "exact sign-flip tests corrected by Holm, which decide whether a change is shown."
    )
    if clean["value"] is not None:
        text += f" Accuracy was {_with_interval(clean)} on the questions as they are"
        blind = document["blind"].get("accuracy") or {}
        if blind.get("value") is not None:
            text += f" and {_with_interval(blind)} with a grey picture"
        text += "."
    if mean["value"] is not None:
        text += f" Mean corruption accuracy was {_with_interval(mean)}"
        text += f", a relative drop of {_with_interval(drop)}" if drop["value"] is not None else ""
        text += "."
    return text
