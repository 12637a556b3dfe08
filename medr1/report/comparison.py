"""A comparison of runs as text: who is ahead by how much, whether that could be chance, and CSV."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from medr1.report.csv_tables import csv_text
from medr1.report.tables import Row, clean, grid, interval_text, percent

_COLUMNS = (
    *("run", "base", "scope", "group", "n", "value", "lo", "hi", "p", "p_holm"),
    *("won", "lost", "both_right", "both_wrong", "mcnemar_exact", "mcnemar_mid_p"),
    "minimum_detectable_difference",
)


LEVEL = 0.05
"""Under this Holm's p says that a difference is shown."""
UNADJUSTED = (
    "Each interval is for one comparison and not adjusted for the others; p (Holm) alone decides "
    "whether a difference is shown."
)
"""One verdict: Holm's p is exact and holds for all comparisons together, and the interval only
says how large one difference may be. Of thirty such intervals one or two exclude zero by chance.
Intervals that hold together are wider than Holm's steps need, and would disagree with p again."""


def is_shown(entry: Mapping[str, Any]) -> bool:
    """Whether the difference is shown: its p, corrected for all comparisons, is small enough."""
    p = entry.get("p_holm")
    return p is not None and p < LEVEL


_SHARE_HEADER: Row = ("value", "95 % interval")


def comparison_table(document: Mapping[str, Any], *, width: int = 80, color: bool = False) -> str:
    """Each run's accuracy, each difference from the base, its groups, and what they rest on."""
    about = f"{document['n']} items, {document['n_clusters']} {clean(document['clusters'])}"
    parts = [f"{about}, protocol {document['protocol']}\n"]
    header: Row = ("accuracy", "value", "95 % interval", "spread over seeds")
    rows = [_run_row(run) for run in document["runs"]]
    if not any(run["seeds"] for run in document["runs"]):
        header, rows = header[:3], [row[:3] for row in rows]
    parts += grid(header, rows, width, color)
    for found in document["comparisons"]:
        parts += ["", *_difference_lines(found, width, color)]
    if together := document.get("ensemble"):
        parts += ["", *_ensemble_lines(together, width, color)]
    notes = [_significance_note(document), document["meaning"]]
    parts += ["", *(_filled(note, width) for note in notes)]
    parts += [_filled(f"! {warning}", width, "  ") for warning in document["warnings"]]
    return "\n".join(parts)


def _run_row(run: Mapping[str, Any]) -> Row:
    metric, seeds = run["accuracy"], run["seeds"]
    spread, name = "", run["name"]
    if seeds:
        name = f"{name} ({seeds['n']} seeds)"
        low, high = (f"{100 * seeds[key]:.1f}" for key in ("min", "max"))
        spread = f"{low} to {high}, SD {100 * seeds['sd']:.1f}"
    return name, percent(metric["value"]), interval_text(metric["ci95"]), spread


def _difference_lines(found: Mapping[str, Any], width: int, color: bool) -> Iterator[str]:
    """A run against the base: the difference, by group, and what this many items can show."""
    title = f"{clean(found['run'])} - {clean(found['base'])}"
    rows = [_row("all items", found)]
    for kind, groups in found["groups"].items():
        if len(groups) > 1:
            rows.append((f"by {kind}", "", "", "", "", ""))
            rows += [_row(f"  {name}", entry) for name, entry in groups.items()]
    header = (title, "points", "95 % interval", "p (Holm)", "won", "lost")
    yield from grid(header, rows, width, color)
    test = found["mcnemar"]
    said = f"both right {found['both_right']}, both wrong {found['both_wrong']}"
    if test["exact"] is not None:
        said += f"; McNemar's exact p {p_text(test['exact'])}, mid-p {p_text(test['mid_p'])}"
    yield _filled(said, width)
    if seeds := found["over_seeds"]:
        interval = interval_text(seeds["ci95"], True) or seeds["reason"]
        yield _filled(
            f"over seeds instead of images: {_points(seeds['value'])} ({interval})", width
        )
    yield _filled(_detectable(found), width)


