"""Adapters with magnitudes (DoRA) and with the scale of rsLoRA, from training to inference.

test_resume.py resumes a run with both.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("trl")

from both_trainers import Behaviour, differences, train
from fault_runs import TINY, few_questions
from in_process import medr1
from peft import LoraConfig, PeftModel
from trl import GRPOTrainer

from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.evaluate.reading.results import read_results
from medr1.models.loading import LoadedModel, load_model, load_outline
from medr1.train.run import resolve_plan
from medr1.train.run import train as run_training
from medr1.train.settings import lora_config, settings_from
from medr1.train.shared_prefix.trainer import SharedPrefixTrainer

KINDS: dict[str, dict[str, bool]] = {
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True},
    "both": {"use_dora": True, "use_rslora": True},
}
ADAPTER = {"use_peft": True, "lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.0}
RUN = {**TINY, **ADAPTER, "learning_rate": 0.05, "max_steps": 2}


def options(values: dict[str, Any]) -> list[str]:
    """Settings as options of the command."""
    return [
        text
        for name, value in values.items()
        for text in (f"--{name.replace('_', '-')}", *([] if value is True else [str(value)]))
    ]


def logits(model: Any) -> torch.Tensor:
    """The logits of a short text."""
    with torch.no_grad():
        values: torch.Tensor = model(input_ids=torch.tensor([[5, 6, 7, 8, 9]])).logits
    return values


def trained(folder: Path, kind: str) -> Path:
    """The adapter of a run of two steps."""
    settings = settings_from({**RUN, **KINDS[kind]}, folder)
    return run_training(load_model(tiny_vl_folder(), device="cpu"), few_questions(), settings)


@pytest.mark.parametrize(
    "kind", [*(pytest.param(kind, marks=pytest.mark.slow) for kind in ("dora", "rslora")), "both"]
)
def test_training_on_shared_prompts_is_stock_trls(
    kind: str, tiny_model: LoadedModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_from({**ADAPTER, **KINDS[kind]}, tmp_path)
    config = lora_config(settings, tiny_model.model)
    assert isinstance(config, LoraConfig)
    assert {name: getattr(config, name) for name in KINDS[kind]} == KINDS[kind]
    # two updates for each rollout, a reference, and dropout layers that are off
    fields = {"num_iterations": 2, "beta": 0.1, "learning_rate": 0.3, "max_steps": 4}
    setting = Behaviour(fields, peft=config)
    runs = [
        train(trainer, tiny_model, setting, tmp_path, caplog)
        for trainer in (GRPOTrainer, SharedPrefixTrainer)
    ]
    assert runs[1].trainer._shares and differences(runs[1], runs[0]) == []
    names = {name for name in runs[1].moved if "magnitude" in name}
    assert bool(names) == ("use_dora" in KINDS[kind])
    assert any("lora_A" in name for name in runs[1].moved)


def test_the_scale_of_rslora_is_by_the_root_of_the_rank(tmp_path: Path) -> None:
    scales = []
    for kind in ({}, {"use_rslora": True}):
        settings = settings_from({**ADAPTER, "lora_r": 16, **kind}, tmp_path)
        model = load_model(tiny_vl_folder(), device="cpu").model
        config = lora_config(settings, model)
        assert config is not None
        layer = next(
            module
            for module in PeftModel(model, config).modules()
            if isinstance(getattr(module, "scaling", None), dict) and module.scaling
        )
        scales.append(layer.scaling["default"])
    assert scales == [8 / 16, 8 / math.sqrt(16)]


@pytest.mark.parametrize("kind", ["dora", "rslora", pytest.param("both", marks=pytest.mark.slow)])
def test_the_merged_model_answers_as_the_adapter_does(kind: str, tmp_path: Path) -> None:
    folder = trained(tmp_path / "adapter", kind)
    saved = json.loads((folder / "adapter_config.json").read_text())
    assert {name: saved[name] for name in ("use_dora", "use_rslora")} == {
        "use_dora": False,
        "use_rslora": False,
        **KINDS[kind],
    }
    base = load_model(tiny_vl_folder(), device="cpu").model
    before = logits(base)
    # peft's own way to the same adapter, beside the weights
    expected = logits(PeftModel.from_pretrained(base, str(folder)).eval())
    assert not torch.allclose(expected, before, atol=1e-2)
    assert torch.allclose(logits(load_model(folder, device="cpu").model), expected, atol=1e-4)
    merged = tmp_path / "merged"
    assert medr1("merge", folder, "--output-dir", merged).returncode == 0
    assert torch.allclose(logits(load_model(merged, device="cpu").model), expected, atol=1e-4)
    # the settings of the other kind would give other weights
    wrong = {name: not value for name, value in KINDS[kind].items() if name == "use_rslora"}
    if wrong:
        (folder / "adapter_config.json").write_text(json.dumps({**saved, **wrong}))
        assert not torch.allclose(
            logits(load_model(folder, device="cpu").model), expected, atol=1e-4
        )


def test_the_plan_counts_the_magnitudes(tmp_path: Path) -> None:
    questions = few_questions(8)
    loaded = load_outline(tiny_vl_folder(), device="cpu")
    plans = [
        resolve_plan(loaded, questions, settings_from({**RUN, **extra}, tmp_path))
        for extra in ({}, KINDS["dora"])
    ]
    text = loaded.model.config.get_text_config()
    heads = text.num_key_value_heads * (text.hidden_size // text.num_attention_heads)
    # a magnitude for each output of q, k, v, o, gate, up and down
    outputs = 3 * text.hidden_size + 2 * heads + 2 * text.intermediate_size
    magnitudes = text.num_hidden_layers * outputs
    assert plans[1].trained_parameters - plans[0].trained_parameters == magnitudes
    for kind, times in {"weights": 4, "gradients": 4, "optimizer": 8}.items():
        sizes = [plan.bytes_per_process[kind] for plan in plans]
        assert sizes[1] - sizes[0] == times * magnitudes


def test_the_command_trains_merges_and_asks(tmp_path: Path) -> None:
    values = {**RUN, **KINDS["both"], "rewards": "accuracy"}
    needed = ("--model-path", tiny_vl_folder(), "--data", tiny_vqa_folder(), "--device", "cpu")
    chosen = ("--answer-types", "multiple_choice", "--output-dir", tmp_path / "adapter")
    made = [medr1("train", *needed, *chosen, *options(values))]
    made.append(medr1("merge", tmp_path / "adapter", "--output-dir", tmp_path / "merged"))
    answers = []
    for name in ("adapter", "merged"):
        file, data = tmp_path / f"{name}.json", tiny_vqa_folder() / "validation.json"
        written = ("--output-file", file, "--max-new-tokens", 8, "--limit", 4)
        given = ("--model-path", tmp_path / name, "--device", "cpu", "--batch-file", data)
        made.append(medr1("infer", *given, *written))
        answers.append([prediction.model_output for prediction in read_results(file).predictions])
    assert [run.returncode for run in made] == [0] * 4, [run.stderr for run in made]
    assert len(answers[0]) == 4 and answers[0] == answers[1]
