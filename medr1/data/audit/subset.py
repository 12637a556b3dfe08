"""Some items of a file as a file of their own, each spelled as it was."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medr1.data.audit.places import item_lines
from medr1.errors import InputError
from medr1.files import open_file, parse_json, read_text, to_json


def subset_of(path: Path, kept: Sequence[int]) -> str | bytes:
    """The content of a file in the same form and spelling that holds only these items, in order.

    `kept` are indices, ascending. InputError for a data set saved as a folder.
    """
    if path.is_dir():
        raise InputError(
            f"{path} is a saved data set, of which no part can be written in the same form. "
            "Save it as JSON, JSONL, CSV or Parquet first."
        )
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _of_json(path, kept)
    if suffix == ".parquet":
        return _of_parquet(path, kept)
    lines = item_lines(path) or []
    if suffix == ".csv":
        text = io.StringIO(read_text(path), newline="").readlines()
        return "".join(_with_last_line_end(text[: lines[0] - 1] + _items(text, lines, kept)))
    with open_file(path) as file:
        rows = file.readlines()
    return b"".join(row.rstrip(b"\r\n") + b"\n" for row in _items(rows, lines, kept))


def _items(rows: list[Any], lines: Sequence[int], kept: Sequence[int]) -> list[Any]:
    """The lines of these items; each reaches to where the next begins."""
    ends = [*(line - 1 for line in lines[1:]), len(rows)]
    return [row for i in kept for row in rows[lines[i] - 1 : ends[i]] if row.strip()]


def _with_last_line_end(rows: list[str]) -> list[str]:
    return [*rows[:-1], *(row if row.endswith(("\n", "\r")) else f"{row}\n" for row in rows[-1:])]


def _of_json(path: Path, kept: Sequence[int]) -> str:
    document = parse_json(read_text(path), str(path))
    if isinstance(document, dict):
        items = document["questions"]
        return to_json({**document, "questions": [items[i] for i in kept]})
    return to_json([document[i] for i in kept])


def _of_parquet(path: Path, kept: Sequence[int]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path).take(pyarrow.array(kept, pyarrow.int64()))
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out)
    return out.getvalue()
