"""The readers: each format and set of field names gives the same samples, each fault a message."""

import csv
import datetime
import json
import os
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet
import pytest
from measured import at_most

from medr1.data import readers
from medr1.data.items import MAX_QUESTION, ground_truth_letter
from medr1.data.readers import Questions, read_questions, sample_from_question, split_file
from medr1.data.roots import ImageRoot
from medr1.errors import InputError, ItemError
from medr1.records import Prediction, Sample, prediction_to_dict, sample_id

GUIDE = {"image": "a.png", "question": "Is there a fracture?", "ground_truth": "Yes"}
PUBLISHED = {
    "image": "Images/X/b (1).png",
    "problem": "What modality is this? A)CT, B)MRI, C)Ultrasound (US), D)X-ray",
    "solution": "<answer> C </answer>",
}
RAW = {
    "dataset": "ACRIMA",
    "question_id": "ACRIMA_0001",
    "question_type": "Modality Recognition",
    "question": "What modality is this?",
    "gt_answer": "Fundus photography",
    "image_path": "Images/ACRIMA/c.png",
    "option_A": "CT",
    "option_B": "MRI",
    "option_C": "PET",
    "option_D": "Fundus photography",
    "modality_type": "Fundus Photography",
}


@pytest.fixture
def read(tmp_path: Path):
    """Write a document (or a text, or bytes) to a file and read it."""

    def write_and_read(document: Any, name: str = "q.json", **options: Any) -> Questions:
        path = tmp_path / name
        if isinstance(document, bytes):
            path.write_bytes(document)
        else:
            path.write_text(document if isinstance(document, str) else json.dumps(document))
        return read_questions(path, **options)

    return write_and_read


@pytest.fixture
def refused(read, tmp_path):
    """The words a file is refused with: one sentence or two, with the file's name."""

    def words(document: Any, name: str = "q.json", **options: Any) -> str:
        with pytest.raises(InputError) as caught:
            read(document, name, **options)
        said = str(caught.value)
        assert str(tmp_path) in said
        assert "\n" not in said
        assert said.endswith(".")
        assert len(said) < 600
        return said

    return words


def failure_of(read, **item: Any) -> str | None:
    """The code that one item fails with, given among good ones that go on."""
    questions = read([GUIDE, item, PUBLISHED])
    assert len(questions.samples) == 3
    assert set(questions.failures) <= {1}
    if 1 not in questions.failures:
        return None
    assert questions.failures[1].message.startswith("q.json, item 2: ")
    return questions.failures[1].code


# --- field names ------------------------------------------------------------------------------


def test_guide(read):
    questions = read([GUIDE])
    (sample,) = questions.samples
    assert (sample.images, sample.question) == (("a.png",), "Is there a fracture?")
    assert (sample.ground_truth, sample.answer_type, sample.options) == ("Yes", "yes_no", {})
    assert sample.id == sample_id(Sample("", ("a.png",), "Is there a fracture?"))
    assert questions.failures == {}
    assert questions.require_complete() == questions.samples


def test_published(read):
    (sample,) = read([PUBLISHED]).samples
    assert sample.question == "What modality is this?"
    assert sample.options == {"A": "CT", "B": "MRI", "C": "Ultrasound (US)", "D": "X-ray"}
    assert (sample.ground_truth, sample.answer_type) == ("C", "multiple_choice")
    assert sample.images == ("Images/X/b (1).png",)


def test_raw(read):
    (sample,) = read([RAW]).samples
    assert sample.id == "ACRIMA_0001"
    assert (sample.ground_truth, sample.options["D"]) == ("D", "Fundus photography")
    assert sample.question_type == "Modality Recognition"
    assert (sample.modality, sample.dataset) == ("Fundus Photography", "ACRIMA")
    assert sample.answer_type == "multiple_choice"
    assert sample.metadata == {}


def test_raw_with_fewer_or_more_options(read):
    two = {k: v for k, v in RAW.items() if k not in ("option_C", "option_D")}
    two |= {"gt_answer": "MRI", "option_C": None, "option_D": ""}
    eight = {**RAW, **{f"option_{letter}": letter * 3 for letter in "EFGH"}, "question_id": "x"}
    other_key = {**two, "modality": "CT", "modality_type": None, "question_id": 7}
    samples = read([two, eight, other_key]).require_complete()
    assert samples[0].options == {"A": "CT", "B": "MRI"}
    assert "".join(samples[1].options) == "ABCDEFGH"
    assert (samples[2].modality, samples[2].id) == ("CT", "7")


