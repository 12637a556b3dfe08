"""Alarms: signs in the metrics of a run that it learns nothing, or learns the wrong thing.

The functions here are pure. They read the history of a run: the entries that TRL logged, in order.
An entry has its `step` and the means of the steps since the entry before it. A check returns a
sentence with what happened, in numbers; `diagnosis` adds the likely causes. There are two
kinds of checks: an event (a fall, a sudden rise, a collapse) is found by comparing the last RECENT
steps with earlier ones; any other sign has to last for STEPS steps.

    reward_fall      policy collapse          gradient_leap     gradient norm spike
    entropy_collapse the end of exploration   length_collapse   completions far shorter
    kl_spike         KL blow-up               rewards_apart     reward hacking
    sampler_apart    a sampler with other weights than the trainer

The thresholds were set on runs of the embedded model that learned or were made to collapse, and
then tried on others (tests/train/test_alarms.py). No threshold is an absolute reward, gradient
norm or length, because these differ between models.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, median
from typing import Any

STEPS, SOON, RECENT = 10, 5, 3
"""Numbers of steps: STEPS that a sign has to last, SOON that are enough for a sign in nearly all
groups or completions, and RECENT that are compared with earlier ones to find an event."""
NEARLY_ALL, GROUPS = 0.95, 12
"""A share of NEARLY_ALL is an alarm after SOON steps, if at least GROUPS groups were sampled in
them."""
TOLERANCE = 1e-6
"""Rewards that differ by less are equal; a gradient norm below it counts as 0."""
ZERO_VARIANCE, CLIPPED, REPEATING, UNDECIDED = 0.8, 0.5, 0.3, 0.1
"""The lowest share of groups or completions that raises the alarm of this name."""
FALL, DEVIATIONS = 0.5, 2.0
"""A fall of the reward is an alarm if it loses this share of the earlier reward, and this many
standard errors of the difference."""
LEAP, DIP, DIP_DEVIATIONS = 4.0, 0.3, 2.0
"""The gradient norm divided by its earlier median, and the share and the number of standard errors
that the reward has to lose at the same time.

