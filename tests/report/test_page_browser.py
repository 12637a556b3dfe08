"""report.html in a real browser: inert, offline, usable by keyboard, on a phone, in the dark."""

import base64
import json
import re

import pytest
from PIL import Image

from medr1.report.pages.page import report_html
from medr1.report.pages.thumbnails import larger_copies, make_thumbnails


@pytest.fixture
def show(browser, tmp_path, rich_summary, make_item):
    """show(...) writes and opens a page and returns the browser; by default the rich one."""

    def open_page(
        summaries=None, items=None, *, width=1100, dark=False, script=True, number=40, room=2**30
    ):
        items = [make_item(n) for n in range(number)] if items is None else items
        (tmp_path / "images").mkdir(exist_ok=True)
        for n in range(0, 20, 2):
            Image.new("RGB", (400, 300), (20 * n % 255, 90, 90)).save(tmp_path / f"images/{n}.png")
        page = tmp_path / "report.html"
        thumbnails = make_thumbnails(items, tmp_path)
        larger = larger_copies(items, tmp_path, thumbnails, max_total_bytes=room)
        summaries = summaries or [rich_summary]
        page.write_text(report_html(summaries, items, thumbnails=thumbnails, larger=larger))
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        commands = {
            "Emulation.setDeviceMetricsOverride": size,
            "Emulation.setEmulatedMedia": {"media": "", "features": scheme},
            "Emulation.setScriptExecutionDisabled": {"value": not script},
        }
        for command, values in commands.items():
            browser.execute_cdp_cmd(command, values)
        browser.get_log("performance")
        browser.get(page.as_uri())
        return browser

    return open_page


def requests(browser):
    """URL -> why it was stopped (None: it was not), for what the page asked of others.

    Requests for chrome: addresses are those of Chromium's start page, which may still be loading. A
    page in a file gets an error in the console for one, and `assert_inert` sees that.
    """
    asked, stopped = {}, {}
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        about = message["params"]
        if message["method"] == "Network.requestWillBeSent":
            asked[about["requestId"]] = about["request"]["url"]
        elif message["method"] == "Network.loadingFailed":
            stopped[about["requestId"]] = about.get("blockedReason")
    return {
        url: stopped.get(number)
        for number, url in asked.items()
        if not url.startswith(("data:", "file:", "chrome:"))
    }


def assert_inert(browser):
    from selenium.common.exceptions import NoAlertPresentException

    with pytest.raises(NoAlertPresentException):
        browser.switch_to.alert.dismiss()
    assert browser.execute_script("return window.hurt") is None
    assert browser.get_log("browser") == []
    assert requests(browser) == {}
    resources = "return performance.getEntriesByType('resource').map(e => e.name)"
    assert [n for n in browser.execute_script(resources) if not n.startswith("data:")] == []


def shown(browser):
    return browser.execute_script(
        "return [...document.querySelectorAll('.item')].filter(e => e.checkVisibility())"
        ".map(e => e.querySelector('h3').textContent)"
    )


def test_opens_quietly_and_shows_its_pictures(show):
    browser = show()
    assert "checkpoints/tiny-vl" in browser.title
    widths = "return [...document.images].map(e => e.naturalWidth)"
    assert browser.execute_script(widths) == [400] * 10
    assert len(shown(browser)) == 10
    assert_inert(browser)


def test_what_others_wrote_does_nothing(show, attack, hostile_page):
    browser = show(*hostile_page(attack))
    browser.execute_script("document.querySelectorAll('details').forEach(e => e.open = true)")
    for element in browser.find_elements("css selector", "summary, .question, .options li")[:6]:
        browser.execute_script("arguments[0].click()", element)
    assert len(shown(browser)) == 7
    assert_inert(browser)