def test_further_keys_are_metadata(read):
    item = {**GUIDE, "age": 61, "scanner": {"maker": "S"}, "metadata": {"site": 1}, "nothing": None}
    (sample,) = read([item]).samples
    assert sample.metadata == {"age": 61, "scanner": {"maker": "S"}, "site": 1}


@pytest.mark.parametrize("spelled", ["open", "multiple_choice", "yes_no"])
def test_question_type_of_the_guide_is_the_answer_type(read, spelled):
    (sample,) = read([{**GUIDE, "question_type": spelled}]).samples
    assert (sample.answer_type, sample.question_type) == (spelled, None)


@pytest.mark.parametrize("spelled", ["OPEN", "Open", " open ", "CLOSED", "Closed", "closed"])
@pytest.mark.parametrize(
    ("gold", "kind"),
    [("Yes", "yes_no"), ("NO.", "yes_no"), (3, "count"), ("left lung", "open"), (None, "open")],
)
def test_an_answer_class_leaves_the_answer_type_to_the_ground_truth(read, spelled, gold, kind):
    """VQA-RAD's and SLAKE's words; " open " only beside a closed item, as medr1 has an own open."""
    item = {**GUIDE, "ground_truth": gold, "answer_type": spelled, "metadata": {"site": 1}}
    sample = read([item, {**GUIDE, "answer_type": "closed"}]).samples[0]
    assert sample.answer_type == kind
    assert sample.metadata == {"site": 1, "answer_class": spelled.strip().lower()}


def test_an_answer_class_beside_options(read):
    options = {"options": ["Yes", "No"], "ground_truth": "B"}
    items = [{**GUIDE, **options, "answer_type": spelled} for spelled in ("OPEN", "CLOSED")]
    inlined = {**PUBLISHED, "answer_type": "CLOSED"}
    samples = read([*items, inlined]).require_complete()
    assert {sample.answer_type for sample in samples} == {"multiple_choice"}
    assert [s.metadata["answer_class"] for s in samples] == ["open", "closed", "closed"]
    assert "D" in samples[2].options


def test_open_in_lower_case_is_our_own_answer_type(read):
    """Unless the file calls other answers closed."""
    mine = {**GUIDE, "answer_type": "open"}
    (sample,) = read([mine]).samples
    assert (sample.ground_truth, sample.answer_type, sample.metadata) == ("Yes", "open", {})
    for other in ({**GUIDE, "answer_type": "yes_no"}, {**GUIDE, "answer_type": "OPEN"}):
        assert read([mine, other]).samples[0].answer_type == "open"
    there = read([mine, {**GUIDE, "answer_type": "closed"}]).samples[0]
    assert (there.answer_type, there.metadata) == ("yes_no", {"answer_class": "open"})
    guide = read([{**GUIDE, "question_type": "open"}, {**GUIDE, "answer_type": "CLOSED"}])
    assert guide.samples[0].answer_type == "open"


def test_options_inlined_in_a_guide_question(read):
    text = "Which organ? A)liver, B)lung"
    items = [{"image": "a", "question": text, "question_type": t} for t in (None, "open")]
    parsed, whole = read(items).samples
    assert (parsed.question, parsed.options) == ("Which organ?", {"A": "liver", "B": "lung"})
    assert (whole.question, whole.options, whole.answer_type) == (text, {}, "open")


@pytest.mark.parametrize(
    "options",
    [
        {"A": "liver", "B": "lung"},
        {"b": "lung", "a": "liver"},
        {"A": "liver", "B": "lung", "C": None},
        ["liver", "lung"],
        "A)liver, B)lung",
    ],
)
def test_options_given_apart(read, options):
    (sample,) = read([{**GUIDE, "options": options, "ground_truth": "lung"}]).samples
    assert (dict(sample.options), sample.ground_truth) == ({"A": "liver", "B": "lung"}, "B")


