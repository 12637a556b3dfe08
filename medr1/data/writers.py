"""Writes items to a file: JSON, JSONL, CSV, Parquet, or a data set on disk (a folder)."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medr1.csv_cells import guard
from medr1.data.disk import write_dataset
from medr1.errors import InputError
from medr1.files import TEMPORARY, needs_overwrite, remove, set_aside, to_json, write_atomic

if TYPE_CHECKING:
    import pyarrow

Rows = Sequence[Mapping[str, object]]
"""Items as they are written: field name -> value."""

FORMATS = (".json", ".jsonl", ".ndjson", ".csv", ".parquet", "")
"""The file extension of each format; a path without one is a data set on disk."""


def require_format(output: Path) -> None:
    """Raise an InputError if the extension of the output is not one of FORMATS."""
    if output.suffix.lower() not in FORMATS:
        raise InputError(
            f"{output}: the extension {output.suffix!r} is not known. Use "
            f"{', '.join(FORMATS[:-1])}, or none for a data set on disk."
        )


def is_table(output: Path) -> bool:
    """Whether the output's format has columns, and so no objects within an item."""
    return output.suffix.lower() in (".csv", ".parquet", "")


def is_csv(output: Path) -> bool:
    """Whether the output is a CSV file, in which all values are texts."""
    return output.suffix.lower() == ".csv"


def prepare_output(output: Path, *, overwrite: bool) -> None:
    """Make sure that an output can be written: no file or folder may have its name.

    Args:
        output: The file or folder to write.
        overwrite: Whether a file or folder that exists is renamed to .bak.

    Raises:
        InputError: If the extension is no format, or the output exists and is not overwritten.
    """
    require_format(output)
    if not os.path.lexists(output):
        return
    if not overwrite:
        raise needs_overwrite(output, "exists")
    set_aside(output)


def write_rows(rows: Rows, output: Path) -> None:
    """Write items in the format of the output's extension, completely or not at all.

    Args:
        rows: The items.
        output: The file to write, or the folder for a data set on disk.

    Raises:
        InputError: If a table cannot hold the values of a column.
        OutputError: If the output cannot be written.
    """
    _WRITERS[output.suffix.lower()](rows, output)


def unfinished_path(output: Path) -> Path:
    """The path at which an output is written first, until it is checked."""
    return output.with_name(f".{output.stem}{TEMPORARY}{output.suffix}")


def _write_json(rows: Rows, output: Path) -> None:
    write_atomic(output, to_json(list(rows)))


def _write_jsonl(rows: Rows, output: Path) -> None:
    write_atomic(output, (json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _write_csv(rows: Rows, output: Path) -> None:
    columns = _columns(rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([cell_text(row.get(column)) for column in columns])
    write_atomic(output, text.getvalue())


def cell_text(value: object) -> str:
    """A value as the text of a cell that no spreadsheet runs as a formula."""
    if value is None:
        return ""
    return guard(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _write_parquet(rows: Rows, output: Path) -> None:
    import pyarrow.parquet

    content = io.BytesIO()
    table = _table(rows, output)
    try:
        pyarrow.parquet.write_table(table, content)
    except (pyarrow.ArrowException, ValueError) as error:
        raise _no_table(output, " ".join(str(error).split())[:150]) from None
    write_atomic(output, content.getvalue())


def _write_folder(rows: Rows, output: Path) -> None:
    table = _table(rows, output)
    remove(output)
    write_dataset(output, table.to_pylist(), table.schema, None)


def _table(rows: Rows, output: Path) -> pyarrow.Table:
    """The items as an Arrow table."""
    import pyarrow

    arrays = {}
    for column in _columns(rows):
        try:
            arrays[column] = pyarrow.array([row.get(column) for row in rows])
        except (pyarrow.ArrowException, OverflowError, ValueError, TypeError):
            raise _no_table(output, f"{column!r} is of several types") from None
    return pyarrow.table(arrays)


def _no_table(output: Path, reason: str) -> InputError:
    return InputError(f"{output}: a column has one type, and {reason}. Use .jsonl instead.")


def _columns(rows: Rows) -> list[str]:
    """The keys of all items, in the order of their first use."""
    return list(dict.fromkeys(key for row in rows for key in row))


_WRITERS: dict[str, Callable[[Rows, Path], None]] = {
    ".json": _write_json,
    ".jsonl": _write_jsonl,
    ".ndjson": _write_jsonl,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    "": _write_folder,
}
