"""What was right against what was said: a heat table of bounded size, and confusion.csv."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from medr1.report.csv_tables import csv_text
from medr1.report.sanitize import line

TOP = 12
"""Answers with a row and a column of their own; the rest is one "other"."""
SHADES = 10

CONFUSION_COLUMNS = ("results", "protocol", "by", "ground_truth", "predicted", "count")
_BY = {"confusion": "letter", "confusion_text": "text"}


def confusion_csv(summaries: Sequence[Mapping[str, Any]]) -> str:
    """confusion.csv: a row for each right answer and what was said; no answer is blank."""
    return csv_text(_rows(summaries), CONFUSION_COLUMNS)


def _rows(summaries: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for summary in summaries:
        for key, by in _BY.items():
            for cell in summary.get(key) or ():
                start = {"results": summary.get("results"), "protocol": summary.get("protocol")}
                yield {**start, "by": by, **cell}


def heat_table(cells: Sequence[Mapping[str, Any]] | None) -> dict[str, Any] | None:
    """The cells as rows of shaded counts, most frequent right answers first; None without any.

    A row's shade is the share of its total, so that rare answers are as readable as common ones.
    """
    if not cells:
        return None
    gold: Counter[str] = Counter()
    either: Counter[str] = Counter()
    for cell in cells:
        gold[cell["ground_truth"]] += cell["count"]
        for name in (cell["ground_truth"], cell["predicted"]):
            if name is not None:
                either[name] += cell["count"]
    own = [name for name, _ in sorted(either.items(), key=lambda pair: (-pair[1], pair[0]))[:TOP]]
    if all(len(name) == 1 for name in own):
        own.sort()
    counts: Counter[tuple[str | None, str | None]] = Counter()
    for cell in cells:
        row = cell["ground_truth"] if cell["ground_truth"] in own else None
        counts[row, _column(cell["predicted"], own)] += cell["count"]
    columns = [*own, *(name for name in (_OTHER, _NONE) if any(c == name for _, c in counts))]
    rows = [name for name in own if gold[name]]
    table = [_row(name, name, columns, counts) for name in rows]
    if any(row is None for row, _ in counts):
        table.append(_row(_OTHER, None, columns, counts))
    return {
        "columns": [_name(name) for name in columns],
        "rows": table,
        "left_out": len(either) - len(own),
    }


_OTHER, _NONE = "\0other", "\0none"
"""Columns that no answer can be called."""
_WORDS = {_OTHER: "other", _NONE: "no answer"}


def _name(name: str) -> str:
    return _WORDS.get(name) or line(name, 40)


def _column(predicted: str | None, own: Sequence[str]) -> str:
    if predicted is None:
        return _NONE
    return predicted if predicted in own else _OTHER


def _row(
    title: str, key: str | None, columns: Sequence[str], counts: Counter[Any]
) -> dict[str, Any]:
    found = [counts[key, column] for column in columns]
    total = sum(found)
    return {
        "name": _name(title),
        "total": total,
        "cells": [
            {
                "count": n,
                "shade": -(-SHADES * n // total) if total else 0,
                "share": round(100 * n / total) if total else 0,
                "right": column == title and title != _OTHER,
            }
            for column, n in zip(columns, found, strict=True)
        ],
    }
