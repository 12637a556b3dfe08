"""`medr1 compare` from the outside: files in, a table or one document out."""

import json

import msgspec
import pytest
from click.testing import CliRunner

from medr1.cli import cli
from medr1.documents.comparison import ComparedItem, Comparison


def entry(name, right, image=None):
    return {
        "id": name,
        "images": [image or f"{name}.png"],
        "question": "Is it CT?",
        "options": {},
        "ground_truth": "yes",
        "answer_type": "yes_no",
        "modality": "CT",
        "model_output": "yes" if right else "no",
    }


def write(path, rights, **meta):
    results = [entry(f"q{i}", right) for i, right in enumerate(rights)]
    path.write_text(json.dumps({"schema": "medr1.results/1", "meta": meta, "results": results}))
    return str(path)


def medr1(*args, code=0):
    result = CliRunner().invoke(cli, ["compare", *map(str, args)])
    assert result.exit_code == code, result.output
    return result


def compared(*args):
    """The document that --json prints."""
    return msgspec.json.decode(medr1(*args, "--json").stdout, type=Comparison)


@pytest.fixture
def files(tmp_path):
    return [
        write(tmp_path / f"{name}.json", [i % 7 > lost for i in range(70)])
        for name, lost in (("base", 3), ("one", 1), ("two", 2))
    ]


def test_a_table_a_document_and_files(files, tmp_path):
    table = medr1(*files).stdout
    assert "one - base" in table and "two - base" in table
    out = tmp_path / "out"
    document = compared(*files, "--output-dir", out)
    assert document.schema == "medr1.comparison/2" and document.n == 70
    assert document == msgspec.json.decode((out / "comparison.json").read_bytes(), type=Comparison)
    assert document.comparisons[0].difference.value == pytest.approx(2 / 7)
    items = msgspec.json.Decoder(ComparedItem).decode_lines((out / "items.jsonl").read_bytes())
    assert len(items) == 70 and items[2].outcome == {"one": "won", "two": "both wrong"}
    assert (out / "won_lost.csv").read_text().count(",won,") == 30
    assert "one, two compared with base" in (out / "compare.html").read_text()
    assert (out / "comparison.csv").read_text().startswith("run,base,scope,group,n,value")
    assert "is not empty" in medr1(*files, "--output-dir", out, code=2).stderr


def test_seeds_by_name_and_by_metadata(tmp_path):
    base = write(tmp_path / "base.json", [i % 2 for i in range(40)], model="m", seed=0, prompt="a")
    seeds = [
        write(tmp_path / f"s{k}.json", [i % (3 + k) for i in range(40)], model="m", seed=k)
        for k in range(3)
    ]
    joined = compared(base, *seeds)
    assert [run.name for run in joined.runs] == ["base", "s0"]
    assert joined.runs[1].files == seeds
    assert "is another seed of s0" in joined.warnings[0]
    named = compared(f"b={base}", f"t={','.join(seeds)}")
    assert named.runs[1].name == "t" and not named.warnings
    assert named.comparisons[0].difference.value == joined.comparisons[0].difference.value
    apart = compared(*(f"{k}={name}" for k, name in enumerate(seeds)))
    assert [run.seeds for run in apart.runs] == [None] * 3
    assert "they are one run" in medr1(*seeds, code=2).stderr


def test_names(files, tmp_path):
    (tmp_path / "x").mkdir()
    other = write(tmp_path / "x" / "base.json", [1] * 70)
    odd = write(tmp_path / "a=b,c.json", [1] * 70)
    document = compared(files[0], other, odd)
    assert [run.name for run in document.runs] == [files[0], other, "a=b,c"]
    assert "two runs are called 'a'" in medr1(f"a={files[0]}", f"a={other}", code=2).stderr
    assert "a file is given twice" in medr1(f"a={files[0]},{files[0]}", files[1], code=2).stderr
    assert "at least two runs" in medr1(files[0], code=2).stderr


def without_ids(path, folder, rights, **renamed):
    """A CSV file without ids whose images lie in `folder`; `renamed`: key=column."""
    rows = [
        {"image": f"{folder}/{i}.png", "question": "Is it CT?", "ground_truth": "yes",
         "reply": "yes" if right else "no"}
        for i, right in enumerate(rights)
    ]  # fmt: skip
    names = [renamed.get(key, key) for key in rows[0]]
    lines = [",".join(names), *(",".join(row.values()) for row in reversed(rows))]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_images_in_other_folders_and_columns_by_name(tmp_path):
    one = without_ids(tmp_path / "one.csv", "/a", [i % 7 > 3 for i in range(70)], reply="wording")
    own = tmp_path / "own.json"
    rows = [{**entry(f"{i}", i % 7 > 1, image=f"data/{i}.png"), "wording": None} for i in range(70)]
    rows = [{**row, "wording": row["model_output"]} for row in rows]
    own.write_text(json.dumps([{k: v for k, v in row.items() if k != "id"} for row in rows]))
    assert "with --map prediction=" in medr1(one, own, code=2).stderr
    document = compared(one, own, "--map", "prediction=wording")
    assert document.paired_by == "question and image name" and document.n == 70
    found = document.comparisons[0]
    assert (found.won, found.lost, found.both_right) == (20, 0, 30)
    table = medr1(one, own, "--map", "prediction=wording").stdout
    assert "! the files do not have the same ids" in table
    assert "--map prediction: expected" in medr1(one, own, "--map", "prediction", code=2).stderr
    twice = tmp_path / "twice.csv"
    twice.write_text((tmp_path / "one.csv").read_text() + "/a/0.png,Is it CT?,yes,no\n")
    said = medr1(twice, own, "--map", "prediction=wording", code=2).stderr
    assert "items 70 and 71, 'Is it CT?' about /a/0.png, have the same question" in said


def test_the_questions_bring_what_results_lack(tmp_path):
    rights = [i % 3 > 0 for i in range(30)]
    questions = [{**entry(f"q{i}", True), "age": i % 2} for i in range(30)]
    data = tmp_path / "test.json"
    data.write_text(json.dumps([{k: v for k, v in q.items() if k != "model_output"}
                                for q in questions]))  # fmt: skip
    short = tmp_path / "short.jsonl"
    short.write_text("".join(json.dumps({"id": f"q{i}", "output": "yes" if right else "no"}) + "\n"
                             for i, right in enumerate(rights)))  # fmt: skip
    long = without_ids(tmp_path / "long.csv", "/b/q", [True] * 30, reply="output")
    text = (tmp_path / "long.csv").read_text().replace("/b/q/", "/b/q")
    (tmp_path / "long.csv").write_text(text.replace("Is it CT?,yes,", "Is it CT?,,"))
    assert "has no ground truth" in medr1(long, short, code=2).stderr
    document = compared(short, long, "--data", tmp_path, "--group-by", "age")
    assert document.paired_by == "id" and document.n == 30
    assert document.comparisons[0].won == 10
    assert list(document.comparisons[0].groups["age"]) == ["0", "1"]


def test_items_in_one_file_only(files, tmp_path):
    short = write(tmp_path / "short.json", [1] * 60)
    assert "10 items are not in both" in medr1(files[0], short, code=2).stderr
    table = medr1(files[0], short, "--common-only").stdout
    assert "60 items" in table and "! 10 items are in some files only, and left out" in table
