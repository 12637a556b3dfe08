"""An audit as text: a terminal table of what a score on the file is worth, and CSV of its items."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from medr1.report.csv_tables import csv_text
from medr1.report.tables import Row, clean, grid, interval_text, percent

PREDICTORS = {
    "majority_letter": "the letter most often right",
    "longest_option": "the longest option",
    "option_prior": "the options' texts (prior)",
    "question_option_lookup": "question and option, looked up",
    "text_classifier": "a text classifier",
}
"""Blind predictor -> how a table names it."""
LEAKS = {
    "same_image": "same image path",
    "same_image_by_case": "same path but for case or blanks",
    "same_bytes": "image with the same bytes",
    "near_image": "image that looks the same",
    "same_patient": "same patient",
    "same_series": "same series or study",
    "same_image_and_question": "same image and question",
    "near_question": "same image, nearly the same question",
    "same_image_and_answer": "same image, same right answer",
}
WORDINGS = {
    "same_question": "same wording, any image",
    "same_question_and_options": "same wording and options, any image",
    "near_question": "one word apart, any image",
}
MAX_NAMED = 6
"""Groups that a sentence names for one predictor; audit.json has them all."""
_ITEM_COLUMNS = (
    *("kind", "file", "line", "item", "id", "image", "question", "detail"),
    *("other_file", "other_line", "other_item"),
)


def audit_table(document: Mapping[str, Any], *, width: int = 80, color: bool = False) -> str:
    """What the file holds, its defects, leaks and shortcuts, and what the numbers rest on."""
    parts = [*_about(document, width), "", *_defect_lines(document, width, color)]
    if document["against"]:
        parts += ["", *_leak_lines(document, width, color)]
    parts += ["", *grid(_BLIND_HEADER, list(_blind_rows(document["blind"])), width, color)]
    parts += ["", _filled(needed_sentence(document), width)]
    if document["image_needed"].get("n") and document["image_needed"]["items"] is not None:
        parts.append(_filled(NEEDED_MEANING, width))
    best = document["blind"].get("best")
    if any(document["groups"].values()):
        parts += ["", f"By group, answered without the image by {PREDICTORS[best]}:"]
    for kind, groups in document["groups"].items():
        if groups:
            parts += ["", *_group_lines(kind, groups, best, width, color)]
    if document["notes"]:
        parts.append("")
    parts += [_filled(f"! {clean(note)}", width, "  ") for note in document["notes"]]
    return "\n".join(parts)


def _about(document: Mapping[str, Any], width: int) -> list[str]:
    options = ", ".join(f"{n:,} with {k}" for k, n in document["options"].items())
    said = f"{document['n']:,} items, {document['images']:,} images; options: {options}"
    return [clean(document["file"]), said, _filled(balance_sentence(document), width)]


def balance_sentence(document: Mapping[str, Any]) -> str:
    """How often each letter is right, and whether that could be chance."""
    letters = ", ".join(f"{letter} {n:,}" for letter, n in document["letters"].items())
    test = document["letter_balance"]
    if test["p"] is None:
        return "No item has options and a gold answer."
    p = "p < 0.001" if test["p"] < 0.001 else f"p = {test['p']:.3f}"
    return (
        f"Right letters: {letters}; against equal frequencies chi-squared "
        f"{test['chi2']:.1f}, df {test['df']}, {p}."
    )


def _defect_lines(document: Mapping[str, Any], width: int, color: bool) -> list[str]:
    """The kinds that some file has, a column for each file; what could not be looked at, below."""
    files = [document, *document["against"]]
    kinds = [kind for kind in document["defects"] if any(f["defects"][kind] for f in files)]
    header: Row = ("defects, items", *_columns(files))
    rows: list[Row] = [
        (kind.replace("_", " "), *(_count(file["defects"][kind]) for file in files))
        for kind in kinds
    ]
    looked = [kind for kind, n in document["defects"].items() if n is not None]
    lines = grid(header, rows, width, color) if rows else [f"defects: none of {len(looked)} kinds"]
    return [*lines, *_legend(files)]


def _columns(files: Sequence[Mapping[str, Any]]) -> list[str]:
    return ["FILE", *(f"[{place}]" for place in range(1, len(files)))]


def _legend(files: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which file each column stands for."""
    return [
        f"[{place}] {clean(file['file'])}, {file['n']:,} items"
        for place, file in enumerate(files[1:], start=1)
    ]