def test_a_hostile_file_makes_an_inert_page(browser, tmp_path, attack):
    """From the file to the page: metadata that is asked for, groups, ids, image and file names."""
    attack = attack.replace("\ud800", "")  # JSON with a lone surrogate is refused before
    from click.testing import CliRunner

    from medr1.cli import cli

    rows = [
        {
            "id": f"{attack} {n}",
            "images": [f"{attack}{n}.png"],
            "question": attack,
            "options": {"A": attack, "B": f"{attack} other"},
            "ground_truth": "A",
            "modality": f"{attack}{n % 2}",
            "dataset": attack,
            "metadata": {"key": attack, "scanner": f"{attack}{n % 2}", "patient": f"{attack}{n}"},
            "model_output": f"<think>{attack}</think> <answer>{'AB'[n % 2]}</answer> {attack}",
        }
        for n in range(24)
    ]
    file, out = tmp_path / "x' onclick=hurt() <b>.json", tmp_path / "out"
    meta = dict.fromkeys(("model", "data", "prompt"), attack)
    document = {"schema": "medr1.results/1", "meta": meta, "results": rows}
    file.write_text(json.dumps(document))
    asked = ("--group-by", "key,scanner,patient", "--cluster-by", "patient")
    done = CliRunner().invoke(cli, ["eval", str(file), "--output-dir", str(out), *asked])
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.output and "\u202e" not in done.output
    size = {"width": 1100, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    browser.get_log("performance"), browser.get_log("browser")
    browser.get((out / "report.html").as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(e => e.open = true)")
    for element in browser.find_elements("css selector", "summary, dd, .item h3, th")[:20]:
        browser.execute_script("arguments[0].click()", element)
    assert len(shown(browser)) == 10
    assert_inert(browser)


def test_the_policy_would_stop_what_slipped_through(show):
    """The second wall: were markup let in, neither would it run nor fetch."""
    browser = show(number=1)
    browser.execute_script(
        "const e = document.createElement('div'); document.body.append(e); e.innerHTML = "
        '\'<img src="https://example.invalid/x.png"><img src="data:," onerror="window.hurt=1">\';'
        "const s = document.createElement('script'); s.textContent = 'window.hurt=1';"
        "document.body.append(s)"
    )
    browser.execute_async_script("setTimeout(arguments[0], 300)")
    assert browser.execute_script("return window.hurt") is None
    assert requests(browser) == {"https://example.invalid/x.png": "csp"}
    said = " ".join(entry["message"] for entry in browser.get_log("browser"))
    assert "Content Security Policy" in said


def keys(browser, *pressed):
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(*pressed).perform()


def focus_by_tab(browser, wanted):
    """Press Tab until the element with this id, or data-place, has the focus."""
    from selenium.webdriver.common.keys import Keys

    for _ in range(120):
        keys(browser, Keys.TAB)
        found = browser.execute_script(
            "const e = document.activeElement; return e.id || e.dataset.place || ''"
        )
        if found == wanted:
            return
    pytest.fail(f"{wanted} is not reached by Tab")


def status(browser):
    return browser.find_element("id", "shown").text


def click(browser, selector, number=0):
    element = browser.find_elements("css selector", selector)[number]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def data(browser, name):
    """A number in the attributes of the shown items, in their order."""
    return browser.execute_script(
        "return [...document.querySelectorAll('.item:not([hidden])')]"
        f".map(e => Number(e.dataset.{name}))"
    )


def test_filter_and_sort_by_keyboard(show):
    from selenium.webdriver.common.keys import Keys

    browser = show()
    focus_by_tab(browser, "find")
    keys(browser, "pneumonia 0007")
    assert shown(browser) == ["item-0007"]
    assert status(browser) == "1 of 40 items"
    focus_by_tab(browser, "reset")
    keys(browser, Keys.SPACE)
    assert status(browser) == "40 of 40 items"
    assert browser.find_element("id", "find").get_attribute("value") == ""
    browser.find_element("id", "find").send_keys("")
    focus_by_tab(browser, "1")  # verdict, the second facet
    keys(browser, "the model declined")
    assert all(int(name[-4:]) % 7 == 2 for name in shown(browser)) and shown(browser)
    assert status(browser).endswith("verdict: the model declined to answer")
    focus_by_tab(browser, "sort")
    keys(browser, "length")
    browser.execute_script("document.getElementById('reset').focus()")
    assert browser.find_element("id", "sort").get_attribute("value") == "length"
    assert data(browser, "length") == sorted(data(browser, "length"), reverse=True)


@pytest.mark.parametrize("selector", ["#worst", "a.action"])
def test_the_wrong_and_most_confident_in_one_click(show, selector):
    browser = show()
    click(browser, selector)
    confidences = data(browser, "confidence")
    assert confidences == sorted(confidences, reverse=True) and len(set(confidences)) > 1
    assert status(browser).startswith("34 of 40 items")  # two of seven outputs are right
    classes = "return [...document.querySelectorAll('.item:not([hidden])')].map(e => e.className)"
    assert set(browser.execute_script(classes)) == {"item wrong"}


def test_pages_of_all_items(show):
    from selenium.webdriver.support.ui import Select

    browser = show()
    top, bottom = browser.find_elements("css selector", ".pager")
    assert top.text.split("\n") == bottom.text.split("\n") == ["Previous", "page 1 of 4", "Next"]
    names = shown(browser)
    for page in (2, 3, 4):
        click(browser, ".pager button[data-step='1']", page % 2)
        assert f"page {page} of 4" in top.text
        names += shown(browser)
    assert names == [f"item-{n:04}" for n in range(40)]
    focused = "return document.activeElement.closest('.item').querySelector('h3').textContent"
    assert browser.execute_script(focused) == "item-0030"
    assert not top.find_element("css selector", "[data-step='1']").is_enabled()
    Select(browser.find_element("id", "size")).select_by_visible_text("all")
    assert len(shown(browser)) == 40 and not top.is_displayed()


def test_a_link_opens_its_item_on_whatever_page(show):
    browser = show()
    browser.get(browser.current_url + "#item-item-0037")
    assert "item-0037" in shown(browser)
    assert browser.execute_script("return document.querySelector(':target').id") == "item-item-0037"
    browser.find_element("id", "find").send_keys("0001")
    assert shown(browser) == ["item-0001"]
    browser.execute_script("location.hash = '#item-item-0025'")
    browser.execute_async_script("setTimeout(arguments[0], 100)")
    assert "item-0025" in shown(browser)
    link = browser.find_element("css selector", "#item-item-0025 h3 a")
    assert link.get_attribute("href").endswith("#item-item-0025")


def test_group_rows_and_confusion_cells_open_their_items(show):
    browser = show()
    groups = browser.find_elements("css selector", "#results-1-details .forest a[data-show]")
    names = [group.text for group in groups]
    assert names == ["X-Ray", "Anatomy", "Disease Diagnosis", "4"]  # of which there are items
    click(browser, "#results-1-details .forest a[data-show]", 1)
    assert status(browser) == "20 of 40 items: question type: Anatomy"
    assert all(int(name[-4:]) % 2 for name in shown(browser))
    click(browser, ".heat a[data-show]")
    assert status(browser).endswith("items: ground truth B, model\u2019s answer A")
    assert shown(browser) and all(int(name[-4:]) % 7 == 1 for name in shown(browser))
    assert browser.current_url.endswith("#gallery")
    click(browser, "#reset")
    assert status(browser) == "40 of 40 items"


def test_an_image_is_enlarged_and_closed_by_keyboard(show, make_item):
    from selenium.webdriver.common.keys import Keys

    # the second item has the image of the first one
    browser = show(items=[make_item(0), make_item(1, images=["images/0.png"])], dark=True)
    buttons = browser.find_elements("css selector", ".item button.enlarge")
    assert len(buttons) == 2 and not browser.find_elements("css selector", "a.same")
    dialog = browser.find_element("id", "large")
    for button in buttons:
        button.send_keys(Keys.ENTER)
        image = dialog.find_element("css selector", "img")
        assert image.is_displayed() and image.size["width"] > 400
        assert dialog.text.endswith("a copy of 400 \u00d7 300 pixels")
        keys(browser, Keys.ESCAPE)
        assert not dialog.is_displayed()
        focused = browser.execute_script("return document.activeElement.className")
        assert focused == "enlarge"
    buttons[0].click()
    dialog.find_element("id", "close").click()
    assert not dialog.is_displayed()


def test_an_enlarged_image_says_where_only_the_small_one_is_there(show, make_item):
    items = [make_item(n, images=[f"images/{2 * n}.png"]) for n in range(2)]
    browser = show(items=items, room=1)
    notes = {}
    for button in browser.find_elements("css selector", ".item button.enlarge"):
        assert max(button.find_element("css selector", "img").size.values()) <= 160
        button.click()
        title, note = browser.find_element("id", "large-note").text.split(": ")
        notes[title] = note.partition(", ")[2]
        browser.find_element("id", "close").click()
    assert notes == {
        "item-0000": "a copy of 160 \u00d7 120 pixels; a larger one did not fit on the page",
        "item-0001": "a copy of 400 \u00d7 300 pixels",
    }
    assert "does not fit on the page: 1;" in browser.find_element("id", "gallery").text


def test_the_first_screen_has_accuracy_baselines_and_lowest_groups(show):
    browser = show(width=1366)
    assert browser.title.startswith("Evaluation of checkpoints/tiny-vl on test.json")
    for text in ("68.4 %", "65.4 to 71.4", "chance", "without the image", "Ultrasound"):
        elements = browser.find_elements("xpath", f"//main//*[contains(text(), '{text}')]")
        assert any(element.rect["y"] < 768 and element.is_displayed() for element in elements), text
    lowest = browser.find_elements("css selector", ".headline tbody:last-of-type tr")
    assert [row.text.split("\n")[0] for row in lowest[1:]] == [
        "Ultrasound",
        "Disease Diagnosis",
        "4",
    ]


def test_interval_plots_fit_a_phone(show):
    browser = show(width=420)
    ends = browser.execute_script(
        "return [...document.querySelectorAll('svg.plot')]"
        ".map(e => e.getBoundingClientRect().right)"
    )
    assert len(ends) > 20 and 300 < max(ends) <= 420


def test_without_script_everything_is_there(show):
    from selenium.webdriver.common.by import By

    browser = show(script=False)
    assert not browser.find_element(By.ID, "controls").is_displayed()
    items = browser.find_elements(By.CSS_SELECTOR, ".item")
    assert len(items) == 40 and all(item.is_displayed() for item in items[::10])


@pytest.mark.parametrize("width", [320, 360, 768])
def test_no_sideways_scrolling(show, rich_summary, make_item, hostile_page, width):
    summaries, items = hostile_page("x" * 400)
    items += [make_item(n) for n in range(12)]
    browser = show([rich_summary, *summaries], items, width=width)
    browser.execute_script("document.querySelectorAll('details').forEach(e => e.open = true)")
    wide, room = browser.execute_script(
        "const page = document.documentElement; return [page.scrollWidth, page.clientWidth]"
    )
    assert wide == room <= width


CONTRAST = """
const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
const pixel = (colors) => {
  canvas.clearRect(0, 0, 1, 1);
  for (const c of colors) { canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); }
  return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
};
const light = (rgb) => {
  const [r, g, b] = rgb.map((v) => v / 255).map(
    (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const e = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !e.checkVisibility() || e.closest('script')) continue;
  const layers = [];
  for (let p = e; p; p = p.parentElement) layers.unshift(getComputedStyle(p).backgroundColor);
  layers.unshift(getComputedStyle(document.documentElement).colorScheme && 'Canvas');
  const style = getComputedStyle(e), ink = e.closest('svg') ? style.fill : style.color;
  const back = pixel(layers), front = pixel([...layers, ink]);
  const [a, b] = [light(back), light(front)].sort((x, y) => y - x);
  found.push([(a + 0.05) / (b + 0.05), e.className.baseVal ?? e.className, e.tagName]);
}
return found.sort((x, y) => x[0] - y[0]);
"""


@pytest.mark.parametrize("dark", [False, True])
def test_contrast(show, dark):
    browser = show(dark=dark)
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 23, 26)" if dark else "rgb(255, 255, 255)")
    found = browser.execute_script(CONTRAST)
    assert len(found) > 500
    assert found[0][0] >= 4.5, found[:5]


def test_headings_tables_and_fields_have_names(show):
    browser = show()
    wrong = browser.execute_script(
        "const bad = [];"
        "for (const t of document.querySelectorAll('table')) if (!t.caption) bad.push('caption');"
        "for (const h of document.querySelectorAll('th')) if (!h.scope) bad.push(h.textContent);"
        "for (const i of document.querySelectorAll('input, select')) if (!i.labels.length) "
        "bad.push(i.id);"
        "for (const i of document.images) if (!i.alt) bad.push('alt');"
        "return bad"
    )
    assert wrong == []
    for landmark in ("header", "nav", "main", "footer", "main h2", "[role=search]"):
        assert browser.find_elements("css selector", landmark), landmark


def test_print(show):
    browser = show(dark=True, number=60)
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert pdf.startswith(b"%PDF") and 8 <= pages <= 24, pages
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert len(shown(browser)) == 10
    assert browser.find_element("css selector", ".pager").text.strip() == "page 1 of 6"
    assert not browser.find_element("id", "controls").is_displayed()
    white = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert white == "rgb(255, 255, 255)"


def test_page_size(tmp_path, rich_summary, make_item):
    """The page of 5,000 questions with an image each stays a file that one can send."""
    (tmp_path / "images").mkdir()
    noise = Image.effect_noise((512, 512), 60).convert("RGB")
    for n in range(200):
        noise.save(tmp_path / f"images/{n}.png", compress_level=1)
    items = [make_item(n) for n in range(200)]
    page = report_html([rich_summary], items, thumbnails=make_thumbnails(items, tmp_path))
    assert len(page.encode()) < 4_000_000


def test_a_page_that_would_be_too_large_says_what_is_left_out(rich_summary, make_item):
    items = [make_item(n, model_output="x" * 9000) for n in range(300)]
    full = report_html([rich_summary], items, thumbnails={})
    assert "left out" not in full and "All 300 items" in full
    cut = report_html([rich_summary], items, thumbnails={}, max_bytes=len(full) - 100_000)
    assert len(cut) < len(full) - 100_000 and cut.count("<article") == 300
    assert "Texts are cut after 1,000 characters" in cut
    few = report_html([rich_summary], items, thumbnails={}, max_bytes=500_000, n_items=1000)
    n = few.count("<article")
    assert len(few.encode()) <= 500_000 and 50 < n < 290
    assert f"<b>{1000 - n} items are left out</b>" in few
    assert few == report_html([rich_summary], items, thumbnails={}, max_bytes=500_000, n_items=1000)
