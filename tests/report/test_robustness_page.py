"""robustness.html and the table: the numbers of the document, inert, readable on a phone."""

import html
import re
from html.parser import HTMLParser

import pytest
from msgspec.structs import replace
from PIL import Image

from medr1.documents.metric import Metric
from medr1.documents.robustness import RobustnessPlan
from medr1.evaluate.judging import Settings
from medr1.evaluate.trust.robustness import robustness
from medr1.records import Prediction, Sample
from medr1.report.charts.severity import HEIGHT, LEFT, WIDTH
from medr1.report.pages.robustness import methods, robustness_html
from medr1.report.pages.thumbnails import perturbed_thumbnails
from medr1.report.terminal.comparison import UNADJUSTED
from medr1.report.terminal.robustness import (
    headline_sentence,
    plan_text,
    robustness_table,
    sentences,
    worst_first,
)

CLEAN = "A" * 30 + "B" * 10
KEYS = ("perturbation", "perturbation_severity", "perturbation_of")


def answers(kind, severity, letters, text, unit="image"):
    rows = []
    for i, letter in enumerate(letters):
        metadata = dict(zip(KEYS, (kind, severity, str(i)), strict=True))
        sample = Sample(
            *(f"{i}@{kind}{severity}", (f"{i % 35}.png",), "What?"),
            *({"A": "Heart", "B": text}, "A", "multiple_choice"),
            modality=text if i < 20 else "CT",
            metadata={**metadata, unit: text} if unit != "image" else metadata,
        )
        rows.append(Prediction(sample, f"<answer>{letter}</answer>", confidence=0.8))
    return rows


