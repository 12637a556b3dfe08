"""A matrix of results as a terminal table, CSV, Markdown and LaTeX.

Domain names come from other people's files: each form escapes what it would interpret.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medr1.report.csv_tables import csv_text
from medr1.report.tables import (
    Row,
    align_right,
    clean,
    cut,
    grid,
    interval_text,
    terminal_columns,
)

OUTSIDE = "out of domain"
SHARED = "† test images were trained on (the same path in both)."
_CSV_COLUMNS = (
    *("train", "test", "in_domain", "n", "accuracy", "accuracy_lo", "accuracy_hi"),
    *("gain", "gain_lo", "gain_hi", "p", "p_holm", "mark", "shared_items", "shared_images"),
)


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a panel."""

    value: float
    ci95: Sequence[float] | None = None
    mark: str = ""
    """Stars: how surely it differs from the base."""
    shared: bool = False
    """Whether test images were trained on."""
    in_domain: bool = False
    tested: bool = False
    """Whether it is a gain with a p: one without a mark is not shown to be other than zero."""


@dataclass(frozen=True)
class Panel:
    """One table: the accuracies, or the gains."""

    title: str
    columns: list[str]
    """Test domains, and last the average."""
    rows: list[tuple[str, list[Cell | None]]]
    """Reference rows, train domains, and last the average; None where there is no cell."""
    n_reference: int
    """How many rows stand above the train domains."""
    signed: bool

    def text(self, value: float) -> str:
        """A share as its points."""
        return f"{100 * value:+z.1f}" if self.signed else f"{100 * value:.1f}"


def panels(document: Mapping[str, Any]) -> list[Panel]:
    """The accuracies and, where there are base results, the gains over them."""
    found = [_panel(document, "accuracy", "accuracy, %", document["rows"])]
    gains = any(
        c["gain"]["value"] is not None for r in document["cells"].values() for c in r.values()
    )
    return [*found, _panel(document, "gain", "gain over base, points", {})] if gains else found


def _panel(
    document: Mapping[str, Any],
    key: str,
    title: str,
    reference: Mapping[str, Mapping[str, Any]],
) -> Panel:
    tests, averages = document["test"], document["averages"]

    def average(entry: Mapping[str, Any]) -> Cell | None:
        metric = entry[key]
        return None if metric["value"] is None else Cell(metric["value"], metric["ci95"])

    def cell(train: str, test: str) -> Cell | None:
        entry = document["cells"][train].get(test)
        if entry is None or entry[key]["value"] is None:
            return None
        shared = bool(entry["shared"] and entry["shared"]["items"])
        metric = entry[key]
        mark = entry["mark"] if key == "gain" else ""
        tested = key == "gain" and entry["p_holm"] is not None
        return Cell(metric["value"], metric["ci95"], mark, shared, entry["in_domain"], tested)

    rows: list[tuple[str, list[Cell | None]]] = []
    for name, row in reference.items():
        if row:
            metrics = [row.get(test) for test in tests]
            cells = [None if m is None else Cell(m["value"], m["ci95"]) for m in metrics]
            rows.append((name, [*cells, None]))
    n_reference = len(rows)
    for train in document["train"]:
        cells = [cell(train, test) for test in tests]
        rows.append((clean(train), [*cells, average(averages["rows"][train])]))
    below = [average(averages["columns"][test]) for test in tests]
    rows.append((OUTSIDE, [*below, average(averages["out_of_domain"])]))
    return Panel(title, [*map(clean, tests), OUTSIDE], rows, n_reference, key == "gain")


def notes(document: Mapping[str, Any]) -> list[str]:
    """What the signs mean, and what the intervals speak of."""
    levels = ", ".join(f"{mark} p < {p:g}" for mark, p in reversed(document["levels"].items()))
    unit = clean(document["clusters"])
    stars = f"{levels}: differs from the base, sign flips over {unit}, Holm over all cells."
    shared = [c["shared"] for row in document["cells"].values() for c in row.values()]
    return [
        "Rows: trained on; columns: tested on.",
        *([stars] if document["rows"]["base"] else []),
        *([SHARED] if any(entry and entry["items"] for entry in shared) else []),
        f"95 % intervals draw {unit}: they speak of other {unit}, not of other training runs. Each "
        "is for one cell and not adjusted for the others.",
    ]


# --- the terminal -----------------------------------------------------------------------------


def matrix_table(document: Mapping[str, Any], *, width: int = 80, color: bool = False) -> str:
    """The panels, with intervals where they fit the width, then averages, notes, warnings."""
    shown = panels(document)
    parts = [f"{sum(document['n'].values())} items, protocol {document['protocol']}", ""]
    whole = True
    for panel in shown:
        lines, intervals = _terminal_panel(panel, width, color)
        whole = whole and intervals
        parts += [*lines, ""]
    heads = [head for name in _METRICS[: len(shown)] for head in (name, "95 % interval")]
    parts += [*grid(("averages", *heads), _average_rows(document), width, color), ""]
    said = notes(document)
    if not whole:
        said.append("Each cell's interval is in matrix.csv (--output-dir) and in --json.")
    said += [f"! {clean(warning)}" for warning in document["warnings"]]
    parts += [textwrap.fill(note, max(width, 20), subsequent_indent="  ") for note in said]
    return "\n".join(parts)


