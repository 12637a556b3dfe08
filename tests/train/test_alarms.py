"""Alarms: each is raised by what it is there for, and none by runs that went well."""

import json
from pathlib import Path

import pytest

from medr1.train.alarms import ALARMS, STEPS, alarms

HEALTHY = {
    # configs/tiny.yaml, its first 60 steps; with beta 0.04, 40 steps; configs/tiny-think.yaml, 40
    name: [json.loads(line) for line in path.read_text().splitlines()]
    for path in sorted(Path(__file__).parent.glob("healthy-*.jsonl"))
    for name in [path.stem]
}


def raised(history):
    """Name -> the step at which an alarm is first raised."""
    first = {}
    for end in range(1, len(history) + 1):
        for name in alarms(history[:end]):
            first.setdefault(name, history[end - 1]["step"])
    return first


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_raises_none(name):
    assert raised(HEALTHY[name]) == {}


def test_nor_does_one_that_is_logged_now_and_then():
    every = HEALTHY["healthy-beta"]
    assert raised(every[4::5]) == {}


PLANTED = {
    "equal_rewards": ("reward_std", 0.0),
    "zero_variance": ("frac_reward_zero_std", 0.9),
    "clipped": ("completions/clipped_ratio", 0.7),
    "repeating": ("completions/repeats_prompt", 0.4),
    "undecided": ("rewards/accuracy/undecided", 0.2),
}


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("every", [1, 5])
def test_a_sign_that_lasts_raises_its_alarm(name, every):
    key, value = PLANTED[name]
    start = 20
    history = [
        {**entry, key: value} if entry["step"] > start else entry
        for entry in HEALTHY["healthy-tiny"]
    ][every - 1 :: every]
    found = raised(history)
    assert found.keys() == {name} and start < found[name] <= start + STEPS
    assert raised([entry for entry in history if entry["step"] < found[name]]) == {}


def test_groups_without_variance_are_not_said_twice():
    same = [{**e, "reward_std": 0.0, "frac_reward_zero_std": 1.0} for e in HEALTHY["healthy-tiny"]]
    assert raised(same) == {"equal_rewards": STEPS}


@pytest.mark.parametrize("rise", [(4.0,), (0.9, 2.0, 4.0)])
def test_a_kl_that_leaps_raises_its_alarm(rise):
    history = [dict(entry) for entry in HEALTHY["healthy-beta"]]
    for entry, kl in zip(history[30:], rise, strict=False):
        entry["kl"] = kl
    assert raised(history) == {"kl_spike": history[29 + len(rise)]["step"]}


def test_completions_that_shrink_raise_their_alarm():
    key = "completions/mean_length"
    long = [{**entry, key: 180 + entry["step"]} for entry in HEALTHY["healthy-tiny"]]
    assert raised(long) == {}
    shrunk = [{**entry, key: 30.0} if entry["step"] > 25 else entry for entry in long]
    assert raised(shrunk) == {"length_collapse": 35}


def test_no_alarm_asks_for_what_was_not_logged():
    fine_tuning = [{"step": step, "loss": 1 / step} for step in range(1, 40)]
    assert raised(fine_tuning) == {}


def test_every_alarm_is_planted_above():
    assert ALARMS.keys() == {*PLANTED, "kl_spike", "length_collapse"}
