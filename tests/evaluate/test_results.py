"""Every form of result file that is read, and what is said about those that are not."""

import json

import pytest

from medr1.errors import InputError
from medr1.evaluate.reading.results import read_results
from medr1.records import RESULTS_SCHEMA, Failure, Prediction, Sample, prediction_to_dict

ITEM = {
    "image": "Images/a b/x(1).png",
    "problem": "Which modality? A)CT, B)MRI, C)Ultrasound (US), D)X-ray",
    "solution": "<answer> C </answer>",
}
ENTRY = {
    "question": ITEM,
    "ground_truth": "<answer> C </answer>",
    "model_output": "<think>x</think><answer>C</answer>",
    "extracted_answer": "C",
}
OWN = Prediction(
    Sample(
        "q1",
        ("a.png", "b.png"),
        "Which?",
        {"A": "CT", "B": "MRI"},
        "B",
        "multiple_choice",
        "Modality Recognition",
        "MR",
        "Set",
        {"age": 41, "scanner": {"field": 3.0}},
    ),
    model_output="<answer>B</answer>",
    samples=("<answer>A</answer>",),
    extracted_answer="B",
    extraction="tag",
    option_probs={"A": 0.25, "B": 0.75},
    confidence=0.75,
    finish_reason="stop",
    num_tokens=7,
)
FAILED = Prediction(OWN.sample, error=Failure("image_missing", "no file"))


def write(tmp_path, document, name="results.json"):
    path = tmp_path / name
    text = document if isinstance(document, str) else json.dumps(document)
    path.write_text(text, encoding="utf-8")
    return path


def own(*predictions):
    entries = [prediction_to_dict(p) for p in predictions]
    return {"schema": RESULTS_SCHEMA, "meta": {"model": "tiny"}, "results": entries}


def test_own_results_come_back_as_they_were(tmp_path):
    found = read_results(write(tmp_path, own(OWN, FAILED)))
    assert found.meta == {"model": "tiny"}
    assert found.predictions == [OWN, FAILED]


def test_the_originals_results(tmp_path):
    found = read_results(write(tmp_path, {"accuracy": 100.0, "results": [ENTRY]}))
    assert found.meta == {"accuracy": 100.0}
    sample = found.predictions[0].sample
    assert sample.options["C"] == "Ultrasound (US)"
    assert sample.metadata == {}
    assert (sample.question, sample.ground_truth) == ("Which modality?", "C")
    assert sample.answer_type == "multiple_choice"
    assert sample.images == ("Images/a b/x(1).png",)
    assert found.predictions[0].model_output == ENTRY["model_output"]
    assert found.predictions[0].extracted_answer == "C"


@pytest.mark.parametrize("gold", ["<answer> C </answer>", "C", "c", "Ultrasound (US)"])
def test_spellings_of_the_gold(tmp_path, gold):
    found = read_results(write(tmp_path, [{**ENTRY, "ground_truth": gold}]))
    assert found.predictions[0].sample.ground_truth == "C"


def test_the_originals_counting_results(tmp_path):
    question = {"image_path": "/x/1.png", "question": "How many items?", "ground_truth": 4}
    entry = {
        "question": question,
        "ground_truth": 4,
        "model_output": "<answer>4</answer>",
        "extracted_answer": 4,
    }
    found = read_results(write(tmp_path, {"results": [entry]})).predictions[0]
    assert (found.sample.ground_truth, found.sample.answer_type) == ("4", "count")
    assert found.extracted_answer == "4"


def test_the_guides_results_with_failures(tmp_path):
    good = {
        "success": True,
        "image_path": "a.png",
        "question": "Is it broken?",
        "ground_truth": "Yes",
        "raw_output": "<answer>Yes</answer>",
        "extracted_answer": "Yes",
        "inference_time": 1.5,
    }
    lost = {"success": False, "error": "Image not found", "image_path": "b", "ground_truth": "No"}
    found = read_results(write(tmp_path, {"total_questions": 2, "results": [good, lost]}))
    assert found.meta == {"total_questions": 2}
    first, second = found.predictions
    assert (first.model_output, first.sample.answer_type) == ("<answer>Yes</answer>", "yes_no")
    assert first.sample.metadata == {"inference_time": 1.5}
    assert second.error == Failure("failed", "Image not found")
    assert second.model_output is None


def test_list_and_lines(tmp_path):
    expected = read_results(write(tmp_path, {"results": [ENTRY]})).predictions
    assert read_results(write(tmp_path, [ENTRY], "list.json")).predictions == expected
    lines = "\ufeff" + json.dumps(ENTRY) + "\r\n\n" + json.dumps(prediction_to_dict(OWN)) + "\n"
    found = read_results(write(tmp_path, lines, "lines.jsonl")).predictions
    assert found == [*expected, OWN]


