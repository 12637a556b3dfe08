"""The term of PAPO: the masks, the loss and its gradient, and the option `--papo`.

test_resume.py resumes such a run.
"""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import algorithm
import numpy as np
import pytest
import torch
from in_process import medr1
from PIL import Image
from tiny_families import gemma3

pytest.importorskip("trl")

from fault_runs import TINY, flags
from steps import (
    Step,
    fresh_model,
    mixed_questions,
    plain_inputs,
    rows_of,
    run_steps,
    samples_of,
    trainer_for,
)

from medr1.data.readers import Questions
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.errors import InputError
from medr1.models.loading import LoadedModel, load_outline
from medr1.records import Sample
from medr1.train.dry_run.plan_text import plan_text
from medr1.train.grpo import fitting_samples
from medr1.train.masked_image import black_patch, mask_patches, mask_seed, token_kl
from medr1.train.run import resolve_plan
from medr1.train.settings import settings_from

PAGE = algorithm.from_page()
PAPO, ENTROPY = 0.7, 0.2
RUN = {"papo": PAPO, "papo_entropy": ENTROPY, "learning_rate": 0.01, "num_iterations": 2}


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Questions:
    return mixed_questions(tmp_path_factory.mktemp("questions"))


# --- masks -------------------------------------------------------------------------------------


def test_a_masked_patch_is_a_black_square_of_the_image(tiny_model: LoadedModel) -> None:
    process = tiny_model.processor.image_processor
    side, seed = process.patch_size, 5
    # each square has a grey of its own, which tells the order of the patches
    greys = np.arange(10, 74, dtype=np.uint8).reshape(8, 8)
    pixels = np.kron(greys, np.ones((side, side), dtype=np.uint8))

    def patches_of(values: np.ndarray) -> torch.Tensor:
        image = Image.fromarray(np.repeat(values[..., None], 3, axis=-1))
        patches: torch.Tensor = process([image], return_tensors="pt")["pixel_values"]
        return patches

    patches, black = patches_of(pixels), black_patch(tiny_model.processor)
    masked = mask_patches(patches, black, seed)
    changed = [i for i in range(64) if not torch.equal(masked[i], patches[i])]
    assert 25 < len(changed) < 50
    order = patches[:, 0].argsort().argsort()  # the rank of a patch's grey is its square
    for i in changed:
        row, column = divmod(int(order[i]), 8)
        pixels[row * side : (row + 1) * side, column * side : (column + 1) * side] = 0
    assert torch.equal(masked, patches_of(pixels))
    assert torch.equal(masked, mask_patches(patches, black, seed))
    assert not torch.equal(masked, mask_patches(patches, black, seed + 1))


def test_six_of_ten_patches_are_masked() -> None:
    masked = mask_patches(torch.ones(20_000, 3), torch.tensor([0.0, 1.0, 2.0]), 1)
    assert float((masked[:, 0] == 0).float().mean()) == pytest.approx(0.6, abs=0.02)


def test_each_question_and_step_has_a_seed_of_its_own() -> None:
    triples = list(itertools.product((0, 7), range(9), range(2)))
    assert len({mask_seed(*triple) for triple in triples}) == len(triples)


def test_the_estimate_is_0_for_equal_policies_and_limited() -> None:
    logps = torch.tensor([-1.0, -1.0, -1.0, -60.0, -0.1], requires_grad=True)
    kl = token_kl(logps, torch.tensor([-1.0, -2.0, -0.5, -0.1, -60.0]))
    expected = [0.0, np.exp(-1) + 1 - 1, np.exp(0.5) - 0.5 - 1, 10.0, 10.0]
    assert kl.tolist() == pytest.approx(expected, abs=1e-6)
    (gradient,) = torch.autograd.grad(kl.sum(), logps)
    assert gradient.tolist() == pytest.approx([0, 1 - np.exp(-1), 1 - np.exp(0.5), 0, 0], abs=1e-6)


# --- loss and gradient -------------------------------------------------------------------------


