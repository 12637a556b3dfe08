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

from medr1.errors import NonFiniteError

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
        if state.is_world_process_zero:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text("")
        self.started = self.said = time.monotonic()

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
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        last = state.global_step == state.max_steps
        if logs.keys() & {"reward", "mean_token_accuracy"} and (
            last or now - self.said >= self.pause
        ):
            self.said = now
            logger.info(_line(entry, state.max_steps))


def _line(entry: dict[str, Any], max_steps: int) -> str:
    left = entry["seconds"] / max(entry["step"], 1) * (max_steps - entry["step"])
    parts = [f"step {entry['step']}/{max_steps}"]
    for key, said in (("reward", "reward"), ("mean_token_accuracy", "token accuracy")):
        if key in entry:
            parts.append(f"{said} {entry[key]:.3f}")
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
