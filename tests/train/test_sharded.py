"""FSDP2 as `accelerate launch` gives it, with two processes and no GPU.

accelerate 1.15 splits models on GPUs alone. Here each process is told that it is one, before
anything else runs; what splits, trains, gathers and writes is PyTorch's own, over gloo.
"""

import json
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

AS_IF_ON_GPUS = """
import sys
import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from medr1.cli import main

found = PartialState._prepare_backend

def as_on_gpus(self, *args, **named):
    backend, kind = found(self, *args, **named)
    if kind != DistributedType.MULTI_CPU:
        return backend, kind
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    return backend, DistributedType.MULTI_GPU

PartialState._prepare_backend = as_on_gpus
PartialState.set_device = lambda self: setattr(self, "device", torch.device("cpu"))
main()
"""

TRAIN = (
    *("train", "--model-path", str(tiny_vl_folder()), "--data", str(tiny_vqa_folder())),
    *("--answer-types", "multiple_choice", "--device", "cpu", "--beta", "0.04"),
    *("--max-steps", "2", "--batch-size", "8", "--num-generations", "4", "--learning-rate", "1e-3"),
    *("--max-completion-length", "8", "--logging-steps", "1", "--save-strategy", "no"),
)


def trained(folder, launcher, *args):
    command = [sys.executable, "-m", *launcher, *TRAIN, "--output-dir", str(folder), *args]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-3000:]
    return load_file(folder / "model.safetensors")


@pytest.mark.slow  # two starts of two processes
def test_a_split_run_writes_the_checkpoint_of_a_replicated_one(tmp_path):
    script = tmp_path / "as_if_on_gpus.py"
    script.write_text(AS_IF_ON_GPUS)
    launch = ("accelerate.commands.launch", "--config_file", str(FSDP2), "--num_processes", "2")
    split = trained(tmp_path / "split", (*launch, "--main_process_port", "0", str(script)))
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
