"""The content of a chunk as entries, each with its place in the file for error messages.

There is one reader for each kind of content: the lines of JSONL, the items of a JSON list, the rows
of a CSV file, and the rows of a Parquet file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

from medr1.data.items import IMAGE_KEYS
from medr1.data.spreadsheets import Row
from medr1.data.tables import table_rows
from medr1.errors import InputError
from medr1.evaluate.reading.tools.vlmevalkit import image_list
from medr1.files import parse_json

if TYPE_CHECKING:
    import pyarrow

    Content: TypeAlias = bytes | list[object] | tuple[list[str], list[Row]] | pyarrow.RecordBatch
    """The content of a chunk: lines of JSONL, items of a JSON list, the names of the columns and
    the rows of a CSV file, or rows of a Parquet file."""

Entry = tuple[str, object]
"""(place, entry): the place is for error messages, such as "r.csv, line 3"."""
_MISSING = ("", "nan", "NaN")
"""Cells that hold nothing: empty ones, and what pandas writes for a missing value."""
_JSON_STARTS = {"options": ("{", "["), "images": ("[",), "image": ('["',), "metadata": ("{",)}
"""Column whose cells may hold JSON -> how such a cell starts."""


def lines(content: bytes, path: str, first: int) -> Iterator[Entry]:
    """Each line of JSONL that is not blank, parsed.

    Args:
        content: Whole lines, as bytes.
        path: The file, for error messages.
        first: The number of the first line.

    Raises:
        InputError: If a line is not JSON or not UTF-8; the entries before it are yielded first.
    """
    try:
        text, bad_byte = content.decode("utf-8"), None
    except UnicodeDecodeError as error:
        # Decode the lines before the bad one, so that an error in them is reported first, as if the
        # file were read line by line.
        start = content.rfind(b"\n", 0, error.start) + 1
        text, bad_byte = content[:start].decode("utf-8"), error.start - start
    for number, line in enumerate(text.split("\n"), start=first):
        if line and not line.isspace():
            yield f"{path}, line {number}", parse_json(line, path, first_line=number)
    if bad_byte is not None:
        raise InputError(
            f"{path}, line {first + text.count(chr(10))}: not UTF-8 text (byte {bad_byte} of the "
            "line). Save it as UTF-8."
        )


def items(content: list[object], path: str, first: int) -> Iterator[Entry]:
    """Each item of a JSON list.

    Args:
        content: The items.
        path: The file, for error messages.
        first: The number of the first item.
    """
    return ((f"{path}, item {n}", item) for n, item in enumerate(content, start=first))


def rows(content: tuple[list[str], list[Row]], path: str, first: int) -> Iterator[Entry]:
    """Each row of a CSV file as a dictionary; columns without a name are left out.

    An empty cell, and the nan that pandas writes, become None. Cells of options, images and
    metadata may hold JSON.

    Args:
        content: The names of the columns ("" for one to be left out), and the rows.
        path: The file, for error messages.
        first: Not used: each row has its line.

    Raises:
        InputError: If a row has another number of cells than there are columns.
    """
    names, cell_rows = content
    for line, cells in cell_rows:
        where = f"{path}, line {line}"
        if len(cells) != len(names):
            raise InputError(
                f"{where}: {len(cells)} cells for {len(names)} columns. Put cells that hold the "
                "separator or a line break in quotes, and check that the file is complete."
            )
        entry: dict[str, object] = {
            name: None if cell in _MISSING or cell.isspace() else cell
            for name, cell in zip(names, cells, strict=True)
            if name
        }
        for name, starts in _JSON_STARTS.items():
            if isinstance(cell := entry.get(name), str) and cell.lstrip().startswith(starts):
                entry[name] = parse_json(cell, f"{where}, {name!r}")
        for name in IMAGE_KEYS:
            if isinstance(cell := entry.get(name), str) and cell.startswith("['"):
                entry[name] = image_list(cell)
        yield where, entry


def batch(content: pyarrow.RecordBatch, path: str, first: int) -> Iterator[Entry]:
    """Each row of a Parquet batch as a dictionary; NaN becomes None.

    Args:
        content: The batch, with medr1's names for its columns.
        path: The file, for error messages.
        first: The number of the first row.
    """
    for number, row in enumerate(table_rows(content, path, first=first), start=first):
        yield f"{path}, row {number}", row


def entries_of(content: Content, path: str, first: int) -> Iterator[Entry]:
    """The entries of a chunk, by the reader for its kind of content.

    Args:
        content: The content.
        path: The file, for error messages.
        first: The number of the first line, item or row.
    """
    if isinstance(content, bytes):
        return lines(content, path, first)
    if isinstance(content, list):
        return items(content, path, first)
    if isinstance(content, tuple):
        return rows(content, path, first)
    return batch(content, path, first)
