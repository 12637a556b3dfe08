"""QLoRA: an adapter on weights of 4 bits, and on the whole ones afterwards."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from medr1.data.readers import read_questions
from medr1.data.tiny import tiny_config, tiny_vl_folder, tiny_vqa_folder
from medr1.errors import InputError
from medr1.models.loading import load_model, load_outline

pytest.importorskip("trl")
pytest.importorskip("bitsandbytes")

from medr1.train.grpo import build_trainer
from medr1.train.run import resolve_plan, train
from medr1.train.settings import quantization_config, settings_from

SMALL = {"batch_size": 8, "num_generations": 4, "max_completion_length": 8, "logging_steps": 1}
ADAPTER = {"use_peft": True, "lora_r": 4, "freeze_vision": False, "dtype": "float32"}


def settings_of(folder, **values):
    given = {**tiny_config(), **SMALL, **ADAPTER, "load_in_4bit": True, "max_steps": 2}
    return settings_from({**given, **values}, folder)


def loaded_by(settings, path):
    return load_model(path, device="cpu", quantization=quantization_config(settings))


@pytest.fixture
def questions():
    return read_questions(tiny_vqa_folder() / "train.json", limit=24)


def test_an_adapter_trains_on_4_bits_and_serves_on_whole_weights(questions, tmp_path):
    settings = settings_of(tmp_path / "out")
    model = loaded_by(settings, tiny_vl_folder())
    held = {n: p.dtype for n, p in model.model.named_parameters() if p.dtype == torch.uint8}
    assert len(held) == 14 and all("language_model" in name for name in held)
    planned = resolve_plan(load_outline(tiny_vl_folder(), device="cpu"), questions, settings)
    trainer = build_trainer(model, questions, settings)
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    assert {p.dtype for p in trained} == {torch.float32}
    weights = 0
    for parameter in trainer.model.parameters():
        weights += parameter.nbytes
        if parameter.dtype == torch.uint8:
            weights += parameter.quant_state.absmax.nbytes
    assert planned.bytes_per_process["weights"] == pytest.approx(weights, rel=0.02)

    train(loaded_by(settings, tiny_vl_folder()), questions, settings)
    served = load_model(tmp_path / "out", device="cpu")
    base = load_model(tiny_vl_folder(), device="cpu")
    changed = [
        name
        for (name, ours), theirs in zip(
            served.model.named_parameters(), base.model.parameters(), strict=True
        )
        if not torch.equal(ours, theirs)
    ]
    assert len(changed) == 14 and all("language_model" in name for name in changed)
    with pytest.raises(InputError, match="is an adapter, which cannot be merged into fewer bits"):
        loaded_by(settings, tmp_path / "out")


def test_a_damaged_checkpoint_is_refused_in_4_bits_too(tmp_path):
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(tiny_vl_folder()), str(copy)], check=True)
    file = copy / "model.safetensors"
    tensors = load_file(file)
    name = next(key for key in tensors if "layers.0.mlp.down_proj" in key)
    tensors[name][0, 0] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    for sums in copy.glob("SHA256SUMS"):
        sums.unlink()
    with pytest.raises(InputError, match="holds NaN or infinity"):
        loaded_by(settings_of(tmp_path), copy)
    del tensors[name]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(InputError):
        loaded_by(settings_of(tmp_path), copy)


def test_the_command_trains_in_4_bits(tmp_path):
    flags = ("--use-peft", "--load-in-4bit", "--lora-r", "4", "--max-steps", "1", "--device", "cpu")
    sizes = ("--batch-size", "4", "--num-generations", "4", "--max-completion-length", "4")
    command = [sys.executable, "-m", "medr1", "train", *flags, *sizes]
    command += ["--model-path", str(tiny_vl_folder()), "--output-dir", str(tmp_path / "out")]
    command += ["--data", str(tiny_vqa_folder() / "validation.json")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-3000:]
    assert (tmp_path / "out" / "adapter_model.safetensors").exists()
