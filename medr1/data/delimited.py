"""Rows of CSV, TSV and .xlsx files, with the encoding and the separator that the file has.

The separator is the one that splits the header into the most usual names of columns, else into the
most cells. csv.Sniffer guesses from the values, and is often wrong.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Collection, Generator, Iterable
from contextlib import closing
from pathlib import Path

from medr1.data.columns import known_names, require_header
from medr1.data.spreadsheets import Row, is_spreadsheet, sheet_rows
from medr1.errors import InputError
from medr1.files import encoding_of, open_file

_SEPARATORS = ",;\t|"
_HEADER_BYTES = 1 << 16
"""Bytes at the start of a file in which its header has to end."""
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
"""The line before the header in which Excel writes the separator."""


def table_header(path: Path, mapped: Collection[str] = ()) -> list[str]:
    """The names of the columns; [] if the file has none.

    Args:
        path: A CSV, TSV or .xlsx file; FILE.xlsx#Sheet for one of its sheets.
        mapped: The columns that --map names.

    Raises:
        InputError: The file cannot be read, or its first line is already an item.
    """
    with closing(rows_with_header(path, mapped)) as rows:
        header = [name.strip() for name in next(rows, (0, []))[1]]
    if not {*mapped} & {*header}:
        require_header(header, path)
    return header


def rows_with_header(path: Path, mapped: Collection[str] = ()) -> Generator[Row]:
    """The rows of a file that are not blank; the first has the names of the columns.

    Args:
        path: A CSV, TSV or .xlsx file; FILE.xlsx#Sheet for one of its sheets.
        mapped: The columns that --map names.

    Raises:
        InputError: The file cannot be read.
    """
    return sheet_rows(path) if is_spreadsheet(path) else _text_rows(path, mapped)


def row_texts(path: Path, mapped: Collection[str] = ()) -> Generator[str]:
    """The text of each row of a CSV or TSV file that is not blank; the first is the header.

    Args:
        path: The file.
        mapped: The columns that --map names.

    Raises:
        InputError: The file cannot be read.
    """
    lines: list[str] = []
    for _ in _text_rows(path, mapped, lines):
        yield "".join(lines).lstrip("\r\n")
        lines.clear()


def _text_rows(
    path: Path, mapped: Collection[str], texts: list[str] | None = None
) -> Generator[Row]:
    """The rows of a CSV or TSV file that are not blank; their lines are appended to `texts`."""
    with open_file(path) as binary:
        start = binary.read(_HEADER_BYTES)
        encoding = encoding_of(start)
        separator, skipped = _separator(start, encoding, path, mapped)
        binary.seek(0)
        file = io.TextIOWrapper(binary, encoding=encoding, newline="")
        lines = file if texts is None else _recorded(file, texts)
        reader = csv.reader(lines, delimiter=separator, strict=True)
        try:
            for _ in range(skipped):
                next(reader)
            line = reader.line_num + 1
            for cells in reader:
                if any(map(str.strip, cells)):
                    yield line, cells
                line = reader.line_num + 1
        except csv.Error as error:
            raise InputError(
                f"{path}, line {reader.line_num}: {error}. Correct it there."
            ) from None
        except UnicodeDecodeError as error:
            raise _not_utf8(path, error) from None


def _recorded(lines: Iterable[str], texts: list[str]) -> Generator[str]:
    """The lines, each of which is also appended to `texts` when it is read."""
    for line in lines:
        texts.append(line)
        yield line


def _separator(start: bytes, encoding: str, path: Path, mapped: Collection[str]) -> tuple[str, int]:
    """(the separator, the number of lines before the header) of a file, by its first bytes."""
    text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(start)
    if match := _SEPARATOR_LINE.match(text):
        return match[1], 1
    ranks = {}
    candidates = "\t,;|" if path.suffix.lower() == ".tsv" else _SEPARATORS
    for separator in candidates:
        cells = _first_row(text.lstrip("\r\n"), separator)
        known = known_names(cells) + sum(cell in mapped for cell in cells)
        ranks[separator] = (known, len(cells))
    return max(candidates, key=ranks.__getitem__), 0


def _first_row(text: str, separator: str) -> list[str]:
    """The cells of the first row, if the text is separated like this; [] if it cannot be."""
    try:
        return [c.strip() for c in next(csv.reader(io.StringIO(text, newline=""),
                                                   delimiter=separator), [])]  # fmt: skip
    except csv.Error:
        return []


def _not_utf8(path: Path, error: UnicodeDecodeError) -> InputError:
    """The error about the first line that is not UTF-8, or about UTF-16 that is cut off."""
    advice = "Save it as UTF-8; in Excel, as the file type CSV UTF-8."
    with open_file(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as fault:
                if error.encoding.startswith("utf-8"):
                    return InputError(
                        f"{path}, line {number}: not UTF-8 text (byte {fault.start} of the line). "
                        f"{advice}"
                    )
                break
    return InputError(f"{path}: not UTF-16 text ({error.reason}). {advice}")
