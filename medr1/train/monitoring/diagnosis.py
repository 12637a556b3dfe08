"""The likely causes of a run's alarms, from its history and its settings.

A sign that is there from the first steps on comes from the settings, the data or the checkpoint. A
later one comes from updates: from too large ones if the reward falls, and from a reward that pays
for the wrong thing if the reward rises. So the alarms that one collapse raises name one cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from medr1.train.monitoring.alarms import (
    APART,
    CLIPPED,
    CUT_OFF,
    DIP,
    LENGTH,
    NO_ENTROPY_NATS,
    RECENT,
    SAMPLER_DIFFERENCE,
    TOLERANCE,
    ZERO_VARIANCE,
    Entry,
    History,
    Settings,
    alarms,
    first_and_last_mean,
    first_entries,
    has_number,
    reward_drop,
    standard_error_of_change,
)

LOW_TEMPERATURE, HIGH_TEMPERATURE = 0.3, 1.5
"""Up to the first, a temperature or a top_p makes sampling almost greedy; from the second on, a
temperature makes completions mostly noise."""
RISE = 1.2
"""A reward that is this many times that of the first steps has risen."""


@dataclass(frozen=True)
class Cause:
    """A cause of alarms, as text; `{name}` in it stands for the value of a setting."""

    description: str
    """What is wrong."""
    remedy: str
    """What the user can change."""


CAUSES = {
    "learning_rate": Cause(
        "updates that are too large (learning_rate {learning_rate})",
        "Start again, or from a checkpoint before this step, with a tenth of the learning_rate. A "
        "lower max_grad_norm, more warmup_steps and a beta above 0 (now {beta}) help as well.",
    ),
    "reward": Cause(
        "a reward that pays for something else than right answers (reward hacking)",
        "Read in completions.jsonl what is rewarded, and lower the weight of that reward "
        "(reward_weights) or remove it.",
    ),
    "constant_reward": Cause(
        "a reward that is constant, or that cannot read this format of answer",
        "Read completions.jsonl and score some of them with `medr1 rewards`. Change the prompt or "
        "the reward, or start from a checkpoint after SFT.",
    ),
    "low_temperature": Cause(
        "sampling that is almost greedy (temperature {temperature}, top_p {top_p}, top_k {top_k})",
        "Raise the temperature, with top_p 1 and top_k 0: a group's completions have to differ.",
    ),
    "high_temperature": Cause(
        "sampling that is mostly noise (temperature {temperature})",
        "Lower the temperature to 1.",
    ),
    "max_completion_length": Cause(
        "a token limit that is too low for a completion "
        "(max_completion_length {max_completion_length})",
        "Raise max_completion_length, or add the reward soft-overlong.",
    ),
    "questions": Cause(
        "questions that are too easy or too hard for this model",
        "Keep those that it sometimes answers right (`medr1 data filter`), or raise "
        "num_generations (now {num_generations}).",
    ),
    "checkpoint": Cause(
        "a base model without instruction tuning, or a chat template that is not its own",
        "Start from an instruction-tuned checkpoint, or from one after SFT.",
    ),
    "answers": Cause(
        "answers of a form that rules cannot judge",
        "Read completions.jsonl, ask for short answers in the prompt, or reward the format too.",
    ),
    "stale_weights": Cause(
        "old weights of the sampler: it has not loaded those of the last updates, or not all",
        "Look in the server's log for an error of the reload, and start it anew. vLLM's version "
        "for CPUs keeps the old output layer if that is tied to the embeddings: untie them.",
    ),
    "sampling_settings": Cause(
        "log-probabilities before temperature and top_p, or of top_p, top_k, min_p and "
        "repetition_penalty, which the trainer does not compute",
        "Start vLLM with --logprobs-mode processed_logprobs, and sample with top_p 1, top_k 0, "
        "min_p 0 and repetition_penalty 1.",
    ),
    "sampler_dtype": Cause(
        "another dtype, quantization or kernel of the sampler",
        "Serve the checkpoint in the dtype in which the trainer computes.",
    ),
    "sampler_inputs": Cause(
        "another chat template of the sampler, or images that it resizes in another way",
        "Serve the checkpoint with its own chat template and processor.",
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
    "sampler_apart": ("stale_weights", "sampling_settings", "sampler_dtype", "sampler_inputs"),
}
"""Alarm -> its causes, the likeliest first. The history and the settings can change the order."""
UPDATE_ALARMS = {
    "reward_fall": "the reward fell",
    "gradient_leap": "the gradient norm rose suddenly",
    "kl_spike": "the KL rose suddenly",
}
"""Alarms that too large updates raise -> what happened, as text."""

EQUAL_GROUP_ALARMS = ("equal_rewards", "zero_variance", "entropy_collapse")
"""Alarms that are raised if the completions of a group are equal."""
REWARD_ALARMS = ("rewards_apart", "undecided")
"""Alarms whose cause is the reward or the answers, even if the reward falls as well."""

Evidence = tuple[str, str]
"""A key of `CAUSES`, and what speaks for it as text."""


def new_alarms(
    history: History, settings: Settings, earlier_entries: Sequence[Entry]
) -> list[Entry]:
    """Find the alarms that the last entry of a history raises for the first time.

    Args:
        history: The entries that were logged so far.
        settings: The run's settings (`callbacks.settings_of`).
        earlier_entries: The entries of alarms.jsonl so far.

    Returns:
        The new entries of alarms.jsonl, each with its `step`, the name of the `alarm`, a
        `sentence` for the user, the `causes` (keys of `CAUSES`, the likeliest first) and the
        likeliest `cause` as text. A cause that an earlier alarm has named is not explained again.
    """
    raised = {entry["alarm"]: entry["step"] for entry in earlier_entries}
    step = history[-1]["step"] if history else 0
    events = {k: text for k, text in alarms(history, settings).items() if k not in raised}
    run = ObservedRun(history, settings, {**raised, **dict.fromkeys(events, step)})
    step_of_cause = {
        entry["cause"]: entry["step"] for entry in reversed(earlier_entries) if "cause" in entry
    }
    entries = []
    for alarm, event in events.items():
        causes, reason = _causes(alarm, run)
        cause, *others = (
            CAUSES[name].description.format_map(_SettingsText(settings)) for name in causes
        )
        before = step_of_cause.get(cause)
        place = "above" if before == step else f"at step {before}"
        sentence = f"{event}. Most likely cause, as {place}: {cause}."
        if before is None:
            remedy = CAUSES[causes[0]].remedy.format_map(_SettingsText(settings))
            less = f" Less likely: {'; '.join(others)}." if others else ""
            sentence = (
                f"{event}. Most likely cause: {cause}{reason and '; '}{reason}. {remedy}{less}"
            )
        step_of_cause.setdefault(cause, step)
        entry = {"step": step, "alarm": alarm, "sentence": sentence, "causes": causes}
        entries.append({**entry, "cause": cause})
    return entries


def _causes(alarm: str, run: ObservedRun) -> tuple[list[str], str]:
    """The causes of an alarm, the likeliest first, and what speaks for the first."""
    rules = [
        _almost_greedy_sampling,
        _fault_from_the_start,
        _too_large_updates,
        _reward_hacking,
        _learned_questions,
    ]
    if first_entries(run.history)[-1]["step"] > RECENT:  # the first entry covers updates as well
        rules = [
            _almost_greedy_sampling,
            _too_large_updates,
            _fault_from_the_start,
            _reward_hacking,
            _learned_questions,
        ]
    evidence = next((result for rule in rules if (result := rule(alarm, run))), None)
    if alarm == "sampler_apart":  # what happens to the policy is no cause of it
        evidence = _other_sampler(run)
    first, reason = evidence or (ORDER[alarm][0], "")
    return [first, *(name for name in ORDER[alarm] if name != first and run.allows(name))], reason


@dataclass(frozen=True)
class ObservedRun:
    """The facts about a run that a diagnosis reads."""

    history: History
    """The entries that were logged so far."""
    settings: Settings
    """The run's settings (`callbacks.settings_of`)."""
    raised: Mapping[str, int]
    """Each alarm that was raised so far -> the step at which it was."""

    def first_values(self, key: str) -> list[float]:
        """The values of the first steps; [] if one is missing."""
        entries = first_entries(self.history)
        return [e[key] for e in entries] if all(has_number(e, key) for e in entries) else []

    def is_almost_greedy(self) -> bool:
        """Whether the settings make sampling almost greedy."""
        low = [self.settings.get(name) for name in ("temperature", "top_p")]
        is_low = any(value is not None and value <= LOW_TEMPERATURE for value in low)
        return is_low or self.settings.get("top_k") == 1

    def has_no_entropy(self) -> bool:
        """Whether the model sampled nearly the same tokens each time from the first step on."""
        entropies = self.first_values("entropy")
        return bool(entropies) and max(entropies) < NO_ENTROPY_NATS

    def has_risen(self, key: str, spread: str) -> bool:
        """Whether a reward is well above that of the first steps.

        Args:
            key: The key of its mean in the history.
            spread: The key of its standard deviation over completions.
        """
        values = first_and_last_mean(self.history, key)
        if not values:
            return False
        error = standard_error_of_change(self.history, spread, self.settings)
        return values[1] - values[0] > max((RISE - 1) * abs(values[0]), error, TOLERANCE)

    def allows(self, cause: str) -> bool:
        """Whether a cause is possible with these settings."""
        temperature = self.settings.get("temperature") or 1.0
        if cause == "low_temperature":
            return temperature < 1 or self.is_almost_greedy() or self.has_no_entropy()
        return cause != "high_temperature" or temperature > 1

    def has_accuracy_risen(self) -> bool:
        """Whether there are more right answers than in the first steps.

        The reward for accuracy tells it; without one, the only reward does. False if there are
        several other rewards.
        """
        parts = [k for k in self.history[-1] if k.startswith("rewards/") and k.endswith("/mean")]
        parts = [key for key in parts if key.startswith("rewards/accuracy")] or parts
        return len(parts) == 1 and self.has_risen(parts[0], parts[0].removesuffix("mean") + "std")


