"""Dropout on shared prompts: what the plan says of it, and the gradient's mean over its masks."""

import pytest
import torch
from msgspec import UNSET
from steps import fresh_model, mixed_questions, trainer_for

from medr1.data.tiny import tiny_config, tiny_vl_folder
from medr1.models.loading import load_outline

pytest.importorskip("trl")

from medr1.train.dry_run.plan_text import plan_text
from medr1.train.run import resolve_plan
from medr1.train.settings import settings_from

ADAPTER = {"use_peft": True, "lora_r": 4}
SIZES = {"num_generations": 4, "batch_size": 8}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (ADAPTER, "0.05; the completions of a group share one dropout mask"),
        ({**ADAPTER, "lora_dropout": 0.2}, "0.2; the completions of a group"),
        ({**ADAPTER, "lora_dropout": 0.0}, None),
        ({**ADAPTER, "disable_dropout": True}, None),
        ({**ADAPTER, "shared_prefix": False}, None),
        ({}, None),
    ],
)
def test_the_plan_names_dropout_and_the_stock_way(changed, says, tmp_path):
    settings = settings_from({**tiny_config(), **SIZES, **changed}, tmp_path / "out")
    outline = load_outline(tiny_vl_folder(), device="cpu")
    plan = resolve_plan(outline, mixed_questions(tmp_path), settings)
    lines = [line for line in plan_text(plan).splitlines() if line.startswith("dropout")]
    if says is None:
        assert plan.dropout is UNSET and not lines
    else:
        assert says in plan.dropout and "--no-shared-prefix" in plan.dropout
        assert len(lines) == 1 and plan.dropout in lines[0]


def test_a_run_warns_of_dropout_once_and_of_none_never(tmp_path, caplog):
    from medr1.train.run import train

    questions = mixed_questions(tmp_path)
    for dropout, times in ((0.05, 1), (0.0, 0)):
        caplog.clear()
        values = {**tiny_config(), **SIZES, **ADAPTER, "lora_dropout": dropout, "max_steps": 1}
        train(fresh_model(), questions, settings_from(values, tmp_path / str(dropout)))
        said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("dropout")]
        assert len(said) == times


def gradients(folder, questions, draws, **changed):
    """The adapter's gradient of one batch of given completions, a row for each draw of masks."""
    trainer = trainer_for(fresh_model(), questions, folder, **{**ADAPTER, **changed})
    torch.manual_seed(2)
    for name, parameter in trainer.model.named_parameters():
        if "lora_B" in name:  # they begin as zero
            torch.nn.init.normal_(parameter, std=0.05)
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    rows = [{**trainer.train_dataset[i // 4]} for i in range(8)]
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    batch = trainer._generate_and_score_completions(rows)
    assert (batch["prompt_ids"].ndim == 3) == changed.get("shared_prefix", True)
    found = []
    for draw in range(draws):
        torch.manual_seed(draw)
        trainer.model.zero_grad()
        trainer._compute_loss(trainer.model, batch).backward()
        found.append(torch.cat([p.grad.flatten() for p in trained]).double())
    return torch.stack(found)


def spread(rows):
    """The variance over draws, summed over all numbers of the gradient."""
    return float(rows.var(0).sum())


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.05, 0.3])
def test_the_mean_gradient_over_masks_is_that_of_stock_trl(dropout, tmp_path):
    """The difference of two means is what chance gives, and a gradient without dropout is not."""
    questions, draws = mixed_questions(tmp_path), 150
    changed = {"lora_dropout": dropout}
    shared = gradients(tmp_path / "shared", questions, draws, **changed)
    stock = gradients(tmp_path / "stock", questions, draws, shared_prefix=False, **changed)
    chance = (spread(shared) + spread(stock)) / draws
    assert float((shared.mean(0) - stock.mean(0)).square().sum()) < 2 * chance
    assert 0.5 < spread(shared) / spread(stock) < 2
    none = gradients(tmp_path / "none", questions, 1, lora_dropout=0.0)[0]
    assert float((none - stock.mean(0)).square().sum()) > 5 * spread(stock) / draws
