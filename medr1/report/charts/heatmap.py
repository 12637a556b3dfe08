"""The heat maps of `medr1 matrix`: accuracies, and gains over the base model, as PNG and SVG.

They are drawn without a display. The colours can be told apart with every kind of colour vision,
and what matters is also written, outlined (in domain) or hatched (test images were trained on). A
gain has its full colour only if it differs significantly from the base, as its stars say. Otherwise
a small random difference would look like a result.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from medr1.documents.matrix import Matrix
from medr1.report.terminal.layout import clean
from medr1.report.terminal.matrix import SHARED, Cell, Panel, notes, panels
from medr1.report.terminal.tables import interval_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from matplotlib.text import Text

Color = tuple[float, float, float]
"""Red, green and blue, each in [0, 1]."""

_CELL = (1.02, 0.62)
"""Width and height of a cell in inches."""
_GAP = 0.18
"""The gap between the cells and their averages or reference rows, as a part of a cell."""
_ROW_NAME_WIDTH, _COLUMN_NAME_WIDTH = 20, 14
"""Characters in a line of a name beside the cells, and above them."""
_MINUS = "\u2212"
_INK, _FAINT, _FAINT_INK = "#1a1a1a", "#767676", "#505050"
_ACCURACY = ("#F6F3EA", "#BBD7C1", "#6BAE99", "#25777A", "#0C3C4C")
_NEUTRAL = "#F7F7F7"
# Okabe and Ito's vermillion and blue, darker and lighter: distinct for every kind of colour vision
_GAIN = ("#A34700", "#E8A35C", _NEUTRAL, "#7DB5DC", "#00507E")
"""Colours from the largest loss over no gain to the largest gain."""


def heat_maps(document: Matrix) -> dict[str, bytes]:
    """{"png": ..., "svg": ...}: a panel of accuracies and, if there are base results, one of gains.

    `document` is the matrix (`evaluate.matrix.matrix`).
    """
    import matplotlib

    images = {}
    # "path": text in the SVG is drawn as shapes and needs no font. A fixed salt gives the same file
    # again. Characters that matplotlib's font lacks are drawn as boxes.
    with matplotlib.rc_context({"svg.hashsalt": "medr1", "svg.fonttype": "path"}):
        figure = _figure(document)
        png, svg = io.BytesIO(), io.BytesIO()
        figure.savefig(png, format="png", metadata={"Software": None})
        images["png"] = png.getvalue()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": "medr1"})
        images["svg"] = svg.getvalue()
    return images


def _figure(document: Matrix) -> Figure:
    """The whole figure: small panels beside each other, large ones one below the other."""
    from matplotlib.figure import Figure

    all_panels = panels(document)
    n_columns = len(all_panels[0].columns)
    side_by_side = len(all_panels) > 1 and n_columns <= 6
    names = [_wrapped(name) for panel in all_panels for name, _ in panel.rows]
    column_names = [_wrapped(name, _COLUMN_NAME_WIDTH) for name in all_panels[0].columns]
    # all sizes in inches: names beside the cells, names above them, one panel, the whole figure
    label_width = 0.25 + 0.085 * max(len(line) for name in names for line in name.split("\n"))
    head_height = 0.75 + 0.17 * max(name.count("\n") for name in column_names)
    panel_width = label_width + _CELL[0] * (n_columns + _GAP) + 0.25
    heights = [head_height + _CELL[1] * (len(panel.rows) + 2 * _GAP) for panel in all_panels]
    total_width = panel_width * (len(all_panels) if side_by_side else 1)
    foot_lines = _foot(document, total_width)
    foot_height = 0.25 + 0.17 * len(foot_lines)
    total_height = (max(heights) if side_by_side else sum(heights)) + foot_height
    figure = Figure(figsize=(total_width, total_height), dpi=150)
    top = total_height
    for place, (panel, height) in enumerate(zip(all_panels, heights, strict=True)):
        x = label_width + (panel_width * place if side_by_side else 0)
        cells_height = height - head_height
        # matplotlib places axes in parts of the figure: left, bottom, width, height. Panels beside
        # each other have one bottom, so that their rows line up.
        axes = figure.add_axes(
            (
                x / total_width,
                (foot_height if side_by_side else top - height) / total_height,
                (panel_width - label_width - 0.25) / total_width,
                cells_height / total_height,
            )
        )
        _draw_panel(axes, panel, cells_height / _CELL[1])
        if not side_by_side:
            top -= height
    note = figure.text(
        0.15 / total_width,
        (foot_height - 0.2) / total_height,
        "\n".join(foot_lines),
        va="top",
        size=8,
        color=_FAINT,
    )
    note.set_linespacing(1.35)
    note.set_parse_math(False)
    return figure


def _foot(document: Matrix, inches: float) -> list[str]:
    """The notes below the panels, wrapped to the width of the figure (about 15 letters an inch)."""
    texts = [f"Hatched, {note}" if note == SHARED else note for note in notes(document)]
    texts[0] += " Outlined: in domain."
    if any(panel.signed for panel in panels(document)):
        texts.insert(
            1, "Gains: full colour if significant (stars), else faint; averages are not tested."
        )
    return [line for text in texts for line in textwrap.wrap(clean(text), int(inches * 15))]


def _wrapped(name: str, width: int = _ROW_NAME_WIDTH) -> str:
    """A name in at most three lines of `width` characters."""
    return textwrap.fill(clean(name), width, max_lines=3, placeholder=" …")


def _draw_panel(axes: Axes, panel: Panel, height: float) -> None:
    """One panel: the cells; with a gap, the reference rows above and the averages right and below.

    `height` is that of the axes in cells: one cell is one unit of both axes.
    """
    colormap, low, high = _scale(panel)
    n_columns, n_rows = len(panel.columns), len(panel.rows)
    xs = [x + (_GAP if x == n_columns - 1 else 0) for x in range(n_columns)]
    ys = [
        y + (_GAP if y >= panel.n_reference > 0 else 0) + (_GAP if y == n_rows - 1 else 0)
        for y in range(n_rows)
    ]
    axes.set_xlim(-0.02, n_columns + _GAP + 0.02)
    axes.set_ylim(height, -0.02)
    for (_, cells), y in zip(panel.rows, ys, strict=True):
        for cell, x in zip(cells, xs, strict=True):
            is_extra = x == xs[-1] or y == ys[-1] or y < panel.n_reference
            if cell is not None:
                color = colormap((cell.value - low) / (high - low))
                _draw_cell(axes, panel, cell, (x, y), _cell_color(panel, cell, color))
            elif not is_extra:
                _draw_missing(axes, x, y)
    column_names = [_wrapped(name, _COLUMN_NAME_WIDTH) for name in panel.columns]
    axes.set_xticks([x + 0.5 for x in xs], column_names)
    axes.set_yticks([y + 0.5 for y in ys], [_wrapped(name) for name, _ in panel.rows])
    axes.tick_params(length=0, labelsize=9, labeltop=True, labelbottom=False, pad=5)
    axes.spines[:].set_visible(False)
    title = axes.set_title(panel.title, loc="left", fontsize=11, fontweight="bold", pad=10)
    labels: list[Text] = [*axes.get_xticklabels(), *axes.get_yticklabels(), title]
    for text in labels:
        text.set_color(_INK)
        text.set_parse_math(False)  # a "$" in a name is a "$"


def _scale(panel: Panel) -> tuple[Colormap, float, float]:
    """The colours and the values at their ends. Gains are white at zero, with symmetric ends."""
    from matplotlib.colors import LinearSegmentedColormap

    values = [cell.value for _, cells in panel.rows for cell in cells if cell is not None]
    if panel.signed:
        largest = max([abs(value) for value in values] + [0.05])
        return LinearSegmentedColormap.from_list("gain", _GAIN), -largest, largest
    low, high = min(values, default=0.0), max(values, default=1.0)
    if high - low < 0.1:  # small differences do not get the full range of colours
        low, high = max(0.0, low - 0.05), low + 0.1
    return LinearSegmentedColormap.from_list("accuracy", _ACCURACY), low, high


def _cell_color(panel: Panel, cell: Cell, color: Sequence[float]) -> Color:
    """The colour of a cell: a fifth of it for a gain without stars, none for an untested gain."""
    from matplotlib.colors import to_rgb

    red, green, blue = color[:3]  # the colormap's colour has an alpha channel too
    if cell.mark or not panel.signed:
        return red, green, blue
    share = 0.2 if cell.tested else 0.0
    grey = [(1 - share) * part for part in to_rgb(_NEUTRAL)]
    return share * red + grey[0], share * green + grey[1], share * blue + grey[2]


def _draw_cell(
    axes: Axes, panel: Panel, cell: Cell, place: tuple[float, float], color: Color
) -> None:
    """One cell: its colour and text, hatched if it shares images, outlined if it is in domain."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    x, y = place
    ink = to_rgb(_FAINT_INK) if cell.tested and not cell.mark else _ink(color)
    axes.add_patch(Rectangle((x + 0.02, y + 0.03), 0.96, 0.94, facecolor=color, lw=0))
    if cell.shared:
        hatching = Rectangle((x + 0.02, y + 0.03), 0.96, 0.94, fill=False, lw=0, hatch="////")
        hatching.set_edgecolor((*ink, 0.28))
        axes.add_patch(hatching)
    if cell.in_domain:
        axes.add_patch(Rectangle((x + 0.02, y + 0.03), 0.96, 0.94, fill=False, ec=_INK, lw=2.2))
    sign = "†" if cell.shared else ""
    value = f"{panel.text(cell.value)}{cell.mark}{sign}".replace("-", _MINUS)
    interval = interval_text(cell.ci95, panel.signed).replace("-", _MINUS)
    weight = "normal" if cell.tested and not cell.mark else "bold"
    lines = ((0.40 if interval else 0.52, value, 10.5, weight), (0.74, interval, 7, "normal"))
    # on hatching, a border in the cell's colour keeps the letters readable
    border = [withStroke(linewidth=2.5, foreground=color)] if cell.shared else []
    for offset, text, size, weight in lines:
        label = axes.text(x + 0.5, y + offset, text, size=size, weight=weight, color=ink)
        label.set(ha="center", va="center", path_effects=border)


def _draw_missing(axes: Axes, x: float, y: float) -> None:
    """A dashed outline in place of a cell without results."""
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle((x + 0.03, y + 0.05), 0.94, 0.9, fill=False, ec="#b5b5b5", lw=0.8, ls=(0, (3, 3)))
    )


def _ink(color: Sequence[float]) -> Color:
    """Black or white, whichever has more contrast with the colour (WCAG 2's formulas)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (0.0, 0.0, 0.0) if (luminance + 0.05) ** 2 > 0.05 * 1.05 else (1.0, 1.0, 1.0)
