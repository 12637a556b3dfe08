"""What is in sight on the page of a review, on a small screen, a tablet and a phone."""

import json

import pytest

pytest.importorskip("selenium")
from review_results import write_results
from review_scans import write_scans

LONG = "Which of these findings best explains the rise of the liver enzymes over four weeks? "
OUTSIDE = """
    const all = [...document.querySelectorAll(
        'button, fieldset, fieldset label, textarea, select, output, #tools input, #frame, ' +
        '#question, #options, #progress, #about, #keys')];
    const seen = all.filter(e => e.checkVisibility());
    const [width, height] = [innerWidth, arguments[0] ?? innerHeight];
    const page = document.documentElement;
    return [seen.length, page.scrollWidth, page.scrollHeight,
        seen.filter(e => {
            const box = e.getBoundingClientRect();
            return !box.width || !box.height || box.left < 0 || box.right > width
                || box.top + scrollY < 0 || box.bottom + scrollY > height;
        }).map(e => [e.outerHTML.slice(0, 80), JSON.stringify(e.getBoundingClientRect())])]"""
COVERED = """
    return [...document.querySelectorAll('button, textarea, select, #tools input, fieldset input')]
        .filter(e => e.checkVisibility() && !e.disabled).filter(e => {
            e.scrollIntoView({block: 'center'});
            const box = e.getBoundingClientRect();
            const top = document.elementFromPoint(
                box.x + box.width / 2, box.y + box.height / 2);
            return !(top === e || e.contains(top));
        }).map(e => e.outerHTML.slice(0, 80))"""


def lengthened(path, times):
    """The results with long questions and reasoning."""
    document = json.loads(path.read_text())
    for entry in document["results"]:
        entry["question"] = f"{entry['question']} {LONG * times}"
        entry["reasoning"] = LONG * 40
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def case(reader, start, tmp_path):
    """case(kind) shows a case with long texts: a scan, or one answered by two models."""

    def show(kind):
        if kind == "scan":
            results = lengthened(write_scans(tmp_path), 2)
            server = start(results, image_root=tmp_path, right_answers=20, repeats=0)
        else:
            second = lengthened(write_results(tmp_path / "second.json"), 2)
            second.write_text(second.read_text().replace("some/secret-model", "some/other"))
            server = start(lengthened(tmp_path / "results.json", 2), compare=second)
        reader.open(server.url, "Dr. Hippolyta Montgomery-Featherstonehaugh")
        reader.place()
        while kind == "scan" and not reader.text("question").startswith("series?"):
            before = reader.place()
            reader.press("s")
            reader.wait(lambda before=before: reader.place() != before)
        described = "viewer.images[0].described.then(() => arguments[0]())"
        reader.browser.execute_async_script(described)
        reader.run("toSlice(24)")
        return reader

    return show


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("scan", (1366, 768)),
        ("scan", (1366, 640)),
        ("scan", (820, 1180)),
        ("pair", (1366, 768)),
        ("pair", (1366, 640)),
    ],
    ids=str,
)
def test_everything_is_in_sight(case, kind, size):
    """1366 x 768, what a browser leaves of it below its bars, and a tablet."""
    reader = case(kind)
    reader.resize(*size)
    for scheme in ("light", "dark"):
        reader.set_theme(scheme)
        number, width, height, outside = reader.run(OUTSIDE)
        assert outside == [] and (width, height) <= size and height <= size[1]
        assert number > 30
        assert reader.run(COVERED) == []


@pytest.mark.parametrize("kind", ["scan", "pair"])
@pytest.mark.parametrize("width", [390, 820])
def test_a_narrow_screen_scrolls_down_only(case, kind, width):
    reader = case(kind)
    reader.resize(width, 844, is_mobile=True)
    number, page_width, page_height, outside = reader.run(
        OUTSIDE, reader.run("return document.documentElement.scrollHeight")
    )
    assert outside == [] and page_width <= width and number > 30
    assert page_height < 3 * 844  # long texts scroll in their own box
    assert reader.run(COVERED) == []


def test_the_themes_have_their_own_colours(reader, start):
    reader.open(start().url, "A")
    colours = {}
    for scheme in ("light", "dark"):
        reader.set_theme(scheme)
        script = "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
        colours[scheme] = reader.run(script)
    reader.set_theme("light")
    assert colours["light"][1] == "rgb(255, 255, 255)" and colours["dark"][1] == "rgb(20, 23, 26)"
    assert colours["light"][0] != colours["dark"][0]
