"""The rows of an Arrow table, as Parquet and data sets on disk hold them, to plain values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from medr1.errors import InputError

if TYPE_CHECKING:
    import pyarrow


def faults_of_tables() -> tuple[type[Exception], ...]:
    """What pyarrow raises of a table that is damaged, or of a value that Python cannot hold."""
    import pyarrow

    known = (OSError, ValueError, OverflowError, KeyError, IndexError, TypeError)
    return (*known, pyarrow.ArrowException)


def table_rows(
    table: pyarrow.Table | pyarrow.RecordBatch, path: str, *, first: int = 1
) -> list[dict[str, Any]]:
    """A table's rows; NaN is missing. InputError names the row and column that cannot be read.

    `first` is the number of the table's first row in the file.
    """
    try:
        rows = table.to_pylist()
    except faults_of_tables() as error:
        raise _unreadable(table, path, first, error) from None
    return [
        {k: None if type(v) is float and math.isnan(v) else v for k, v in row.items()}
        for row in rows
    ]


def _unreadable(
    table: pyarrow.Table | pyarrow.RecordBatch, path: str, first: int, error: Exception
) -> InputError:
    """The error about the first value that has no place in Python: not UTF-8, no date, ..."""
    faults = faults_of_tables()
    for row in range(table.num_rows):
        for name, column in zip(table.schema.names, table.columns, strict=True):
            try:
                column[row].as_py()
            except faults as fault:
                said = " ".join(str(fault).split())[:150]
                return InputError(
                    f"{path}, row {row + first}, column {name!r}: {column.type} that cannot be "
                    f"read ({said}). Correct it, or leave the column out."
                )
    said = " ".join(str(error).split())[:150]
    return InputError(f"{path}: rows that cannot be read ({said}). Save it again.")
