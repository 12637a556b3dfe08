"""Which column of a results file has which field, where --map and exact keys do not tell."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from medr1.data.columns import (
    Match,
    ambiguous_columns,
    known_names,
    map_options,
    match_columns,
    names_of_items,
)
from medr1.errors import InputError
from medr1.evaluate.reading.entries import (
    FIELD_ALIASES,
    flattened,
    has_failed,
    is_own,
    require_clear_header,
)
from medr1.evaluate.reading.tools.tool_entries import is_tool_entry

_FIRST_ENTRIES = 100
"""Entries at the start of a JSON file whose keys are looked up."""
_REQUIRED = ("prediction", "ground_truth", "question")
"""Fields that results need; all but the prediction can come from --data."""


def match_header(
    header: Sequence[str], path: Path, columns: Mapping[str, str], *, has_data: bool
) -> Match:
    """The columns of a table that are recognised by the usual names.

    Args:
        header: The names of the columns.
        path: The file.
        columns: The --map options: field -> column.
        has_data: Whether --data completes the items.

    Raises:
        InputError: If a field is missing, or several columns could have it.
    """
    require_clear_header(header, columns, str(path))
    required = () if {*columns.values()} - {*header} else _required(has_data)
    return _match(header, path, str(path), columns, required)


def match_entries(
    entries: Iterable[tuple[str, object]],
    path: Path,
    columns: Mapping[str, str],
    *,
    has_data: bool,
) -> Match:
    """The keys of the entries of a JSON file that are recognised by the usual names.

    medr1's own entries and those of some tools have fixed keys: nothing is looked up for them.

    Args:
        entries: The first entries of the file, each with its place.
        path: The file.
        columns: The --map options: field -> key.
        has_data: Whether --data completes the items.

    Raises:
        InputError: If a field is missing, or several keys could have it.
    """
    first: list[object] = []
    places: list[str] = []
    with suppress(InputError):  # it is raised again when the entry is read
        for place, entry in islice(entries, _FIRST_ENTRIES):
            first.append(entry)
            places.append(place)
    if not first:
        return Match({})
    objects = [entry for entry in first if isinstance(entry, dict)]
    if any(is_own(entry) or is_tool_entry(entry) for entry in objects):
        return Match({})
    flat = [flattened(entry) for entry in objects]
    names = names_of_items(flat)
    # entries that failed need not have the fields; other faults are reported with their place
    is_complete = len(objects) == len(first) and not any(map(has_failed, flat))
    has_mapped = {*names}.issuperset(columns.values())
    required = _required(has_data) if is_complete and has_mapped else ()
    return _match(names, path, places[0], columns, required)


def _required(has_data: bool) -> tuple[str, ...]:
    """The fields that a file of results must have, with or without --data."""
    return _REQUIRED[:1] if has_data else _REQUIRED


def _match(
    names: Sequence[str],
    path: Path,
    where: str,
    columns: Mapping[str, str],
    required: Sequence[str],
) -> Match:
    """The columns; the InputError, with the place, for one that is missing or ambiguous."""
    match = match_columns(names, FIELD_ALIASES, columns, kind="results", required=required)
    if match.ambiguous:
        raise ambiguous_columns(path, *match.ambiguous, "results")
    if match.missing:
        raise _missing(match, names, path, where)
    return match


def _missing(match: Match, names: Sequence[str], path: Path, where: str) -> InputError:
    """The error about all fields that a file lacks."""
    exact = {key for keys in FIELD_ALIASES.values() for key in keys}
    unknown = [name for name in names if name not in exact and not known_names([name])]
    command = (
        f"medr1 infer --model-path MODEL --batch-file {shlex.quote(str(path))} "
        "--output-file results.json"
    )
    if match.missing == ("prediction",) and not unknown:
        return InputError(f"{path}: these are questions; run medr1 infer first: `{command}`.")
    fields = " and no ".join(match.missing).replace("_", " ")
    columns, example = dict.fromkeys(match.missing, "COLUMN"), ""
    if "prediction" in columns and any(unknown):  # the answers are most often the last column
        columns["prediction"] = next(filter(None, reversed(unknown)))
        example = ", for example"
    options = map_options(columns)
    data = ""
    if match.missing != ("prediction",):
        data = "; medr1 eval and compare also take --data QUESTIONS"
    hint = ""
    if "prediction" in match.missing:
        hint = f" If these are questions, run medr1 infer first: `{command}`."
    available = ", ".join(filter(None, names))[:200] or "none"
    return InputError(
        f"{where}: has no {fields}; there are: {available}. Name what it has{example} with "
        f"{options}{data}.{hint}"
    )
