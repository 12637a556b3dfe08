"""The page's parts on calibration and abstention: what they say, and where the marks stand."""

import re

import numpy as np
import pytest
from msgspec.structs import replace

from medr1.documents.metric import Missing
from medr1.evaluate.judging import Settings, judge_all
from medr1.evaluate.metrics.summary import summary_of
from medr1.evaluate.trust.selective import SelectiveConfig
from medr1.records import Prediction, Sample
from medr1.report.charts.shares import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from medr1.report.pages.page import report_html
from medr1.report.pages.trust import trust_view
from medr1.report.terminal.tables import summary_table

OPTIONS = {"A": "CT", "B": "MRI"}


def answered(first, n, confidence, share_right, modality="CT"):
    """So many answers, all so sure, of which this share is right."""
    made = []
    for i in range(first, first + n):
        gold = "A" if i < first + share_right * n else "B"
        sample = Sample(
            f"q{i}", (f"{i}.png",), "Which?", OPTIONS, gold, "multiple_choice", None, modality
        )
        shares = {"A": confidence, "B": 1 - confidence}
        made.append(
            Prediction(
                sample, "<answer>A</answer>", option_probs=shares, confidence=confidence,
                extracted_answer="A",
            )
        )  # fmt: skip
    return made


@pytest.fixture(scope="module")
def summary():
    settings = Settings(num_resamples=200, texts=True)
    here = answered(0, 100, 0.9, 0.97) + answered(100, 60, 0.6, 0.5, "MRI<b>")
    held = answered(1000, 300, 0.9, 0.97) + answered(2000, 100, 0.6, 0.5, "MRI<b>")
    found = summary_of(
        judge_all(here, settings),
        held_out=judge_all(held, settings),
        selective_config=SelectiveConfig(0.1, 0.1),
    )
    return replace(found, results="a.json", calibrate_on="/home/me/held.json")


def test_marks_stand_where_the_numbers_are(summary):
    found = trust_view(summary)["calibration"]["diagram"]
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    places = [(p["x"], p["y"]) for p in found["points"]]
    wanted = [
        (LEFT + s * width, HEIGHT - BOTTOM - r * height) for s, r in ((0.6, 0.5), (0.9, 0.97))
    ]
    assert np.allclose(places, wanted, atol=0.06)
    assert all(p["high"] < p["y"] < p["low"] for p in found["points"])
    tall = [bar["height"] for bar in found["bars"]]
    assert tall[1] / tall[0] == pytest.approx(100 / 60, abs=0.02)
    curve = trust_view(summary)["abstention"]
    assert curve["marked"]["x"] == pytest.approx(LEFT + 100 / 160 * width, abs=0.06)
    assert curve["marked"]["y"] == pytest.approx(HEIGHT - BOTTOM - 0.03 * height, abs=0.06)


def test_the_page_says_it_in_sentences(summary):
    page = report_html([summary], [], thumbnails={})
    text = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    for said in (
        "Where the confidence is about 90.0 %, the accuracy is 97.0 % (100 answers).",
        "The mean confidence is 78.8 %, the accuracy 79.4 %: no clear difference",
        "For at most 10.0 % wrong answers: use the answers with a confidence of at least 65.0 %",
        "it defers 37.5 % of the questions",
        "contains the correct option for 90.0 % of questions",
        "me/held.json",
        "a temperature was fitted on held-out questions. Selective prediction",
        "chosen by Learn then Test on held-out questions; prediction sets are split conformal",
        "MRI&lt;b&gt;",
    ):
        assert said in text, said
    assert "/home" not in page


def test_the_terminal_has_the_headlines(summary):
    table = summary_table(summary)
    for said in ("overconfidence", "(ece)", "after temperature scaling", "(auroc)", "(aurc)"):
        assert said in table
    assert re.search(r"deferred .*10\.0 % errors\)\s+37\.5 %", table)


def test_what_is_missing_has_its_reason_or_is_left_out(summary):
    bare = replace(
        summary,
        calibration=Missing(reason="no <b>data"),
        selective=Missing(reason="no <i>confidence"),
    )
    page = report_html([bare], [], thumbnails={})
    assert "Whether the confidence matches the accuracy is not known: no &lt;b&gt;data." in page
    assert "not known: no &lt;i&gt;confidence." in page
    assert "Reliability diagram" not in page and "Risk-coverage curve" not in page
    settings = Settings(num_resamples=50, texts=True)
    alone = summary_of(judge_all(answered(0, 100, 0.9, 0.97), settings))
    page = report_html([alone], [], thumbnails={})
    assert "--calibrate-on FILE" in page
