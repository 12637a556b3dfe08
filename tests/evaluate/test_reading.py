"""Tables, sample logs, --map, a data set beside the results, and files too large for a list."""

import json
import pickle
import subprocess
import sys

import pytest

from medr1.data.readers import read_questions
from medr1.errors import InputError
from medr1.evaluate.reading.results import UniqueIds, open_results, read_results, result_files

QUESTION = "Which modality?"
OPTIONS = {"A": "CT", "B": "MRI", "C": "X-ray", "D": "Ultrasound"}
ROW = {
    "id": "q1",
    "image": "a.png",
    "question": QUESTION,
    "options": OPTIONS,
    "ground_truth": "B",
    "modality": "MR",
    "model_output": "<answer>B</answer>",
}


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def jsonl(path, *rows):
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def only(path, **kwargs):
    (found,) = read_results(path, **kwargs).predictions
    return found


def without(row, *keys, **more):
    return {key: value for key, value in row.items() if key not in keys} | more


def fails(said, path, **kwargs):
    with pytest.raises(InputError, match=said) as error:
        read_results(path, **kwargs)
    assert path.name in str(error.value)
    return str(error.value)


EXPECTED = (QUESTION, OPTIONS, "B", ("a.png",), "MR", "<answer>B</answer>", "q1")


def facts(p):
    s = p.sample
    return s.question, s.options, s.ground_truth, s.images, s.modality, p.model_output, s.id


# --- tables -----------------------------------------------------------------------------------

TABLES = {
    "options in a cell": (
        "id,image,question,options,ground_truth,modality,model_output\r\n"
        'q1,a.png,Which modality?,"{""A"": ""CT"", ""B"": ""MRI"", ""C"": ""X-ray"", '
        '""D"": ""Ultrasound""}",B,MR,<answer>B</answer>\r\n'
    ),
    "option_A ..": (
        "id,image,question,option_A,option_B,option_C,option_D,ground_truth,modality,model_output\n"
        "q1,a.png,Which modality?,CT,MRI,X-ray,Ultrasound,MRI,MR,<answer>B</answer>\n"
    ),
    "A, B .. and another's name for the output": (
        "\ufeffid,image,question,A,B,C,D,ground_truth,modality,prediction\n\n"
        "q1,a.png,Which modality?,CT,MRI,X-ray,Ultrasound,B,MR,<answer>B</answer>\n\n"
    ),
    "inlined": (
        "id,image,question,ground_truth,modality,response\n"
        'q1,a.png,"Which modality? A)CT, B)MRI, C)X-ray, D)Ultrasound",B,MR,<answer>B</answer>'
    ),
}


@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES.keys())
def test_tables_of_text(tmp_path, text):
    assert facts(only(write(tmp_path / "r.csv", text))) == EXPECTED


def test_tsv_and_line_breaks_within_cells(tmp_path):
    header = "question\tground_truth\tmodel_output\tage\n"
    text = header + 'Is it?\tYes\t"<think>a\nb</think>\nYes"\t41\nIs it?\tNo\tNo\tnan\n'
    first, second = read_results(write(tmp_path / "r.tsv", text)).predictions
    assert first.model_output == "<think>a\nb</think>\nYes"
    assert (first.sample.metadata, second.sample.metadata) == ({"age": "41"}, {})
    assert second.sample.id == first.sample.id + "-2"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("question,model_output,ground_truth\n", "holds no results"),
        ("question,question\na,b\n", "'question' occurs twice"),
        ("prediction,output,ground_truth\na,b,c\n", "prediction=prediction"),
        ("question,ground_truth\na,b\n", "these are questions; run medr1 infer first"),
        ("question,output,ground_truth\na,b,c\nx,y\n", "line 3: 2 cells for 3 columns"),
        ("question,output,ground_truth\na,b,c,d\n", "line 2: 4 cells for 3"),
        ('question,output,ground_truth\na,b,c\nx,"y,z\n', "line 3.*unexpected end"),
        ("question,output,ground_truth\na,b,\n", "line 2: has no ground truth"),
        ("question,output,ground_truth,options\na,b,c,{]\n", "line 2, 'options'.*not valid JSON"),
        (
            "question,output,ground_truth,A,B\na,b,C,x,y\n",
            "line 2: 'ground_truth'.*not one of the opt",
        ),
        (b"question,output,ground_truth\na,\xff,c\n", "not UTF-8"),
    ],
)
def test_malformed_tables(tmp_path, text, said):
    fails(said, write(tmp_path / "r.csv", text))


