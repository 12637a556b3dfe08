"""medr1 eval --protocol all: one row a protocol, and what differs from default."""

import json

import msgspec
import pytest
from in_process import medr1

from medr1.documents.summary import Summary
from medr1.evaluate.metrics.summary import summarize
from medr1.records import Prediction, Sample

OPTIONS = {"A": "Mammogram", "B": "PET", "C": "CT", "D": "Fluoroscopy"}


def choice(number, completion):
    sample = Sample(str(number), (f"{number}.png",), "Which?", OPTIONS, "C", "multiple_choice")
    return Prediction(sample, completion)


def text_item(number, completion, ground_truth, answer_type="open"):
    sample = Sample(str(number), (f"{number}.png",), "What?", {}, ground_truth, answer_type)
    return Prediction(sample, completion)


PREDICTIONS = [
    choice(1, "<answer>C</answer>"),
    choice(2, "C"),
    choice(3, "The answer is C."),
    choice(4, "CT is what the body scan shows, I cannot tell PET or CT"),
    choice(5, "<answer>B</answer>"),
    text_item(6, "Answer: pneumonia", "pneumonia"),
    text_item(7, "right lobe", "right lower lobe"),
    text_item(8, "It is abnormal.", "no", "yes_no"),
]


def items(predictions):
    return [
        {
            "id": p.sample.id,
            "images": list(p.sample.images),
            "question": p.sample.question,
            "options": dict(p.sample.options),
            "ground_truth": p.sample.ground_truth,
            "answer_type": p.sample.answer_type,
            "model_output": p.model_output,
        }
        for p in predictions
    ]


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("protocols")
    (folder / "results.json").write_text(json.dumps(items(PREDICTIONS)))
    run = medr1("eval", folder / "results.json", "--protocol", "all", "--output-dir", folder / "e")
    assert run.returncode == 0, run.stderr
    summary = json.loads((folder / "e" / "summary.json").read_text())
    return folder, run, msgspec.convert(summary, Summary)


def test_each_protocol_has_a_row_with_what_differs(result):
    _, _, summary = result
    rows = summary.protocol_rows
    assert summary.protocol == "default"
    assert {"default", "strict", "medevalkit", "llava-med", "omnimedvqa"} <= set(rows)
    default = rows["default"]
    assert (default.n_lost, default.n_gained, default.n_without_rule) == (0, 0, 0)
    assert default.accuracy.value == summary.metrics["accuracy"].value
    assert rows["omnimedvqa"].n_without_rule == 3
    assert rows["omnimedvqa"].accuracy.n == 5
    assert rows["llava-med"].n_without_rule == 5
    assert rows["medvlthinker"].lost == {"unparsed": 1, "exact": 1}
    assert rows["medvlthinker-regrade"].lost == {"unparsed": 1}
    assert rows["medevalkit"].gained["contains"] == 1  # "abnormal" contains "no"
    assert rows["medevalkit"].lost == {"exact": 1}  # the blank after "Answer:"


def test_the_counts_of_a_row_explain_its_accuracy(result):
    _, _, summary = result
    right = round(summary.metrics["accuracy"].value * summary.n)
    for name, row in summary.protocol_rows.items():
        assert sum(row.lost.values()) == row.n_lost
        assert sum(row.gained.values()) == row.n_gained
        if not row.n_without_rule:
            assert round(row.accuracy.value * row.accuracy.n) == right - row.n_lost + row.n_gained
        assert row.accuracy == summary.protocols[name]


def test_parts_of_a_mark_are_shown_beside_the_accuracy(result):
    _, run, summary = result
    row = summary.protocol_rows["llava-med"]
    assert row.score.value == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert row.accuracy.value == pytest.approx(2 / 3)
    assert "The mean of its marks is 88.9 %" in " ".join(run.stdout.split())
    assert summary.protocol_rows["medevalkit"].score is None


def test_the_table_the_report_and_the_csv_have_the_differences(result):
    folder, run, summary = result
    row = summary.protocol_rows["omnimedvqa"]
    lines = [line.split() for line in run.stdout.splitlines()]
    assert next(line for line in lines if line[:1] == ["omnimedvqa"])[-3:] == [
        "5",
        "0",
        str(row.n_lost + row.n_gained),
    ]
    text = " ".join(run.stdout.split())
    assert "1 right: yes or no anywhere in it (1)" in text
    page = (folder / "e" / "report.html").read_text()
    assert "In what each protocol differs from default" in page
    assert "yes or no anywhere in it (1)" in page
    rows = (folder / "e" / "summary.csv").read_text()
    assert "protocol,omnimedvqa,n_without_answer" in rows


def test_without_all_there_is_no_such_table(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(items(PREDICTIONS)))
    run = medr1("eval", tmp_path / "results.json", "--output-dir", tmp_path / "e")
    assert run.returncode == 0, run.stderr
    assert "protocol_rows" not in json.loads((tmp_path / "e" / "summary.json").read_text())


@pytest.mark.parametrize(
    ("protocol", "sentence"),
    [
        ("omnimedvqa", "has no rule for 3 of 8 questions"),
        ("medevalkit", "with a language model. Here only its rules are applied"),
        ("llava-med", "has no rule for 5 of 8 questions"),
    ],
)
def test_a_published_protocol_says_what_it_leaves_out(protocol, sentence):
    summary = summarize(PREDICTIONS, protocol=protocol, num_resamples=50)
    assert any(sentence in warning for warning in summary.warnings)
    assert not any("undecided" in warning for warning in summary.warnings)
