"""Callbacks of TRL's trainers: the log of metrics, the log of alarms, and an action every N steps.

Only the first process writes files. A run that is resumed continues the logs of its folder.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from torch.nn import Module
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from medr1.errors import NonFiniteError, OutputError
from medr1.files import write_atomic
from medr1.train.monitoring.alarms import Entry, Settings
from medr1.train.monitoring.diagnosis import new_alarms

logger = logging.getLogger("medr1")


class MetricsLog(TrainerCallback):
    """Appends what TRL logs to a file, and ends the run if a value is not a finite number.

    Each entry has the step and the seconds of training so far, those before an interruption
    included.
    """

    def __init__(self, path: Path) -> None:
        """`path` is the file to append to, metrics.jsonl."""
        self.path = path
        self.started = time.monotonic()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Remove what was logged after the checkpoint from which the run is resumed."""
        self.started = time.monotonic()
        if state.is_world_process_zero:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            entries = truncate_log(self.path, state.global_step)
            self.started -= entries[-1]["seconds"] if entries else 0

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, object] | None = None,
        **_: object,
    ) -> None:
        """Append what TRL logs; raise NonFiniteError if a value of it is not finite."""
        if not logs:
            return
        for name, value in logs.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise NonFiniteError(
                    f"{name} is {value} at step {state.global_step}, so the run was stopped. Lower "
                    "learning_rate, or try --dtype float32."
                )
        if not state.is_world_process_zero:
            return
        seconds = round(time.monotonic() - self.started, 3)
        append_line(self.path, {"step": state.global_step, "seconds": seconds, **logs})


class AlarmLog(TrainerCallback):
    """Logs each alarm once, when it is raised, with its likely causes, and appends it to a file.

    It needs the history of the run, which a resumed run reads from metrics.jsonl.
    """

    def __init__(self, path: Path) -> None:
        """`path` is the file to append to, alarms.jsonl, in the folder of metrics.jsonl."""
        self.path = path
        self.history: list[Entry] = []
        self.entries: list[dict[str, object]] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Read the alarms and the metrics that were logged before the run was interrupted."""
        if not state.is_world_process_zero:
            return
        if self.path.is_file():
            self.entries = truncate_log(self.path, state.global_step)
        metrics = self.path.with_name("metrics.jsonl")
        if state.global_step and metrics.is_file():
            entries = truncate_log(metrics, state.global_step)
            # only the entries of training steps have a learning rate
            self.history = [entry for entry in entries if "learning_rate" in entry]

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, object] | None = None,
        **_: object,
    ) -> None:
        """Log the alarms that this entry raises for the first time."""
        if not logs or not state.is_world_process_zero or "learning_rate" not in logs:
            return
        self.history.append({"step": state.global_step, **logs})
        for entry in new_alarms(self.history, settings_of(args), self.entries):
            self.entries.append(entry)
            logger.warning("step %d: %s", state.global_step, entry["sentence"])
            append_line(self.path, entry)


def settings_of(args: TrainingArguments) -> Settings:
    """The settings that `diagnosis` reads, from TRL's configuration, and `prompts_per_step`."""
    names = ("learning_rate", "temperature", "top_p", "top_k", "max_completion_length", "beta")
    settings = {name: getattr(args, name, None) for name in (*names, "num_generations")}
    completions = getattr(args, "generation_batch_size", None) or 0
    return {**settings, "prompts_per_step": completions // (settings["num_generations"] or 1)}


def truncate_log(path: Path, step: int) -> list[Entry]:
    """Remove the entries of a JSONL log after the step from which a run is resumed.

    An incomplete last line, which an interrupted write leaves, is removed too, and so is TRL's
    summary of a run that ended.

    Args:
        path: The log; one that does not exist becomes an empty file.
        step: The step of the checkpoint; at 0 the log becomes empty.

    Returns:
        The entries that stay.
    """
    lines_to_keep, entries = [], []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    for line in lines if step else ():
        if line.endswith("}\n"):
            entry = json.loads(line)
            if entry["step"] <= step and "train_runtime" not in entry:
                lines_to_keep.append(line)
                entries.append(entry)
    write_atomic(path, "".join(lines_to_keep))
    return entries


def append_line(path: Path, entry: Mapping[str, object]) -> None:
    """Append an entry to a log in JSONL.

    Args:
        path: The log.
        entry: The entry, a JSON object without NaN.

    Raises:
        OutputError: The line cannot be written, for example because the disk is full.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n")
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}. Free space, or choose another --output-dir."
        ) from None


class EveryNSteps(TrainerCallback):
    """Calls a function before the first step, every `num_steps` steps, and after the last step.

    The model is in evaluation mode during the call.
    """

    def __init__(self, num_steps: int, action: Callable[[int], None]) -> None:
        """Set how often to call what.

        Args:
            num_steps: Number of steps between two calls.
            action: The function to call with the number of steps so far.
        """
        self.num_steps = num_steps
        self.action = action

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **values: object,
    ) -> None:
        """Call the action before the first step."""
        if state.global_step == 0:  # a resumed run has done it before the interruption
            self._act(0, values["model"])

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **values: object,
    ) -> None:
        """Call the action if `num_steps` steps are over, or the last one."""
        if state.global_step % self.num_steps == 0 or state.global_step == state.max_steps:
            self._act(state.global_step, values["model"])

    def _act(self, step: int, model: object) -> None:
        assert isinstance(model, Module)
        training = model.training
        model.eval()
        try:
            self.action(step)
        finally:
            model.train(training)
