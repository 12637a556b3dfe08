"""Small charts of accuracy, confidence and changed answers by a perturbation's severity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medr1.report.curves import joined
from medr1.report.robustness import worst_first
from medr1.report.sanitize import line
from medr1.report.tables import percent

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 8, 34
STEPS = 5
CHART = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT}
"""What the template has to know of one."""

Document = Mapping[str, Any]


def severity_charts(document: Document) -> list[dict[str, Any]]:
    """A chart for each perturbation with a scale, the costliest first."""
    scales = [one for one in worst_first(document) if one["is_scale"]]
    return [chart for one in scales if (chart := _chart(one, document))]


def _chart(one: Document, document: Document) -> dict[str, Any] | None:
    """Accuracy with its band, confidence and changed answers, from the items as they are on."""
    cells = [cell for cell in one["cells"] if cell["difference"]["value"] is not None]
    if not cells:
        return None
    clean = cells[0]["clean_accuracy"]
    right = [(0, clean), *((cell["severity"], cell["accuracy"]) for cell in cells)]
    sure = [(0, document["clean"]["confidence"])]
    sure += [(cell["severity"], cell["confidence"]) for cell in cells]
    flips = [(0, {"value": 0.0})] + [(cell["severity"], cell["flip_rate"]) for cell in cells]
    blind = (document["blind"].get("accuracy") or {}).get("value")
    upper = [(_x(at), _y(metric["ci95"][1])) for at, metric in right if metric["ci95"]]
    lower = [(_x(at), _y(metric["ci95"][0])) for at, metric in right if metric["ci95"]]
    return {
        "title": line(one["title"], 60),
        "note": line(one["parameter"], 100),
        "path": _path(right),
        "spread": joined([*upper, *reversed(lower)]),
        "dots": [(_x(at), _y(metric["value"])) for at, metric in right],
        "confidence": _path(sure),
        "flips": _path(flips),
        "clean": _y(clean["value"]),
        "blind": None if blind is None else _y(blind),
        "ticks": [(_y(share), f"{100 * share:.0f}") for share in (0, 0.5, 1)],
        "steps": [(_x(0), "as it is", "")]
        + [(_x(c["severity"]), str(c["severity"]), f"{c['parameter']:g}") for c in cells],
        "said": "; ".join(
            f"severity {cell['severity']}: {percent(cell['accuracy']['value'])} right, "
            f"{percent(cell['flip_rate']['value'])} changed"
            for cell in cells
        ),
    }


def _path(points: Sequence[tuple[int, Document]]) -> str:
    known = [(at, metric["value"]) for at, metric in points if metric["value"] is not None]
    return joined((_x(at), _y(value)) for at, value in known) if len(known) > 1 else ""


def _x(severity: float) -> float:
    start = LEFT + 14
    return round(start + severity / STEPS * (WIDTH - start - RIGHT - 8), 1)


def _y(share: float) -> float:
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)
