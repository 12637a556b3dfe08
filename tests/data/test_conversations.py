"""Questions with earlier turns: how they are read, written, told apart and refused."""

import csv
import json
from dataclasses import replace

import pytest
from in_process import medr1

from medr1.data.audit.document import audit
from medr1.data.items import read_item
from medr1.data.readers import read_questions
from medr1.errors import InputError
from medr1.prompts import as_plain_text, chat_messages
from medr1.records import Prediction, Sample, Turn, prediction_from_dict, prediction_to_dict

TURNS = [
    {"role": "system", "content": "Answer briefly."},
    {"role": "user", "content": "Is there a lesion?"},
    {"role": "assistant", "content": "Yes."},
]
EARLIER = tuple(Turn(**turn) for turn in TURNS)
ITEM = {"image": "a.png", "question": "Is it in the liver?", "ground_truth": "yes"}


def read(item):
    sample, failure = read_item(item, "item 1")
    assert failure is None, failure
    return sample


def test_the_earlier_turns_may_be_apart_or_before_the_question():
    apart = read({**ITEM, "history": TURNS})
    assert apart.history == EARLIER and apart.question == "Is it in the liver?"
    assert apart.answer_type == "yes_no"
    asked = {"role": "user", "content": "Is it in the liver?"}
    assert read({**ITEM, "question": [*TURNS, asked]}) == apart
    assert read({**ITEM, "question": [asked]}) == read(ITEM)
    assert read({**ITEM, "history": []}) == read({**ITEM, "history": None}) == read(ITEM)


def test_a_system_turn_may_be_the_only_earlier_turn():
    """A prompt of TRL's data sets often is a system turn and the question."""
    sample = read({**ITEM, "question": [TURNS[0], {"role": "user", "content": "Is it?"}]})
    assert sample.history == EARLIER[:1]
    assert read({**ITEM, "question": "Is it?", "history": TURNS[:1]}) == sample


def test_a_content_may_have_parts():
    parts = [{"type": "image"}, {"type": "text", "text": "Is there a lesion?"}]
    turns = [TURNS[0], {"role": "user", "content": parts}, TURNS[2]]
    assert read({**ITEM, "history": turns}).history == EARLIER


def test_the_last_turn_may_have_options():
    asked = {"role": "user", "content": "Which? A)CT, B)MRI"}
    sample = read({"image": "a.png", "problem": [*TURNS, asked], "solution": "B"})
    assert (sample.question, sample.ground_truth) == ("Which?", "B")
    assert sample.options == {"A": "CT", "B": "MRI"} and sample.history == EARLIER


USER, ASSISTANT = TURNS[1:]
IMAGE = {"type": "image"}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"history": [USER]}, "the history ends with a turn of the user"),
        ({"history": [ASSISTANT, USER, ASSISTANT]}, "turn 1 has the role 'assistant'"),
        ({"history": [USER, ASSISTANT, ASSISTANT]}, "turn 3 has the role 'assistant' where user"),
        ({"history": [USER, TURNS[0]]}, "turn 2 has the role 'system' where assistant"),
        ({"history": [{"role": "human", "content": "?"}]}, "'human' where system or user"),
        ({"history": [{"from": "human", "value": "?"}]}, "turn 1 has no role"),
        ({"question": str([USER])}, "the question is no JSON"),
        ({"history": [USER, {"role": "assistant"}]}, "turn 2 has no content"),
        ({"history": [USER, {"role": "assistant", "content": " "}]}, "turn 2 is empty"),
        ({"history": "[{"}, "the history is no JSON"),
        ({"history": "yes"}, "the history is no JSON"),
        ({"history": {"role": "user"}}, "the history is no list"),
        ({"history": ["Is there?"]}, "the history is no list"),
        ({"history": [USER, ASSISTANT] * 101}, "has 202 turns, and 200 is the most"),
        ({"question": [USER, ASSISTANT]}, "the last turn is the assistant's"),
        ({"question": [USER], "history": [USER, ASSISTANT]}, None),
        (
            {"question": [USER, ASSISTANT, USER], "history": [USER, ASSISTANT]},
            "has earlier turns in 'history' and in 'question'",
        ),
        (
            {"history": [USER, {"role": "assistant", "content": [IMAGE]}]},
            "turn 2 has an image behind a text",
        ),
        (
            {"history": [{"role": "user", "content": [{"type": "text", "text": "?"}, IMAGE]}]},
            "turn 1 has an image behind a text",
        ),
        (
            {"history": [{"role": "user", "content": [{"type": "video"}]}]},
            "turn 1 has parts other than text and image",
        ),
        (
            {"history": [{"role": "user", "content": [{"type": "text", "text": 3}]}]},
            "turn 1 has parts other than text and image",
        ),
    ],
)
def test_turns_out_of_order_are_the_error_of_their_item(fields, sentence):
    sample, failure = read_item({**ITEM, **fields}, "item 1")
    if sentence is None:  # one turn is the question alone
        assert failure is None and sample.history == EARLIER[1:]
        return
    assert failure is not None and failure.code == "bad_turns"
    assert failure.message.startswith("item 1: ") and sentence in failure.message


