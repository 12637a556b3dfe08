"""The charts of training.html: what a training run logged, as points in pixels of a small chart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, floor, log10
from typing import Any

from medr1.report.pages.sanitize import one_line

WIDTH, HEIGHT = 360, 150
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 8, 20
"""Margins around the plotted area, in pixels like WIDTH and HEIGHT."""
MAX_POINTS = 240
"""The most points of a curve. Of more, neighbours are averaged, and their range is shaded."""
MAX_REWARDS = 12

Entry = Mapping[str, Any]
"""One line of metrics.jsonl: the step and what was logged at it."""

_CURVES = (
    ("eval_accuracy", "validation accuracy", "greedy decoding, with 95 % CI", True),
    ("eval_loss", "validation loss", "", False),
    ("reward", "reward", "weighted sum, mean over completions", False),
    ("rewards/", "", "", False),  # the place of the single rewards, one chart each
    ("mean_token_accuracy", "token accuracy", "on the training answers", True),
    ("completions/mean_length", "completion length", "tokens", False),
    ("completions/clipped_ratio", "cut off at the token limit", "share of completions", True),
    ("frac_reward_zero_std", "groups of equal rewards", "share; they give no gradient", True),
    ("completions/repeats_prompt", "repeats the prompt", "share of completions", True),
    ("kl", "KL divergence", "from the reference model, per token", False),
    ("entropy", "entropy", "of the next token", False),
    ("grad_norm", "gradient norm", "before clipping", False),
    ("learning_rate", "learning rate", "", False),
    ("loss", "loss", "", False),
)
"""The order of the charts. For each: key in metrics.jsonl, title, note under the title, and whether
it is a share, drawn from 0 to 1."""


def curves(history: Sequence[Entry]) -> list[dict[str, Any]]:
    """A chart for each quantity that was logged, in the order of the page.

    `is_constant` marks those whose value never changes, or was logged once.
    """
    charts = []
    for key, title, note, is_share in _CURVES:
        if key == "rewards/":
            charts += [_reward_chart(name, history) for name in _reward_keys(history)]
        elif chart := _chart(history, key, title, note, is_share):
            charts.append(chart)
    if any("reward" in entry for entry in history) and charts and charts[-1]["title"] == "loss":
        # the loss of GRPO is near zero by construction, whether the model learns or not
        charts[-1]["note"] = "no measure of success in GRPO"
    return charts


def _reward_keys(history: Sequence[Entry]) -> list[str]:
    """The keys of the single rewards' means, such as "rewards/accuracy/mean", in logged order."""
    keys = [
        key
        for entry in history
        for key in entry
        if key.startswith("rewards/") and key.endswith("/mean")
    ]
    return list(dict.fromkeys(keys))[:MAX_REWARDS]


def _reward_chart(key: str, history: Sequence[Entry]) -> dict[str, Any]:
    values = [value for _, value, *_ in _points(history, key)]
    is_share = all(0 <= value <= 1 for value in values)
    name = one_line(key.removeprefix("rewards/").removesuffix("/mean"), 60)
    return _chart(history, key, name, "mean reward", is_share) or {}


def _points(history: Sequence[Entry], key: str) -> list[tuple[float, float, float, float]]:
    """(step, value, low, high) of each entry; low and high are the value if none were logged."""
    points = []
    for entry in history:
        value = entry.get(key)
        # a step may lack a quantity, or have null for it; True would be an int in Python
        if isinstance(value, int | float) and not isinstance(value, bool):
            logged = [entry.get(f"{key}_{end}") for end in ("low", "high")]
            bounds = [float(bound) for bound in logged if isinstance(bound, int | float)]
            low, high = bounds if len(bounds) == 2 else (float(value), float(value))
            points.append((float(entry["step"]), float(value), low, high))
    return points