def _leak_lines(document: Mapping[str, Any], width: int, color: bool) -> list[str]:
    """Items of the file that stand in each training file, and in any."""
    files = document["against"]
    several = len(files) > 1
    header: Row = (
        "leaks, items of FILE",
        *(f"in [{place}]" for place in range(1, len(files) + 1)),
        *(["in any"] if several else []),
        "share",
    )
    rows: list[Row] = []
    for kind, name in LEAKS.items():
        found = [file["leakage"][kind] for file in files]
        entry = document["leakage"][kind]
        counts = [_count(one["items"]) for one in (*found, *([entry] if several else []))]
        share = "" if entry["items"] is None else percent(entry["share"])
        rows.append((name, *counts, share))
    for kind, name in WORDINGS.items():
        counts = [_count(file["wordings"][kind]["items"]) for file in files]
        rows.append((f"({name})", *counts, *([""] if several else []), ""))
    lines = grid(header, rows, width, color)
    return [*lines, _filled("In brackets: templates that are used again, which is no leak.", width)]


def _count(value: int | None) -> str:
    """A number of items; what could not be counted is not the dash of a row without numbers."""
    return "n/a" if value is None else f"{value:,}"


_BLIND_HEADER: Row = ("answered without the image by", "right", "95 % interval", "shuffled labels")


def _blind_rows(blind: Mapping[str, Any]) -> Iterator[Row]:
    if blind["chance"] is not None:
        yield "guessing", percent(blind["chance"]), "", ""
    for name, said in PREDICTORS.items():
        metric = blind[name]
        if metric["value"] is None:
            yield said, "-", clean(metric["reason"]), ""
            continue
        yield (
            said,
            percent(metric["value"]),
            interval_text(metric["ci95"]),
            control_text(metric.get("shuffled_labels")),
        )


def control_text(control: Mapping[str, Any] | None) -> str:
    """What is left with shuffled training labels: "30.1 % (20.9 to 38.9)"; the range of draws."""
    if not control or control["value"] is None:
        return ""
    return f"{percent(control['value'])} ({interval_text(control['range'])})"


def needed_sentence(document: Mapping[str, Any]) -> str:
    """How many items need their image, and which predictors take the others out, and where."""
    needed = document["image_needed"]
    if needed["items"] is None:
        return f"Image-needed subset: not known, {needed['reason']}."
    if not needed["n"]:
        return "Image-needed subset: no item has options and a gold answer."
    if not needed["predictors"] and not needed["in_groups"]:
        return (
            f"Image-needed subset: all {needed['n']:,} items, because no predictor that reads the "
            "options is above chance, on all items or in a group."
        )
    everywhere = [f"{PREDICTORS[name]} on all items" for name in needed["predictors"]]
    names = "; ".join([*everywhere, *_in_groups(needed["in_groups"])])
    return (
        f"Image-needed subset: {needed['items']:,} of {needed['n']:,} items "
        f"({percent(needed['share'])}). The others are answered by a predictor where it is above "
        f"chance: {names}. About {needed['lucky']:.0f} of them because it guessed well."
    )


NEEDED_MEANING = (
    "What the subset means: no predictor that is named here gets these items right where it is "
    "above chance. That does not prove that only the image gives the answer: other predictors, or "
    "what a large model has read, may do it. Where a model's score on the subset is far below its "
    "score on all items, shortcuts carry part of the score."
)


def group_name(kind: str, group: str) -> str:
    """Such as "modality CT"."""
    return f"{kind.replace('_', ' ')} {clean(group)}"


def _in_groups(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Each predictor with the groups in which it is above chance."""
    groups: dict[str, list[str]] = {}
    for one in found:
        groups.setdefault(one["predictor"], []).append(group_name(one["kind"], one["group"]))
    for predictor, names in groups.items():
        more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        yield f"{PREDICTORS[predictor]} in {', '.join(names[:MAX_NAMED])}{more}"


def _group_lines(
    kind: str, groups: Mapping[str, Any], best: str, width: int, color: bool
) -> list[str]:
    header: Row = (
        f"by {kind.replace('_', ' ')}",
        *("right", "95 % interval", "chance", "n", "image needed"),
    )
    rows: list[Row] = [
        (
            name,
            percent(group["blind"][best]["value"]),
            interval_text(group["blind"][best]["ci95"]),
            percent(group["chance"]),
            f"{group['n']:,}",
            f"{group['image_needed']['items']:,}",
        )
        for name, group in groups.items()
    ]
    return grid(header, rows, width, color)


def _filled(text: str, width: int, indent: str = "") -> str:
    return textwrap.fill(text, max(width, 20), subsequent_indent=indent)


def items_csv(items: Sequence[Mapping[str, Any]]) -> str:
    """items.csv: a row for each flagged item and kind of finding."""
    return csv_text(items, _ITEM_COLUMNS)
