"""Why a run goes wrong: its alarms, its history and its settings to likely causes, in order.

What is there from the first steps on lies in the settings, the data or the checkpoint. What comes
later came by updates: too large ones where the reward falls, and where it rises, a reward that
pays for this. So several alarms of one collapse name one cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from medr1.train.alarms import (
    CLIPPED,
    CUT_OFF,
    DIP,
    LENGTH,
    NO_ENTROPY_NATS,
    RECENT,
    SAME,
    ZERO_VARIANCE,
    History,
    Settings,
    alarms,
    begin,
    change,
    error_of_change,
    lost_reward,
    number,
)

COLD, HOT = 0.3, 1.5
"""A temperature (or top_p) up to which sampling has no choice, and one from which it is noise."""
ROSE = 1.2
"""The reward over that of the first steps, from which on it rose."""


@dataclass(frozen=True)
class Cause:
    """What is wrong, in words with the settings named in braces, and what to change."""

    words: str
    change: str


CAUSES = {
    "learning_rate": Cause(
        "updates that are too large (learning_rate {learning_rate})",
        "Start again, or from a checkpoint before this, with a tenth of that learning_rate. A "
        "lower max_grad_norm, more warmup_steps and a beta above 0 (now {beta}) help as well.",
    ),
    "reward": Cause(
        "a reward that pays for something else than right answers (reward hacking)",
        "Read completions.jsonl for what is paid for, and lower the weight of that reward "
        "(reward_weights) or take it out.",
    ),
    "constant_reward": Cause(
        "a reward that is constant, or that cannot read this format of answer",
        "Read completions.jsonl and score some of them with `medr1 rewards`. Change the prompt or "
        "the reward, or start from a checkpoint after SFT.",
    ),
    "low_temperature": Cause(
        "sampling without choice (temperature {temperature}, top_p {top_p}, top_k {top_k})",
        "Raise the temperature, with top_p 1 and top_k 0: a group's completions have to differ.",
    ),
    "high_temperature": Cause(
        "sampling that is mostly noise (temperature {temperature})",
        "Lower the temperature to 1.",
    ),
    "max_completion_length": Cause(
        "too little room for a completion (max_completion_length {max_completion_length})",
        "Raise max_completion_length, or add the reward soft-overlong.",
    ),
    "questions": Cause(
        "questions that are too easy or too hard for this model",
        "Keep those it gets right now and then (`medr1 data filter`), or raise num_generations "
        "(now {num_generations}).",
    ),
    "checkpoint": Cause(
        "a base model without instruction tuning, or a chat template that is not its own",
        "Start from an instruction-tuned checkpoint, or from one after SFT.",
    ),
    "answers": Cause(
        "answers of a form that rules cannot judge",
        "Read completions.jsonl, ask for short answers in the prompt, or reward the format too.",
    ),
}

ORDER: dict[str, tuple[str, ...]] = {
    "reward_fall": ("learning_rate", "reward", "high_temperature"),
    "gradient_leap": ("learning_rate", "reward", "high_temperature"),
    "kl_spike": ("learning_rate", "reward"),
    "entropy_collapse": ("learning_rate", "low_temperature", "reward"),
    "length_collapse": ("reward", "learning_rate"),
    "rewards_apart": ("reward", "learning_rate"),
    "equal_rewards": ("questions", "constant_reward", "low_temperature"),
    "zero_variance": ("questions", "low_temperature", "constant_reward"),
    "clipped": ("max_completion_length", "high_temperature", "learning_rate", "reward"),
    "repeating": ("checkpoint", "learning_rate"),
    "undecided": ("answers", "checkpoint"),
}
"""The causes of each alarm, the likeliest first, where nothing else is known."""
UPDATES = {
    "reward_fall": "the reward fell",
    "gradient_leap": "the gradient norm leapt",
    "kl_spike": "the KL leapt",
}
"""Alarms that updates raise which are too large, in words."""

ALIKE = ("equal_rewards", "zero_variance", "entropy_collapse")
"""Alarms that groups of equal completions raise."""
OWN = ("rewards_apart", "undecided")
"""Alarms that say more of the reward than its fall does."""

Evidence = tuple[str, str]
"""A cause, and what speaks for it."""


def new_alarms(
    history: History, settings: Settings, earlier: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """What alarms.jsonl gets after the last entry of the history; `earlier` is what it has.

    Each alarm is raised once. Its `causes` are in order, its `cause` is the first of them in words.
    """
    raised = {entry["alarm"]: entry["step"] for entry in earlier}
    step = history[-1]["step"] if history else 0
    events = {k: text for k, text in alarms(history, settings).items() if k not in raised}
    run = Run(history, settings, {**raised, **dict.fromkeys(events, step)})
    step_of_cause = {
        entry["cause"]: entry["step"] for entry in reversed(earlier) if "cause" in entry
    }
    entries = []
    for alarm, event in events.items():
        causes, why = _causes(alarm, run)
        cause, *others = (CAUSES[name].words.format_map(_SettingsText(settings)) for name in causes)
        before = step_of_cause.get(cause)
        place = "above" if before == step else f"at step {before}"
        sentence = f"{event}. Most likely cause, as {place}: {cause}."
        if before is None:
            remedy = CAUSES[causes[0]].change.format_map(_SettingsText(settings))
            less = f" Less likely: {'; '.join(others)}." if others else ""
            sentence = f"{event}. Most likely cause: {cause}{why and '; '}{why}. {remedy}{less}"
        step_of_cause.setdefault(cause, step)
        entry = {"step": step, "alarm": alarm, "sentence": sentence, "causes": causes}
        entries.append({**entry, "cause": cause})
    return entries


def _causes(alarm: str, run: Run) -> tuple[list[str], str]:
    """The causes of an alarm, the likeliest first, and what speaks for that one."""
    rules = [_no_choice, _from_the_start, _updates, _hacking, _learned]
    if begin(run.history)[-1]["step"] > RECENT:  # this entry speaks of updates too
        rules = [_no_choice, _updates, _from_the_start, _hacking, _learned]
    evidence = next((result for rule in rules if (result := rule(alarm, run))), None)
    first, why = evidence or (ORDER[alarm][0], "")
    return [first, *(name for name in ORDER[alarm] if name != first and run.allows(name))], why


@dataclass(frozen=True)
class Run:
    """What a diagnosis looks at."""

    history: History
    settings: Settings
    raised: Mapping[str, int]
    """The alarms raised so far -> the step at which each was."""

    def at_first(self, key: str) -> list[float]:
        """The values of the first steps; none where one is missing."""
        entries = begin(self.history)
        return [e[key] for e in entries] if all(number(e, key) for e in entries) else []

    def is_cold(self) -> bool:
        """Whether the settings leave sampling no choice."""
        low = [self.settings.get(name) for name in ("temperature", "top_p")]
        is_low = any(value is not None and value <= COLD for value in low)
        return is_low or self.settings.get("top_k") == 1

    def is_certain(self) -> bool:
        """Whether the model sampled the same tokens each time from the first step on."""
        entropies = self.at_first("entropy")
        return bool(entropies) and max(entropies) < NO_ENTROPY_NATS

    def rose(self, key: str, spread: str) -> bool:
        """Whether a reward is well above that of the first steps."""
        values = change(self.history, key)
        if not values:
            return False
        error = error_of_change(self.history, spread, self.settings)
        return values[1] - values[0] > max((ROSE - 1) * abs(values[0]), error, SAME)

    def allows(self, cause: str) -> bool:
        """Whether the settings leave a cause possible."""
        temperature = self.settings.get("temperature") or 1.0
        if cause == "low_temperature":
            return temperature < 1 or self.is_cold() or self.is_certain()
        return cause != "high_temperature" or temperature > 1

    def accuracy_rose(self) -> bool:
        """Whether right answers became more: as accuracy says, else the only reward there is."""
        parts = [k for k in self.history[-1] if k.startswith("rewards/") and k.endswith("/mean")]
        parts = [key for key in parts if key.startswith("rewards/accuracy")] or parts
        return len(parts) == 1 and self.rose(parts[0], parts[0].removesuffix("mean") + "std")


def _no_choice(alarm: str, run: Run) -> Evidence | None:
    """The settings make a group's completions the same."""
    if not run.is_cold() or not (alarm in ALIKE or run.raised.keys() & set(ALIKE)):
        return None
    return "low_temperature", "with these settings a group's completions are mostly the same"


