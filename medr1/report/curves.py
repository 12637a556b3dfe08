"""What a training run logged, as curves: points, spread and ticks in pixels of a small chart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, floor, log10
from typing import Any

from medr1.report.sanitize import line

WIDTH, HEIGHT = 360, 150
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 8, 20
MAX_POINTS = 240
"""Of a curve: more are drawn as the means of neighbours, with their spread behind."""
MAX_REWARDS = 12

Entry = Mapping[str, Any]

_CURVES = (
    ("eval_accuracy", "validation accuracy", "greedy, with 95 % interval", True),
    ("eval_loss", "validation loss", "", False),
    ("reward", "reward", "weighted sum, mean of the completions", False),
    ("rewards/", "", "", False),  # the place of each reward's own
    ("mean_token_accuracy", "token accuracy", "of the training answers", True),
    ("completions/mean_length", "completion length", "tokens", False),
    ("completions/clipped_ratio", "cut off", "share of the completions", True),
    ("frac_reward_zero_std", "groups without variance", "these teach nothing", True),
    ("completions/repeats_prompt", "repeating the prompt", "share of the completions", True),
    ("kl", "KL", "to the reference model, a token", False),
    ("entropy", "entropy", "of the next token", False),
    ("grad_norm", "gradient norm", "before clipping", False),
    ("learning_rate", "learning rate", "", False),
    ("loss", "loss", "", False),
)
"""Key, title, note, and whether it is a share: drawn from 0 to 1."""


def curves(history: Sequence[Entry]) -> list[dict[str, Any]]:
    """A chart for each thing that was logged, in the order of the page."""
    found = []
    for key, title, note, is_share in _CURVES:
        if key == "rewards/":
            found += [_reward(name, history) for name in _rewards(history)]
        elif chart := _chart(history, key, title, note, is_share):
            found.append(chart)
    if any("reward" in entry for entry in history) and found and found[-1]["title"] == "loss":
        found[-1]["note"] = "no measure of success in GRPO"
    return found


def _rewards(history: Sequence[Entry]) -> list[str]:
    names = [
        name
        for entry in history
        for name in entry
        if name.startswith("rewards/") and name.endswith("/mean")
    ]
    return list(dict.fromkeys(names))[:MAX_REWARDS]


def _reward(key: str, history: Sequence[Entry]) -> dict[str, Any]:
    values = [value for _, value, *_ in _points(history, key)]
    within = all(0 <= value <= 1 for value in values)
    name = line(key.removeprefix("rewards/").removesuffix("/mean"), 60)
    return _chart(history, key, name, "mean reward", within) or {}


def _points(history: Sequence[Entry], key: str) -> list[tuple[float, float, float, float]]:
    """Step, value, and the interval around it, which is the value where none was logged."""
    found = []
    for entry in history:
        value = entry.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            ends = [entry.get(f"{key}_{end}") for end in ("low", "high")]
            around = [float(end) for end in ends if isinstance(end, int | float)]
            low, high = around if len(around) == 2 else (float(value), float(value))
            found.append((float(entry["step"]), float(value), low, high))
    return found


def _chart(
    history: Sequence[Entry], key: str, title: str, note: str, is_share: bool
) -> dict[str, Any] | None:
    points = _points(history, key)
    if not points:
        return None
    drawn = _thinned(points)
    low = min(point[2] for point in drawn)
    high = max(point[3] for point in drawn)
    bottom, top, ticks = (0.0, 1.0, [0.0, 0.5, 1.0]) if is_share else _scale(low, high)
    first, last = history[0]["step"], history[-1]["step"]

    def x(step: float) -> float:
        share = (step - first) / (last - first) if last > first else 0.5
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        share = (value - bottom) / (top - bottom)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    upper = [(x(step), y(most)) for step, _, _, most in drawn]
    lower = [(x(step), y(least)) for step, _, least, _ in drawn]
    few = len(drawn) <= 20
    return {
        "title": title,
        "note": note,
        "path": joined((x(step), y(value)) for step, value, *_ in drawn),
        "spread": joined([*upper, *reversed(lower)]) if upper != lower else "",
        "dots": [(x(step), y(value)) for step, value, *_ in drawn] if few else [],
        "ticks": [(y(tick), number(tick)) for tick in ticks],
        "first": f"{first:,}",
        "last": f"{last:,}",
        "said": _said(points),
        "latest": number(points[-1][1]),
    }


def _said(points: Sequence[tuple[float, ...]]) -> str:
    """Such as "0.453 at step 1, 0.984 at step 34; lowest 0.406 at step 2, highest 1.03 ..."."""
    first, last = points[0], points[-1]
    said = f"{number(first[1])} at step {first[0]:,.0f}"
    if len(points) == 1:
        return said
    least, most = (choose(points, key=lambda point: point[1]) for choose in (min, max))
    return (
        f"{said}, {number(last[1])} at step {last[0]:,.0f}; lowest {number(least[1])} at step "
        f"{least[0]:,.0f}, highest {number(most[1])} at step {most[0]:,.0f}"
    )


def _thinned(points: Sequence[tuple[float, float, float, float]]) -> list[tuple[float, ...]]:
    """At most MAX_POINTS: neighbours become their mean, between their lowest and highest."""
    size = ceil(len(points) / MAX_POINTS)
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
    """The ends of an axis, and three to five round numbers on it."""
    if low >= 0 and low < 0.6 * high:
        low = 0.0
    if high - low <= 1e-9 * max(abs(high), abs(low)):
        room = abs(high) / 2 or 1.0
        low, high = low - room, high + room
    rough = (high - low) / 3
    unit = 10.0 ** floor(log10(rough))
    step = min((m * unit for m in (1, 2, 2.5, 5, 10)), key=lambda s: abs(s - rough))
    bottom, top = floor(low / step), ceil(high / step)
    ticks = [step * i for i in range(bottom, top + 1)]
    return ticks[0], ticks[-1], ticks


def joined(points: Iterable[tuple[float, float]]) -> str:
    """Points as SVG's polyline takes them."""
    return " ".join(f"{x},{y}" for x, y in points)


def number(value: float) -> str:
    """A logged number in three digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
