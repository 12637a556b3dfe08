"""Pictures of results, drawn without a display and without matplotlib's global state."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

from medr1.files import write_atomic

# Okabe and Ito (2008): eight colours told apart with every kind of colour vision.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_DASHES = ("--", ":", "-.")
_GREYS = ("#404040", "#606060", "#808080")


def learning_curve(
    path: Path,
    *,
    steps: Sequence[int],
    series: Mapping[str, Sequence[float]],
    lines: Mapping[str, float | None],
    title: str,
    y_label: str = "accuracy",
) -> None:
    """Write a PNG: a marked curve for each of `series` over `steps`, a level for each of `lines`.

    Values are shares in [0, 1]; a line of None is left out. Curves differ in colour and marker,
    levels in grey and dashes. OutputError where the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 4.8), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for (name, values), color, marker in zip(
        series.items(), cycle(_COLORS), cycle(_MARKERS), strict=False
    ):
        if len(values) != len(steps):
            raise ValueError(f"{name}: {len(values)} values for {len(steps)} steps")
        # Later curves are thinner: one that lies on another does not hide it.
        width = 3 / (1 + len(axes.lines) / 2)
        axes.plot(steps, values, color=color, marker=marker, lw=width, ms=3 + 2 * width, label=name)
    for (name, level), dash, grey in zip(
        lines.items(), cycle(_DASHES), cycle(_GREYS), strict=False
    ):
        if level is not None:
            axes.axhline(level, color=grey, linestyle=dash, lw=1.5, label=f"{name} ({level:.2f})")
    axes.set_xlabel("training step")
    axes.set_ylabel(y_label)
    axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.3, lw=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    texts = [axes.set_title(title, fontsize=11)]
    if series or lines:
        legend = axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
        texts += legend.get_texts()
    for text in texts:
        text.set_parse_math(False)  # a "$" in a name is a "$"
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    write_atomic(path, buffer.getvalue())
