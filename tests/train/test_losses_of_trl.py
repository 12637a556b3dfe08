"""Each loss of TRL's GRPO with token and sequence ratios: loss and gradient on shared prompts.

Stock TRL and SharedPrefixTrainer sample the same completions. Then all weights change, so that the
ratios leave 1, and each trainer computes each loss of the same batch. One of the three groups has
equal rewards: with a beta of 0 it makes no backward pass on shared prompts.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("trl")

from both_trainers import FIELDS, Behaviour, trainer_of
from trl import GRPOTrainer, RLOOConfig, RLOOTrainer

from medr1.models.loading import LoadedModel
from medr1.rewards import message_text
from medr1.train.fields import choices
from medr1.train.settings import settings_from
from medr1.train.shared_prefix.trainer import SharedPrefixTrainer

G = 4
LOSSES = ("bnpo", "cispo", "dapo", "dr_grpo", "grpo", "luspo", "sapo", "vespo")
LEVELS = ("sequence", "token")
BETAS = (0.0, 0.5)
CLOSE = 2e-5
"""The largest difference of gradients, as a share of the largest entry of any gradient."""
FIELDS_OF_RUN = {
    **{"num_iterations": 2, "per_device_train_batch_size": 3 * G, "num_generations": G},
    **{"max_completion_length": 12, "temperature": 1.2, "epsilon": 0.02},
}


def reward(completions: list[Any], id: list[str], **columns: object) -> list[float]:
    """The number of characters; 1 for each completion of question 1."""
    texts = [message_text(completion) for completion in completions]
    return [1.0 if i == "1" else len(text) / 10 for i, text in zip(id, texts, strict=True)]


@dataclass
class Scored:
    """A trainer and the batch of completions that it has sampled and rewarded."""

    trainer: Any
    batch: dict[str, Any]

    def loss_and_gradients(self) -> tuple[float, dict[str, torch.Tensor]]:
        """The loss of the batch, and its gradient for each weight."""
        self.trainer.model.zero_grad()
        loss = self.trainer._compute_loss(self.trainer.model, dict(self.batch))
        loss.backward()
        named = self.trainer.model.named_parameters()
        return loss.item(), {name: weight.grad.clone() for name, weight in named}


def scored(trainer: Any) -> Scored:
    """The batch that a trainer makes of three questions, before an update."""
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    torch.manual_seed(3)
    inputs = [row for row in trainer.train_dataset.select(range(3)) for _ in range(G)]
    return Scored(trainer, trainer._generate_and_score_completions(inputs))


def change_weights(trainer: Any) -> None:
    """Add the same noise to each weight, in whichever trainer."""
    torch.manual_seed(4)
    with torch.no_grad():
        for weight in trainer.model.parameters():
            weight += 0.15 * weight.std(correction=0) * torch.randn_like(weight)


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest difference of two gradients, as a share of the largest entry of the second."""
    assert one.keys() == other.keys() and len(one) > 5
    largest = max(float(gradient.abs().max()) for gradient in other.values())
    return max(float((one[name] - other[name]).abs().max()) for name in one) / largest


