"""The confusion matrix, ground truth against the model's answer: a heat table and confusion.csv."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from msgspec import to_builtins

from medr1.documents.items import ConfusionPair
from medr1.documents.summary import ConfusionCell, Summary
from medr1.report.csv_tables import csv_text
from medr1.report.pages.sanitize import one_line

TOP = 12
"""The most frequent answers have a row and a column of their own; all others share "other"."""
SHADES = 10
"""Steps of a cell's colour, from no colour (0) to the strongest."""

CONFUSION_COLUMNS = ("results", "protocol", "by", "ground_truth", "predicted", "count")


def confusion_csv(summaries: Sequence[Summary]) -> str:
    """confusion.csv: a row for each pair of ground truth and model's answer; no answer is blank."""
    return csv_text(_rows(summaries), CONFUSION_COLUMNS)


def _rows(summaries: Iterable[Summary]) -> Iterator[dict[str, object]]:
    """The rows of confusion.csv; `by` says whether answers are option letters or option texts."""
    for summary in summaries:
        for by, cells in (("letter", summary.confusion), ("text", summary.confusion_text)):
            for cell in cells:
                start = {"results": summary.results, "protocol": summary.protocol, "by": by}
                yield {**start, **to_builtins(cell)}


Link = Callable[[Iterable[ConfusionPair]], str | None]
"""From the pairs of a cell to the link that shows their items; None if the gallery has none."""


def heat_table(
    cells: Sequence[ConfusionCell], link: Link = lambda _: None
) -> dict[str, object] | None:
    """The confusion matrix as rows of shaded counts, as the page draws it; None without cells.

    A cell's shade is its share of the row's total, so that rare answers are as readable as common
    ones. The TOP most frequent answers have rows and columns of their own.

    Args:
        cells: The cells of the confusion matrix.
        link: Makes the link of a cell.
    """
    if not cells:
        return None
    by_ground_truth: Counter[str] = Counter()
    by_either: Counter[str] = Counter()  # as ground truth or as the model's answer
    for cell in cells:
        by_ground_truth[cell.ground_truth] += cell.count
        for name in (cell.ground_truth, cell.predicted):
            if name is not None:
                by_either[name] += cell.count
    by_frequency = sorted(by_either.items(), key=lambda pair: (-pair[1], pair[0]))
    top = [name for name, _ in by_frequency[:TOP]]
    if all(len(name) == 1 for name in top):  # option letters: in their order
        top.sort()
    # rows of rarer ground truths are added up under None
    members: defaultdict[tuple[str | None, str], list[ConfusionCell]] = defaultdict(list)
    for cell in cells:
        row = cell.ground_truth if cell.ground_truth in top else None
        members[row, _column(cell.predicted, top)].append(cell)
    columns = [*top, *(name for name in (_OTHER, _NONE) if any(c == name for _, c in members))]
    rows = [name for name in top if by_ground_truth[name]]
    table = [_row(name, name, columns, members, link) for name in rows]
    if any(row is None for row, _ in members):
        table.append(_row(_OTHER, None, columns, members, link))
    return {
        "columns": [_title(name) for name in columns],
        "rows": table,
        "left_out": len(by_either) - len(top),
    }


_OTHER, _NONE = "\0other", "\0none"
"""Keys of the two extra columns. No answer can be equal to them, as "other" could."""
_TITLES = {_OTHER: "other", _NONE: "no answer"}


def _title(name: str) -> str:
    return _TITLES.get(name) or one_line(name, 40)


def _column(predicted: str | None, top: Sequence[str]) -> str:
    """In which column an answer is counted."""
    if predicted is None:
        return _NONE
    return predicted if predicted in top else _OTHER


def _row(
    name: str,
    key: str | None,
    columns: Sequence[str],
    members: Mapping[tuple[str | None, str], Sequence[ConfusionCell]],
    link: Link,
) -> dict[str, object]:
    """One row of the heat table; `key` is the row's ground truth in `members`, None for "other"."""
    row_members = [members.get((key, column), ()) for column in columns]
    row_counts = [sum(cell.count for cell in cells) for cells in row_members]
    total = sum(row_counts)
    return {
        "name": _title(name),
        "total": total,
        "cells": [
            {
                "count": n,
                "column": _title(column),
                "link": link((cell.ground_truth, cell.predicted) for cell in cells),
                # rounded up: what happened at least once has a colour
                "shade": -(-SHADES * n // total) if total else 0,
                "share": round(100 * n / total) if total else 0,
                # two different rare answers are both "other", which is no match
                "is_correct": column == name and name != _OTHER,
            }
            for column, n, cells in zip(columns, row_counts, row_members, strict=True)
        ],
    }