def test_several_images(read):
    for key in ("image", "images"):
        (sample,) = read([{"question": "Which?", key: ["a.png", "b.png"]}]).samples
        assert sample.images == ("a.png", "b.png")


def test_results_can_be_asked_again(read):
    first = read([PUBLISHED, {**GUIDE, "age": 3}, RAW, {**GUIDE, "question_type": "open"}]).samples
    again = read([prediction_to_dict(Prediction(sample)) for sample in first]).samples
    for old, new in zip(first, again, strict=True):
        assert {**vars(new), "metadata": {}} == {**vars(old), "metadata": {}}
        assert old.metadata.items() <= new.metadata.items()


@pytest.mark.parametrize(
    ("gold", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        ("B)", "B"),
        ("(B)", "B"),
        ("B.", "B"),
        ("B) mri", "B"),
        ("B: MRI scan", None),
        ("MRI", "B"),
        (" mri.", "B"),
        ("E", None),
        ("Magnetic", None),
        ("C", "C"),
    ],
)
def test_ground_truth_letter(gold, letter):
    options = {"A": "C", "B": "MRI", "C": "D."}
    assert ground_truth_letter(gold, options, text_first=False) == letter


def test_the_text_of_an_option_comes_first_in_raw_records():
    options = {"A": "C", "B": "MRI", "C": "mri"}
    assert ground_truth_letter("C", options, text_first=True) == "A"
    assert ground_truth_letter("mri", options, text_first=True) == "C"
    assert ground_truth_letter("Mri", options, text_first=True) == "B"


@pytest.mark.parametrize(
    ("gold", "kind", "read_as"),
    [(3, "count", "3"), (3.0, "count", "3"), ("no", "yes_no", "no"), ("liver", "open", "liver")],
)
def test_ground_truth_without_options(read, gold, kind, read_as):
    (sample,) = read([{**GUIDE, "ground_truth": gold}]).samples
    assert (sample.ground_truth, sample.answer_type) == (read_as, kind)


def test_question_typed_by_hand():
    sample = sample_from_question("Which? A)CT, B)MRI", ("x.png",))
    assert (sample.question, sample.answer_type) == ("Which?", "multiple_choice")
    assert sample.id == sample_id(Sample("", ("x.png",), "Which?", {"A": "CT", "B": "MRI"}))
    assert sample_from_question("Is it?", ("x.png",), "yes_no").answer_type == "yes_no"
    with pytest.raises(ItemError) as caught:
        sample_from_question(" ", ("x.png",))
    assert caught.value.code == "no_question"


# --- what is wrong with an item ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ({"question": None}, "no_question"),
        ({"question": "  "}, "no_question"),
        ({"question": "A)CT, B)MRI"}, "no_question"),
        ({"question": ["What?"]}, "bad_type"),
        ({"question": {"text": "What?"}}, "bad_type"),
        ({"question": True}, "bad_type"),
        ({"image": None}, "no_image"),
        ({"image": ""}, "no_image"),
        ({"image": []}, "no_image"),
        ({"image": ["a.png", ""]}, "no_image"),
        ({"image": 3}, "bad_type"),
        ({"image": ["a.png", 3]}, "bad_type"),
        ({"image": {"bytes": "..."}}, "bad_type"),
        ({"id": ["x"]}, "bad_type"),
        ({"modality": {"x": 1}}, "bad_type"),
        ({"ground_truth": ["Yes"]}, "bad_ground_truth"),
        ({"ground_truth": True}, "bad_ground_truth"),
        ({"ground_truth": "<answer> </answer>"}, "bad_ground_truth"),
        ({"ground_truth": "x" * 30_000}, "bad_ground_truth"),
        ({"options": {"A": "Yes", "B": "No"}, "ground_truth": "C"}, "bad_ground_truth"),
        ({"options": {"A": "Yes"}}, "bad_options"),
        ({"options": {"A": "Yes", "C": "No"}}, "bad_options"),
        ({"options": {"A": ["Yes"], "B": "No"}}, "bad_options"),
        ({"options": list("abcdefghi")}, "bad_options"),
        ({"options": list(range(40))}, "bad_options"),
        ({"options": "liver or lung"}, "bad_options"),
        ({"options": 3}, "bad_options"),
        ({"option_A": "Yes", "option_B": "", "option_C": "No"}, "bad_options"),
        ({"options": ["Yes", "No"], "answer_type": "open"}, "bad_type"),
        ({"question": "x" * (MAX_QUESTION + 1)}, "question_too_long"),
        ({"question": "x " * 500_000}, "question_too_long"),
        ({"options": ["Yes", "x" * MAX_QUESTION]}, "question_too_long"),
        ({"ground_truth": None}, None),
        ({"ground_truth": ""}, None),
        ({"options": ""}, None),
        ({"options": {}}, None),
        ({"id": None, "modality": None, "dataset": " "}, None),
        ({"answer_type": "CLOSED"}, None),
    ],
)
def test_failures(read, item, code):
    with at_most(30):
        assert failure_of(read, **{**GUIDE, **item}) == code


