"""The file of pass rates: what the command writes, and which questions it belongs to."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from in_process import medr1

from medr1.data.pass_rates import rates_by_question, read_pass_rates
from medr1.data.readers import read_questions
from medr1.errors import InputError
from medr1.records import Failure, Prediction, Sample, prediction_to_dict

RIGHT, WRONG = "<answer> B </answer>", "<answer> A </answer>"
OPTIONS = {"A": "CT", "B": "MRI"}
NAMES = ("easy", "hard", "half", "unasked", "failed")
SAMPLES = [
    Sample(name, (f"{name}.png",), f"What is {name}?", OPTIONS, "B", "multiple_choice")
    for name in NAMES
]
RATES = {"easy": (1.0, 3), "hard": (0.0, 2), "half": (0.5, 4)}
FILTER = ("data", "filter", "train.json", "--results", "r.json", "--pass-rates", "rates.json")


def prediction(sample, texts):
    return Prediction(sample, model_output=texts[0], samples=tuple(texts))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with train.json and the results r.json of some of its questions."""
    monkeypatch.chdir(tmp_path)
    items = [{**vars(one), "images": list(one.images)} for one in SAMPLES]
    Path("train.json").write_text(json.dumps(items))
    predictions = [
        prediction(SAMPLES[0], [RIGHT] * 3),
        prediction(SAMPLES[1], [WRONG, "no idea"]),
        prediction(SAMPLES[2], [WRONG, RIGHT, RIGHT, WRONG]),
        Prediction(SAMPLES[4], error=Failure("image_missing", "not there")),
    ]
    entries = [prediction_to_dict(one) for one in predictions]
    document = {"schema": "medr1.results/1", "meta": {}, "results": entries}
    Path("r.json").write_text(json.dumps(document))
    return tmp_path


def test_the_file_has_the_rate_of_each_question_with_a_completion(folder):
    done = medr1(*FILTER)
    assert (done.returncode, done.stdout) == (0, "rates.json\n")
    assert "pass rates of 3 items written" in done.stderr and "kept" not in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["r.json", "rates.json", "train.json"]
    document = json.loads(Path("rates.json").read_text())
    questions = read_questions("train.json")
    assert document["data_sha256"] == questions.sha256
    assert (document["data"], document["protocol"]) == ("train.json", "default")
    entries = document["questions"].items()
    assert {name: (e["pass_rate"], e["completions"]) for name, e in entries} == RATES
    rates = read_pass_rates(Path("rates.json"))
    expected = [1.0, 0.0, 0.5, None, None]
    assert rates_by_question(rates, questions.samples, Path("rates.json"), "x") == expected


def test_the_selected_items_have_the_rates_of_all(folder):
    done = medr1(*FILTER, "--output-file", "medium.json", "--json")
    document = json.loads(done.stdout)
    assert (document["items"], document["too_easy"], document["too_hard"]) == (1, 1, 1)
    assert (document["output"], document["pass_rates"]) == ("medium.json", "rates.json")
    part = read_questions("medium.json").samples
    rates = read_pass_rates(Path("rates.json"))
    assert len(rates.questions) == 3
    assert rates_by_question(rates, part, Path("rates.json"), "medium.json") == [0.5]


def test_only_the_rates_need_no_item_within_the_bounds(folder):
    done = medr1(*FILTER, "--min-pass", "0.6", "--max-pass", "0.7", "--json")
    assert json.loads(done.stdout) == {
        "too_easy": 1, "too_hard": 2, "unknown": 2, "pass_rates": "rates.json",
    }  # fmt: skip
    done = medr1(*FILTER, "--min-pass", "0.6", "--max-pass", "0.7", "--output-file", "o.json")
    assert done.returncode == 2 and "rates.json exists" in done.stderr
    before = Path("rates.json").read_bytes()
    done = medr1(*FILTER, "--protocol", "authors", "--overwrite")
    assert done.returncode == 0
    assert Path("rates.json.bak").read_bytes() == before
    assert json.loads(Path("rates.json").read_text())["protocol"] == "authors"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (FILTER[:-2], "Give --output-file, --pass-rates, or both"),
        ((*FILTER[:-1], "rates.csv"), "--pass-rates writes a file that ends in .json"),
        ((*FILTER, "--output-file", "rates.json"), "are the same file"),
        ((*FILTER[:-1], "train.json"), "train.json exists"),
        ((*FILTER[:-1], "train.json", "--overwrite"), "train.json"),
        ((*FILTER[:3], "--results", "none.json", *FILTER[5:]), "none of the 5 items"),
    ],
)
def test_mistakes_are_refused_before_anything_is_written(arguments, says, folder):
    failed = [Prediction(SAMPLES[0], error=Failure("image_missing", "not there"))]
    entries = [prediction_to_dict(one) for one in failed]
    document = {"schema": "medr1.results/1", "meta": {}, "results": entries}
    Path("none.json").write_text(json.dumps(document))
    names = sorted(path.name for path in folder.iterdir())
    done = medr1(*arguments)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == names


def test_rates_of_other_questions_are_refused_with_numbers(folder):
    medr1(*FILTER)
    path = Path("rates.json")
    rates = read_pass_rates(path)
    changes = {"question": "Is it?", "options": {"A": "CT", "B": "US"}, "ground_truth": "A"}
    for name, value in changes.items():
        changed = [replace(SAMPLES[0], **{name: value}), *SAMPLES[1:]]
        says = "of 5 questions, 3 have an id that it has too, and 1 of these .* the first 'easy'"
        with pytest.raises(InputError, match=says):
            rates_by_question(rates, changed, path, "train.json")
    # other images of the same question are a new folder, or another window of a scan
    moved = [replace(one, images=("elsewhere.png",)) for one in SAMPLES]
    assert rates_by_question(rates, moved, path, "t")[0] == 1.0
    others = [replace(one, id=f"other-{one.id}") for one in SAMPLES]
    with pytest.raises(InputError, match=r"3 questions of train.json.* the 5 questions of new"):
        rates_by_question(rates, others, path, "new.json")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "is not a file of pass rates"),
        ('{"schema": "medr1.results/1"}', "is not a file of pass rates"),
        ('{"schema": "medr1.pass-rates/1"}', "is damaged"),
        ("{", "rates.json"),
    ],
)
def test_another_file_is_named(text, says, tmp_path):
    path = tmp_path / "rates.json"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        read_pass_rates(path)


def test_a_rate_that_is_no_share_is_refused(folder):
    medr1(*FILTER)
    path = Path("rates.json")
    path.write_text(path.read_text().replace('"pass_rate": 0.5', '"pass_rate": 50'))
    with pytest.raises(InputError, match="'half' is 50"):
        read_pass_rates(path)
