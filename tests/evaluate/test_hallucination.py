"""The rates of contradictions in results of constructed models, and where medr1 eval shows them."""

import json

import pytest
from in_process import medr1
from predictions import prediction

from medr1.evaluate.judging import Settings, judge_all
from medr1.evaluate.metrics.hallucination import hallucination
from medr1.records import prediction_to_dict
from medr1.workflows.evaluate import run_evaluation

QUICK = Settings(num_resamples=200, claims=True)
OPTIONS = {"A": "Brain", "B": "Liver"}


def run(texts, **fields):
    """Items about a brain MRI, with these completions; the right answer is A."""
    fields = {"question": "Which organ is shown?", "modality": "MRI", **fields}
    return [
        prediction(text, "A", options=OPTIONS, name=f"q{i}", **dict(fields))
        for i, text in enumerate(texts)
    ]


def part(predictions):
    return hallucination(judge_all(predictions, QUICK))


RIGHT = "<think>This MRI shows the brain.</think><answer>A</answer>"
WRONG_MODALITY = "<think>This is a CT scan of the brain.</think><answer>A</answer>"
SELF_CONTRADICTION = "<think>This MRI shows the brain.</think><answer>B</answer>"


def test_a_model_that_is_always_right_has_no_contradiction():
    found = part(run([RIGHT] * 30))
    assert found.rate.value == 0 and found.rate.n == 30 and found.rate.ci95[1] < 0.15
    assert found.kinds["modality"].rate.n == 30 and found.kinds["modality"].rate.value == 0
    assert found.n_with_text == 30
    assert found.n_claims == found.n_claims_checked == 60


def test_a_model_that_names_the_wrong_modality_in_30_percent():
    found = part(run([WRONG_MODALITY] * 12 + [RIGHT] * 28))
    kind = found.kinds["modality"]
    assert kind.rate.value == pytest.approx(0.3) and kind.n_items == 12
    assert kind.rate.ci95[0] < 0.3 < kind.rate.ci95[1]
    assert found.rate.value == pytest.approx(0.3)
    assert found.severities["minor"].value == pytest.approx(0.3)
    assert found.severities["catastrophic"].value == 0
    assert found.kinds["body_part"].rate.value == 0 and found.kinds["own_answer"].rate.value == 0


def test_a_model_that_contradicts_its_own_answers():
    found = part(run([SELF_CONTRADICTION] * 10 + [RIGHT] * 10))
    assert found.kinds["own_answer"].rate.value == 0.5
    assert found.severities["critical"].value == 0.5
    assert found.kinds["modality"].rate.value == 0 and found.kinds["body_part"].rate.value == 0


def test_what_cannot_be_checked_and_items_without_text_are_in_no_rate():
    unknown = run(["This is a CT scan. <answer>A</answer>"] * 3, modality=None)
    letters = run(["<answer>A</answer>"] * 4)
    options = run(["A"] * 2, option_probs={"A": 0.9, "B": 0.1})
    failed = run([None] * 2)
    found = part(unknown + letters + options + failed + run([WRONG_MODALITY]))
    assert found.n_with_text == 8
    assert found.kinds["modality"].rate.n == 1 and found.kinds["modality"].rate.value == 1
    assert found.n_claims - found.n_claims_checked == 3
    assert (
        found.kinds["side"].rate.value is None
        and "no completion" in found.kinds["side"].rate.reason
    )


def results_file(folder, predictions):
    path = folder / "results.json"
    rows = list(map(prediction_to_dict, predictions))
    path.write_text(json.dumps({"schema": "medr1.results/1", "meta": {}, "results": rows}))
    return path


def test_eval_shows_the_rates_and_the_sentences(tmp_path):
    hostile = WRONG_MODALITY.replace("brain.", "brain <script>alert(1)</script>.")
    path = results_file(tmp_path, run([hostile] * 3 + [RIGHT] * 7))
    output = medr1("eval", str(path), "--output-dir", str(tmp_path / "out")).stdout
    assert "completions that contradict" in output and "modality (minor)" in output
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["hallucination"]["kinds"]["modality"]["rate"]["value"] == pytest.approx(0.3)
    rows = list(map(json.loads, (tmp_path / "out" / "items.jsonl").read_text().splitlines()))
    assert [len(row["contradictions"]) for row in rows] == [1] * 3 + [0] * 7
    assert rows[0]["contradictions"][0]["kind"] == "modality"
    assert rows[0]["contradictions"][0]["claimed"] == "ct"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Hallucinated claims" in page and "This is a CT scan of the brain" in page
    assert "<script>alert" not in page
    table = (tmp_path / "out" / "summary.csv").read_text()
    assert "contradiction,modality,hallucination,0.3" in table


def test_selected_metrics_leave_the_part_out(tmp_path):
    path = results_file(tmp_path, run([WRONG_MODALITY] * 3))
    result = medr1(
        "eval", str(path), "--metrics", "accuracy", "--output-dir", str(tmp_path / "out")
    )
    assert "completions that contradict" not in result.stdout
    assert "hallucination" not in json.loads((tmp_path / "out" / "summary.json").read_text())
    row = json.loads((tmp_path / "out" / "items.jsonl").read_text().splitlines()[0])
    assert "contradictions" not in row


def test_several_files_have_their_own_parts(tmp_path):
    path = results_file(tmp_path, run([RIGHT] * 4))
    other = tmp_path / "other"
    other.mkdir()
    summaries = run_evaluation([path, results_file(other, run([WRONG_MODALITY] * 4))]).summaries
    assert [summary.hallucination.rate.value for summary in summaries] == [0, 1]
