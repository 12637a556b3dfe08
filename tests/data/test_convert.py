"""Every item goes from any spelling and format to any other, or is named: none is damaged."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medr1.cli import cli
from medr1.data import spellings
from medr1.data.convert import convert, dropped_warning
from medr1.data.items import read_item
from medr1.data.readers import Questions, read_questions
from medr1.data.spellings import (
    FIELD_NAME_SETS,
    is_same_sample,
    missing_fields,
    sample_to_item,
    supported_part,
)
from medr1.errors import InputError, ItemError
from medr1.records import LETTERS, Sample, sample_id

FORMATS = ("q.json", "q.jsonl", "q.csv", "q.parquet", "folder")

TRICKY = [
    *("x, B)y", "(IQA)", "A) inside", "B)", "CT (plain), axial", "nan", "NaN", "=1+1", "-5", "'=x"),
    *("a; C) b", "<answer> B </answer>", "<think>", "é 漢字 😀", "line\nbreak", "A. x\nB. y", "@"),
    *("42", "A", "C", "1e400", "true", "\u202eabc", "a\u00a0b", '"quoted"', "comma, and; more"),
    *("Yes", "no", "\t tab"),
]
texts = (
    st.one_of(
        st.sampled_from(TRICKY),
        st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=12),
        st.lists(st.sampled_from([*TRICKY, " ", "what?"]), min_size=1, max_size=3).map("".join),
    )
    .map(str.strip)
    .filter(bool)
)
names = st.sampled_from(
    ["Images/a.png", "b (1).PNG", "c#?%&.jpg", "/abs/ü.tif", "d,e.bmp", " x.png"]
)
plain = st.one_of(st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.floats(-9, 9), texts)
metadata = st.dictionaries(
    st.sampled_from(
        ["age", "scanner", "patient", "image", "question", "option_A", "metadata", "é x"]
    ),
    st.one_of(plain, st.lists(plain, max_size=2), st.dictionaries(texts, plain, max_size=2)),
    max_size=3,
)


@st.composite
def items(draw):
    """A raw item in medr1's own spelling, with everything that may be awkward in it."""
    options = dict(zip(LETTERS, draw(st.lists(texts, min_size=2, max_size=8)), strict=False))
    kind = draw(st.sampled_from(["multiple_choice", "yes_no", "count", "open"]))
    gold = {
        "multiple_choice": st.sampled_from(sorted(options)),
        "yes_no": st.sampled_from(["Yes", "no", "No."]),
        "count": st.sampled_from(["3", "1,000", "2.5"]),
        "open": texts,
    }[kind]
    item = {
        "images": draw(st.lists(names, min_size=1, max_size=2)),
        "question": draw(texts),
        "answer_type": kind,
        "ground_truth": draw(st.one_of(st.none(), gold)),
        "metadata": draw(metadata),
    }
    if kind == "multiple_choice":
        item["options"] = options
    for key in ("question_type", "modality", "dataset", "id"):
        item[key] = draw(st.one_of(st.none(), texts))
    return item


def sample_of(item):
    sample, failure = read_item(item, "here", with_hash_id=True)
    return None if failure else sample


