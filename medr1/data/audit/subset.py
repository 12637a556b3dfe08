"""A part of a file: some of its items, in the same format and with their own keys and values."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import AnyStr

from medr1.data.audit.places import item_lines
from medr1.errors import InputError
from medr1.files import open_file, parse_json, read_text, to_json


def subset_of(path: Path, indices: Sequence[int]) -> str | bytes:
    """The content of a file that has only some items of another, in the same format.

    Args:
        path: A file of questions that `read_questions` accepts.
        indices: Positions of the items to keep, from 0, in ascending order.

    Returns:
        Text for JSON and CSV; bytes for JSON Lines and Parquet.

    Raises:
        InputError: `path` is a data set that was saved as a folder.
    """
    if path.is_dir():
        raise InputError(
            f"{path} is a saved data set, of which no part can be written in the same form. "
            "Save it as JSON, JSONL, CSV or Parquet first."
        )
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _json_subset(path, indices)
    if suffix == ".parquet":
        return _parquet_subset(path, indices)
    lines = item_lines(path) or []
    # The remaining formats are copied line by line: a CSV file with its header, and JSON Lines.
    if suffix == ".csv":
        text = io.StringIO(read_text(path), newline="").readlines()
        return "".join(
            _with_final_line_end(text[: lines[0] - 1] + _item_rows(text, lines, indices))
        )
    with open_file(path) as file:
        rows = file.readlines()
    return b"".join(row.rstrip(b"\r\n") + b"\n" for row in _item_rows(rows, lines, indices))


def _item_rows(rows: list[AnyStr], lines: Sequence[int], indices: Sequence[int]) -> list[AnyStr]:
    """The lines of these items; an item reaches to the line where the next one begins."""
    ends = [*(line - 1 for line in lines[1:]), len(rows)]
    return [row for i in indices for row in rows[lines[i] - 1 : ends[i]] if row.strip()]


def _with_final_line_end(rows: list[str]) -> list[str]:
    """The lines, with a line end added to the last one if it has none."""
    return [*rows[:-1], *(row if row.endswith(("\n", "\r")) else f"{row}\n" for row in rows[-1:])]


def _json_subset(path: Path, indices: Sequence[int]) -> str:
    document = parse_json(read_text(path), str(path))
    if isinstance(document, dict):
        items = document["questions"]
        return to_json({**document, "questions": [items[i] for i in indices]})
    return to_json([document[i] for i in indices])


def _parquet_subset(path: Path, indices: Sequence[int]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path).take(pyarrow.array(indices, pyarrow.int64()))
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out)
    return out.getvalue()