A high gradient norm alone is no sign: it is clipped to max_grad_norm, and runs that learn have some
that are 30 times the median.
"""
NO_ENTROPY, NO_ENTROPY_NATS = 0.1, 0.05
"""The entropy as a share of that of the first steps, and in nats per token. An alarm needs a value
below both."""
SHORTER, SHORTEST = 0.5, 0.25
"""The completion length as a share of that of the first steps: SHORTER if accuracy did not rise,
SHORTEST if it rose or is not logged."""
PART_LOSS = 0.3
"""The share that one reward has to lose while the sum of the rewards rises."""
SPIKE, SPIKE_LEAST, SPIKE_ALWAYS = 5.0, 0.1, 2.0
"""A KL is an alarm if it is SPIKE times the highest earlier one and at least SPIKE_LEAST nats per
token, or if it is SPIKE_ALWAYS nats per token, which no healthy run has."""
APART, APART_LEAST, APART_GROWTH = 0.1, 0.02, 5.0
"""The mean difference of the sampler's and the trainer's log-probabilities, in nats per token, is
an alarm if it is at least APART, or at least APART_LEAST and APART_GROWTH times that of the first
entry. Kernels and 16 bits alone make differences of about 0.01."""
ENTRIES = 5
"""The fewest earlier entries to compare a KL with: it starts at 0, and grows fast in any run."""

Entry = dict[str, Any]
History = Sequence[Entry]
Settings = Mapping[str, Any]

LENGTH, CUT_OFF = "completions/mean_length", "completions/clipped_ratio"
"""Keys of a history's entries: the mean length of a completion in tokens, and the share of the
completions that were cut off at the token limit."""
SAMPLER_DIFFERENCE = "sampling/sampling_logp_difference/mean"
"""Key of the mean difference between the log-probabilities of sampled tokens in the trainer and in
what sampled them, a server or vLLM; in nats per token."""


def alarms(history: History, settings: Settings | None = None) -> dict[str, str]:
    """Run all checks on the last entry of a history.

    Args:
        history: The entries that were logged so far.
        settings: The run's settings. Only `prompts_per_step` is read: it decides how much a mean
            reward varies by chance. Without it, one prompt per step is assumed.

    Returns:
        Name of the alarm -> what happened, for each alarm that is raised.
    """
    sentences = {name: check(history, settings or {}) for name, check in ALARMS.items()}
    if sentences["equal_rewards"]:
        sentences["zero_variance"] = None  # the same event, with less detail
    return {name: sentence for name, sentence in sentences.items() if sentence}


def _reward_fall(history: History, settings: Settings) -> str | None:
    """The reward lost half of its earlier value, and more than it varies by chance."""
    drop = reward_drop(history, settings)
    if drop is None or drop.share < FALL:
        return None
    # With few prompts per step a fall may not reach DEVIATIONS. But if the completions of many
    # groups all have the same reward, that is not chance either.
    are_equal = max(_recent(history, "reward_std") or [1.0]) <= TOLERANCE
    enough = are_equal and RECENT * _prompts(settings) >= GROUPS
    if drop.deviations < DEVIATIONS and not enough:
        return None
    return (
        f"The reward fell from {drop.before:.3g} to {drop.now:.3g} (mean of the last "
        f"{_num_covered_steps(history, RECENT)} steps)"
    )


def _gradient_leap(history: History, settings: Settings) -> str | None:
    """The gradient norm is a multiple of its earlier median, and the reward fell with it."""
    before = [value for value in _earlier(history, "grad_norm") if value > TOLERANCE]
    now, drop = _latest(history, "grad_norm", SOON), reward_drop(history, settings)
    if len(before) < 2 or not now or max(now) < LEAP * median(before):
        return None
    if drop is None or not drop.is_significant():
        return None
    return (
        f"The gradient norm rose suddenly to {max(now):.3g}, {max(now) / median(before):.3g} times "
        f"its earlier median, and the reward fell from {drop.before:.3g} to {drop.now:.3g}"
    )


def _entropy_collapse(history: History, settings: Settings) -> str | None:
    """The policy samples nearly the same tokens each time."""
    now = _recent(history, "entropy")
    first = [entry["entropy"] for entry in first_entries(history) if has_number(entry, "entropy")]
    if not now or not first or max(now) > NO_ENTROPY_NATS:
        return None
    if fmean(now) > NO_ENTROPY * fmean(first) and fmean(first) > NO_ENTROPY_NATS:
        return None
    before = f" (first steps: {fmean(first):.2g})" if fmean(first) > NO_ENTROPY_NATS else ""
    return (
        f"The entropy of the policy is {fmean(now):.2g} nats per token{before}: it samples nearly "
        "the same tokens each time, so the completions of a group cannot be compared"
    )


def _length_collapse(history: History, settings: Settings) -> str | None:
    """Completions are only a fraction as long as in the first steps."""
    first = [entry[LENGTH] for entry in first_entries(history) if has_number(entry, LENGTH)]
    now = _recent(history, LENGTH)
    accuracy = first_and_last_mean(history, "rewards/accuracy/mean")
    rose = accuracy is None or accuracy[1] > accuracy[0]
    share = SHORTEST if rose else SHORTER
    if not first or not now or fmean(now) > share * fmean(first):
        return None
    return (
        f"Completions shrank from {fmean(first):.3g} tokens in the first steps to {fmean(now):.2g}"
    )


def _rewards_apart(history: History, settings: Settings) -> str | None:
    """One of several rewards falls while their sum rises."""
    if not history or history[-1]["step"] < 2 * STEPS:
        return None
    total, parts = first_and_last_mean(history, "reward"), []
    for key in history[-1]:
        if (
            key.startswith("rewards/")
            and key.endswith("/mean")
            and (part := first_and_last_mean(history, key))
        ):
            name = key.removeprefix("rewards/").removesuffix("/mean")
            error = standard_error_of_change(history, f"rewards/{name}/std", settings)
            if part[0] - part[1] > max(PART_LOSS * part[0], DEVIATIONS * error):
                parts.append((part[1] / part[0], name, part))
    if not total or total[1] <= total[0] or not parts:
        return None
    _, name, part = min(parts)
    return (
        f"The reward rose from {total[0]:.3g} to {total[1]:.3g} while its part {name} fell from "
        f"{part[0]:.3g} to {part[1]:.3g} (first and last {STEPS} steps)"
    )


def _kl_spike(history: History, settings: Settings) -> str | None:
    """The KL is a multiple of its highest earlier value, or too high for any run."""
    now = _recent(history, "kl")
    before = _earlier(history, "kl")
    if not now:
        return None
    leaps = len(before) >= ENTRIES and now[-1] >= max(SPIKE_LEAST, SPIKE * max(before))
    if not leaps and now[-1] < SPIKE_ALWAYS:
        return None
    usual = f"; it was at most {max(before):.3g} before" if before else ""
    return f"The KL to the reference model is {now[-1]:.3g} nats per token{usual}"


def _equal_rewards(history: History, settings: Settings) -> str | None:
    """All completions have the same reward."""
    for steps in _windows(settings):
        values = _latest(history, "reward_std", steps)
        if values and max(values) <= TOLERANCE:
            return (
                f"All completions of the last {steps} steps had the same reward, "
                f"{_latest(history, 'reward', steps)[-1]:.3g}, and nothing is learned from that"
            )
    return None


def _zero_variance(history: History, settings: Settings) -> str | None:
    """In most groups all completions have the same reward."""
    share, steps = _share(history, "frac_reward_zero_std", ZERO_VARIANCE, settings)
    return share and (
        f"In {share} of the groups of the last {steps} steps all completions had the same reward; "
        "nothing is learned from those groups"
    )


def _clipped_completions(history: History, settings: Settings) -> str | None:
    """Most completions are cut off at the token limit."""
    share, steps = _share(history, CUT_OFF, CLIPPED, settings)
    return share and (
        f"{share} of the completions of the last {steps} steps were cut off before their end, "
        "mostly without an answer to reward"
    )


def _repeated_prompts(history: History, settings: Settings) -> str | None:
    """Many completions repeat their prompt."""
    share, steps = _share(history, "completions/repeats_prompt", REPEATING, settings)
    return share and (
        f"{share} of the completions of the last {steps} steps repeat their prompt: the model "
        "continues the text instead of answering"
    )


def _undecided_answers(history: History, settings: Settings) -> str | None:
    """The rules cannot judge many completions, which get no reward for accuracy."""
    share, steps = _share(history, "rewards/accuracy/undecided", UNDECIDED, settings)
    return share and (
        f"{share} of the completions of the last {steps} steps are undecided: the rules cannot say "
        "whether they are right, so they get the accuracy reward 0, like wrong ones"
    )


def _sampler_apart(history: History, settings: Settings) -> str | None:
    """What samples has other log-probabilities than the policy that is trained."""
    values = [e[SAMPLER_DIFFERENCE] for e in history if has_number(e, SAMPLER_DIFFERENCE)]
    now = values[-2:]
    if len(now) < 2 or not has_number(history[-1], SAMPLER_DIFFERENCE):
        return None
    grew = min(now) >= max(APART_LEAST, APART_GROWTH * values[0])
    if not grew and min(now) < APART:
        return None
    return (
        f"The log-probabilities of the sampled tokens differ by {now[-1]:.2g} nats per token "
        f"between the sampler and the trainer (first steps: {values[0]:.2g}): completions are "
        "sampled from another policy than the one that is trained"
    )


ALARMS: dict[str, Callable[[History, Settings], str | None]] = {
    "reward_fall": _reward_fall,
    "gradient_leap": _gradient_leap,
    "kl_spike": _kl_spike,
    "entropy_collapse": _entropy_collapse,
    "length_collapse": _length_collapse,
    "rewards_apart": _rewards_apart,
    "equal_rewards": _equal_rewards,
    "zero_variance": _zero_variance,
    "clipped": _clipped_completions,
    "repeating": _repeated_prompts,
    "undecided": _undecided_answers,
    "sampler_apart": _sampler_apart,
}
"""Name of an alarm -> its check, which returns what happened at the last entry of the history, or
None."""


def _windows(settings: Settings) -> list[int]:
    """The numbers of steps over which a share is read, the shortest first."""
    return [SOON, STEPS] if SOON * _prompts(settings) >= GROUPS else [STEPS]


def _share(history: History, key: str, least: float, settings: Settings) -> tuple[str | None, int]:
    """A share that is at least `least` over STEPS steps, or NEARLY_ALL over SOON steps.

    Returns the share as text, such as "93%", and the number of steps; (None, STEPS) if it is lower.
    """
    for steps in _windows(settings):
        values = _latest(history, key, steps)
        if values and fmean(values) >= (least if steps == STEPS else NEARLY_ALL):
            return f"{fmean(values):.0%}", steps
    return None, STEPS


@dataclass(frozen=True)
class RewardDrop:
    """How far the recent reward lies below an earlier one; negative numbers if it lies above."""

    before: float
    """The mean of the earlier reward."""
    now: float
    """The mean of the recent reward."""
    share: float
    """The difference, divided by the earlier reward."""
    deviations: float
    """The difference in standard errors."""

    def is_significant(self) -> bool:
        """Whether the difference is larger than chance explains."""
        return self.share >= DIP and self.deviations >= DIP_DEVIATIONS


def reward_drop(history: History, settings: Settings) -> RewardDrop | None:
    """Compare the recent reward with the steps before it and with the first steps.

    Args:
        history: The entries that were logged so far.
        settings: The run's settings, of which `prompts_per_step` is read.

    Returns:
        The drop from the higher of the two earlier rewards; None if the history is too short.
    """
    now, before = _recent(history, "reward"), _earlier(history, "reward")
    first = [entry["reward"] for entry in first_entries(history) if has_number(entry, "reward")]
    if not now or not before:
        return None
    steps, steps_before = _num_steps(history, now, before)
    references = [(fmean(before), steps_before)]
    if first:
        references.append((fmean(first), first_entries(history)[-1]["step"]))
    (reference, steps_before), last = max(references), fmean(now)
    spreads = _earlier(history, "reward_std")
    scatter = fmean(spreads) / sqrt(_prompts(settings)) if spreads else 0.0
    error = max(TOLERANCE, scatter * sqrt(1 / steps + 1 / steps_before))
    return RewardDrop(
        reference,
        last,
        (reference - last) / max(TOLERANCE, abs(reference)),
        (reference - last) / error,
    )


def first_and_last_mean(history: History, key: str) -> tuple[float, float] | None:
    """How a metric changed since the start of the run.

    Args:
        history: The entries that were logged so far.
        key: The metric, a key of the entries.

    Returns:
        Its means over the first and over the last STEPS steps; None if one of them has no value.
    """
    first = [entry[key] for entry in first_entries(history, STEPS) if has_number(entry, key)]
    last = _latest(history, key)
    return (fmean(first), fmean(last)) if first and last else None


def first_entries(history: History, steps: int = RECENT) -> History:
    """The entries of the first steps of a run.

    Args:
        history: The entries that were logged so far.
        steps: The number of steps. The first entry is returned even if it covers more.
    """
    return history[: max(1, _after(history, steps))]


def _latest(history: History, key: str, steps: int = STEPS) -> list[float]:
    """The values of the last `steps` steps; [] if the run has fewer."""
    if not history or history[-1]["step"] < steps:
        return []
    entries = history[_after(history, history[-1]["step"] - steps) :]
    return [entry[key] for entry in entries if has_number(entry, key)]


def _recent(history: History, key: str) -> list[float]:
    """The values of the last RECENT steps; [] if fewer than two steps lie before them."""
    if not history or history[-1]["step"] < RECENT + 2:
        return []
    return _latest(history, key, RECENT)


def _earlier(history: History, key: str) -> list[float]:
    """The values of the STEPS steps before the last RECENT ones."""
    end = _after(history, history[-1]["step"] - RECENT) if history else 0
    if not end:
        return []
    start = _after(history, history[end - 1]["step"] - STEPS)
    return [entry[key] for entry in history[start:end] if has_number(entry, key)]


def _num_covered_steps(history: History, steps: int) -> int:
    """The number of steps in the entries of the last `steps` steps; an entry may cover several."""
    end = _after(history, history[-1]["step"] - steps)
    return int(history[-1]["step"]) - (int(history[end - 1]["step"]) if end else 0)


def standard_error_of_change(history: History, spread: str, settings: Settings) -> float:
    """The standard error of the difference of `first_and_last_mean`.

    Args:
        history: The entries that were logged so far.
        spread: The key of the metric's standard deviation over completions.
        settings: The run's settings, of which `prompts_per_step` is read.

    Returns:
        The standard error; 0 if the deviation is not logged.
    """
    spreads = first_and_last_mean(history, spread)
    return fmean(spreads) * sqrt(2 / STEPS / _prompts(settings)) if spreads else 0.0


def _num_steps(history: History, now: Sequence[float], before: Sequence[float]) -> tuple[int, int]:
    """The numbers of steps in recent and in earlier values; an entry may cover several steps."""
    end = len(history) - len(now)
    start = max(0, end - len(before))
    steps = [0, *(entry["step"] for entry in history)]
    return max(1, steps[-1] - steps[end]), max(1, steps[end] - steps[start])


def _prompts(settings: Settings) -> int:
    return settings.get("prompts_per_step") or 1


def has_number(entry: Entry, key: str) -> bool:
    """Whether an entry has a number under this key.

    Args:
        entry: An entry of a history.
        key: The metric.
    """
    return isinstance(entry.get(key), int | float)


def _after(history: History, step: int) -> int:
    """The index of the first entry after a step."""
    return bisect_right(history, step, key=lambda entry: entry["step"])
