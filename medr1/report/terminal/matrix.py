"""What `medr1 matrix` writes: training domains by test domains as text, CSV, Markdown and LaTeX.

A cell is the accuracy of a model that was trained on one domain (row) and tested on another
(column), or its gain over the base model. On the diagonal the domains are the same: in domain.
Names of domains come from files that somebody else wrote, so each format escapes them.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from medr1.documents.matrix import Average, Matrix, MatrixCell
from medr1.documents.metric import Metric, value_of
from medr1.report.csv_tables import csv_text
from medr1.report.terminal.layout import (
    WIDTH,
    Row,
    aligned,
    clean,
    filled,
    grid,
    text_width,
    truncated,
)
from medr1.report.terminal.tables import interval_text
from medr1.terminal import counted

OUTSIDE = "out of domain"
SHARED = "† some test images are in the training data (same path in both)."
_CSV_COLUMNS = (
    *("train", "test", "in_domain", "n", "accuracy", "accuracy_lo", "accuracy_hi"),
    *("gain", "gain_lo", "gain_hi", "p", "p_holm", "mark", "shared_items", "shared_images"),
)


@dataclass(frozen=True)
class Cell:
    """One cell of a panel, shares in [0, 1]."""

    value: float
    ci95: tuple[float, float] | None = None
    mark: str = ""
    """Stars for the significance of the gain over the base, such as "**"; else empty."""
    shared: bool = False
    """Whether test images are in the training data."""
    in_domain: bool = False
    tested: bool = False
    """Whether it is a gain with a p value. Tested and without a mark: not significant."""


@dataclass(frozen=True)
class Panel:
    """One of the tables: the accuracies, or the gains over the base model."""

    title: str
    columns: list[str]
    """The names of the test domains, and last the average out of domain."""
    rows: list[tuple[str, list[Cell | None]]]
    """Name and cells of each row: reference rows (chance, without image, base), training domains,
    and last the average out of domain. None where there is no cell."""
    n_reference: int
    """How many of the rows are reference rows."""
    signed: bool
    """Whether numbers have a sign, as gains do."""

    def text(self, value: float) -> str:
        """A share in percent, or a gain in percentage points: "47.5" or "+10.0"."""
        return f"{100 * value:+z.1f}" if self.signed else f"{100 * value:.1f}"


def panels(document: Matrix) -> list[Panel]:
    """The panel of accuracies and, if there are base results, that of gains over them."""
    accuracies = _panel(document, gains=False)
    if all(cell.gain.value is None for cell in _all_cells(document)):
        return [accuracies]
    return [accuracies, _panel(document, gains=True)]


def _all_cells(document: Matrix) -> list[MatrixCell]:
    return [cell for row in document.cells.values() for cell in row.values()]


def _panel(document: Matrix, *, gains: bool) -> Panel:
    """The panel of the gains over the base, or that of the accuracies with its reference rows."""
    tests, averages = document.test_domains, document.averages

    def average(entry: Average) -> Cell | None:
        return _untested(entry.gain if gains else entry.accuracy)

    def cell(train: str, test: str) -> Cell | None:
        entry = document.cells[train].get(test)
        if entry is None:
            return None
        shared = _has_shared_images(entry)
        if not gains:
            return _untested(entry.accuracy, shared, entry.in_domain)
        if entry.gain.value is None:
            return None
        tested = entry.p_holm is not None
        return Cell(entry.gain.value, entry.gain.ci95, entry.mark, shared, entry.in_domain, tested)

    rows = [] if gains else _reference_rows(document)
    n_reference = len(rows)
    for train in document.train_domains:
        cells = [cell(train, test) for test in tests]
        rows.append((clean(train), [*cells, average(averages.rows[train])]))
    column_averages = [average(averages.columns[test]) for test in tests]
    rows.append((OUTSIDE, [*column_averages, average(averages.out_of_domain)]))
    title = "gain over base, points" if gains else "accuracy, %"
    return Panel(title, [*map(clean, tests), OUTSIDE], rows, n_reference, gains)


def _reference_rows(document: Matrix) -> list[tuple[str, list[Cell | None]]]:
    """The rows above the training domains: name and cells of those that have a cell."""
    reference = document.reference_rows
    rows: list[tuple[str, list[Cell | None]]] = []
    for name, metrics in (
        ("chance", reference.chance),
        ("without image", reference.blind),
        ("base", reference.base),
    ):
        if metrics:
            cells = [
                _untested(metrics[test]) if test in metrics else None
                for test in document.test_domains
            ]
            rows.append((name, [*cells, None]))
    return rows


def _untested(metric: Metric, shared: bool = False, in_domain: bool = False) -> Cell | None:
    """The cell of a metric without a test of significance; None if it has no value."""
    if metric.value is None:
        return None
    return Cell(metric.value, metric.ci95, shared=shared, in_domain=in_domain)


def _has_shared_images(cell: MatrixCell) -> bool:
    """Whether test images are in the training data, as far as that is known."""
    return cell.shared_images is not None and cell.shared_images.items > 0


def notes(document: Matrix) -> list[str]:
    """The notes below a matrix: what the marks mean, and what the intervals generalise to."""
    levels = document.significance_levels
    stars = ", ".join(f"{mark} p < {p:g}" for mark, p in reversed(levels.items()))
    # the same for all test domains; a matrix without any test domain has no items either
    unit = next((clusters.unit for clusters in document.clusters.values()), "image")
    units = f"{clean(unit)}s"
    significance = (
        f"{stars}: differs from the base, by sign-flip tests over {units} with Holm's correction "
        "for all cells."
    )
    return [
        "Rows: trained on; columns: tested on.",
        *([significance] if document.reference_rows.base else []),
        *([SHARED] if any(map(_has_shared_images, _all_cells(document))) else []),
        f"95 % CIs resample {units}: they hold for other {units}, not for other training runs. "
        "Each is for one cell and is not adjusted for the others.",
    ]


# --- the terminal -----------------------------------------------------------------------------


def matrix_table(document: Matrix, *, width: int = WIDTH) -> str:
    """What the command prints: the panels, then averages, notes and warnings.

    Args:
        document: The matrix (`evaluate.matrix.matrix`).
        width: Columns of the terminal. The cells' intervals are shown if they fit.
    """
    all_panels = panels(document)
    parts = [f"{sum(document.n.values())} items, protocol {document.protocol}", ""]
    has_all_intervals = True
    for panel in all_panels:
        lines, has_intervals = _terminal_panel(panel, width)
        has_all_intervals = has_all_intervals and has_intervals
        parts += [*lines, ""]
    names = ("accuracy, %", "gain, points")[: len(all_panels)]
    heads = [head for name in names for head in (name, "95 % CI")]
    parts += [*grid(("averages", *heads), _average_rows(document), width), ""]
    if rows := gap_rows(document):
        parts += [*grid(GAP_HEADER, rows, width), ""]
    texts = [*notes(document), *gap_notes(document)]
    if not has_all_intervals:
        texts.append("Each cell's interval is in matrix.csv (--output-dir) and in --json.")
    texts += [f"! {warning}" for warning in document.warnings]
    parts += [filled(text, width, "  ") for text in texts]
    return "\n".join(parts)


GAP_HEADER: Row = ("tested on", "own model", "others", "95 % CI", "gap", "95 % CI")


def gap_rows(document: Matrix) -> list[Row]:
    """For each test domain: its own model, the mean of the others, and the gap, in percent.

    Args:
        document: The matrix.
    """
    if document.generalization is None:
        return []
    rows: list[Row] = [
        (
            name,
            f"{100 * entry.in_domain:.1f}",
            f"{100 * value_of(entry.others):.1f}",
            interval_text(entry.others.ci95),
            f"{100 * value_of(entry.gap):+.1f}",
            interval_text(entry.gap.ci95, True),
        )
        for name, entry in document.generalization.domains.items()
    ]
    mean = document.generalization.mean_gap
    if len(rows) > 1:
        mean_cells = f"{100 * value_of(mean):+.1f}", interval_text(mean.ci95, True)
        rows.append((f"mean of {len(rows)} domains", "", "", "", *mean_cells))
    return rows


def gap_notes(document: Matrix) -> list[str]:
    """Sentences on the gaps: what they are, and how they go with the distance of the answers.

    Args:
        document: The matrix.
    """
    entry = document.generalization
    if entry is None or not entry.domains:
        return []
    texts = [
        "Gap: accuracy of the model that was trained on the domain, minus the mean of those that "
        "were trained on other domains (leave one domain out)."
    ]
    if entry.rank_correlation is not None:
        texts.append(
            f"Distance of the answers and drop of accuracy: Spearman's rho "
            f"{entry.rank_correlation:.2f} over {len(entry.pairs)} pairs of domains, which are not "
            "independent. The distance compares ground truths, not images."
        )
    if entry.image_model is not None:
        rho = entry.image_rank_correlation
        value = "not computed (fewer than 4 pairs, or equal drops)" if rho is None else f"{rho:.2f}"
        texts.append(
            f"Distance of the images (kernel distance of embeddings by {entry.image_model}) and "
            f"drop of accuracy: Spearman's rho {value}. matrix.html lists the pairs."
        )
    return texts


_LABEL = 20
"""The most terminal columns for the names of the training domains."""
_UNLIMITED = 10_000
"""Columns in which each panel fits."""


def _average_rows(document: Matrix) -> list[Row]:
    """The means over all cells in domain and out of domain, which sum up the matrix."""
    averages = document.averages
    rows: list[Row] = []
    for name, average in (("in domain", averages.in_domain), (OUTSIDE, averages.out_of_domain)):
        cells: list[str] = []
        for panel in panels(document):
            metric = average.gain if panel.signed else average.accuracy
            cells.append("" if metric.value is None else panel.text(metric.value))
            cells.append(interval_text(metric.ci95, panel.signed))
        rows.append((f"{name} ({counted(average.accuracy.n, 'cell')})", *cells))
    return rows


def _terminal_panel(panel: Panel, width: int) -> tuple[list[str], bool]:
    """The lines of one panel, and whether they contain the intervals.

    What does not fit the width is saved in steps: first the intervals are left out, then test
    domains are numbered with a legend below, then the columns go on in a further table below.
    """
    every = range(len(panel.columns))
    lines = _panel_lines(panel, panel.columns, every, with_intervals=True)
    if _fits(lines, width):
        return lines, True
    lines = _panel_lines(panel, panel.columns, every)
    if _fits(lines, width):
        return lines, False
    heads = [*(f"({i})" for i in every[1:]), "out"]
    lines, start = [], 0
    while start < len(heads):  # as many columns in each table as fit
        stop = start + 1
        while stop < len(heads) and _fits(
            _panel_lines(panel, heads, range(start, stop + 1)), width
        ):
            stop += 1
        lines += _panel_lines(panel, heads, range(start, stop))
        start = stop
    return [*lines, *_legend([*zip(heads, panel.columns, strict=True)], width)], False


def _fits(lines: Sequence[str], width: int) -> bool:
    """Whether no line had to be shortened or is too wide."""
    return all(line == truncated(line, width) for line in lines)


def _panel_lines(
    panel: Panel, heads: Sequence[str], places: range, with_intervals: bool = False
) -> list[str]:
    """The lines of some columns of a panel, as wide as they are.

    Args:
        panel: The panel.
        heads: The titles of all its columns.
        places: Which of the columns.
        with_intervals: Whether cells have their intervals. A title then starts where the numbers
            do, also above cells without an interval.
    """
    names = [name for name, _ in panel.rows]
    columns = []
    for place in places:
        head_width = 0 if with_intervals else text_width(heads[place])
        cells = _column_texts(panel, place, with_intervals)
        columns.append([cell.rjust(head_width) for cell in cells])
    return aligned(
        [*zip(names, *columns, strict=True)],
        _UNLIMITED,
        header=(panel.title.split(" over")[0], *(heads[place] for place in places)),
        justify="l" + ("l" if with_intervals else "t") * len(places),
        gap=2 if with_intervals else 1,
        name_width=_LABEL,
    )


def _column_texts(panel: Panel, column: int, with_intervals: bool) -> list[str]:
    """The cells of one column, equally wide: number, marks and interval each below each other."""
    pieces = []
    for _, cells in panel.rows:
        cell = cells[column]
        if cell is None:
            pieces.append(("", "", ""))
            continue
        marks = cell.mark if with_intervals else cell.mark[:1]
        # without intervals room is short, and the panel of accuracies has the dagger already
        marks += "†" if cell.shared and (with_intervals or not panel.signed) else ""
        has_interval = with_intervals and cell.ci95
        interval = f" ({interval_text(cell.ci95, panel.signed)})" if has_interval else ""
        pieces.append((panel.text(cell.value), marks, interval))
    value_width, marks_width, interval_width = (
        max(map(len, column)) for column in zip(*pieces, strict=True)
    )
    return [
        f"{value:>{value_width}}{marks:<{marks_width}}{interval:>{interval_width}}"
        for value, marks, interval in pieces
    ]


def _legend(names: Sequence[tuple[str, str]], width: int) -> list[str]:
    """What the numbers of the columns mean; a line ends between names, not within one."""
    # a name's blanks are replaced while the lines are wrapped, so that none is a place to break
    text = " ".join(f"{head} {name}".replace(" ", "\0") for head, name in names)
    return [line.replace("\0", " ") for line in textwrap.wrap(text, max(width, 20))]


# --- files ------------------------------------------------------------------------------------


def matrix_csv(document: Matrix) -> str:
    """matrix.csv, long form: rows for cells, references and averages. A missing cell is blank."""
    reference, averages = document.reference_rows, document.averages
    outside = f"({OUTSIDE})"
    rows: list[dict[str, object]] = [
        {"train": name, "test": test, "n": metric.n, **_csv_metric("accuracy", metric)}
        for name, metrics in (
            ("(chance)", reference.chance),
            ("(blind)", reference.blind),
            ("(base)", reference.base),
        )
        for test, metric in metrics.items()
    ]
    rows += [
        {
            "train": train,
            "test": test,
            "in_domain": train == test,
            "n": document.n[test],
            **_csv_cell(document.cells[train].get(test)),
        }
        for train in document.train_domains
        for test in document.test_domains
    ]
    rows += [
        {"train": train, "test": test, "n": average.accuracy.n, **_csv_metrics(average)}
        for train, test, average in (
            *((train, outside, average) for train, average in averages.rows.items()),
            *((outside, test, average) for test, average in averages.columns.items()),
            ("(in domain)", "(in domain)", averages.in_domain),
            (outside, outside, averages.out_of_domain),
        )
    ]
    return csv_text(rows, _CSV_COLUMNS)


def _csv_cell(cell: MatrixCell | None) -> dict[str, object]:
    """The columns with the results of a cell; none if it is missing."""
    if cell is None:
        return {}
    columns = {**_csv_metrics(cell), "p": cell.p, "p_holm": cell.p_holm, "mark": cell.mark}
    if shared := cell.shared_images:
        columns |= {"shared_items": shared.items, "shared_images": shared.images}
    return columns


def _csv_metrics(entry: MatrixCell | Average) -> dict[str, object]:
    """The columns of the accuracy and of the gain."""
    return {**_csv_metric("accuracy", entry.accuracy), **_csv_metric("gain", entry.gain)}


def _csv_metric(name: str, metric: Metric) -> dict[str, object]:
    """The columns of a metric: its value, and both bounds of its interval."""
    low, high = metric.ci95 or (None, None)
    return {name: metric.value, f"{name}_lo": low, f"{name}_hi": high}


def matrix_markdown(document: Matrix) -> str:
    """The panels as Markdown tables, with intervals, marks, notes and warnings."""
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
    parts += [f"- {markdown_text(warning)}" for warning in document.warnings]
    return "\n".join(parts).rstrip() + "\n"


def _markdown_cell(panel: Panel, cell: Cell | None) -> str:
    if cell is None:
        return ""
    value = markdown_text(panel.text(cell.value) + cell.mark) + ("†" if cell.shared else "")
    value = f"**{value}**" if cell.in_domain else value
    return f"{value} ({interval_text(cell.ci95, panel.signed)})" if cell.ci95 else value


def markdown_text(text: str) -> str:
    """The text, with the special characters of Markdown and HTML escaped."""
    escaped = re.sub(r"([\\`*_{}\[\]()#+!|~$^-])", r"\\\1", clean(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def matrix_latex(document: Matrix) -> str:
    """The panels as LaTeX tabulars that need no package, for \\input into a table."""
    parts = ["% UTF-8; no package needed. In-domain cells are bold."]
    for panel in panels(document):
        parts.append(f"% {panel.title}")
        parts.append(r"\begin{tabular}{l" + "r" * len(panel.columns) + "}\n" + r"\hline")
        heads = [latex_text(panel.title), *map(latex_text, panel.columns)]
        parts.append(" & ".join(heads) + r" \\ \hline")
        for place, (name, cells) in enumerate(panel.rows, start=1):
            row = " & ".join([latex_text(name), *(_latex_cell(panel, cell) for cell in cells)])
            has_rule = place in (panel.n_reference, len(panel.rows) - 1)
            parts.append(row + r" \\" + (r" \hline" if has_rule else ""))
        parts.append(r"\hline" + "\n" + r"\end{tabular}" + "\n")
    texts = [*notes(document), *document.warnings]
    parts += [f"% {clean(text)}" for text in texts]
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
    interval = interval_text(cell.ci95, panel.signed).replace("-", "$-$").replace("+", "$+$")
    return rf"\shortstack[r]{{{number}\\{{\tiny {interval}}}}}"


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{c: rf"\{c}" for c in "&%$#_{}"},
    # in braces: characters that form ligatures ("--", "?`"), and those that LaTeX's line break
    # would read as its argument ("*", "[")
    **{c: f"{{{c}}}" for c in "-`'\"?!,[]*"},
}


def latex_text(text: str) -> str:
    """The text, with the special characters of LaTeX escaped."""
    return "".join(_LATEX.get(c, c) for c in clean(text))