@pytest.mark.parametrize("item", [None, 3, "text", [], [GUIDE], True])
def test_items_that_are_no_objects(read, item):
    questions = read([GUIDE, item])
    assert questions.failures[1].code == "bad_item"
    assert questions.samples[1].id


def test_raw_ground_truth_that_is_no_option(read):
    assert failure_of(read, **{**RAW, "gt_answer": "SPECT"}) == "bad_ground_truth"


def test_deep_metadata_is_a_failure(read):
    deep: Any = 1
    for _ in range(30):
        deep = {"a": deep}
    assert failure_of(read, **GUIDE, extra=deep) == "bad_metadata"


def test_a_broken_item_keeps_what_could_be_read(read):
    broken = {"id": "x7", "image": 3, "question": "What?", "modality": "CT", "ground_truth": "a"}
    sample = read([broken]).samples[0]
    assert (sample.id, sample.question, sample.modality) == ("x7", "What?", "CT")
    assert (sample.images, sample.ground_truth) == ((), "a")


def test_training_needs_every_item(read):
    with pytest.raises(InputError, match=r"q\.json: 2 of 3 items.*item 2: .*item 3: has no ground"):
        read([GUIDE, {}, {**GUIDE, "ground_truth": None}]).require_complete()


# --- ids --------------------------------------------------------------------------------------


def test_repeated_items_get_their_own_ids(read):
    ids = [sample.id for sample in read([GUIDE, PUBLISHED, GUIDE, GUIDE]).samples]
    assert ids[2:] == [f"{ids[0]}-2", f"{ids[0]}-3"]
    assert len(set(ids)) == 4


def test_ids_do_not_depend_on_other_items(read):
    assert read([GUIDE, PUBLISHED]).samples[1].id == read([PUBLISHED]).samples[0].id


def test_given_ids_must_be_unique(refused, read):
    assert "item 1 and item 3" in refused([{**GUIDE, "id": "x"}, PUBLISHED, {**RAW, "id": "x"}])
    hashed = read([GUIDE]).samples[0].id
    ids = [s.id for s in read([GUIDE, {**PUBLISHED, "id": hashed}]).samples]
    assert ids == [f"{hashed}-2", hashed]


# --- formats ----------------------------------------------------------------------------------

ITEMS = [
    {"image": "a.png", "question": 'Is "it", so?', "ground_truth": "Yes", "site": "x,y"},
    {"image": "b.png", "question": "Zwei\nZeilen é 肺?", "ground_truth": None, "site": None},
    {"image": "c.png", "question": "Which? A)CT, B)MRI", "ground_truth": "B", "site": "z"},
]


def write_csv(path: Path, items: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(items[0]))
        writer.writeheader()
        writer.writerows(items)


def write_parquet(path: Path, items: list[dict[str, Any]]) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(items), path)


def save_to_disk(path: Path, items: list[dict[str, Any]]) -> None:
    datasets.Dataset.from_list(items).save_to_disk(str(path))


