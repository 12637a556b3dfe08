"""Which items a report shows, and one item as the page needs it."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from medr1.data.identifiers import without
from medr1.report.sanitize import line, short_path, visible
from medr1.report.tables import percent
from medr1.report.thumbnails import MAX_IMAGES, data_uri, thumbnail_key

NUM_WRONG = 200
NUM_RIGHT = 40
MAX_CELLS = 1 << 16
"""Of each verdict kind; groups share them at random, so that a million values cost little."""
MAX_OPTIONS = 26

KINDS = {
    "wrong": "wrong answer",
    "undecided": "undecided by the rules",
    "unparsed": "no readable answer",
    "ambiguous": "ambiguous answer",
    "refused": "refused",
    "truncated": "cut off without an answer",
    "empty": "empty output",
    "failed": "failed before an answer",
    "right": "right",
}
"""Verdict kinds in the order of the page's filter, and how it calls them."""

_FACETS = ("results", "kind", "modality", "question_type", "dataset", "answer_type")
_FACET_WORDS = {
    "results": "file",
    "kind": "verdict",
    "question_type": "question type",
    "dataset": "data set",
    "answer_type": "answer type",
}

Row = Mapping[str, Any]


def verdict_kind(row: Row) -> str:
    """One of KINDS: right, or in which way not."""
    if row.get("correct"):
        return "right"
    if row.get("error"):
        return "failed"
    if row.get("undecided"):
        return "undecided"
    if row.get("extracted_answer") is not None:
        return "wrong"
    method = row.get("extraction")
    if method in ("ambiguous", "refused", "empty"):
        return str(method)
    return "truncated" if row.get("finish_reason") == "length" else "unparsed"


def gallery_choice(
    rows: Iterable[Row],
    *,
    group: str = "modality",
    num_wrong: int = NUM_WRONG,
    num_right: int = NUM_RIGHT,
    seed: int = 0,
) -> list[int]:
    """Positions of the rows to show, in order: some wrong and some right, spread over what differs.

    A row needs results, correct, undecided, error, extracted_answer, extraction, finish_reason and
    `group`.
    Each (file, group, verdict kind) keeps a sample of its own while the rows stream by; then they
    take turns, so that a rare failure in a small group stands beside the common ones.
    """
    rng = random.Random(seed)
    cells: dict[tuple[str, int], list[int]] = {}
    seen: dict[tuple[str, int], int] = {}
    for position, row in enumerate(rows):
        kind = verdict_kind(row)
        name = f"{row.get('results')}\n{row.get(group)}".encode("utf-8", "replace")
        cell = (kind, zlib.crc32(name) % MAX_CELLS)
        kept, before = cells.setdefault(cell, []), seen.get(cell, 0)
        seen[cell] = before + 1
        if len(kept) < (num_right if kind == "right" else num_wrong):
            kept.append(position)
        elif (place := int(rng.random() * (before + 1))) < len(kept):
            kept[place] = position
    right = {cell: kept for cell, kept in cells.items() if cell[0] == "right"}
    wrong = {cell: kept for cell, kept in cells.items() if cell[0] != "right"}
    return sorted(_in_turns(wrong, num_wrong, rng) + _in_turns(right, num_right, rng))


def _in_turns(cells: Mapping[Any, list[int]], limit: int, rng: random.Random) -> list[int]:
    """At most `limit` of the cells' contents, one from each in turn."""
    piles = [cells[cell] for cell in sorted(cells)]
    rng.shuffle(piles)
    for pile in piles:
        rng.shuffle(pile)
    chosen: list[int] = []
    depth = 0
    while len(chosen) < limit and (turn := [pile[depth] for pile in piles if depth < len(pile)]):
        chosen += turn[: limit - len(chosen)]
        depth += 1
    return chosen


