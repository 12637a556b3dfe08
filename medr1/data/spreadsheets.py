"""Rows of a sheet of an .xlsx file, as texts; FILE.xlsx#Sheet names one of several sheets.

A formula has the value that was saved with it. A number is written as the sheet shows it, for the
usual formats: 1.0 of a whole number is "1", and 0.5 with the format 0% is "50%".
"""

from __future__ import annotations

import datetime
import os
import re
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from medr1.errors import InputError
from medr1.files import open_file

Row = tuple[int, list[str]]
"""(line, cells) of a row of a table: the line that it starts in, and the texts of its cells."""
_NAMED_SHEET = re.compile(r"(.+\.xlsx)#(.+)", re.IGNORECASE)
_MAX_BYTES = 1 << 30
"""Largest size in bytes of the parts of the file after they are unpacked."""
_DECIMALS = re.compile(r"(?:#,##)?0(?:\.(0+))?(%?)")
"""The formats of numbers that are followed: 0, 0.00, #,##0.0 (without its commas) and 0.0%."""


def is_spreadsheet(path: Path) -> bool:
    """Whether a path names an .xlsx file or one of its sheets."""
    return file_and_sheet(path)[0].suffix.lower() == ".xlsx"


def file_and_sheet(path: Path) -> tuple[Path, str | None]:
    """The file, and the sheet that FILE.xlsx#Sheet names; None if it names none."""
    match = None if os.path.exists(path) else _NAMED_SHEET.fullmatch(str(path))
    return (Path(match[1]), match[2]) if match else (path, None)


def sheet_rows(path: Path) -> Generator[Row]:
    """The rows of a sheet that are not blank, each with as many cells as the first one.

    Args:
        path: FILE.xlsx, or FILE.xlsx#Sheet.

    Raises:
        InputError: The file is damaged, has several sheets and none is named, or a formula has no
            saved value.
    """
    import openpyxl

    file, sheet = file_and_sheet(path)
    _check_size(file)
    # what openpyxl raises for files that are no spreadsheets, or damaged ones
    errors = (
        *(AttributeError, IndexError, KeyError, TypeError, ValueError),
        *(zipfile.BadZipFile, zlib.error, ParseError),
        *(EOFError, OSError, OverflowError, NotImplementedError, RuntimeError),
    )
    try:
        with closing(openpyxl.load_workbook(file, read_only=True, data_only=True)) as book:
            chosen = _sheet_of(book, path, sheet)
            rows = list(_rows(book[chosen]))
        if any("" in cells for _, cells in rows):
            _require_saved_values(file, chosen, rows)
    except InputError:
        raise
    except errors as error:
        reason = " ".join(str(error).split())[:150]
        raise InputError(
            f"{file} cannot be read as .xlsx ({reason}). Save it again, without a password."
        ) from None
    yield from rows


def _check_size(file: Path) -> None:
    """Refuse a file that is no archive, or whose parts are too large."""
    with open_file(file) as binary:
        try:
            with zipfile.ZipFile(binary) as archive:
                size = sum(part.file_size for part in archive.infolist())
        except zipfile.BadZipFile:
            reason = "is empty" if file.stat().st_size == 0 else "is not an .xlsx file"
            raise InputError(
                f"{file} {reason}. Save it again as .xlsx, without a password."
            ) from None
    if size > _MAX_BYTES:
        raise InputError(f"{file} has more than {_MAX_BYTES >> 30} GB unpacked. Save it as CSV.")


def _sheet_of(book: Any, path: Path, sheet: str | None) -> str:
    """The name of the sheet to read; InputError if it does not exist, or several could be meant."""
    names = [s.title for s in book.worksheets]
    if sheet is not None:
        if sheet in names:
            return sheet
        raise InputError(f"{path}: there is no such sheet; there are: {', '.join(names)[:200]}.")
    visible = [s for s in book.worksheets if s.sheet_state == "visible"]
    filled = [s.title for s in visible if next(_rows(s), None)]
    if len(filled) > 1:
        choices = ", ".join(f"{path}#{name}" for name in filled)
        raise InputError(f"{path} has several sheets. Name one of them: {choices[:300]}.")
    if not filled:
        raise InputError(f"{path} is empty. Put at least one item into its first sheet.")
    return str(filled[0])


def _rows(sheet: Any) -> Iterator[Row]:
    """(number, cells) of each row of a sheet that is not blank."""
    width = 0
    sheet.reset_dimensions()  # the size that the file states may be wrong
    for number, row in enumerate(sheet.iter_rows(), start=1):
        cells = [_text(cell) for cell in row]
        if not any(map(str.strip, cells)):
            continue
        if not width:  # the header: what is to the right of it belongs to no column
            width = max(index for index, text in enumerate(cells, start=1) if text.strip())
        yield number, cells[:width] + [""] * (width - len(cells))


def _text(cell: Any) -> str:
    """The value of a cell as the sheet shows it."""
    value = cell.value
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float):
        return _number(value, str(cell.number_format))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    return str(value)


def _number(value: float, number_format: str) -> str:
    """A number in the format of its cell; with up to 15 digits if the format is another one."""
    match = _DECIMALS.fullmatch(number_format)
    if match is None:
        return format(value, ".15g") if isinstance(value, float) else str(value)
    number = 100 * value if match[2] else value
    return f"{number:.{len(match[1] or '')}f}{match[2]}"


def _require_saved_values(file: Path, sheet: str, rows: list[Row]) -> None:
    """Refuse a sheet with a formula that has no saved value: it would be read as a blank cell."""
    import openpyxl

    blank = {(number, column) for number, cells in rows
             for column, text in enumerate(cells, start=1) if not text}  # fmt: skip
    with closing(openpyxl.load_workbook(file, read_only=True)) as book:
        book[sheet].reset_dimensions()
        for row in book[sheet].iter_rows():
            for cell in row:
                is_formula = cell.value is not None and cell.data_type == "f"
                if is_formula and (cell.row, cell.column) in blank:
                    raise InputError(
                        f"{file}, cell {cell.coordinate}: a formula without a saved value. Open "
                        "the file in a spreadsheet program and save it, or save it as CSV."
                    )
