"""`medr1 eval` as a user types it: files in, table, JSON, folder, exit code out."""

import csv
import json
import re
from functools import partial

import msgspec
import pytest
from in_process import medr1
from msgspec.structs import replace

from medr1.documents.metric import Clusters
from medr1.documents.summary import Summary
from medr1.evaluate.definitions.metrics import DEFINITIONS

OPTIONS = {"A": "CT", "B": "MRI", "C": "X-ray"}

evaluate = partial(medr1, "eval")


def rows(n=60, right=40):
    return [
        {
            "id": f"q{i}",
            "image": f"scans/{i // 2}.png",
            "question": "Which modality is this?",
            "options": OPTIONS,
            "ground_truth": "ABC"[i % 3],
            "modality": "CT" if i % 2 else "MRI",
            "age": 20 + i,
            "model_output": f"<answer>{'ABC'[(i + (i >= right)) % 3]}</answer>",
        }
        for i in range(n)
    ]


def written(path, items):
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def summary_of(*args):
    done = evaluate(*args, "--json")
    assert done.returncode == 0, done.stderr
    kind = list[Summary] if done.stdout.startswith("[") else Summary
    return msgspec.json.decode(done.stdout, type=kind)


def test_folder_holds_everything(tmp_path):
    file = written(tmp_path / "r.jsonl", rows())
    out = tmp_path / "out"
    done = evaluate(file, "--output-dir", out, "--group-by", "age")
    assert "images for report.html were not found" in done.stderr and "--image-root" in done.stderr
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout and "66.7 %" in done.stdout
    assert done.stdout.splitlines()[-1] == f"Report: {out / 'report.html'}"
    assert "accuracy by age" in done.stdout and "20 to 34" in done.stdout
    assert {path.name for path in out.iterdir()} == {
        "summary.json", "summary.csv", "confusion.csv", "items.jsonl", "report.html",
    }  # fmt: skip
    summary = msgspec.json.decode((out / "summary.json").read_bytes(), type=Summary)
    assert summary.schema == "medr1.summary/2"
    assert summary.metrics["accuracy"].value == pytest.approx(40 / 60)
    lines = [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [f"q{i}" for i in range(60)]
    assert [line["correct"] for line in lines] == [i < 40 for i in range(60)]
    assert lines[0]["trace"] and lines[0]["results"] == str(file)
    table = list(csv.DictReader((out / "summary.csv").open()))
    assert {row["scope"] for row in table} >= {"all", "modality", "age", "protocol", "finding"}
    for row in table:
        if row["metric"] == "accuracy" and row["scope"] in ("age", "modality", "protocol"):
            assert row["lo"] and row["hi"], row
    page = (out / "report.html").read_text()
    assert "66.7" in page and "http://" not in page.replace("http://www.w3.org", "")
    again = evaluate(file, "--output-dir", out)
    assert again.returncode == 2 and "--overwrite" in again.stderr
    assert evaluate(file, "--output-dir", out, "--overwrite").returncode == 0
    assert (tmp_path / "out.bak" / "report.html").exists()


def test_closed_questions_are_read_as_yes_and_no(tmp_path):
    said = ["Yes, there is.", "No, it is not.", "It is normal."]
    items = [
        {"id": str(i), "image": f"{i}.jpg", "question": "Is there an effusion?", "answer": "Yes",
         "answer_type": "CLOSED" if i < 20 else "OPEN", "output": said[i % 3]}
        for i in range(30)
    ]  # fmt: skip
    file = written(tmp_path / "r.jsonl", items)
    summary = summary_of(file, "--map", "ground_truth=answer", "--group-by", "answer_class")
    assert summary.metrics["accuracy"].value == pytest.approx(1 / 3)
    assert {name: group.n for name, group in summary.groups["answer_class"].items()} == {
        "closed": 20,
        "open": 10,
    }


def test_a_bad_line_leaves_nothing_half_written(tmp_path):
    items = rows()
    file = written(tmp_path / "r.jsonl", items)
    file.write_text(file.read_text().replace('"question": "Which', '"question": 5, "x": "Which', 1))
    text = file.read_text().splitlines(keepends=True)
    file.write_text("".join(text[:41]) + text[41][:30] + "\n" + "".join(text[42:]))
    out = tmp_path / "out"
    done = evaluate(file, "--output-dir", out)
    assert done.returncode == 2
    assert "r.jsonl, line 42" in done.stderr
    assert done.stdout == "" and not out.exists()


def test_many_chunks_are_the_same_as_one(tmp_path):
    file = written(
        tmp_path / "r.jsonl",
        [{**row, "id": f"{k}-{row['id']}"} for k in range(200) for row in rows()],
    )
    assert file.stat().st_size > 2_000_000
    many = summary_of(file, "--metrics", "accuracy,token_f1")
    as_list = tmp_path / "r.json"
    as_list.write_text(json.dumps([json.loads(line) for line in file.read_text().splitlines()]))
    one = summary_of(as_list, "--metrics", "accuracy,token_f1")
    assert replace(many, results=None, sha256=None) == replace(one, results=None, sha256=None)
    assert many.n == 12_000 and many.metrics["accuracy"].value == pytest.approx(2 / 3)


def test_gates(tmp_path):
    file = written(tmp_path / "r.jsonl", rows())
    assert evaluate(file, "--fail-under", "accuracy=0.6").returncode == 0
    done = evaluate(file, "--fail-under", "accuracy=0.7", "--fail-under", "token-f1=0.1")
    assert done.returncode == 1
    assert "accuracy is 0.6667, under 0.7" in done.stderr
    assert "token_f1" not in done.stderr and "accuracy" in done.stdout
    for wrong, said in (
        ("acuracy=0.5", "Did you mean accuracy?"),
        ("accuracy", "METRIC=SHARE"),
        ("accuracy=80", "from 0 to 1"),
        ("accuracy=nan", "from 0 to 1"),
    ):
        done = evaluate(file, "--fail-under", wrong)
        assert done.returncode == 2 and said in done.stderr, wrong


def test_baseline(tmp_path):
    worse = written(tmp_path / "worse.jsonl", rows(right=20))
    file = written(tmp_path / "r.jsonl", rows())
    near = written(tmp_path / "near.jsonl", rows(right=41))
    assert evaluate(file, "--baseline", worse).returncode == 0
    assert evaluate(file, "--baseline", near).returncode == 0
    done = evaluate(worse, "--baseline", file)
    assert done.returncode == 1 and "accuracy fell" in done.stderr
    assert evaluate(file, "--output-dir", tmp_path / "out").returncode == 0
    before = tmp_path / "out" / "summary.json"
    assert evaluate(near, "--baseline", before).returncode == 0
    done = evaluate(worse, "--baseline", before)
    assert done.returncode == 1 and "baseline" in done.stderr
    old = {
        "schema": "medr1.summary/1",
        "protocol": "default",
        "metrics": {"accuracy": {"value": 0.9, "ci95": [0.8, 0.95], "n": 60, "method": "wilson"}},
        "macro": {"modality": {"value": 0.9, "ci95": None, "n": 1, "metric": "accuracy"}},
    }
    (tmp_path / "summary-1.json").write_text(json.dumps(old))
    done = evaluate(file, "--baseline", tmp_path / "summary-1.json")
    assert done.returncode == 1 and "0.8000 to 0.9500" in done.stderr
    del old["metrics"]
    (tmp_path / "summary-1.json").write_text(json.dumps(old))
    done = evaluate(file, "--baseline", tmp_path / "summary-1.json")
    assert done.returncode == 2 and "metrics" in done.stderr
    done = evaluate(written(tmp_path / "half.jsonl", rows()[:30]), "--baseline", file)
    assert done.returncode == 2 and "same questions" in done.stderr
    done = evaluate(file, "--baseline", before, "--protocol", "strict")
    assert done.returncode == 2 and "--protocol default" in done.stderr


def test_a_baseline_whose_images_lay_in_another_folder(tmp_path):
    def file(name, right, folder):
        items = [{**row, "image": f"{folder}/{i}.png"} for i, row in enumerate(rows(right=right))]
        return written(tmp_path / name, [{k: v for k, v in x.items() if k != "id"} for x in items])

    good, bad = file("good.jsonl", 50, "/a"), file("bad.jsonl", 20, "data")
    done = evaluate(bad, "--baseline", good)
    assert done.returncode == 1 and "accuracy fell by 0.5000" in done.stderr
    assert f"--baseline {good}: the files do not have the same ids" in done.stderr
    twins = written(tmp_path / "twins.jsonl", [{**x, "id": f"x{x['id']}"} for x in rows()])
    done = evaluate(bad, "--baseline", twins)
    assert done.returncode == 2 and f"{twins}: items 1 and 2, 'xq0' and 'xq1', have" in done.stderr


def test_questions_and_columns_from_elsewhere(tmp_path):
    items = rows()
    questions = [{k: v for k, v in row.items() if k != "model_output"} for row in items]
    (tmp_path / "questions.json").write_text(json.dumps(questions))
    with (tmp_path / "said.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["key", "reply"])
        table.writerows([row["id"], row["model_output"]] for row in items[:-1])
    found = summary_of(
        tmp_path / "said.csv", "--map", "id=key", "--map", "prediction=reply",
        "--data", tmp_path / "questions.json",
    )  # fmt: skip
    assert found.metrics["accuracy"].value == pytest.approx(40 / 59)
    assert list(found.groups["modality"]) == ["CT", "MRI"]
    assert any(w.startswith("1 items of questions.json ") for w in found.warnings)


def test_the_training_split_beside_the_questions_is_used(tmp_path):
    items = rows()
    questions = [{k: v for k, v in row.items() if k != "model_output"} for row in items]
    data = tmp_path / "data"
    data.mkdir()
    (data / "test.json").write_text(json.dumps(questions))
    file = written(tmp_path / "r.jsonl", items)
    assert summary_of(file, "--data", data, "--metrics", "accuracy").blind is None
    training = [{**row, "id": f"t{i}", "image": f"t/{i}.png"} for i, row in enumerate(questions)]
    (data / "train.json").write_text(json.dumps(training))
    blind = summary_of(file, "--data", data, "--metrics", "accuracy").blind
    assert blind.chance == pytest.approx(1 / 3)
    assert blind == summary_of(file, "--train-data", data, "--metrics", "accuracy").blind
    done = evaluate(file, "--data", data)
    assert "best without image" in done.stdout and "gain over best" in done.stdout
    assert "of a training question" not in done.stdout
    done = evaluate(file, "--train-data", data / "test.json", "--metrics", "accuracy")
    assert re.search("^! 60 items have .* of a training question", done.stdout, re.M)
    numbered = [{**row, "id": items[i]["id"]} for i, row in enumerate(training)]
    (data / "train.json").write_text(json.dumps(numbered))  # other pictures, numbered alike
    done = evaluate(file, "--data", data, "--metrics", "accuracy")
    assert "best without image" in done.stdout and "of a training question" not in done.stdout


def test_confidence_probabilities_and_samples_are_read_from_any_list(tmp_path):
    items = [{**row, "score": 0.9 if i < 40 else 0.3} for i, row in enumerate(rows())]
    keys = ("id", "image", "question", "ground_truth", "model_output", "score")
    with (tmp_path / "said.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow([*keys, "A", "B", "C"])
        table.writerows([*(row[key] for key in keys), *OPTIONS.values()] for row in items)
    found = summary_of(tmp_path / "said.csv", "--map", "confidence=score").calibration
    assert found.source == "stated confidence" and found.n == 60
    assert found.metrics.auroc.value == 1.0
    assert found.metrics.confidence.value == pytest.approx((40 * 0.9 + 20 * 0.3) / 60)
    more = {"option_probs": {"A": 0.6, "B": 0.3, "C": 0.1}}
    listed = [{**row, **more, "samples": [row["model_output"]] * 3} for row in items]
    found = summary_of(written(tmp_path / "r.jsonl", listed))
    assert found.calibration.source == "probabilities"
    assert found.uncertainty.num_samples == (3, 3)
    words = [{**row, "confidence": "high", "samples": 3, "option_probs": "?"} for row in items]
    found = summary_of(written(tmp_path / "words.jsonl", words), "--group-by", "confidence")
    assert list(found.groups["confidence"]) == ["high"]
    reason = found.calibration.reason
    assert all(key in reason for key in ("option_probs", "confidence", "samples"))


def test_what_cannot_be_fitted_is_said(tmp_path):
    shares = {"A": 0.5, "B": 0.3, "C": 0.2}
    items = [{**row, "option_probs": shares} for row in rows()]
    file = written(tmp_path / "r.jsonl", items)
    others = [{**row, "id": f"h{i}", "image": f"h/{i}.png"} for i, row in enumerate(items)]
    held_out = written(tmp_path / "held.jsonl", others)
    found = summary_of(file, "--calibrate-on", held_out, "--alpha", "0.001")
    (threshold,) = (text for text in found.warnings if "threshold" in text)
    assert "0.1" in threshold
    (conformal,) = (text for text in found.warnings if "conformal" in text)
    assert "alpha 0.001" in conformal and "999 held-out items" in conformal
    for option in ("--alpha", "--target-risk"):
        done = evaluate(file, option, "0.2")
        assert done.returncode == 2 and f"{option} needs --calibrate-on" in done.stderr


@pytest.mark.parametrize(
    "unfit",
    [
        {"option_probs": {"A": 80.0, "B": 15.0, "C": 5.0}},
        {"option_probs": {"A": -0.2, "B": -1.9, "C": -3.5}},
        {"option_probs": {"A": 0.9, "B": 0.9, "C": 0.9}},
        {"confidence": 87},
    ],
)
def test_what_is_no_probability_is_said_and_left_out(tmp_path, unfit):
    items = [{**row, **(unfit if i < 58 else {})} for i, row in enumerate(rows())]
    found = summary_of(written(tmp_path / "r.jsonl", items))
    assert any("58 of 60 items" in text for text in found.warnings)
    assert "probabilities" in found.calibration.reason


def test_a_folder_gives_a_list(tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    written(folder / "a.jsonl", rows())
    written(folder / "b.jsonl", rows(right=10))
    found = summary_of(folder)
    assert [summary.metrics["accuracy"].value for summary in found] == pytest.approx(
        [40 / 60, 10 / 60]
    )
    done = evaluate(folder, "--output-dir", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "out" / "items.jsonl").read_text().splitlines()
    assert len(lines) == 120


def test_clusters_by_patient(tmp_path):
    items = [{**row, "patient": i // 20} for i, row in enumerate(rows())]
    file = written(tmp_path / "r.jsonl", items)
    found = summary_of(file, "--cluster-by", "patient", "--metrics", "accuracy")
    assert found.metrics["accuracy"].method == "bootstrap over patients"
    assert found.clusters == Clusters(unit="patient", n=3)
    done = evaluate(file, "--cluster-by", "pateint")
    assert done.returncode == 2 and "pateint" in done.stderr


def test_explain_needs_no_results():
    done = evaluate("--explain", "token-f1")
    assert done.returncode == 0 and "2" in done.stdout and "SQuAD" in done.stdout
    done = evaluate("--explain", "acuracy")
    assert done.returncode == 2 and "accuracy" in done.stderr
    by_title = evaluate("--explain", DEFINITIONS["ece"].title.upper())
    assert by_title.returncode == 0 and by_title.stdout == evaluate("--explain", "ece").stdout
    unknown = evaluate("--explain", "xyz")
    assert unknown.returncode == 2 and max(map(len, unknown.stderr.splitlines())) <= 80


def test_wrong_input_is_one_sentence(tmp_path):
    file = written(tmp_path / "r.jsonl", rows(6))
    for args, said in (
        (["none.json"], "none.json"),
        ([file, "--metrics", "accuracy,blue4"], "Did you mean bleu4?"),
        ([file, "--group-by", "sex"], "--group-by sex"),
        ([file, "--map", "prediktion=x"], "prediction"),
        ([file, "--map", "prediction=x"], "'x'"),
        ([file, "--map", "prediction"], "KEY=COLUMN"),
        ([file, "--baseline", file], "its own baseline"),
        ([file, "--baseline", tmp_path / "none.json"], "none.json"),
        ([tmp_path / "empty"], "empty"),
    ):
        done = evaluate(*args, cwd=tmp_path)
        assert done.returncode == 2, (args, done.stderr)
        assert said in done.stderr and "Traceback" not in done.stderr
        assert len(done.stderr.strip().splitlines()) <= 3, done.stderr
