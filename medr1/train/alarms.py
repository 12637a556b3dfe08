"""What in a run's metrics says that it learns nothing, or the wrong thing.

Pure functions of the history: the entries that TRL logged, in order, each with its `step` and the
means since the entry before. A check returns what happened, in numbers; train/diagnosis.py says
why. Events (a fall, a leap, a collapse) compare the last RECENT steps with earlier ones. Signs that
have to last are read off the last STEPS steps.

    reward_fall      policy collapse          gradient_leap     gradient norm spike
    entropy_collapse the end of exploration   length_collapse   completions far shorter
    kl_spike         KL blow-up               rewards_apart     reward hacking

The thresholds were set on runs of the embedded model that learned or were made to collapse, and
then tried on others (tests/train/test_alarms.py). Nothing absolute is asked of a reward, a gradient
norm or a length: these differ between models.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, median
from typing import Any

STEPS, SOON, RECENT = 10, 5, 3
"""Over so many steps a sign has to last, a sign in NEARLY_ALL, and an event has to be seen."""
NEARLY_ALL, GROUPS = 0.95, 12
"""A share that is not waited on for long, and how many groups have to have been sampled by then."""
SAME = 1e-6
ZERO_VARIANCE, CLIPPED, REPEATING, UNDECIDED = 0.8, 0.5, 0.3, 0.1
"""Shares of groups or completions from which on an alarm is raised."""
FALL, DEVIATIONS = 0.5, 2.0
"""What share of the reward is lost, and how many standard errors of its mean that is."""
LEAP, DIP, DIP_DEVIATIONS = 4.0, 0.3, 2.0
"""The gradient norm over its median before, and how much of the reward was lost with it.