def _almost_greedy_sampling(alarm: str, run: ObservedRun) -> Evidence | None:
    """The cause if the settings make a group's completions equal."""
    if not run.is_almost_greedy() or not (
        alarm in EQUAL_GROUP_ALARMS or run.raised.keys() & set(EQUAL_GROUP_ALARMS)
    ):
        return None
    return "low_temperature", "with these settings a group's completions are mostly equal"


def _fault_from_the_start(alarm: str, run: ObservedRun) -> Evidence | None:
    """The cause if the signs were there before an update could cause them."""
    if _all_at_least(run.first_values("completions/repeats_prompt"), CLIPPED):
        return "checkpoint", "the first completions already repeat their prompts"
    if _all_at_least(cut_off := run.first_values(CUT_OFF), CLIPPED):
        is_hot = (run.settings.get("temperature") or 1.0) >= HIGH_TEMPERATURE
        evidence = f"{fmean(cut_off):.0%} were already cut off in the first steps"
        return ("high_temperature" if is_hot else "max_completion_length"), evidence
    spreads, rewards = run.first_values("reward_std"), run.first_values("reward")
    if spreads and max(spreads) <= TOLERANCE and rewards:
        return "constant_reward", f"all rewards were {fmean(rewards):.3g} from the first step on"
    zeros = run.first_values("frac_reward_zero_std")
    if zeros and fmean(zeros) >= ZERO_VARIANCE:
        evidence = f"{fmean(zeros):.0%} of the groups already had equal rewards in the first steps"
        return ("low_temperature" if run.has_no_entropy() else "questions"), evidence
    return None


