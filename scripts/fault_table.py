"""Breaks tiny training runs, and goes on by Trainer's own means and by medr1's: a Markdown table.

    python scripts/fault_table.py               every row, ten minutes; the disk's as root alone
    python scripts/fault_table.py B1 B4         these

Trainer's own is medr1's trainer without its resume, with the same questions, images and rewards,
and with transformers' handler of SIGTERM (`enable_jit_checkpoint`) where signals are sent.
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

from fault_runs import LORA, logged, run, same_run, steps_done
from faults import (
    DEATHS,
    STOPPED,
    Ended,
    checkpoint_bytes,
    killed_in_a_process,
    launcher_killed,
    second_process_fails,
    signalled,
    small_disk,
)
from stock_run import last_checkpoint, tiny_trainer
from transformers import TrainerCallback

from medr1.data.tiny import tiny_vl_folder
from medr1.models import load_model
from medr1.train.manifest import newest_checkpoint, step_of


class Broken(BaseException):
    """Ends a run where a kill would."""


class BreaksAfter(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            raise Broken


def go(
    out: Path, stock: bool, *, until: int = -1, number: int = 40, start: Path | None, **values: Any
) -> list[dict[str, Any]]:
    """One go at a run in this process, and what it has logged up to now."""
    loaded = load_model(tiny_vl_folder(), device="cpu")
    breaks = [BreaksAfter(until)]
    trainer = tiny_trainer(out, loaded, values, stock=stock, number=number, callbacks=breaks)
    with suppress(Broken):
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    return logged(out)


def broken_off(folder: Path, stock: bool, **values: Any) -> str:
    """A run undisturbed, and one broken after step 3 and gone on with."""
    whole = go(folder / "whole", stock, start=None, **values)
    broken = folder / "broken"
    go(broken, stock, until=3, start=None, **values)
    return first_difference(whole, go(broken, stock, start=last_checkpoint(broken), **values))


def first_difference(whole: list[dict[str, Any]], broken: list[dict[str, Any]]) -> str:
    """What differs between the logs of two runs."""
    for one, other in zip(whole, broken, strict=False):
        if one != other:
            name = next(k for k in one if one[k] != other.get(k))
            return (
                f"{name} differs from step {one['step']}: {other.get(name):.3g} for {one[name]:.3g}"
            )
    if len(whole) != len(broken):
        return f"{len(broken)} lines for {len(whole)}"
    return "equal bit for bit"


def kills(folder: Path, stock: bool, **values: Any) -> str:
    """Twenty kills at random times, ten of them while a checkpoint is written."""
    whole, broken = folder / "whole", folder / "broken"
    killed_in_a_process(whole, 0, stock=stock, **values)
    found = killed_in_a_process(broken, 20, stock=stock, **values)
    if "error" in found:
        kind, _, text = found["error"].partition(":")
        return f"cannot go on after kill {found['kills']}: {kind}, {Path(text).name.strip(chr(39))}"
    equal = "equal bit for bit" if same_run(whole, broken) else first_difference(
        logged(whole), logged(broken)
    )  # fmt: skip
    return f"{equal}; {found['kills']} kills, each cost {found['most_steps_lost']} steps at most"


def signal_sent(folder: Path, stock: bool, *signals: int, **values: Any) -> str:
    """How a run ends after signals, what it saved, and whether it goes on exactly."""
    values = {"max_steps": 160, "save_steps": 1000, "num_iterations": 2, **values}
    values |= {"enable_jit_checkpoint": True} if stock else {}
    out = folder / "out"
    found = signalled(out, *signals, pause=0.1, stock=stock, **values)
    newest = last_checkpoint(out) if stock else newest_checkpoint(out)
    if newest is None:
        return f"exit {found.code}, nothing saved after {steps_done(out)} steps"
    whole = folder / "whole"
    results = [run(folder, stock=stock, **values).returncode for folder in (out, whole)]
    equal = first_difference(logged(whole), logged(out)) if not any(results) else f"exit {results}"
    return f"exit {found.code}, step {step_of(newest)} saved; then {equal}"


def one_dies(folder: Path, stock: bool) -> str:
    """The slowest end of a run of two processes of which one dies."""
    found = {}
    for name, how in DEATHS.items():
        out = folder / name.replace(" ", "_") / "out"
        out.parent.mkdir()
        found[name] = second_process_fails(out, how, stock=stock)
    return said(max(found.values(), key=lambda end: end.seconds))


def one_hangs(folder: Path, stock: bool) -> str:
    """How long a run of two processes lasts of which one stops, with a timeout of 15 seconds."""
    return said(
        second_process_fails(folder / "out", STOPPED, within=70, ddp_timeout=15, stock=stock)
    )


def launcher_dies(folder: Path, stock: bool) -> str:
    """What is left of a run of two processes whose launcher is killed."""
    found = launcher_killed(folder / "out", stock=stock)
    if found.left:
        return f"{found.left} processes still at work {found.seconds:.0f} s later"
    return f"both processes gone after {found.seconds:.1f} s"


def said(found: Ended) -> str:
    """The end of a run of several processes."""
    end = f"exit {found.code} after" if found.code is not None else "still waiting after"
    return f"{end} {found.seconds:.0f} s, {found.left} processes left"


def disk_full(folder: Path, stock: bool) -> str:
    """A disk that is full in the second save: how the run ends, what is left of the first."""
    if os.geteuid():
        return "not run: only root may mount"
    with small_disk(folder / "disk", int(1.5 * checkpoint_bytes(folder / "sized"))) as disk:
        found = run(disk / "out", stock=stock, save_total_limit=1)
        line = "traceback" if "Traceback" in found.stderr else "a sentence"
        taken = last_checkpoint(disk / "out") if stock else newest_checkpoint(disk / "out")
    return f"exit {found.returncode} with {line}; goes on from {taken.name if taken else 'nothing'}"


def incomplete(folder: Path, stock: bool) -> str:
    """What is gone on from where the newest checkpoint has lost its weights."""
    out = folder / "run"
    go(out, stock, until=5, start=None)
    for name in ("model.safetensors", "trainer_state.json"):
        (out / "checkpoint-4" / name).unlink()
    taken = last_checkpoint(out) if stock else newest_checkpoint(out)
    return f"{taken.name if taken else 'nothing'} is taken"


def terminated(folder: Path, stock: bool) -> str:
    return signal_sent(folder, stock, signal.SIGTERM)


def requeued(folder: Path, stock: bool) -> str:
    return signal_sent(folder, stock, signal.SIGUSR1)


ROWS: dict[str, tuple[str, Callable[..., str], dict[str, Any]]] = {
    "B1": ("broken after 3 steps, all weights", broken_off, {}),
    "B1, KL": ("the same, beta 0.04", broken_off, {"beta": 0.04}),
    "B1, LoRA": ("the same, adapter with dropout", broken_off, LORA),
    "B1, second pass": (
        "the same in a second pass over the data", broken_off,
        {**LORA, "number": 4, "max_steps": 6},
    ),
    "B2": (
        "two updates a generation, saved every step", broken_off,
        {**LORA, "num_iterations": 2, "save_steps": 1},
    ),
    "B3": ("killed 20 times, 10 of them in saves", kills, {"max_steps": 60}),
    "B4": ("SIGTERM", terminated, {}),
    "B4, requeue": ("SIGUSR1", requeued, {}),
    "B5": ("the newest checkpoint lost two files", incomplete, {}),
    "B6": ("one of two processes dies (the slowest of 3 ways)", one_dies, {}),
    "B7": ("one of two processes (CPU) hangs, `--ddp-timeout 15`", one_hangs, {}),
    "B8": ("the launcher is killed", launcher_dies, {}),
    "B11": ("the disk is full in the second save", disk_full, {}),
}  # fmt: skip


def main() -> None:
    """Print the table, or the rows that are named."""
    logging.getLogger("medr1").setLevel(logging.ERROR)
    print("| figure | fault | Trainer's own means | medr1 |\n|---|---|---|---|", flush=True)
    for figure, (fault, measure, values) in ROWS.items():
        if sys.argv[1:] and figure.partition(",")[0] not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = []
            for name, stock in (("stock", True), ("medr1", False)):
                Path(folder, name).mkdir()
                found.append(measure(Path(folder, name), stock, **values))
        print(f"| {figure} | {fault} | {found[0]} | {found[1]} |", flush=True)


if __name__ == "__main__":
    main()
