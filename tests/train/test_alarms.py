"""Alarms: each is raised by what it is there for, with its cause, and none by runs that went well.

The histories are the metrics of real runs of the embedded model: healthy-*.jsonl of runs that
learned (configs/tiny.yaml, the same with beta 0.04, with one prompt a step, and tiny-think.yaml),
collapse-*.jsonl of those in test_collapses.py. The first line of each has the run's settings.
"""

import json
from pathlib import Path

import pytest

from medr1.train.monitoring.alarms import ALARMS, RECENT, STEPS
from medr1.train.monitoring.diagnosis import CAUSES, ORDER, new_alarms


def read(kind):
    """Name -> settings and history of the recorded runs of a kind."""
    found = {}
    for path in sorted(Path(__file__).parent.glob(f"{kind}-*.jsonl")):
        settings, *history = map(json.loads, path.read_text().splitlines())
        found[path.stem.removeprefix(f"{kind}-")] = settings, history
    return found


HEALTHY, COLLAPSED = read("healthy"), read("collapse")
SETTINGS, TINY = HEALTHY["tiny"]


def entries(history, settings=SETTINGS):
    """What alarms.jsonl would hold of a run with this history."""
    written = []
    for end in range(1, len(history) + 1):
        written += new_alarms(history[:end], settings, written)
    return written


def raised(history, settings=SETTINGS):
    """Name -> the step at which an alarm is first raised."""
    return {entry["alarm"]: entry["step"] for entry in entries(history, settings)}


def logged_every(steps, history):
    """The same run, logged every so many steps: means, as TRL logs them, and the last norm."""
    groups = [history[start : start + steps] for start in range(0, len(history), steps)]
    return [
        {key: sum(e[key] for e in group) / len(group) for key in group[-1]}
        | {"step": group[-1]["step"], "grad_norm": group[-1]["grad_norm"]}
        for group in groups
        if len(group) == steps
    ]


@pytest.mark.parametrize("every", [1, 5, 10])
@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_raises_none(name, every):
    settings, history = HEALTHY[name]
    assert raised(logged_every(every, history), settings) == {}


CAUSE = {
    # name: (the cause of all alarms of the run, the alarms and when each has to be there)
    "learning_rate": ("learning_rate", {"gradient_leap": 6, "reward_fall": 8}),
    "short_answers_paid": ("reward", {"length_collapse": 30, "rewards_apart": 30}),
    "temperature": ("low_temperature", {"zero_variance": 8, "entropy_collapse": 12}),
    "no_room": ("max_completion_length", {"clipped": 10}),
    "unread_format": ("constant_reward", {"equal_rewards": 6}),
    "four_questions": ("questions", {"zero_variance": 50}),
}


@pytest.mark.parametrize("name", CAUSE)
def test_a_collapse_is_raised_soon_and_named_right(name):
    settings, history = COLLAPSED[name]
    cause, latest = CAUSE[name]
    found = entries(history, settings)
    steps = {entry["alarm"]: entry["step"] for entry in found}
    assert {entry["causes"][0] for entry in found} == {cause}
    assert all(steps[alarm] <= step for alarm, step in latest.items()), steps
    assert found[0]["sentence"].count("Most likely cause: ") == 1
    for entry in found[1:]:
        before = "above" if entry["step"] == found[0]["step"] else f"at step {found[0]['step']}"
        assert f"Most likely cause, as {before}: {found[0]['cause']}." in entry["sentence"]


@pytest.mark.parametrize("name", CAUSE)
def test_a_collapse_is_named_right_where_every_fifth_step_is_logged(name):
    settings, history = COLLAPSED[name]
    found = entries(logged_every(5, history), settings)
    assert {entry["causes"][0] for entry in found} == {CAUSE[name][0]}