def test_the_conversation_makes_another_question():
    alone, asked = Sample("", ("a.png",), "Is it?"), Sample("", ("a.png",), "Is it?")
    asked = replace(asked, history=EARLIER)
    assert alone.conversation == "Is it?"
    assert asked.conversation == (
        "System: Answer briefly.\nUser: Is there a lesion?\nAssistant: Yes.\nUser: Is it?"
    )


def test_questions_that_differ_in_earlier_turns_alone_have_ids_of_their_own(tmp_path):
    items = [ITEM, {**ITEM, "history": TURNS}, {**ITEM, "history": TURNS[1:]}]
    path = tmp_path / "test.json"
    path.write_text(json.dumps(items))
    ids = [sample.id for sample in read_questions(path).samples]
    assert len(set(ids)) == 3 and not any("-" in name for name in ids)


def test_a_file_of_trl_is_read(tmp_path):
    """A column `prompt` with the messages, as in TRL's conversational data sets."""
    asked = {"role": "user", "content": "Is it in the liver?"}
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({"image": "a.png", "prompt": [*TURNS, asked], "solution": "yes"}))
    (sample,) = read_questions(path).require_complete()
    assert (sample.history, sample.question) == (EARLIER, "Is it in the liver?")


def test_a_cell_of_a_table_may_have_all_turns(tmp_path):
    turns = [*TURNS, {"role": "user", "content": "Which? A)CT, B)MRI"}]
    path = tmp_path / "train.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [("image", "prompt", "solution"), ("a.png", json.dumps(turns), "B")]
        )
    (sample,) = read_questions(path).require_complete()
    assert (sample.history, sample.question) == (EARLIER, "Which?")
    assert sample.options == {"A": "CT", "B": "MRI"}


@pytest.mark.parametrize("name", ["out.json", "out.jsonl", "out.csv", "out.parquet", "out"])
@pytest.mark.parametrize("field_names", ["medr1", "guide"])
def test_every_format_stores_them(tmp_path, name, field_names):
    source = tmp_path / "in.json"
    source.write_text(json.dumps([{**ITEM, "history": TURNS}, {**ITEM, "image": "b.png"}]))
    run = medr1("data", "convert", source, tmp_path / name, "--to", field_names)
    assert run.returncode == 0, run.stderr
    before, after = (read_questions(path).samples for path in (source, tmp_path / name))
    assert [s.history for s in after] == [s.history for s in before] == [EARLIER, ()]
    assert [s.id for s in after] == [s.id for s in before]


@pytest.mark.parametrize("to", ["published", "omnimedvqa", "inspect", "vlmevalkit"])
def test_a_format_without_a_place_for_them_leaves_the_item_out(tmp_path, to):
    from PIL import Image

    Image.new("RGB", (30, 30)).save(tmp_path / "a.png")
    source = tmp_path / "in.json"
    source.write_text(json.dumps([{**ITEM, "history": TURNS}, ITEM]))
    ending = {"inspect": ".jsonl", "vlmevalkit": ".tsv"}.get(to, ".json")
    output = tmp_path / f"out{ending}"
    run = medr1("data", "convert", source, output, "--to", to, "--max-errors", 1)
    assert "earlier turns" in run.stderr and output.exists()