def _from_the_start(alarm: str, run: Run) -> Evidence | None:
    """What was there before an update could bring it about."""
    if _all(run.at_first("completions/repeats_prompt"), CLIPPED):
        return "checkpoint", "the first completions repeat their prompts already"
    if _all(cut_off := run.at_first(CUT_OFF), CLIPPED):
        hot = (run.settings.get("temperature") or 1.0) >= HOT
        evidence = f"{fmean(cut_off):.0%} were cut off in the first steps already"
        return ("high_temperature" if hot else "max_completion_length"), evidence
    spreads, rewards = run.at_first("reward_std"), run.at_first("reward")
    if spreads and max(spreads) <= SAME and rewards:
        return "constant_reward", f"all rewards were {fmean(rewards):.3g} from the first step on"
    zeros = run.at_first("frac_reward_zero_std")
    if zeros and fmean(zeros) >= ZERO_VARIANCE:
        evidence = f"in the first steps already {fmean(zeros):.0%} of the groups had equal rewards"
        return ("low_temperature" if run.is_certain() else "questions"), evidence
    return None


def _updates(alarm: str, run: Run) -> Evidence | None:
    """The reward fell, or the gradient norm or the KL leapt; what came after came of that.

    So does a length that nothing pays for.
    """
    raised = {name: run.raised[name] for name in UPDATES if name in run.raised}
    lost = lost_reward(run.history, run.settings)
    total = change(run.history, "reward")
    unpaid = alarm == "length_collapse" and total is not None and total[1] < total[0]
    unpaid |= alarm == "clipped" and lost is not None and lost.share >= DIP
    falls = unpaid or (lost is not None and lost.is_a_dip() and alarm not in OWN)
    recovered = run.rose("reward", "reward_std") and run.accuracy_rose()
    if recovered or not (raised or falls):
        return None
    evidence = [f"{UPDATES[name]} at step {step}" for name, step in raised.items() if name != alarm]
    norms = [e["grad_norm"] for e in run.history if number(e, "grad_norm") and e["grad_norm"] > 0]
    if norms and alarm != "gradient_leap" and "gradient_leap" not in raised:
        evidence.append(f"the gradient norm reached {max(norms):.3g} (median {median(norms):.3g})")
    if not raised and lost:
        evidence.append(f"the reward fell from {lost.was:.3g} to {lost.now:.3g}")
    return "learning_rate", ", ".join(evidence)


