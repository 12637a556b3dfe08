"""A matrix of results as heat maps, drawn without a display: accuracies, and gains over the base.

Colours are told apart with every kind of colour vision; what matters is also written, outlined
(in-domain) or hatched (test images were trained on). A gain has its full colour only where its
stars say that it differs from the base: else a small difference would look like a finding.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medr1.report.matrix import SHARED, Cell, Panel, notes, panels
from medr1.report.tables import clean, interval_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from matplotlib.text import Text

_CELL = (1.02, 0.62)
"""Width and height of a cell in inches."""
_GAP = 0.18
"""Between the cells and their averages or references, in cells."""
_NAME, _HEAD = 20, 14
"""Characters in a line of a name beside and above the cells."""
_MINUS = "\u2212"
_INK, _FAINT, _FAINT_INK = "#1a1a1a", "#767676", "#505050"
_ACCURACY = ("#F6F3EA", "#BBD7C1", "#6BAE99", "#25777A", "#0C3C4C")
# Okabe and Ito's vermillion and blue, darker and lighter: told apart with every colour vision
_NOTHING = "#F7F7F7"
_GAIN = ("#A34700", "#E8A35C", _NOTHING, "#7DB5DC", "#00507E")


def heat_maps(document: Mapping[str, Any]) -> dict[str, bytes]:
    """{"png": ..., "svg": ...}: one panel of accuracies and, with base results, one of gains."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    found = {}
    # a name in a script that the font lacks is drawn as boxes; text in the SVG stays text's shape
    with matplotlib.rc_context({"svg.hashsalt": "medr1", "svg.fonttype": "path"}):
        figure = _figure(document)
        png, svg = io.BytesIO(), io.BytesIO()
        FigureCanvasAgg(figure).print_png(png, metadata={"Software": None})
        found["png"] = png.getvalue()
        FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None, "Creator": "medr1"})
        found["svg"] = svg.getvalue()
    return found


def _figure(document: Mapping[str, Any]) -> Figure:
    """Panels beside each other where they are small, else one below the other."""
    from matplotlib.figure import Figure

    shown = panels(document)
    n_columns = len(shown[0].columns)
    beside = len(shown) > 1 and n_columns <= 6
    names = [_name(name) for panel in shown for name, _ in panel.rows]
    label = 0.25 + 0.085 * max(len(line) for name in names for line in name.split("\n"))
    head = 0.75 + 0.17 * max(_name(c, _HEAD).count("\n") for c in shown[0].columns)
    width = label + _CELL[0] * (n_columns + _GAP) + 0.25
    heights = [head + _CELL[1] * (len(panel.rows) + 2 * _GAP) for panel in shown]
    across = width * (len(shown) if beside else 1)
    foot_lines = _foot(document, across)
    foot = 0.25 + 0.17 * len(foot_lines)
    down = (max(heights) if beside else sum(heights)) + foot
    figure = Figure(figsize=(across, down), dpi=150)
    top = down
    for place, (panel, height) in enumerate(zip(shown, heights, strict=True)):
        left = label + (width * place if beside else 0)
        inner = height - head
        axes = figure.add_axes(
            (
                left / across,
                (foot if beside else top - height) / down,  # rows beside each other line up
                (width - label - 0.25) / across,
                inner / down,
            )
        )
        _draw(axes, panel, inner / _CELL[1])
        if not beside:
            top -= height
    note = figure.text(
        0.15 / across, (foot - 0.2) / down, "\n".join(foot_lines), va="top", size=8, color=_FAINT
    )
    note.set_linespacing(1.35)
    note.set_parse_math(False)
    return figure


def _foot(document: Mapping[str, Any], inches: float) -> list[str]:
    """The notes, wrapped to the figure; what is outlined or hatched is said where it occurs."""
    said = [f"Hatched, {note}" if note == SHARED else note for note in notes(document)]
    said[0] += " Outlined: in domain."
    if any(panel.signed for panel in panels(document)):
        said.insert(
            1, "Gains: full colour with stars, faint where none is shown; averages untested."
        )
    return [line for note in said for line in textwrap.wrap(clean(note), int(inches * 15))]


def _name(name: str, width: int = _NAME) -> str:
    """A name in at most three lines."""
    return textwrap.fill(clean(name), width, max_lines=3, placeholder=" …")


