"""The items of a JSON document that is no list: {id: item}, and the layouts of pandas' to_json.

    records    [{"Question": "q", "Answer": "a"}]
    split      {"columns": ["Question", "Answer"], "index": [0], "data": [["q", "a"]]}
    index      {"0": {"Question": "q", "Answer": "a"}}, as {id: item} too
    columns    {"Question": {"0": "q"}, "Answer": {"0": "a"}}
    table      {"schema": {...}, "data": [{"index": 0, "Question": "q", "Answer": "a"}]}
    values     [["q", "a"]]: refused, since it has no names

The names in the index become ids. The numbers 0, 1, 2 ..., which pandas gives to rows without
names, become the column columns.ROW_NUMBER.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from medr1.data.columns import ROW_NUMBER, folded, known_names
from medr1.errors import InputError
from medr1.files import encoding_of

_MIN_COLUMNS = 2
"""Usual names that an object needs for its keys to be columns."""
READ_START = 4096
"""Characters or bytes in which the start of a file shows its layout."""


def items_of(document: object, path: object, mapped: Collection[str] = ()) -> list[Any] | None:
    """The items of a JSON document; None if it has none of the layouts.

    Args:
        document: The parsed JSON.
        path: The file, for messages.
        mapped: The columns that --map names.

    Raises:
        InputError: The document has rows without names of columns.
    """
    if isinstance(document, list):
        if document and all(isinstance(row, list) for row in document):
            raise InputError(
                f"{path} has lists of values without the names of columns. Write it with pandas as "
                f'df.to_json("{path}", orient="records").'
            )
        return document
    if not isinstance(document, dict):
        return None
    names, rows = document.get("columns"), document.get("data")
    if isinstance(names, list) and isinstance(rows, list):
        return _split(names, rows, document.get("index"), path)
    if isinstance(document.get("schema"), dict) and isinstance(rows, list):
        return _table(document["schema"], rows)
    if document and all(isinstance(value, dict) and value for value in document.values()):
        return _nested(document, mapped)
    return None


def _split(names: list[Any], rows: list[Any], index: object, path: object) -> list[Any]:
    """The items of the layout split."""
    if not all(isinstance(row, list) and len(row) == len(names) for row in rows):
        raise InputError(
            f"{path}: a row of 'data' has another number of values than 'columns'. Write it again, "
            f'with pandas as df.to_json("{path}", orient="records").'
        )
    items = [dict(zip(map(str, names), row, strict=True)) for row in rows]
    return _with_ids(items, index) if isinstance(index, list) and len(index) == len(rows) else items


def _table(schema: Mapping[str, Any], rows: list[Any]) -> list[Any]:
    """The items of the layout table, whose index is one more key of each item."""
    key = schema.get("primaryKey")
    if key != ["index"] or not all(isinstance(row, dict) for row in rows):
        return rows
    index = [row.get("index") for row in rows]
    return _with_ids([{k: v for k, v in row.items() if k != "index"} for row in rows], index)


def _nested(document: Mapping[str, dict[str, Any]], mapped: Collection[str]) -> list[Any] | None:
    """The items of {id: item} or {column: {id: value}}; None if neither has a usual name."""
    inner = list(dict.fromkeys(key for value in document.values() for key in value))
    inside, outside = (
        known_names(names) + sum(name in mapped for name in names) for names in (inner, document)
    )
    if outside >= _MIN_COLUMNS and outside > inside:
        rows = [{c: values.get(key) for c, values in document.items()} for key in inner]
        return _with_ids(rows, inner)
    if inside:
        return _with_ids([dict(item) for item in document.values()], list(document))
    return None


def _with_ids(items: list[dict[str, Any]], index: Sequence[object]) -> list[Any]:
    """The items with the names of the index as ids, unless a column has an id."""
    is_numbers = list(map(str, index)) == [str(number) for number in range(len(index))]
    key = ROW_NUMBER if is_numbers else "id"
    if any(folded(name) in ("id", "questionid") for item in items[:1] for name in item):
        return items
    return [{key: str(value), **item} for item, value in zip(items, index, strict=True)]


def has_json_lines(text: str) -> bool:
    """Whether a .json file is JSON lines: a first line with an object, and then another object."""
    first, _, rest = text.lstrip().partition("\n")
    first = first.rstrip()
    return first.startswith("{") and first.endswith("}") and rest.lstrip()[:1] == "{"


def begins_as_json(start: bytes) -> bool:
    """Whether a file begins as a JSON object or list, by its first bytes."""
    return start.decode(encoding_of(start), errors="ignore").lstrip()[:1] in ("{", "[")


def has_one_document(start: bytes) -> bool:
    """Whether a .jsonl file is one JSON document, by its first bytes: a list, or an open "{"."""
    encoding = encoding_of(start)
    text = start.decode(encoding, errors="ignore").lstrip()
    return text[:1] == "[" or text.partition("\n")[0].strip() == "{"


def is_by_line(path: Path, text: str) -> bool:
    """Whether a JSON file has one item per line, whatever its extension.

    Args:
        path: The file.
        text: Its text.
    """
    if path.suffix.lower() == ".json":
        return has_json_lines(text)
    return not has_one_document(text[:READ_START].encode())
