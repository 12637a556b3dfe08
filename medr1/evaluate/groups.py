"""What a summary is split by: columns of groups, numbers in bins, all in a readable order."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from medr1.data.identifiers import is_identifier, running_numbers
from medr1.errors import InputError
from medr1.evaluate.judging import GROUPS, Coded, Judged

MOST_VALUES = 12
"""A column of numbers with more different values than this is put into bins."""
BINS = 4


def group_columns(judged: Judged) -> tuple[dict[str, Coded[str | None]], list[str]]:
    """The columns to split by, many numbers put into bins, and what there is to say about them.

    Values of a key that names patients or studies are running numbers here, and so in every
    summary, table and page. InputError for a key that no item's metadata has.
    """
    columns, notes = {}, []
    for kind, column in judged.columns.groups.items():
        columns[kind] = column
        if kind in GROUPS:
            missing = int(column.where(lambda value: value is None).sum())
            if 0 < missing < len(judged) and kind != "option_count":
                some = f"{missing} of {len(judged)} items"
                notes.append(f"{some} have no {kind} and are in none of its groups.")
            continue
        if not any(value is not None for value in column.values):
            raise InputError(f"--group-by {kind}: no item has this key. {_known_keys(judged)}")
        if _is_private(kind, column):
            columns[kind] = _numbered(kind, column)
            notes.append(
                f"{kind} may identify a patient or a study: its groups are numbered, not named."
            )
            continue
        columns[kind], said = binned(column)
        if said:
            notes.append(f"{kind} has {said}.")
    return columns, notes


def shown_metadata(judged: Judged) -> dict[str, Coded[str | None]]:
    """What a page may show of the items' metadata: the keys asked for, identifiers as numbers.

    What --cluster-by names tells which items belong together, and so is a number as well.
    """
    found = {
        kind: _numbered(kind, column) if _is_private(kind, column) else column
        for kind, column in judged.columns.groups.items()
        if kind not in GROUPS
    }
    if judged.unit != "image" and judged.unit not in found:
        clusters = judged.columns.clusters
        values = [value if isinstance(value, str) else None for value in clusters.values]
        found[judged.unit] = _numbered(judged.unit, Coded(values, clusters.codes))
    return found


def _is_private(kind: str, column: Coded[str | None]) -> bool:
    """Whether the key names patients or studies, or holds objects, in which names may be."""
    return is_identifier(kind) or any(value and value[0] == "{" for value in column.values)


def _numbered(kind: str, column: Coded[str | None]) -> Coded[str | None]:
    """The column with running numbers in the place of its values."""
    numbers = running_numbers(kind, column.values)
    names = [None if value is None else numbers[value] for value in column.values]
    return Coded(names, column.codes)


def require_clusters(judged: Judged) -> None:
    """Refuse a misspelt --cluster-by, which would make every item independent: an InputError."""
    clusters = judged.columns.clusters.values
    if judged.unit != "image" and clusters and all(isinstance(one, tuple) for one in clusters):
        raise InputError(f"--cluster-by {judged.unit}: no item has this key. {_known_keys(judged)}")


def _known_keys(judged: Judged) -> str:
    """A sentence with the keys that the items' metadata has."""
    return f"There are: {', '.join(sorted(judged.columns.metadata_keys))[:200] or 'none'}."


def binned(column: Coded[str | None]) -> tuple[Coded[str | None], str | None]:
    """A column of many different numbers as bins of about equal size, and a sentence that says so.

    Any other column is itself.
    """
    numbers = [_number(value) for value in column.values]
    stated = [n for n, value in zip(numbers, column.values, strict=True) if value is not None]
    if len(stated) <= MOST_VALUES or None in stated:
        return column, None
    values = np.array([np.nan if n is None else n for n in numbers], dtype=np.float64)
    known = values[column.codes][~np.isnan(values[column.codes])]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1), method="closest_observation"))
    index = np.clip(np.searchsorted(edges, values, side="left"), 1, len(edges) - 1)
    names = [_span(values[(index == i) & ~np.isnan(values)]) for i in range(len(edges))]
    labels = [None if np.isnan(v) else names[i] for v, i in zip(values, index, strict=True)]
    parts = Coded.of(labels)
    said = f"{len(stated)} different numbers, put into {len(edges) - 1} groups of about equal size"
    return Coded(parts.values, parts.codes[column.codes]), said


def in_order(names: Iterable[str]) -> list[str]:
    """Names sorted, numbers and spans of numbers by value and before the others."""

    def key(name: str) -> tuple[bool, float, str]:
        number = _number(name.partition(" to ")[0])
        return number is None, number or 0.0, name

    return sorted(names, key=key)


def _span(values: NDArray[np.float64]) -> str:
    if not len(values):
        return ""
    low, high = float(values.min()), float(values.max())
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and np.isfinite(number) else None