def test_all_formats_say_the_same(tmp_path):
    lines = [json.dumps(item, ensure_ascii=False) for item in ITEMS]
    (tmp_path / "list.json").write_text(json.dumps(ITEMS))
    (tmp_path / "dict.json").write_text(json.dumps({"questions": ITEMS, "version": 1}))
    (tmp_path / "bom.json").write_text(json.dumps(ITEMS), encoding="utf-8-sig")
    (tmp_path / "q.jsonl").write_text("\n".join([*lines, "", ""]))
    (tmp_path / "bom.jsonl").write_text("\n\r\n".join(lines), encoding="utf-8-sig")
    write_csv(tmp_path / "q.csv", ITEMS)
    bom = (tmp_path / "q.csv").read_text(encoding="utf-8")
    (tmp_path / "bom.csv").write_text(bom, encoding="utf-8-sig")
    write_parquet(tmp_path / "q.parquet", ITEMS)
    save_to_disk(tmp_path / "disk", ITEMS)
    before = sorted(os.listdir(tmp_path / "disk"))
    expected = read_questions(tmp_path / "list.json").samples
    assert [s.ground_truth for s in expected] == ["Yes", None, "B"]
    assert [dict(s.metadata) for s in expected] == [{"site": "x,y"}, {}, {"site": "z"}]
    names = "dict.json bom.json q.jsonl bom.jsonl q.csv bom.csv q.parquet disk"
    for name in names.split():
        questions = read_questions(tmp_path / name)
        assert questions.samples == expected, name
        assert questions.failures == {}
        assert len(questions.sha256) == 64
        assert [s.id for s in read_questions(tmp_path / name, limit=2).samples] == [
            s.id for s in expected[:2]
        ]
    assert sorted(os.listdir(tmp_path / "disk")) == before


def test_image_root(tmp_path, read):
    assert read([GUIDE]).image_root == ImageRoot(tmp_path)
    assert read([GUIDE], image_root=Path("/")).image_root == ImageRoot(Path("/"), True)
    with pytest.raises(InputError, match="--image-root"):
        read([GUIDE], image_root=tmp_path / "none")
    save_to_disk(tmp_path / "disk", [GUIDE])
    assert read_questions(tmp_path / "disk").image_root == ImageRoot(tmp_path / "disk")


def test_missing_numbers_are_none(tmp_path):
    items = [{**GUIDE, "age": 61.0, "note": float("nan")}, {**PUBLISHED, "age": None}]
    write_parquet(tmp_path / "q.parquet", [{**items[0], "problem": None}, items[1]])
    first, second = read_questions(tmp_path / "q.parquet").samples
    assert first.metadata == {"age": 61.0}
    assert "age" not in second.metadata
    text = "image,question,ground_truth,age\na.png,What?,nan,\n\nb.png,Who?,NaN,7\nc.png,Where?\n"
    (tmp_path / "q.csv").write_text(text)
    samples = read_questions(tmp_path / "q.csv").samples
    assert [s.ground_truth for s in samples] == [None, None, None]
    assert [dict(s.metadata) for s in samples] == [{}, {"age": "7"}, {}]


def test_columns_of_other_types_become_text(tmp_path):
    item = {**GUIDE, "seen": datetime.date(2024, 5, 17), "raw": b"123", "far": float("inf")}
    write_parquet(tmp_path / "q.parquet", [item])
    (sample,) = read_questions(tmp_path / "q.parquet").samples
    assert sample.metadata == {"seen": "2024-05-17", "raw": "3 bytes", "far": None}
    json.dumps(sample.metadata, allow_nan=False)


def test_pandas_index_columns_are_dropped(tmp_path):
    (tmp_path / "q.csv").write_text(",image,question\n0,a.png,What?\n")
    write_parquet(tmp_path / "q.parquet", [{**GUIDE, "__index_level_0__": 4}])
    for name in ("q.csv", "q.parquet"):
        assert read_questions(tmp_path / name).samples[0].metadata == {}


