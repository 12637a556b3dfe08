"""The part of report.html on several answers combined into one.

Three kinds: test-time augmentation (views of an image), passes with dropout, and several
checkpoints or files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from medr1.report.charts.shares import difference_text, number_cell, share_cell
from medr1.report.pages.sanitize import count_text, one_line, short_path
from medr1.report.terminal.tables import percent

Section = Mapping[str, Any]
"""A part of the summary."""
Part = dict[str, Any]
"""A part of the page: a title, a sentence and the rows of a table."""
Row = tuple[str, str, dict[str, str]]
"""A row's name, a note beside it, and its cell."""


def ensembles_view(summary: Mapping[str, Any]) -> list[Part]:
    """A part of the page for each kind of combined answers that the summary has numbers of."""
    views = (summary.get("robustness") or {}).get("views") or {}
    dropout, ensemble = summary.get("dropout") or {}, summary.get("ensemble")
    parts = []
    if views.get("value") is not None:
        title = f"Test-time augmentation: {views['num_views']} mildly changed views of each image"
        parts.append(_passes(title, "views", views))
    if dropout.get("value") is not None:
        title = f"Monte Carlo dropout: {dropout['num_samples']} passes with the model's dropout on"
        parts.append(_passes(title, "passes", dropout))
    if ensemble:
        parts.append(_ensemble(ensemble))
    return parts


def _passes(title: str, name: str, section: Section) -> Part:
    """The mean over views or passes (`name`) beside a single pass."""
    rows = (
        (f"mean of the {name}", "accuracy", share_cell(section)),
        ("single pass", "accuracy, on the same questions", share_cell(section["one_pass"])),
        ("difference", "in accuracy", share_cell(section["difference"], signed=True)),
        (f"the {name} differ", "not all choose the same option", share_cell(section["flip_rate"])),
        *_uncertainty_rows(section, name),
    )
    sentence = _verdict(f"The mean of the {name}", section, section["difference"], "a single pass")
    return {"title": title, "sentence": sentence, "rows": _table_rows(rows)}


def _ensemble(section: Section) -> Part:
    """Several files as one; the first of them is the file that the page is about."""
    this_file, *other_files = section["members"]
    majority, mean = section["majority"], section["mean_probabilities"]
    gain = majority["differences"][this_file]
    rows: list[Row] = [("majority of the answers", "accuracy", share_cell(majority))]
    rows += [("mean of the probabilities", "accuracy", share_cell(mean))]
    rows += [
        ("gain of the majority over this file", "in accuracy", share_cell(gain, signed=True)),
        ("all files give the same answer", "share of questions", share_cell(section["all_agree"])),
    ]
    rows += [
        (
            f"Fleiss' kappa, {kind.replace('_', ' ')}",
            "1: all agree, 0: as by chance",
            number_cell(kappa),
        )
        for kind, kappa in section["kappa"].items()
        if kappa["value"] is not None
    ]
    if mean["value"] is not None:
        rows += _uncertainty_rows(mean, "files")
    names = ", ".join(one_line(short_path(name)) for name in other_files)
    return {
        "title": f"Ensemble: this file with {names}",
        "sentence": _verdict("The majority of the files", majority, gain, "this file"),
        "rows": _table_rows(rows),
    }


def _verdict(name: str, metric: Section, difference: Section, reference: str) -> str:
    """The accuracy, and whether its difference from the reference has an interval beside zero."""
    low, high = difference["ci95"] or (0.0, 0.0)
    # better or worse only if the whole interval lies on one side of zero
    verdict = "better than" if low > 0 else "worse than" if high < 0 else "no clear difference from"
    if difference["ci95"] is None:
        verdict = "compared with"
    return (
        f"{name} is correct for {percent(metric['value'])} of {count_text(metric['n'])} questions: "
        f"{verdict} {reference} ({difference_text(difference)})."
    )


def _uncertainty_rows(section: Section, name: str) -> Iterator[Row]:
    """How far the views, passes or files disagree, and how well that predicts wrong answers."""
    yield (
        "mutual information",
        f"disagreement of the {name}, in nats",
        number_cell(section["mutual_information"]),
    )
    yield (
        "entropy of the mean",
        "total uncertainty, in nats",
        number_cell(section["predictive_entropy"]),
    )
    note = "for predicting wrong answers"
    yield "AUROC of the mutual information", note, share_cell(section["auroc"])
    yield "AUROC of the entropy", note, share_cell(section["auroc_entropy"])


def _table_rows(rows: Iterable[Row]) -> list[dict[str, str]]:
    return [{"name": name, "note": note, **cell} for name, note, cell in rows]
