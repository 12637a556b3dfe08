"""audit.html: one audit of a question file as a page that opens offline and has no script.

All text in it comes from files that somebody else wrote. The template escapes it, and the page's
content security policy allows its own style and nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from medr1.documents.audit import (
    Audit,
    BlindPredictors,
    FlaggedItem,
    ImageNeeded,
    Leak,
)
from medr1.documents.metric import Metric, Missing
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


def audit_html(document: Audit, items: Sequence[FlaggedItem]) -> str:
    """The page as HTML.

    Args:
        document: audit.json.
        items: The items with defects and leaks.
    """
    from medr1 import __version__

    style = asset("report.css")
    return template("audit.html").render(
        title=short_path(document.file.path),
        style=style,
        style_hash=csp_hash(style),
        headline=_headline(document),
        notes=[_note(note, document) for note in document.notes[:MAX_NOTES]],
        balance=balance_sentence(document),
        options=[(k, count_text(n)) for k, n in document.option_counts.items()],
        needed=needed_sentence(document),
        needed_meaning=NEEDED_MEANING,
        group_shortcuts=_group_shortcuts(document.image_needed),
        blind=_blind(document.blind),
        chance=plot_x(document.blind.chance),
        best=PREDICTORS[document.blind.best] if document.blind.best else "",
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


def _note(note: str, document: Audit) -> str:
    """A note for the page. Full paths in it are cut to their last parts, which name no person."""
    files = (document.file, *document.against)
    # longer paths first: a folder's path is the beginning of its files' paths
    for path in sorted({path for f in files for path in (f.path, f.image_root)}, key=len)[::-1]:
        note = note.replace(path, short_path(path))
    return visible(_sentence(note), 600)


def _headline(document: Audit) -> dict[str, object]:
    """The best accuracy without the image, and the numbers of needed images, leaks and defects."""
    best, needed = document.blind.best, document.image_needed
    metric = document.blind.predictors[best].accuracy if best else None
    counts = []
    if not isinstance(needed, Missing) and needed.items:
        share = percent(needed.share)
        counts.append((count_text(needed.items), share, "items need their image"))
    if leak := document.leakage.get("same_image"):
        label = "items ask about an image of the training data"
        counts.append((count_text(leak.items), percent(leak.share), label))
    n_defects = sum(n or 0 for n in document.file.defects.values())
    counts.append((count_text(n_defects), "", "defects in this file"))
    return {
        "value": percent(metric.value) if metric else None,
        "interval": interval_of(metric) if metric else "",
        "chance": percent(document.blind.chance),
        "by": PREDICTORS[best] if best else "",
        "counts": counts,
        "n": count_text(document.file.n),
        "images": count_text(document.file.n_images),
    }


def _blind(blind: BlindPredictors) -> list[dict[str, object]]:
    """The forest plot of chance and of each blind predictor."""
    rows: list[dict[str, object]] = []
    if blind.chance is not None:
        metric = Metric(value=blind.chance, ci95=None, n=0)
        rows.append({**forest_row("chance", metric), "n": "", "control": ""})
    for name, label in PREDICTORS.items():
        predictor = blind.predictors[name]
        control = control_text(predictor.shuffled_labels)
        rows.append({**forest_row(label, predictor.accuracy), "control": control})
    return rows


def _groups(document: Audit) -> list[dict[str, object]]:
    """A forest plot of the best blind predictor for each kind of group, such as modality."""
    best = document.blind.best
    if best is None:
        return []
    plots: list[dict[str, object]] = []
    for kind, groups in document.groups.items():
        first_groups = list(groups.items())[:MAX_GROUPS]
        rows = [
            {
                **forest_row(name or "(empty)", group.blind[best]),
                "chance": percent(group.chance),
                "chance_x": plot_x(group.chance),
                "needed": count_text(group.image_needed),
            }
            for name, group in first_groups
        ]
        if rows:
            kind = one_line(kind.replace("_", " "))
            n_left_out = len(groups) - len(first_groups)
            plots.append({"kind": kind, "rows": rows, "left_out": n_left_out})
    return plots


def _group_shortcuts(needed: ImageNeeded | Missing) -> list[dict[str, str]]:
    """A row for each predictor and group in which it is above chance."""
    if isinstance(needed, Missing):
        return []
    return [
        {
            "group": one_line(group_name(entry.kind, entry.group)),
            "predictor": PREDICTORS[entry.predictor],
            "value": percent(entry.value),
            "chance": percent(entry.chance),
            "p": p_text(entry.p_holm),
            "n": count_text(entry.n),
        }
        for entry in needed.in_groups[:MAX_GROUPS]
    ]


def _files(document: Audit) -> list[dict[str, str]]:
    """The audited file and the training files, with the hashes that identify them."""
    rows = []
    for place, file in enumerate((document.file, *document.against)):
        no_images = "" if file.images_available else ", none here"
        rows.append(
            {
                "mark": f"[{place}]" if place else "audited",
                "name": short_path(file.path),
                "n": count_text(file.n),
                "images": count_text(file.n_images) + no_images,
                "sha256": visible(file.sha256),
            }
        )
    return rows


def _leaks(document: Audit) -> dict[str, object] | None:
    """A row for each kind of leak, with the items in each training file and in any."""
    files = document.against
    if not files:
        return None
    rows = []
    for kind, name in LEAKS.items():
        entry = document.leakage[kind]
        is_known = entry.items is not None
        rows.append(
            {
                "name": name,
                "cells": [count_text(file.leakage[kind].items) for file in files],
                "all": count_text(entry.items),
                "share": percent(entry.share) if is_known else "",
                "units": _units(entry) if is_known else one_line(entry.reason, 200),
            }
        )
    wordings = [
        (name, [count_text(file.wordings[kind].items) for file in files])
        for kind, name in WORDINGS.items()
    ]
    marks = [f"[{place}]" for place in range(1, len(files) + 1)]
    return {"marks": marks, "rows": rows, "wordings": wordings}


def _units(leak: Leak) -> str:
    """How many images, patients or series the leaked items are about, such as "232 images"."""
    counts = {"images": leak.images, "patients": leak.patients, "series": leak.series}
    return " ".join(f"{n:,} {unit}" for unit, n in counts.items() if n is not None)


def _defects(document: Audit) -> dict[str, object]:
    """A row for each kind of defect, with a column for each file."""
    files = (document.file, *document.against)
    rows = [
        (kind.replace("_", " "), [count_text(file.defects[kind]) for file in files])
        for kind in document.file.defects
    ]
    return {"marks": ["audited", *(f"[{i}]" for i in range(1, len(files)))], "rows": rows}


def _lists(items: Sequence[FlaggedItem]) -> list[dict[str, object]]:
    """The first MAX_ITEMS items of each kind of defect or leak, with their places in the files."""
    by_kind: dict[str, list[FlaggedItem]] = defaultdict(list)
    for item in items:
        by_kind[item.kind].append(item)
    lists: list[dict[str, object]] = []
    for kind, members in by_kind.items():
        rows = [
            {
                "place": _place(item.file, item.line, item.item),
                "image": one_line(item.image, 200),
                "question": one_line(item.question, 300),
                "detail": one_line(item.detail, 300),
                "other": _place(item.other_file, item.other_line, item.other_item)
                if item.other_file is not None and item.other_item is not None
                else "",
            }
            for item in members[:MAX_ITEMS]
        ]
        name = LEAKS.get(kind, kind.replace("_", " "))
        n, n_left_out = len(members), len(members) - len(rows)
        left_out = count_text(n_left_out) if n_left_out > 0 else ""
        lists.append({"name": name, "n": count_text(n), "rows": rows, "left_out": left_out})
    return lists


def _place(file: str, line_number: int | None, item: int) -> str:
    """Such as "test.json, line 12, item 3"."""
    line = f", line {line_number}" if line_number else ""
    return f"{short_path(file)}{line}, item {item}"