_METRICS = ("accuracy", "gain")
_LABEL = 20
"""Columns of a terminal for the train domains' names."""


def _average_rows(document: Mapping[str, Any]) -> list[Row]:
    """In- and out-of-domain means over all cells, the figures that the matrix comes down to."""
    rows: list[Row] = []
    for key, name in (("in_domain", "in domain"), ("out_of_domain", OUTSIDE)):
        entry = document["averages"][key]
        cells: list[str] = []
        for metric in _METRICS[: len(panels(document))]:
            value, signed = entry[metric]["value"], metric == "gain"
            sign = "+z" if signed else ""
            cells.append("" if value is None else f"{100 * value:{sign}.1f}")
            cells.append(interval_text(entry[metric]["ci95"], signed))
        n = entry["accuracy"]["n"]
        rows.append((f"{name} ({n} cell{'s' * (n != 1)})", *cells))
    return rows


def _terminal_panel(panel: Panel, width: int, color: bool) -> tuple[list[str], bool]:
    """The lines of one panel, and whether they hold the intervals.

    Columns that do not fit beside each other go into a further table below.
    """
    names = [panel.title.split(" over")[0], *(name for name, _ in panel.rows)]
    label = min(_LABEL, _widest(names))
    columns = [_cells(panel, i, True) for i in range(len(panel.columns))]
    intervals = label + sum(_widest(column) + 2 for column in columns) <= width
    gap = 2
    if not intervals:
        columns, gap = [_cells(panel, i, False) for i in range(len(panel.columns))], 1
    heads, legend = list(panel.columns), []
    pairs = zip(columns, heads, strict=True)
    if label + sum(_widest([head, *column]) + gap for column, head in pairs) > width:
        heads = [*(f"({i})" for i in range(1, len(columns))), "out"]
        legend = _legend([*zip(heads, panel.columns, strict=True)], width)
    columns = [[head, *column] for head, column in zip(heads, columns, strict=True)]
    needed = [_widest(column) + gap for column in columns]
    label = max(min(label, width - sum(needed)), len(OUTSIDE))
    lines: list[str] = []
    start = 0
    while start < len(columns):
        stop = start + 1
        while stop < len(columns) and label + sum(needed[start : stop + 1]) <= width:
            stop += 1
        for place, name in enumerate(names):
            cells = [align_right(columns[i][place], needed[i]) for i in range(start, stop)]
            said = cut(name, label)
            line = f"{said}{' ' * (label - terminal_columns(said))}{''.join(cells)}".rstrip()
            lines.append(f"\x1b[1m{line}\x1b[0m" if color and not place else line)
        start = stop
    return [*lines, *legend], intervals


def _cells(panel: Panel, column: int, intervals: bool) -> list[str]:
    """One column's cells; signs stand behind the figures, which stay below each other."""
    found = []
    for _, cells in panel.rows:
        cell = cells[column]
        if cell is None:
            found.append(("", "", ""))
            continue
        mark = cell.mark if intervals else cell.mark[:1]
        # the panel above has said it of the same cell, and room is short
        mark += "†" if cell.shared and (intervals or not panel.signed) else ""
        about = f" ({interval_text(cell.ci95, panel.signed)})" if intervals and cell.ci95 else ""
        found.append((panel.text(cell.value), mark, about))
    room = max(len(signs) for _, signs, _ in found)
    reach = max(len(about) for _, _, about in found)
    return [f"{value}{signs:<{room}}{about:>{reach}}" for value, signs, about in found]


def _widest(column: Sequence[str]) -> int:
    return max(map(terminal_columns, column))


def _legend(names: Sequence[tuple[str, str]], width: int) -> list[str]:
    """What the numbers of columns stand for, no name broken where it fits a line."""
    text = " ".join(f"{head} {name}".replace(" ", "\0") for head, name in names)
    return [line.replace("\0", " ") for line in textwrap.wrap(text, max(width, 20))]


# --- files ------------------------------------------------------------------------------------


