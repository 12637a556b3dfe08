"""audit.html: one audit of a question file as a page that opens offline and has no script.

All text in it comes from files that somebody else wrote. The template escapes it, and the page's
content security policy allows its own style and nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from medr1.report.pages.page import asset, csp_hash, template
from medr1.report.pages.sanitize import count_text, interval_of, one_line, short_path, visible
from medr1.report.pages.summary import MARGIN, PLOT_WIDTH, forest_row, plot_x
from medr1.report.terminal.audit import (
    LEAKS,
    NEEDED_MEANING,
    PREDICTORS,
    WORDINGS,
    balance_sentence,
    control_text,
    group_name,
    needed_sentence,
)
from medr1.report.terminal.comparison import p_text
from medr1.report.terminal.tables import percent

MAX_ITEMS = 100
"""The most items that are listed for each kind of defect or leak; items.csv has them all."""
MAX_GROUPS = 60
MAX_NOTES = 40

Document = Mapping[str, Any]
"""audit.json."""


def audit_html(document: Document, items: Sequence[Mapping[str, Any]]) -> str:
    """The page as HTML.

    Args:
        document: audit.json (`data.audit.document.Audit.document`).
        items: The items with defects and leaks (`data.audit.document.Audit.items`).
    """
    from medr1 import __version__

    style = asset("report.css")
    return template("audit.html").render(
        title=short_path(document["file"]),
        style=style,
        style_hash=csp_hash(style),
        headline=_headline(document),
        notes=[_note(note, document) for note in document["notes"][:MAX_NOTES]],
        balance=balance_sentence(document),
        options=[(k, count_text(n)) for k, n in document["options"].items()],
        needed=needed_sentence(document),
        needed_meaning=NEEDED_MEANING,
        group_shortcuts=_group_shortcuts(document["image_needed"]),
        blind=_blind(document["blind"]),
        chance=plot_x(document["blind"]["chance"]),
        best=PREDICTORS.get(document["blind"].get("best") or "", ""),
        groups=_groups(document),
        files=_files(document),
        leaks=_leaks(document),
        defects=_defects(document),
        lists=_lists(items),
        version=__version__,
        plot_width=PLOT_WIDTH,
        margin=MARGIN,
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _note(note: str, document: Document) -> str:
    """A note for the page. Full paths in it are cut to their last parts, which name no person."""
    files = (document, *document["against"])
    # longer paths first: a folder's path is the beginning of its files' paths
    for path in sorted({str(f[key]) for f in files for key in ("file", "image_root")}, key=len)[
        ::-1
    ]:
        note = note.replace(path, short_path(path))
    return visible(_sentence(note), 600)


def _headline(document: Document) -> dict[str, Any]:
    """The best accuracy without the image, and the numbers of needed images, leaks and defects."""
    blind = document["blind"]
    best = blind.get("best")
    metric = blind[best] if best else {"value": None, "ci95": None}
    counts = []
    if needed := document["image_needed"]["items"]:
        share = percent(document["image_needed"]["share"])
        counts.append((count_text(needed), share, "items need their image"))
    leak = document["leakage"].get("same_image")
    if leak:
        share = percent(leak["share"])
        label = "items ask about an image of the training data"
        counts.append((count_text(leak["items"]), share, label))
    n_defects = sum(n or 0 for n in document["defects"].values())
    counts.append((count_text(n_defects), "", "defects in this file"))
    return {
        "value": percent(metric["value"]) if best else None,
        "interval": interval_of(metric),
        "chance": percent(blind["chance"]),
        "by": PREDICTORS.get(best or "", ""),
        "counts": counts,
        "n": count_text(document["n"]),
        "images": count_text(document["images"]),
    }


def _blind(blind: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The forest plot of chance and of each blind predictor."""
    rows = []
    if blind["chance"] is not None:
        rows.append({**forest_row("chance", {"value": blind["chance"]}), "control": ""})
    for name, label in PREDICTORS.items():
        control = control_text(blind[name].get("shuffled_labels"))
        rows.append({**forest_row(label, blind[name]), "control": control})
    return rows


