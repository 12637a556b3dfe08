"""A run that was broken off and gone on with is the run undisturbed, bit for bit."""

import json

import pytest

pytest.importorskip("trl")

from fault_runs import LORA, TINY, few_questions, logged_steps, same_run
from transformers import TrainerCallback
from trl import GRPOTrainer

from medr1.data.tiny import tiny_vl_folder
from medr1.models.loading import load_model, write_merged
from medr1.train.monitoring.best_checkpoint import Validation
from medr1.train.recovery.checkpoint_manifest import checkpoints, newest_checkpoint, step_of
from medr1.train.recovery.exact_resume import ExactResumeMixin
from medr1.train.recovery.run_state import RunState, configuration
from medr1.train.run import train
from medr1.train.settings import settings_from


class Killed(BaseException):
    """What ends a run where a kill would, without anything being tidied up after it."""


class KilledAfter(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_substep_end(self, args, state, control, **_):
        self.on_step_end(args, state, control)

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.step:
            raise Killed


def go(out, *, until=None, number=40, run_state=None, model=None, shared=TINY, **values):
    """One attempt at a run: from its newest checkpoint to the end, or killed after a step."""
    questions = few_questions(number)
    settings = settings_from({**shared, **values}, out)
    loaded = load_model(model or tiny_vl_folder(), device="cpu")
    run_state = run_state or RunState(
        configuration(settings, loaded.path, questions), newest_checkpoint(out)
    )
    callbacks = [KilledAfter(until)] if until else []
    try:
        train(loaded, questions, settings, callbacks, run_state=run_state)
    except Killed:
        assert until
    return out


CASES = {
    "all weights, KL, two updates a generation, three passes over the data, lines of three steps": {
        "beta": 0.04,
        "num_iterations": 2,
        "gradient_accumulation_steps": 2,
        "number": 6,
        "save_steps": 1,
        "logging_steps": 3,
        "max_steps": 9,
    },
    "an adapter with dropout": {**LORA, "max_steps": 4},
    "an adapter with magnitudes": {**LORA, "use_dora": True, "use_rslora": True, "max_steps": 4},
    "masked images": {
        "papo": 0.1,
        "papo_entropy": 0.1,
        "num_iterations": 2,
        "save_steps": 2,
        "max_steps": 6,
    },
    "every prompt run for itself": {"shared_prefix": False, "max_steps": 4},
    "a reference that follows the policy": {
        "beta": 0.04,
        "sync_ref_model": True,
        "ref_model_sync_steps": 1,
        "max_steps": 4,
    },
}


def without_rng(trainer, checkpoint):
    """A resume that leaves the random numbers as a new run has them."""


def by_names_that_changed(trainer, checkpoint, model=None):
    GRPOTrainer._load_from_checkpoint(trainer, checkpoint, model)


def with_the_first_order(trainer, *args):
    return GRPOTrainer._init_training_state(trainer, *args)


def forgetting_what_was_gathered(trainer):
    """A resume that begins the next logged line anew."""


WITHOUT = {
    "_load_rng_state": (without_rng, {"max_steps": 5}),
    "_load_from_checkpoint": (by_names_that_changed, {"max_steps": 5}),
    "_init_training_state": (with_the_first_order, {"number": 4, "max_steps": 6}),
    "restore_progress": (
        forgetting_what_was_gathered,
        {"logging_steps": 3, "max_steps": 6, "save_steps": 1},
    ),
    "_block_batches": (property(lambda trainer: 1), {"num_iterations": 2, "save_steps": 1}),
}


@pytest.mark.slow
@pytest.mark.parametrize("part", WITHOUT)
def test_without_any_part_of_the_resume_going_on_differs(part, tmp_path, monkeypatch):
    """What shows that the tests of exactness can fail, and that nothing overridden is idle."""
    broken, values = WITHOUT[part]
    whole = go(tmp_path / "whole", **values)
    exact = go(tmp_path / "exact", until=4, **values)
    assert same_run(whole, go(exact, **values))
    monkeypatch.setattr(ExactResumeMixin, part, broken)
    other = go(tmp_path / "other", until=4, **values)
    assert not same_run(whole, go(other, **values))


@pytest.mark.parametrize("case", CASES)
def test_going_on_is_exact(case, tmp_path):
    values = CASES[case]
    whole = go(tmp_path / "whole", **values)
    assert len(logged_steps(whole)) > 2
    assert not any(step_of(c) % 2 for c in checkpoints(whole))
    broken = go(tmp_path / "broken", until=3, **values)
    assert [step_of(c) for c in checkpoints(broken)] == [2]
    if values.get("max_steps") > 8:
        go(broken, until=7, **values)
    go(broken, **values)
    assert same_run(whole, broken)


@pytest.mark.slow
def test_runs_from_an_adapter_and_from_its_merge_go_on_exactly(tmp_path):
    adapter, merged = go(tmp_path / "adapter", **LORA, max_steps=2), tmp_path / "merged"
    write_merged(load_model(adapter, device="cpu"), merged)
    for start, values in ((adapter, {}), (merged, {"beta": 0.04}), (merged, LORA)):
        folder = tmp_path / f"{start.name}-{len(values)}"
        whole = go(folder / "whole", model=start, max_steps=4, **values)
        go(folder / "broken", model=start, until=3, max_steps=4, **values)
        assert same_run(whole, go(folder / "broken", model=start, max_steps=4, **values))


def test_a_supervised_run_goes_on_exactly(tmp_path):
    fields = ("batch_size", "learning_rate", "max_steps", "logging_steps", "save_steps")
    supervised = {"method": "sft", **{name: TINY[name] for name in fields}}
    whole = go(tmp_path / "whole", shared=supervised)
    broken = go(tmp_path / "broken", shared=supervised, until=5)
    assert [step_of(c) for c in checkpoints(broken)] == [4, 2]
    go(broken, shared=supervised)
    assert len(logged_steps(whole)) > 8
    assert same_run(whole, broken)


def test_validation_is_gone_on_with(tmp_path):
    """No line twice, and the best checkpoint is that of the undisturbed run."""
    accuracies = [0.5, 0.2, 0.6, 0.4, 0.3]

    def validated(out, until=None):
        settings = settings_from({**TINY, "save_steps": 2}, out)
        questions, loaded = few_questions(), load_model(tiny_vl_folder(), device="cpu")
        run_state = RunState(
            configuration(settings, loaded.path, questions), newest_checkpoint(out)
        )
        start = step_of(run_state.checkpoint) if run_state.checkpoint else 0
        left = iter(accuracies[start // 2 + bool(start) :])
        validation = Validation(lambda: {"eval_accuracy": next(left)}, 2)
        callbacks = [KilledAfter(until)] if until else []
        try:
            train(loaded, questions, settings, callbacks, validation, run_state)
        except Killed:
            assert until
        lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
        return [(e["step"], e["eval_accuracy"]) for e in lines if "eval_accuracy" in e]

    wanted = list(zip((0, 2, 4, 6, 8), accuracies, strict=True))
    assert validated(tmp_path / "whole") == wanted
    validated(tmp_path / "broken", until=5)
    assert validated(tmp_path / "broken") == wanted
    for out in (tmp_path / "whole", tmp_path / "broken"):
        kept = json.loads((out / "best" / "medr1.json").read_text())["validation"]
        assert (kept["step"], kept["eval_accuracy"]) == (4, 0.6)
    weights = [tmp_path / name / "best" / "model.safetensors" for name in ("whole", "broken")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
