"""Write the items of a file into several files of the same layout, each item as it is.

A part of a JSON, JSONL, CSV or TSV file has the text of its items byte for byte, and all that the
file says beside them. A part of a Parquet file has the columns and types of the file. A sheet of an
.xlsx file is written as CSV, and a layout of pandas that has the items by column as a list.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medr1.csv_cells import guard
from medr1.data.delimited import row_texts, rows_with_header
from medr1.data.json_layouts import READ_START, has_one_document, is_by_line, items_of
from medr1.data.spreadsheets import file_and_sheet, is_spreadsheet
from medr1.data.tables import table_errors
from medr1.errors import InputError
from medr1.files import open_file, parse_json, read_text, utf8_stream, write_atomic

_BLANKS = re.compile(r"[ \t\r\n]*")
_JSON = json.JSONDecoder()
_BYTE_ORDER_MARK = "\ufeff"
_NO_NAME = re.compile(r"[^\w.()+-]+|(?<!\d)\.|\.(?!\d)")
"""What the name of a part does not have: blanks, and dots that are not in a number."""
_RESERVED = {
    *("con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))),
    *("audit", "confusion", "items", "manifest", "medr1", "robustness", "summary"),
}
"""Names of devices on Windows, and of files that medr1 does not take for results."""
_MAX_NAME = 80
WITHOUT_VALUE = "none"
"""The name of the part with the items that have no value."""


def part_names(values: Iterable[str | None]) -> dict[str | None, str]:
    """A file name, without its ending, for each value; different values have different names.

    Args:
        values: The values, such as modalities; None for items without one.

    Returns:
        Value -> name: "MR (Mag-netic Resonance)" -> "MR-Mag-netic-Resonance". Upper and lower case
        are the same file on some systems, so they alone do not tell two names apart.
    """
    distinct = dict.fromkeys(values)
    names: dict[str | None, str] = {None: WITHOUT_VALUE} if None in distinct else {}
    used = {*_RESERVED, *names.values()}
    for value in sorted(value for value in distinct if value is not None):
        plain = re.sub(r"[()]", "-", _NO_NAME.sub("-", value))
        start = re.sub("-{2,}", "-", plain)[:_MAX_NAME].strip("-") or "value"
        name, number = start, 1
        while name.casefold() in used:
            number += 1
            name = f"{start}-{number}"
        used.add(name.casefold())
        names[value] = name
    return names


def part_suffix(path: Path) -> str:
    """The file extension of the parts of a file."""
    return ".csv" if is_spreadsheet(path) else path.suffix.lower()


def write_parts(
    path: Path, parts: Sequence[Path], *, list_keys: Collection[str], mapped: Collection[str] = ()
) -> None:
    """Write each item of a file to its part. Files that exist are replaced.

    Args:
        path: The file.
        parts: For each item, in order, the file to write it to.
        list_keys: The keys under which a JSON object may have the list of items, the first one
            that it has counts: "results", or "questions".
        mapped: The columns that --map names.

    Raises:
        InputError: The file cannot be read.
        OutputError: A part cannot be written.
    """
    if path.suffix.lower() == ".parquet":
        _write_parquet(path, parts)
        return
    layout = _layout(path, list_keys, mapped)
    for part in dict.fromkeys(parts):
        write_atomic(part, layout.part([name == part for name in parts]))


@dataclass(frozen=True)
class _TextLayout:
    """The text of a file around and between its items."""

    head: str
    items: Callable[[], Iterable[str]]
    """Reads the text of every item; JSONL and CSV are read again for each part."""
    separator: str = ""
    tail: str = ""

    def part(self, is_chosen: Sequence[bool]) -> Iterator[str]:
        """The text of a file with some of the items, in pieces."""
        yield self.head
        between = ""
        for item, is_in in zip(self.items(), is_chosen, strict=True):
            if is_in:
                yield between + item
                between = self.separator
        yield self.tail


def _layout(path: Path, list_keys: Collection[str], mapped: Collection[str]) -> _TextLayout:
    """The layout of a file, by its extension and content."""
    if is_spreadsheet(path):
        return _sheet(path, mapped)
    if path.suffix.lower() in (".csv", ".tsv"):
        texts = row_texts(path, mapped)
        with open_file(path) as file:
            mark = _BYTE_ORDER_MARK if file.read(3) == b"\xef\xbb\xbf" else ""
        return _TextLayout(mark + next(texts, ""), lambda: _after_first(row_texts(path, mapped)))
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        with open_file(path) as file:
            start = file.read(READ_START)
        if not has_one_document(start):
            return _TextLayout("", lambda: _lines(path))
    text = read_text(path)
    if is_by_line(path, text):
        return _TextLayout("", lambda: _lines(path))
    return _document(path, text, list_keys, mapped)


def _after_first(texts: Iterator[str]) -> Iterator[str]:
    """The rows after the header, each with its line end."""
    next(texts, None)
    return (text if text.endswith(("\n", "\r")) else f"{text}\n" for text in texts)


def _lines(path: Path) -> Iterator[str]:
    """The lines of a JSONL file that are not blank."""
    with open_file(path) as binary, utf8_stream(binary, path) as file:
        while line := file.readline():
            if (text := line.decode("utf-8").strip("\r\n")) and not text.isspace():
                yield f"{text}\n"


def _sheet(path: Path, mapped: Collection[str]) -> _TextLayout:
    """A sheet of an .xlsx file as CSV."""
    rows = [_csv_row(cells) for _, cells in rows_with_header(path, mapped)]
    return _TextLayout(rows[0] if rows else "", lambda: rows[1:])


def _csv_row(cells: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(map(guard, cells))
    return text.getvalue()


# --- JSON -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Span:
    """A list or an object in a JSON text."""

    text: str
    start: int
    """The position of its opening bracket."""
    end: int
    """The position after its closing bracket."""
    parts: list[tuple[int, int]]
    """Start and end of each element or, in an object, of each key with its value."""

    @property
    def lead(self) -> str:
        """The white space before its first part."""
        return self.text[self.start + 1 : self.parts[0][0]]

    @property
    def trail(self) -> str:
        """The white space after its last part."""
        return self.text[self.parts[-1][1] : self.end - 1]

    def texts(self) -> list[str]:
        """The text of each part."""
        return [self.text[first:end] for first, end in self.parts]


def _span(text: str, start: int) -> _Span:
    """The list or object that opens at a position of a valid JSON text."""

    def after_blanks(position: int) -> int:
        blanks = _BLANKS.match(text, position)
        return blanks.end() if blanks else position

    parts = []
    position = after_blanks(start + 1)
    while text[position] not in "]}":
        first = position
        if text[start] == "{":
            position = after_blanks(_JSON.raw_decode(text, position)[1])
            position = after_blanks(position + 1)  # behind the colon
        position = _JSON.raw_decode(text, position)[1]
        parts.append((first, position))
        position = after_blanks(position)
        if text[position] == ",":
            position = after_blanks(position + 1)
    return _Span(text, start, position + 1, parts)


def _document(
    path: Path, text: str, list_keys: Collection[str], mapped: Collection[str]
) -> _TextLayout:
    """The layout of one JSON document; its items are there, since they were read before."""
    document = parse_json(text, str(path))
    whole = _span(text, len(text) - len(text.lstrip()))
    if isinstance(document, list):
        return _items_between(text[: whole.start + 1], whole, text[whole.end - 1 :])
    for place, (key, value) in enumerate(document.items()):
        if key in list_keys and isinstance(value, list):
            return _list_in_object(whole, place, list(document))
    items = items_of(document, path, mapped) or []
    # {id: item} has an item for each key, with the same keys in it
    if len(items) == len(document) and all(
        item.keys() >= value.keys() for item, value in zip(items, document.values(), strict=True)
    ):
        return _items_between(text[: whole.start + 1], whole, text[whole.end - 1 :])
    texts = [json.dumps(item, ensure_ascii=False) for item in items]
    return _TextLayout("[\n", lambda: texts, ",\n", "\n]\n")


def _items_between(head: str, span: _Span, tail: str) -> _TextLayout:
    """The layout of items that are the parts of a list or an object."""
    return _TextLayout(head + span.lead, span.texts, f",{span.lead}", span.trail + tail)


def _list_in_object(whole: _Span, place: int, keys: Sequence[str]) -> _TextLayout:
    """The layout of an object with a list of items.

    The `accuracy` beside results that medr1 did not write is that of all items, so it is left out.

    Args:
        whole: The object.
        place: Which of its values is the list.
        keys: All its keys.
    """
    left_out = () if "schema" in keys else ("accuracy",)
    texts = [
        None if key in left_out else text for key, text in zip(keys, whole.texts(), strict=True)
    ]
    first, end = whole.parts[place]
    items = _span(whole.text, whole.text.index("[", first + len(json.dumps(keys[place])) - 1))
    before = "".join(f"{text},{whole.lead}" for text in texts[:place] if text is not None)
    after = "".join(f",{whole.lead}{text}" for text in texts[place + 1 :] if text is not None)
    head = whole.text[: whole.start + 1] + whole.lead + before + whole.text[first : items.start + 1]
    tail = whole.text[items.end - 1 : end] + after + whole.trail + whole.text[whole.end - 1 :]
    return _items_between(head, items, tail)


# --- Parquet ----------------------------------------------------------------------------------


def _write_parquet(path: Path, parts: Sequence[Path]) -> None:
    """Write the rows of a Parquet file to their parts, with the columns and types of the file."""
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(file_and_sheet(path)[0])
        for part in dict.fromkeys(parts):
            content = io.BytesIO()
            rows = table.filter(pyarrow.array([name == part for name in parts]))
            pyarrow.parquet.write_table(rows, content)
            write_atomic(part, content.getvalue())
    except table_errors() as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split())[:150]
        raise InputError(f"{path} cannot be read as Parquet ({reason}). Save it again.") from None