def _groups(document: Document) -> list[dict[str, Any]]:
    """A forest plot of the best blind predictor for each kind of group, such as modality."""
    best = document["blind"].get("best")
    plots = []
    for kind, groups in document["groups"].items() if best else ():
        first_groups = list(groups.items())[:MAX_GROUPS]
        rows = [
            {
                **forest_row(name or "(empty)", {**group["blind"][best], "n": group["n"]}),
                "chance": percent(group["chance"]),
                "chance_x": plot_x(group["chance"]),
                "needed": count_text(group["image_needed"]["items"]),
            }
            for name, group in first_groups
        ]
        if rows:
            kind = one_line(kind.replace("_", " "))
            n_left_out = len(groups) - len(first_groups)
            plots.append({"kind": kind, "rows": rows, "left_out": n_left_out})
    return plots


def _group_shortcuts(needed: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row for each predictor and group in which it is above chance."""
    return [
        {
            "group": one_line(group_name(entry["kind"], entry["group"])),
            "predictor": PREDICTORS[entry["predictor"]],
            "value": percent(entry["value"]),
            "chance": percent(entry["chance"]),
            "p": p_text(entry["p_holm"]),
            "n": count_text(entry["n"]),
        }
        for entry in (needed.get("in_groups") or ())[:MAX_GROUPS]
    ]


def _files(document: Document) -> list[dict[str, str]]:
    """The audited file and the training files, with the hashes that identify them."""
    rows = []
    for place, file in enumerate((document, *document["against"])):
        no_images = "" if file["images_here"] else ", none here"
        rows.append(
            {
                "mark": f"[{place}]" if place else "audited",
                "name": short_path(file["file"]),
                "n": count_text(file["n"]),
                "images": count_text(file["images"]) + no_images,
                "sha256": visible(file["sha256"]),
            }
        )
    return rows


def _leaks(document: Document) -> dict[str, Any] | None:
    """A row for each kind of leak, with the items in each training file and in any."""
    files = document["against"]
    if not files:
        return None
    rows = []
    for kind, name in LEAKS.items():
        entry = document["leakage"][kind]
        is_known = entry["items"] is not None
        rows.append(
            {
                "name": name,
                "cells": [count_text(file["leakage"][kind]["items"]) for file in files],
                "all": count_text(entry["items"]),
                "share": percent(entry["share"]) if is_known else "",
                "units": _units(entry) if is_known else one_line(entry["reason"], 200),
            }
        )
    wordings = [
        (name, [count_text(file["wordings"][kind]["items"]) for file in files])
        for kind, name in WORDINGS.items()
    ]
    marks = [f"[{place}]" for place in range(1, len(files) + 1)]
    return {"marks": marks, "rows": rows, "wordings": wordings}


def _units(entry: Mapping[str, Any]) -> str:
    """How many images, patients or series the leaked items are about, such as "232 images"."""
    units = [unit for unit in ("images", "patients", "series") if unit in entry]
    return " ".join(f"{entry[unit]:,} {unit}" for unit in units)


def _defects(document: Document) -> dict[str, Any]:
    """A row for each kind of defect, with a column for each file."""
    files = (document, *document["against"])
    rows = [
        (kind.replace("_", " "), [count_text(file["defects"][kind]) for file in files])
        for kind in document["defects"]
    ]
    return {"marks": ["audited", *(f"[{i}]" for i in range(1, len(files)))], "rows": rows}


def _lists(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The first MAX_ITEMS items of each kind of defect or leak, with their places in the files."""
    by_kind: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for item in items:
        by_kind[item["kind"]].append(item)
    lists = []
    for kind, members in by_kind.items():
        rows = [
            {
                "place": _place(item["file"], item["line"], item["item"]),
                "image": one_line(item["image"], 200),
                "question": one_line(item["question"], 300),
                "detail": one_line(item["detail"], 300),
                "other": _place(item["other_file"], item["other_line"], item["other_item"])
                if "other_file" in item
                else "",
            }
            for item in members[:MAX_ITEMS]
        ]
        name = LEAKS.get(kind, kind.replace("_", " "))
        n, n_left_out = len(members), len(members) - len(rows)
        left_out = count_text(n_left_out) if n_left_out > 0 else ""
        lists.append({"name": name, "n": count_text(n), "rows": rows, "left_out": left_out})
    return lists


def _place(file: Any, line_number: int | None, item: int) -> str:
    """Such as "test.json, line 12, item 3"."""
    line = f", line {line_number}" if line_number else ""
    return f"{short_path(file)}{line}, item {item}"