A leap alone is no sign: it is clipped to max_grad_norm, and runs that learn have some of 30 times.
"""
NO_ENTROPY, NO_ENTROPY_NATS = 0.1, 0.05
"""Entropy over that of the first steps, and in nats a token; it has to be below both."""
SHORTER, SHORTEST = 0.5, 0.25
"""Completion length over that of the first steps: where accuracy did not rise, and in any case."""
APART = 0.3
"""What share of one reward is lost, while the whole reward rose."""
SPIKE, SPIKE_LEAST, SPIKE_ALWAYS = 5.0, 0.1, 2.0
"""KL over its highest, and how high it has to be, in nats a token; so high it is never healthy."""
ENTRIES = 5
"""So many entries a KL of before has to have: from 0, where it starts, it grows fast in any run."""

Entry = dict[str, Any]
History = Sequence[Entry]
Settings = Mapping[str, Any]

LENGTH, CUT_OFF = "completions/mean_length", "completions/clipped_ratio"


def alarms(history: History, settings: Settings | None = None) -> dict[str, str]:
    """Name -> what happened, for each alarm that the last entry of the history raises.

    Of the settings it needs `prompts_per_step`, which says how much a mean reward scatters.
    """
    sentences = {name: check(history, settings or {}) for name, check in ALARMS.items()}
    if sentences["equal_rewards"]:
        sentences["zero_variance"] = None  # the same event, with less detail
    return {name: sentence for name, sentence in sentences.items() if sentence}


def reward_fall(history: History, settings: Settings) -> str | None:
    """The reward lost a half of what it was, by more than its scatter."""
    lost = lost_reward(history, settings)
    if lost is None or lost.share < FALL:
        return None
    alike = max(recent(history, "reward_std") or [1.0]) <= SAME  # no chance makes so many the same
    enough = alike and RECENT * _prompts(settings) >= GROUPS
    if lost.deviations < DEVIATIONS and not enough:
        return None
    return (
        f"The reward fell from {lost.was:.3g} to {lost.now:.3g} (mean of the last "
        f"{covered(history, RECENT)} steps)"
    )


def gradient_leap(history: History, settings: Settings) -> str | None:
    """The gradient norm is a multiple of what it was, and the reward went down with it."""
    before = [value for value in earlier(history, "grad_norm") if value > SAME]
    now, lost = latest(history, "grad_norm", SOON), lost_reward(history, settings)
    if len(before) < 2 or not now or max(now) < LEAP * median(before):
        return None
    if lost is None or not lost.is_a_dip():
        return None
    return (
        f"The gradient norm leapt to {max(now):.3g}, {max(now) / median(before):.3g} times its "
        f"median before, and the reward fell from {lost.was:.3g} to {lost.now:.3g}"
    )


def entropy_collapse(history: History, settings: Settings) -> str | None:
    """The policy samples nearly the same tokens each time."""
    now = recent(history, "entropy")
    first = [entry["entropy"] for entry in begin(history) if number(entry, "entropy")]
    if not now or not first or max(now) > NO_ENTROPY_NATS:
        return None
    if fmean(now) > NO_ENTROPY * fmean(first) and fmean(first) > NO_ENTROPY_NATS:
        return None
    before = f" (first steps: {fmean(first):.2g})" if fmean(first) > NO_ENTROPY_NATS else ""
    return (
        f"The entropy of the policy is {fmean(now):.2g} nats a token{before}: it samples nearly "
        "the same tokens each time, and there is nothing to compare in a group"
    )


def length_collapse(history: History, settings: Settings) -> str | None:
    """Completions are a fraction as long as they were."""
    first = [entry[LENGTH] for entry in begin(history) if number(entry, LENGTH)]
    now = recent(history, LENGTH)
    accuracy = change(history, "rewards/accuracy/mean")
    rose = accuracy is None or accuracy[1] > accuracy[0]
    share = SHORTEST if rose else SHORTER
    if not first or not now or fmean(now) > share * fmean(first):
        return None
    return (
        f"Completions shrank from {fmean(first):.3g} tokens in the first steps to {fmean(now):.2g}"
    )


def rewards_apart(history: History, settings: Settings) -> str | None:
    """One of several rewards is being lost while their sum rises."""
    if not history or history[-1]["step"] < 2 * STEPS:
        return None
    total, parts = change(history, "reward"), []
    for key in history[-1]:
        if key.startswith("rewards/") and key.endswith("/mean") and (part := change(history, key)):
            name = key.removeprefix("rewards/").removesuffix("/mean")
            error = error_of_change(history, f"rewards/{name}/std", settings)
            if part[0] - part[1] > max(APART * part[0], DEVIATIONS * error):
                parts.append((part[1] / part[0], name, part))
    if not total or total[1] <= total[0] or not parts:
        return None
    _, name, part = min(parts)
    return (
        f"The reward rose from {total[0]:.3g} to {total[1]:.3g} while its part {name} fell from "
        f"{part[0]:.3g} to {part[1]:.3g} (first and last {STEPS} steps)"
    )


def kl_spike(history: History, settings: Settings) -> str | None:
    """The KL is a multiple of what it was, or too high for any run."""
    now = recent(history, "kl")
    before = earlier(history, "kl")
    if not now:
        return None
    leaps = len(before) >= ENTRIES and now[-1] >= max(SPIKE_LEAST, SPIKE * max(before))
    if not leaps and now[-1] < SPIKE_ALWAYS:
        return None
    usual = f", after {max(before):.3g} at most" if before else ""
    return f"The KL to the reference model is {now[-1]:.3g} nats a token{usual}"


def equal_rewards(history: History, settings: Settings) -> str | None:
    """All completions had the same reward."""
    for steps in _windows(settings):
        values = latest(history, "reward_std", steps)
        if values and max(values) <= SAME:
            return (
                f"All completions of the last {steps} steps had the same reward, "
                f"{latest(history, 'reward', steps)[-1]:.3g}, and nothing is learned from that"
            )
    return None


def zero_variance(history: History, settings: Settings) -> str | None:
    """In most groups all completions had the same reward."""
    share, steps = _share(history, "frac_reward_zero_std", ZERO_VARIANCE, settings)
    return share and (
        f"In {share} of the groups of the last {steps} steps all completions had the same reward; "
        "nothing is learned from those groups"
    )


def clipped(history: History, settings: Settings) -> str | None:
    """Most completions were cut off."""
    share, steps = _share(history, CUT_OFF, CLIPPED, settings)
    return share and (
        f"{share} of the completions of the last {steps} steps were cut off before their end, "
        "mostly without an answer to reward"
    )


def repeating(history: History, settings: Settings) -> str | None:
    """Many completions say their prompt again."""
    share, steps = _share(history, "completions/repeats_prompt", REPEATING, settings)
    return share and (
        f"{share} of the completions of the last {steps} steps repeat their prompt: the model "
        "continues the text instead of answering"
    )


def undecided(history: History, settings: Settings) -> str | None:
    """The rules cannot judge many completions, which get no reward for accuracy."""
    share, steps = _share(history, "rewards/accuracy/undecided", UNDECIDED, settings)
    return share and (
        f"{share} of the completions of the last {steps} steps are undecided: rules cannot say "
        "whether they are right, so they get 0 as wrong ones do"
    )


ALARMS: dict[str, Callable[[History, Settings], str | None]] = {
    "reward_fall": reward_fall,
    "gradient_leap": gradient_leap,
    "kl_spike": kl_spike,
    "entropy_collapse": entropy_collapse,
    "length_collapse": length_collapse,
    "rewards_apart": rewards_apart,
    "equal_rewards": equal_rewards,
    "zero_variance": zero_variance,
    "clipped": clipped,
    "repeating": repeating,
    "undecided": undecided,
}


def _windows(settings: Settings) -> list[int]:
    """Over how many steps a sign in all completions may be read."""
    return [SOON, STEPS] if SOON * _prompts(settings) >= GROUPS else [STEPS]


def _share(history: History, key: str, least: float, settings: Settings) -> tuple[str | None, int]:
    """A share that is `least` or more over STEPS steps, or NEARLY_ALL over fewer, in words."""
    for steps in _windows(settings):
        values = latest(history, key, steps)
        if values and fmean(values) >= (least if steps == STEPS else NEARLY_ALL):
            return f"{fmean(values):.0%}", steps
    return None, STEPS


@dataclass(frozen=True)
class Loss:
    """What the recent reward is below an earlier one."""

    was: float
    now: float
    share: float
    deviations: float
    """The difference in standard errors."""

    def is_a_dip(self) -> bool:
        """Whether it is larger than the scatter of the reward explains."""
        return self.share >= DIP and self.deviations >= DIP_DEVIATIONS


def lost_reward(history: History, settings: Settings) -> Loss | None:
    """How far the recent reward lies below that before or that of the first steps."""
    now, before = recent(history, "reward"), earlier(history, "reward")
    first = [entry["reward"] for entry in begin(history) if number(entry, "reward")]
    if not now or not before:
        return None
    steps, steps_before = _steps_of(history, now, before)
    references = [(fmean(before), steps_before)]
    if first:
        references.append((fmean(first), begin(history)[-1]["step"]))
    (was, steps_before), last = max(references), fmean(now)
    of_completions = earlier(history, "reward_std")
    scatter = fmean(of_completions) / sqrt(_prompts(settings)) if of_completions else 0.0
    error = max(SAME, scatter * sqrt(1 / steps + 1 / steps_before))
    return Loss(was, last, (was - last) / max(SAME, abs(was)), (was - last) / error)


def change(history: History, key: str) -> tuple[float, float] | None:
    """The mean of the first and of the last STEPS steps."""
    first = [entry[key] for entry in begin(history, STEPS) if number(entry, key)]
    last = latest(history, key)
    return (fmean(first), fmean(last)) if first and last else None


def begin(history: History, steps: int = RECENT) -> History:
    """The entries of the first steps, one at least."""
    return history[: max(1, _after(history, steps))]


def latest(history: History, key: str, steps: int = STEPS) -> list[float]:
    """The values of the last steps; none where the run is not that old."""
    if not history or history[-1]["step"] < steps:
        return []
    entries = history[_after(history, history[-1]["step"] - steps) :]
    return [entry[key] for entry in entries if number(entry, key)]


def recent(history: History, key: str) -> list[float]:
    """The values of the last RECENT steps, where there are two steps before them at least."""
    if not history or history[-1]["step"] < RECENT + 2:
        return []
    return latest(history, key, RECENT)


def earlier(history: History, key: str) -> list[float]:
    """The values of the STEPS steps before the last RECENT ones."""
    end = _after(history, history[-1]["step"] - RECENT) if history else 0
    if not end:
        return []
    start = _after(history, history[end - 1]["step"] - STEPS)
    return [entry[key] for entry in history[start:end] if number(entry, key)]


def covered(history: History, steps: int) -> int:
    """How many steps the entries of the last so many steps speak of."""
    end = _after(history, history[-1]["step"] - steps)
    return history[-1]["step"] - (history[end - 1]["step"] if end else 0)


def error_of_change(history: History, spread: str, settings: Settings) -> float:
    """The standard error of a `change`, from what is logged of the spread over completions."""
    spreads = change(history, spread)
    return fmean(spreads) * sqrt(2 / STEPS / _prompts(settings)) if spreads else 0.0


def _steps_of(history: History, now: Sequence[float], before: Sequence[float]) -> tuple[int, int]:
    """How many steps recent and earlier values speak of: an entry may be a mean of several."""
    end = len(history) - len(now)
    start = max(0, end - len(before))
    steps = [0, *(entry["step"] for entry in history)]
    return max(1, steps[-1] - steps[end]), max(1, steps[end] - steps[start])


def _prompts(settings: Settings) -> int:
    return settings.get("prompts_per_step") or 1


def number(entry: Entry, key: str) -> bool:
    return isinstance(entry.get(key), int | float)


def _after(history: History, step: int) -> int:
    """The index of the first entry after a step."""
    return bisect_right(history, step, key=lambda entry: entry["step"])
