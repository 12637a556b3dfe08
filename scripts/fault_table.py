"""Compare how training runs survive faults, with Trainer's own resume and with medr1's.

    python scripts/fault_table.py               all rows, ten minutes; B11 needs root
    python scripts/fault_table.py B1 B4         only these rows

It interrupts tiny training runs, resumes them, and prints a Markdown table. "Trainer's own means"
is medr1's trainer without its resume: questions, images and rewards are the same. If the fault is a
signal, it also has transformers' handler of SIGTERM (`enable_jit_checkpoint`).
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fault_runs import LORA, logged_steps, run, same_run, steps_done
from faults import (
    DEATHS,
    STOPPED,
    RunEnd,
    checkpoint_bytes,
    fail_second_process,
    kill_launcher,
    kill_repeatedly_in_subprocess,
    send_signals,
    small_disk,
)
from stock_run import last_checkpoint, tiny_trainer
from transformers import TrainerCallback

from medr1.data.tiny import tiny_vl_folder
from medr1.models.loading import load_model
from medr1.train.recovery.checkpoint_manifest import newest_checkpoint, step_of


class Interruption(BaseException):
    """Ends a run at once, as a kill would: no handler of `Exception` catches it."""


class InterruptAfter(TrainerCallback):
    """Interrupts a run when it has made this number of steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            raise Interruption


def train_until(
    out: Path, stock: bool, *, until: int = -1, number: int = 40, start: Path | None, **values: Any
) -> list[dict[str, Any]]:
    """Train in this process until a step or the end, and return all that the run has logged.

    Args:
        out: The output folder.
        stock: Leave out medr1's exact resume.
        until: Number of steps after which the run is interrupted; -1 for the end of the run.
        number: Number of training questions.
        start: Checkpoint from which to resume; None to start anew.
        **values: Settings that replace those of `TINY`.
    """
    loaded = load_model(tiny_vl_folder(), device="cpu")
    callbacks = [InterruptAfter(until)]
    trainer = tiny_trainer(out, loaded, values, stock=stock, number=number, callbacks=callbacks)
    with suppress(Interruption):
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    return logged_steps(out)


# --- the faults of the table: each function takes a folder to work in and whether to use Trainer's
# own means (`stock`), and returns a cell of the table


def interrupt_and_resume(folder: Path, stock: bool, **values: Any) -> str:
    """Compare an undisturbed run with one that is interrupted after step 3 and resumed."""
    undisturbed = train_until(folder / "whole", stock, start=None, **values)
    out = folder / "broken"
    train_until(out, stock, until=3, start=None, **values)
    resumed = train_until(out, stock, start=last_checkpoint(out), **values)
    return first_difference(undisturbed, resumed)


def first_difference(undisturbed: list[dict[str, Any]], resumed: list[dict[str, Any]]) -> str:
    """Where the logs of two runs begin to differ, in words."""
    for expected, actual in zip(undisturbed, resumed, strict=False):
        if expected != actual:
            name = next(key for key in expected if expected[key] != actual.get(key))
            return (
                f"{name} differs from step {expected['step']}: "
                f"{actual.get(name):.3g} for {expected[name]:.3g}"
            )
    if len(undisturbed) != len(resumed):
        return f"{len(resumed)} lines for {len(undisturbed)}"
    return "equal bit for bit"


def kill_20_times(folder: Path, stock: bool, **values: Any) -> str:
    """Kill a run 20 times at random times, ten of them while it writes a checkpoint."""
    undisturbed, resumed = folder / "whole", folder / "broken"
    kill_repeatedly_in_subprocess(undisturbed, 0, stock=stock, **values)
    counts = kill_repeatedly_in_subprocess(resumed, 20, stock=stock, **values)
    if "error" in counts:
        kind, _, message = counts["error"].partition(":")
        file = Path(message).name.strip(chr(39))
        return f"cannot go on after kill {counts['kills']}: {kind}, {file}"
    equal = "equal bit for bit" if same_run(undisturbed, resumed) else first_difference(
        logged_steps(undisturbed), logged_steps(resumed)
    )  # fmt: skip
    return f"{equal}; {counts['kills']} kills, each cost {counts['most_steps_lost']} steps at most"


def stop_by_signals(folder: Path, stock: bool, *signals: int, **values: Any) -> str:
    """How a run ends after signals, what it has saved, and whether it resumes exactly."""
    # without a signal, no checkpoint is saved before the end of the run
    values = {"max_steps": 160, "save_steps": 1000, "num_iterations": 2, **values}
    values |= {"enable_jit_checkpoint": True} if stock else {}
    out = folder / "out"
    end = send_signals(out, *signals, pause=0.1, stock=stock, **values)
    newest = last_checkpoint(out) if stock else newest_checkpoint(out)
    if newest is None:
        return f"exit {end.code}, nothing saved after {steps_done(out)} steps"
    undisturbed = folder / "whole"
    codes = [run(folder, stock=stock, **values).returncode for folder in (out, undisturbed)]
    if any(codes):
        comparison = f"exit {codes}"
    else:
        comparison = first_difference(logged_steps(undisturbed), logged_steps(out))
    return f"exit {end.code}, step {step_of(newest)} saved; then {comparison}"