def test_equal_rewards_after_a_fall_do_not_blame_the_questions():
    settings, history = COLLAPSED["learning_rate"]
    first, *others = entries(history, settings)
    (equal,) = [entry for entry in others if entry["alarm"] == "equal_rewards"]
    assert equal["causes"] == ["learning_rate", "questions", "constant_reward"]
    assert equal["sentence"].endswith(
        f"as at step {first['step']}: updates that are too large (learning_rate 0.06)."
    )


def test_a_length_that_nothing_pays_for_is_lost_by_updates():
    shorter = {"completions/mean_length": 1.0, "rewards/accuracy/mean": 0.1}
    paid = entries(changed_from(20, TINY, reward=1.2, **shorter))
    assert {e["alarm"]: e["causes"][0] for e in paid}["length_collapse"] == "reward"
    unpaid = entries(changed_from(20, TINY, reward=0.4, **shorter))
    assert {e["alarm"]: e["causes"][0] for e in unpaid}["length_collapse"] == "learning_rate"


def test_what_was_learned_after_a_leap_is_not_blamed_on_it():
    """Of the recorded run: accuracy rises to 1 after the gradient norm, and groups are alike."""
    settings, history = COLLAPSED["four_questions"]
    leap = {"step": 8, "alarm": "gradient_leap", "cause": "updates", "causes": ["learning_rate"]}
    (alike,) = [e for e in new_alarms(history, settings, [leap]) if e["alarm"] != "equal_rewards"]
    assert alike["causes"][0] == "questions"


def test_no_cause_is_offered_that_the_settings_rule_out():
    settings, history = COLLAPSED["unread_format"]
    (equal,) = entries(history, settings)
    assert "temperature" not in equal["sentence"]
    (cooler,) = entries(history, {**settings, "temperature": 0.7})
    assert "low_temperature" in cooler["causes"][1:] and "temperature 0.7" in cooler["sentence"]


def changed_from(start, history, **values):
    return [{**e, **values} if e["step"] > start else e for e in history]


LASTING = {
    "equal_rewards": {"reward_std": 0.0},
    "zero_variance": {"frac_reward_zero_std": 0.9},
    "clipped": {"completions/clipped_ratio": 0.7},
    "repeating": {"completions/repeats_prompt": 0.4},
    "undecided": {"rewards/accuracy/undecided": 0.2},
}
EVENTS = {
    "reward_fall": {"reward": 0.1},
    "entropy_collapse": {"entropy": 0.01},
    "length_collapse": {"completions/mean_length": 1.0},
}


@pytest.mark.parametrize("name", LASTING)
@pytest.mark.parametrize("every", [1, 5])
def test_a_sign_that_lasts_raises_its_alarm(name, every):
    start = 20
    history = logged_every(every, changed_from(start, TINY, **LASTING[name]))
    found = raised(history)
    assert found.keys() == {name} and start < found[name] <= start + STEPS
    assert raised([entry for entry in history if entry["step"] < found[name]]) == {}


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("start", [3, 20])
def test_an_event_raises_its_alarm_within_few_steps(name, start):
    found = raised(changed_from(start, TINY, **EVENTS[name]))
    assert found.keys() <= {name, "gradient_leap"}  # the recorded run has a leap at step 27
    assert start < found[name] <= start + RECENT


def test_a_gradient_that_leaps_is_an_alarm_where_the_reward_falls_with_it():
    leap = [{**e, "grad_norm": 20.0} if e["step"] == 20 else e for e in TINY]
    assert raised(leap) == {}
    assert raised(changed_from(20, leap, reward=0.5)) == {"gradient_leap": 23}


def test_a_reward_below_zero_falls_as_well():
    below = [{**e, "reward": e["reward"] - 3} for e in TINY]
    assert raised(below) == {}
    assert "reward_fall" in raised(changed_from(20, below, reward=-6.0))


