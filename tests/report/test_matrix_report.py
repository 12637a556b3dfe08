"""A matrix as a terminal table, CSV, Markdown, LaTeX and pictures; names are never interpreted."""

import csv
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from medr1.evaluate.comparing.matrix import matrix
from medr1.evaluate.judging import Settings
from medr1.records import Prediction, Sample
from medr1.report.charts.heatmap import heat_maps
from medr1.report.terminal.matrix import (
    latex_text,
    markdown_text,
    matrix_csv,
    matrix_latex,
    matrix_markdown,
    matrix_table,
    panels,
)

NASTY = "=1+1\x1b[31m<script>|$x^{2}_i$ %&#~\\input{a} --></svg>"


def document(names, *, base=True, missing=(), train=None, n=40, bases=None):
    rng = np.random.default_rng(0)

    def results(domain):
        found = []
        for i in range(n):
            sample = Sample(f"q{i}", (f"{domain}{i}",), "?", {"A": "x", "B": "y"}, "A")
            said = "A" if rng.random() < 0.6 else "B"
            found.append(Prediction(sample, f"<answer>{said}</answer>"))
        return {f"{domain}.json": found}

    cells = {a: {b: results(b) for b in names if (a, b) not in missing} for a in names}
    samples = [Sample("t", (f"{names[0]}0",), "?", {"A": "x", "B": "y"}, "A")] if train else []
    return matrix(
        cells,
        {b: results(b) for b in (bases or names)} if base else {},
        {names[0]: samples} if train else {},
        settings=Settings(num_resamples=50),
    )


EIGHT = [f"Modality {i} of a long name" for i in range(8)]
TWO = document(["CT", NASTY], missing=[(NASTY, NASTY)], train=True)


@pytest.mark.parametrize("names", [["CT", "MRI"], EIGHT[:5], EIGHT, [f"d{i}" for i in range(13)]])
@pytest.mark.parametrize("base", [True, False])
def test_the_table_keeps_to_80_columns_and_shows_every_cell(names, base):
    found = document(names, base=base)
    table = matrix_table(found)
    assert max(map(len, table.splitlines())) <= 80
    for row in found.cells.values():
        for cell in row.values():
            assert f"{100 * cell.accuracy.value:.1f}" in table
            if base:
                assert f"{100 * cell.gain.value:+z.1f}" in table
    assert ("\ngain" in table) == ("p < 0.05" in table) == base
    assert all(name in table for name in names)


def test_the_table_marks_and_cleans():
    table = matrix_table(TWO)
    assert "\x1b" not in table and "†" in table and "! missing cells: 1 of 4" in table
    assert "in domain (1 cell)" in table


def test_intervals_stand_in_a_small_table_and_are_promised_for_a_large_one():
    small = document(["CT", "MRI"])
    low, high = small.cells["CT"]["MRI"].accuracy.ci95
    assert f"({100 * low:.1f} to {100 * high:.1f})" in matrix_table(small)
    assert "Each cell's interval is in matrix.csv" in matrix_table(document(EIGHT))


def test_a_title_and_each_number_begin_at_one_column():
    lines = matrix_table(document(["CT", "MRI"])).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("accuracy, %"))
    title, *rows = lines[start : lines.index("", start)]
    assert [row.split()[0] for row in rows[:2]] == ["chance", "base"]
    for head in ("CT", "MRI"):
        place = title.index(head)
        for row in rows:
            assert re.match(r"\d+\.\d", row[place:]) and row[place - 1] == " ", row


def test_csv():
    rows = list(csv.DictReader(io.StringIO(matrix_csv(TWO))))
    cells = {(row["train"], row["test"]): row for row in rows}
    first = TWO.cells["CT"]["CT"]
    assert float(cells["CT", "CT"]["gain"]) == first.gain.value
    assert cells["CT", "CT"]["shared_items"] == "1" and cells["CT", "CT"]["in_domain"] == "True"
    nasty = next(name for name, _ in cells if "script" in name)
    assert nasty.startswith("'=1+1") and "\x1b" not in nasty
    assert cells[nasty, nasty]["accuracy"] == ""
    assert {"(chance)", "(blind)", "(base)", "(in domain)", "(out of domain)"} <= {
        row["train"] for row in rows
    }


def test_markdown_is_a_table_in_which_names_are_text():
    text = matrix_markdown(TWO)
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} == {5}
    assert "<script" not in text and "&lt;script&gt;\\|\\$x" in text
    assert markdown_text("a*b_c`d") == r"a\*b\_c\`d"


