"""The trainer's advantages, losses and gradients against the algorithm on medr1/train/README.md.

The page's functions see one completion at a time, without padding, batches or TRL. Both updates of
a generation are compared, so that the ratio leaves 1 and is clipped.
"""

import copy
from dataclasses import dataclass, field, replace
from itertools import groupby

import algorithm
import pytest
import torch

pytest.importorskip("trl")

from steps import (
    REWARDS,
    STEP,
    fresh_model,
    mixed_questions,
    plain_logps,
    rows_of,
    run_steps,
    samples_of,
    trainer_for,
)

from medr1.models.loading import LoadedModel
from medr1.rewards import reward_functions

EPSILON = 0.2
CLOSE = {"rtol": 2e-4, "atol": 2e-6}
PAGE = algorithm.from_page()


@dataclass
class Reference:
    """The model that a run starts from, and what it says."""

    base: LoadedModel
    questions: object
    sample_of: dict
    known: dict = field(default_factory=dict)

    def logps(self, prompt, ids):
        """Under the weights at the start: the old policy's of the first generation, and ref's."""
        if (prompt, *ids) not in self.known:
            with torch.no_grad():
                logps_T = plain_logps(self.base, self.questions, self.sample_of[prompt], ids)
            self.known[prompt, *ids] = logps_T
        return self.known[prompt, *ids]

    def groups(self, step):
        """The completions that a step was given, by prompt, in whatever order they came."""
        rows = sorted(row for batch in step.batches for row in rows_of(batch))
        for prompt, group in groupby(rows, key=lambda row: row[0]):
            yield prompt, [completion for _, completion in group]

    def rewards(self, prompt, completions):
        """The weighted sums of the rewards, with the columns made here."""
        sample, n = self.sample_of[prompt], len(completions)
        texts = self.base.processor.tokenizer.batch_decode(completions, skip_special_tokens=True)
        columns = {
            "solution": [sample.ground_truth] * n,
            "options": [sample.options] * n,
            "answer_type": [sample.answer_type] * n,
            "question": [sample.question] * n,
        }
        given = [f(completions=texts, **columns) for f in reward_functions(REWARDS, "nothink")]
        return torch.tensor(STEP["reward_weights"]) @ torch.tensor(given)

    def step(self, step, config):
        """Every token's loss by the page, a vector a completion; the ratios; the parameters."""
        policy = replace(self.base, model=copy.deepcopy(self.base.model))
        policy.model.load_state_dict(step.weights, strict=False)
        losses, ratios = [], []
        for prompt, completions in self.groups(step):
            rewards_G = self.rewards(prompt, completions)
            advantages_G = PAGE.advantages(rewards_G, config.scale_rewards)
            for ids, advantage in zip(completions, advantages_G, strict=True):
                logps_T = plain_logps(policy, self.questions, self.sample_of[prompt], ids)
                base_T = self.logps(prompt, ids)
                losses.append(PAGE.token_losses(logps_T, base_T, base_T, advantage, config))
                ratios.append((logps_T.detach() - base_T).exp())
        return losses, torch.cat(ratios), dict(policy.model.named_parameters())


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    questions = mixed_questions(tmp_path_factory.mktemp("questions"))
    base = fresh_model()
    return Reference(base, questions, samples_of(base, questions))


def steps_of(reference, folder, config):
    fields = {name: getattr(config, name) for name in ("loss_type", "beta", "scale_rewards")}
    fields |= {"use_bias_correction_kl": config.corrected_kl, "epsilon": EPSILON}
    fields |= {"num_iterations": 2, "learning_rate": 0.01}
    return run_steps(trainer_for(fresh_model(), reference.questions, folder, **fields))


def config_of(loss_type, beta, scale, is_corrected):
    longest = STEP["max_completion_length"]
    return PAGE.Config(
        *(0, longest),
        loss_type=loss_type,
        beta=beta,
        scale_rewards=scale,
        corrected_kl=is_corrected,
        epsilon=EPSILON,
    )


def differing(found, loss, parameters):
    """The parameters whose gradients differ from the loss's, and those that only one knows."""
    gradients = torch.autograd.grad(
        loss, list(parameters.values()), retain_graph=True, materialize_grads=True
    )
    assert found.keys() == parameters.keys()
    return [
        name
        for name, gradient in zip(parameters, gradients, strict=True)
        if not torch.allclose(found[name], gradient, **CLOSE)
    ]


@pytest.mark.parametrize(
    ("loss_type", "beta", "scale", "is_corrected"),
    [
        pytest.param("grpo", 0.0, "group", True, marks=pytest.mark.slow),
        ("grpo", 0.04, "group", False),
        pytest.param("dr_grpo", 0.0, "none", True, marks=pytest.mark.slow),
        ("dr_grpo", 0.04, "none", True),
        pytest.param("dapo", 0.0, "group", True, marks=pytest.mark.slow),
        ("dapo", 0.04, "none", True),
        ("bnpo", 0.0, "none", True),
        pytest.param("bnpo", 0.04, "group", False, marks=pytest.mark.slow),
    ],
)
def test_loss_and_gradients_are_the_pages(
    loss_type, beta, scale, is_corrected, reference, tmp_path
):
    config = config_of(loss_type, beta, scale, is_corrected)
    steps = steps_of(reference, tmp_path, config)
    groups = list(reference.groups(steps[0]))
    assert [len(group) for _, group in groups] == [4, 4]
    assert len({len(ids) for _, group in groups for ids in group}) > 3
    for number, step in enumerate(steps):
        losses, ratios, parameters = reference.step(step, config)
        loss = PAGE.mean_loss(losses, config)
        assert step.loss == pytest.approx(float(loss.detach()), abs=1e-5)
        assert differing(step.gradients, loss, parameters) == []
        clipped = (ratios - 1).abs() > EPSILON
        assert bool(clipped.any()) == (number > 0) and not clipped.all()


def test_a_wrong_denominator_or_sign_or_group_is_seen(reference, tmp_path):
    config = config_of("dapo", 0.04, "none", True)
    first, second = steps_of(reference, tmp_path, config)
    losses, _, parameters = reference.step(first, config)
    for wrong in ("grpo", "dr_grpo"):
        loss = PAGE.mean_loss(losses, replace(config, loss_type=wrong))
        assert differing(first.gradients, loss, parameters)
    assert differing(first.gradients, -PAGE.mean_loss(losses, config), parameters)
    for wrong in ({"scale_rewards": "group"}, {"corrected_kl": False}, {"beta": 0.0}):
        losses, _, parameters = reference.step(second, replace(config, **wrong))
        assert differing(second.gradients, PAGE.mean_loss(losses, config), parameters)