def document(text="Lung", unit="image", excluded=None):
    rows = answers("none", 0, CLEAN, text, unit)
    for severity, lost in ((1, 2), (3, 9), (5, 18)):
        rows += answers("jpeg", severity, "B" * (severity // 3) + CLEAN[severity // 3 :], text)
        rows += answers("contrast", severity, "B" * lost + CLEAN[lost:], text, unit)
    rows += answers("option_order", 1, CLEAN, text) + answers(
        "option_order", 3, "B" + CLEAN[1:], text
    )
    rows += answers("blank", 1, "B" * 32 + "A" * 8, text)
    names = ("model", "model_sha256", "data", "data_sha256", "prompt")
    meta = {**dict.fromkeys(names, text), "seed": 0, "versions": {"medr1": text}}
    settings = Settings(cluster_by=unit)
    return robustness(rows, settings=settings, meta=meta, excluded=excluded or {})


@pytest.mark.parametrize(
    ("drop", "ci95", "change"),
    [(0.05, (0.01, 0.1), "loses 5.0 %"), (-0.05, (-0.1, -0.01), "gains 5.0 %")],
)
def test_a_gain_and_its_interval_have_one_sign(drop, ci95, change):
    sentence = headline_sentence(Metric(value=drop, ci95=ci95, n=9))
    assert change in sentence and "1.0 to 10.0" in sentence


@pytest.fixture
def pictures(tmp_path):
    Image.effect_noise((300, 200), 60).convert("RGB").save(tmp_path / "0.png")
    samples = [Sample("x", ("gone.png", "0.png"), "What?")]
    return perturbed_thumbnails(samples, tmp_path, ("contrast", "jpeg", "option_order"), seed=1)


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.sources, self.charts = set(), set(), [], 0
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.sources += [value for name, value in attrs if name == "src"]
        self.charts += ("class", "chart") in attrs


def test_the_sentences_say_what_was_put_in():
    found = document()
    assert [one.name for one in worst_first(found)] == ["contrast", "jpeg", "option_order"]
    first, *others = sentences(found)
    facts = ("contrast", "severity 5", "45.0 points (95 % CI ", "p <0.001", "45.0 % of the items")
    assert all(fact in first for fact in facts), first
    assert "80.0 %" in first and "30.0 %" in first  # confidence and accuracy
    (order,) = (text for text in others if "order of the options" in text)
    assert "3 ways" in order and "97.5 %" in order
    (jpeg,) = (text for text in others if text.startswith("JPEG"))
    assert "no clear change" in jpeg and "-2.5 points, 95 % CI " in jpeg


def test_one_verdict_where_an_interval_and_holm_disagree():
    """10 of 60 lost: the interval excludes zero, and corrected for 25 comparisons p is 0.051."""
    rows = answers("none", 0, "A" * 60, "x") + answers("contrast", 5, "B" * 10 + "A" * 50, "x")
    for kind in ("jpeg", "rotation", "crop", "occlusion", "downscale", "gamma_dark", "brightness"):
        rows += [one for s in (1, 3, 5) for one in answers(kind, s, "A" * 60, "x")]
    rows += [one for s in (1, 3) for one in answers("gaussian_blur", s, "A" * 60, "x")]
    rows += answers("gaussian_noise", 5, "B" * 20 + "A" * 40, "x")
    found = robustness(rows, settings=Settings())
    kinds = {one.name: one for one in found.perturbations}
    (cell,) = kinds["contrast"].cells
    assert cell.difference.ci95[1] < 0 and 0.04 < cell.p_holm < 0.06
    lost, unclear = "by 16.7 points (95 % CI ", "(-16.7 "
    for p, significant in ((0.049, True), (0.051, False)):
        found = with_p_holm(found, "contrast", 5, p)
        (said,) = (text for text in sentences(found) if text.startswith("Lower contrast"))
        words, end = (lost, f"), p {p};") if significant else (unclear, f", p {p});")
        assert words in said and end in said
        page = " ".join(robustness_html(found, thumbnails={}).split())
        weight = "strong" if significant else "not-significant"
        assert f'<td class="num {weight}">-16.7<span' in page and said in page
        assert UNADJUSTED in page and UNADJUSTED in " ".join(robustness_table(found).split())


def with_p_holm(found, kind, severity, p):
    """The document with another adjusted p value in one cell."""

    def changed(name, cell):
        return replace(cell, p_holm=p) if (name, cell.severity) == (kind, severity) else cell

    perturbations = [
        replace(entry, cells=[changed(entry.name, cell) for cell in entry.cells])
        for entry in found.perturbations
    ]
    return replace(found, perturbations=perturbations)


def test_a_severity_whose_loss_is_shown_goes_before_a_larger_one_that_is_not():
    found = with_p_holm(document(), "contrast", 5, 0.2)
    first = sentences(found)[0]
    assert "contrast of severity 3" in first and "22.5 points" in first
    assert "confidence" in first and "80.0 %" in first
    for severity in (1, 3):
        found = with_p_holm(found, "contrast", severity, 0.2)
    first = sentences(found)[0]
    assert "severity 5" in first and "-45.0 points" in first and "confidence" not in first


def test_a_modality_is_shaded_where_its_loss_is_shown():
    rows = document().groups["modality"]
    cells = [row for group in rows.values() for kind in group.differences.values() for row in kind]
    assert all(row.p <= row.p_holm <= 1 for row in cells)
    found = document()
    worst = found.groups["modality"]["Lung"].differences["contrast"][-1]
    assert worst.difference.value == pytest.approx(-0.9) and worst.p_holm < 0.05
    shaded = 'class="num shade10">-90.0'
    assert shaded in robustness_html(found, thumbnails={})
    found.groups["modality"]["Lung"].differences["contrast"][-1] = replace(worst, p_holm=0.06)
    assert shaded not in robustness_html(found, thumbnails={})


def test_the_table_has_the_worst_first_and_the_grey_picture_last():
    lines = robustness_table(document()).splitlines()
    table = lines[2 : next(i for i, line in enumerate(lines) if line.startswith("mean"))]
    rows = [line.split()[0] for line in table]
    named = [name for name in ("contrast", "jpeg") for _ in range(3)]
    assert rows == ["perturbation", "original", *named, "option_order", "option_order", "grey"]
    strongest = next(line for line in lines if line.startswith("contrast") and " 5 " in line)
    assert "30.0 %" in strongest and "-45.0" in strongest
    for mean in (document().mean_corruption_accuracy, document().mean_relative_drop):
        value = f": {100 * mean.value:.1f} % ("
        assert any(line.startswith("mean ") and value in line for line in lines)
    assert max(map(len, lines)) <= 80
    grey = next(line for line in lines if line.startswith("grey"))
    assert "-55.0" in grey and "<0.001" in grey  # one comparison, with a p of its own


def test_the_page_draws_each_scale_and_shows_the_users_own_picture(pictures):
    found = document(excluded={"crop": {"that ask for a number of things": 3}})
    page = robustness_html(found, thumbnails=pictures)
    tags = Tags(page)
    assert tags.charts == 2  # of scales alone
    assert len(tags.sources) == 2 * 4  # two kinds, each as it is and at three severities
    assert all(source.startswith("data:image/jpeg;base64,") for source in tags.sources)
    assert "crop: 3 that ask for" in page
    assert html.escape(sentences(found)[0]) in " ".join(page.split())
    (curve, *_) = re.findall(r'<polyline class="curve" points="([^"]*)"', page)
    points = [tuple(map(float, point.split(","))) for point in curve.split()]
    heights = [y for _, y in points]
    assert len(points) == 4 and heights == sorted(heights)  # it falls: y grows
    assert all(LEFT < x < WIDTH and 0 < y < HEIGHT for x, y in points)
    scale = heights[3] - heights[0]
    assert (heights[1] - heights[0]) / scale == pytest.approx(2 / 18, abs=0.02)


def test_the_page_warns_of_text_in_the_picture_it_shows(pictures):
    said = "3 of 4 questions may have text <in> the picture"
    page = robustness_html(document(), thumbnails=pictures, burned_in=said)
    assert "3 of 4 questions may have text &lt;in&gt; the picture" in page
    assert "Before you share this page" not in robustness_html(document(), thumbnails=pictures)


def test_thumbnails_are_of_the_first_picture_that_can_be_read(pictures, tmp_path):
    assert set(pictures) == {("none", 0)} | {
        (k, s) for k in ("contrast", "jpeg") for s in (1, 3, 5)
    }
    assert perturbed_thumbnails([Sample("x", ("gone.png",), "q")], tmp_path, ("jpeg",)) == {}
    outside = tmp_path / "below"
    outside.mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "x.png")
    words = perturbed_thumbnails([Sample("x", (f"{tmp_path}/x.png",), "q")], outside, ("jpeg",))
    assert words == {
        ("none", 0): f"image outside the image folder: --image-root {tmp_path} shows it"
    }
    assert f"--image-root {tmp_path} shows it</p>" in robustness_html(document(), thumbnails=words)
    page = robustness_html(document(), thumbnails={})
    assert "<img" not in page


def test_the_paragraph_to_cite_has_what_a_reader_needs():
    text = methods(document("tiny"))
    for part in ("40 questions about 35 images", "jpeg compression, lower contrast", "seed 0"):
        assert part in text
    found = document("tiny")
    words = [replace(one, is_scale=False) for one in found.perturbations]
    assert "ImageNet-C" not in methods(replace(found, perturbations=words))
    for part in ("ImageNet-C", "Holm", "with a grey image", "a relative drop of"):
        assert part in text


def test_few_items_have_neither_curve_nor_number():
    rows = answers("none", 0, "A" * 12, "x") + answers("jpeg", 1, "B" * 12, "x")
    found = robustness(rows, settings=Settings())
    page = robustness_html(found, thumbnails={})
    assert Tags(page).charts == 0 and "too few for any conclusion" in page
    assert sentences(found) == [] and "fewer than 20 items" in page and "<h2>All" not in page
    assert "%" not in robustness_table(found) and "too few" in robustness_table(found)


def test_a_plan_names_what_is_left_out():
    plan = RobustnessPlan(
        n=5,
        n_questions=30,
        perturbations={"jpeg": (1, 3), "blank": (1,)},
        excluded={"none": {"without ground_truth": 2}},
    )
    text = plan_text(plan)
    assert "not asked at all: 2 without ground_truth" in text
    assert "5 items, 30 questions in total" in text and "level: severity" in text
    assert "grey image" in text and "blank" not in text
    assert "1 item, 30 questions" in plan_text(replace(plan, n=1, excluded={}))


def test_what_others_wrote_is_text(attack, pictures):
    found, harmless = (
        Tags(robustness_html(document(text), thumbnails=pictures)) for text in (attack, "harmless")
    )
    assert found.tags == harmless.tags and found.attributes == harmless.attributes
    assert "script" not in found.tags
    page = robustness_html(document(attack, unit=attack), thumbnails=pictures)
    assert "default-src 'none'" in page and "script-src" not in page
    page.encode("utf-8")
    table = robustness_table(document(attack, unit=attack))
    assert "\x1b" not in table and "\u202e" not in table


@pytest.mark.parametrize("width", [360, 1100])
def test_a_browser_shows_it_quietly_without_sideways_scrolling(browser, tmp_path, pictures, width):
    text = '<img src=x onerror="window.hurt=1"> ' + "long" * 30
    page = tmp_path / "robustness.html"
    page.write_text(robustness_html(document(text), thumbnails=pictures), encoding="utf-8")
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())
    run = browser.execute_script
    assert run("return window.hurt") is None and browser.get_log("browser") == []
    assert run("return document.documentElement.scrollWidth") <= width
    assert run("return [...document.images].map(e => e.naturalWidth)") == [160] * 8
    boxes = run("return [...document.querySelectorAll('.chart')].map(e => e.clientWidth)")
    assert len(boxes) == 2 and min(boxes) > 200
    assert run("return getComputedStyle(document.querySelector('.flips')).fill") == "none"
