"""People's own files of results and questions, through the command line."""

import csv
import datetime
import io
import json
import pickle
import sys
from pathlib import Path

import openpyxl
import pandas
import pytest
from in_process import medr1

from medr1.data.columns import match_columns
from medr1.data.items import FIELD_KEYS
from medr1.data.readers import read_questions
from medr1.evaluate.reading.entries import FIELD_ALIASES
from medr1.evaluate.reading.results import open_results

HEADER = ["Image", "Question", "Ground truth", "Model answer"]
ROWS = [
    ["a.png", "Is there a fracture?", "Yes", "Yes"],
    ["b.png", 'Where; is it, "exactly"?\nOne place.', "left lung", "left"],
    ["c.png", "How many?", "3", "3"],
]
LINE = "Columns: Image -> image, Question -> question, Ground truth -> ground_truth, "
LINE += "Model answer -> prediction"
DATA = [
    {"id": f"q{number}", "image": row[0], "question": row[1], "ground_truth": row[2]}
    for number, row in enumerate(ROWS, start=1)
]


def table(separator=",", encoding="utf-8", line_end="\n", header=HEADER, rows=ROWS):
    """The bytes of a CSV file."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, lineterminator=line_end)
    writer.writerows([header, *rows] if header else rows)
    return text.getvalue().encode(encoding)


def sheet(path, *rows, title="Answers"):
    """Write an .xlsx file with one sheet."""
    book = openpyxl.Workbook()
    book.active.title = title
    for row in rows:
        book.active.append(row)
    book.save(path)
    return book


def evaluated(path, *options):
    """The accuracy, and what `medr1 eval` writes to stderr."""
    done = medr1("eval", path.name, "--json", "--metrics", "accuracy", *options, cwd=path.parent)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines(keepends=True)
    log = "".join(line for line in lines if not line.endswith("judged\n"))  # without the progress
    return json.loads(done.stdout)["metrics"]["accuracy"]["value"], log


def refused(path, *options, command=("eval",)):
    """The message of a command that refuses a file: one sentence or a few, with exit code 2."""
    done = medr1(*command, path.name, *options, cwd=path.parent)
    assert done.returncode == 2 and not done.stdout, done.stdout
    (message,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    return message


# --- formats ----------------------------------------------------------------------------------

TABLES = {
    "comma.csv": table(),
    "semicolon.csv": table(";"),
    "tab.csv": table("\t"),
    "tab.tsv": table("\t"),
    "comma.tsv": table(),
    "bar.csv": table("|"),
    "bom.csv": table(encoding="utf-8-sig"),
    "utf16.csv": table("\t", "utf-16"),
    "windows.csv": table(";", "utf-8-sig", "\r\n"),
    "mac.csv": table(line_end="\r"),
    "separator_line.csv": b"sep=;\r\n" + table(";", line_end="\r\n"),
    "blank_start.csv": b"\n\n" + table(),
    "case_and_spaces.csv": table(header=["IMAGE ", "question", "Ground Truth", "model-answer"]),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_read_at_once(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(TABLES[name])
    accuracy, log = evaluated(path)
    assert accuracy == pytest.approx(2 / 3)
    assert f"({name})\n" in log and log.count("Columns: ") == 1
    if name != "case_and_spaces.csv":
        assert f"{LINE} ({name})\n" == log
    questions = read_questions(path)
    assert [sample.question for sample in questions.samples] == [row[1] for row in ROWS]
    assert not questions.failures


LAYOUTS = ["split", "records", "index", "columns", "table"]


@pytest.mark.parametrize("name", [*(f"{o}.json" for o in LAYOUTS), "lines.json", "array.jsonl"])
def test_what_pandas_writes_is_read_at_once(tmp_path, name):
    path = tmp_path / name
    frame = pandas.DataFrame(ROWS, columns=HEADER)
    if path.stem in LAYOUTS:
        frame.to_json(path, orient=path.stem)
    else:
        frame.to_json(path, orient="records", lines=path.stem == "lines")
    assert evaluated(path) == (pytest.approx(2 / 3), f"{LINE} ({name})\n")
    samples = read_questions(path).samples
    assert [(s.images, s.question, s.ground_truth) for s in samples] == [
        ((row[0],), row[1], row[2]) for row in ROWS
    ]
    # the numbers of rows are no ids: two files may have them in different orders
    assert all(sample.id not in "012" for sample in samples)


def test_lists_of_values_are_refused(tmp_path):
    pandas.DataFrame(ROWS, columns=HEADER).to_json(tmp_path / "v.json", orient="values")
    for command in (("eval",), ("data", "audit")):
        message = refused(tmp_path / "v.json", command=command)
        assert 'df.to_json("v.json", orient="records")' in message


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["ids.json", "list.json", "lines.jsonl"])
def test_json_in_each_encoding(tmp_path, name, encoding):
    items = [{"question": row[1], "gt": row[2], "pred": row[3]} for row in ROWS]
    documents = {
        "ids.json": json.dumps({f"q{n}": item for n, item in enumerate(items)}, indent=1),
        "list.json": json.dumps(items),
        "lines.jsonl": "\r\n".join(map(json.dumps, items)),
    }
    (tmp_path / name).write_bytes(documents[name].encode(encoding))
    accuracy, log = evaluated(tmp_path / name)
    assert accuracy == pytest.approx(2 / 3)
    assert log == f"Columns: gt -> ground_truth, pred -> prediction ({name})\n"


@pytest.mark.parametrize("key", ["pred", "response", "reply", "answer"])
def test_usual_keys_of_json(tmp_path, key):
    path = tmp_path / "r.jsonl"
    items = [{"question": row[1], "label": row[2], key: row[3]} for row in ROWS]
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    assert evaluated(path)[0] == pytest.approx(2 / 3)


def test_numbers_of_a_data_frame_are_answers(tmp_path):
    path = tmp_path / "r.json"
    frame = pandas.DataFrame({"q": ["How many?", "And here?"], "y_true": [3, 4], "y_pred": [3, 5]})
    frame.to_json(path)
    assert evaluated(path)[0] == 0.5


def test_a_matched_chunk_goes_to_another_process(tmp_path):
    path = tmp_path / "r.csv"
    path.write_bytes(table())
    (chunk,) = pickle.loads(pickle.dumps(list(open_results(path).chunks)))
    assert [prediction.model_output for prediction in chunk.predictions()] == ["Yes", "left", "3"]


# --- spreadsheets -----------------------------------------------------------------------------


def test_a_sheet_is_read_as_it_is_shown(tmp_path):
    path = tmp_path / "r.xlsx"
    values = [3.0, 0.25, 1 / 3, True, datetime.datetime(2024, 5, 1), "007", 12, None]
    book = sheet(path, HEADER, *(["a.png", f"Q{n}?", v, v] for n, v in enumerate(values[:-1])))
    book.active["C3"].number_format = book.active["D3"].number_format = "0%"
    book.active["C4"].number_format = "0.00"
    book.active.append([])
    book.save(path)
    samples = read_questions(path).samples
    shown = ["3", "25%", "0.33", "TRUE", "2024-05-01", "007", "12"]
    assert [sample.ground_truth for sample in samples] == shown
    accuracy, log = evaluated(path)
    assert accuracy == pytest.approx(6 / 7) and log == f"{LINE} (r.xlsx)\n"


def test_several_sheets_need_a_name(tmp_path):
    path = tmp_path / "r.xlsx"
    book = sheet(path, HEADER, *ROWS)
    book.create_sheet("Empty")
    hidden = book.create_sheet("Hidden")
    hidden.append(["notes"])
    hidden.sheet_state = "hidden"
    book.save(path)
    assert evaluated(path)[0] == pytest.approx(2 / 3)
    book.create_sheet("Reader 2").append(["notes"])
    book.save(path)
    assert "r.xlsx#Answers, r.xlsx#Reader 2" in refused(path)
    named = tmp_path / "r.xlsx#Answers"
    assert evaluated(named)[0] == pytest.approx(2 / 3)
    assert len(read_questions(named).samples) == 3
    assert "no such sheet; there are: Answers, Empty, Hidden" in refused(tmp_path / "r.xlsx#Nope")


def test_spreadsheets_that_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "r.xlsx"
    sheet(path, HEADER, ["a.png", "Is it?", "Yes", '=IF(1,"Yes","No")'])
    assert "cell D2: a formula without a saved value" in refused(path)
    sheet(path)
    assert "r.xlsx is empty" in refused(path)
    path.write_bytes(b"\xd0\xcf\x11\xe0 of an old Excel, or with a password")
    assert "is not an .xlsx file" in refused(path)
    sheet(path, HEADER, *ROWS)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "is not an .xlsx file" in refused(path)
    path.write_bytes(content)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    assert "pip install -e '.[excel]'" in refused(path)


# --- which column is what ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("Question,Ground truth,Answer", "Ground truth -> ground_truth, Answer -> prediction"),
        ("Question,Answer,Prediction", "Answer -> ground_truth, Prediction -> prediction"),
        ("Frage,Lösung,Antwort", "Lösung -> ground_truth, Antwort -> prediction"),
        ("Question,Réponse correcte,Réponse", "Réponse correcte -> ground_truth, Réponse -> pred"),
        ("prompt,label,text", "label -> ground_truth, text -> prediction"),
        ("Question (English),groundTruth,LLM response", "LLM response -> prediction"),
    ],
)
def test_the_meaning_of_an_answer_depends_on_its_neighbour(tmp_path, header, line):
    path = tmp_path / "r.csv"
    path.write_bytes(table(header=header.split(","), rows=[row[1:] for row in ROWS]))
    accuracy, log = evaluated(path)
    assert accuracy == pytest.approx(2 / 3) and line in log


def test_exact_keys_decide_alone(tmp_path):
    """Files of medr1 and of known projects are read as before, whatever else they contain."""
    path = tmp_path / "r.jsonl"
    item = {"image": "a.png", "problem": "Is it?", "solution": "Yes", "response": "Yes"}
    path.write_text(json.dumps(item | {"Answer": "No", "Prediction": "No", "label": "No"}))
    assert evaluated(path) == (1.0, "")


OWN = ["Bild1", "Frage1", "GT1", "Out1"]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (
            OWN,
            "has no prediction and no ground truth and no question; there are: Bild1, Frage1, GT1, "
            "Out1. Name what it has, for example with --map prediction=Out1 --map "
            "ground_truth=COLUMN --map question=COLUMN; medr1 eval and compare also take --data "
            "QUESTIONS.",
        ),
        (["Image", "Question", "Ground truth", "x"], "run medr1 infer first"),
        (
            ["Image", "Question", "Ground truth", "Text of GPT"],
            "has no prediction; there are: Image, Question, Ground truth, Text of GPT. Name what "
            "it has, for example with --map prediction='Text of GPT'.",
        ),
        (
            ["Image", "Question", "Model answer", "Model output"],
            "'Model answer' and 'Model output' could each be the prediction. Say which it is, such "
            "as --map prediction='Model answer'.",
        ),
        (["Question", "Label", "Target", "Answer"], "could each be the ground_truth"),
        (["Image", "Question", "Answer", "x"], "has no prediction and no ground truth; there are"),
        (None, "no line with the names of its columns: its first line is already an item"),
    ],
)
@pytest.mark.parametrize("name", ["r.csv", "r.xlsx", "r.json"])
def test_what_is_not_clear_is_refused_at_once(tmp_path, name, header, said):
    path = tmp_path / name
    if name == "r.csv":
        path.write_bytes(table(header=header))
    elif name == "r.xlsx":
        sheet(path, *([header] if header else []), *ROWS)
    elif header:
        path.write_text(json.dumps([dict(zip(header, row, strict=True)) for row in ROWS]))
    else:
        pytest.skip("JSON has no header")
    assert said in refused(path)


def test_a_map_option_in_the_wrong_order_is_corrected(tmp_path):
    path = tmp_path / "r.csv"
    path.write_bytes(table(header=["Image", "Question", "Ground truth", "My model"]))
    done = medr1("eval", path, "--map", "My model=prediction")
    assert done.returncode == 2
    assert "the column comes last. Write --map prediction='My model'." in done.stderr


def test_a_similar_file_is_named_for_one_that_is_missing(tmp_path):
    (tmp_path / "results.xlsx").touch()
    done = medr1("eval", tmp_path / "result.xlsx")
    assert done.returncode == 2
    assert f"{tmp_path / 'result.xlsx'}. Did you mean results.xlsx?" in done.stderr
    assert "Check the path." in medr1("eval", tmp_path / "other.csv").stderr


def test_questions_are_no_results(tmp_path):
    path = tmp_path / "q.csv"
    path.write_bytes(table(header=HEADER[:3], rows=[row[:3] for row in ROWS]))
    command = "medr1 infer --model-path MODEL --batch-file q.csv --output-file results.json"
    assert refused(path).endswith(f"these are questions; run medr1 infer first: `{command}`.")


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b" \r\n\n", "\n".encode("utf-16")])
@pytest.mark.parametrize("name", ["r.json", "r.jsonl", "r.csv", "r.tsv", "r.xlsx", "r.parquet"])
def test_an_empty_file_is_empty(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    for command in (("eval",), ("data", "audit"), ("rewards",)):
        assert f"{name} is empty." in refused(tmp_path / name, command=command)


def test_an_encoding_that_is_not_known_is_refused(tmp_path):
    path = tmp_path / "r.csv"
    path.write_bytes(table(";", "cp1252", rows=[["a.png", "Wo?", "Lösung", "Lösung"]]))
    for command in (("eval",), ("data", "audit")):
        message = refused(path, command=command)
        assert "line 2: not UTF-8 text" in message and "CSV UTF-8" in message
    path.write_bytes(table(encoding="utf-16")[:-1])
    assert "not UTF-16 text" in refused(path)
    lines = tmp_path / "r.jsonl"
    lines.write_bytes('{"a": 1}\n'.encode("utf-16") + b"\x00\xd8" + "{}".encode("utf-16-le"))
    for command in (("eval",), ("data", "audit")):
        assert "not UTF-16 text" in refused(lines, command=command)


@pytest.mark.parametrize("is_held_out", [False, True])
def test_headers_that_people_use(is_held_out):
    """The table of usual names reads at least 90 % of each half as a person would."""
    file = Path(__file__).with_name("header-cases.jsonl")
    cases = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    right = [_is_read_right(case) for case in cases if case["held_out"] == is_held_out]
    assert len(right) > 40 and sum(right) / len(right) >= 0.9


def _is_read_right(case):
    names = [name.strip() for name in case["header"]]
    is_results = case["kind"] == "results"
    exact = FIELD_ALIASES if is_results else FIELD_KEYS
    required = ("prediction", "ground_truth", "question") if is_results else ("question",)
    match = match_columns(names, exact, {}, kind=case["kind"], required=required)
    fields = {name: name for name in names if name.startswith("option_")} | match.columns
    for field, keys in exact.items():
        present = [key for key in keys if key in names]
        fields |= {field: present[0]} if present else {}
    refused_fields = {*match.missing} | ({match.ambiguous[0]} if match.ambiguous else set())
    return fields == case["fields"] and refused_fields == {*case.get("refused", ())}


def test_scores_of_letters_are_no_options(tmp_path):
    path = tmp_path / "r.json"
    item = {"question": "Is it?", "gt": "Yes", "pred": "Yes", "A": 0.25, "B": 0.75}
    path.write_text(json.dumps([item]))
    assert evaluated(path) == (1.0, "Columns: gt -> ground_truth, pred -> prediction (r.json)\n")


def test_an_index_that_repeats_is_no_id_of_questions(tmp_path):
    path = tmp_path / "q.csv"
    path.write_text("index,image,question\n0,a.png,Is it?\n0,b.png,Where?\n")
    assert [sample.metadata["index"] for sample in read_questions(path).samples] == ["0", "0"]


# --- results without questions ----------------------------------------------------------------


def paired(tmp_path, ids, *, data=DATA, key="index"):
    (tmp_path / "data.json").write_text(json.dumps(data))
    path = tmp_path / "r.csv"
    rows = [[name, row[3]] for name, row in zip(ids, ROWS, strict=False)]
    path.write_bytes(table(header=[key, "Model answer"], rows=rows))
    return path


NO_IDS = [{key: value for key, value in item.items() if key != "id"} for item in DATA]


@pytest.mark.parametrize(
    ("ids", "data", "note"),
    [
        (["q1", "q2", "q3"], DATA, ""),
        (["0", "1", "2"], DATA, "the numbers of the questions of data.json, from 0."),
        (["1", "2", "3"], NO_IDS, "the numbers of the questions of data.json, from 1."),
        (["0", "1"], NO_IDS, "the numbers of the questions of data.json, from 0."),
    ],
)
def test_an_id_or_index_pairs_results_with_questions(tmp_path, ids, data, note):
    path = paired(tmp_path, ids, data=data)
    accuracy, log = evaluated(path, "--data", "data.json")
    assert accuracy == pytest.approx(2 / 3 if len(ids) == 3 else 1 / 2)
    assert "index -> id, Model answer -> prediction" in log and note in log


def test_numbers_out_of_order_pair_too(tmp_path):
    path = paired(tmp_path, ["2", "0", "1"], data=NO_IDS)
    accuracy, _ = evaluated(path, "--data", "data.json")
    assert accuracy == 0  # "Yes" answers "How many?"


@pytest.mark.parametrize("ids", [["1", "2"], ["0", "3"], ["1", "1", "3"], ["7", "8", "9"]])
def test_numbers_that_are_not_clear_are_refused(tmp_path, ids):
    path = paired(tmp_path, ids, data=NO_IDS)
    assert "not clearly the numbers of its 3 questions" in refused(path, "--data", "data.json")


@pytest.mark.parametrize("key", ["", "Unnamed: 0"])
def test_the_numbers_of_pandas_pair_in_order(tmp_path, key):
    path = paired(tmp_path, ["0", "1", "2"], data=NO_IDS, key=key)
    assert evaluated(path, "--data", "data.json")[0] == pytest.approx(2 / 3)


def test_ids_of_json_pair_with_questions(tmp_path):
    (tmp_path / "data.json").write_text(json.dumps(DATA))
    answers = {f"q{n}": {"gt": row[2], "pred": row[3]} for n, row in enumerate(ROWS, start=1)}
    path = tmp_path / "r.json"
    path.write_text(json.dumps(answers))
    assert "has no question" in refused(path) and "--data" in refused(path)
    assert evaluated(path, "--data", "data.json")[0] == pytest.approx(2 / 3)


# --- every command ----------------------------------------------------------------------------

MAP = [f"--map={field}={name}" for field, name in
       zip(("image", "question", "ground_truth", "prediction"), OWN, strict=True)]  # fmt: skip


@pytest.fixture
def own(tmp_path):
    """A folder with own.csv, whose names nobody can guess, and questions.csv."""
    (tmp_path / "own.csv").write_bytes(table(";", header=OWN))
    (tmp_path / "other.csv").write_bytes(table(header=OWN))
    questions = table("\t", header=HEADER[:3], rows=[row[:3] for row in ROWS])
    (tmp_path / "questions.csv").write_bytes(questions)
    return tmp_path


def test_map_on_each_command(own):
    commands = [
        ["eval", "own.csv", *MAP],
        ["compare", "own.csv", "other.csv", *MAP],
        ["data", "audit", "own.csv", *MAP[:3]],
        ["data", "convert", "own.csv", "named.json", *MAP[:3]],
        ["data", "filter", "questions.csv", "--results", "own.csv", "--output-file", "f.json",
         "--min-pass", "0", "--max-pass", "1", *MAP],
        ["rewards", "own.csv", "--map", "content=Out1", "--map", "solution=GT1"],
    ]  # fmt: skip
    for command in commands:
        done = medr1(*command, cwd=own)
        assert done.returncode == 0, (command, done.stderr)
    assert [sample.question for sample in read_questions(own / "f.json").samples] == [
        row[1] for row in (ROWS[0], ROWS[2], ROWS[1])
    ]
    done = medr1("rewards", "own.csv", "--map", "reply=Out1", cwd=own)
    assert done.returncode == 2 and "there is no field 'reply'" in done.stderr


def test_distill_reads_mapped_results(own):
    rows = [[*row[:3], f"<think>It is clear.</think><answer>{row[2]}</answer>"] for row in ROWS]
    (own / "own.csv").write_bytes(table(header=OWN, rows=rows))
    command = ["data", "distill", "questions.csv", "--results", "own.csv", "--output-file"]
    done = medr1(*command, "sft.json", *MAP, cwd=own)
    assert done.returncode == 0, done.stderr
    assert len(json.loads((own / "sft.json").read_text())) == 3


def test_matrix_reads_mapped_results(own):
    domains = [[*row, "CT"] for row in ROWS]
    for name in ("base", "ct"):
        (own / f"{name}_ct.csv").write_bytes(table(header=[*OWN, "Modality"], rows=domains))
    (own / "matrix.yaml").write_text("base: {CT: base_ct.csv}\ncells:\n  CT: {CT: ct_ct.csv}\n")
    done = medr1("matrix", "matrix.yaml", *MAP, cwd=own)
    assert done.returncode == 0, done.stderr


def test_rewards_read_usual_names(own):
    (own / "r.csv").write_bytes(table(";"))
    done = medr1("rewards", "r.csv", "--rewards", "accuracy", cwd=own)
    scores = [json.loads(line)["accuracy"] for line in done.stdout.splitlines()]
    assert scores == [1.0, 0.0, 1.0]
    assert "Ground truth -> solution, Model answer -> content" in done.stderr


def test_questions_with_own_names_get_the_command_that_renames_them(own):
    message = refused(own / "own.csv", command=("data", "audit"))
    assert (
        "`medr1 data convert own.csv own.renamed.json --map question=COLUMN --map image=COLUMN`"
        in message
    )


@pytest.mark.parametrize("name", ["q.csv", "q.tsv", "q.json", "lines.json", "q.jsonl", "q.xlsx"])
def test_an_audit_finds_the_lines_of_each_format(own, name):
    """Also where quotes contain line ends; the first two questions are equal."""
    questions = [row[:3] for row in (ROWS[1], ROWS[1], ROWS[2])]
    items = [dict(zip(HEADER, row, strict=False)) for row in questions]
    path = own / name
    if path.suffix == ".xlsx":
        sheet(path, HEADER[:3], *questions)
    elif path.suffix in (".csv", ".tsv"):
        path.write_bytes(table(";", "utf-16", header=HEADER[:3], rows=questions))
    elif name == "lines.json":
        path.write_text("".join(json.dumps(item) + "\n" for item in items))
    else:
        path.write_text(json.dumps(items, indent=1))
    done = medr1(
        "data", "audit", name, "--against", "questions.csv", "--output-dir", "out", cwd=own
    )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((own / "out" / "items.csv").open(encoding="utf-8")))
    lines = {row["item"]: row["line"] for row in rows if row["file"] == name}
    expected = {".csv": "4", ".tsv": "4", ".xlsx": "3"}.get(path.suffix, "7")
    assert lines["2"] == ("2" if name == "lines.json" else expected)
    assert (own / "out" / f"image_needed{path.suffix}").exists() == (path.suffix != ".xlsx")


def test_what_was_recognised_is_told_once(tmp_path):
    """The report and a protocol for the whole file read the file again."""
    table = tmp_path / "answers.csv"
    table.write_text("Frage;Ground truth;Model answer\nIs there a fracture?;yes;Yes.\n")
    done = medr1("eval", table, "--output-dir", tmp_path / "report", "--protocol", "authors")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Columns: ") == 1