@pytest.mark.parametrize("content", [b"\x89PNG", {"bytes": b"\x89PNG", "path": "a.png"}])
def test_images_inside_a_table_are_refused(tmp_path, content):
    write_parquet(tmp_path / "q.parquet", [{**GUIDE, "image": content}])
    save_to_disk(tmp_path / "disk", [{**GUIDE, "image": content}])
    for name in ("q.parquet", "disk"):
        with pytest.raises(InputError, match="image data"):
            read_questions(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,question\n1,What?\n", "--map image=COLUMN"),
        ("image;text\na.png;What?\n", "no column is called question"),
        ("a.png,What?\nb.png,Who?\n", "no line with the names of its columns"),
        ("image,question,question\na.png,What?,Who?\n", "'question'"),
        ("image,question\na.png,Is it, or not?\n", "line 2: 3 cells for 2 columns"),
        ('image,question\na.png,"What?\n', "line 2: unexpected end of data"),
        ('image,question\na.png,"What" is?\n', "line 2"),
        ("image,question\na.png," + "x" * 200_000, "line 2: field larger"),
        ("image,question\n", "has no questions"),
        ("\n\n", "is empty"),
    ],
)
def test_csv_faults(refused, text, said):
    assert said in refused(text, "q.csv")


def test_tables_that_are_none(refused, tmp_path):
    assert "Parquet" in refused(b"PAR1 and no more", "q.parquet")
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "state.json").write_text("{}")
    with pytest.raises(InputError, match="data set on disk"):
        read_questions(tmp_path / "disk")


def test_only_some_types_of_answer(tmp_path):
    items = [
        {"image": "a.png", "question": "How many?", "answer": "3"},
        {"image": "b.png"},
        {"image": "c.png", "question": "Which?", "options": ["CT", "MRI"], "answer": "A"},
        {"image": "d.png", "options": ["CT", "MRI"], "answer": "A"},
    ]
    file = tmp_path / "q.json"
    file.write_text(json.dumps(items))
    questions = read_questions(file)
    closed = questions.only(["multiple_choice"])
    assert [sample.images for sample in closed.samples] == [("c.png",), ("d.png",)]
    assert list(closed.failures) == [1] and closed.failures[1] == questions.failures[3]
    with pytest.raises(InputError, match=r"q\.json has no items .* yes_no"):
        questions.only(["yes_no"])


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("[]", "has no questions"),
        ("{}", "neither a list"),
        ('{"questions": {}}', "neither a list"),
        ('{"questions": null}', "neither a list"),
        ("null", "neither a list"),
        ('"text"', "neither a list"),
        (json.dumps(GUIDE), "neither a list"),
        ('{"results": []}', "medr1 eval"),
        ('[{"image": "a.png",\n "question": }]', "line 2, column 14"),
        ('[{"image": "a.png"}\n;]', "line 2, column 1"),
        ('[{"image": "a.png"},\n]', ", column "),
        ('{"image": "a"} {"image": "b"}', ".jsonl"),
        ('{"image": "a"}\n{"image": }', "line 2, column 11"),
        ('[{"age": NaN}]', "line 1, column 10"),
        ('[{"age":\n 1e999}]', "line 2, column 2"),
        ('[{"age": 1,\n "age": 2}]', "line 2, column 2"),
        ('[{"question": "\\ud800"}]', "line 1, column 16"),
        ("[" * 100_000, "nested"),
        ("[" + "9" * 5000 + "]", "too large"),
        (b'[{"question": "caf\xe9"}]', "UTF-8"),
        ("\ufeff".encode("utf-16-le") + b"[", "UTF-16"),
        ('[{"question": "x"}]'.encode("utf-16-le"), "line 1, column 2"),
    ],
)
def test_json_faults(refused, document, said):
    assert said in refused(document)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ('{"question": "x"}\n{"question": }', "line 2, column 14"),
        ('{"question": "x"}\n\n{"age": NaN}', "line 3, column 9"),
        ('{"a": 1, "a": 2}', "line 1, column 10"),
        (b'{"question": "x"}\n{"question": "caf\xe9"}', "line 2: not UTF-8"),
        ('{"question": "x"}\n{"question": "' + "x" * 2**20, "line 2: longer than 1 MB"),
        ("\n\n", "is empty"),
    ],
)
def test_jsonl_faults(refused, document, said):
    assert said in refused(document, "q.jsonl")


def test_jsonl_stops_at_the_limit(read):
    questions = read("\n".join([json.dumps(GUIDE)] * 2) + "\nbroken", "q.jsonl", limit=2)
    assert len(questions.samples) == 2


