"""Two processes make the step that one makes of the same batch and the same completions."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

pytest.importorskip("trl")

from steps import fresh_model, mixed_questions

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
RUNS = {
    "groups-whole": {"loss_type": "grpo", "beta": 0.04, "batch_size": 8},
    "tokens-of-all": {"loss_type": "dapo", "batch_size": 8},
    "accumulated": {"loss_type": "dr_grpo", "batch_size": 8, "gradient_accumulation_steps": 2},
    "masked-images": {"papo": 0.7, "papo_entropy": 0.1, "batch_size": 8},
    "groups-split": {"loss_type": "dapo", "batch_size": 4},
    "of-each-pass": {"loss_type": "bnpo", "batch_size": 8},
}
"""By one process; by two, each takes half the batch. `groups-split`: two completions each of 4."""


def trained(folder, questions, runs, *launcher):
    folder.mkdir()
    arguments = [HERE / "trained_steps.py", folder, questions, json.dumps(runs)]
    command = [sys.executable, *launcher, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return {name: torch.load(folder / f"{name}.pt", weights_only=True) for name in runs}


def furthest(one, other):
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_two_processes_make_the_step_of_one(tmp_path):
    samples = [asdict(sample) for sample in mixed_questions(tmp_path).samples]
    file = tmp_path / "questions.json"
    file.write_text(json.dumps([{**s, "images": list(s["images"])} for s in samples]))
    alone = trained(tmp_path / "alone", file, RUNS)
    halves = {name: {**run, "batch_size": run["batch_size"] // 2} for name, run in RUNS.items()}
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    both = trained(tmp_path / "both", file, halves, *launcher)
    start = fresh_model().model.state_dict()
    for name in RUNS:
        one, two = alone[name], both[name]
        assert furthest(start, one["weights"]) > 1e-3
        if name == "of-each-pass":  # its denominator is each process's own: a difference is seen
            assert furthest(one["weights"], two["weights"]) > 1e-4
            continue
        assert furthest(one["weights"], two["weights"]) < 2e-6
        for kind in ("loss", "reward", "num_tokens", "kl"):
            values = [[log[kind] for log in run["logs"] if kind in log] for run in (one, two)]
            assert values[0] == pytest.approx(values[1], abs=1e-5), (name, kind)