def parquet(path, rows):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def test_parquet(tmp_path):
    other = without(ROW, id="q2", options={"A": "Yes", "B": "No"}, modality=None, age=float("nan"))
    first, second = read_results(parquet(tmp_path / "r.parquet", [ROW, other])).predictions
    assert facts(first) == EXPECTED
    assert second.sample.options == {"A": "Yes", "B": "No"}
    assert (second.sample.modality, second.sample.metadata) == (None, {})
    pictures = without(ROW, image={"bytes": b"png", "path": "a.png"})
    assert only(parquet(tmp_path / "p.parquet", [pictures])).sample.images == ()


def test_malformed_parquet(tmp_path):
    import pyarrow
    import pyarrow.parquet

    fails("cannot be read as Parquet", write(tmp_path / "r.parquet", "PAR1 no"))
    path = parquet(tmp_path / "n.parquet", [ROW, without(ROW, ground_truth=None)])
    fails("row 2: has no ground truth", path)
    fails("'model_output' is a number", parquet(path, [without(ROW, model_output=3)]))
    twice = pyarrow.table([["a"], ["b"]], names=["question", "question"])
    pyarrow.parquet.write_table(twice, path)
    fails("'question' occurs twice", path)
    whole = parquet(path, [ROW] * 50).read_bytes()
    fails("cannot be read as Parquet", write(path, whole[: len(whole) // 2]))


# --- --map ------------------------------------------------------------------------------------

THEIRS = {"uid": "q1", "img": "a.png", "q": QUESTION, "choices": OPTIONS, "label": "B"}
THEIRS |= {"kind": "MR", "said": "<answer>B</answer>", "output": "not this", "solution": "A"}
MAP = {"id": "uid", "image": "img", "question": "q", "options": "choices"}
MAP |= {"ground_truth": "label", "modality": "kind", "prediction": "said"}


def test_their_names(tmp_path):
    cells = THEIRS | {"choices": json.dumps(OPTIONS)}
    table = (
        ",".join(cells)
        + "\n"
        + ",".join(f'"{v}"' for v in cells.values()).replace(
            f'"{cells["choices"]}"', '"' + cells["choices"].replace('"', '""') + '"'
        )
    )
    for path in (
        jsonl(tmp_path / "r.jsonl", THEIRS),
        write(tmp_path / "r.json", json.dumps([THEIRS])),
        write(tmp_path / "r.csv", table),
        parquet(tmp_path / "r.parquet", [THEIRS]),
    ):
        found = only(path, columns=MAP)
        assert facts(found) == EXPECTED, path
        assert found.sample.metadata == {}


def test_wrong_maps(tmp_path):
    path = jsonl(tmp_path / "r.jsonl", ROW, without(ROW, "modality"))
    with pytest.raises(InputError, match=r"'predicton'.*Did you mean prediction"):
        read_results(path, columns={"predicton": "x"})
    with pytest.raises(InputError, match="'image' as id and as image"):
        read_results(path, columns={"id": "image", "image": "image"})
    fails("line 1: has no 'said', which --map names as the prediction; there are: id, image",
          path, columns={"prediction": "said"})  # fmt: skip
    fails("line 2: has no 'modality'", path, columns={"modality": "modality"})
    table = write(tmp_path / "r.csv", "question,output\na,b\n")
    fails("has no 'x', .*there are: question, output", table, columns={"ground_truth": "x"})


def test_two_outputs_ask_for_a_choice(tmp_path):
    path = jsonl(tmp_path / "r.jsonl", ROW | {"response": "B"})
    fails("line 1: 'model_output' and 'response'.*--map prediction=", path)
    assert only(path, columns={"prediction": "response"}).model_output == "B"
    same = ROW | {"response": ROW["model_output"]}
    assert facts(only(jsonl(path, same))) == EXPECTED


# --- lmms-eval --------------------------------------------------------------------------------

PROMPT = (
    "Which modality?\nA. CT\nB. MRI\nC. X-ray\nD. Ultrasound\n"
    "Answer with the option's letter from the given choices directly."
)


def sample_log(**changes):
    """A line as its EvaluationTracker.save_results_samples writes it."""
    return {
        "doc_id": 3,
        "target": "B",
        "filtered_resps": ["B"],
        "token_counts": [{"output_tokens": 2}],
        "doc_hash": "44136fa355b3678a",
        "exact_match": 1.0,
        "input": PROMPT,
    } | changes


@pytest.mark.parametrize(
    ("changes", "output", "extracted"),
    [
        ({}, "B", None),
        ({"filtered_resps": "B"}, "B", None),
        ({"resps": [["The answer is B."]]}, "The answer is B.", "B"),
        ({"resps": ["The answer is B."], "filtered_resps": "B"}, "The answer is B.", "B"),
    ],
)
def test_sample_logs_by_line(tmp_path, changes, output, extracted):
    path = jsonl(tmp_path / "20260806_102223_samples_pmc_vqa.jsonl", sample_log(**changes))
    found = only(path)
    assert (found.model_output, found.extracted_answer) == (output, extracted)
    sample = found.sample
    assert (sample.id, sample.question, sample.options) == ("3", QUESTION, OPTIONS)
    assert (sample.ground_truth, sample.dataset) == ("B", "pmc_vqa")
    assert sample.metadata == {"exact_match": 1.0}


def test_sample_logs_in_one_document(tmp_path):
    """As lmms-eval wrote them before 0.2.2: with the document, and lists of lists."""
    entry = sample_log(resps=[["Yes"]], filtered_resps=["Yes"], target="yes")
    entry = without(entry, "input", "token_counts", arguments=["Is it?\nAnswer.", "vqa_rad", 3])
    entry["doc"] = {"question": "Is it?", "answer": "yes", "image_organ": "HEAD"}
    document = {"args": {"model": "qwen"}, "model_configs": {"task": "vqa_rad"}, "logs": [entry]}
    results = read_results(write(tmp_path / "vqa_rad.json", json.dumps(document)))
    (found,) = results.predictions
    assert results.meta["args"] == {"model": "qwen"}
    assert (found.sample.question, found.sample.ground_truth) == ("Is it?", "yes")
    assert (found.sample.answer_type, found.sample.dataset) == ("yes_no", "vqa_rad")
    assert found.sample.metadata["image_organ"] == "HEAD"


def test_sample_logs_without_texts(tmp_path):
    scored = sample_log(filtered_resps=[["-1.5", "False"], ["-0.5", "True"]])
    fails("line 1: 'filtered_resps' is not a text", jsonl(tmp_path / "x_samples_y.jsonl", scored))
    summary = {"results": {"vqa_rad": {}}, "configs": {}, "n-samples": {}}
    path = write(tmp_path / "20260806_102223_results.json", json.dumps(summary))
    fails("--log_samples", path)


# --- OPEN and CLOSED ---------------------------------------------------------------------------

CLASSES = [
    *[("CLOSED", "Yes", "yes_no"), ("OPEN", "3", "count"), ("closed", "no", "yes_no")],
    *[("open", "No.", "yes_no"), ("Open", "left", "open"), ("CLOSED", "left", "open")],
]


def classed():
    """Answers as they are written down for VQA-RAD and SLAKE."""
    return [
        {"qid": str(i), "img_name": f"{i}.jpg", "question": f"Q{i}?", "answer": gold,
         "answer_type": kind, "output": f"It is {gold}."}
        for i, (kind, gold, _) in enumerate(CLASSES)
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_a_class_of_answers_is_no_answer_type(tmp_path, form):
    path = tmp_path / f"r.{form}"
    if form == "csv":
        rows = [list(classed()[0]), *(row.values() for row in classed())]
        write(path, "\n".join(map(",".join, rows)) + "\n")
    elif form == "jsonl":
        jsonl(path, *classed())
    else:
        write(path, json.dumps(classed()))
    columns = {"id": "qid", "image": "img_name", "ground_truth": "answer"}
    found = [p.sample for p in read_results(path, columns=columns).predictions]
    assert [sample.answer_type for sample in found] == [kind for _, _, kind in CLASSES]
    assert [s.metadata for s in found] == [{"answer_class": k.lower()} for k, _, _ in CLASSES]


def test_entries_with_our_keys_and_another_answer_type(tmp_path):
    """They are others'; "open" is ours, as medr1.results/1 has it."""
    row = {"id": "1", "images": ["a.png"], "question": "Is it?", "ground_truth": "Yes"}
    rows = [
        {**row, "id": kind, "answer_type": kind, "model_output": "yes"}
        for kind in ("CLOSED", "OPEN", "closed", "open", "yes_no")
    ]
    found = [p.sample for p in read_results(jsonl(tmp_path / "r.jsonl", *rows)).predictions]
    assert [s.answer_type for s in found] == ["yes_no", "yes_no", "yes_no", "open", "yes_no"]
    classes = [sample.metadata.get("answer_class") for sample in found]
    assert classes == ["closed", "open", "closed", None, None]


def test_a_class_in_the_data_beside(tmp_path):
    data = write(tmp_path / "vqa_rad.json", json.dumps([
        {"id": 1, "image": "a.jpg", "question": "Is it?", "answer": "Yes", "answer_type": "CLOSED"},
        {"id": 2, "image": "a.jpg", "question": "Where?", "answer": "left", "answer_type": "OPEN"},
    ]))  # fmt: skip
    questions = read_questions(data, columns={"ground_truth": "answer"})
    rows = [{"id": "1", "output": "Yes, it is."}, {"id": "2", "output": "left"}]
    found = read_results(jsonl(tmp_path / "r.jsonl", *rows), questions=questions).predictions
    kinds = [(p.sample.answer_type, p.sample.metadata["answer_class"]) for p in found]
    assert kinds == [("yes_no", "closed"), ("open", "open")]


# --- a data set beside ------------------------------------------------------------------------

DATA = [
    without(ROW, "model_output", age=41),
    {"id": "q2", "image": "x/b.png", "question": "Is it?", "ground_truth": "yes"},
]


@pytest.fixture
def questions(tmp_path):
    return read_questions(write(tmp_path / "test.json", json.dumps(DATA)))


@pytest.mark.parametrize(
    "row",
    [
        {"id": "q1"},
        {"image": "a.png", "question": QUESTION},
        {"image": "/somewhere/else/a.png", "question": QUESTION},
        {"question": QUESTION},
        {"id": "q1", "ground_truth": "MRI"},
        {"id": "other", "image": "a.png", "question": QUESTION},
    ],
)
def test_what_the_data_knows_is_filled_in(tmp_path, questions, row):
    path = jsonl(tmp_path / "r.jsonl", row | {"model_output": "<answer>B</answer>"})
    sample = only(path, questions=questions).sample
    assert (sample.question, sample.options, sample.ground_truth) == (QUESTION, OPTIONS, "B")
    assert (sample.modality, sample.metadata) == ("MR", {"age": 41})
    assert sample.id == row.get("id", "q1") and sample.answer_type == "multiple_choice"


@pytest.mark.parametrize(
    ("asked", "gold", "kind"),
    [
        ({"question": "Is it?"}, "Yes", "yes_no"),
        ({"question": "How many?"}, "3", "count"),
        ({"question": "Where?"}, "left", "open"),
        ({"question": QUESTION, "options": OPTIONS}, "MRI", "multiple_choice"),
        ({"question": "Is it?", "question_type": "yes_no"}, "normal", "yes_no"),
    ],
)
def test_data_without_ground_truth_leaves_the_answer_type_to_the_results(
    tmp_path, asked, gold, kind
):
    data = write(tmp_path / "test.json", json.dumps([{"id": "1", "image": "a.png", **asked}]))
    path = jsonl(tmp_path / "r.jsonl", {"id": "1", "ground_truth": gold, "output": gold})
    assert only(path, questions=read_questions(data)).sample.answer_type == kind


def test_options_in_another_order_keep_their_answer(tmp_path, questions):
    turned = {"A": "MRI", "B": "CT", "C": "X-ray", "D": "Ultrasound"}
    path = jsonl(tmp_path / "r.jsonl", {"id": "q1", "options": turned, "output": "A"})
    assert only(path, questions=questions).sample.ground_truth == "A"


def test_contradiction(tmp_path, questions):
    path = jsonl(tmp_path / "r.jsonl", {"id": "q1", "ground_truth": "C", "output": "C"})
    fails("line 1: item 'q1' has the ground truth 'C', and test.json has 'B'", path,
          questions=questions)  # fmt: skip
    path = jsonl(tmp_path / "r.jsonl", {"id": "q2", "ground_truth": "Yes", "output": "no"})
    assert only(path, questions=questions).sample.ground_truth == "yes"


def test_items_that_the_data_lacks(tmp_path, questions):
    rows = [{"id": name, "output": "B"} for name in ("q1", "q7", "q2", "q9")]
    path = jsonl(tmp_path / "r.jsonl", *rows)
    fails("line 2: 2 of 4 items .*the 2 questions of test.json.*id 'q7'", path,
          questions=questions)  # fmt: skip


def test_by_order_only_where_nothing_else_tells(tmp_path, questions):
    path = jsonl(tmp_path / "r.jsonl", {"output": "B"}, {"output": "yes"})
    found = read_results(path, questions=questions)
    assert [p.sample.id for p in found.predictions] == ["q1", "q2"]
    assert "by their order" in found.notes[0]
    path = jsonl(tmp_path / "r.jsonl", {"output": "B"}, {"output": "yes"}, {"output": "no"})
    fails("neither an id nor a question, and there are 3 of them for the 2", path,
          questions=questions)  # fmt: skip
    path = jsonl(tmp_path / "r.jsonl", {"output": "B"}, {"output": "yes", "image": "c.png"})
    fails("line 2: 1 of 2", path, questions=questions)


def test_chunks_and_their_data_go_to_another_process(tmp_path, questions):
    path = jsonl(tmp_path / "r.jsonl", {"id": "q1", "output": "B"})
    (chunk,) = open_results(path, questions=questions).chunks
    sent = pickle.dumps(chunk)
    code = "import pickle, sys; c = pickle.loads(sys.stdin.buffer.read()); "
    code += "print(c.predictions()[0].sample.ground_truth)"
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True)
    assert done.stdout.decode().strip() == "B", done.stderr


# --- bytes, ids, folders ----------------------------------------------------------------------

LINE = json.dumps(ROW).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (LINE + b"\n" + LINE[:-9], "line 2, column"),
        (LINE + b"\r\n\r\n" + b'{"a": NaN}\r\n', "line 3, column 7.*NaN"),
        (LINE + b'\n{"id": "x", "id": "y"}\n', "line 2, column 13.*'id' is twice"),
        (LINE + b'\n{"id": "\\ud800"}\n', "line 2, column 9.*surrogate"),
        (LINE + b"\n\xef\xbb\xbf" + LINE, "line 2, column 1.*BOM"),
        (LINE + b'\n{"a": "\xff"}\n', "line 2: not UTF-8.*byte 7 of the line"),
        (LINE + b"\n{]\n" + b'{"a": "\xff"}\n', "line 2, column 2"),
        (LINE + b' {"b": 2}\n', "line 1, column"),
        (b"\n \n", "is empty"),
        (b"", "is empty"),
    ],
)
def test_malformed_lines(tmp_path, content, said):
    fails(said, write(tmp_path / "r.jsonl", content))


def test_chunks_say_what_the_whole_file_says(tmp_path, monkeypatch):
    from medr1.evaluate.reading import formats

    good = b"\xef\xbb\xbf" + b"\r\n\n".join([LINE] * 40) + b"\n"
    path = write(tmp_path / "r.jsonl", good)
    expected = read_results(path).predictions
    bad = write(tmp_path / "bad.jsonl", good + LINE.replace(b'"q1"', b"[]", 1) + b"\n{\n")
    said = fails("line 80: ", bad)
    for size in (64, 300, 1000):
        monkeypatch.setattr(formats, "CHUNK_BYTES", size)
        chunks = list(open_results(path).chunks)
        assert len(chunks) > 5
        assert [p for chunk in chunks for p in chunk.predictions()] == expected
        assert fails("line 80: ", bad) == said


def test_unique_ids():
    name = "0123456789abcdef"
    unique = UniqueIds()
    assert [unique(n) for n in (name, "q1", name, "q1", name)] == [
        name, "q1", name + "-2", "q1", name + "-3"
    ]  # fmt: skip


def test_folders(tmp_path):
    with pytest.raises(InputError, match="holds no result files"):
        result_files([tmp_path])
    names = ["b.json", "a.jsonl", "c.parquet", "20260806_102223_samples_x.jsonl"]
    left_out = ["summary.json", "items.jsonl", "b.json.run.json", "b.json.journal.1.jsonl"]
    left_out += ["card.json", "reproduction.json"]
    left_out += ["x.txt", ".hidden.json", "20260806_102223_results.json", "confusion.csv"]
    left_out += ["robustness.json"]
    for name in [*names, *left_out]:
        write(tmp_path / name, "")
    (tmp_path / "folder.json").mkdir()
    found = result_files([tmp_path, tmp_path / "items.jsonl"])
    assert [path.name for path in found] == [*sorted(names), "items.jsonl"]


def test_a_large_file_takes_little_memory(tmp_path):
    """200,000 rows, in a process of its own: a list of them takes about 400 MB."""
    row = json.dumps(without(ROW, "id", age=41, model_output="<answer>B</answer>" + "x" * 300))
    n = 200_000
    with (tmp_path / "r.jsonl").open("w") as file:
        file.writelines(f'{row[:-1]}, "n": {i}}}\n' for i in range(n))
    code = """
import resource, sys
from medr1.evaluate.reading.results import UniqueIds, open_results
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
unit = 1 if sys.platform == "darwin" else 1024
before, unique, n = peak(), UniqueIds(), 0
for chunk in open_results(sys.argv[1]).chunks:
    n += sum(p.sample.ground_truth == "B" for p in unique.apply(chunk.predictions()))
print(n, (peak() - before) * unit / 2**20)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "r.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows, megabytes = done.stdout.split()
    assert int(rows) == n
    assert float(megabytes) < 80