@settings(max_examples=400, deadline=None)
@given(items(), st.sampled_from(FIELD_NAME_SETS))
def test_a_spelled_item_is_read_as_it_was_or_refused(item, spelling):
    sample = sample_of(item)
    if sample is None:
        return
    try:
        written = sample_to_item(sample, spelling)
    except ItemError as error:
        assert error.code == "not_carried"
        return
    read, failure = read_item(json.loads(json.dumps(written)), "here", with_hash_id=True)
    assert failure is None
    for name in ("images", "question", "options", "ground_truth"):
        assert getattr(read, name) == getattr(sample, name), name
    lost = {name.split()[0] for name in missing_fields(sample, spelling)}
    for name in ("answer_type", "question_type", "modality", "dataset", "metadata"):
        if name not in lost:
            assert getattr(read, name) == getattr(sample, name), name
    if "id" not in lost:
        assert read.id == sample.id
    if spelling == "medr1":
        assert not lost and is_same_sample(read, sample)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(items(), min_size=1, max_size=4),
    st.sampled_from(FIELD_NAME_SETS),
    st.sampled_from(FORMATS),
)
def test_a_file_is_read_as_it_was_and_what_is_left_out_is_named(
    tmp_path_factory, raw, spelling, name
):
    tmp_path = tmp_path_factory.mktemp("convert")
    for number, item in enumerate(raw):
        item["id"] = f"q{number}"
    samples = [sample for item in raw if (sample := sample_of(item)) is not None]
    if not samples:
        return
    questions = Questions(samples, {}, tmp_path, "", "in.json")
    output = tmp_path / name
    try:
        done = convert(questions, output, spelling)
    except InputError as error:
        assert "\n" not in str(error) and not output.exists()
        return
    assert done.n + len(done.errors) == len(samples)
    kept = [sample for index, sample in enumerate(samples) if index not in done.errors]
    read = read_questions(output)
    assert not read.failures
    as_text = name == "q.csv"
    for one, other in zip(read.samples, kept, strict=True):
        for key in ("images", "question", "options", "ground_truth"):
            assert getattr(one, key) == getattr(other, key)
        if spelling in ("medr1", "guide"):
            assert one.id == other.id and one.modality == other.modality
            there = {k: v for k, v in other.metadata.items() if v is not None}
            assert {k for k, v in one.metadata.items() if v is not None} == set(there)
            if not as_text:
                here = {k: v for k, v in one.metadata.items() if v is not None}
                assert json.dumps(here, sort_keys=True) == json.dumps(there, sort_keys=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


@pytest.mark.parametrize("value", [[], ["y.png"], "y.png"])
def test_metadata_with_the_name_of_the_image_is_left_out_of_a_table(tmp_path, value):
    options = {"A": "x", "B": "y"}
    plain = Sample("q0", ("a.png",), "Which?", options, "A", "multiple_choice")
    odd = replace(plain, id="q1", metadata={"image": value})
    questions = Questions([plain, odd], {}, tmp_path, "", "in.json")
    for name in ("q.csv", "q.parquet"):
        done = convert(questions, tmp_path / name, "medr1")
        assert done.n == 1
        assert "in.json, item 2" in done.errors[1].message and name in done.errors[1].message
        assert [one.id for one in read_questions(tmp_path / name).samples] == ["q0"]


SPLIT = [
    {
        "image": f"Images/X ({n}.JPG",
        "problem": "What is the quality (IQA), overall? A)Good, really, B)Bad (IQA), C)good",
        "solution": f"<answer> {'ABC'[n % 3]} </answer>",
    }
    for n in range(7)
] + [{"image": "b.png", "problem": "Is it?", "solution": "<answer> Yes </answer>"}]


@pytest.mark.parametrize("name", FORMATS)
def test_published_to_medr1_and_back_is_the_same(name, tmp_path):
    (tmp_path / "in.json").write_text(json.dumps(SPLIT))
    one = convert(read_questions(tmp_path / "in.json"), tmp_path / name, "medr1")
    two = convert(read_questions(tmp_path / name), tmp_path / "back.json", "published")
    assert json.loads((tmp_path / "back.json").read_text()) == SPLIT
    assert not one.errors and not two.errors and not one.dropped and not two.dropped


RICH = {
    "id": "q1",
    "image": "a.png",
    "question": "What is it?",
    "options": {"A": "CT", "B": "MRI"},
    "ground_truth": "B",
    "question_type": "Modality Recognition",
    "modality": "MR",
    "dataset": "X",
    "age": 40,
    "scanner": None,
    "metadata": {"site": "one"},
}


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Run the command in an empty folder with rich.json."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rich.json").write_text(json.dumps([RICH, {**RICH, "id": "q2"}]))

    def convert_there(*args, code=0):
        result = CliRunner().invoke(cli, ["data", "convert", *map(str, args)])
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return convert_there


def test_a_guide_file_has_the_answer_type_as_question_type():
    dropped = {"question_type": 1, "the type of age": 2}
    text = dropped_warning(dropped, "guide", Path("out.csv"))
    assert "question_type (1 item), the data type of age (2 items)" in text
    assert "question_type is the answer type" in text and "every value is text" in text
    assert "answer type" not in dropped_warning({"id": 1}, "published", Path("out.json"))


