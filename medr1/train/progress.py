"""How a run stands, on stderr: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

logger = logging.getLogger("medr1")

_BAR = "step {n_fmt}/{total_fmt} |{bar:16}| {remaining} left{postfix}"
_SHOWN = {
    "loss": "loss",
    "reward": "reward",
    "rewards/accuracy/mean": "accuracy",
    "mean_token_accuracy": "accuracy",
    "completions/mean_length": "length",
    "kl": "KL",
}
"""What is logged -> what it is called here; a loss where there is no reward."""


class Progress(TrainerCallback):
    """Says on the first process how far the run is; call `close` when it ended, however it did."""

    def __init__(self, seconds_between_lines: float = 10.0) -> None:
        self.pause = seconds_between_lines
        self.bar: Any = None
        self.opened = ExitStack()
        self.started = self.said = time.monotonic()
        self.first_step = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.started = self.said = time.monotonic()
        self.first_step = state.global_step
        silent = not state.is_world_process_zero or not logger.isEnabledFor(logging.INFO)
        if silent or not sys.stderr.isatty():
            return
        from tqdm import tqdm
        from tqdm.contrib.logging import logging_redirect_tqdm

        self.opened.enter_context(logging_redirect_tqdm([logger]))
        columns = os.get_terminal_size(sys.stderr.fileno()).columns  # 0 where nobody has said
        self.bar = self.opened.enter_context(
            tqdm(
                total=state.max_steps,
                initial=state.global_step,
                bar_format=_BAR,
                dynamic_ncols=columns > 0,
                ncols=None if columns else 80,
                nrows=None if columns else 24,
                file=sys.stderr,
            )
        )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

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
        if self.bar is not None:
            self.bar.set_postfix_str(", ".join(_shown(logs)))
            return
        now = time.monotonic()
        if state.global_step == state.max_steps or now - self.said >= self.pause:
            self.said = now
            done, left = state.global_step - self.first_step, state.max_steps - state.global_step
            seconds = (now - self.started) / max(done, 1) * left
            said = [f"step {state.global_step}/{state.max_steps}", *_shown(logs)]
            logger.info(", ".join([*said, f"{seconds:.0f} s left"]))

    def close(self) -> None:
        """Leave the bar as it stands, and the lines after it to themselves."""
        self.bar = None
        self.opened.close()


def _shown(logs: Mapping[str, Any]) -> list[str]:
    """Such as "reward 0.912", "accuracy 0.430" and "length 7.1"."""
    parts = []
    for key, name in _SHOWN.items():
        if isinstance(value := logs.get(key), int | float) and not (
            key == "loss" and "reward" in logs
        ):
            parts.append(f"{name} {value:.1f}" if name == "length" else f"{name} {value:.3f}")
    return parts
