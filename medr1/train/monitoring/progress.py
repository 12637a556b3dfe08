"""The progress of a run on stderr: a bar on a terminal, elsewhere a line every few seconds."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from statistics import mean
from typing import TYPE_CHECKING, NoReturn

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

if TYPE_CHECKING:
    from tqdm import tqdm

logger = logging.getLogger("medr1")

_BAR = "step {n_fmt}/{total_fmt} |{bar:16}| {remaining} left{postfix}"
_METRICS = {
    "loss": "loss",
    "reward": "reward",
    "rewards/accuracy/mean": "accuracy",
    "mean_token_accuracy": "accuracy",
    "completions/mean_length": "length",
    "kl": "KL",
}
"""Metric that TRL logs -> its name here. The loss is shown only if there is no reward."""


class Progress(TrainerCallback):
    """Shows on the first process how far the run is. Call `close` at its end, also after an error.

    The first and the last step have a line, and the steps between them one every few seconds,
    whatever `logging_steps` is. It shows nothing if messages of level INFO are turned off
    (`--quiet`).
    """

    def __init__(self, seconds_between_lines: float = 5.0) -> None:
        """`seconds_between_lines` is the least time between two lines, where there is no bar."""
        self.seconds_between_lines = seconds_between_lines
        self.values: Mapping[str, Sequence[float]] = {}
        """Metric -> its values since TRL logged; the trainer's own, which it adds to."""
        self.num_values_shown: dict[str, int] = {}
        """Metric -> how many of these values are from before the last line."""
        self.bar: tqdm[NoReturn] | None = None
        self.exit_stack = ExitStack()
        self.start_time = self.last_line_time = time.monotonic()
        self.first_step = self.last_line_step = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self.start_time = self.last_line_time = time.monotonic()
        self.first_step = self.last_line_step = state.global_step
        is_silent = not state.is_world_process_zero or not logger.isEnabledFor(logging.INFO)
        if is_silent or not sys.stderr.isatty():
            return
        from tqdm import tqdm
        from tqdm.contrib.logging import logging_redirect_tqdm

        self.exit_stack.enter_context(logging_redirect_tqdm([logger]))
        # 0 if the terminal's size was never set; 80 columns are assumed then.
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
        self.bar = self.exit_stack.enter_context(
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
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)
        # if TRL logs this step, `on_log` shows what it logs
        if state.is_world_process_zero and not control.should_log and self._is_due(state):
            self._show(state, self._new_means())

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, object] | None = None,
        **_: object,
    ) -> None:
        if not logs or not state.is_world_process_zero or "learning_rate" not in logs:
            return
        self.num_values_shown = {}  # TRL removes the values that it has logged
        if self._is_due(state):
            self._show(state, logs)

    def _is_due(self, state: TrainerState) -> bool:
        """Whether a step is shown that has not been: always in a bar, else with the next line."""
        if state.global_step == self.last_line_step:
            return False
        is_end = state.global_step in (self.first_step + 1, state.max_steps)
        seconds = time.monotonic() - self.last_line_time
        return self.bar is not None or is_end or seconds >= self.seconds_between_lines

    def _new_means(self) -> dict[str, float]:
        """Metric -> the mean of its values since the last line."""
        means = {}
        for name in _METRICS:
            values = self.values.get(name, ())
            if new_values := values[self.num_values_shown.get(name, 0) :]:
                means[name] = mean(new_values)
            self.num_values_shown[name] = len(values)
        return means

    def _show(self, state: TrainerState, metrics: Mapping[str, object]) -> None:
        """Show the step and its metrics, in the bar or as a line with the time that is left."""
        self.last_line_time, self.last_line_step = time.monotonic(), state.global_step
        texts = _metric_texts(metrics)
        if self.bar is not None:
            self.bar.set_postfix_str(", ".join(texts))
            return
        # A resumed run: only its own steps tell how long a step takes.
        steps_done = state.global_step - self.first_step
        steps_left = state.max_steps - state.global_step
        seconds_left = (self.last_line_time - self.start_time) / steps_done * steps_left
        parts = [f"step {state.global_step}/{state.max_steps}", *texts]
        logger.info(", ".join([*parts, f"{seconds_left:.0f} s left"]))

    def close(self) -> None:
        """Leave the bar as it is, and let later messages be written without it."""
        self.bar = None
        self.exit_stack.close()


def _metric_texts(logs: Mapping[str, object]) -> list[str]:
    """The metrics as text, such as ["reward 0.912", "accuracy 0.430", "length 7.1"]."""
    parts = []
    for key, name in _METRICS.items():
        if isinstance(value := logs.get(key), int | float) and not (
            key == "loss" and "reward" in logs
        ):
            parts.append(f"{name} {value:.1f}" if name == "length" else f"{name} {value:.3f}")
    return parts