def test_latex_is_balanced_and_names_are_text():
    text = matrix_latex(TWO)
    code = "\n".join(re.sub(r"(?<!\\)%.*", "", line) for line in text.splitlines())
    bare = re.sub(r"\\[{}]", "", code.replace("\\\\", ""))
    assert bare.count("{") == bare.count("}")
    assert len(re.findall(r"(?<!\\)\$", code)) % 2 == 0
    assert code.count(r"\begin{tabular}{lrrr}") == code.count(r"\end{tabular}") == 2
    for line in code.splitlines():
        if line.rstrip().endswith((r"\\", r"\\ \hline")):
            assert len(re.findall(r"(?<!\\)&", line)) == 3, line
    commands = set(re.findall(r"\\([A-Za-z]+)", code))
    assert commands <= {
        *("begin", "end", "hline", "shortstack", "textbf", "tiny", "ast", "dagger"),
        *("textless", "textgreater", "textbar", "textbackslash", "textasciitilde"),
        "textasciicircum",
    }
    assert latex_text("50 % & $x_1$") == r"50 \% \& \$x\_1\$"
    assert latex_text("\\input{a}--*[") == r"\textbackslash{}input\{a\}{-}{-}{*}{[}"


@pytest.mark.parametrize("names", [["CT", NASTY], EIGHT[:5], EIGHT])
def test_pictures(names):
    found = document(names, missing=[(names[0], names[1])], train=True)
    pictures = heat_maps(found)
    with Image.open(io.BytesIO(pictures["png"])) as image:
        assert image.format == "PNG" and min(image.size) > 500
        colors = {color for _, color in image.convert("RGB").getcolors(1 << 22)}
    assert len(colors) > 100
    root = ET.fromstring(pictures["svg"])
    assert root.tag.endswith("svg")
    assert not [e for e in root.iter() if e.tag.rpartition("}")[2] in ("script", "image")]
    assert pictures == heat_maps(found)


def _luminance(color):
    return sum(
        w * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
        for w, c in zip((0.2126, 0.7152, 0.0722), color[:3], strict=True)
    )


def test_colours_leave_text_readable():
    """At least 4.5 to 1, WCAG's level AA, on every colour of both scales."""
    from medr1.report.charts.heatmap import _ink, _scale

    for panel in panels(document(["CT", "MRI"])):
        colors, _, _ = _scale(panel)
        for share in np.linspace(0, 1, 101):
            light, dark = sorted(map(_luminance, (colors(share), _ink(colors(share)))))[::-1]
            assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_a_gain_has_its_colour_only_where_its_stars_show_it():
    """CT gains 10 of 40 and loses none; MRI changes by 3 of 40; the averages have no test."""
    from matplotlib.colors import rgb_to_hsv

    from medr1.report.charts.heatmap import _figure

    def rows(domain, right):
        made = []
        for i in range(40):
            sample = Sample(f"q{i}", (f"{domain}{i}",), "?", {"A": "x", "B": "y"}, "A")
            made.append(Prediction(sample, f"<answer>{'A' if i < right else 'B'}</answer>"))
        return {f"{domain}.json": made}

    def gains(ct, mri):
        cells = {"CT": {"CT": rows("CT", ct), "MRI": rows("MRI", mri)}}
        base = {"CT": rows("CT", 20), "MRI": rows("MRI", 20)}
        found = matrix(cells, base, {}, settings=Settings(num_resamples=50))
        axes = _figure(found).axes[1]
        boxes = [p for p in axes.patches if p.get_fill()]  # in the order of the cells
        return found, [
            (t, b.get_facecolor()[:3]) for t, b in zip(axes.texts[::2], boxes, strict=True)
        ]

    found, drawn = gains(30, 17)
    marks = [found.cells["CT"][test].mark for test in ("CT", "MRI")]
    assert marks == ["**", ""]
    colourful = [rgb_to_hsv(color)[1] for _, color in drawn]
    assert colourful[0] > 0.5 > 0.15 > colourful[1] > 0.01
    assert [text.get_text() for text, _ in drawn[:2]] == ["+25.0**", "\N{MINUS SIGN}7.5"]
    assert [text.get_fontweight() for text, _ in drawn[:2]] == ["bold", "normal"]
    assert colourful[2:] == [0] * len(colourful[2:])
    # where nothing is shown, the largest difference is not painted in the deepest colour either
    found, drawn = gains(20, 17)
    assert found.cells["CT"]["MRI"].mark == ""
    assert max(rgb_to_hsv(color)[1] for _, color in drawn) < 0.2
    ink = drawn[1][0].get_color()
    light, dark = sorted((_luminance(drawn[1][1]), _luminance(ink)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_no_display_is_needed_and_nothing_global_changes():
    import matplotlib

    before = dict(matplotlib.rcParams)
    heat_maps(document(["CT"], base=False))
    assert dict(matplotlib.rcParams) == before
