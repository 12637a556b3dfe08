"""Gradient checkpointing: the same gradients, and a generation that keeps its cache."""

import pytest
import torch

from medr1.data.readers import read_questions
from medr1.data.tiny import tiny_config, tiny_vl_folder, tiny_vqa_folder
from medr1.models.loading import load_model

pytest.importorskip("trl")

from medr1.train.grpo import build_trainer
from medr1.train.settings import settings_from


def gradients(folder, **given):
    """The gradients of one update, and whether each generation kept and each pass recomputed."""
    small = {"batch_size": 8, "num_generations": 4, "max_completion_length": 6, "max_steps": 1}
    small |= {"freeze_vision": False, "logging_steps": 1}
    settings = settings_from({**tiny_config(), **small, **given}, folder)
    questions = read_questions(tiny_vqa_folder() / "train.json", limit=8)
    trainer = build_trainer(load_model(tiny_vl_folder(), device="cpu"), questions, settings)
    layer = trainer.model.get_base_model() if given.get("use_peft") else trainer.model
    attention = layer.model.language_model.layers[0].self_attn
    lengths, found = [], {}
    attention.register_forward_hook(
        lambda module, args, named, output: lengths.append(named["hidden_states"].shape[1]),
        with_kwargs=True,
    )
    step = trainer.training_step

    def and_keep(model, *args, **named):
        loss = step(model, *args, **named)
        found.update({n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad})
        return loss

    trainer.training_step = and_keep
    trainer.train()
    return found, lengths


ADAPTER = pytest.param({"use_peft": True, "lora_r": 4}, marks=pytest.mark.slow)


@pytest.mark.parametrize("extra", [{}, ADAPTER], ids=["full", "adapter"])
def test_the_gradients_are_the_same_and_generation_keeps_its_cache(tmp_path, extra):
    plain, lengths = gradients(tmp_path, **extra)
    recomputed, lengths_again = gradients(tmp_path, **extra, gradient_checkpointing=True)
    assert plain.keys() == recomputed.keys() and any(g.abs().max() > 0 for g in plain.values())
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient, rtol=1e-4, atol=1e-6)
    one_token = [length for length in lengths if length == 1]
    assert one_token and [n for n in lengths_again if n == 1] == one_token  # with a cache
    assert len(lengths_again) > len(lengths)  # layers are run again for the backward pass
