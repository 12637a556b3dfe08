"""board.html in a real browser: sorted by a click or a key, inert, on a phone and in the dark."""

import re

import pytest
from test_page_browser import CONTRAST, assert_inert

from medr1.documents.board import Board, BoardPair, BoardRow, BoardTable
from medr1.documents.metric import Metric, no_value
from medr1.report.pages.board import board_html

ACCURACIES = (0.731, 0.702, 0.655, 0.6, 0.52, 0.41, 0.399, 0.3, 0.105)


def metric(value, width=0.05):
    return Metric(value=value, ci95=(value - width, value + width), n=1200)


def document(text="", n_tables=1):
    """A board of ten models; `text` stands in every name that others write."""
    rows = [
        BoardRow(
            card=f"{text}{number}.json",
            model=f"{text}model {chr(ord('j') - number)}",
            model_sha256="0" * 64,
            prompt=f"{text}think",
            date=None if number == 3 else f"2026-11-{10 + number}T10:00:00+00:00",
            accuracy=metric(value) if value is not None else no_value(f"{text}no items"),
            groups="abcdefghij"[number],
            best_without_image=metric(0.35),
            image_gain=None if number == 5 else metric((value or 0) - 0.35),
            n_without_answer=(1234, 5, 20, 0, 3, 100, 2, 7, 9, 11)[number],
            n_leaked=None if number % 2 else 10 * number,
        )
        for number, value in enumerate((*ACCURACIES, None))
    ]
    pairs = [
        BoardPair(
            first=rows[a].card,
            second=rows[b].card,
            difference=None if b == 9 else ACCURACIES[a] - ACCURACIES[b],
            p=None if b == 9 else 10.0 ** -(b - a),
            p_holm=None if b == 9 else 10.0 ** -(b - a),
            test="none" if b == 9 else "paired",
        )
        for a in range(10)
        for b in range(a + 1, 10)
    ]
    table = BoardTable(
        data=f"{text}test.json",
        data_sha256="ab" * 32,
        n=1200,
        protocol=f"{text}default",
        rows=rows,
        pairs=pairs,
    )
    notes = [f"{text}old.json is left out: it is damaged."]
    return Board(alpha=0.05, tables=[table] * n_tables, notes=notes)


@pytest.fixture
def show(browser, tmp_path):
    def open_page(board, *, width=1366, dark=False, script=True):
        (tmp_path / "board.html").write_text(board_html(board), encoding="utf-8")
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        for command, values in {
            "Emulation.setDeviceMetricsOverride": size,
            "Emulation.setEmulatedMedia": {"media": "", "features": scheme},
            "Emulation.setScriptExecutionDisabled": {"value": not script},
        }.items():
            browser.execute_cdp_cmd(command, values)
        browser.get_log("performance"), browser.get_log("browser")
        browser.get((tmp_path / "board.html").as_uri())
        return browser

    return open_page


def column(browser, place):
    """The first line of each cell of a column of the first table."""
    return browser.execute_script(
        "return [...document.querySelector('table.sortable').tBodies[0].rows]"
        ".map(row => row.cells[arguments[0]].firstChild.textContent.trim())",
        place,
    )


def click(browser, place):
    """Click the title of a column; returns its aria-sort."""
    header = browser.find_elements("css selector", "table.sortable thead th")[place]
    header.find_element("tag name", "button").click()
    return header.get_attribute("aria-sort")


def test_a_click_sorts_and_another_one_turns_the_order(show):
    browser = show(document())
    by_accuracy = column(browser, 1)
    assert by_accuracy[0] == "73.1 %" and by_accuracy[-1] == "\u2013"
    # names, which are texts, begin with a
    assert click(browser, 0) == "ascending"
    assert column(browser, 0) == sorted(column(browser, 0))
    assert click(browser, 0) == "descending"
    assert column(browser, 0) == sorted(column(browser, 0), reverse=True)
    # counts are numbers: 1,234 is more than 100, and 9 less than 11
    assert click(browser, 6) == "descending"
    counts = [int(text.replace(",", "")) for text in column(browser, 6)]
    assert counts == sorted(counts, reverse=True) and counts[0] == 1234
    assert click(browser, 6) == "ascending" and column(browser, 6)[0] == "0"
    # what is not known is last in both orders
    for order in ("descending", "ascending"):
        assert click(browser, 5) == order
        gains = column(browser, 5)
        assert gains[-1] == "-" and "-" not in gains[:-1]
        numbers = [float(text.split()[0]) for text in gains[:-1]]
        assert numbers == sorted(numbers, reverse=order == "descending")
        assert {-24.5, 38.1} <= set(numbers)
    assert click(browser, 1) == "descending" and column(browser, 1) == by_accuracy
    assert len(browser.find_elements("css selector", "table.sortable thead [aria-sort]")) == 2
    assert_inert(browser)


def test_sorting_by_keyboard(show):
    from selenium.webdriver.common.keys import Keys

    browser = show(document())
    button = browser.find_elements("css selector", "table.sortable thead button")[0]
    browser.execute_script("arguments[0].focus()", button)
    button.send_keys(Keys.SPACE)
    assert column(browser, 0) == sorted(column(browser, 0))
    button.send_keys(Keys.ENTER)
    assert column(browser, 0) == sorted(column(browser, 0), reverse=True)


def test_pairs_are_sorted_by_p(show):
    browser = show(document())
    browser.find_element("tag name", "summary").click()
    table = browser.find_elements("css selector", "table.sortable")[1]
    cells = [row.find_elements("tag name", "td")[3].text
             for row in table.find_elements("css selector", "tbody tr")]  # fmt: skip
    numbers = [float(text.replace("<", "")) for text in cells if text != "-"]
    assert numbers == sorted(numbers) and len(cells) == 45 and cells[-1] == "-"


def test_without_script_the_tables_are_there_and_have_no_buttons(show):
    browser = show(document(), script=False)
    assert len(browser.find_elements("css selector", "table.sortable tbody tr")) == 55
    assert browser.find_elements("tag name", "button") == []


@pytest.mark.parametrize(
    ("width", "dark"), [(320, False), (420, True), (1366, False), (1366, True)]
)
def test_it_fits_and_can_be_read(show, width, dark):
    browser = show(document("<script>window.hurt=1</script>" + "x" * 80, 2), width=width, dark=dark)
    assert_inert(browser)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    contrasts = browser.execute_script(CONTRAST)
    assert len(contrasts) > 100 and contrasts[0][0] >= 4.5, contrasts[:4]


def test_what_others_wrote_is_text(attack):
    page, plain = board_html(document(attack)), board_html(document())
    tags = re.compile(r"<(/?[a-z0-9]+)")
    body, plain_body = (re.sub(r"<(script|style)>.*?</\1>", "", text, flags=re.DOTALL)
                        for text in (page, plain))  # fmt: skip
    assert tags.findall(body) == tags.findall(plain_body)
    assert not re.search("[\x00-\x08\x1b\u202e\u2066]", page)
