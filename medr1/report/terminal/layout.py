"""Aligned lines for the terminal: tables, columns of text, and the wrapped sentences below them.

Names and answers come from files that somebody else wrote. Each cell goes through `clean`, so that
none of them can send control characters to the terminal, and is never read as markup. rich lays out
the tables, always without colours and for the width that it is told, so that the lines are the same
in a pipe. It is imported where it is used: pages and CSV files do not need it.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterable, Sequence

WIDTH = 80
"""Columns of the terminal that tables and sentences take, unless they are told otherwise."""
NAME_WIDTH = 40
"""The most columns of the terminal for the names of rows, the first column of a table."""
_SPACES = "\t\n\v\f\r\x85\u2028\u2029"
HIDDEN = {"Cc", "Cf", "Cs"}
"""Unicode categories of invisible characters: control, format (as text direction), surrogate."""

Row = tuple[str, ...]
"""The cells of one row of a table, the row's name first."""


def clean(value: object) -> str:
    """The value as one line of visible text, without terminal escapes or direction marks."""
    text = "".join(" " if c in _SPACES else c for c in str(value))
    return "".join(c for c in text if unicodedata.category(c) not in HIDDEN).strip()


def _cell(text: str) -> str:
    """The text, cleaned; blanks around it, such as the indentation of a name, are kept."""
    before, after = (len(text) - len(cut) for cut in (text.lstrip(" "), text.rstrip(" ")))
    return " " * before + clean(text) + " " * after if text.strip() else ""


def filled(text: str, width: int = WIDTH, indent: str = "") -> str:
    """The text as lines of at most `width` columns, at least 20.

    Args:
        text: A sentence, or several.
        width: The most columns of a line.
        indent: What the lines after the first begin with.
    """
    return textwrap.fill(clean(text), max(width, 20), subsequent_indent=indent)


def text_width(text: str) -> int:
    """How many columns of a terminal a text takes: East Asian characters two, accents none."""
    from rich.cells import cell_len

    return cell_len(text)


def truncated(text: str, width: int) -> str:
    """The text, shortened with an ellipsis if it is wider than a number of terminal columns.

    Args:
        text: A text without line ends.
        width: The most terminal columns of the result, the ellipsis counted.
    """
    from rich.text import Text

    shortened = Text(text)
    shortened.truncate(width, overflow="ellipsis")
    return shortened.plain


def aligned(
    rows: Sequence[Row],
    width: int = WIDTH,
    *,
    header: Row = (),
    justify: str = "",
    gap: int = 2,
    name_width: int = NAME_WIDTH,
    gives_way: int = 0,
    wraps: bool = False,
) -> list[str]:
    """The lines of rows whose cells stand below each other.

    Args:
        rows: As many cells each as `justify` has letters.
        width: The most columns of the terminal that a line takes, at least 20.
        header: The titles of the columns, if they have any.
        justify: A letter for each column: l for left, r for right, t for cells to the left below
            a title to the right.
        gap: Blanks between two columns.
        name_width: The most columns of the terminal for the first column.
        gives_way: The column that becomes narrower if a line is too long.
        wraps: Whether its cells are wrapped then; else they are shortened with an ellipsis.
    """
    from io import StringIO

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=bool(header), padding=(0, gap, 0, 0), pad_edge=False)
    for place, side in enumerate(justify):
        title = Text(_cell(header[place]) if header else "", no_wrap=True, overflow="ellipsis")
        title.justify = "left" if side == "l" else "right"
        table.add_column(
            title,
            justify="right" if side == "r" else "left",
            no_wrap=place != gives_way,
            max_width=None if place else name_width,
        )
    for row in rows:
        table.add_row(*(Text(_cell(cell), no_wrap=not wraps, overflow="ellipsis") for cell in row))
    output = StringIO()
    console = Console(file=output, width=max(width, 20), color_system=None, _environ={})
    console.print(table)
    return [line.rstrip() for line in output.getvalue().split("\n")[:-1]]


def grid(header: Row, rows: Sequence[Row], width: int = WIDTH) -> list[str]:
    """The lines of a table, names to the left and numbers to the right.

    A row whose second cell is "-" has no value, and its third cell is the reason. The reasons are
    sentences below the table.

    Args:
        header: The titles of the columns.
        rows: As many cells each as the header has.
        width: The most columns of the terminal that a line takes.
    """
    names_by_reason: dict[str, list[str]] = {}
    cells: list[Row] = []
    for row in rows:
        has_reason = len(row) > 2 and row[1] == "-" and row[2]
        if has_reason:
            names_by_reason.setdefault(row[2], []).append(row[0].strip())
        cells.append((*row[:2], "", *row[3:]) if has_reason else row)
    lines = aligned(cells, width, header=header, justify="l" + "r" * (len(header) - 1))
    return [*lines, *_reasons(names_by_reason.items(), width)]


def _reasons(names_by_reason: Iterable[tuple[str, list[str]]], width: int) -> list[str]:
    """Why rows have no value; each reason once, with the names of its rows."""
    return [
        line
        for reason, names in names_by_reason
        for line in filled(f"- {', '.join(names)}: {reason}", width, "  ").split("\n")
    ]