def _chart(
    history: Sequence[Entry], key: str, title: str, note: str, is_share: bool
) -> dict[str, Any] | None:
    """One chart as the template draws it, in pixels; None if the quantity was not logged."""
    points = _points(history, key)
    if not points:
        return None
    shown_points = _thinned(points)
    low = min(point[2] for point in shown_points)
    high = max(point[3] for point in shown_points)
    bottom, top, ticks = (0.0, 1.0, [0.0, 0.5, 1.0]) if is_share else _scale(low, high)
    first_step, last_step = history[0]["step"], history[-1]["step"]

    def x(step: float) -> float:
        span = last_step - first_step
        share = (step - first_step) / span if last_step > first_step else 0.5
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        share = (value - bottom) / (top - bottom)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    upper = [(x(step), y(highest)) for step, _, _, highest in shown_points]
    lower = [(x(step), y(lowest)) for step, _, lowest, _ in shown_points]
    has_dots = len(shown_points) <= 20
    return {
        "title": title,
        "note": note,
        "path": svg_points((x(step), y(value)) for step, value, *_ in shown_points),
        # a polygon: along the upper bounds to the right, and along the lower ones back
        "spread": svg_points([*upper, *reversed(lower)]) if upper != lower else "",
        "dots": [(x(step), y(value)) for step, value, *_ in shown_points] if has_dots else [],
        "ticks": [(y(tick), number_text(tick)) for tick in ticks],
        "first": f"{first_step:,}",
        "last": f"{last_step:,}",
        "description": _description(points),
        "latest": number_text(points[-1][1]),
        # a line without a change shows no more than its value
        "is_constant": len({point[1:] for point in points}) == 1,
    }


def _description(points: Sequence[tuple[float, ...]]) -> str:
    """Such as "0.453 at step 1, 0.984 at step 34; lowest 0.406 at step 2, highest 1.03 ..."."""
    first, last = points[0], points[-1]
    start = f"{number_text(first[1])} at step {first[0]:,.0f}"
    if len(points) == 1:
        return start
    lowest, highest = (choose(points, key=lambda point: point[1]) for choose in (min, max))
    return (
        f"{start}, {number_text(last[1])} at step {last[0]:,.0f}; "
        f"lowest {number_text(lowest[1])} at step {lowest[0]:,.0f}, "
        f"highest {number_text(highest[1])} at step {highest[0]:,.0f}"
    )


def _thinned(points: Sequence[tuple[float, float, float, float]]) -> list[tuple[float, ...]]:
    """At most MAX_POINTS: the means of neighbours, with their lowest low and highest high."""
    size = ceil(len(points) / MAX_POINTS)  # how many neighbours become one point
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    return [
        (
            sum(point[0] for point in part) / len(part),
            sum(point[1] for point in part) / len(part),
            min(point[2] for point in part),
            max(point[3] for point in part),
        )
        for part in parts
    ]


def _scale(low: float, high: float) -> tuple[float, float, list[float]]:
    """The ends of a vertical axis and round numbers on it: 0.3 to 1.1 -> 0.0, 1.25, six ticks."""
    if low >= 0 and low < 0.6 * high:
        low = 0.0  # near zero, the axis begins at zero
    if high - low <= 1e-9 * max(abs(high), abs(low)):  # constant: an axis needs some height
        padding = abs(high) / 2 or 1.0
        low, high = low - padding, high + padding
    rough_step = (high - low) / 3
    unit = 10.0 ** floor(log10(rough_step))
    # the round step (1, 2, 2.5, 5 or 10 times a power of ten) nearest to a third of the range
    step = min((m * unit for m in (1, 2, 2.5, 5, 10)), key=lambda s: abs(s - rough_step))
    bottom, top = floor(low / step), ceil(high / step)
    ticks = [step * i for i in range(bottom, top + 1)]
    return ticks[0], ticks[-1], ticks


def svg_points(points: Iterable[tuple[float, float]]) -> str:
    """Points as the attribute of an SVG polyline or polygon: "44,10 50,12.5"."""
    return " ".join(f"{x},{y}" for x, y in points)


def number_text(value: float) -> str:
    """A number in three digits, such as "0.0167"; from 1000 on as a whole number with commas."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
