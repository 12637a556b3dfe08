"""Which architecture is trained, in what dtype, and which of its parameters."""

import json
import shutil

import pytest
import torch
from architectures import random_model

pytest.importorskip("trl")

from steps import STEP, fresh_model, mixed_questions, run_steps, trainer_for

from medr1.data.tiny import tiny_vl_folder
from medr1.models.loading import load_model, load_outline
from medr1.train.run import train
from medr1.train.settings import settings_from

NAMED_WRONGLY = {
    "qwen2_vl": ("Qwen2.5-VL-3B", "Qwen2VLForConditionalGeneration"),
    "qwen2_5_vl": ("Qwen3-VL-4B", "Qwen2_5_VLForConditionalGeneration"),
    "qwen3_vl": ("output-Qwen2-VL", "Qwen3VLForConditionalGeneration"),
    "qwen3_vl_moe": ("Qwen3-VL-8B", "Qwen3VLMoeForConditionalGeneration"),
}


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return mixed_questions(tmp_path_factory.mktemp("questions"))


def written(kind, folder):
    """A checkpoint of random weights, of one architecture, in a folder named like another."""
    path = folder / NAMED_WRONGLY[kind][0]
    shutil.copytree(tiny_vl_folder(), path, ignore=shutil.ignore_patterns("*.safetensors", "SHA*"))
    random_model(kind, fresh_model()).model.save_pretrained(path)
    return path


@pytest.mark.parametrize("kind", NAMED_WRONGLY)
def test_the_class_is_that_of_the_configuration_and_not_of_the_name(
    kind, questions, tmp_path, monkeypatch
):
    """Two steps with sampling, of the language model alone, and the checkpoint loads again."""
    path = written(kind, tmp_path)
    loaded = load_model(path, device="cpu")
    assert type(loaded.model).__name__ == NAMED_WRONGLY[kind][1]
    assert type(load_outline(path, device="cpu").model) is type(loaded.model)
    before = {name: p.detach().clone() for name, p in loaded.model.named_parameters()}
    # random words are never right: what tells them apart here is what they are
    (tmp_path / "word_rewards.py").write_text(
        "def even(completion_ids, **columns):\n"
        "    return [sum(i % 2 for i in ids) / len(ids) for ids in completion_ids]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = {**STEP, "freeze_vision": True, "rewards": ["word_rewards:even"]}
    config["reward_weights"] = [1.0]
    folder = train(loaded, questions, settings_from(config, tmp_path / "out"))
    again = load_model(folder, device="cpu")
    assert type(again.model) is type(loaded.model)
    after = dict(again.model.named_parameters())
    changed = {name for name, p in before.items() if not torch.equal(p, after[name])}
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert max(line.get("reward_std", 0.0) for line in lines) > 0
    assert changed and not any("visual" in name for name in changed)


@pytest.mark.parametrize(
    ("kind", "extra"),
    [(kind, {"freeze_vision": True}) for kind in ("qwen3_vl", "qwen3_vl_moe")]
    + [(kind, {"use_peft": True, "lora_r": 2}) for kind in NAMED_WRONGLY],
)
def test_only_the_parameters_meant_change(kind, extra, questions, tmp_path):
    loaded = load_model(written(kind, tmp_path), device="cpu")
    language = {name for name, _ in loaded.model.named_parameters() if "visual" not in name}
    trainer = trainer_for(loaded, questions, tmp_path, **extra)
    first, _ = run_steps(trainer)
    after = dict(trainer.model.named_parameters())
    changed = {name for name, p in first.weights.items() if not torch.equal(p, after[name])}
    if "use_peft" in extra:
        assert changed == {name for name in after if "lora_" in name}
        assert all("language_model" in name for name in changed)
        # experts are no linear layers, and get no adapter
        adapted = 4 if kind == "qwen3_vl_moe" else 7
        assert len(changed) == 2 * adapted * loaded.model.config.get_text_config().num_hidden_layers
    else:
        assert changed == language


def test_the_dtype_reaches_the_model_and_the_reference(questions, tmp_path):
    kinds = {}
    for extra in ({"beta": 0.04}, {"beta": 0.04, "use_peft": True, "lora_r": 2}):
        loaded = fresh_model(dtype="bfloat16")
        assert {p.dtype for p in loaded.model.parameters()} == {torch.bfloat16}
        trainer = trainer_for(loaded, questions, tmp_path, max_steps=1, **extra)
        assert trainer.args.bf16
        models = [model for model in (trainer.model, trainer.ref_model) if model is not None]
        kinds[len(models)] = [
            {p.dtype for name, p in model.named_parameters() if "lora_" not in name}
            for model in models
        ]
    assert kinds == {2: [{torch.bfloat16}] * 2, 1: [{torch.bfloat16}]}
