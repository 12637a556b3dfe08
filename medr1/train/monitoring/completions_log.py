"""completions.jsonl: some completions of a run, as they were sampled.

Each line has the step, the item's id and question, the ground truth, the completion,
its rewards and its advantage. Images are never written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from medr1.rewards import message_text
from medr1.train.monitoring.metrics_log import append_line, truncate_log

if TYPE_CHECKING:
    import torch
    from trl import GRPOTrainer as _Trainer

    from medr1.train.inputs import Row
else:
    _Trainer = object

COMPLETIONS_PER_STEP = 4
"""Number of completions written each time, of different prompts if the batch has as many."""
MAX_CHARACTERS = 8000
"""Length to which a question and a completion are cut."""
MAX_BYTES = 32 << 20
"""Size from which completions.jsonl is renamed to completions.1.jsonl, which is overwritten."""
_SEQUENCE_WORDS = 4
"""Number of words in a sequence that `repeats_prompt` compares, and the least number of sequences
that a completion needs to be counted."""
_REPEATED_SHARE = 0.5
"""Share of a completion's word sequences from which on it repeats its prompt."""


class CompletionLogMixin(_Trainer):
    """Mixin for TRL's GRPOTrainer: its log of a batch also has ids, questions and ground truths.

    It stands before the trainer in the list of base classes.
    """

    def _calculate_rewards(
        self,
        inputs: list[Row],
        prompts: list[object],
        completions: Sequence[Any],
        completion_ids_list: list[list[int]],
    ) -> torch.Tensor:
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        questions = [message_text(row["prompt"]) for row in inputs]
        for column, values in {
            "id": [str(row["id"]) for row in inputs],
            "question": questions,
            "ground_truth": [row["solution"] for row in inputs],
        }.items():
            self._log_completion_extra(column, values)
        pairs = zip(questions, completions, strict=True)
        repeated = [
            repeats_prompt(question, message_text(completion)) for question, completion in pairs
        ]
        self._log_metric("completions/repeats_prompt", sum(repeated) / len(repeated))
        return rewards

    def samples(self) -> list[dict[str, object]]:
        """The completions of the last batch of all processes; only the first process has them.

        Returns:
            One entry per completion: id, question, ground_truth, completion, rewards by name,
            advantage.
        """
        logs: Any = self._logs
        columns = {name: list(logs["extra"][name]) for name in ("id", "question", "ground_truth")}
        completions = map(message_text, logs["completion"])
        rewards = {name: list(values) for name, values in logs["rewards"].items()}
        return [
            {
                **{name: values[i] for name, values in columns.items()},
                "completion": completion,
                "rewards": {name: values[i] for name, values in rewards.items()},
                "advantage": advantage,
            }
            for i, (completion, advantage) in enumerate(
                zip(completions, logs["advantages"], strict=True)
            )
        ]


def repeats_prompt(prompt: str, completion: str) -> bool:
    """Whether a completion mostly copies its prompt: at least half of its word sequences are there.

    An answer that only names an option is too short for that, and reasoning that quotes the
    question has other sentences too: neither counts.

    Args:
        prompt: The text of the prompt.
        completion: The text of the completion.
    """
    of_prompt = _word_sequences(prompt.lower().split())
    of_completion = _word_sequences(completion.lower().split())
    return len(of_completion) >= _SEQUENCE_WORDS and (
        len(of_completion & of_prompt) >= _REPEATED_SHARE * len(of_completion)
    )


def _word_sequences(words: list[str]) -> set[tuple[str, ...]]:
    """All sequences of _SEQUENCE_WORDS words that follow each other."""
    return {tuple(words[i : i + _SEQUENCE_WORDS]) for i in range(len(words) - _SEQUENCE_WORDS + 1)}


class CompletionsLog(TrainerCallback):
    """Appends some completions after the first step, every `num_steps` steps, and after the last.

    `samples` returns the entries of the last batch (`CompletionLogMixin.samples`).
    """

    def __init__(
        self, path: Path, num_steps: int, samples: Callable[[], Sequence[Mapping[str, object]]]
    ) -> None:
        self.path = path
        self.num_steps = num_steps
        self.samples = samples

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        if state.is_world_process_zero and self.path.is_file():
            truncate_log(self.path, state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        step = state.global_step
        is_due = step % self.num_steps == 0 or step in (1, state.max_steps)
        if not state.is_world_process_zero or not is_due:
            return
        if self.path.is_file() and self.path.stat().st_size > MAX_BYTES:
            os.replace(self.path, self.path.with_name(f"{self.path.stem}.1{self.path.suffix}"))
        for entry in _select(self.samples(), step):
            append_line(self.path, _cut({"step": step, **entry}))


def _select(entries: Sequence[Mapping[str, object]], step: int) -> list[Mapping[str, object]]:
    """A few entries at equal distances, others at each step.

    No random numbers are drawn, because that would change the ones that training draws.
    """
    count = min(COMPLETIONS_PER_STEP, len(entries))
    return [entries[(i * len(entries) // count + step) % len(entries)] for i in range(count)]


def _cut(entry: Mapping[str, object]) -> dict[str, object]:
    """The entry with its texts cut to MAX_CHARACTERS."""
    return {k: v[:MAX_CHARACTERS] if isinstance(v, str) else v for k, v in entry.items()}
