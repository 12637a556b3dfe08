"""A square chart of one share against another, both 0 to 100 %, and cells of the tables beside it.

Used for the reliability diagram, the risk-coverage curve and pass@k. Coordinates are pixels.
"""

from __future__ import annotations

from medr1.documents.metric import Metric, value_of
from medr1.report.charts.training_curves import number_text
from medr1.report.pages.sanitize import interval_of, one_line
from medr1.report.terminal.tables import percent

WIDTH, HEIGHT = 360, 300
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 10, 38
"""Margins around the plotted area."""
CHART = {
    "width": WIDTH,
    "height": HEIGHT,
    "left": LEFT,
    "right": RIGHT,
    "top": TOP,
    "bottom": BOTTOM,
}
"""The size and margins for the template."""
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)

Cell = dict[str, str]
"""A cell of a table: `value` and `interval`, or the `reason` why there is no value."""


def x_of(share: float) -> float:
    """The place of a share on the horizontal axis."""
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def y_of(share: float) -> float:
    """The place of a share on the vertical axis: pixels count down, shares go up."""
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def x_ticks() -> list[tuple[float, str]]:
    """The places and labels of the ticks on the horizontal axis, in percent."""
    return [(x_of(tick), f"{100 * tick:.0f}") for tick in _TICKS]


def y_ticks() -> list[tuple[float, str]]:
    """The places and labels of the ticks on the vertical axis, in percent."""
    return [(y_of(tick), f"{100 * tick:.0f}") for tick in _TICKS]


def reason_cell(reason: str | None) -> Cell:
    """The reason why there is no value."""
    return {"value": "", "interval": "", "reason": one_line(reason, 120)}


def share_cell(metric: Metric, signed: bool = False) -> Cell:
    """A share and its interval in percent, or the reason why there is none.

    Args:
        metric: A share, 1.0 for 100 %.
        signed: Whether positive numbers get a "+".
    """
    if metric.value is None:
        return reason_cell(metric.reason)
    value, interval = percent(metric.value, signed), interval_of(metric, signed=signed)
    return {"value": value, "interval": interval, "reason": ""}


def number_cell(metric: Metric) -> Cell:
    """As `share_cell`, of a metric that is not a share, such as an entropy in nats."""
    if metric.value is None:
        return reason_cell(metric.reason)
    interval = " to ".join(map(number_text, metric.ci95 or ()))
    return {"value": number_text(metric.value), "interval": interval, "reason": ""}


def difference_text(difference: Metric) -> str:
    """A difference of shares for a sentence: "+2.0 points, 95 % CI +1.0 to +3.0"."""
    interval = interval_of(difference, signed=True)
    bounds = f"95 % CI {interval}" if interval else "no interval"
    return f"{100 * value_of(difference):+z.1f} points, {bounds}"
