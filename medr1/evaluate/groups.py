"""The groups that a summary is split by, such as modality, dataset or age.

Columns of numbers are put into bins, values that could identify a patient are replaced by running
numbers, and names are sorted for reading.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from medr1.data.identifiers import is_identifier, running_numbers
from medr1.errors import InputError
from medr1.evaluate.coded import CodedColumn, Mask
from medr1.evaluate.judging import GROUPS, Judged

MAX_VALUES = 12
"""A column of numbers with more distinct values than this is put into bins."""
BINS = 4
"""Number of bins, unless many items share a value."""


def group_columns(judged: Judged) -> tuple[dict[str, CodedColumn[str | None]], list[str]]:
    """The columns to group by, ready to be shown, and notes for the reader of the summary.

    A column of many numbers is put into bins. The values of a key that may identify a patient or
    a study become running numbers here, so that no summary, table or page shows them. InputError
    for a key of --group-by that no item's metadata has.
    """
    columns, notes = {}, []
    for kind, column in judged.columns.groups.items():
        columns[kind] = column
        if kind in GROUPS:
            # our own fields: few distinct values and no identifiers, so only gaps are noted
            missing = int(column.where(lambda value: value is None).sum())
            if 0 < missing < len(judged) and kind != "option_count":
                items = f"{missing} of {len(judged)} items"
                notes.append(f"{items} have no {kind} and are in none of its groups.")
            continue
        if not any(value is not None for value in column.values):
            raise InputError(f"--group-by {kind}: no item has this key. {_known_keys(judged)}")
        columns[kind], note = named_groups(kind, column)
        notes += [note] if note else []
    return columns, notes


def named_groups(
    kind: str, column: CodedColumn[str | None]
) -> tuple[CodedColumn[str | None], str | None]:
    """The groups of a metadata key with the names that may be shown.

    Args:
        kind: The key.
        column: Its value for each item; None for an item without it.

    Returns:
        The column with running numbers in place of identifiers, and bins in place of many
        numbers; and a note for the reader, None if the values are unchanged.
    """
    if _is_private(kind, column):
        note = f"{kind} may identify a patient or a study: its groups are numbered, not named."
        return _numbered(kind, column), note
    bins, description = bin_numbers(column)
    return bins, f"{kind} has {description}." if description else None


def in_group(column: CodedColumn[str | None], name: str) -> Mask:
    """For each item whether it belongs to the group of this name.

    Args:
        column: The group of each item; None for an item of no group.
        name: One of the groups.
    """
    return column.where(lambda value: value == name)


def displayable_metadata(judged: Judged) -> dict[str, CodedColumn[str | None]]:
    """The metadata of the items that a page may show: the keys of --group-by and --cluster-by.

    Values that may identify a patient or a study become running numbers. So do those of a
    --cluster-by key that --group-by does not name: they say which items belong together.
    """
    shown_columns = {
        kind: _numbered(kind, column) if _is_private(kind, column) else column
        for kind, column in judged.columns.groups.items()
        if kind not in GROUPS
    }
    if judged.unit != "image" and judged.unit not in shown_columns:
        clusters = judged.columns.clusters
        # an item without the key is its own cluster, a tuple with its id: it has no value to show
        values = [value if isinstance(value, str) else None for value in clusters.values]
        shown_columns[judged.unit] = _numbered(judged.unit, CodedColumn(values, clusters.codes))
    return shown_columns


def _is_private(kind: str, column: CodedColumn[str | None]) -> bool:
    """Whether the key names patients or studies, or holds JSON objects, which may contain names."""
    return is_identifier(kind) or any(value and value[0] == "{" for value in column.values)


def _numbered(kind: str, column: CodedColumn[str | None]) -> CodedColumn[str | None]:
    """The column with a running number in place of each distinct value."""
    numbers = running_numbers(kind, column.values)
    names = [None if value is None else numbers[value] for value in column.values]
    return CodedColumn(names, column.codes)


def require_clusters(judged: Judged) -> None:
    """Raise an InputError for a --cluster-by key that no item has.

    A misspelt key would make every item its own cluster, and the intervals too narrow.
    """
    clusters = judged.columns.clusters.values
    # an item without the key is its own cluster, a tuple with its id
    if (
        judged.unit != "image"
        and clusters
        and all(isinstance(cluster, tuple) for cluster in clusters)
    ):
        raise InputError(f"--cluster-by {judged.unit}: no item has this key. {_known_keys(judged)}")


def _known_keys(judged: Judged) -> str:
    """A sentence that lists the keys of the items' metadata."""
    return f"There are: {', '.join(sorted(judged.columns.metadata_keys))[:200] or 'none'}."


def bin_numbers(
    column: CodedColumn[str | None],
) -> tuple[CodedColumn[str | None], str | None]:
    """A column of many different numbers in bins of about equal size, and words that describe them.

    Ages from 20 to 79 become "20 to 34", "35 to 49" and so on. A column with few values, or with
    values that are not numbers, is returned unchanged, with None.
    """
    numbers = [_number(value) for value in column.values]
    present = [n for n, value in zip(numbers, column.values, strict=True) if value is not None]
    if len(present) <= MAX_VALUES or None in present:
        return column, None
    values = np.array([np.nan if n is None else n for n in numbers], dtype=np.float64)
    item_values = values[column.codes]
    item_values = item_values[~np.isnan(item_values)]
    # Quartiles of the items, not of the distinct values. Equal quartiles (many items with one
    # value) leave fewer bins.
    quantiles = np.linspace(0, 1, BINS + 1)
    edges = np.unique(np.quantile(item_values, quantiles, method="closest_observation"))
    # Bin i holds edges[i - 1] < value <= edges[i]; the clip puts the minimum into the first bin.
    index = np.clip(np.searchsorted(edges, values, side="left"), 1, len(edges) - 1)
    names = [_span(values[(index == i) & ~np.isnan(values)]) for i in range(len(edges))]
    labels = [None if np.isnan(v) else names[i] for v, i in zip(values, index, strict=True)]
    bins = CodedColumn.from_items(labels)
    description = (
        f"{len(present)} different numbers, put into {len(edges) - 1} groups of about equal size"
    )
    return CodedColumn(bins.values, bins.codes[column.codes]), description


def sort_groups(names: Iterable[str]) -> list[str]:
    """The names of groups, sorted: numbers and ranges by value ("2", "10 to 14"), then texts."""

    def key(name: str) -> tuple[bool, float, str]:
        number = _number(name.partition(" to ")[0])
        return number is None, number or 0.0, name

    return sorted(names, key=key)


def _span(values: NDArray[np.float64]) -> str:
    """The range of the values as text, such as "20 to 34"; "" without values."""
    if not len(values):
        return ""
    low, high = float(values.min()), float(values.max())
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _number(value: str | None) -> float | None:
    """The finite number that a text is; None for anything else."""
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and np.isfinite(number) else None
