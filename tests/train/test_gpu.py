"""What needs CUDA: Qwen2.5-VL-3B's size, models split by real launchers, QLoRA. Not run yet.

    python -m pytest -m gpu tests/train/test_gpu.py
    bash scripts/gpu_check.sh                        with all else that needs a GPU

prints | way | GPU | seconds a step | peak GiB | for each way to train. The same functions run as
slow tests on a CPU, at a smaller size and in two processes that hold whole copies.
"""

import gc
import importlib
import json
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest
import torch
import yaml
from safetensors.torch import load_file

from medr1.checkpoints.integrity import write_checksums
from medr1.data.readers import read_questions
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.models.loading import load_model, load_processor

pytest.importorskip("trl")

from test_sharded import trained

from medr1.train.run import train
from medr1.train.settings import quantization_config, settings_from

ROOT = Path(__file__).parents[2]
ADAPTER = {"use_peft": True, "learning_rate": 1e-5}
WAYS = {
    "full": {},
    "LoRA": ADAPTER,
    "QLoRA": {**ADAPTER, "load_in_4bit": True},
}
DRAWN = """
import torch

def reward(completions, **_):
    return torch.rand(len(completions)).tolist()
"""


@pytest.fixture(scope="module")
def bench_infer():
    """The benchmark with random models of a size and images of 384 pixels."""
    sys.path.insert(0, str(ROOT / "scripts"))
    yield importlib.import_module("bench_infer")
    sys.path.remove(str(ROOT / "scripts"))


@pytest.fixture
def reward(tmp_path, monkeypatch):
    """A reward that is drawn: random weights are never right, and would learn nothing."""
    (tmp_path / "drawn_reward.py").write_text(DRAWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield "drawn_reward:reward"
    sys.modules.pop("drawn_reward", None)


def random_checkpoint(bench_infer, size, folder):
    """A checkpoint of random weights on disk, as any other."""
    made = bench_infer.random_model(size)
    made.model.save_pretrained(folder)
    made.processor.save_pretrained(folder)
    shutil.copy(tiny_vl_folder() / "medr1.json", folder)
    write_checksums(folder)
    return folder


def measured(bench_infer, checkpoint, folder, **given):
    """Seconds of a step (the median without the first) and the peak of a GPU's memory in GiB.

    The recipe is configs/grpo.yaml's with Med-R1's 256 tokens a completion and one batch a step.
    """
    recipe = yaml.safe_load((ROOT / "configs" / "grpo.yaml").read_text(encoding="utf-8"))
    recipe |= {"gradient_accumulation_steps": 1, "max_completion_length": 256}
    recipe["max_steps"] = int(os.environ.get("MEDR1_GPU_STEPS", "20"))
    recipe |= {"reward_weights": None, "prompt": "nothink", "warmup_steps": 0, **given}
    questions = read_questions(tiny_vqa_folder() / "train.json", limit=64)
    questions = bench_infer.enlarged(questions, folder)
    tokenizer = load_processor(checkpoint, checkpoint).tokenizer
    # an image's token in a completion would ask for an image
    recipe["generation_kwargs"] = {"suppress_tokens": sorted(tokenizer.added_tokens_decoder)}
    settings = settings_from(recipe, folder / "out")
    cuda = torch.cuda.is_available()
    if cuda:
        gc.collect()  # what the way before left
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    loaded = load_model(
        checkpoint,
        device="cuda" if cuda else "cpu",
        dtype=settings.dtype if settings.model.get("use_peft") else "float32",
        quantization=quantization_config(settings),
    )
    train(loaded, questions, settings)
    logged = [json.loads(line) for line in (folder / "out" / "metrics.jsonl").open()]
    steps = [line for line in logged if "grad_norm" in line]
    assert [line["step"] for line in steps] == [*range(1, recipe["max_steps"] + 1)]
    assert all(line["grad_norm"] > 0 for line in steps)
    peak = torch.cuda.max_memory_allocated() / 2**30 if cuda else 0.0
    return median(b["seconds"] - a["seconds"] for a, b in pairwise(steps)), peak


def require_verified(folder):
    command = [sys.executable, "-m", "medr1", "verify", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr


def row(way, seconds, peak):
    """A row of the README's table."""
    return f"| {way} | {torch.cuda.get_device_name()} | {seconds:.1f} | {peak:.1f} |"


@pytest.mark.slow  # a model of 20 million parameters
@pytest.mark.parametrize("way", ["full", "LoRA"])
def test_random_weights_of_a_size_are_trained_and_timed(bench_infer, reward, way, tmp_path):
    made = random_checkpoint(bench_infer, "20m", tmp_path / "made")
    less = {"max_completion_length": 4, "max_steps": 2, "freeze_vision": True}
    found = measured(bench_infer, made, tmp_path, rewards=[reward], **less, **WAYS[way])
    assert found[0] > 0
    require_verified(tmp_path / "out")


@pytest.fixture(scope="module")
def full_size(bench_infer, tmp_path_factory):
    return random_checkpoint(bench_infer, "3b", tmp_path_factory.mktemp("full") / "made")


@pytest.mark.gpu
@pytest.mark.parametrize("way", WAYS)
def test_the_3b_is_trained_in_bf16(bench_infer, reward, full_size, way, tmp_path, capsys):
    if WAYS[way].get("load_in_4bit"):
        pytest.importorskip("bitsandbytes")
    found = measured(bench_infer, full_size, tmp_path, rewards=[reward], **WAYS[way])
    with capsys.disabled():
        sys.stdout.write(f"\n{row(way, *found)}\n")
    require_verified(tmp_path / "out")


def launched(name, folder, processes, *args):
    """The weights that `accelerate launch` with a configuration of ours ends in."""
    config = ROOT / "configs" / "accelerate" / f"{name}.yaml"
    launcher = ("accelerate.commands.launch", "--config_file", str(config))
    several = ("--num_processes", str(processes), "--main_process_port", "0", "-m", "medr1")
    return trained(folder, (*launcher, *several), *args)


def require_complete(folder, weights):
    """Check that a checkpoint is an ordinary one, and not the one that it began with."""
    require_verified(folder)
    base = load_file(tiny_vl_folder() / "model.safetensors")
    # lm_head, which is tied to the embedding, is written beside it where weights were gathered
    assert weights.keys() - base.keys() <= {"lm_head.weight"} and base.keys() <= weights.keys()
    assert {n: t.shape for n, t in base.items()} == {n: weights[n].shape for n in base}
    assert max((weights[name].float() - base[name]).abs().max() for name in base) > 1e-3


@pytest.mark.slow  # a start of two processes
def test_copied_weights_end_in_a_complete_checkpoint(tmp_path):
    weights = launched("ddp", tmp_path / "out", 2)
    require_complete(tmp_path / "out", weights)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["ddp", "fsdp2", "zero2", "zero3"])
def test_split_weights_end_in_a_complete_checkpoint(name, tmp_path):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    if name.startswith("zero"):
        pytest.importorskip("deepspeed")
    on_gpus = ("--device", "cuda", "--dtype", "bfloat16")
    weights = launched(name, tmp_path / "out", torch.cuda.device_count(), *on_gpus)
    require_complete(tmp_path / "out", weights)