def _hacking(alarm: str, run: Run) -> Evidence | None:
    """The reward rose, and right answers did not become more, or answers became short."""
    total = change(run.history, "reward")
    rose = run.rose("reward", "reward_std") and not run.accuracy_rose()
    spoiled = run.raised.keys() & {"rewards_apart", "length_collapse"}
    if not total or not (rose or (spoiled and total[1] > total[0])):
        return None
    evidence = [f"the reward went from {total[0]:.3g} to {total[1]:.3g}"]
    for key, name in (("rewards/accuracy/mean", "accuracy"), (LENGTH, "the length in tokens")):
        if values := change(run.history, key):
            evidence.append(f"{name} went from {values[0]:.3g} to {values[1]:.3g}")
    return "reward", ", ".join(evidence)


def _learned(alarm: str, run: Run) -> Evidence | None:
    """Groups became alike because the questions are answered by now."""
    total = change(run.history, "reward")
    if alarm not in ("equal_rewards", "zero_variance") or not total or total[1] <= total[0]:
        return None
    return "questions", f"the reward rose from {total[0]:.3g} to {total[1]:.3g}: they are learned"


def _all(values: Iterable[float], least: float) -> bool:
    """Whether there are values and none is below `least`."""
    numbers = list(values)
    return bool(numbers) and min(numbers) >= least


class _SettingsText(dict[str, str]):
    """The settings as they stand in a sentence."""

    def __init__(self, settings: Settings) -> None:
        super().__init__({k: f"{v:g}" for k, v in settings.items() if isinstance(v, int | float)})

    def __missing__(self, key: str) -> str:
        return "not given"
