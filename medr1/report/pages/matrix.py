"""matrix.html: accuracy by training domain and test domain, as one page without a script."""

from __future__ import annotations

from medr1.documents.matrix import DomainPair, Matrix
from medr1.report.pages.page import asset, csp_hash, template
from medr1.report.pages.sanitize import count_text, one_line, visible
from medr1.report.terminal.matrix import (
    GAP_HEADER,
    SHARED,
    Cell,
    Panel,
    gap_notes,
    gap_rows,
    notes,
    panels,
)
from medr1.report.terminal.tables import interval_text

SHADES = 10
"""Steps of a cell's colour, from no colour (0) to the strongest."""
MAX_PAIRS = 400
"""Most pairs of domains in the table of distances."""
MIN_RANGE = 0.1
"""Accuracies that differ by less than this do not get all shades."""


def matrix_html(document: Matrix) -> str:
    """The page as HTML; `document` is the matrix (`evaluate.comparing.matrix.matrix`)."""
    from medr1 import __version__

    style = asset("report.css")
    averages = document.averages
    pairs = document.generalization.pairs if document.generalization else []
    return template("matrix.html").render(
        title="training domains and test domains",
        heading="Accuracy by training domain and test domain",
        style=style,
        style_hash=csp_hash(style),
        protocol=one_line(document.protocol),
        in_domain=_average(averages.in_domain.accuracy.value),
        out_of_domain=_average(averages.out_of_domain.accuracy.value),
        panels=[_panel(panel) for panel in panels(document)],
        tests=[(one_line(name, 60), count_text(n)) for name, n in document.n.items()],
        gap_header=GAP_HEADER,
        gaps=[[one_line(cell, 60) for cell in row] for row in gap_rows(document)],
        gap_notes=gap_notes(document),
        pairs=[_pair(pair) for pair in pairs[:MAX_PAIRS]],
        has_image_distances=any(pair.image_distance is not None for pair in pairs),
        missing=[
            f"{one_line(train, 60)} on {one_line(test, 60)}" for train, test in document.missing
        ],
        notes=[note if note == SHARED else visible(note, 1000) for note in notes(document)],
        warnings=[visible(warning, 600) for warning in document.warnings[:40]],
        version=__version__,
    )


def _pair(pair: DomainPair) -> dict[str, str]:
    """A row of the table of distances."""
    images = "-" if pair.image_distance is None else f"{pair.image_distance:.3g}"
    return {
        "train": one_line(pair.train, 60),
        "test": one_line(pair.test, 60),
        "answers": f"{pair.answer_distance:.2f}",
        "images": images,
        "drop": f"{100 * pair.drop:+.1f}",
    }


def _average(value: float | None) -> str:
    return f"{100 * value:.1f} %" if value is not None else "-"


def _panel(panel: Panel) -> dict[str, object]:
    """A panel as rows of shaded cells. A gain has its full colour only if it is significant."""
    values = [cell.value for _, cells in panel.rows for cell in cells if cell is not None]
    low, high = min(values, default=0.0), max(values, default=1.0)
    if panel.signed:
        low, high = 0.0, max([abs(value) for value in values] + [MIN_RANGE / 2])
    elif high - low < MIN_RANGE:
        low, high = max(0.0, low - MIN_RANGE / 2), low + MIN_RANGE
    last = len(panel.rows) - 1
    return {
        "title": panel.title,
        "signed": panel.signed,
        "columns": [one_line(name, 60) for name in panel.columns],
        "rows": [
            {
                "name": one_line(name, 60),
                "is_extra": place < panel.n_reference or place == last,
                "cells": [_cell(panel, cell, low, high) for cell in cells],
            }
            for place, (name, cells) in enumerate(panel.rows)
        ],
    }


def _cell(panel: Panel, cell: Cell | None, low: float, high: float) -> dict[str, object] | None:
    """A cell's text, and its colour as the name of a class; None where there are no results."""
    if cell is None:
        return None
    if panel.signed:
        strength = abs(cell.value) / high
        strength *= 1.0 if cell.mark else 0.2 if cell.tested else 0.0
    else:
        strength = (cell.value - low) / (high - low)
    name = "loss" if panel.signed and cell.value < 0 else "shade"
    return {
        "text": f"{panel.text(cell.value)}{cell.mark}{'†' if cell.shared else ''}",
        "interval": interval_text(cell.ci95, panel.signed),
        "shade": f"{name}{round(SHADES * min(1.0, max(0.0, strength)))}",
        "in_domain": cell.in_domain,
    }
