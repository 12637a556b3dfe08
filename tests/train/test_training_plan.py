"""The plan of a run against what the run then does."""

import pytest
import torch

from medr1.data.readers import read_questions
from medr1.data.tiny import tiny_config, tiny_vl_folder, tiny_vqa_folder
from medr1.models.loading import load_model, load_outline
from medr1.models.parts import language_model

pytest.importorskip("trl")

from medr1.train.dry_run.activations import PassShape
from medr1.train.dry_run.plan import Sharding, current_sharding, memory, num_steps
from medr1.train.grpo import build_trainer
from medr1.train.run import METHODS, resolve_plan
from medr1.train.settings import settings_from, trainer_config

SMALL = {"batch_size": 16, "num_generations": 4, "max_completion_length": 8, "logging_steps": 1}


@pytest.fixture
def questions():
    return read_questions(tiny_vqa_folder() / "train.json", limit=22)


def config_of(model, folder, **values):
    given = {k: v for k, v in {**tiny_config(), **SMALL, **values}.items() if v is not None}
    return settings_from(given, folder)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"gradient_accumulation_steps": 2},
        {"num_iterations": 3},
        {"num_train_epochs": 2.0},
        {"num_train_epochs": 1.5, "gradient_accumulation_steps": 2, "batch_size": 8},
        {"steps_per_generation": 4, "gradient_accumulation_steps": 2, "batch_size": 8},
    ],
)
def test_the_steps_planned_are_the_steps_done(model, questions, tmp_path, given):
    given = {"max_steps": None, "num_train_epochs": 1.0, **given}
    settings = config_of(model, tmp_path, **given)
    planned = num_steps(trainer_config(settings, model), len(questions.samples), 1)
    trainer = build_trainer(model, questions, settings)
    trainer.train()
    assert trainer.state.global_step == planned > 0


@pytest.mark.parametrize("extra", [{}, {"freeze_vision": True}, {"use_peft": True, "lora_r": 4}])
def test_the_bytes_planned_are_the_bytes_held(model, questions, tmp_path, extra):
    given = {**tiny_config(), **SMALL, "freeze_vision": False, "max_steps": 1, **extra}
    settings = settings_from(given, tmp_path)
    plan = resolve_plan(load_outline(tiny_vl_folder(), device="cpu"), questions, settings)
    assert plan == resolve_plan(model, questions, settings)
    held = {}

    trainer = build_trainer(model, questions, settings)
    step = trainer.training_step

    def and_count(model, *args, **named):
        loss = step(model, *args, **named)
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        held["gradients"] = sum(g.nbytes for g in gradients)
        return loss

    trainer.training_step = and_count
    trainer.train()
    held["weights"] = sum(p.nbytes for p in trainer.model.parameters())
    states = [v for s in trainer.optimizer.optimizer.state.values() for v in s.values()]
    held["optimizer"] = sum(v.nbytes for v in states if v.dim() > 0)
    assert {name: plan.bytes_per_process[name] for name in held} == held
    trained = [p.numel() for p in trainer.model.parameters() if p.requires_grad]
    assert plan.trained_parameters == sum(trained)


KEPT = {
    "stock": {"shared_prefix": False},
    "shared": {},
    "frozen-vision": {"freeze_vision": True},
    "sft": {"method": "sft"},
}


@pytest.mark.parametrize("case", KEPT)
def test_the_estimate_of_activations_is_near_what_is_kept(case, model, questions, tmp_path):
    values = {**tiny_config(), **SMALL, "freeze_vision": False, **KEPT[case]}
    if case == "sft":
        values = {"method": "sft", "batch_size": 16, "save_strategy": "no"}
    settings = settings_from({**values, "max_steps": 1}, tmp_path)
    plan = resolve_plan(load_outline(tiny_vl_folder(), device="cpu"), questions, settings)
    trainer = METHODS[settings.method].build_trainer(model, questions, settings)
    loss_of, storages = trainer.compute_loss, {}

    def keep(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    def loss_and_bytes(*args, **named):
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            return loss_of(*args, **named)

    trainer.compute_loss = loss_and_bytes
    trainer.train()
    for weight in trainer.model.parameters():
        storages.pop(weight.untyped_storage().data_ptr(), None)
    ratio = plan.bytes_per_process["activations_estimate"] / sum(storages.values())
    assert 0.75 < ratio < 1.4


def test_a_sharded_run_splits_what_its_kind_splits(model, tmp_path):
    config = trainer_config(config_of(model, tmp_path, beta=0.04), model)
    config.bf16 = True
    numbers = sum(p.numel() for p in model.model.parameters())

    def bytes_of(kind, processes=4):
        found = memory(
            model.model, config, Sharding(kind, processes), PassShape(70), has_adapter=False
        )
        assert found["activations_estimate"] > 0 and found["generation_cache"] > 0
        names = ("weights", "gradients", "optimizer", "reference_model", "autocast_copies")
        return [round(found[name] / numbers, 3) for name in names]

    assert bytes_of("none", 1) == bytes_of("replicated") == [4, 4, 8, 4, 2]
    assert bytes_of("fsdp") == [1, 1, 2, 1, 0]
    assert bytes_of("zero2") == [2, 0.5, 3, 2, 0]
    assert bytes_of("zero3") == [0.5, 0.5, 3, 0.5, 0]

    def gathered(kind):
        found = memory(model.model, config, Sharding(kind, 4), PassShape(70), has_adapter=False)
        return found["gathered_weights"]

    text = sum(p.numel() for p in language_model(model.model).parameters())
    kinds = ("replicated", "fsdp", "zero2", "zero3")
    assert [gathered(kind) for kind in kinds] == [0, 2 * text, 0, 2 * numbers]
    config.bf16 = False
    assert gathered("fsdp") == 4 * text
    config.ds3_gather_for_generation = False
    assert [gathered(kind) for kind in kinds] == [0, 0, 0, 0]


def test_the_sharding_is_read_from_what_the_launchers_set():
    assert current_sharding({}) == Sharding("none", 1)
    assert current_sharding({"WORLD_SIZE": "8"}) == Sharding("replicated", 8)
    fsdp = {"WORLD_SIZE": "2", "ACCELERATE_USE_FSDP": "true"}
    assert current_sharding(fsdp) == Sharding("fsdp", 2)
    zero = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}
    assert current_sharding({"WORLD_SIZE": "2", **zero}) == Sharding("zero3", 2)


def test_weights_of_16_bits_would_lose_the_published_learning_rate(model, questions, tmp_path):
    """Why a full run keeps its weights in 32 bits and computes in 16."""
    given = {"learning_rate": 1e-6, "max_steps": 2, "freeze_vision": False, "warmup_steps": 0}

    def share_changed(loaded, **more):
        before = [p.detach().clone() for p in loaded.model.parameters()]
        settings = config_of(loaded, tmp_path, **given, **more)
        build_trainer(loaded, questions, settings).train()
        after = list(loaded.model.parameters())
        changed = sum(int((a != b).sum()) for a, b in zip(after, before, strict=True))
        return changed / sum(p.numel() for p in after)

    rounded = load_model(tiny_vl_folder(), device="cpu", dtype="bfloat16")
    assert share_changed(rounded) < 0.1
    assert share_changed(model, dtype="bfloat16") > 0.4
