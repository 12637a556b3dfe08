"""What in a run's metrics says that it learns nothing, or the wrong thing, and what to try.

Pure functions of the history: the entries that TRL logged, in order, each with its `step` and the
means since the entry before. An alarm looks at the last STEPS steps, or at what came before them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

STEPS = 10
"""Over so many steps a sign has to last."""
SAME = 1e-6
ZERO_VARIANCE, CLIPPED, REPEATING, UNDECIDED = 0.8, 0.5, 0.3, 0.1
"""Shares of groups or completions from which on an alarm is raised."""
SPIKE, SPIKE_LEAST, RISE, ENTRIES = 5.0, 0.1, 3, 5
"""KL over its highest, and how high it has to be, in nats a token; over how many entries it may
rise, and how many have to come before. From 0, where it starts, it grows as fast in any run."""
COLLAPSE, COLLAPSE_LEAST = 0.25, 20.0
"""Length over that of the first STEPS steps, and how long those had to be, in tokens."""

Entry = dict[str, Any]
History = Sequence[Entry]


def alarms(history: History) -> dict[str, str]:
    """Name -> one sentence for each alarm that the last entry of the history raises."""
    found = {name: check(history) for name, check in ALARMS.items()}
    if found["equal_rewards"]:
        found["zero_variance"] = None  # says the same, and less
    return {name: sentence for name, sentence in found.items() if sentence}


def equal_rewards(history: History) -> str | None:
    """All completions of STEPS steps had the same reward."""
    values = _lately(history, "reward_std")
    if not values or max(values) > SAME:
        return None
    reward = _lately(history, "reward")[-1]
    return (
        f"All completions of the last {STEPS} steps had the same reward, {reward:.3g}, and nothing "
        "is learned from equals: the reward may be constant, or may not read this format of "
        "answer. Read completions.jsonl, and try another prompt, a graded reward, or SFT first."
    )


def zero_variance(history: History) -> str | None:
    """In most groups all completions had the same reward."""
    values = _lately(history, "frac_reward_zero_std")
    if not values or fmean(values) < ZERO_VARIANCE:
        return None
    return (
        f"In {fmean(values):.0%} of the groups of the last {STEPS} steps all completions had the "
        "same reward, and those teach nothing: the questions are too easy or too hard for this "
        "model. Keep those it gets right now and then (`medr1 data filter`), or raise "
        "num_generations or temperature."
    )


def clipped(history: History) -> str | None:
    """Most completions were cut off."""
    values = _lately(history, "completions/clipped_ratio")
    if not values or fmean(values) < CLIPPED:
        return None
    return (
        f"{fmean(values):.0%} of the completions of the last {STEPS} steps were cut off before "
        "their end, mostly without an answer to reward: the model does not stop, or needs more "
        "room. Raise max_completion_length, or add the reward soft-overlong."
    )


def repeating(history: History) -> str | None:
    """Many completions say their prompt again."""
    values = _lately(history, "completions/repeats_prompt")
    if not values or fmean(values) < REPEATING:
        return None
    return (
        f"{fmean(values):.0%} of the completions of the last {STEPS} steps repeat their prompt: "
        "the model continues the text instead of answering, as a base model without instruction "
        "tuning does, or with another chat template than its own. Start from an instruction-tuned "
        "checkpoint, or from one after SFT."
    )


def undecided(history: History) -> str | None:
    """The rules cannot judge many completions, which get no reward for accuracy."""
    values = _lately(history, "rewards/accuracy/undecided")
    if not values or fmean(values) < UNDECIDED:
        return None
    return (
        f"{fmean(values):.0%} of the completions of the last {STEPS} steps are undecided: rules "
        "cannot say whether they are right, so they get 0 as wrong ones do. Read "
        "completions.jsonl, ask for short answers in the prompt, or reward the format too."
    )


def kl_spike(history: History) -> str | None:
    """The KL is a multiple of what it was."""
    before = [entry["kl"] for entry in history if _number(entry, "kl")][:-RISE]
    if len(before) < ENTRIES or not _number(history[-1], "kl"):
        return None
    now, usual = history[-1]["kl"], max(before[-STEPS:])
    if now < SPIKE_LEAST or now < SPIKE * usual:
        return None
    return (
        f"The KL to the reference model is {now:.3g}, after {usual:.3g} at most: the policy "
        "left the reference in one stride, mostly by too large an update. Lower learning_rate or "
        "max_grad_norm, raise beta, and go on from a checkpoint before this step."
    )


def length_collapse(history: History) -> str | None:
    """Completions are a fraction as long as they were."""
    key = "completions/mean_length"
    first = [e[key] for e in history if e["step"] <= history[0]["step"] + STEPS and _number(e, key)]
    values = _lately(history, key)
    if not first or not values or fmean(first) < COLLAPSE_LEAST:
        return None
    if fmean(values) > COLLAPSE * fmean(first):
        return None
    return (
        f"Completions shrank from {fmean(first):.0f} tokens to {fmean(values):.0f}: the rewards "
        "ask for no reasoning and the model left it out, or it lost its text altogether. Read "
        "completions.jsonl, reward the format (format-think), or lower learning_rate."
    )


ALARMS: dict[str, Callable[[History], str | None]] = {
    "equal_rewards": equal_rewards,
    "zero_variance": zero_variance,
    "clipped": clipped,
    "repeating": repeating,
    "undecided": undecided,
    "kl_spike": kl_spike,
    "length_collapse": length_collapse,
}


def _lately(history: History, key: str) -> list[float]:
    """The values of the last STEPS steps; none where the run is not that old, or one is missing."""
    if not _long_enough(history):
        return []
    before = history[-1]["step"] - STEPS
    recent = [entry for entry in history if entry["step"] > before]
    return [entry[key] for entry in recent] if all(_number(e, key) for e in recent) else []


def _long_enough(history: History) -> bool:
    """Whether the entries speak of STEPS steps at least; the first speaks of those before it."""
    return bool(history) and history[-1]["step"] >= STEPS


def _number(entry: Entry, key: str) -> bool:
    return isinstance(entry.get(key), int | float)