def _too_large_updates(alarm: str, run: ObservedRun) -> Evidence | None:
    """The cause if the reward fell, or the gradient norm or the KL rose suddenly.

    The alarms after such an event are its consequences. So is a change of length if the reward did
    not rise with it.
    """
    raised = {name: run.raised[name] for name in UPDATE_ALARMS if name in run.raised}
    drop = reward_drop(run.history, run.settings)
    total = first_and_last_mean(run.history, "reward")
    # shorter or cut-off completions that bring no reward were not learned because of the reward
    unpaid = alarm == "length_collapse" and total is not None and total[1] < total[0]
    unpaid |= alarm == "clipped" and drop is not None and drop.share >= DIP
    falls = unpaid or (drop is not None and drop.is_significant() and alarm not in REWARD_ALARMS)
    recovered = run.has_risen("reward", "reward_std") and run.has_accuracy_risen()
    if recovered or not (raised or falls):
        return None
    evidence = [
        f"{UPDATE_ALARMS[name]} at step {step}" for name, step in raised.items() if name != alarm
    ]
    norms = [
        e["grad_norm"] for e in run.history if has_number(e, "grad_norm") and e["grad_norm"] > 0
    ]
    if norms and alarm != "gradient_leap" and "gradient_leap" not in raised:
        evidence.append(f"the gradient norm reached {max(norms):.3g} (median {median(norms):.3g})")
    if not raised and drop:
        evidence.append(f"the reward fell from {drop.before:.3g} to {drop.now:.3g}")
    return "learning_rate", ", ".join(evidence)


