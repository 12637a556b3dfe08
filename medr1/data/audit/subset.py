"""A part of a file: some of its items, in the same format and with their own keys and values."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from medr1.data.audit.places import item_lines
from medr1.data.json_layouts import is_by_line, items_of
from medr1.data.spreadsheets import is_spreadsheet
from medr1.errors import InputError
from medr1.files import parse_json, read_text, to_json


def subset_of(path: Path, indices: Sequence[int]) -> str | bytes:
    """The content of a file that has only some items of another, in the same format.

    Args:
        path: A file of questions that `read_questions` accepts.
        indices: Positions of the items to keep, from 0, in ascending order.

    Returns:
        Text, or bytes for Parquet.

    Raises:
        InputError: `path` is a data set that was saved as a folder, or an .xlsx file.
    """
    if path.is_dir():
        raise InputError(
            f"{path} is a saved data set, of which no part can be written in the same form. "
            "Save it as JSON, JSONL, CSV or Parquet first."
        )
    suffix = path.suffix.lower()
    if is_spreadsheet(path):
        raise InputError(f"{path}: no part of an .xlsx file is written. Save it as CSV first.")
    if suffix == ".parquet":
        return _parquet_subset(path, indices)
    if suffix in (".csv", ".tsv"):
        lines = item_lines(path) or []
        text = io.StringIO(read_text(path), newline="").readlines()
        return "".join(
            _with_final_line_end(text[: lines[0] - 1] + _item_rows(text, lines, indices))
        )
    text_of_json = read_text(path)
    if is_by_line(path, text_of_json):
        lines = item_lines(path) or []
        rows = _item_rows(text_of_json.split("\n"), lines, indices)
        return "".join(row.rstrip("\r\n") + "\n" for row in rows)
    return _json_subset(path, indices)


def _item_rows(rows: list[str], lines: Sequence[int], indices: Sequence[int]) -> list[str]:
    """The lines of these items; an item reaches to the line where the next one begins."""
    ends = [*(line - 1 for line in lines[1:]), len(rows)]
    return [row for i in indices for row in rows[lines[i] - 1 : ends[i]] if row.strip()]


def _with_final_line_end(rows: list[str]) -> list[str]:
    """The lines, with a line end added to the last one if it has none."""
    return [*rows[:-1], *(row if row.endswith(("\n", "\r")) else f"{row}\n" for row in rows[-1:])]


def _json_subset(path: Path, indices: Sequence[int]) -> str:
    document = parse_json(read_text(path), str(path))
    if isinstance(document, dict) and isinstance(document.get("questions"), list):
        items = document["questions"]
        return to_json({**document, "questions": [items[i] for i in indices]})
    items = items_of(document, path)
    if items is None:
        raise InputError(
            f"{path}: no part of it can be written. Convert it with medr1 data convert."
        )
    return to_json([items[i] for i in indices])


def _parquet_subset(path: Path, indices: Sequence[int]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path).take(pyarrow.array(indices, pyarrow.int64()))
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out)
    return out.getvalue()
