"""What happens beside the steps: a line of metrics a step, alarms, and anything every N steps."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from medr1.errors import NonFiniteError, OutputError
from medr1.files import write_atomic
from medr1.train.diagnosis import new_alarms

logger = logging.getLogger("medr1")


class MetricsLog(TrainerCallback):
    """Appends what TRL logs to metrics.jsonl."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.started = time.monotonic()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.started = time.monotonic()
        if state.is_world_process_zero:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            kept = cut_back(self.path, state.global_step)
            self.started -= kept[-1]["seconds"] if kept else 0

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if not logs:
            return
        for name, value in logs.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise NonFiniteError(f"{name} is {value} at step {state.global_step}; stopped.")
        if not state.is_world_process_zero:
            return
        seconds = round(time.monotonic() - self.started, 3)
        append_line(self.path, {"step": state.global_step, "seconds": seconds, **logs})


class AlarmLog(TrainerCallback):
    """Says each alarm once, when it starts, with its likely causes, and appends it to alarms.jsonl.

    A run that goes on reads what was before from its folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.history: list[dict[str, Any]] = []
        self.said: list[dict[str, Any]] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if not state.is_world_process_zero:
            return
        if self.path.is_file():
            self.said = cut_back(self.path, state.global_step)
        metrics = self.path.with_name("metrics.jsonl")
        if state.global_step and metrics.is_file():
            entries = cut_back(metrics, state.global_step)
            self.history = [entry for entry in entries if "learning_rate" in entry]

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if not logs or not state.is_world_process_zero or "learning_rate" not in logs:
            return
        self.history.append({"step": state.global_step, **logs})
        for entry in new_alarms(self.history, settings_of(args), self.said):
            self.said.append(entry)
            logger.warning("step %d: %s", state.global_step, entry["sentence"])
            append_line(self.path, entry)


def settings_of(args: TrainingArguments) -> dict[str, Any]:
    """The settings that a diagnosis looks at, and how many prompts a step samples for."""
    names = ("learning_rate", "temperature", "top_p", "top_k", "max_completion_length", "beta")
    settings = {name: getattr(args, name, None) for name in (*names, "num_generations")}
    completions = getattr(args, "generation_batch_size", None) or 0
    return {**settings, "prompts_per_step": completions // (settings["num_generations"] or 1)}


def cut_back(path: Path, step: int) -> list[dict[str, Any]]:
    """The entries of a log up to the step that a run goes on from; the others leave the file.

    A line that a kill cut short does not count, nor does the summary at the end.
    """
    kept, entries = [], []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    for line in lines if step else ():
        if line.endswith("}\n"):
            entry = json.loads(line)
            if entry["step"] <= step and "train_runtime" not in entry:
                kept.append(line)
                entries.append(entry)
    write_atomic(path, "".join(kept))
    return entries


def append_line(path: Path, entry: Mapping[str, Any]) -> None:
    """Append one line of JSON; OutputError where it cannot be written."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n")
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}. Free space, or choose another --output-dir."
        ) from None


class EveryNSteps(TrainerCallback):
    """Calls `action(step)` before the first step, every `num_steps`, and after the last.

    The model is in evaluation mode then.
    """

    def __init__(self, num_steps: int, action: Callable[[int], None]) -> None:
        self.num_steps = num_steps
        self.action = action

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        if state.global_step == 0:  # a run that goes on has measured where it left off
            self._act(0, given["model"])

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        if state.global_step % self.num_steps == 0 or state.global_step == state.max_steps:
            self._act(state.global_step, given["model"])

    def _act(self, step: int, model: Any) -> None:
        training = model.training
        model.eval()
        try:
            self.action(step)
        finally:
            model.train(training)
