"""scripts/gpu_check.py: the document that a GPU's run writes, whatever its parts come to."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def gpu_check(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("gpu_check")


def python(source):
    return [sys.executable, "-c", source]


def test_a_part_that_is_done_has_its_result(gpu_check):
    part = gpu_check.run_part(python("print('{\"a\": 1}')"), 60)
    assert part["status"] == "done" and part["result"] == {"a": 1} and part["seconds"] >= 0


def test_a_part_that_fails_says_why(gpu_check):
    part = gpu_check.run_part(python("raise SystemExit('no memory')"), 60)
    assert part["status"] == "failed" and part["reason"] == "exit code 1"
    assert "no memory" in part["end_of_errors"] and "result" not in part


def test_a_part_is_stopped_at_the_end_of_the_time(gpu_check):
    source = "import time; print('| row |', flush=True); time.sleep(600)"
    part = gpu_check.run_part(python(source), 5)
    assert part["status"] == "failed" and "no time" in part["reason"]
    assert gpu_check.run_part(python(source), 0) == {
        "status": "not run",
        "reason": "no time was left",
    }


def test_tests_are_counted_by_name(gpu_check, tmp_path):
    file = tmp_path / "test_three.py"
    file.write_text(
        "import pytest, sys\n"
        "@pytest.mark.parametrize('way', ['full', 'LoRA'])\n"
        "def test_it(way, capsys):\n"
        "    with capsys.disabled():\n"
        "        sys.stdout.write(f'\\n| {way} | a card | 1.0 |\\n')\n"
        "    assert way == 'full'\n"
        "def test_other():\n"
        "    pytest.skip('two cards')\n"
    )
    command = [sys.executable, "-m", "pytest", "-v", "--color=no", "-p", "no:cacheprovider"]
    part = gpu_check.run_part([*command, "--rootdir", str(tmp_path), str(file)], 600)
    assert part["status"] == "failed"
    assert {name.split("::")[1]: outcome for name, outcome in part["result"].items()} == {
        "test_it[full]": "passed",
        "test_it[LoRA]": "failed",
        "test_other": "skipped",
    }
    assert part["rows"] == ["| full | a card | 1.0 |", "| LoRA | a card | 1.0 |"]


def test_a_goal_that_was_not_measured_is_not_met_nor_missed(gpu_check):
    ratio = {"step": 3.5, "backward": 2.0, "saved": 3.0}
    parts = {"train-nothink": {"result": {"ratio": ratio}}, "train-think": {"status": "failed"}}
    rows = gpu_check.goals_of(parts)
    assert [row["met"] for row in rows] == [True, False, True, None, None]
    assert [row["measured"] for row in rows] == [3.5, 2.0, 3.0, None, None]


@pytest.mark.slow  # trains 18 million parameters, with a compiled decoding step
def test_the_parts_run_on_a_cpu(tmp_path):
    output = tmp_path / "check.json"
    parts = ["doctor", "exactness", "train-nothink", "train-vllm", "infer", "tests"]
    command = [sys.executable, ROOT / "scripts" / "gpu_check.py", "--device", "cpu"]
    command += ["--size", "20m", "--output-file", output, "--only", *parts, "--minutes", "30"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=3000)
    assert result.returncode == 0, result.stdout + result.stderr
    document = json.loads(output.read_text())
    status = {name: part["status"] for name, part in document["parts"].items()}
    ran = dict.fromkeys(["doctor", "exactness", "train-nothink", "infer"], "done")
    assert status == {**ran, "train-vllm": "not run", "tests": "not run"}
    exactness = document["parts"]["exactness"]["result"]
    assert exactness["same_tokens"] and exactness["float32_agrees"]
    assert exactness["bfloat16_error_of_shared_to_stock"] < 1.5
    train = document["parts"]["train-nothink"]["result"]
    assert train["gradient_difference"] < 1e-4 and train["ratio_graphs"]["saved"] > 1
    assert document["goals"][0]["measured"] == train["ratio"]["step"]
    assert document["parts"]["infer"]["result"]["same_output"] == 16
    assert {"torch", "transformers", "trl"} <= document["versions"].keys()
