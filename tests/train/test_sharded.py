"""FSDP2 as `accelerate launch` gives it, with two processes and no GPU.

accelerate 1.15 splits models on GPUs alone, so each process is told that it has one
(as_if_on_gpus.py).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.models.loading import load_model

pytest.importorskip("trl")

FSDP2 = Path(__file__).parents[2] / "configs" / "accelerate" / "fsdp2.yaml"

AS_IF_ON_GPUS = Path(__file__).with_name("as_if_on_gpus.py")
LAUNCH_FSDP2 = (
    *("accelerate.commands.launch", "--config_file", str(FSDP2), "--num_processes", "2"),
    *("--main_process_port", "0", str(AS_IF_ON_GPUS)),
)
TRAIN = (
    *("train", "--model-path", str(tiny_vl_folder()), "--data", str(tiny_vqa_folder())),
    *("--answer-types", "multiple_choice", "--device", "cpu", "--beta", "0.04"),
    *("--max-steps", "2", "--batch-size", "8", "--num-generations", "4", "--learning-rate", "1e-3"),
    *("--max-completion-length", "8", "--logging-steps", "1", "--save-strategy", "no"),
)


def trained(folder, launcher, *args, **variables):
    command = [sys.executable, "-m", *launcher, *TRAIN, "--output-dir", str(folder), *args]
    environment = {**os.environ, **variables}
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return load_file(folder / "model.safetensors")


@pytest.mark.slow  # two starts of two processes
def test_a_split_run_writes_the_checkpoint_of_a_replicated_one(tmp_path):
    split = trained(tmp_path / "split", LAUNCH_FSDP2)
    assert json.loads((tmp_path / "split" / "training.json").read_text())["sharding"] == "fsdp"
    torchrun = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "medr1")
    copied = trained(tmp_path / "copied", torchrun)
    base = load_file(tiny_vl_folder() / "model.safetensors")
    # lm_head, which is tied to the embedding, is written beside it where weights were gathered
    assert split.keys() - copied.keys() <= {"lm_head.weight"} and copied.keys() <= split.keys()
    assert max((copied[name] - base[name]).abs().max() for name in copied) > 1e-3
    for name, tensor in copied.items():
        torch.testing.assert_close(split[name], tensor, rtol=0, atol=1e-5)
    assert load_model(tmp_path / "split", device="cpu").info.prompt == "nothink"


@pytest.mark.slow  # two starts of two processes
def test_a_rollout_gathers_each_layer_once_and_has_the_same_tokens(tmp_path):
    weights, rollouts = {}, {}
    for gathers_once in ("true", "false"):
        counts = tmp_path / f"counts-{gathers_once}"
        options = ("--max-completion-length", "24", "--ds3-gather-for-generation", gathers_once)
        folder = tmp_path / gathers_once
        weights[gathers_once] = trained(folder, LAUNCH_FSDP2, *options, COUNTS=str(counts))
        files = [Path(f"{counts}-{rank}").read_text().splitlines() for rank in (0, 1)]
        rollouts[gathers_once] = [[json.loads(line) for line in lines] for lines in files]
    completions = [(tmp_path / way / "completions.jsonl").read_bytes() for way in rollouts]
    assert completions[0] == completions[1]
    assert all(torch.equal(t, weights["false"][name]) for name, t in weights["true"].items())
    config = json.loads((tiny_vl_folder() / "config.json").read_text())
    layers = config["text_config"]["num_hidden_layers"]
    for once, each in zip(*rollouts.values(), strict=True):
        for one, many in zip(once, each, strict=True):
            assert one["lengths"] == many["lengths"] and one["reductions"] == 0
            # all passes but the first gather nothing; the processes end at different lengths
            passes = max(max(rank[once.index(one)]["lengths"]) for rank in rollouts["true"])
            assert many["gathers"] - one["gathers"] == passes * layers
            assert many["reductions"] == passes + 1
    ends = [[max(rollout["lengths"]) for rollout in process] for process in rollouts["true"]]
    assert ends[0] != ends[1]