def test_a_large_json_file_is_refused_unread(refused, monkeypatch):
    monkeypatch.setattr(readers, "MAX_FILE", 2**20)
    for name in ("q.json", "q.csv"):
        assert "larger than 1 MB. Use JSONL" in refused("x" * (2**20 + 1), name)


@pytest.mark.parametrize("name", ["none.json", "n" * 5000, "n\0.json", "user/data", "none/x.json"])
def test_no_such_file(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="not found") as caught:
        read_questions(name)
    assert ("hub" in str(caught.value)) == (name == "user/data")


def test_not_a_file_of_questions(refused, tmp_path):
    assert ".txt" in refused("[]", "q.txt")
    os.mkfifo(tmp_path / "fifo.json")
    with pytest.raises(InputError, match="regular file"):
        read_questions(tmp_path / "fifo.json")
    with pytest.raises(InputError, match="Name a file in it"):
        read_questions(tmp_path)


# --- splits -----------------------------------------------------------------------------------


def test_split_file(tmp_path):
    for name in ("train.json", "test.json", "validation.jsonl"):
        (tmp_path / name).write_text("[]")
    assert split_file(tmp_path, "train") == tmp_path / "train.json"
    assert split_file(str(tmp_path), "validation") == tmp_path / "validation.jsonl"
    assert split_file(tmp_path / "test.json", "train") == tmp_path / "test.json"
    assert split_file("none.json", "train") == Path("none.json")
    (tmp_path / "test.json").unlink()
    with pytest.raises(InputError, match=r"has no test\.json"):
        split_file(tmp_path, "test")


def test_split_of_a_data_set_on_disk(tmp_path):
    rows = datasets.Dataset.from_list([PUBLISHED])
    datasets.DatasetDict({"train": rows}).save_to_disk(str(tmp_path / "disk"))
    with pytest.raises(InputError, match="several splits"):
        read_questions(tmp_path / "disk")
    folder = split_file(tmp_path / "disk", "train")
    assert split_file(folder, "train") == folder
    assert read_questions(folder).samples[0].ground_truth == "C"


def test_a_question_typed_in_bytes_that_are_no_text_is_refused():
    with pytest.raises(ItemError, match="UTF-8"):
        sample_from_question("What \udcff?", ("a.png",))


def test_two_options_with_one_letter_are_refused(tmp_path):
    item = {"image": "a.png", "question": "Which?", "options": {"A": "x", "a": "y", "B": "z"}}
    (tmp_path / "q.json").write_text(json.dumps([item]))
    questions = read_questions(tmp_path / "q.json")
    assert questions.failures[0].code == "bad_options"


def test_a_faulty_item_is_named_by_its_line_where_there_are_lines(read):
    assert "q.json, item 2: " in read([GUIDE, {}]).failures[1].message
    lines = json.dumps(GUIDE) + "\n\n" + json.dumps({"image": "a.png"})
    assert "q.jsonl, line 3: " in read(lines, "q.jsonl").failures[1].message
    cells = 'image,question\na.png,"two\nlines"\na.png,\n'
    assert "q.csv, line 4: " in read(cells, "q.csv").failures[1].message


def test_columns_are_renamed(read):
    cells = "file,text,answer,question\na.png,Is it?,Yes,old\n"
    columns = {"image": "file", "question": "text", "ground_truth": "answer"}
    (sample,) = read(cells, "q.csv", columns=columns).samples
    assert (sample.images, sample.question, sample.ground_truth) == (("a.png",), "Is it?", "Yes")
    with pytest.raises(InputError, match="no column is called 'picture'"):
        read(cells, "q.csv", columns={"image": "picture"})
    with pytest.raises(InputError, match="no item has the key 'picture'; the first has: image"):
        read([GUIDE, {}], columns={"image": "picture"})
    (sample,) = read(
        [{"file": "a.png", "q": "Is it?"}], columns={"image": "file", "question": "q"}
    ).samples
    assert sample.question == "Is it?"


def test_a_cell_guarded_against_spreadsheets_is_read_as_it_was(read):
    cells = "image,question\na.png,'=1+1?\nb.png,''-5?\nc.png,'plain'\n"
    questions = [sample.question for sample in read(cells, "q.csv").samples]
    assert questions == ["=1+1?", "'-5?", "'plain'"]