def _ensemble_lines(found: Mapping[str, Any], width: int, color: bool) -> Iterator[str]:
    """All files as one: their vote, their mean, and how far they agree."""
    mean = found["mean_probabilities"]
    named = [("majority of the answers", found["majority"]), ("mean of the probabilities", mean)]
    named += [("all give one answer", found["all_agree"])]
    rows = [
        (name, percent(metric["value"]), interval_text(metric["ci95"]))
        for name, metric in named
        if metric["value"] is not None
    ]
    yield from grid((f"{len(found['members'])} files as one", *_SHARE_HEADER), rows, width, color)
    said = []
    for kind, kappa in found["kappa"].items():
        if kappa["value"] is not None:
            low, high = kappa["ci95"] or (kappa["value"],) * 2
            name = f"Fleiss' kappa, {kind.replace('_', ' ')}"
            said.append(f"{name}: {kappa['value']:.2f} ({low:.2f} to {high:.2f})")
    if (area := mean.get("auroc") or {}).get("value") is not None:
        said.append(f"AUROC of their disagreement for a wrong mean {percent(area['value'])}")
    if said:
        yield _filled("; ".join(said), width)


def _row(name: str, entry: Mapping[str, Any]) -> Row:
    if entry["value"] is None:
        return name, "-", "", "", "", ""
    interval = interval_text(entry["ci95"], True) or "none"
    numbers = (str(entry["won"]), str(entry["lost"]))
    return name, _points(entry["value"]), interval, p_text(entry["p_holm"]), *numbers


def _points(value: float) -> str:
    return f"{100 * value:+z.1f}"


def _detectable(found: Mapping[str, Any]) -> str:
    """What a comparison of this size shows in four of five cases."""
    about = found["minimum_detectable_difference"]
    if about["value"] is None:
        return f"smallest difference that these items can show: not known, {about['reason']}"
    return (
        f"smallest difference found with 80 % power: {100 * about['value']:.1f} points "
        f"({percent(about['discordance'])} discordant, design effect {about['design_effect']:.1f})"
    )


def _significance_note(document: Mapping[str, Any]) -> str:
    unit = clean(document["clusters"])
    several = len(document["comparisons"]) > 1
    over = "over the runs, or over the groups of a kind" if several else "over the groups of a kind"
    return f"p: exact, flipping the sign of whole {unit}; corrected by Holm {over}. {UNADJUSTED}"


def p_text(p: float | None) -> str:
    """A p value for people: three decimals, or that it is smaller."""
    if p is None:
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _filled(text: str, width: int, indent: str = "") -> str:
    return textwrap.fill(clean(text), max(width, 20), subsequent_indent=indent)


def comparison_csv(document: Mapping[str, Any]) -> str:
    """Long form: a row for each run against the base, over all items and in each group."""

    def row(found: Mapping[str, Any], scope: str, group: str, entry: Mapping[str, Any]) -> Any:
        low, high = entry["ci95"] or (None, None)
        tests = {f"mcnemar_{key}": entry["mcnemar"][key] for key in ("exact", "mid_p")}
        return {
            **entry,
            **tests,
            "run": found["run"],
            "base": found["base"],
            "scope": scope,
            "group": group,
            "lo": low,
            "hi": high,
            "minimum_detectable_difference": entry["minimum_detectable_difference"]["value"],
        }

    rows = []
    for found in document["comparisons"]:
        rows.append(row(found, "all", "", found))
        for kind, groups in found["groups"].items():
            rows += [row(found, kind, group, entry) for group, entry in groups.items()]
    return csv_text(rows, _COLUMNS)


def won_lost_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """A row for each item and run that was won or lost against the base."""
    columns = ("id", "run", "outcome", "modality", "question_type", "ground_truth", "images")
    found = [
        {**row, "run": run, "outcome": outcome, "images": " ".join(row["images"])}
        for row in rows
        for run, outcome in row["outcome"].items()
        if outcome in ("won", "lost")
    ]
    return csv_text(found, columns)
