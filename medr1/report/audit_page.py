"""audit.html: one audit as a page that opens offline, runs nothing and asks nobody for anything.

Every text in it was written by someone else. It enters the template as text and is escaped there;
the page has no script at all, and its policy allows its own style and nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from medr1.report.audit import (
    LEAKS,
    NEEDED_MEANING,
    PREDICTORS,
    WORDINGS,
    balance_sentence,
    control_text,
    group_name,
    needed_sentence,
)
from medr1.report.comparison import p_text
from medr1.report.page import asset, csp_hash, template
from medr1.report.sanitize import count, interval, line, short_path, visible
from medr1.report.sections import MARGIN, PLOT_WIDTH, at_share, forest_row
from medr1.report.tables import percent

MAX_ITEMS = 100
"""Items listed of each kind of finding; items.csv has them all."""
MAX_GROUPS = 60
MAX_NOTES = 40

Document = Mapping[str, Any]


def audit_html(document: Document, items: Sequence[Mapping[str, Any]]) -> str:
    """The page of an audit; `items` are the flagged ones (`data.audit.document.Audit.items`)."""
    from medr1 import __version__

    style = asset("report.css")
    return template("audit.html").render(
        title=short_path(document["file"]),
        style=style,
        style_hash=csp_hash(style),
        headline=_headline(document),
        notes=[_note(note, document) for note in document["notes"][:MAX_NOTES]],
        balance=balance_sentence(document),
        options=[(k, count(n)) for k, n in document["options"].items()],
        needed=needed_sentence(document),
        needed_meaning=NEEDED_MEANING,
        known=_known(document["image_needed"]),
        blind=_blind(document["blind"]),
        chance=at_share(document["blind"]["chance"]),
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
    """A note in which the paths of the machine that made it are cut to their last parts."""
    files = (document, *document["against"])
    for path in sorted({str(f[key]) for f in files for key in ("file", "image_root")}, key=len)[
        ::-1
    ]:
        note = note.replace(path, short_path(path))
    return visible(_sentence(note), 600)


def _headline(document: Document) -> dict[str, Any]:
    """The best that is reached without looking, and what else a reader must know at once."""
    blind = document["blind"]
    best = blind.get("best")
    metric = blind[best] if best else {"value": None, "ci95": None}
    counts = []
    if needed := document["image_needed"]["items"]:
        share = percent(document["image_needed"]["share"])
        counts.append((count(needed), share, "need their image"))
    leaked = document["leakage"].get("same_image")
    if leaked:
        share = percent(leaked["share"])
        counts.append((count(leaked["items"]), share, "ask about an image of the training data"))
    bad = sum(n or 0 for n in document["defects"].values())
    counts.append((count(bad), "", "defects in this file"))
    return {
        "value": percent(metric["value"]) if best else None,
        "interval": interval(metric),
        "chance": percent(blind["chance"]),
        "by": PREDICTORS.get(best or "", ""),
        "counts": counts,
        "n": count(document["n"]),
        "images": count(document["images"]),
    }


def _blind(blind: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    if blind["chance"] is not None:
        rows.append({**forest_row("guessing", {"value": blind["chance"]}), "control": ""})
    for name, said in PREDICTORS.items():
        control = control_text(blind[name].get("shuffled_labels"))
        rows.append({**forest_row(said, blind[name]), "control": control})
    return rows


def _groups(document: Document) -> list[dict[str, Any]]:
    """A forest plot of the best blind predictor for each kind of group."""
    best = document["blind"].get("best")
    found = []
    for kind, groups in document["groups"].items() if best else ():
        kept = list(groups.items())[:MAX_GROUPS]
        rows = [
            {
                **forest_row(name or "(empty)", {**group["blind"][best], "n": group["n"]}),
                "chance": percent(group["chance"]),
                "chance_at": at_share(group["chance"]),
                "needed": count(group["image_needed"]["items"]),
            }
            for name, group in kept
        ]
        if rows:
            kind = line(kind.replace("_", " "))
            found.append({"kind": kind, "rows": rows, "left_out": len(groups) - len(kept)})
    return found


def _known(needed: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row for each predictor and group in which it is above chance."""
    return [
        {
            "group": line(group_name(one["kind"], one["group"])),
            "predictor": PREDICTORS[one["predictor"]],
            "value": percent(one["value"]),
            "chance": percent(one["chance"]),
            "p": p_text(one["p_holm"]),
            "n": count(one["n"]),
        }
        for one in (needed.get("in_groups") or ())[:MAX_GROUPS]
    ]


def _files(document: Document) -> list[dict[str, str]]:
    """The audited file and the training files, with the hashes that say which they were."""
    found = []
    for place, file in enumerate((document, *document["against"])):
        found.append(
            {
                "mark": f"[{place}]" if place else "audited",
                "name": short_path(file["file"]),
                "n": count(file["n"]),
                "images": count(file["images"]) + ("" if file["images_here"] else ", none here"),
                "sha256": visible(file["sha256"]),
            }
        )
    return found


def _leaks(document: Document) -> dict[str, Any] | None:
    """A row for each kind of leak with the items in each training file and in any."""
    files = document["against"]
    if not files:
        return None
    rows = []
    for kind, name in LEAKS.items():
        entry = document["leakage"][kind]
        known = entry["items"] is not None
        rows.append(
            {
                "name": name,
                "cells": [count(file["leakage"][kind]["items"]) for file in files],
                "all": count(entry["items"]),
                "share": percent(entry["share"]) if known else "",
                "counted": _counted(entry) if known else line(entry["reason"], 200),
            }
        )
    wordings = [
        (name, [count(file["wordings"][kind]["items"]) for file in files])
        for kind, name in WORDINGS.items()
    ]
    marks = [f"[{place}]" for place in range(1, len(files) + 1)]
    return {"marks": marks, "rows": rows, "wordings": wordings}


def _counted(entry: Mapping[str, Any]) -> str:
    """Such as "232 images"."""
    words = [word for word in ("images", "patients", "series") if word in entry]
    return " ".join(f"{entry[word]:,} {word}" for word in words)


def _defects(document: Document) -> dict[str, Any]:
    files = (document, *document["against"])
    rows = [
        (kind.replace("_", " "), [count(file["defects"][kind]) for file in files])
        for kind in document["defects"]
    ]
    return {"marks": ["audited", *(f"[{i}]" for i in range(1, len(files)))], "rows": rows}


def _lists(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The flagged items of each kind, the first MAX_ITEMS of them, with where they stand."""
    by_kind: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for item in items:
        by_kind[item["kind"]].append(item)
    found = []
    for kind, members in by_kind.items():
        rows = [
            {
                "place": _place(item["file"], item["line"], item["item"]),
                "image": line(item["image"], 200),
                "question": line(item["question"], 300),
                "detail": line(item["detail"], 300),
                "other": _place(item["other_file"], item["other_line"], item["other_item"])
                if "other_file" in item
                else "",
            }
            for item in members[:MAX_ITEMS]
        ]
        name = LEAKS.get(kind, kind.replace("_", " "))
        left_out = count(len(members) - len(rows)) if len(members) > len(rows) else ""
        found.append({"name": name, "n": count(len(members)), "rows": rows, "left_out": left_out})
    return found


def _place(file: Any, line_number: int | None, item: int) -> str:
    """Such as "test.json, line 12, item 3"."""
    at = f", line {line_number}" if line_number else ""
    return f"{short_path(file)}{at}, item {item}"
