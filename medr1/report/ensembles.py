"""Ensembles on the page: test-time augmentation, passes with dropout, several checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medr1.report.sanitize import count, line, short_path
from medr1.report.shares import cell, change, plain
from medr1.report.tables import percent

Section = Mapping[str, Any]
Part = dict[str, Any]


def ensembles_view(summary: Mapping[str, Any]) -> list[Part]:
    """A part of the page for each way of asking again that the summary has numbers of."""
    views = (summary.get("robustness") or {}).get("views") or {}
    dropout, ensemble = summary.get("dropout") or {}, summary.get("ensemble")
    parts = []
    if views.get("value") is not None:
        title = f"Test-time augmentation: {views['num_views']} mild views of each picture"
        parts.append(_passes(title, "views", views))
    if dropout.get("value") is not None:
        title = f"Dropout sampling: {dropout['num_samples']} passes with the model's dropout on"
        parts.append(_passes(title, "passes", dropout))
    if ensemble:
        parts.append(_ensemble(ensemble))
    return parts


def _passes(title: str, name: str, found: Section) -> Part:
    named = (
        (f"mean of the {name}", "right", cell(found)),
        ("one pass as it is", "right, of the same questions", cell(found["one_pass"])),
        ("difference", "in points", cell(found["difference"], signed=True)),
        (f"the {name} differ", "not all choose one option", cell(found["flip_rate"])),
        *_uncertainty(found, name),
    )
    return {
        "title": title,
        "said": _better(f"The mean of the {name}", found, found["difference"], "one pass as it is"),
        "rows": _rows(named),
    }


def _ensemble(found: Section) -> Part:
    first, *others = found["members"]
    majority, mean = found["majority"], found["mean_probabilities"]
    named = [("majority of the answers", "right", cell(majority))]
    named += [("mean of the probabilities", "right", cell(mean))]
    named += [
        ("majority less this file", "in points", cell(majority["differences"][first], signed=True)),
        ("all give one answer", "share of the questions", cell(found["all_agree"])),
    ]
    named += [
        (f"Fleiss' kappa, {kind.replace('_', ' ')}", "1 all agree, 0 as by chance", plain(kappa))
        for kind, kappa in found["kappa"].items()
        if kappa["value"] is not None
    ]
    if mean["value"] is not None:
        named += _uncertainty(mean, "files")
    names = ", ".join(line(short_path(name)) for name in others)
    return {
        "title": f"Ensemble: this file with {names}",
        "said": _better(
            "The majority of the files", majority, majority["differences"][first], "this file"
        ),
        "rows": _rows(named),
    }


def _better(name: str, found: Section, difference: Section, other: str) -> str:
    low, high = difference["ci95"] or (0.0, 0.0)
    verdict = "better than" if low > 0 else "worse than" if high < 0 else "no clear difference from"
    if difference["ci95"] is None:
        verdict = "beside"
    return (
        f"{name} is right for {percent(found['value'])} of {count(found['n'])} questions: "
        f"{verdict} {other} ({change(difference)})."
    )


def _uncertainty(found: Section, name: str) -> Iterator[tuple[str, str, dict[str, str]]]:
    """How far they disagree, and how well that tells wrong answers."""
    yield (
        "mutual information",
        f"what the {name} disagree about, nats",
        plain(found["mutual_information"]),
    )
    yield "entropy of the mean", "all that is not known, nats", plain(found["predictive_entropy"])
    yield "AUROC of mutual information", "higher where it is wrong", cell(found["auroc"])
    yield "AUROC of the entropy", "higher where it is wrong", cell(found["auroc_entropy"])


def _rows(named: Any) -> list[dict[str, str]]:
    return [{"name": name, "note": note, **shown} for name, note, shown in named]
