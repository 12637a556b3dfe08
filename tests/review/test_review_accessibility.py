"""Each page of a review against axe-core, all of its rules, in both themes and on a phone."""

from importlib.resources import files
from importlib.util import find_spec

import pytest

pytest.importorskip("selenium")
from review_reader import CHOICES
from review_results import write_results
from review_scans import write_scans
from selenium.webdriver.common.keys import Keys

from medr1.workflows.review import adjudicate_review

PACKAGES = ("axe_playwright_python", "axe_core_python")
"""Packages that have axe.min.js, the newer version first."""


@pytest.fixture(scope="module")
def axe():
    """The script of axe-core; without it the tests are skipped."""
    package = next((name for name in PACKAGES if find_spec(name)), None)
    if package is None:
        pytest.skip("needs axe-core: pip install axe-core-python")
    return (files(package) / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture
def check(reader, axe):
    """check() returns the violations of the page as it is: (width, theme, rule) -> elements."""

    def check_page():
        reader.run(axe)
        problems = {}
        for width, height, scheme in (
            (1366, 768, "light"),
            (1366, 768, "dark"),
            (390, 844, "dark"),
        ):
            reader.resize(width, height)
            reader.set_theme(scheme)
            result = reader.browser.execute_async_script(
                "axe.run(document).then(arguments[0], e => arguments[0]({error: String(e)}))"
            )
            assert len(result["passes"]) > 3, result
            for rule in result["violations"]:
                nodes = [(node["html"][:120], node["failureSummary"]) for node in rule["nodes"]]
                problems[width, scheme, rule["id"]] = nodes
        reader.resize(1366, 768)
        return problems

    yield check_page
    reader.set_theme("light")


def test_axe_sees_a_fault(reader, check):
    """A page with an image without text and a control without a name is not passed."""
    reader.browser.get("data:text/html,<p>x<img src=x><button></button><input>")
    assert {"image-alt", "button-name", "label"} <= {rule for *_, rule in check()}


def test_the_start_a_case_a_message_and_the_end(reader, check, start):
    server = start(confident_errors=1, errors=0, right_answers=0, repeats=0)
    reader.browser.get("about:blank")
    reader.browser.get(server.url)
    reader.wait(lambda: reader.run("return document.getElementById('reader') !== null"))
    assert check() == {}
    reader.open(server.url, "A")
    assert reader.place() == (1, 1)
    assert check() == {}
    reader.press(Keys.ENTER)
    reader.wait(lambda: "Answer every question" in reader.text("message"))
    assert check() == {}
    reader.judge()
    reader.wait(lambda: "1 judged" in reader.text("end-text"))
    assert check() == {}


def test_a_scan(reader, check, start, tmp_path):
    server = start(write_scans(tmp_path), image_root=tmp_path, errors=0, right_answers=9, repeats=0)
    reader.open(server.url, "A")
    reader.place()
    while reader.text("question") != "series?":
        before = reader.place()
        reader.press("s")
        reader.wait(lambda before=before: reader.place() != before)
    described = "viewer.images[0].described.then(() => arguments[0]())"
    reader.browser.execute_async_script(described)
    assert check() == {}
    reader.press("d", Keys.PAGE_DOWN)
    reader.wait(lambda: reader.run("return document.querySelector('#frame canvas') !== null"))
    assert check() == {}


def test_two_models(reader, check, start, tmp_path):
    second = write_results(tmp_path / "second.json")
    second.write_text(second.read_text().replace("some/secret-model", "some/other-model"))
    reader.open(start(compare=second).url, "A")
    reader.place()
    assert check() == {}


def test_an_adjudication(reader, check, start, serve, tmp_path):
    server = start(confident_errors=1, errors=0, right_answers=0, repeats=0)
    for name, first in (("A", "1"), ("B", "3")):
        reader.open(server.url, name)
        reader.place()
        reader.judge({**CHOICES, "correct": first})
    results = tmp_path / "results.json"
    stores = [server.app.store.path]
    second = serve(
        adjudicate_review(results, stores, adjudicator="C", image_root=server.app.images.root.path)
    )
    reader.open(second.url, "C")
    reader.place()
    assert "Reader 1" in reader.text("earlier-list")
    assert check() == {}