def gallery_view(items: Sequence[Row], thumbnails: Mapping[str, bytes | str]) -> dict[str, Any]:
    """The gallery as the template draws it: the filters with their values, and every item."""
    facets: dict[str, dict[str, int]] = {name: {} for name in _FACETS}
    views = []
    for place, item in enumerate(items):
        values = {**item, "kind": verdict_kind(item), "results": short_path(item.get("results"))}
        codes = [
            facets[name].setdefault(_facet_value(name, values.get(name)), len(facets[name]))
            for name in _FACETS
        ]
        views.append({**_item_view(item, place, thumbnails), "codes": " ".join(map(str, codes))})
    filters = [
        {
            "place": place,
            "label": _FACET_WORDS.get(name, name),
            "values": sorted(facets[name].items()),
        }
        for place, name in enumerate(_FACETS)
        if len(facets[name]) > 1
    ]
    wrong = sum(view["kind"] != "right" for view in views)
    return {"filters": filters, "entries": views, "wrong": wrong, "right": len(views) - wrong}


def _facet_value(name: str, value: Any) -> str:
    if name == "kind":
        return KINDS[str(value)]
    return line(value, 60) if value is not None else "(not given)"


def _item_view(item: Row, place: int, thumbnails: Mapping[str, bytes | str]) -> dict[str, Any]:
    kind = verdict_kind(item)
    options = item.get("options") or {}
    about = [item.get(key) for key in ("modality", "question_type", "dataset")]
    names = list(item.get("images") or ())
    error = item.get("error") or {}
    output, reasoning = item.get("model_output"), item.get("reasoning")
    confidence = item.get("confidence")
    hidden = item.get("hidden") or {}
    return {
        "anchor": f"item-{place + 1}",
        "place": place,
        "kind": kind,
        "verdict": KINDS[kind],
        "id": line(without(str(item.get("id", "")), hidden)),
        "file": short_path(item.get("results")),
        "about": [line(value, 60) for value in about if value is not None],
        "images": [_image_view(item, name, thumbnails) for name in names[:MAX_IMAGES]],
        "more_images": max(0, len(names) - MAX_IMAGES),
        "question": visible(item.get("question"), 2000),
        "options": [_option_view(item, letter) for letter in list(options)[:MAX_OPTIONS]],
        "more_options": max(0, len(options) - MAX_OPTIONS),
        "gold": _answer(item.get("ground_truth"), options),
        "said": _answer(item.get("extracted_answer"), options),
        "output": visible(output) if output else None,
        "reasoning": visible(reasoning) if reasoning else None,
        "found": line(item.get("extraction")) if item.get("extraction") else None,
        "trace": [line(step, 200) for step in list(item.get("trace") or ())[:40]],
        "confidence": percent(confidence) if confidence is not None else None,
        "sure": confidence if confidence is not None else -1,
        "tokens": item.get("num_tokens"),
        "length": len(str(output or "")),
        "cut": item.get("finish_reason") == "length",
        "error": f"{line(error.get('code'))}: "
        f"{line(without(str(error.get('message', '')), hidden), 400)}"
        if error
        else None,
        "metadata": [
            (line(key, 60), line(value, 200)) for key, value in (item.get("metadata") or {}).items()
        ],
    }


def _answer(answer: Any, options: Mapping[str, str]) -> str | None:
    """A letter with its option's text, or the text itself; None where there is none."""
    if answer is None:
        return None
    return line(f"{answer}) {options[answer]}" if answer in options else answer, 300)


def _option_view(item: Row, letter: str) -> dict[str, Any]:
    share = (item.get("option_probs") or {}).get(letter)
    return {
        "letter": line(letter, 12),
        "text": line(item["options"][letter], 300),
        "gold": letter == item.get("ground_truth"),
        "said": letter == item.get("extracted_answer"),
        "share": percent(share) if share is not None else None,
    }


def _image_view(item: Row, name: str, thumbnails: Mapping[str, bytes | str]) -> dict[str, Any]:
    found = thumbnails.get(thumbnail_key(item, name), "image not shown")
    shown = short_path(without(name, item.get("hidden") or {}))
    if isinstance(found, str):
        return {"name": shown, "source": None, "note": line(found, 500)}
    return {"name": shown, "source": data_uri(found), "note": ""}