def plain_scores(
    policy: LoadedModel, questions: Questions, sample: Sample, ids: list[int], seed: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """A completion's log-probabilities and entropies, in a pass of its own; `seed`: of a mask."""
    inputs = plain_inputs(policy, questions, sample, ids)
    if seed is not None:
        image = Image.new("RGB", (56, 56), "black")
        black = policy.processor.image_processor([image], return_tensors="pt")["pixel_values"][0]
        generator = torch.Generator().manual_seed(seed)
        is_masked = torch.rand(len(inputs["pixel_values"]), generator=generator) < 0.6
        inputs["pixel_values"] = inputs["pixel_values"].clone()
        inputs["pixel_values"][is_masked] = black
    logps = policy.model(**inputs).logits[0, -len(ids) - 1 : -1].log_softmax(-1)
    entropies = -(logps.exp() * logps).sum(-1)
    return logps.gather(-1, torch.tensor(ids)[:, None])[:, 0], entropies


def policy_with(weights: dict[str, torch.Tensor]) -> LoadedModel:
    """The embedded model with other weights."""
    loaded = fresh_model()
    loaded.model.load_state_dict(weights, strict=False)
    return loaded


def plain_terms(
    step: Step, first: Step, questions: Questions
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """The means of GRPO's losses, divergences and entropies of an update, and the weights."""
    policy, sampling = policy_with(step.weights), policy_with(first.weights)
    sample_of = samples_of(policy, questions)
    losses, divergences, entropies = [], [], []
    for batch in step.batches:
        rows = zip(rows_of(batch), batch["mask_seeds"], batch["advantages"], strict=True)
        for (prompt, ids), seed, advantage in rows:
            sample = sample_of[prompt]
            with torch.no_grad():
                old = plain_scores(sampling, questions, sample, ids, None)[0]
            logps, entropy = plain_scores(policy, questions, sample, ids, None)
            other, other_entropy = plain_scores(policy, questions, sample, ids, int(seed))
            losses.append(PAGE.token_losses(logps, old, old, advantage, PAGE.Config()))
            divergences.append((other - logps).exp() - (other - logps) - 1)
            entropies.append(entropy + other_entropy)
    means = [torch.cat(values).mean() for values in (losses, divergences, entropies)]
    assert float(torch.cat(divergences).max()) < 10
    return means[0], means[1], means[2], dict(policy.model.named_parameters())


@pytest.mark.parametrize(
    "changed",
    [{}, {"shared_prefix": False}, {"batch_size": 4, "gradient_accumulation_steps": 2}],
    ids=["shared", "not shared", "two passes"],
)
def test_loss_and_gradient_are_those_of_a_plain_implementation(
    changed: dict[str, Any], questions: Questions, tmp_path: Path
) -> None:
    trainer = trainer_for(fresh_model(), questions, tmp_path, **RUN, **changed)
    steps = run_steps(trainer)
    logged = [line["perception_kl"] for line in trainer.state.log_history if "loss" in line]
    for step, number in zip(steps, logged, strict=True):
        policy_loss, divergence, entropy, parameters = plain_terms(step, steps[0], questions)
        loss = policy_loss - PAPO * divergence + ENTROPY * entropy
        assert step.loss == pytest.approx(float(loss.detach()), abs=1e-5)
        for part in (divergence, entropy):  # each term has a gradient that would be missed
            gradients = torch.autograd.grad(part, [*parameters.values()], retain_graph=True)
            assert max(float(gradient.abs().max()) for gradient in gradients) > 1e-3
        gradients = torch.autograd.grad(loss, [*parameters.values()])
        for name, gradient in zip(parameters, gradients, strict=True):
            error = float((step.gradients[name] - gradient).abs().max())
            assert error <= 2e-5 * max(float(gradient.abs().max()), 0.1), name
        if len(step.batches) == 1:  # otherwise the mean of two passes is logged
            assert number == pytest.approx(float(divergence.detach()), rel=1e-3)


@pytest.mark.parametrize(
    "changed",
    [{"use_peft": True, "lora_r": 4, "lora_dropout": 0.0}, {"gradient_checkpointing": True}],
    ids=["adapter", "checkpointing"],
)
def test_gradients_are_the_same_with_and_without_shared_prompts(
    changed: dict[str, Any], questions: Questions, tmp_path: Path
) -> None:
    gradients = []
    for number, shared in enumerate((True, False)):
        torch.manual_seed(1)  # what an adapter begins with is drawn
        values = {**RUN, **changed, "shared_prefix": shared, "max_steps": 2}
        trainer = trainer_for(fresh_model(), questions, tmp_path / str(number), **values)
        gradients.append(run_steps(trainer)[1].gradients)
    first, second = gradients
    largest = max(float(gradient.abs().max()) for gradient in second.values())
    assert first.keys() == second.keys() and largest > 1e-3
    assert all(float((first[n] - g).abs().max()) < 2e-5 * largest for n, g in second.items())


def test_masks_are_of_questions_and_rollouts(questions: Questions, tmp_path: Path) -> None:
    trainer = trainer_for(fresh_model(), questions, tmp_path, **{**RUN, "max_steps": 4})
    seeds = [
        {prompt: int(seed) for (prompt, _), seed in zip(rows_of(b), b["mask_seeds"], strict=True)}
        for step in run_steps(trainer)
        for b in step.batches
    ]
    assert seeds[0] == seeds[1] and seeds[2] == seeds[3]
    assert len({*seeds[0].values(), *seeds[2].values()}) == 4


def test_without_the_term_a_run_is_as_before(questions: Questions, tmp_path: Path) -> None:
    runs = []
    for number, changed in enumerate(({}, {"papo": 0.0}, {"papo": 0.01})):
        trainer = trainer_for(fresh_model(), questions, tmp_path / str(number), **changed)
        steps = run_steps(trainer)
        assert all("mask_seeds" not in step.batches[0] for step in steps) == (number < 2)
        lines = [line for line in trainer.state.log_history if "loss" in line]
        assert all("perception_kl" in line for line in lines) == (number == 2)
        runs.append((steps, [(line["loss"], line["grad_norm"]) for line in lines]))
    (steps, lines), (others, other_lines), (_, with_term) = runs
    assert lines == other_lines and lines != with_term
    for step, other in zip(steps, others, strict=True):
        assert all(torch.equal(step.gradients[n], g) for n, g in other.gradients.items())


def all_equal(completions: list[Any], **columns: object) -> list[float]:
    """The same reward for each completion."""
    return [1.0] * len(completions)


def test_an_update_raises_the_divergence_also_where_rewards_are_equal(
    questions: Questions, tmp_path: Path
) -> None:
    changed = {"rewards": ["test_masked_image:all_equal"], "reward_weights": None}
    # every second update has the completions and masks of the update before it
    changed |= {"papo": 0.5, "max_steps": 8, "learning_rate": 0.002, "num_iterations": 2}
    trainer = trainer_for(fresh_model(), questions, tmp_path, **changed)
    trainer.train()
    lines = [line for line in trainer.state.log_history if "loss" in line]
    assert all(line["frac_groups_left_out"] == 0 for line in lines)
    values = [line["perception_kl"] for line in lines]
    assert [line["loss"] for line in lines] == pytest.approx([-0.5 * v for v in values], abs=1e-5)
    assert all(second > first for first, second in zip(values[::2], values[1::2], strict=True)), (
        values
    )


# --- the option --------------------------------------------------------------------------------


def test_what_cannot_be_masked_is_refused(questions: Questions, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="papo is -1; it has to be at least 0"):
        settings_from({**TINY, "papo": -1}, tmp_path)
    with pytest.raises(InputError, match="papo_entropy is a part of PAPO and needs papo"):
        settings_from({**TINY, "papo_entropy": 0.1}, tmp_path)
    with pytest.raises(InputError, match="papo belongs to --method grpo"):
        settings_from({"method": "sft", "papo": 0.1}, tmp_path)
    settings = settings_from({**TINY, "papo": 0.1}, tmp_path)
    without = [replace(sample, images=()) for sample in questions.samples]
    with pytest.raises(InputError, match="item 0 has no image that --papo could mask"):
        fitting_samples(fresh_model(), replace(questions, samples=without), settings)
    gemma3(tmp_path / "gemma3")
    other = load_outline(tmp_path / "gemma3", device="cpu", allow_template=True)
    with pytest.raises(InputError, match=r"qwen3_vl.*, and this model is a gemma3\. Leave it out"):
        fitting_samples(other, questions, settings)


def test_the_plan_counts_both_passes(questions: Questions, tmp_path: Path) -> None:
    loaded = load_outline(tiny_vl_folder(), device="cpu")
    plans = [
        resolve_plan(loaded, questions, settings_from({**TINY, "papo": papo}, tmp_path))
        for papo in (0.0, 0.1)
    ]
    first, second = (plan.bytes_per_process["activations_estimate"] for plan in plans)
    assert second == 2 * first > 0
    assert "PAPO" not in plan_text(plans[0]) and plans[1].papo == (0.1, 0.0)
    assert re.search(r"^PAPO +0\.1$", plan_text(plans[1]), re.MULTILINE)


def test_the_command_logs_the_divergence(tmp_path: Path) -> None:
    values = {**TINY, "max_steps": 2, "papo": 0.01}
    needed = ("--model-path", tiny_vl_folder(), "--data", tiny_vqa_folder(), "--device", "cpu")
    chosen = ("--answer-types", "multiple_choice", "--output-dir", tmp_path / "out")
    done = medr1("train", *needed, *chosen, *flags(values))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").open()]
    assert all(line["perception_kl"] >= 0 for line in lines if "reward" in line)
    assert json.loads((tmp_path / "out" / "training.json").read_text())["configuration"]["papo"]
