"""Cells of CSV files that a spreadsheet does not run as formulas."""

from __future__ import annotations

import re

_PLAIN_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_FORMULA_START = re.compile(r"[\t\r]|[ \n']*[=+@\t\r\uff1d\uff0b\uff0d\uff20-]")
"""The start of a cell that a spreadsheet might run as a formula, also after blanks, line ends and
"'", which it may drop. Some spreadsheets read the full-width forms of = + - @ like these."""


def guard(text: str) -> str:
    """The text of a cell, with a "'" before it if a spreadsheet might run it as a formula.

    Such as "=1+1" -> "'=1+1", while the number "-1" stays. A text that already is a "'" and a
    formula gets one more "'", so that `unguard` can undo exactly this.
    """
    if _PLAIN_NUMBER.fullmatch(text) or not _FORMULA_START.match(text):
        return text
    return "'" + text


def unguard(cell: str) -> str:
    """The text that `guard` was given, without its "'"."""
    return cell[1:] if cell[:1] == "'" and _FORMULA_START.match(cell, 1) else cell
