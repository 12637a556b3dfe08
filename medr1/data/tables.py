"""Reads the rows of an Arrow table, from Parquet or a data set on disk, as plain Python values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from medr1.errors import InputError

if TYPE_CHECKING:
    import pyarrow


def table_errors() -> tuple[type[Exception], ...]:
    """The exceptions that pyarrow raises for a damaged table or a value that Python cannot hold."""
    import pyarrow

    errors = (OSError, ValueError, OverflowError, KeyError, IndexError, TypeError)
    return (*errors, pyarrow.ArrowException)


def table_rows(
    table: pyarrow.Table | pyarrow.RecordBatch, path: str, *, first: int = 1
) -> list[dict[str, object]]:
    """The rows of a table, with None for NaN.

    Args:
        table: A table, or a part of one.
        path: The path of its file, for messages.
        first: The number in the file of the table's first row, from 1.

    Raises:
        InputError: If a value cannot be read; it names the row and the column.
    """
    try:
        rows = table.to_pylist()
    except table_errors() as error:
        raise _unreadable(table, path, first, error) from None
    return [
        {k: None if type(v) is float and math.isnan(v) else v for k, v in row.items()}
        for row in rows
    ]


def _unreadable(
    table: pyarrow.Table | pyarrow.RecordBatch, path: str, first: int, error: Exception
) -> InputError:
    """The error for the first value that Python cannot hold, such as a text that is not UTF-8."""
    error_types = table_errors()
    for row in range(table.num_rows):
        for name, column in zip(table.schema.names, table.columns, strict=True):
            try:
                column[row].as_py()
            except error_types as value_error:
                reason = " ".join(str(value_error).split())[:150]
                return InputError(
                    f"{path}, row {row + first}, column {name!r}: {column.type} that cannot be "
                    f"read ({reason}). Correct it, or leave the column out."
                )
    reason = " ".join(str(error).split())[:150]
    return InputError(f"{path}: rows that cannot be read ({reason}). Save it again.")
