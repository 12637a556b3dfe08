"""report.html says what the summary says, leaves out what is not there, and runs nothing."""

import base64
import hashlib
import html.parser
import re
from pathlib import Path

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from medr1.evaluate.metrics.summary import summarize
from medr1.report.pages.facets import Facets
from medr1.report.pages.first_screen import first_screen, page_title
from medr1.report.pages.page import report_html

ROOT = Path(__file__).parents[2]


class Page(html.parser.HTMLParser):
    """The tags with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


def test_says_what_the_summary_says(rich_summary, make_item):
    page = Page(report_html([rich_summary], [make_item(n) for n in range(14)], thumbnails={}))
    text = " ".join(" ".join(page.words).split())
    for expected in (
        "68.4 %", "65.4 to 71.4", "Research use, not for diagnosis", "35.2 %", "29.0 %",
        "+33.2 percentage points",
        "no item has a number as its ground truth", "Fundus Photography", "8.6 to 79.4", "under 40",
        "pneumonia", "nothing called negative", "exactly one answer block", 
        "several answers at once",
        "95th percentile 240", "bc678043" * 8, "Tejani", "item-0003", "image not shown",
        "24 of 1200 outputs were cut off at the token limit.", "nrefs:1|case:mixed|tok:13a|v:2.6.0",
        "2,000 resamples and seed 0",
    ):  # fmt: skip
        assert expected in text, expected


def test_a_summary_without_most_of_its_parts(prediction):
    for n in (3, 0):
        summary = summarize([prediction(i) for i in range(n)], num_resamples=20)
        page = report_html([summary], [], thumbnails={})
        assert "Research use, not for diagnosis" in page and 'id="gallery"' not in page
        assert "model not named" in page and "None" not in " ".join(Page(page).words[:200])


@pytest.mark.parametrize(
    ("meta", "date", "title"),
    [
        ({}, UNSET, "model not named"),
        ({"model": "m"}, UNSET, "m"),
        ({"model": "m", "data": "d.json"}, "2026-03-01T10:00:00+01:00", "m on d.json, 2026-03-01"),
        ({"model": "m", "data": "d.json"}, UNSET, "m on d.json"),
    ],
)
def test_the_title_is_model_data_and_date(rich_summary, meta, date, title):
    page = report_html([replace(rich_summary, meta=meta, date=date)], [], thumbnails={})
    assert f"<h1><bdi>{title}</bdi></h1>" in page and f"<title>Evaluation of {title}" in page


def test_the_title_names_one_data_set_by_its_name(rich_summary):
    groups = {
        **rich_summary.groups,
        "dataset": {"PathVQA": rich_summary.groups["modality"]["X-Ray"]},
    }
    first = replace(rich_summary, groups=groups)
    second = replace(first, meta={**first.meta, "model": "b"}, date="2026-03-02")
    assert page_title([first]) == "checkpoints/tiny-vl on PathVQA"
    assert page_title([first, second]) == "checkpoints/tiny-vl, b on PathVQA, 2026-03-02"


def test_the_lowest_groups_are_not_the_smallest_ones(rich_summary):
    first = first_screen(rich_summary, Facets([]))
    # Fundus Photography is lower, but has 18 items
    assert [row["name"] for row in first["lowest"]] == ["Ultrasound", "Disease Diagnosis", "4"]
    assert first["at_least"] == 20 and not any(row["link"] for row in first["lowest"])
    modality = {"modality": rich_summary.groups["modality"]}
    few = {
        "modality": {name: modality["modality"][name] for name in ("Fundus Photography", "X-Ray")}
    }
    first = first_screen(replace(rich_summary, groups=few), Facets([]))
    assert [row["name"] for row in first["lowest"]] == ["Fundus Photography", "X-Ray"]
    assert first["at_least"] is None


def test_chance_is_known_without_training_questions(rich_summary):
    first = first_screen(replace(rich_summary, blind=None), Facets([]))
    assert [row["name"] for row in first["rows"]] == ["this model", "chance"]
    # 310 questions of two options and 890 of four
    assert first["rows"][1]["value"] == "31.5 %" and not first["has_blind"]


def test_several_files_stand_apart(rich_summary):
    second = replace(rich_summary, results="seed1.json", n=7)
    page = report_html([rich_summary, second], [], thumbnails={})
    assert 'href="#results-2"' in page and 'id="results-2"' in page and "Overview" in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_what_others_wrote_is_text(rich_summary, make_item, attack, hostile_page):
    plain = Page(report_html([rich_summary], [make_item(n) for n in range(7)], thumbnails={}))
    written = report_html(*hostile_page(attack), thumbnails={})
    page = Page(written)
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in plain.tags}
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") or name == "style" for name in attributes), tag
        for name in ("src", "href", "action"):
            assert re.match(r"#|data:image/jpeg;base64,", attributes.get(name) or "#"), attributes
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f\u200b\u202a-\u202e\u2066-\u2069\ud800-\udfff]", written
    )
    written.encode("utf-8")


def test_direction_and_escapes_are_shown(rich_summary, make_item):
    page = report_html([rich_summary], [make_item(0, question="a\u202eb\x1b[1m")], thumbnails={})
    assert "a⟦U+202E⟧b⟦U+001B⟧[1m" in page


def test_policy_names_the_only_style_and_script(rich_summary):
    written = report_html([rich_summary], [], thumbnails={})
    policy = next(a["content"] for t, a in Page(written).tags if "http-equiv" in a)
    assert policy.startswith("default-src 'none';")
    for tag in ("style", "script"):
        content = re.search(f"<{tag}>(.*?)</{tag}>", written, re.S)[1]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "http:" not in written and "https:" not in written


def test_no_home_folder_is_told(rich_summary, make_item):
    home = "/home/dr.miller/secret/study"
    meta = {**rich_summary.meta, "model": f"{home}/model", "data": f"{home}/x/test.json"}
    summary = replace(rich_summary, results=f"{home}/run/results.json", meta=meta)
    items = [make_item(0, images=[f"{home}/ct/1.png"], results=f"{home}/run/results.json")]
    page = report_html([summary], items, thumbnails={})
    assert "miller" not in page and "run/results.json" in page and "ct/1.png" in page


def test_long_texts_are_cut(rich_summary, make_item):
    items = [make_item(n, model_output="x" * 10**6, reasoning="y" * 10**6) for n in range(20)]
    page = report_html([rich_summary], items, thumbnails={})
    assert len(page) < 500_000 and "(996,000 more characters)" in page


def test_the_same_page_again(rich_summary, make_item):
    items = [make_item(n) for n in range(9)]
    first, second = (report_html([rich_summary], items, thumbnails={}) for _ in range(2))
    assert first == second
