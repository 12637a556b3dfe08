"""What a chunk holds, to entries: the lines of JSONL, the items of JSON, the rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from medr1.data.tables import table_rows
from medr1.errors import InputError
from medr1.files import parse_json

if TYPE_CHECKING:
    import pyarrow

Entry = tuple[str, Any]
"""Where it stands, for messages, and what stands there."""
Row = tuple[int, list[str]]
"""The line that a row of text starts in, and its cells."""
_MISSING = ("", "nan", "NaN")
_JSON_STARTS = {"options": ("{", "["), "images": ("[",), "image": ('["',), "metadata": ("{",)}
"""Columns whose cells may hold JSON, and how such a cell starts."""


def lines(content: bytes, path: str, first: int) -> Iterator[Entry]:
    """Each line that is not blank, parsed."""
    try:
        text, bad = content.decode("utf-8"), None
    except UnicodeDecodeError as error:  # what stands before it comes first, as it would alone
        start = content.rfind(b"\n", 0, error.start) + 1
        text, bad = content[:start].decode("utf-8"), error.start - start
    for number, line in enumerate(text.split("\n"), start=first):
        if line and not line.isspace():
            yield f"{path}, line {number}", parse_json(line, path, first_line=number)
    if bad is not None:
        raise InputError(
            f"{path}, line {first + text.count(chr(10))}: not UTF-8 text (byte {bad} of the line). "
            "Save it as UTF-8."
        )


def items(content: list[Any], path: str, first: int) -> Iterator[Entry]:
    """Each item of a list."""
    return ((f"{path}, item {n}", item) for n, item in enumerate(content, start=first))


def rows(content: tuple[list[str], list[Row]], path: str, first: int) -> Iterator[Entry]:
    """Each row of text by its columns' names, those without left out.

    A blank cell and pandas' nan are missing.
    """
    names, held = content
    for line, cells in held:
        where = f"{path}, line {line}"
        if len(cells) != len(names):
            raise InputError(
                f"{where}: {len(cells)} cells for {len(names)} columns. Put cells that hold the "
                "separator or a line break into quotes, and see that the file is whole."
            )
        entry: dict[str, Any] = {
            name: None if cell in _MISSING or cell.isspace() else cell
            for name, cell in zip(names, cells, strict=True)
            if name
        }
        for name, starts in _JSON_STARTS.items():
            if (cell := entry.get(name)) is not None and cell.lstrip().startswith(starts):
                entry[name] = parse_json(cell, f"{where}, {name!r}")
        yield where, entry


def batch(content: pyarrow.RecordBatch, path: str, first: int) -> Iterator[Entry]:
    """Each row of a Parquet file's part; NaN is missing."""
    for number, row in enumerate(table_rows(content, path, first=first), start=first):
        yield f"{path}, row {number}", row


ENTRIES: dict[str, Callable[[Any, str, int], Iterator[Entry]]] = {
    "lines": lines,
    "items": items,
    "rows": rows,
    "batch": batch,
}
"""By what a chunk says it holds."""
