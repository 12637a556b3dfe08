"""The learning curve of the demo as a PNG, drawn without a display or matplotlib's global state."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from medr1.documents.metric import Metric
from medr1.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008): eight colours told apart with every kind of colour vision.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_DASHES = ("--", ":", "-.")
_GREYS = ("#404040", "#606060", "#808080")


@dataclass(frozen=True)
class _Style:
    """How one curve and its points are drawn."""

    color: str
    marker: str
    line_width: float
    """In points, as all sizes of matplotlib."""


def learning_curve(
    path: Path,
    *,
    steps: Sequence[int],
    series: Mapping[str, Sequence[float]],
    lines: Mapping[str, float | None],
    title: str,
    outcomes: Mapping[str, tuple[Metric, Metric]] | None = None,
) -> None:
    """Write a PNG with accuracy by training step, and the test split before and after training.

    Args:
        path: Where the PNG is written.
        steps: The training steps that were measured, the horizontal axis.
        series: Name -> accuracies in [0, 1], one for each step. Each is a curve of its own colour
            and marker.
        lines: Name -> an accuracy in [0, 1], drawn as a dashed grey horizontal line; None is left
            out.
        title: The title of the figure.
        outcomes: Name, as in `series` -> the test accuracy before and after training, with
            intervals. They get a second panel.

    Raises:
        OutputError: If the file cannot be written.
        ValueError: If a series does not have one value for each step.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10.5 if outcomes else 8, 4.8), dpi=150, layout="constrained")
    panels = figure.subplots(
        1,
        2 if outcomes else 1,
        sharey=True,
        squeeze=False,
        width_ratios=[2, 1][: 1 + bool(outcomes)],
    )[0]
    curve_axes, last_axes = panels[0], panels[-1]
    for (name, values), style in zip(series.items(), _styles(), strict=False):
        if len(values) != len(steps):
            raise ValueError(f"{name}: {len(values)} values for {len(steps)} steps")
        curve_axes.plot(
            steps,
            values,
            label=name,
            color=style.color,
            marker=style.marker,
            lw=style.line_width,
            ms=3 + 2 * style.line_width,
        )
    curve_axes.set_xlabel("training step" + (" (validation split)" if outcomes else ""))
    curve_axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if outcomes:
        _draw_before_and_after(last_axes, outcomes)
    for axes in panels:
        for (name, level), dash, grey in zip(
            lines.items(), cycle(_DASHES), cycle(_GREYS), strict=False
        ):
            if level is not None:
                label = f"{name} ({level:.2f})"
                axes.axhline(level, color=grey, linestyle=dash, lw=1.5, label=label)
        axes.grid(alpha=0.3, lw=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    curve_axes.set_ylabel("accuracy")
    curve_axes.set_ylim(-0.02, 1.02)
    texts = [figure.suptitle(title, fontsize=11)]
    if series or lines:
        right_of_axes = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5), "frameon": False}
        handles, names = curve_axes.get_legend_handles_labels()
        texts += last_axes.legend(handles, names, **right_of_axes).get_texts()
    for text in texts:
        text.set_parse_math(False)  # a "$" in a name is a "$"
    write_atomic(path, _png(figure))


def _styles() -> list[_Style]:
    """The style of each curve. Later ones are thinner, so that they do not hide those below."""
    pairs = zip(_COLORS, _MARKERS, strict=True)
    widths = (3 / (1 + place / 2) for place in range(len(_COLORS)))
    return [
        _Style(color, marker, width) for (color, marker), width in zip(pairs, widths, strict=True)
    ]


def _draw_before_and_after(axes: Axes, outcomes: Mapping[str, tuple[Metric, Metric]]) -> None:
    """Base and trained accuracy with their 95 % intervals, a pair of points for each outcome."""
    for place, (pair, style) in enumerate(zip(outcomes.values(), _styles(), strict=False)):
        # side by side, so that intervals do not cover each other
        shift = 0.08 * (place - (len(outcomes) - 1) / 2)
        points = [
            (x + shift, metric.value, metric.ci95 or (metric.value, metric.value))
            for x, metric in enumerate(pair)
            if metric.value is not None
        ]
        axes.errorbar(
            [x for x, _, _ in points],
            [value for _, value, _ in points],
            [
                [value - low for _, value, (low, _) in points],
                [high - value for _, value, (_, high) in points],
            ],
            capsize=3,
            color=style.color,
            marker=style.marker,
            lw=1.5,
            ms=6,
        )
    axes.set_xticks([0, 1], ["base", "trained"])
    axes.set_xlim(-0.4, 1.4)
    axes.set_xlabel("test split, 95 % intervals")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
