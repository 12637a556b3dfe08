"""lmms-eval and inspect_ai, as installed from PyPI, run a task with medr1's metric.

lmms-eval loads the embedded checkpoint itself; inspect_ai asks a server of `transformers serve`.
Both verdicts are compared with those of `medr1 eval` on the logs that they write.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
from engine_server import EngineUnavailable, engine_server, install

from medr1.api import convert_data
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.evaluate.judging import Settings, judge_all
from medr1.evaluate.reading.results import read_results

pytestmark = pytest.mark.engines

ROOT = Path(__file__).parent.parent.parent
TEST = tiny_vqa_folder() / "test.json"
N_ITEMS = 12


def run(name, *arguments, cwd, **environment):
    """Run a tool by its script; skipped if its environment cannot be made."""
    try:
        install(name)
    except EngineUnavailable as error:
        pytest.skip(str(error))
    done = subprocess.run(
        ["bash", str(ROOT / "scripts" / "engines" / f"{name}.sh"), *map(str, arguments)],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (arguments, done.stdout[-2000:], done.stderr[-3000:])
    return done


def only(folder, pattern):
    (file,) = folder.rglob(pattern)
    return file


def verdicts(results):
    outcomes = judge_all(results.predictions, Settings()).outcomes
    return {
        prediction.sample.id: outcome.correct
        for prediction, outcome in zip(results.predictions, outcomes, strict=True)
    }


@pytest.fixture
def questions(tmp_path):
    """The first questions of the test split, as a file of their own."""
    items = json.loads(TEST.read_text())[:N_ITEMS]
    for item in items:
        item["image"] = str(TEST.parent / item["image"])
    path = tmp_path / "questions.json"
    path.write_text(json.dumps(items))
    return path


def test_lmms_eval(questions, tmp_path):
    convert_data(source=questions, output=tmp_path / "tiny_vqa", field_names="lmms-eval")
    run(
        "lmms_eval", "eval", "--model", "qwen2_5_vl",
        "--model_args", f"pretrained={tiny_vl_folder()},device=cpu,device_map=cpu",
        "--include_path", tmp_path / "tiny_vqa", "--tasks", "medr1_tiny_vqa", "--batch_size", 1,
        "--gen_kwargs", "max_new_tokens=16", "--output_path", "out", "--log_samples",
        cwd=tmp_path,
    )  # fmt: skip
    log = only(tmp_path / "out", "*_samples_medr1_tiny_vqa.jsonl")
    theirs = {
        str(line["doc_id"]): bool(line["medr1_accuracy"])
        for line in map(json.loads, log.read_text().splitlines())
    }
    summary = json.loads(only(tmp_path / "out", "*_results.json").read_text())
    accuracy = summary["results"]["medr1_tiny_vqa"]["medr1_accuracy,none"]
    assert accuracy == pytest.approx(sum(theirs.values()) / N_ITEMS)
    assert 0 < accuracy < 1
    assert verdicts(read_results(log)) == theirs


def test_inspect(questions, tmp_path):
    environment = {"INSPECT_LOG_DIR": "logs", "TINY_API_KEY": "none"}
    with engine_server("transformers_serve", tiny_vl_folder()) as server:
        run(
            "inspect", "eval", "medr1/vqa", "-T", f"data={questions}", "--max-tokens", 16,
            "--model", f"openai-api/tiny/{server.model}", "--temperature", 0, "--display", "none",
            cwd=tmp_path, TINY_BASE_URL=server.base_url, **environment,
        )  # fmt: skip
    log = only(tmp_path / "logs", "*.eval")
    command = ("-m", "medr1", "eval", log, "--output-dir", "report", "--quiet")
    run("inspect", *command, cwd=tmp_path)
    items = [json.loads(x) for x in (tmp_path / "report" / "items.jsonl").read_text().splitlines()]
    run("inspect", "log", "convert", "--to", "json", "--output-dir", "json", log, cwd=tmp_path)
    document = json.loads(only(tmp_path / "json", "*.json").read_text())
    theirs = {
        sample["id"]: sample["scores"]["medr1_accuracy"]["value"] == "C"
        for sample in document["samples"]
    }
    results = read_results(only(tmp_path / "json", "*.json"))
    assert verdicts(results) == theirs
    assert {item["id"]: item["correct"] for item in items} == theirs
    assert len(theirs) == N_ITEMS
    assert {p.sample.images[0] for p in results.predictions} == {
        item["image"] for item in json.loads(questions.read_text())
    }
    assert 0 < sum(theirs.values()) < N_ITEMS
