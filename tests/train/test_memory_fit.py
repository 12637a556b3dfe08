"""Batches that are split until the plan fits into memory, and the updates that stay the same."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace

import msgspec
import pytest

pytest.importorskip("trl")

import fault_runs
from fault_runs import TINY, few_questions, same_run
from in_process import medr1
from steps import STEP, fresh_model, give_completions, mixed_questions
from test_question_order import BY_LENGTH
from test_resume import Killed, KilledAfter

from medr1.data.tiny import tiny_vl_folder
from medr1.errors import InputError
from medr1.models.device_memory import device_memory
from medr1.models.loading import load_outline
from medr1.train.dry_run.memory_fit import SHARE, fit_memory
from medr1.train.recovery.checkpoint_manifest import newest_checkpoint
from medr1.train.recovery.run_state import RunState, configuration, recorded_run
from medr1.train.run import METHODS, resolve_plan, train
from medr1.train.settings import settings_from

AMPLE = 1 << 50
SFT = {
    **{"method": "sft", "batch_size": 8, "max_steps": 2, "optim": "sgd", "learning_rate": 0.5},
    **{"lr_scheduler_type": "constant", "save_strategy": "no", "max_grad_norm": 0.0, "seed": 7},
}


@pytest.fixture(scope="module")
def outline():
    return load_outline(tiny_vl_folder(), device="cpu")


def needed(outline, questions, settings, parts):
    """The memory in which a pass with this part of a batch just fits, with its share."""
    trainer = {**settings.trainer}
    trainer["per_device_train_batch_size"] //= parts
    for name in ("gradient_accumulation_steps", "steps_per_generation"):
        if name in trainer or name.startswith("gradient"):
            trainer[name] = trainer.get(name, 1) * parts
    plan = resolve_plan(outline, questions, replace(settings, trainer=trainer))
    return math.ceil(sum(plan.bytes_per_process.values()) / SHARE)


def fitted(outline, questions, settings, device_bytes, recorded=None):
    plan = resolve_plan(outline, questions, settings)
    return fit_memory(settings, plan, outline, device_bytes, recorded)


# --- which parts


@pytest.mark.parametrize("method", ["grpo", "sft"])
def test_a_batch_is_split_no_more_than_the_memory_asks_for(method, outline, tmp_path):
    values = {**TINY, "batch_size": 12} if method == "grpo" else {**SFT, "batch_size": 12}
    questions, settings = few_questions(), settings_from(values, tmp_path)
    limits = {parts: needed(outline, questions, settings, parts) for parts in (1, 2, 3, 4, 6, 12)}
    smallest = min(limits.values())
    for limit in limits.values():
        for device_bytes in {limit, max(limit - 2, smallest)}:
            expected = next(parts for parts in limits if limits[parts] <= device_bytes)
            changed, plan = fitted(outline, questions, settings, device_bytes)
            split = plan.batch_parts
            assert (split.parts, split.batch_size) == (expected, 12 // expected)
            assert split.gradient_accumulation_steps == expected
            assert split.needed_bytes == sum(plan.bytes_per_process.values())
            assert split.needed_bytes <= SHARE * device_bytes
            planned = resolve_plan(outline, questions, changed)
            assert planned.bytes_per_process == plan.bytes_per_process
            assert planned.steps == plan.steps and planned.prompts_per_step == plan.prompts_per_step
            assert planned.trainer_fields == plan.trainer_fields


def test_parts_of_groups_are_not_used_where_they_would_change_updates(outline, tmp_path):
    questions = few_questions()
    values = {**TINY, "batch_size": 8, "num_generations": 4}

    def smallest(**changed):
        settings = settings_from({**values, **changed}, tmp_path)
        with pytest.raises(InputError, match=r"completions? in a pass") as refusal:
            fitted(outline, questions, settings, 1000)
        return int(str(refusal.value).split("with ")[1].split()[0])

    assert smallest() == 1
    assert smallest(steps_per_generation=2) == 4  # two updates: groups stay complete
    assert smallest(steps_per_generation=2, shared_prefix=False) == 1
    assert smallest(steps_per_generation=2, gradient_accumulation_steps=2) == 1


# --- the same updates

GRPO = {
    "complete groups": ({}, 2),
    "parts of groups": ({"loss_type": "grpo", "beta": 0.04}, 4),
    "stock": ({"shared_prefix": False, "loss_type": "dr_grpo"}, 4),
    "two updates": ({"steps_per_generation": 2, "max_steps": 4}, 2),
    "by length": ({"group_by_length": True, "batch_size": 16}, 4),
}


def weights_after(settings, questions):
    loaded = fresh_model()
    trainer = METHODS[settings.method].build_trainer(loaded, questions, settings)
    if settings.method == "grpo":
        give_completions(trainer, questions)
    rows = []
    trainer.model.register_forward_pre_hook(lambda *_: rows.append(1))
    trainer.train()
    return {name: p.detach() for name, p in trainer.model.named_parameters()}, len(rows)


@pytest.mark.parametrize("case", [*GRPO, "sft"])
def test_an_update_in_parts_is_the_update(case, outline, tmp_path):
    changed, parts = GRPO.get(case, ({}, 4))
    values = SFT if case == "sft" else {**STEP, **BY_LENGTH, **changed}
    questions, settings = mixed_questions(tmp_path), settings_from(values, tmp_path / "out")
    limit = needed(outline, questions, settings, parts)
    split, plan = fitted(outline, questions, settings, limit)
    assert plan.batch_parts.parts == parts
    whole, passes = weights_after(settings, questions)
    in_parts, more_passes = weights_after(split, questions)
    assert more_passes > passes
    start = dict(fresh_model().model.named_parameters())
    largest = max(float((whole[name] - start[name]).abs().max()) for name in whole)
    assert largest > 1e-3
    for name, value in whole.items():
        assert float((value - in_parts[name]).abs().max()) < 1e-4 * largest, name


# --- resuming


def test_a_resumed_run_keeps_its_parts(outline, tmp_path):
    questions, values = few_questions(8), {**TINY, "max_steps": 4, "save_steps": 1}

    def go(out, device_bytes, callbacks=()):
        settings = settings_from(values, out)
        run_configuration = configuration(settings, tiny_vl_folder(), questions)
        split, plan = fitted(outline, questions, settings, device_bytes, recorded_run(out))
        assert plan.batch_parts.parts == 2
        assert configuration(split, tiny_vl_folder(), questions) == run_configuration
        run_state = RunState(run_configuration, newest_checkpoint(out))
        train(fresh_model(), questions, split, callbacks, run_state=run_state, plan=plan)
        return out

    limit = needed(outline, questions, settings_from(values, tmp_path), 2)
    whole = go(tmp_path / "whole", limit)
    with pytest.raises(Killed):
        go(tmp_path / "broken", limit, [KilledAfter(2)])
    assert same_run(whole, go(tmp_path / "broken", AMPLE))
    typed = fault_runs.command(tmp_path / "broken", **values)[3:]
    for more, parts in ((), 2), (("--overwrite",), 1):
        done = medr1(*typed, "--fit-memory", "--dry-run", "--json", *more)
        assert json.loads(done.stdout)["batch_parts"]["parts"] == parts, done.stderr


def test_parts_of_another_batch_or_number_of_processes_are_chosen_anew(outline, tmp_path):
    questions, settings = few_questions(), settings_from(TINY, tmp_path)
    limit = needed(outline, questions, settings, 2)
    recorded = fitted(outline, questions, settings, limit)[1]

    def parts(settings, recorded):
        return fitted(outline, questions, settings, AMPLE, recorded)[1].batch_parts.parts

    assert parts(settings, recorded) == 2
    assert parts(settings_from({**TINY, "batch_size": 8}, tmp_path), recorded) == 1
    assert parts(settings, msgspec.structs.replace(recorded, processes=2)) == 1
    assert parts(settings, resolve_plan(outline, questions, settings)) == 1
    # with these, parts of groups would be in other updates, and the recorded ones are no choice
    small = {**TINY, "batch_size": 8, "num_generations": 4}
    settings = settings_from(small, tmp_path)
    recorded = fitted(outline, questions, settings, needed(outline, questions, settings, 8))[1]
    assert recorded.batch_parts.parts == 8
    assert parts(settings_from({**small, "steps_per_generation": 2}, tmp_path), recorded) == 1


# --- what is refused


def test_a_run_of_which_no_part_fits_is_refused_with_what_helps(outline, tmp_path):
    questions = few_questions()

    def refusal(only_activations=False, **changed):
        settings = settings_from({**TINY, **changed}, tmp_path)
        sizes = resolve_plan(outline, questions, settings).bytes_per_process
        others = sum(sizes.values()) - sizes["activations_estimate"]
        device_bytes = int(others / SHARE) + 9 if only_activations else 10 << 10
        with pytest.raises(InputError, match="--fit-memory: with 1 completion in a pass") as error:
            fitted(outline, questions, settings, device_bytes)
        return str(error.value)

    message = refusal(beta=0.04)
    assert "90% of the memory (cpu) are 9.0 KiB" in message
    assert "--gradient-checkpointing" not in message
    message = refusal(beta=0.04, only_activations=True)
    for option in ("gradient-checkpointing", "use-peft", "dtype bfloat16", "beta 0", "max-pixels"):
        assert f"--{option}" in message
    changed = {"gradient_checkpointing": True, "use_peft": True, "dtype": "bfloat16"}
    message = refusal(**changed, only_activations=True)
    for option in ("gradient-checkpointing", "use-peft", "dtype", "beta", "load-in-4bit"):
        assert f"--{option}" not in message
    assert "--max-completion-length" in message
    assert "--max-completion-length" not in _sft_refusal(outline, questions, tmp_path)


def _sft_refusal(outline, questions, folder):
    with pytest.raises(InputError, match="with 1 item in a pass") as error:
        fitted(outline, questions, settings_from(SFT, folder), 1000)
    return str(error.value)


@pytest.mark.parametrize(
    "changed",
    [
        {"loss_type": "bnpo"},
        {"top_entropy_quantile": 0.5},
        {"entropy_coef": 0.01},
        {**SFT, "dataloader_drop_last": True},
    ],
    ids=["bnpo", "quantile", "entropy", "drop-last"],
)
def test_a_gradient_that_depends_on_the_parts_is_refused(changed, outline, tmp_path):
    values = changed if "method" in changed else {**TINY, **changed}
    with pytest.raises(InputError, match="would depend on the memory of its machine"):
        fitted(outline, few_questions(), settings_from(values, tmp_path), AMPLE)


# --- the command


def test_the_dry_run_prints_the_parts(tmp_path):
    typed = fault_runs.command(tmp_path / "out")[3:]
    done = medr1(*typed, "--fit-memory", "--dry-run")
    assert "passes " in done.stdout, done.stderr
    assert "4 completions at a time, batches are not split (--fit-memory, " in done.stdout
    assert "passes " not in medr1(*typed, "--dry-run").stdout
    model = ("--model-path", tiny_vl_folder(), "--device", "cpu", "--output-dir", tmp_path / "out")
    data = ("--data", fault_runs.command(tmp_path / "out")[3:][typed.index("--data") + 1])
    sft = ("train", "--method", "sft", *model, *data, "--batch-size", 1 << 24, "--fit-memory")
    done = medr1(*sft, "--max-steps", 1, "--dry-run", "--json")
    split = json.loads(done.stdout)["batch_parts"]
    assert split["parts"] > 1 and split["batch_size"] * split["parts"] == 1 << 24
    assert split["needed_bytes"] <= SHARE * split["device_bytes"]


def test_the_memory_of_the_cpu_is_divided_among_the_processes_of_the_machine(outline):
    alone = device_memory(outline.device, {})
    assert 0.2 < device_memory(outline.device, {"LOCAL_WORLD_SIZE": "2"}) / alone < 0.8


PROGRAM = """
import os, sys
from pathlib import Path
from fault_runs import TINY, few_questions
from medr1.data.tiny import tiny_vl_folder
from medr1.models.loading import load_outline
from medr1.train.dry_run.memory_fit import fit_memory
from medr1.train.run import resolve_plan
from medr1.train.settings import settings_from
folder, rank = Path(sys.argv[1]), os.environ["RANK"]
outline, settings = load_outline(tiny_vl_folder(), device="cpu"), settings_from(TINY, folder)
plan = resolve_plan(outline, few_questions(), settings)
sizes = plan.bytes_per_process
small = sum(sizes.values()) - sizes["activations_estimate"] // 2
_, plan = fit_memory(settings, plan, outline, (1 << 50) if rank == "0" else int(small / 0.9) + 9)
(folder / rank).write_text(str(plan.batch_parts.parts))
"""


@pytest.mark.slow
def test_all_processes_take_the_smallest_memory(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, *launcher, str(program), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=600,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [(tmp_path / rank).read_text() for rank in "01"] == ["2", "2"]