def _draw(axes: Axes, panel: Panel, height: float) -> None:
    """One panel: cells, the averages apart at the right and below, references apart above."""
    colors, low, high = _scale(panel)
    n_columns, n_rows = len(panel.columns), len(panel.rows)
    at_x = [x + (_GAP if x == n_columns - 1 else 0) for x in range(n_columns)]
    at_y = [
        y + (_GAP if y >= panel.n_reference > 0 else 0) + (_GAP if y == n_rows - 1 else 0)
        for y in range(n_rows)
    ]
    axes.set_xlim(-0.02, n_columns + _GAP + 0.02)
    axes.set_ylim(height, -0.02)
    for (_, cells), y in zip(panel.rows, at_y, strict=True):
        for cell, x in zip(cells, at_x, strict=True):
            apart = x == at_x[-1] or y == at_y[-1] or y < panel.n_reference
            if cell is not None:
                color = colors((cell.value - low) / (high - low))
                _fill(axes, panel, cell, (x, y), _shown(panel, cell, color))
            elif not apart:
                _blank(axes, x, y)
    axes.set_xticks([x + 0.5 for x in at_x], [_name(name, _HEAD) for name in panel.columns])
    axes.set_yticks([y + 0.5 for y in at_y], [_name(name) for name, _ in panel.rows])
    axes.tick_params(length=0, labelsize=9, labeltop=True, labelbottom=False, pad=5)
    axes.spines[:].set_visible(False)
    title = axes.set_title(panel.title, loc="left", fontsize=11, fontweight="bold", pad=10)
    labels: list[Text] = [*axes.get_xticklabels(), *axes.get_yticklabels(), title]
    for text in labels:
        text.set_color(_INK)
        text.set_parse_math(False)  # a "$" in a name is a "$"


def _scale(panel: Panel) -> tuple[Colormap, float, float]:
    """Colours and the values at their ends: gains are white at zero and alike on both sides."""
    from matplotlib.colors import LinearSegmentedColormap

    values = [cell.value for _, cells in panel.rows for cell in cells if cell is not None]
    if panel.signed:
        reach = max([abs(value) for value in values] + [0.05])
        return LinearSegmentedColormap.from_list("gain", _GAIN), -reach, reach
    low, high = min(values, default=0.0), max(values, default=1.0)
    if high - low < 0.1:
        low, high = max(0.0, low - 0.05), low + 0.1
    return LinearSegmentedColormap.from_list("accuracy", _ACCURACY), low, high


def _shown(panel: Panel, cell: Cell, color: Sequence[float]) -> Sequence[float]:
    """A cell's colour: of a gain without stars only a fifth is left, and none without a test."""
    from matplotlib.colors import to_rgb

    if cell.mark or not panel.signed:
        return color
    left = 0.2 if cell.tested else 0.0
    return [
        left * c + (1 - left) * other for c, other in zip(color, to_rgb(_NOTHING), strict=False)
    ]


def _fill(axes: Axes, panel: Panel, cell: Cell, place: tuple[float, float], color: Any) -> None:
    """One cell: its colour, hatched where images are shared, outlined where in domain."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    x, y = place
    ink = to_rgb(_FAINT_INK) if cell.tested and not cell.mark else _ink(color)
    axes.add_patch(Rectangle((x + 0.02, y + 0.03), 0.96, 0.94, facecolor=color, lw=0))
    if cell.shared:
        hatched = Rectangle((x + 0.02, y + 0.03), 0.96, 0.94, fill=False, lw=0, hatch="////")
        hatched.set_edgecolor((*ink, 0.28))
        axes.add_patch(hatched)
    if cell.in_domain:
        axes.add_patch(Rectangle((x + 0.02, y + 0.03), 0.96, 0.94, fill=False, ec=_INK, lw=2.2))
    sign = "†" if cell.shared else ""
    value = f"{panel.text(cell.value)}{cell.mark}{sign}".replace("-", _MINUS)
    about = interval_text(cell.ci95, panel.signed).replace("-", _MINUS)
    weight = "normal" if cell.tested and not cell.mark else "bold"
    lines = ((0.40 if about else 0.52, value, 10.5, weight), (0.74, about, 7, "normal"))
    around = [withStroke(linewidth=2.5, foreground=color)] if cell.shared else []
    middle: Any = {"ha": "center", "va": "center", "color": ink, "path_effects": around}
    for down, said, size, weight in lines:
        axes.text(x + 0.5, y + down, said, size=size, weight=weight, **middle)


def _blank(axes: Axes, x: float, y: float) -> None:
    """A cell that is missing."""
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle((x + 0.03, y + 0.05), 0.94, 0.9, fill=False, ec="#b5b5b5", lw=0.8, ls=(0, (3, 3)))
    )


def _ink(color: Sequence[float]) -> tuple[float, float, float]:
    """Black or white, whichever stands out more from the colour (WCAG's relative luminance)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (0.0, 0.0, 0.0) if (luminance + 0.05) ** 2 > 0.05 * 1.05 else (1.0, 1.0, 1.0)
