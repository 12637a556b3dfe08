"""`medr1 data split`: the parts are the whole, with the items and the layout of the file."""

import csv
import json
import re
import shlex
from pathlib import Path

import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from in_process import medr1

from medr1.data.file_parts import part_names
from medr1.data.readers import read_questions, split_file
from medr1.evaluate.reading.results import read_results

ROOT = Path(__file__).resolve().parents[2]
TEST = ROOT / "data" / "tiny_vqa_ds" / "test.json"
PAGE = (ROOT / "medr1" / "evaluate" / "comparing" / "README.md").read_text(encoding="utf-8")


def answered(n=60):
    """Questions of the embedded data with an answer that is right for some."""
    items = json.loads(TEST.read_text())[:n]
    return [{**item, "model_output": "<answer> A </answer>"} for item in items]


def own_results(path, n=60, model="M"):
    """A results.json of medr1, as `medr1 infer` lays it out."""
    entries = [
        {
            "id": f"q{i}",
            "images": [f"{i // 2}.png"],
            "question": "Which?",
            "options": {"A": "x", "B": "y"},
            "ground_truth": "A",
            "answer_type": "multiple_choice",
            "modality": ("CT", "MR (Mag-netic Resonance Imaging)", "X-Ray")[i % 3],
            "metadata": {
                "age": str(20 + i),
                "PatientID": f"P{i % 4}",
                "site": "é" if i % 2 else None,
            },
            "model_output": "<answer> A </answer>" if i % 5 else "B",
        }
        for i in range(n)
    ]
    head = json.dumps({"schema": "medr1.results/1", "meta": {"model": model, "n": n}}, indent=2)
    lines = ",".join(f"\n    {json.dumps(entry, ensure_ascii=False)}" for entry in entries)
    path.write_text(head.removesuffix("\n}") + f',\n  "results": [{lines}\n  ]\n}}\n')
    return path


def split(*args, folder, code=0):
    done = medr1("data", "split", *args, cwd=folder)
    assert done.returncode == code, done.stderr
    return done


def test_the_parts_of_medr1s_results_are_the_lines_of_the_file(tmp_path):
    lines = own_results(tmp_path / "r.json").read_text().splitlines()
    done = split("r.json", "--by", "modality", "--output-dir", "out", folder=tmp_path)
    names = ["CT.json", "MR-Mag-netic-Resonance-Imaging.json", "X-Ray.json"]
    assert done.stdout.split() == [str(Path("out") / name) for name in names]
    assert "60 items in 3 files by modality" in done.stderr
    parts = [(tmp_path / "out" / name).read_text().splitlines() for name in names]
    assert all(part[:7] == lines[:7] and part[-2:] == lines[-2:] for part in parts)
    entries = sorted(line.rstrip(",") for part in parts for line in part[7:-2])
    assert entries == sorted(line.rstrip(",") for line in lines[7:-2]) and len(entries) == 60


@pytest.mark.parametrize("by", ["modality", "age", "PatientID", "site", "answer_type"])
def test_a_part_has_the_numbers_of_its_group(by, tmp_path):
    own_results(tmp_path / "r.json")
    listed = split("r.json", "--by", by, "--output-dir", "out", "--json", folder=tmp_path)
    whole = medr1("eval", "r.json", "--group-by", by, "--json", cwd=tmp_path)
    groups = json.loads(whole.stdout)["groups"][by]
    files = {file["value"]: file for file in json.loads(listed.stdout)["files"]}
    assert {value for value in files if value is not None} == set(groups)
    for value, group in groups.items():
        part = json.loads(medr1("eval", files[value]["path"], "--json", cwd=tmp_path).stdout)
        assert part["n"] == files[value]["items"] == group["n"]
        assert part["metrics"]["accuracy"]["value"] == group["metrics"]["accuracy"]["value"]
    assert not any("P3" in file["path"] for file in files.values())


def csv_of(items, separator=","):
    names = ["id", "image", "problem", "solution", "modality", "model_output"]

    def cell(value):
        return '"' + str(value).replace('"', '""') + '"'

    rows = [names, *([item[name] for name in names] for item in items)]
    return "\r\n".join(separator.join(map(cell, row)) for row in rows)


def nested(items):
    return {item["id"]: {k: v for k, v in item.items() if k != "id"} for item in items}


def by_column(items):
    keys = ["id", "image", "problem", "solution", "modality", "model_output"]
    return {key: {str(i): item[key] for i, item in enumerate(items)} for key in keys}


