"""Completions as they were sampled, kept with item, gold, rewards and advantage; never an image."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from medr1.rewards import message_text
from medr1.train.callbacks import append_line, truncate_log

if TYPE_CHECKING:
    from trl import GRPOTrainer as _Trainer
else:
    _Trainer = object

OF_A_STEP = 4
"""Completions written each time, of different prompts where the batch has as many."""
MAX_CHARACTERS = 8000
"""Of a question or a completion; what is longer is cut."""
MAX_BYTES = 32 << 20
"""Of completions.jsonl: what is older moves to completions.1.jsonl, and what was there goes."""
_RUN, _SHARE = 4, 0.5


class CompletionLogMixin(_Trainer):
    """Before TRL's GRPOTrainer: what it logs of a batch has ids, questions and golds too."""

    def _calculate_rewards(
        self,
        inputs: list[dict[str, Any]],
        prompts: list[Any],
        completions: list[Any],
        completion_ids_list: list[Any],
    ) -> Any:
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        questions = [message_text(row["prompt"]) for row in inputs]
        for column, values in {
            "id": [str(row["id"]) for row in inputs],
            "question": questions,
            "gold": [row["solution"] for row in inputs],
        }.items():
            self._log_completion_extra(column, values)
        pairs = zip(questions, completions, strict=True)
        repeated = [repeats_prompt(question, message_text(said)) for question, said in pairs]
        self._log_metric("completions/repeats_prompt", sum(repeated) / len(repeated))
        return rewards

    def samples(self) -> list[dict[str, Any]]:
        """The last batch of all processes, a row a completion; on the first process only."""
        logs: Any = self._logs
        columns = {name: list(logs["extra"][name]) for name in ("id", "question", "gold")}
        said = map(message_text, logs["completion"])
        named = {name: list(values) for name, values in logs["rewards"].items()}
        return [
            {
                **{name: values[i] for name, values in columns.items()},
                "completion": completion,
                "rewards": {name: values[i] for name, values in named.items()},
                "advantage": advantage,
            }
            for i, (completion, advantage) in enumerate(zip(said, logs["advantages"], strict=True))
        ]


def repeats_prompt(prompt: str, completion: str) -> bool:
    """Whether half of a completion's runs of four words or more stand in its prompt.

    An answer that names an option is shorter than that, and reasoning that quotes the question
    says something else besides.
    """
    asked, said = _runs(prompt.lower().split()), _runs(completion.lower().split())
    return len(said) >= _RUN and len(said & asked) >= _SHARE * len(said)


def _runs(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + _RUN]) for i in range(len(words) - _RUN + 1)}


class CompletionsLog(TrainerCallback):
    """Appends a few completions after the first step, every `num_steps`, and after the last."""

    def __init__(
        self, path: Path, num_steps: int, samples: Callable[[], Sequence[Mapping[str, Any]]]
    ) -> None:
        self.path = path
        self.num_steps = num_steps
        self.samples = samples

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.is_world_process_zero and self.path.is_file():
            truncate_log(self.path, state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        step = state.global_step
        due = step % self.num_steps == 0 or step in (1, state.max_steps)
        if not state.is_world_process_zero or not due:
            return
        if self.path.is_file() and self.path.stat().st_size > MAX_BYTES:
            os.replace(self.path, self.path.with_name(f"{self.path.stem}.1{self.path.suffix}"))
        for row in _chosen(self.samples(), step):
            append_line(self.path, _cut({"step": step, **row}))


def _chosen(rows: Sequence[Mapping[str, Any]], step: int) -> list[Mapping[str, Any]]:
    """A few rows, evenly spaced and another each time, without a draw that training would feel."""
    count = min(OF_A_STEP, len(rows))
    return [rows[(i * len(rows) // count + step) % len(rows)] for i in range(count)]


def _cut(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v[:MAX_CHARACTERS] if isinstance(v, str) else v for k, v in row.items()}
