"""Small charts of a perturbation: accuracy, confidence and changed answers by its severity.

Coordinates are pixels. The horizontal axis begins with the items as they are, severity 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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

Document = Mapping[str, Any]
"""robustness.json, or a part of it."""


def severity_charts(document: Document) -> list[dict[str, Any]]:
    """A chart for each perturbation with a scale of severities, the largest loss first."""
    scales = [kind for kind in worst_first(document) if kind["is_scale"]]
    return [chart for kind in scales if (chart := _chart(kind, document))]


def _chart(perturbation: Document, document: Document) -> dict[str, Any] | None:
    """One chart as the template draws it; None if no severity has a difference."""
    # a severity with too few items has a reason instead of a difference
    cells = [cell for cell in perturbation["cells"] if cell["difference"]["value"] is not None]
    if not cells:
        return None
    original = cells[0]["clean_accuracy"]
    accuracy = [(0, original), *((cell["severity"], cell["accuracy"]) for cell in cells)]
    confidence = [(0, document["clean"]["confidence"])]
    confidence += [(cell["severity"], cell["confidence"]) for cell in cells]
    flips = [(0, {"value": 0.0})] + [(cell["severity"], cell["flip_rate"]) for cell in cells]
    blind = (document["blind"].get("accuracy") or {}).get("value")
    upper = [(_x(severity), _y(m["ci95"][1])) for severity, m in accuracy if m["ci95"]]
    lower = [(_x(severity), _y(m["ci95"][0])) for severity, m in accuracy if m["ci95"]]
    # severity 0 is the original: its answers cannot differ from themselves (flips are 0)
    return {
        "title": one_line(perturbation["title"], 60),
        "note": one_line(perturbation["parameter"], 100),
        "path": _path(accuracy),
        "spread": svg_points([*upper, *reversed(lower)]),
        "dots": [(_x(severity), _y(metric["value"])) for severity, metric in accuracy],
        "confidence": _path(confidence),
        "flips": _path(flips),
        "clean": _y(original["value"]),
        "blind": None if blind is None else _y(blind),
        "ticks": [(_y(share), f"{100 * share:.0f}") for share in (0, 0.5, 1)],
        "steps": [(_x(0), "original", "")]
        + [(_x(c["severity"]), str(c["severity"]), f"{c['parameter']:g}") for c in cells],
        "description": "; ".join(
            f"severity {cell['severity']}: accuracy {percent(cell['accuracy']['value'])}, "
            f"{percent(cell['flip_rate']['value'])} of the answers changed"
            for cell in cells
        ),
    }


def _path(points: Sequence[tuple[int, Document]]) -> str:
    """(severity, metric) as a line; empty if fewer than two of the metrics have a value."""
    values = [(severity, m["value"]) for severity, m in points if m["value"] is not None]
    if len(values) <= 1:
        return ""
    return svg_points((_x(severity), _y(value)) for severity, value in values)


def _x(severity: float) -> float:
    start = LEFT + 14
    return round(start + severity / STEPS * (WIDTH - start - RIGHT - 8), 1)


def _y(share: float) -> float:
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)
