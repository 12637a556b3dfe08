"""Small charts of a perturbation: accuracy, confidence and changed answers by its severity.

Coordinates are pixels. The horizontal axis begins with the items as they are, severity 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from medr1.documents.metric import Missing, value_of
from medr1.documents.robustness import PerturbationResult, Robustness, RobustnessCell
from medr1.report.charts.training_curves import svg_points
from medr1.report.pages.sanitize import one_line
from medr1.report.terminal.robustness import worst_first
from medr1.report.terminal.tables import percent

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 8, 34
"""Margins around the plotted area."""
STEPS = 5
"""The highest severity."""
CHART = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT}
"""The size and margins for the template."""


def severity_charts(document: Robustness) -> list[dict[str, object]]:
    """A chart for each perturbation with a scale of severities, the largest loss first."""
    scales = [kind for kind in worst_first(document) if kind.is_scale]
    return [chart for kind in scales if (chart := _chart(kind, document))]


def _chart(perturbation: PerturbationResult, document: Robustness) -> dict[str, object] | None:
    """One chart as the template draws it; None if no severity has a difference."""
    # a severity with too few items has a reason instead of a difference
    cells = [cell for cell in perturbation.cells if cell.difference.value is not None]
    if not cells:
        return None
    original, grey = cells[0].clean_accuracy, document.grey_image
    accuracy = [(0, original), *((cell.severity, cell.accuracy) for cell in cells)]
    dots = [(_x(severity), _y(value_of(metric))) for severity, metric in accuracy]
    confidence = [(0, document.clean.confidence.value)]
    confidence += [(cell.severity, cell.confidence.value) for cell in cells]
    grey_accuracy = None if isinstance(grey, Missing) else grey.cell.accuracy.value
    upper = [(_x(severity), _y(metric.ci95[1])) for severity, metric in accuracy if metric.ci95]
    lower = [(_x(severity), _y(metric.ci95[0])) for severity, metric in accuracy if metric.ci95]
    return {
        "title": one_line(perturbation.title, 60),
        "note": one_line(perturbation.parameter, 100),
        "path": svg_points(dots),
        "spread": svg_points([*upper, *reversed(lower)]),
        "dots": dots,
        "confidence": _path(confidence),
        # severity 0 is the original: its answers cannot differ from themselves
        "flips": _path([(0, 0.0), *((cell.severity, cell.flip_rate.value) for cell in cells)]),
        "clean": _y(value_of(original)),
        "grey_image": None if grey_accuracy is None else _y(grey_accuracy),
        "ticks": [(_y(share), f"{100 * share:.0f}") for share in (0, 0.5, 1)],
        "steps": [
            (_x(0), "original", ""),
            *((_x(cell.severity), str(cell.severity), parameter_text(cell)) for cell in cells),
        ],
        "description": "; ".join(
            f"severity {cell.severity}: accuracy {percent(cell.accuracy.value)}, "
            f"{percent(cell.flip_rate.value)} of the answers changed"
            for cell in cells
        ),
    }


def parameter_text(cell: RobustnessCell) -> str:
    """The value of the perturbation's parameter; empty for perturbations of the question."""
    return "" if cell.parameter is None else f"{cell.parameter:g}"


def _path(points: Sequence[tuple[int, float | None]]) -> str:
    """(severity, share) as a line; empty if fewer than two of the shares are known."""
    known = [(_x(severity), _y(share)) for severity, share in points if share is not None]
    return svg_points(known) if len(known) > 1 else ""


def _x(severity: float) -> float:
    start = LEFT + 14
    return round(start + severity / STEPS * (WIDTH - start - RIGHT - 8), 1)


def _y(share: float) -> float:
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)
