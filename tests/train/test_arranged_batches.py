"""Batches of an update arranged by image or length: the gradient is the same, and less is run."""

import logging

import pytest
import torch

pytest.importorskip("trl")

from steps import fresh_model, mixed_questions, run_steps, trainer_for
from test_question_order import BY_LENGTH, of_four_images

from medr1.train.shared_prefix import arranged_batches
from medr1.train.shared_prefix.arranged_batches import batches_of_an_update, by_image, by_length


def steps_and_images(trainer):
    """The steps of a run, and how many images each pass encoded."""
    encoded = []
    trainer.model.model.visual.register_forward_pre_hook(
        lambda module, args, kwargs: encoded.append(len(kwargs["grid_thw"])), with_kwargs=True
    )
    return run_steps(trainer), encoded


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo"])
def test_an_update_runs_each_image_once_and_has_the_same_gradient(loss_type, tmp_path, monkeypatch):
    questions, runs = of_four_images(tmp_path), []
    values = {"group_by_image": True, "gradient_accumulation_steps": 2, "loss_type": loss_type}
    for arranged in (True, False):
        if not arranged:
            monkeypatch.setattr(arranged_batches, "by_image", list)
        trainer = trainer_for(fresh_model(), questions, tmp_path, **values, **BY_LENGTH)
        runs.append(steps_and_images(trainer))
    (steps, encoded), (others, more_encoded) = runs
    assert encoded == [1, 1, 1, 1]
    assert sum(more_encoded) > 4
    same_updates(steps, others)


def same_updates(steps, others):
    """Asserts that two runs have the same losses and gradients, up to rounding."""
    for step, other in zip(steps, others, strict=True):
        assert step.loss == pytest.approx(other.loss, rel=1e-5, abs=1e-7)
        for name, gradient in step.gradients.items():
            scale = float(other.gradients[name].abs().max()) or 1.0
            assert float((gradient - other.gradients[name]).abs().max()) < 1e-4 * scale, name


def steps_and_tokens(trainer):
    """The steps of a run, and how many tokens the language model read with gradient."""
    tokens = []

    def count(module, args, kwargs):
        if torch.is_grad_enabled():
            tokens.append(kwargs["inputs_embeds"].shape[:-1].numel())

    trainer.model.model.language_model.register_forward_pre_hook(count, with_kwargs=True)
    return run_steps(trainer), sum(tokens)


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo"])
def test_batches_by_length_have_the_same_gradient_and_less_padding(loss_type, tmp_path):
    questions, runs = mixed_questions(tmp_path), []
    values = {"gradient_accumulation_steps": 4, "loss_type": loss_type, "max_completion_length": 40}
    for arranged in (True, False):
        values["group_by_length"] = arranged
        trainer = trainer_for(fresh_model(), questions, tmp_path, **values, **BY_LENGTH)
        runs.append(steps_and_tokens(trainer))
    (steps, tokens), (others, more_tokens) = runs
    assert tokens < more_tokens
    same_updates(steps, others)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "no two batches of a generation are always in one update"),
        ({"shared_prefix": False, "gradient_accumulation_steps": 2}, "prompts are not shared"),
        ({"gradient_accumulation_steps": 2}, ""),
    ],
    ids=["one-batch", "not-shared", "two-batches"],
)
def test_a_run_without_anything_to_arrange_is_told(values, says, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("medr1"), "propagate", True)
    questions = mixed_questions(tmp_path)
    trainer_for(fresh_model(), questions, tmp_path, group_by_length=True, **values)
    assert ("--group-by-length has no effect" in caplog.text) == bool(says)
    assert says in caplog.text


def batch_of(numbers, images):
    """A batch with a group of two completions for each number, of so many tokens."""
    lengths = torch.tensor(numbers)[:, None].expand(-1, 2)
    return {
        "prompt_ids": torch.tensor(numbers)[:, None, None].expand(-1, 2, 3),
        "prompt_mask": torch.ones(len(numbers), 2, 3).long(),
        "completion_mask": (torch.arange(50) < lengths[..., None]).long(),
        "num_images": [1] * len(numbers),
        "pixel_values": torch.cat([torch.full((4, 5), float(i)) for i in images]),
        "image_grid_thw": torch.tensor([[1, 2, 2]] * len(images)),
        "num_items_in_batch": torch.tensor(9.0),
        "ref_per_token_logps": None,
    }


def test_groups_go_by_image_and_then_by_length():
    batches = by_image([batch_of([5, 40, 7], [1, 2, 3]), batch_of([8, 41, 6], [3, 4, 1])])
    prompts = [batch["prompt_ids"][:, 0, 0].tolist() for batch in batches]
    assert prompts == [[8, 7, 41], [6, 5, 40]]
    for batch, numbers in zip(batches, prompts, strict=True):
        images = {5: 1, 40: 2, 7: 3, 8: 3, 41: 4, 6: 1}
        assert batch["pixel_values"][::4, 0].tolist() == [images[number] for number in numbers]
        assert batch["completion_mask"].sum(-1)[:, 0].tolist() == numbers
        assert batch["num_items_in_batch"] == 9 and batch["ref_per_token_logps"] is None
        assert batch["image_grid_thw"].shape == (3, 3)


def test_without_images_of_the_same_pixels_similar_lengths_meet():
    numbers = [3, 45, 4, 44, 46, 2, 1, 43]
    batches = by_image([batch_of(numbers[:4], range(4)), batch_of(numbers[4:], range(4, 8))])
    prompts = [batch["prompt_ids"][:, 0, 0].tolist() for batch in batches]
    assert prompts == [[46, 45, 44, 43], [4, 3, 2, 1]]


def test_the_longest_groups_meet_and_prompts_count():
    batches = [batch_of([5, 40, 7], range(3)), batch_of([8, 41, 6], range(3, 6))]
    prompts = [batch["prompt_ids"][:, 0, 0].tolist() for batch in by_length(batches)]
    assert prompts == [[41, 40, 8], [7, 6, 5]]
    batches[0]["prompt_mask"][1] = 0
    batches[1]["prompt_mask"][1, :, :1] = 0
    batches[0]["completion_mask"][0, :, :42] = 1  # 84 and 3 tokens
    arranged = by_length(batches)
    prompts = [batch["prompt_ids"][:, 0, 0].tolist() for batch in arranged]
    assert prompts == [[5, 41, 40], [8, 7, 6]]
    assert arranged[0]["pixel_values"][::4, 0].tolist() == [0, 4, 1]
    assert by_length(batches[:1]) == batches[:1]


@pytest.mark.parametrize(
    ("num_batches", "accumulation", "count"),
    [(4, 2, 2), (4, 4, 4), (2, 4, 2), (4, 3, 1), (1, 1, 1)],
)
def test_batches_of_one_update(num_batches, accumulation, count):
    assert batches_of_an_update(num_batches, accumulation) == count
