"""What happens beside the steps: a line of metrics a step, and anything every N steps."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from medr1.errors import NonFiniteError, OutputError
from medr1.files import write_atomic

logger = logging.getLogger("medr1")


class MetricsLog(TrainerCallback):
    """Appends what TRL logs to metrics.jsonl, and says how the run stands now and then."""

    def __init__(self, path: Path, seconds_between_lines: float = 10.0) -> None:
        self.path = path
        self.pause = seconds_between_lines
        self.started = self.said = time.monotonic()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.started = self.said = time.monotonic()
        if state.is_world_process_zero:
            kept = lines_until(self.path, state.global_step)
            write_atomic(self.path, "".join(kept))
            self.started -= json.loads(kept[-1])["seconds"] if kept else 0

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
        now = time.monotonic()
        entry = {"step": state.global_step, "seconds": round(now - self.started, 3), **logs}
        append_line(self.path, json.dumps(entry) + "\n")
        last = state.global_step == state.max_steps
        if "reward" in logs and (last or now - self.said >= self.pause):
            self.said = now
            logger.info(_line(entry, state.max_steps))


def lines_until(path: Path, step: int) -> list[str]:
    """The lines of metrics.jsonl up to a step: what a run that goes on from there has logged.

    A line that a kill cut short is none, and the summary at an end is none of a step.
    """
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if step else ():
        if line.endswith("}\n"):
            entry = json.loads(line)
            if entry["step"] <= step and "train_runtime" not in entry:
                kept.append(line)
    return kept


def append_line(path: Path, line: str) -> None:
    """Append to a log; OutputError where the disk does not take it."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}. Make room.") from None


def _line(entry: dict[str, Any], max_steps: int) -> str:
    left = entry["seconds"] / max(entry["step"], 1) * (max_steps - entry["step"])
    parts = [f"step {entry['step']}/{max_steps}", f"reward {entry['reward']:.3f}"]
    for key, value in entry.items():
        if key.startswith("rewards/") and key.endswith("/mean"):
            parts.append(f"{key.removeprefix('rewards/').removesuffix('/mean')} {value:.3f}")
    return ", ".join([*parts, f"{left:.0f} s left"])


class EveryNSteps(TrainerCallback):
    """Calls `action(step)` before the first step, every `num_steps`, and after the last."""

    def __init__(self, num_steps: int, action: Callable[[int], None]) -> None:
        self.num_steps = num_steps
        self.action = action

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.action(state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.global_step % self.num_steps == 0 or state.global_step == state.max_steps:
            self.action(state.global_step)
