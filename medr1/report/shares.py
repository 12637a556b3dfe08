"""A chart of shares over shares, 0 to 100 %, and the cells of the tables beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medr1.report.curves import number
from medr1.report.sanitize import interval, line
from medr1.report.tables import percent

WIDTH, HEIGHT = 360, 300
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 10, 38
CHART = {
    "width": WIDTH,
    "height": HEIGHT,
    "left": LEFT,
    "right": RIGHT,
    "top": TOP,
    "bottom": BOTTOM,
}
"""What the template has to know of it."""
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)

Metric = Mapping[str, Any]


def x_of(share: float) -> float:
    """The place of a share on the horizontal axis."""
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def y_of(share: float) -> float:
    """The place of a share on the vertical axis, which points up."""
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def x_ticks() -> list[tuple[float, str]]:
    """Places and percents on the horizontal axis."""
    return [(x_of(tick), f"{100 * tick:.0f}") for tick in _TICKS]


def y_ticks() -> list[tuple[float, str]]:
    """Places and percents on the vertical axis."""
    return [(y_of(tick), f"{100 * tick:.0f}") for tick in _TICKS]


def cell(metric: Metric, signed: bool = False) -> dict[str, str]:
    """A share with its interval, or why there is none."""
    if metric.get("value") is None:
        return {"value": "", "interval": "", "reason": line(metric.get("reason"), 120)}
    value, around = percent(metric["value"], signed), interval(metric, signed=signed)
    return {"value": value, "interval": around, "reason": ""}


def plain(metric: Metric) -> dict[str, str]:
    """The same of a number that is no share."""
    if metric.get("value") is None:
        return cell(metric)
    around = " to ".join(map(number, metric["ci95"] or ()))
    return {"value": number(metric["value"]), "interval": around, "reason": ""}


def change(difference: Metric) -> str:
    """A difference of shares within a sentence: "+2.0 points, +1.0 to +3.0"."""
    around = interval(difference, signed=True) or "no interval"
    return f"{100 * difference['value']:+z.1f} points, {around}"