def _reward_hacking(alarm: str, run: ObservedRun) -> Evidence | None:
    """The cause if the reward rose without more right answers, or with much shorter ones."""
    total = first_and_last_mean(run.history, "reward")
    rose = run.has_risen("reward", "reward_std") and not run.has_accuracy_risen()
    spoiled = run.raised.keys() & {"rewards_apart", "length_collapse"}
    if not total or not (rose or (spoiled and total[1] > total[0])):
        return None
    evidence = [f"the reward went from {total[0]:.3g} to {total[1]:.3g}"]
    for key, name in (("rewards/accuracy/mean", "accuracy"), (LENGTH, "the length in tokens")):
        if values := first_and_last_mean(run.history, key):
            evidence.append(f"{name} went from {values[0]:.3g} to {values[1]:.3g}")
    return "reward", ", ".join(evidence)


def _learned_questions(alarm: str, run: ObservedRun) -> Evidence | None:
    """The cause if groups have equal rewards because the model has learned the questions."""
    total = first_and_last_mean(run.history, "reward")
    if alarm not in ("equal_rewards", "zero_variance") or not total or total[1] <= total[0]:
        return None
    evidence = f"the reward rose from {total[0]:.3g} to {total[1]:.3g}: the model has learned them"
    return "questions", evidence


def _other_sampler(run: ObservedRun) -> Evidence:
    """The cause of a difference between the sampler's and the trainer's log-probabilities."""
    first = next(e[SAMPLER_DIFFERENCE] for e in run.history if has_number(e, SAMPLER_DIFFERENCE))
    if first >= APART:
        return "sampling_settings", f"it was {first:.2g} from the first steps on"
    return "stale_weights", f"it was {first:.2g} in the first steps, and grew with the updates"


def _all_at_least(values: Iterable[float], least: float) -> bool:
    """Whether there are values and none is below `least`."""
    numbers = list(values)
    return bool(numbers) and min(numbers) >= least


class _SettingsText(dict[str, str]):
    """The settings as text for `str.format_map`: numbers only, and "not given" for any other."""

    def __init__(self, settings: Settings) -> None:
        super().__init__({k: f"{v:g}" for k, v in settings.items() if isinstance(v, int | float)})

    def __missing__(self, key: str) -> str:
        return "not given"