def test_equal_items_stay_two(tmp_path):
    first, second = read_results(write(tmp_path, [ENTRY, ENTRY])).predictions
    assert second.sample.id == first.sample.id + "-2"


def test_an_item_without_image_or_output_is_read(tmp_path):
    item = {"question": "Which?", "ground_truth": "B", "model_output": None}
    found = read_results(write(tmp_path, [item])).predictions[0]
    assert found.sample.images == ()
    assert found.model_output is None and found.error is None


BAD = [
    ("{", "line 1, column 2"),
    ('{"results": [{"a": NaN}]}', "line 1"),
    ("3", "holds no list of results"),
    ({"accuracy": 1}, "accuracy"),
    ({"results": {}}, "holds no list of results"),
    ({"schema": "medr1.card/1", "results": "r.json"}, "It is a card; name the results file"),
    (dict.fromkeys("abcdefghijkl", 1), r"a, b, c, d, e, f, g, h, i, j, \.\.\.\. medr1"),
    ({"results": []}, "holds no results"),
    ({"schema": "medr1.results/9", "results": [ENTRY]}, "medr1.results/9"),
    ([3], "item 1: a number where an object"),
    ([ENTRY, "x"], "item 2: a text where"),
    ([ENTRY, {k: v for k, v in ENTRY.items() if k != "model_output"}], "item 2.*model_output"),
    ([{**ENTRY, "model_output": 3}], "item 1: 'model_output' is a number where a text"),
    ([{**ENTRY, "model_output": ["x"]}], "item 1: 'model_output' is a list"),
    ([{**ENTRY, "extracted_answer": {}}], "'extracted_answer' is an object"),
    ([{**ENTRY, "ground_truth": True}], "item 1.*ground_truth"),
    ([{**ENTRY, "ground_truth": "E"}], "item 1.*not one of the options"),
    ([{"question": "Which?", "model_output": "x"}], "item 1.*no ground truth"),
    ([{"ground_truth": "B", "model_output": "x", "image": "a"}], "item 1.*no question"),
]


@pytest.mark.parametrize(("document", "said"), BAD)
def test_malformed(tmp_path, document, said):
    path = write(tmp_path, document)
    with pytest.raises(InputError, match=said) as error:
        read_results(path)
    assert "results.json" in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("id", None, "'id' is null"),
        ("id", 7, "'id' is a number where a text"),
        ("images", "a.png", "'images' is a text where a list"),
        ("num_tokens", 10**30, "'num_tokens' is 1000000.*it must be a whole number"),
        ("num_tokens", 2.5, "'num_tokens' is 2.5"),
        ("num_tokens", -1, "'num_tokens' is -1"),
        ("images", [1], "in 'images' a value is a number"),
        ("options", ["CT"], "'options' is a list where an object"),
        ("options", {"A": 1}, "in 'options' a value is a number"),
        ("answer_type", "essay", "'answer_type' is 'essay'"),
        ("option_probs", {"A": "high"}, "in 'option_probs' a value is a text"),
        ("confidence", True, "'confidence' is true or false"),
        ("error", {"code": "x"}, "'code' and 'message'"),
        ("ground_truth", None, "no ground truth"),
    ],
)
def test_malformed_own(tmp_path, key, value, said):
    document = own(OWN, OWN)
    document["results"][1][key] = value
    with pytest.raises(InputError, match=f"item 2.*{said}"):
        read_results(write(tmp_path, document))


def test_a_missing_key_of_our_own_is_named(tmp_path):
    document = own(OWN)
    del document["results"][0]["question"]
    with pytest.raises(InputError, match=r"item 1.*question"):
        read_results(write(tmp_path, document))


def test_line_of_jsonl_is_named(tmp_path):
    path = write(tmp_path, json.dumps(ENTRY) + "\n\n{]\n", "r.jsonl")
    with pytest.raises(InputError, match="line 3"):
        read_results(path)
    path = write(tmp_path, json.dumps(ENTRY) + "\n\n[]\n", "r.jsonl")
    with pytest.raises(InputError, match="line 3: a list"):
        read_results(path)


def test_other_files(tmp_path):
    with pytest.raises(InputError, match=r"r\.xlsx is not an \.xlsx file"):
        read_results(write(tmp_path, "text", "r.xlsx"))
    with pytest.raises(InputError, match="not found"):
        read_results(tmp_path / "none.json")
    with pytest.raises(InputError, match="folder"):
        read_results(tmp_path)


@pytest.mark.parametrize("name", ["results.docx", "results"])
def test_a_file_of_another_kind_is_told_from_damaged_json(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\x03\x04 no results")
    with pytest.raises(InputError, match=r"the extension '(\.docx)?' is not known, and the file"):
        read_results(tmp_path / name)
    (tmp_path / name).write_text(' [{"image": "a.png", "question": "?", "model_output": "A",')
    with pytest.raises(InputError, match="not valid JSON"):
        read_results(tmp_path / name)
