"""The part `reasoning` of summary.json, on models that are constructed to have known rates."""

import json

import pytest
from click.testing import CliRunner
from predictions import prediction, tag

from medr1.cli import cli
from medr1.evaluate.metrics.summary import summarize
from medr1.files import to_json
from medr1.records import prediction_to_dict

OPTIONS = {"A": "CT", "B": "MRI", "C": "Ultrasound"}
WORDING = (
    "The contrast of the tissue is typical of {}. The answer is {}.",
    "It is not {other}. The contrast points to {}, so {} it is.",
    "At first I thought of {other}. Wait, the noise fits {} only. So the answer is {}.",
    "Between {other} and {}, the bright rim favours {}.",
    "The image was taken by {}.",
)


def reasoning(letter, i):
    other = next(text for key, text in OPTIONS.items() if key != letter)
    text = OPTIONS[letter]
    return WORDING[i % len(WORDING)].format(text, text, other=other)


def think(text, answer):
    return f"<think>{text}</think>{tag(answer)}"


def model(contradicts, n=50):
    """Items whose answer is right, and whose reasoning concludes with it unless told otherwise."""
    rows = []
    for i in range(n):
        gold = "ABC"[i % 3]
        concluded = "ABC"[(i + 1) % 3] if contradicts(i) else gold
        more = {"options": OPTIONS, "question": "Which modality is this?"}
        rows.append(prediction(think(reasoning(concluded, i // 3), gold), gold, **more))
    return rows


def checks(rows):
    return summarize(rows, num_resamples=50).reasoning


def test_a_model_that_contradicts_itself_in_two_of_five_items():
    part = checks(model(lambda i: i % 5 < 2))
    assert part.contradicts.value == pytest.approx(0.4) and part.consistent.value == 0.6
    low, high = part.contradicts.ci95
    assert low < 0.4 < high and part.contradicts.method == "wilson"
    assert part.outcomes["contradicts"] == 20 and part.n == 50
    assert part.names_option.value == 1 and part.unclear.value == 0


def test_a_model_whose_reasoning_always_concludes_with_its_answer():
    part = checks(model(lambda i: False))
    assert (part.consistent.value, part.contradicts.value) == (1, 0)
    assert part.accuracy_consistent.value == 1
    assert part.accuracy_contradicts.value is None
    assert part.accuracy_contradicts.reason == "no item has this outcome: contradicts"


def test_the_accuracy_is_split_by_the_outcome():
    rows = [
        prediction(think("It is CT.", answer), gold, options=OPTIONS)
        for answer, gold in ("AA", "AA", "AB", "BA", "BB")
    ]
    part = checks(rows)
    assert part.accuracy_consistent.value == pytest.approx(2 / 3)
    assert part.accuracy_contradicts.value == 0.5


def test_items_without_reasoning_are_left_out_and_without_any_there_is_no_part():
    plain = [prediction(tag("A"), "A", options=OPTIONS) for _ in range(3)]
    assert checks(plain) is None
    part = checks([*plain, prediction(think("It is CT.", "A"), "A", options=OPTIONS)])
    assert part.n == 1 and part.consistent.n == 1


def test_no_answer_and_no_option_are_outcomes_of_their_own():
    rows = [
        prediction(think("It is CT.", "hmm"), "A", options=OPTIONS),
        prediction(think("I look at the noise.", "A"), "A", options=OPTIONS),
        prediction(think("It is either CT or MRI.", "A"), "A", options=OPTIONS),
    ]
    part = checks(rows)
    assert part.outcomes == {
        "consistent": 0, "contradicts": 0, "not_named": 1, "unclear": 1, "no_answer": 1,
    }  # fmt: skip
    assert part.names_option.value == pytest.approx(2 / 3)


def test_a_server_that_returns_the_reasoning_beside_the_completion():
    row = prediction(tag("A"), "A", options=OPTIONS, reasoning="It is MRI.")
    assert checks([row]).contradicts.value == 1


def test_steps_repetition_and_languages_are_counted():
    texts = [
        "3 + 2 = 5, so the answer is A.",
        "3 + 2 = 6 and 1 + 1 = 2, so the answer is A.",
        "No number here. " * 10,
        "The image was taken by CT. 图像显示肝脏。",
    ]
    part = checks([prediction(think(text, "A"), "A", options=OPTIONS) for text in texts])
    assert (part.n_steps, part.n_wrong_steps) == (3, 1)
    assert part.arithmetic_errors.value == 0.5 and part.arithmetic_errors.n == 2
    assert part.loops.value == 0.25 and part.language_switches.value == 0.25
    assert 0.2 < part.repetition.value < 0.25
    without_steps = checks([prediction(think("It is CT.", "A"), "A", options=OPTIONS)])
    assert without_steps.arithmetic_errors.reason == "no reasoning has an arithmetic step"


def test_the_protocol_does_not_change_the_comparison():
    rows = model(lambda i: i % 2 == 0)
    parts = [
        summarize(rows, protocol=name, num_resamples=50).reasoning
        for name in ("default", "strict", "authors-vqa")
    ]
    assert {part.contradicts.value for part in parts} == {0.5}


def test_the_command_reports_the_checks_and_metrics_leave_them_out(tmp_path):
    rows = model(lambda i: i % 5 < 2)
    results = tmp_path / "results.json"
    results.write_text(
        to_json(
            {"schema": "medr1.results/1", "meta": {}, "results": [*map(prediction_to_dict, rows)]}
        )
    )

    def run(*more):
        return CliRunner().invoke(cli, ["eval", str(results), *more])

    output = tmp_path / "out"
    result = run("--output-dir", str(output))
    assert result.exit_code == 0, result.output
    assert "concludes with another answer" in result.stdout and "40.0 %" in result.stdout
    summary = json.loads((output / "summary.json").read_text())
    assert summary["reasoning"]["contradicts"]["value"] == 0.4
    lines = [json.loads(line) for line in (output / "items.jsonl").read_text().splitlines()]
    assert [line["reasoning"]["outcome"] for line in lines[:3]] == ["contradicts"] * 2 + [
        "consistent"
    ]
    assert lines[0]["reasoning"]["concluded"] == "B"
    page = (output / "report.html").read_text()
    assert ">Reasoning</h3>" in page and "concludes with another answer" in page
    assert "reasoning,,reasoning_contradicts,0.4," in (output / "summary.csv").read_text()
    quick = run("--metrics", "accuracy", "--json")
    assert json.loads(quick.stdout)["reasoning"] is None
    for name in ("reasoning-contradicts", "arithmetic_errors", "repetition"):
        assert CliRunner().invoke(cli, ["eval", "--explain", name]).exit_code == 0