def test_a_fall_is_seen_with_few_prompts_a_step_also_after_it_began():
    """Four prompts a step: by chance a fall is missed at first, and is in the steps before then."""
    settings = {**SETTINGS, "prompts_per_step": 4}
    rewards = [0.53, 0.48, 0.62, 0.0, 0.03, 0.1, 0.06, 0.02, 0.0, 0.0]
    history = [{"step": n, "reward": r, "reward_std": 0.53} for n, r in enumerate(rewards, 1)]
    assert raised(history, settings)["reward_fall"] <= 7
    assert raised(history[:4], settings) == {}


def test_groups_without_variance_are_not_said_twice():
    same = changed_from(0, TINY, reward_std=0.0, frac_reward_zero_std=1.0)
    assert raised(same).keys() == {"equal_rewards"}


@pytest.mark.parametrize("rise", [(4.0,), (0.9, 2.0)])
def test_a_kl_that_leaps_raises_its_alarm(rise):
    settings, recorded = HEALTHY["beta"]
    history = [dict(entry) for entry in recorded]
    for entry, kl in zip(history[30:], rise, strict=False):
        entry["kl"] = kl
    assert raised(history, settings) == {"kl_spike": history[29 + len(rise)]["step"]}


def test_long_completions_may_shrink_where_accuracy_rises():
    key = "completions/mean_length"
    long = [{**entry, key: 180 + entry["step"]} for entry in TINY]
    assert raised(long) == {}
    assert raised(changed_from(25, long, **{key: 70.0})) == {}
    assert raised(changed_from(25, long, **{key: 30.0})).keys() == {"length_collapse"}


def test_an_alarm_is_raised_once_also_where_a_run_goes_on():
    settings, history = COLLAPSED["learning_rate"]
    whole = entries(history, settings)
    for at in (5, 9):
        written = [entry for entry in whole if entry["step"] <= at]
        for end in range(at + 1, len(history) + 1):
            written += new_alarms(history[:end], settings, written)
        assert written == whole


def test_steps_that_sample_nothing_do_not_hide_an_alarm():
    """With num_iterations 2, every second entry has no reward."""
    settings, history = COLLAPSED["unread_format"]
    doubled = []
    for entry in history:
        rest = {"step": 2 * entry["step"], "grad_norm": 0.0}
        doubled += [{**entry, "step": 2 * entry["step"] - 1}, rest]
    assert raised(doubled, settings).keys() == {"equal_rewards"}


def test_no_alarm_asks_for_what_was_not_logged():
    fine_tuning = [{"step": step, "loss": 1 / step} for step in range(1, 40)]
    assert raised(fine_tuning) == {} == raised(fine_tuning, {})
    assert new_alarms([], {}, []) == []


@pytest.mark.parametrize(
    ("differences", "step", "cause"),
    [
        ([1e-6, 0.03, 0.05], 3, "stale_weights"),
        ([0.002, 0.004, 0.012, 0.022, 0.04], 5, "stale_weights"),
        ([0.2, 0.2], 2, "sampling_settings"),
        ([0.01, 0.012, 0.03, 0.02, 0.04], None, None),  # 16 bits
        ([1e-6, 0.3, 1e-6, 1e-6], None, None),
    ],
)
def test_a_sampler_with_other_weights_raises_its_alarm(differences, step, cause):
    history = [
        {**entry, "sampling/sampling_logp_difference/mean": difference}
        for entry, difference in zip(TINY, differences, strict=False)
    ]
    found = {entry["alarm"]: entry for entry in entries(history)}
    assert found.keys() == ({"sampler_apart"} if step else set())
    if step:
        assert found["sampler_apart"]["step"] == step
        assert found["sampler_apart"]["causes"][0] == cause


def test_every_alarm_and_every_cause_is_raised_above():
    others = {"kl_spike", "gradient_leap", "rewards_apart", "sampler_apart"}
    assert ALARMS.keys() == ORDER.keys() == {*LASTING, *EVENTS, *others}
    assert CAUSES.keys() == {name for order in ORDER.values() for name in order}