LAYOUTS = {
    "list.json": lambda items: json.dumps(items),
    "indented.json": lambda items: json.dumps(items, indent=3),
    "original.json": lambda items: json.dumps({"accuracy": 50.0, "results": items, "end": [1]}),
    "logs.json": lambda items: json.dumps({"args": {}, "logs": items}),
    "ids.json": lambda items: json.dumps(nested(items)),
    "columns.json": lambda items: json.dumps(by_column(items)),
    "lines.jsonl": lambda items: "\n\n".join(map(json.dumps, items)),
    "lines.json": lambda items: "\n".join(map(json.dumps, items)),
    "table.csv": csv_of,
    "excel.csv": lambda items: "\ufeffsep=;\r\n" + csv_of(items, ";"),
    "table.tsv": lambda items: csv_of(items, "\t"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_kept(name, tmp_path):
    items = answered(24)
    items[3]["problem"] += '\nA "second" line, with é'
    (tmp_path / name).write_text(LAYOUTS[name](items), encoding="utf-8", newline="")
    split(name, "--by", "modality", "--output-dir", "out", folder=tmp_path)
    whole = read_results(tmp_path / name).predictions
    files = sorted((tmp_path / "out").iterdir())
    assert {file.suffix for file in files} == {Path(name).suffix} and len(files) > 3
    parts = [prediction for file in files for prediction in read_results(file).predictions]
    by_id = {prediction.sample.id: prediction for prediction in whole}
    assert len(parts) == len(whole) == 24
    if name != "columns.json":  # its rows have no ids of their own beside the column
        assert {prediction.sample.id: prediction for prediction in parts} == by_id
    assert all(len({p.sample.modality for p in read_results(f).predictions}) == 1 for f in files)
    if name == "original.json":
        part = json.loads(files[0].read_text())
        assert part["end"] == [1] and "accuracy" not in part


def test_rows_and_lines_have_the_same_bytes(tmp_path):
    for name in ("table.csv", "excel.csv", "lines.jsonl"):
        content = LAYOUTS[name](answered(12)) + "\r\n" * name.endswith("csv")
        (tmp_path / name).write_text(content, encoding="utf-8", newline="")
        split(name, "--by", "modality", "--output-dir", f"of-{name}", folder=tmp_path)
        whole = [line for line in (tmp_path / name).read_bytes().splitlines() if line]
        header = {"table.csv": 1, "excel.csv": 2, "lines.jsonl": 0}[name]
        parts = [file.read_bytes().splitlines() for file in (tmp_path / f"of-{name}").iterdir()]
        assert all(part[:header] == whole[:header] for part in parts)
        assert sorted(line for part in parts for line in part[header:]) == sorted(whole[header:])


def test_a_sheet_becomes_csv_and_parquet_keeps_its_types(tmp_path):
    import openpyxl

    items, book = answered(12), openpyxl.Workbook()
    rows = list(csv.reader(csv_of(items).splitlines()))
    for row in rows:
        book.active.append(row)
    book.save(tmp_path / "table.xlsx")
    split("table.xlsx", "--by", "modality", "--output-dir", "sheet", folder=tmp_path)
    files = list((tmp_path / "sheet").iterdir())
    assert {file.suffix for file in files} == {".csv"}
    assert sum(len(read_results(file).predictions) for file in files) == 12
    columns = {name: [row[i] for row in rows[1:]] for i, name in enumerate(rows[0])}
    table = pyarrow.table({**columns, "bytes": [b"x"] * 12, "number": list(range(12))})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    split("t.parquet", "--by", "modality", "--output-dir", "parquet", folder=tmp_path)
    parts = [pyarrow.parquet.read_table(file) for file in (tmp_path / "parquet").iterdir()]
    assert {part.schema for part in parts} == {table.schema}
    assert sorted(n for part in parts for n in part["number"].to_pylist()) == list(range(12))


def test_questions_keep_their_split_in_the_name(tmp_path):
    for name in ("train", "test"):
        items = [{k: v for k, v in item.items() if k != "model_output"} for item in answered(30)]
        (tmp_path / f"{name}.json").write_text(json.dumps({"questions": items, "about": name}))
    done = split(
        "train.json", "test.json", "--by", "modality", "--output-dir", "d", folder=tmp_path
    )
    assert "image paths are relative to .: use it as --image-root" in done.stderr
    assert "medr1 matrix" not in done.stdout
    for name in ("train", "test"):
        file = split_file(tmp_path / "d" / f"CT_{name}.json", name)
        assert json.loads(file.read_text())["about"] == name
        assert {sample.modality for sample in read_questions(file).samples} == {"CT"}


def test_items_without_the_key_are_in_none(tmp_path):
    items = answered(12)
    for item in items[:5]:
        del item["modality"]
    items[7]["modality"] = "None"
    (tmp_path / "r.json").write_text(json.dumps(items))
    done = split("r.json", "--by", "modality", "--output-dir", "out", folder=tmp_path)
    assert "5 of 12 items have no modality: they are in the files named none." in done.stderr
    assert len(json.loads((tmp_path / "out" / "none.json").read_text())) == 5
    assert len(json.loads((tmp_path / "out" / "None-2.json").read_text())) == 1


def test_the_key_can_come_from_the_questions(tmp_path):
    items = answered(12)
    (tmp_path / "q.json").write_text(json.dumps(items))
    bare = [{"id": item["id"], "model_output": "A"} for item in items]
    (tmp_path / "r.json").write_text(json.dumps(bare))
    split("r.json", "--by", "modality", "--data", "q.json", "--output-dir", "o", folder=tmp_path)
    done = medr1("eval", "o/CT.json", "--data", "q.json", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["n"] == sum(item["modality"] == "CT" for item in items)
    (tmp_path / "r.json").write_text(json.dumps([{"model_output": "A"} for _ in items]))
    arguments = ("r.json", "--by", "modality", "--data", "q.json", "--output-dir", "p")
    refused = split(*arguments, folder=tmp_path, code=2)
    assert "Add the ids of the data" in refused.stderr and not (tmp_path / "p").exists()


def test_what_is_refused(tmp_path):
    own_results(tmp_path / "r.json")
    wrong = split("r.json", "--by", "modalty", "--output-dir", "out", folder=tmp_path, code=2)
    assert "There are: PatientID, age, answer_type, modality, option_count, site." in wrong.stderr
    assert "Did you mean modality?" in wrong.stderr and not (tmp_path / "out").exists()
    arguments = ("r.json", "--by", "modality", "--output-dir", "out")
    split(*arguments, folder=tmp_path)
    assert "--overwrite" in split(*arguments, folder=tmp_path, code=2).stderr
    split(*arguments, "--overwrite", folder=tmp_path)
    assert (tmp_path / "out.bak" / "CT.json").is_file()
    (tmp_path / "bad.json").write_text('[{"a": 1}]')
    neither = split("bad.json", "--by", "a", "--output-dir", "x", folder=tmp_path, code=2)
    assert "has no prediction" in neither.stderr
    for name in ("gone.json", "gone.csv", "."):
        refused = split(name, "--by", "a", "--output-dir", "x", folder=tmp_path, code=2)
        assert len(refused.stderr.splitlines()) <= 3 and not (tmp_path / "x").exists()


def test_several_models_become_a_matrix_as_the_page_has_it(tmp_path):
    for name, model in (("base", "m"), ("ct", "c"), ("mri", "r")):
        own_results(tmp_path / f"{name}.json", model=model)
    (block,) = re.findall(r"^```\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    first, second = (shlex.split(line)[1:] for line in block.splitlines())
    done = medr1(*first, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == block.splitlines()[1]
    assert (tmp_path / "parts" / "mri" / "X-Ray.json").is_file()
    matrix = json.loads(medr1(*second, "--json", cwd=tmp_path).stdout)
    assert {train: set(row) for train, row in matrix["cells"].items()} == {
        "CT": {"CT", "X-Ray", "MRI"},
        "MRI": {"CT", "X-Ray", "MRI"},
    }
    assert matrix["averages"]["in_domain"]["accuracy"] is not None
    mixed = medr1("matrix", "base.json", "ct.json", cwd=tmp_path)
    assert "`medr1 data split base.json ct.json --by modality" in mixed.stderr


def test_files_of_the_same_name_are_told_apart_by_their_folders(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        own_results(tmp_path / name / "results.json")
    files = ("a/results.json", "b/results.json")
    split(*files, "--by", "modality", "--output-dir", "out", folder=tmp_path)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a", "b"}


@given(st.lists(st.one_of(st.none(), st.text(max_size=90)), max_size=8))
def test_names_are_safe_and_different(values):
    names = part_names(values)
    assert set(names) == set(values)
    assert len({name.casefold() for name in names.values()}) == len(names)
    for name in names.values():
        assert re.fullmatch(r"[\w+-]([\w.+-]*[\w+-])?", name) and len(name) < 90


@given(
    st.lists(
        st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=5), max_size=3),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([None, 0, 2]),
    st.randoms(use_true_random=False),
)
def test_the_parts_items_are_the_whole(tmp_path_factory, items, indent, random):
    from medr1.data.file_parts import write_parts

    folder = tmp_path_factory.mktemp("parts")
    (folder / "r.json").write_text(json.dumps({"m": "]", "results": items, "n": {}}, indent=indent))
    parts = [folder / f"{random.randrange(3)}.json" for _ in items]
    write_parts(folder / "r.json", parts, list_keys=("results",))
    for part in set(parts):
        document = json.loads(part.read_text())
        chosen = [item for item, name in zip(items, parts, strict=True) if name == part]
        assert document == {"m": "]", "results": chosen, "n": {}}
