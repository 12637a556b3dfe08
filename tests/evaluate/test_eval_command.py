"""`medr1 eval` as a process on what others wrote: columns by name, questions apart, folders."""

import csv
import json
import subprocess
import sys

import pytest

OPTIONS = {"A": "CT", "B": "MRI", "C": "X-ray"}


def medr1(*args):
    command = [sys.executable, "-m", "medr1", "eval", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True)


def rows(n=60, right=40):
    return [
        {
            "id": f"q{i}",
            "image": f"scans/{i}.png",
            "question": "Which modality is this?",
            "options": OPTIONS,
            "ground_truth": "ABC"[i % 3],
            "modality": "CT" if i % 2 else "MRI",
            "model_output": f"<answer>{'ABC'[(i + (i >= right)) % 3]}</answer>",
        }
        for i in range(n)
    ]


def write(path, items):
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def test_questions_and_columns_from_elsewhere(tmp_path):
    items = rows()
    questions = [{k: v for k, v in row.items() if k != "model_output"} for row in items]
    (tmp_path / "questions.json").write_text(json.dumps(questions))
    with (tmp_path / "said.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["key", "reply"])
        table.writerows([row["id"], row["model_output"]] for row in items[:-1])
    names = ["--map", "id=key", "--map", "prediction=reply"]
    done = medr1(tmp_path / "said.csv", *names, "--data", tmp_path / "questions.json", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(40 / 59)
    assert list(found["groups"]["modality"]) == ["CT", "MRI"]
    assert any(warning.startswith("1 items of") for warning in found["warnings"])


def test_a_folder_gives_a_summary_for_each_file(tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    write(folder / "a.jsonl", rows())
    write(folder / "b.jsonl", rows(right=10))
    done = medr1(folder, "--json", "--output-dir", folder / "out")
    assert done.returncode == 0, done.stderr
    values = [summary["metrics"]["accuracy"]["value"] for summary in json.loads(done.stdout)]
    assert values == pytest.approx([40 / 60, 10 / 60])
    assert len((folder / "out" / "items.jsonl").read_text().splitlines()) == 120
    page = (folder / "out" / "report.html").read_text()
    assert "a.jsonl" in page and "b.jsonl" in page and "66.7" in page


def test_a_bad_line_leaves_nothing_half_written(tmp_path):
    file = write(tmp_path / "r.jsonl", rows())
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines[:41], lines[41][:30] + "\n", *lines[42:]]))
    done = medr1(file, "--output-dir", tmp_path / "out")
    assert done.returncode == 2 and "r.jsonl, line 42" in done.stderr
    assert done.stdout == "" and not (tmp_path / "out").exists()


def test_explain_needs_no_results():
    done = medr1("--explain", "token-f1")
    assert done.returncode == 0 and "SQuAD" in done.stdout


@pytest.mark.parametrize(
    ("name", "says"),
    [("prediktion=x", "prediction"), ("prediction=x", "'x'"), ("prediction", "KEY=COLUMN")],
)
def test_a_wrong_map_is_one_sentence(tmp_path, name, says):
    done = medr1(write(tmp_path / "r.jsonl", rows(6)), "--map", name)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr
