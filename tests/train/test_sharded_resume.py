"""Sharded runs of two processes on CPUs: how they are resumed, and what DeepSpeed computes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fault_runs import logged_steps, same_run
from safetensors.torch import load_file

from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder

pytest.importorskip("trl")

pytestmark = pytest.mark.slow  # each run starts two processes and a launcher

HERE = Path(__file__).parent
CONFIGS = HERE.parents[1] / "configs" / "accelerate"
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "medr1")
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
    environment = {**os.environ, "DS_ACCELERATOR": "cpu", **variables}
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


def all_weights(folder, like=None):
    """The weights in one vector; with `like`, those that the checkpoint there has as well."""
    tensors = load_file(folder / "model.safetensors")
    names = load_file((like or folder) / "model.safetensors")
    return torch.cat([tensors[name].double().flatten() for name in sorted(names)])


def test_a_run_with_fsdp2_is_resumed_bit_for_bit(tmp_path):
    launcher = launched("fsdp2", "as_if_on_gpus.py")
    whole = completed(tmp_path / "whole", launcher)
    assert len(logged_steps(whole)) > 3
    assert same_run(whole, killed_and_resumed(tmp_path / "resumed", launcher))


@pytest.mark.parametrize("stage", ["zero2", "zero3"])
def test_deepspeed_computes_what_ddp_does_and_is_resumed_bit_for_bit(stage, tmp_path):
    pytest.importorskip("deepspeed", reason="needs DeepSpeed: pip install -e '.[deepspeed]'")
    launcher = launched(stage, "killed_run.py")
    whole = completed(tmp_path / "whole", launcher)
    copied = completed(tmp_path / "copied", TORCHRUN)
    for split_entry, entry in zip(logged_steps(whole), logged_steps(copied), strict=True):
        assert split_entry == pytest.approx(entry, abs=1e-4)
    # Where a gradient is 0 but for rounding, as that of a key's bias, Adam makes updates of the
    # rounding: so the weights are compared all together, with what the training changed.
    weights = all_weights(copied)
    change = (weights - all_weights(tiny_vl_folder(), copied)).norm()
    assert (all_weights(whole, copied) - weights).norm() < 1e-3 * change
    assert same_run(whole, killed_and_resumed(tmp_path / "resumed", launcher))