@pytest.fixture(scope="module")
def pair(tiny_model: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> list[Scored]:
    """Stock TRL's trainer and the one with shared prompts, after the weights have changed."""
    setting = Behaviour({**FIELDS_OF_RUN, "beta": 0.5}, rewards=(reward,))
    folder = tmp_path_factory.mktemp("losses")
    made = [
        scored(trainer_of(kind, tiny_model, setting, folder))
        for kind in (GRPOTrainer, SharedPrefixTrainer)
    ]
    stock, shared = (each.batch["completion_ids"].reshape(3 * G, -1) for each in made)
    assert torch.equal(stock, shared) and made[1].batch["completion_ids"].shape[:2] == (3, G)
    for each in made:
        change_weights(each.trainer)
    return made


def set_loss(each: Scored, loss_type: str, level: str, beta: float) -> None:
    """Choose the loss that a trainer computes."""
    each.trainer.loss_type, each.trainer.beta = loss_type, beta
    each.trainer.importance_sampling_level = level
    # cispo limits the ratio to epsilon_high itself, the others to 1 + epsilon_high
    each.trainer.epsilon_high = 1.0 if loss_type == "cispo" else 0.02


def test_the_losses_here_are_all_that_trl_has() -> None:
    assert choices()["loss_type"] == LOSSES
    assert choices()["importance_sampling_level"] == LEVELS


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("loss_type", LOSSES)
def test_loss_and_gradients_are_stock_trls(
    loss_type: str, level: str, beta: float, pair: list[Scored]
) -> None:
    results = []
    for each in pair:
        set_loss(each, loss_type, level, beta)
        each.trainer._metrics["train"].clear()
        results.append(each.loss_and_gradients())
    (expected_loss, expected), (loss, gradients) = results
    assert loss == pytest.approx(expected_loss, rel=1e-5, abs=5e-6)
    assert difference(gradients, expected) <= CLOSE
    logged, shared_logged = (each.trainer._metrics["train"] for each in pair)
    assert shared_logged.pop("frac_groups_left_out") == [pytest.approx(0 if beta else 1 / 3)]
    assert shared_logged == {
        name: pytest.approx(values, rel=1e-4, abs=1e-6) for name, values in logged.items()
    }
    if "clip_ratio/region_mean" in logged:
        assert 0 < logged["clip_ratio/region_mean"][0] < 1


def test_each_loss_and_level_has_a_gradient_of_its_own(pair: list[Scored]) -> None:
    gradients = {}
    for loss_type, level in itertools.product(LOSSES, LEVELS):
        set_loss(pair[1], loss_type, level, 0.0)
        gradients[loss_type, level] = pair[1].loss_and_gradients()[1]
    same = {
        (one, other)
        for one, other in itertools.combinations(gradients, 2)
        if difference(gradients[one], gradients[other]) < 100 * CLOSE
    }
    # where one pass is a whole generation, bnpo is dapo; the weights of vespo are of sequences
    assert same == {
        (("bnpo", "sequence"), ("dapo", "sequence")),
        (("bnpo", "token"), ("dapo", "token")),
        (("vespo", "sequence"), ("vespo", "token")),
    }


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("loss_type", LOSSES)
def test_each_loss_can_be_chosen(loss_type: str, level: str, tmp_path: Path) -> None:
    values = {"loss_type": loss_type, "importance_sampling_level": level}
    assert settings_from(values, tmp_path).trainer == values


@pytest.mark.parametrize("level", LEVELS)
def test_the_first_update_of_luspo_is_that_of_rloo(
    level: str, tiny_model: LoadedModel, tmp_path: Path
) -> None:
    luspo = {"loss_type": "luspo", "importance_sampling_level": level, "scale_rewards": "none"}
    setting = Behaviour({**FIELDS_OF_RUN, **luspo}, rewards=(reward,))
    shared = scored(trainer_of(SharedPrefixTrainer, tiny_model, setting, tmp_path))
    fields = {**FIELDS, **FIELDS_OF_RUN, "beta": 0.0}
    others = {"args": RLOOConfig(output_dir=str(tmp_path), **fields)}
    setting = Behaviour(rewards=(reward,), others=others)
    rloo = scored(trainer_of(RLOOTrainer, tiny_model, setting, tmp_path))
    completions = shared.batch["completion_ids"].reshape(3 * G, -1)
    assert torch.equal(completions, rloo.batch["completion_ids"])
    advantages = shared.batch["advantages"].flatten() * G / (G - 1)
    assert torch.allclose(advantages, rloo.batch["advantages"], atol=1e-6)
    expected = rloo.loss_and_gradients()[1]
    gradients = shared.loss_and_gradients()[1]
    scaled = {name: gradient * G / (G - 1) for name, gradient in gradients.items()}
    assert difference(scaled, expected) <= CLOSE
    assert difference(gradients, expected) > 0.2


def test_at_the_first_update_losses_differ_only_in_their_denominators(
    tiny_model: LoadedModel, tmp_path: Path
) -> None:
    setting = Behaviour(FIELDS_OF_RUN, rewards=(reward,))
    shared = scored(trainer_of(SharedPrefixTrainer, tiny_model, setting, tmp_path))
    gradients = {}
    for loss_type in LOSSES:
        set_loss(shared, loss_type, "token", 0.0)
        gradients[loss_type] = shared.loss_and_gradients()[1]
    same = [("dapo", "cispo"), ("dapo", "vespo"), ("dapo", "bnpo"), ("grpo", "sapo")]
    assert all(difference(gradients[one], gradients[other]) <= CLOSE for one, other in same)
    others = itertools.combinations(("dapo", "dr_grpo", "grpo", "luspo"), 2)
    assert all(difference(gradients[one], gradients[other]) > 0.01 for one, other in others)
