"""Items to a file of any format that is read: JSON, JSONL, CSV, Parquet, a data set on disk."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medr1.data.disk import write_dataset
from medr1.data.readers import STARTS_FORMULA
from medr1.errors import InputError
from medr1.files import TEMPORARY, remove, set_aside, to_json, write_atomic

if TYPE_CHECKING:
    import pyarrow

Rows = Sequence[Mapping[str, Any]]

FORMATS = (".json", ".jsonl", ".ndjson", ".csv", ".parquet", "")
"""By the ending of what is written; none is a data set on disk."""


def require_format(output: Path) -> None:
    """InputError for an output whose ending says no format."""
    if output.suffix.lower() not in FORMATS:
        raise InputError(
            f"{output}: the ending {output.suffix!r} is not known. Use {', '.join(FORMATS[:-1])}, "
            "or none for a data set on disk."
        )


def is_table(output: Path) -> bool:
    """Whether the format has columns, and so no objects within an item."""
    return output.suffix.lower() in (".csv", ".parquet", "")


def is_csv(output: Path) -> bool:
    """Whether everything in the format is text."""
    return output.suffix.lower() == ".csv"


def make_way(output: Path, *, overwrite: bool) -> None:
    """Refuse an output that exists, or with overwrite keep it as .bak."""
    require_format(output)
    if not os.path.lexists(output):
        return
    if not overwrite:
        raise InputError(
            f"{output} exists. Choose another name, or --overwrite, which keeps the old as .bak."
        )
    set_aside(output)


def write_rows(rows: Rows, output: Path) -> None:
    """Write the items in the format that the name's ending says, whole or not at all."""
    _WRITERS[output.suffix.lower()](rows, output)


def unfinished(output: Path) -> Path:
    """The name under which an output is written before it is found to be right."""
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


def cell_text(value: Any) -> str:
    """The value as a cell of text that no spreadsheet runs; `readers.unguarded` undoes that."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "'" + text if STARTS_FORMULA.match(text) else text


def _write_parquet(rows: Rows, output: Path) -> None:
    import pyarrow.parquet

    out = io.BytesIO()
    table = _table(rows, output)
    try:
        pyarrow.parquet.write_table(table, out)
    except (pyarrow.ArrowException, ValueError) as error:
        raise _no_table(output, " ".join(str(error).split())[:150]) from None
    write_atomic(output, out.getvalue())


def _write_folder(rows: Rows, output: Path) -> None:
    table = _table(rows, output)
    remove(output)
    write_dataset(output, table.to_pylist(), table.schema, None)


def _table(rows: Rows, output: Path) -> pyarrow.Table:
    import pyarrow

    arrays = {}
    for column in _columns(rows):
        try:
            arrays[column] = pyarrow.array([row.get(column) for row in rows])
        except (pyarrow.ArrowException, OverflowError, ValueError, TypeError):
            raise _no_table(output, f"{column!r} is of several types") from None
    return pyarrow.table(arrays)


def _no_table(output: Path, why: str) -> InputError:
    return InputError(f"{output}: a column has one type, and {why}. Use .jsonl instead.")


def _columns(rows: Rows) -> list[str]:
    """The keys of all rows, in the order in which they first come."""
    return list(dict.fromkeys(key for row in rows for key in row))


_WRITERS: dict[str, Callable[[Rows, Path], None]] = {
    ".json": _write_json,
    ".jsonl": _write_jsonl,
    ".ndjson": _write_jsonl,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    "": _write_folder,
}
