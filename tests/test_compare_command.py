"""`medr1 compare` from the outside: files in, a table or one document out."""

import json

import pytest
from click.testing import CliRunner

from medr1.cli import cli


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
    document = json.loads(medr1(*files, "--json", "--output-dir", out).stdout)
    assert document["schema"] == "medr1.comparison/1" and document["n"] == 70
    assert document == json.loads((out / "comparison.json").read_text())
    assert document["comparisons"][0]["value"] == pytest.approx(2 / 7)
    lines = (out / "items.jsonl").read_text().splitlines()
    assert len(lines) == 70 and json.loads(lines[2])["outcome"] == {
        "one": "won",
        "two": "both wrong",
    }
    assert (out / "won_lost.csv").read_text().count(",won,") == 30
    assert (out / "comparison.csv").read_text().startswith("run,base,scope,group,n,value")
    assert "is not empty" in medr1(*files, "--output-dir", out, code=2).stderr


def test_seeds_by_name_and_by_metadata(tmp_path):
    base = write(tmp_path / "base.json", [i % 2 for i in range(40)], model="m", seed=0, prompt="a")
    seeds = [
        write(tmp_path / f"s{k}.json", [i % (3 + k) for i in range(40)], model="m", seed=k)
        for k in range(3)
    ]
    joined = json.loads(medr1(base, *seeds, "--json").stdout)
    assert [run["name"] for run in joined["runs"]] == ["base", "s0"]
    assert joined["runs"][1]["files"] == seeds
    assert "is another seed of s0" in joined["warnings"][0]
    named = json.loads(medr1(f"b={base}", f"t={','.join(seeds)}", "--json").stdout)
    assert named["runs"][1]["name"] == "t" and not named["warnings"]
    assert named["comparisons"][0]["value"] == joined["comparisons"][0]["value"]
    apart = json.loads(medr1(*(f"{k}={name}" for k, name in enumerate(seeds)), "--json").stdout)
    assert [run["seeds"] for run in apart["runs"]] == [None] * 3
    assert "they are one run" in medr1(*seeds, code=2).stderr


def test_names(files, tmp_path):
    (tmp_path / "x").mkdir()
    other = write(tmp_path / "x" / "base.json", [1] * 70)
    odd = write(tmp_path / "a=b,c.json", [1] * 70)
    document = json.loads(medr1(files[0], other, odd, "--json").stdout)
    assert [run["name"] for run in document["runs"]] == [files[0], other, "a=b,c"]
    assert "two runs are called 'a'" in medr1(f"a={files[0]}", f"a={other}", code=2).stderr
    assert "a file stands twice" in medr1(f"a={files[0]},{files[0]}", files[1], code=2).stderr
    assert "at least two runs" in medr1(files[0], code=2).stderr


def test_items_in_one_file_only(files, tmp_path):
    short = write(tmp_path / "short.json", [1] * 60)
    assert "10 items are not in both" in medr1(files[0], short, code=2).stderr
    table = medr1(files[0], short, "--common-only").stdout
    assert "60 items" in table and "! 10 items are in some files only" in table
