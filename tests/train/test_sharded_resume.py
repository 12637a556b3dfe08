"""A sharded run of two processes that were killed is resumed bit for bit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fault_runs import logged_steps, same_run

from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder

pytest.importorskip("trl")

pytestmark = pytest.mark.slow  # each run starts two processes and a launcher

HERE = Path(__file__).parent
CONFIGS = HERE.parents[1] / "configs" / "accelerate"
TRAIN = (
    *("train", "--model-path", str(tiny_vl_folder()), "--data", str(tiny_vqa_folder())),
    *("--answer-types", "multiple_choice", "--device", "cpu", "--beta", "0.04"),
    *("--max-steps", "4", "--batch-size", "8", "--num-generations", "4", "--learning-rate", "1e-3"),
    *("--max-completion-length", "8", "--logging-steps", "1", "--save-steps", "2"),
    *("--save-strategy", "steps"),
)


def launched(kind, script):
    options = ("--config_file", str(CONFIGS / f"{kind}.yaml"), "--num_processes", "2")
    port = ("--main_process_port", "0")
    return "accelerate.commands.launch", *options, *port, str(HERE / script)


def run(folder, launcher, **variables):
    command = [sys.executable, "-m", *launcher, *TRAIN, "--output-dir", str(folder)]
    environment = {**os.environ, **variables}
    return subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment)


def completed(folder, launcher):
    result = run(folder, launcher)
    assert result.returncode == 0, result.stderr[-3000:]
    return folder


def killed_and_resumed(folder, launcher):
    """A run whose processes are killed after step 3, and resumed from the checkpoint of step 2."""
    assert run(folder, launcher, KILLED_AFTER="3").returncode != 0
    assert not (folder / "model.safetensors").exists()
    assert [entry["step"] for entry in logged_steps(folder) if "loss" in entry] == [1, 2]
    assert [path.name for path in folder.glob("checkpoint-*")] == ["checkpoint-2"]
    return completed(folder, launcher)


def test_a_run_with_fsdp2_is_resumed_bit_for_bit(tmp_path):
    launcher = launched("fsdp2", "as_if_on_gpus.py")
    whole = completed(tmp_path / "whole", launcher)
    assert len(logged_steps(whole)) > 3
    assert same_run(whole, killed_and_resumed(tmp_path / "resumed", launcher))
