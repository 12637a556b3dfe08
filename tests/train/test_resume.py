"""A run that was broken off and gone on with is the run undisturbed, bit for bit."""

import pytest

pytest.importorskip("trl")

from fault_runs import LORA, TINY, few_questions, logged, same_run
from transformers import TrainerCallback

from medr1.data.tiny import tiny_vl_folder
from medr1.models import load_model
from medr1.train.begin import Beginning, configuration
from medr1.train.manifest import checkpoints, newest_checkpoint, step_of
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


def go(out, *, until=None, number=40, begun=None, model=None, **values):
    """One attempt at a run: from its newest checkpoint to the end, or killed after a step."""
    questions = few_questions(number)
    settings = settings_from({**TINY, **values}, out)
    loaded = load_model(model or tiny_vl_folder(), device="cpu")
    begun = begun or Beginning(
        configuration(settings, loaded.path, questions), newest_checkpoint(out)
    )
    callbacks = [KilledAfter(until)] if until else []
    try:
        train(loaded, questions, settings, callbacks, begun=begun)
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
}


@pytest.mark.parametrize("case", CASES)
def test_going_on_is_exact(case, tmp_path):
    values = CASES[case]
    whole = go(tmp_path / "whole", **values)
    assert len(logged(whole)) > 2
    assert not any(step_of(c) % 2 for c in checkpoints(whole))
    broken = go(tmp_path / "broken", until=3, **values)
    assert [step_of(c) for c in checkpoints(broken)] == [2]
    if values.get("max_steps") > 8:
        go(broken, until=7, **values)
    go(broken, **values)
    assert same_run(whole, broken)