def test_the_audit_tells_questions_with_other_earlier_turns_apart(tmp_path):
    from PIL import Image

    Image.effect_noise((64, 64), 90).save(tmp_path / "a.png")
    paths = [tmp_path / "train.json", tmp_path / "test.json"]
    damaged = [USER, {"role": "assistant", "content": "37 Â°C"}]
    test = [ITEM, {**ITEM, "history": TURNS}, {**ITEM, "history": damaged}]
    for path, items in zip(paths, ([{**ITEM, "history": TURNS}], test), strict=True):
        path.write_text(json.dumps(items))
    kinds = {(row.kind, row.item) for row in audit(paths[1], [paths[0]]).items}
    expected = {("near_question", 1), ("same_image_and_question", 2), ("near_question", 3)}
    assert kinds >= {*expected, ("encoding_damage", 3)}
    assert ("same_image_and_question", 1) not in kinds and ("encoding_damage", 2) not in kinds


def test_an_answer_without_an_id_is_that_of_its_conversation(tmp_path):
    from medr1.evaluate.reading.matching import Lookup

    path = tmp_path / "test.json"
    path.write_text(json.dumps([ITEM, {**ITEM, "history": TURNS}, {**ITEM, "question": "Why?"}]))
    lookup = Lookup(read_questions(path))
    asked = Sample("", ("a.png",), "Is it in the liver?")
    assert lookup.find(replace(asked, history=EARLIER), None) == 1
    assert lookup.find(asked, None) is None  # two questions have this text
    assert lookup.find(replace(asked, question="Why?"), None) == 2


@pytest.mark.parametrize("name", ["sft.json", "sft.csv", "sft.parquet"])
def test_distilled_questions_keep_them(tmp_path, name):
    source, results = tmp_path / "train.json", tmp_path / "r.json"
    source.write_text(json.dumps([{**ITEM, "history": TURNS}, {**ITEM, "image": "b.png"}]))
    before = read_questions(source).require_complete()
    text = "<think>A bright spot.</think> <answer>yes</answer>"
    entries = [prediction_to_dict(Prediction(sample, model_output=text)) for sample in before]
    for entry in entries:
        if "history" in entry:
            entry["history"] = TURNS
    document = {"schema": "medr1.results/1", "meta": {}, "results": entries}
    results.write_text(json.dumps(document))
    output = tmp_path / name
    run = medr1("data", "distill", source, "--results", results, "--output-file", output)
    assert run.returncode == 0, run.stderr
    after = read_questions(output).require_complete()
    assert [sample.history for sample in after] == [EARLIER, ()]
    assert [sample.question for sample in after] == [ITEM["question"]] * 2


def test_control_tokens_in_earlier_turns_become_plain_text():
    sample = Sample("", ("a.png",), "?", history=(Turn("user", "<|im_end|>"), EARLIER[2]))
    plain = as_plain_text(sample, ["<|im_end|>"])
    assert plain.history == (Turn("user", "< |im_end|>"), EARLIER[2])


def test_the_images_are_in_the_first_turn_of_the_user():
    sample = Sample("", ("a.png", "b.png"), "Is it?", history=EARLIER)
    messages = chat_messages(sample, "nothink")
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    kinds = [[part["type"] for part in message["content"]] for message in messages]
    assert kinds == [["text"], ["image", "image", "text"], ["text"], ["text"]]
    texts = [message["content"][-1]["text"] for message in messages]
    assert texts[:3] == [turn.content for turn in EARLIER]
    assert texts[3].startswith("Is it? Give ")


def test_results_store_them():
    prediction = Prediction(Sample("1", ("a.png",), "Is it?", history=EARLIER), model_output="yes")
    entry = prediction_to_dict(prediction)
    assert list(entry["history"]) == TURNS
    assert prediction_from_dict(json.loads(json.dumps(entry))) == prediction
    alone = replace(prediction, sample=replace(prediction.sample, history=()))
    assert "history" not in prediction_to_dict(alone)


def test_results_with_turns_out_of_order_are_refused(tmp_path):
    from medr1.evaluate.reading.results import read_results

    entry = prediction_to_dict(Prediction(Sample("1", ("a.png",), "Is it?"), model_output="yes"))
    path = tmp_path / "results.json"
    document = {"schema": "medr1.results/1", "meta": {}, "results": [{**entry, "history": [{}]}]}
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="turn 1 has no role"):
        read_results(path)
