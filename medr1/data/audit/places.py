"""Where the items of a file stand: the line on which each begins."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

from medr1.files import open_file, read_text

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def item_lines(path: Path) -> list[int] | None:
    """The line on which each item of a file begins, from 1; None where items have no line.

    The file is one that `read_questions` has read. A Parquet file and a saved data set have no
    lines.
    """
    if path.is_dir():
        return None
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        with open_file(path) as file:
            return [n for n, line in enumerate(file, start=1) if line.strip(b" \t\r\n\xef\xbb\xbf")]
    if suffix == ".json":
        return _json_lines(read_text(path))
    return _csv_lines(read_text(path)) if suffix == ".csv" else None


def _json_lines(text: str) -> list[int]:
    """Of a list, or of the list under "questions"."""
    place = _behind_space(text, 0)
    if text[place] == "{":
        place = _list_of_questions(text, place)
    places = []
    place = _behind_space(text, place + 1)
    while text[place] != "]":
        places.append(place)
        place = _behind(text, place)
        if text[place] == ",":
            place = _behind_space(text, place + 1)
    lines, line, last = [], 1, 0
    for place in places:
        line += text.count("\n", last, place)
        lines.append(line)
        last = place
    return lines


def _list_of_questions(text: str, place: int) -> int:
    """Where the value of the key "questions" begins in the object at `place`."""
    place = _behind_space(text, place + 1)
    while True:
        key, end = _decode(text, place)
        place = _behind_space(text, _behind_space(text, end) + 1)  # the colon
        if key == "questions":
            return place
        place = _behind_space(text, _behind(text, place) + 1)  # the comma


def _decode(text: str, place: int) -> tuple[Any, int]:
    return _DECODER.raw_decode(text, place)


def _behind(text: str, place: int) -> int:
    """Where something stands again behind the value at `place`."""
    return _behind_space(text, _decode(text, place)[1])


def _behind_space(text: str, place: int) -> int:
    match = _SPACE.match(text, place)
    return match.end() if match else place


def _csv_lines(text: str) -> list[int]:
    """Of the rows that hold something, as the reader takes them."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    next(rows, None)
    lines, last = [], rows.line_num
    for row in rows:
        if any(cell.strip() for cell in row):
            lines.append(last + 1)
        last = rows.line_num
    return lines