def matrix_csv(document: Mapping[str, Any]) -> str:
    """Long form: a row for each cell, reference and average; missing cells have blank figures."""
    rows: list[dict[str, Any]] = []

    def add(train: str, test: str, entry: Mapping[str, Any], **more: Any) -> None:
        row: dict[str, Any] = {"train": train, "test": test, **more}
        for key in ("accuracy", "gain"):
            metric = entry.get(key) or {"value": None, "ci95": None}
            row[key] = metric["value"]
            row[f"{key}_lo"], row[f"{key}_hi"] = metric["ci95"] or (None, None)
        shared = entry.get("shared") or {}
        row |= {"p": entry.get("p"), "p_holm": entry.get("p_holm"), "mark": entry.get("mark")}
        row |= {f"shared_{key}": shared.get(key) for key in ("items", "images")}
        rows.append(row)

    for name, metrics in document["rows"].items():
        for test, metric in metrics.items():
            add(f"({name})", test, {"accuracy": metric}, n=metric["n"])
    for train in document["train"]:
        for test in document["test"]:
            entry = document["cells"][train].get(test, {})
            add(train, test, entry, n=document["n"][test], in_domain=train == test)
    averages = document["averages"]
    for train, entry in averages["rows"].items():
        add(train, f"({OUTSIDE})", entry, n=entry["accuracy"]["n"])
    for test, entry in averages["columns"].items():
        add(f"({OUTSIDE})", test, entry, n=entry["accuracy"]["n"])
    for key, name in (("in_domain", "(in domain)"), ("out_of_domain", f"({OUTSIDE})")):
        add(name, name, averages[key], n=averages[key]["accuracy"]["n"])
    return csv_text(rows, _CSV_COLUMNS)


def matrix_markdown(document: Mapping[str, Any]) -> str:
    """The panels as tables, with intervals, marks, notes and warnings."""
    parts = []
    for panel in panels(document):
        parts.append(f"**{panel.title}**\n")
        heads = ["", *map(markdown_text, panel.columns)]
        lines = [heads, ["---", *["---:"] * len(panel.columns)]]
        for name, cells in panel.rows:
            lines.append([markdown_text(name), *(_markdown_cell(panel, cell) for cell in cells)])
        parts.append("".join(f"| {' | '.join(line)} |\n" for line in lines))
    for row in _average_rows(document):
        gain = f", gain {row[3]} ({row[4]})" if len(row) > 3 else ""
        parts.append(f"- {row[0]}: accuracy {row[1]} ({row[2]}){gain}")
    parts.append("")
    parts += [f"{markdown_text(note)}\n" for note in notes(document)]
    parts += [f"- {markdown_text(warning)}" for warning in document["warnings"]]
    return "\n".join(parts).rstrip() + "\n"


def _markdown_cell(panel: Panel, cell: Cell | None) -> str:
    if cell is None:
        return ""
    value = markdown_text(panel.text(cell.value) + cell.mark) + ("†" if cell.shared else "")
    value = f"**{value}**" if cell.in_domain else value
    return f"{value} ({interval_text(cell.ci95, panel.signed)})" if cell.ci95 else value


def markdown_text(text: str) -> str:
    """The text with everything escaped that Markdown or HTML in it would interpret."""
    escaped = re.sub(r"([\\`*_{}\[\]()#+!|~$^-])", r"\\\1", clean(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def matrix_latex(document: Mapping[str, Any]) -> str:
    """The panels as plain tabulars that need no package, to be put into a table by \\input."""
    parts = ["% UTF-8; no package needed. In-domain cells are bold."]
    for panel in panels(document):
        parts.append(f"% {panel.title}")
        parts.append(r"\begin{tabular}{l" + "r" * len(panel.columns) + "}\n" + r"\hline")
        heads = [latex_text(panel.title), *map(latex_text, panel.columns)]
        parts.append(" & ".join(heads) + r" \\ \hline")
        for place, (name, cells) in enumerate(panel.rows, start=1):
            row = " & ".join([latex_text(name), *(_latex_cell(panel, cell) for cell in cells)])
            ruled = place in (panel.n_reference, len(panel.rows) - 1)
            parts.append(row + r" \\" + (r" \hline" if ruled else ""))
        parts.append(r"\hline" + "\n" + r"\end{tabular}" + "\n")
    said = [*notes(document), *document["warnings"]]
    parts += [f"% {clean(note)}" for note in said]
    return "\n".join(parts) + "\n"


def _latex_cell(panel: Panel, cell: Cell | None) -> str:
    if cell is None:
        return ""
    number = panel.text(cell.value).replace("-", "$-$").replace("+", "$+$")
    number = rf"\textbf{{{number}}}" if cell.in_domain else number
    marks = cell.mark.replace("*", r"\ast ") + (r"\dagger" if cell.shared else "")
    number += f"$^{{{marks.strip()}}}$" if marks else ""
    if not cell.ci95:
        return number
    around = interval_text(cell.ci95, panel.signed).replace("-", "$-$").replace("+", "$+$")
    return rf"\shortstack[r]{{{number}\\{{\tiny {around}}}}}"


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{c: rf"\{c}" for c in "&%$#_{}"},
    # what makes ligatures, and what \\ would take for its argument
    **{c: f"{{{c}}}" for c in "-`'\"?!,[]*"},
}


def latex_text(text: str) -> str:
    """The text with everything escaped that LaTeX would interpret."""
    return "".join(_LATEX.get(c, c) for c in clean(text))