def test_what_is_dropped_is_said(command, tmp_path):
    said = command("rich.json", "out.json", "--to", "published").stderr
    for part in ("id (2 items)", "modality (2 items)", "metadata age (2 items)", "metadata site"):
        assert part in said
    assert json.loads((tmp_path / "out.json").read_text())[0] == {
        "image": "a.png",
        "problem": "What is it? A)CT, B)MRI",
        "solution": "<answer> B </answer>",
    }
    said = command("rich.json", "raw.csv", "--to", "omnimedvqa").stderr
    assert "metadata age (2 items)" in said and "modality" not in said
    (sample, _) = read_questions(tmp_path / "raw.csv").samples
    assert (sample.id, sample.modality, sample.ground_truth) == ("q1", "MR", "B")
    assert "does not keep" not in command("rich.json", "all.parquet").stderr
    assert read_questions(tmp_path / "all.parquet").samples[0].metadata == {
        "site": "one",
        "age": 40,
    }
    assert "type of age (2 items)" in command("rich.json", "all.csv").stderr
    assert read_questions(tmp_path / "all.csv").samples[0].metadata == {"site": "one", "age": "40"}


def test_an_item_that_would_change_is_left_out_and_named(command, tmp_path):
    bad = {**RICH, "id": "q3", "options": {"A": "x, B)y", "B": "z"}}
    (tmp_path / "bad.jsonl").write_text("\n".join(map(json.dumps, (RICH, bad))))
    result = command("bad.jsonl", "out.json", "--to", "published", code=3)
    assert "bad.jsonl, item 2: " in result.stderr and "field names of published" in result.stderr
    assert len(json.loads((tmp_path / "out.json").read_text())) == 1
    command("bad.jsonl", "two.json", "--to", "published", "--max-errors", "1")
    command("bad.jsonl", "three.json")  # medr1's own holds it
    twice = {**RICH, "id": "q3", "options": {"A": "CT", "B": "CT"}}
    (tmp_path / "twice.json").write_text(json.dumps([RICH, twice]))
    assert (
        "ground truth would be read differently"
        in command("twice.json", "x.json", "--to", "omnimedvqa", code=3).stderr
    )


def test_several_images_in_csv_are_refused_and_held_elsewhere(command, tmp_path):
    (tmp_path / "two.json").write_text(json.dumps([RICH, {**RICH, "id": "b", "image": ["a", "b"]}]))
    assert "one image per item" in command("two.json", "out.csv", code=3).stderr
    for name in FORMATS:
        if name != "q.csv":
            command("two.json", name, "--to", "published")
            assert read_questions(tmp_path / name).samples[1].images == ("a", "b")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["none.json", "out.json"], "file not found: none.json"),
        (["rich.json", "out.txt"], "the extension '.txt' is not known"),
        (["rich.json", "rich.json"], "rich.json exists"),
        (["mixed.json", "out.parquet"], "'age' is of several types"),
        (["bad.jsonl", "out.json"], "bad.jsonl, line 2"),
        (["rich.json", "out.json", "--map", "image"], "KEY=COLUMN"),
        (["rich.json", "out.json", "--to", "nobody"], "'nobody' is not one of"),
    ],
)
def test_mistakes_are_one_sentence(args, says, command, tmp_path):
    (tmp_path / "mixed.json").write_text(json.dumps([RICH, {**RICH, "id": "x", "age": "old"}]))
    (tmp_path / "bad.jsonl").write_text(json.dumps(RICH) + "\n{")
    said = command(*args, code=2).stderr
    assert says in said and "Traceback" not in said
    assert not (tmp_path / "out.json").exists() and not (tmp_path / "out.parquet").exists()


def test_overwrite_keeps_the_old_and_moved_images_are_said(command, tmp_path):
    command("rich.json", "out.json")
    first = (tmp_path / "out.json").read_bytes()
    command("rich.json", "out.json", "--to", "guide", "--overwrite")
    assert (tmp_path / "out.json.bak").read_bytes() == first
    assert "--image-root" not in command("rich.json", "here.csv").stderr
    assert "as --image-root" in command("rich.json", "sub/there.csv").stderr
    command("rich.json", "folder")
    command("folder", "again.json")
    assert (tmp_path / "again.json").read_bytes() == first


def test_hashed_ids_are_not_ids_of_their_own():
    sample = Sample("", ("a.png",), "q?", {"A": "x", "B": "y"}, "A", "multiple_choice")
    name = sample_id(sample)
    for given_id, own in ((name, False), (f"{name}-2", False), ("q-2", True), ("", False)):
        assert spellings.has_own_id(Sample(**{**vars(sample), "id": given_id})) is own
    assert supported_part(sample, "medr1").id == ""
