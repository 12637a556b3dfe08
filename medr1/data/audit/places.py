"""The line on which each item of a file begins, so that a finding can be looked up in an editor."""

from __future__ import annotations

import json
import re
from pathlib import Path

from medr1.data.delimited import rows_with_header
from medr1.data.json_layouts import is_by_line
from medr1.files import read_text

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def item_lines(path: Path) -> list[int] | None:
    """The line on which each item of a file begins, from 1; None where a format has no lines.

    The file has to be one that `read_questions` accepts. A Parquet file and a saved data set have
    no lines.
    """
    if path.is_dir():
        return None
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return None
    if suffix in (".json", ".jsonl", ".ndjson"):
        text = read_text(path)
        if is_by_line(path, text):
            lines = text.split("\n")
            return [number for number, line in enumerate(lines, start=1) if line.strip()]
        return _json_lines(text)
    rows = rows_with_header(path)
    next(rows, None)  # the header
    return [line for line, _ in rows]


def _json_lines(text: str) -> list[int] | None:
    """The line of each item of a JSON list, or of the list under the key "questions"; else None.

    json.loads gives no positions, so the list is walked here, with the decoder for each item.
    """
    position = _skip_space(text, 0)
    if text[position] == "{":
        position = _questions_position(text, position)
    if text[position : position + 1] != "[":
        return None  # another layout of `json_layouts`
    item_positions = []
    position = _skip_space(text, position + 1)
    while text[position] != "]":
        item_positions.append(position)
        position = _skip_value(text, position)
        if text[position] == ",":
            position = _skip_space(text, position + 1)
    # Line ends are counted from item to item, so that the text is read once.
    lines, line, last = [], 1, 0
    for position in item_positions:
        line += text.count("\n", last, position)
        lines.append(line)
        last = position
    return lines


def _questions_position(text: str, position: int) -> int:
    """Where the value of the key "questions" begins, in the object that begins at `position`.

    The end of the object if it has no such key.
    """
    position = _skip_space(text, position + 1)
    while True:
        key, end = _decode(text, position)
        position = _skip_space(text, _skip_space(text, end) + 1)  # the colon
        if key == "questions":
            return position
        position = _skip_value(text, position)
        if text[position] == "}":
            return position
        position = _skip_space(text, position + 1)  # the comma


def _decode(text: str, position: int) -> tuple[object, int]:
    """The JSON value at a position, and the position where it ends."""
    return _DECODER.raw_decode(text, position)


def _skip_value(text: str, position: int) -> int:
    """The next position with a character that is not space, after the value at `position`."""
    return _skip_space(text, _decode(text, position)[1])


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position