def one_dies(folder: Path, stock: bool) -> str:
    """How a run of two processes ends if one dies: the slowest of the ways in `DEATHS`."""
    ends = {}
    for name, statement in DEATHS.items():
        out = folder / name.replace(" ", "_") / "out"
        out.parent.mkdir()
        ends[name] = fail_second_process(out, statement, stock=stock)
    return end_text(max(ends.values(), key=lambda end: end.seconds))


def one_hangs(folder: Path, stock: bool) -> str:
    """How a run of two processes ends if one hangs, with a timeout of 15 seconds."""
    return end_text(
        fail_second_process(folder / "out", STOPPED, within=70, ddp_timeout=15, stock=stock)
    )


def launcher_dies(folder: Path, stock: bool) -> str:
    """Whether the two processes of a run end if torchrun, which started them, is killed."""
    end = kill_launcher(folder / "out", stock=stock)
    if end.processes_left:
        return f"{end.processes_left} processes still at work {end.seconds:.0f} s later"
    return f"both processes gone after {end.seconds:.1f} s"


def end_text(end: RunEnd) -> str:
    """How a run of several processes ended, in words."""
    outcome = f"exit {end.code} after" if end.code is not None else "still waiting after"
    return f"{outcome} {end.seconds:.0f} s, {end.processes_left} processes left"


def disk_full(folder: Path, stock: bool) -> str:
    """How a run ends if the disk is full in the second save, and where it would resume."""
    if os.geteuid():
        return "not run: only root may mount"
    with small_disk(folder / "disk", int(1.5 * checkpoint_bytes(folder / "sized"))) as disk:
        result = run(disk / "out", stock=stock, save_total_limit=1)
        message = "traceback" if "Traceback" in result.stderr else "a sentence"
        newest = last_checkpoint(disk / "out") if stock else newest_checkpoint(disk / "out")
        start = newest.name if newest else "nothing"
    return f"exit {result.returncode} with {message}; goes on from {start}"


def incomplete_checkpoint(folder: Path, stock: bool) -> str:
    """Which checkpoint a run resumes from if the newest one lacks its weights and state."""
    out = folder / "run"
    train_until(out, stock, until=5, start=None)
    for name in ("model.safetensors", "trainer_state.json"):
        (out / "checkpoint-4" / name).unlink()
    newest = last_checkpoint(out) if stock else newest_checkpoint(out)
    return f"{newest.name if newest else 'nothing'} is taken"


def stop_by_sigterm(folder: Path, stock: bool) -> str:
    """`stop_by_signals` with SIGTERM."""
    return stop_by_signals(folder, stock, signal.SIGTERM)


def stop_by_sigusr1(folder: Path, stock: bool) -> str:
    """`stop_by_signals` with SIGUSR1, which Slurm sends before the end of a job's time."""
    return stop_by_signals(folder, stock, signal.SIGUSR1)


ROWS: dict[str, tuple[str, Callable[..., str], dict[str, Any]]] = {
    "B1": ("broken after 3 steps, all weights", interrupt_and_resume, {}),
    "B1, KL": ("the same, beta 0.04", interrupt_and_resume, {"beta": 0.04}),
    "B1, LoRA": ("the same, adapter with dropout", interrupt_and_resume, LORA),
    "B1, second pass": (
        "the same in a second pass over the data", interrupt_and_resume,
        {**LORA, "number": 4, "max_steps": 6},
    ),
    "B2": (
        "two updates a generation, saved every step", interrupt_and_resume,
        {**LORA, "num_iterations": 2, "save_steps": 1},
    ),
    "B3": ("killed 20 times, 10 of them in saves", kill_20_times, {"max_steps": 60}),
    "B4": ("SIGTERM", stop_by_sigterm, {}),
    "B4, requeue": ("SIGUSR1", stop_by_sigusr1, {}),
    "B5": ("the newest checkpoint lost two files", incomplete_checkpoint, {}),
    "B6": ("one of two processes dies (the slowest of 3 ways)", one_dies, {}),
    "B7": ("one of two processes (CPU) hangs, `--ddp-timeout 15`", one_hangs, {}),
    "B8": ("the launcher is killed", launcher_dies, {}),
    "B11": ("the disk is full in the second save", disk_full, {}),
}  # fmt: skip
"""Number of the row in medr1/train/README.md -> the fault in words, its function, its settings."""


def main() -> None:
    """Print the rows that the command line lists, or all."""
    logging.getLogger("medr1").setLevel(logging.ERROR)
    print("| figure | fault | Trainer's own means | medr1 |\n|---|---|---|---|", flush=True)
    for figure, (fault, measure, values) in ROWS.items():
        if sys.argv[1:] and figure.partition(",")[0] not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory() as folder:
            cells = []
            for name, stock in (("stock", True), ("medr1", False)):
                Path(folder, name).mkdir()
                cells.append(measure(Path(folder, name), stock, **values))
        print(f"| {figure} | {fault} | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main()
