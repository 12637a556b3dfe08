"""compare.html and matrix.html: all numbers, the same again, inert, readable on a phone."""

import re
from html.parser import HTMLParser

import pytest
from msgspec.structs import replace
from test_comparison_report import document as comparison_document
from test_matrix_report import document as matrix_document
from test_page_browser import CONTRAST, assert_inert

from medr1.report.pages.comparison import comparison_html, signed_x
from medr1.report.pages.matrix import matrix_html
from medr1.report.pages.summary import MARGIN, PLOT_WIDTH


def text_of(page):
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.S)
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


class Tags(HTMLParser):
    """The names of tags and attributes."""

    def __init__(self, text):
        super().__init__()
        self.names = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.names |= {tag, *(name for name, _ in attrs)}


def pages(name="B", seeds=1):
    """Both pages, with a name in the place of a group and of a domain."""
    comparison = comparison_document(names=("A", name), seeds=seeds)[0]
    runs = [replace(run, name=f"{run.name[:5]} {name}") for run in comparison.runs]
    entries = [replace(entry, run=name) for entry in comparison.comparisons]
    comparison = replace(comparison, runs=runs, comparisons=entries, base=name)
    matrix = matrix_document(["A", name], missing=[(name, name)], train=True)
    return comparison_html(comparison), matrix_html(matrix)


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_comparison_has_each_difference_and_its_test(seeds):
    document, _ = comparison_document(names=("CT", "MRI"), seeds=seeds)
    page = comparison_html(document)
    text = text_of(page)
    for entry in document.comparisons:
        rows = [entry, *(row for groups in entry.groups.values() for row in groups.values())]
        for row in rows:
            assert f"{100 * row.difference.value:+z.1f}" in text and str(row.won) in text
    assert "run 2" in text and "CT" in text and "Holm" in text and "80 % power" in text
    assert ("SD" in text) == ("over seeds instead of images" in text) == (seeds > 1)
    assert page == comparison_html(document)


def test_one_run_has_a_large_number():
    document, _ = comparison_document(runs=2)
    (entry,) = document.comparisons
    page = comparison_html(document)
    assert f'<p class="big">{100 * entry.difference.value:+z.1f}</p>' in page
    assert ("The difference is significant" in page) is (entry.p_holm < 0.05)


def test_zero_is_in_the_middle_of_a_plot():
    assert signed_x(0.0, 0.2) == PLOT_WIDTH / 2
    assert signed_x(-0.2, 0.2) == signed_x(-0.5, 0.2) == MARGIN
    assert signed_x(0.2, 0.2) == PLOT_WIDTH - MARGIN


def test_a_matrix_has_each_cell():
    document = matrix_document(["CT", "MRI"], missing=[("CT", "MRI")], train=True)
    page = matrix_html(document)
    text = text_of(page)
    for row in document.cells.values():
        for cell in row.values():
            low, high = cell.accuracy.ci95
            assert f"{100 * cell.accuracy.value:.1f}" in text
            assert f"{100 * low:.1f} to {100 * high:.1f}" in text
            assert f"{100 * cell.gain.value:+z.1f}{cell.mark}" in text
    assert "There are no results of: CT on MRI" in text and "in domain" in text
    assert page == matrix_html(document) and page.count("diagonal") > 3
    assert "Gain over the base" not in matrix_html(matrix_document(["CT", "MRI"], base=False))


def test_a_loss_and_a_gain_have_different_colours():
    document = matrix_document(["CT", "MRI"])
    cell = document.cells["CT"]["CT"]
    for value, name in ((0.4, "shade10"), (-0.4, "loss10")):
        gain = replace(cell.gain, value=value, ci95=(value - 0.1, value + 0.1))
        row = {"CT": replace(cell, gain=gain, mark="***")}
        page = matrix_html(replace(document, cells={**document.cells, "CT": row}))
        assert re.search(rf'class="num {name} diagonal">[+-]40.0\*\*\*<', page)


def test_what_others_wrote_is_text(attack):
    for page, plain in zip(pages(attack.replace("\ud800", "")), pages(), strict=True):
        assert Tags(page).names == Tags(plain).names and "script" not in Tags(page).names
        assert "default-src 'none'" in page and not re.search("[\x00-\x08\x1b\u202e\u2066]", page)


@pytest.mark.parametrize(
    ("width", "dark"), [(320, False), (420, True), (1366, False), (1366, True)]
)
def test_a_browser_shows_them_quietly(browser, tmp_path, width, dark):
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": scheme})
    for number, html in enumerate([*pages("<script>window.hurt=1</script>" + "x" * 80), *pages()]):
        page = tmp_path / f"{number}.html"
        page.write_text(html, encoding="utf-8")
        browser.get_log("performance"), browser.get_log("browser")
        browser.get(page.as_uri())
        assert_inert(browser)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        contrasts = browser.execute_script(CONTRAST)
        assert len(contrasts) > 60 and contrasts[0][0] >= 4.5, contrasts[:4]
        right = browser.execute_script(
            "return Math.max(0, ...[...document.querySelectorAll('svg.plot')]"
            ".map(e => e.getBoundingClientRect().right))"
        )
        assert right <= max(width, 420)
