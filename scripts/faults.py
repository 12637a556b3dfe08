"""Faults, each done to a real tiny run, and what came of it: for fault_table.py and the tests.

    python scripts/faults.py OUT KILLS SEED '{"max_steps": 60}' [stock]     one run, killed often

`stock` is the run by Trainer's own means (stock_run.py).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fault_runs import (
    TINY,
    command,
    few_questions,
    processes_of,
    run,
    running,
    steps_done,
    wait_until,
)

from medr1.data.tiny import tiny_vl_folder
from medr1.train.manifest import SAVING, checkpoints, newest_checkpoint, step_of

DEATHS = {
    "kill -9": "os.kill(os.getpid(), signal.SIGKILL)",
    "an error": "raise RuntimeError('broken')",
    "exit 0": "os._exit(0)",
}
STOPPED = "os.kill(os.getpid(), signal.SIGSTOP)"
FAILING = ["accuracy", "failing:in_rank_1"]


@dataclass(frozen=True)
class Ended:
    """How a process came to its end."""

    code: int | None
    """The exit code; None: it was still running when it was no longer waited for."""
    seconds: float
    """From the fault to the end."""
    left: int
    """Processes of the run that were still there then."""
    said: str
    """Everything it wrote."""

    @property
    def last_words(self) -> str:
        """The last line of what it wrote."""
        return (self.said.strip().splitlines() or [""])[-1]


def ended(process: subprocess.Popen[bytes], out: Path, log: Path, within: float) -> Ended:
    """How a process ends after a fault that was just done to it."""
    started = time.monotonic()
    try:
        code: int | None = process.wait(timeout=within)
    except subprocess.TimeoutExpired:
        code = None
    return Ended(code, time.monotonic() - started, len(processes_of(out)), log.read_text())


# --- one process: signals, kills, a full disk


def signalled(out: Path, *signals: int, after: int = 3, pause: float = 0.0, **values: Any) -> Ended:
    """A run that got these signals after some steps."""
    log = out.parent / f"{out.name}.log"
    with running(command(out, **values), log) as process:
        wait_until(lambda: steps_done(out) >= after or process.poll() is not None)
        for signum in signals:
            process.send_signal(signum)
            time.sleep(pause)
        return ended(process, out, log, 600)


def signalled_while_saving(out: Path, signum: int, **values: Any) -> Ended:
    """A run that got this signal while it wrote its first checkpoint."""
    log = out.parent / f"{out.name}.log"
    with running(command(out, **values), log) as process:
        wait_until(lambda: (out / SAVING).is_dir() or process.poll() is not None)
        process.send_signal(signum)
        return ended(process, out, log, 600)


@dataclass(frozen=True)
class Way:
    """How a run is gone on with in this process."""

    attempt: Callable[..., None]
    newest: Callable[[Path], Path | None]
    saves_in: str
    """Where in the run's folder a checkpoint is being written."""


def medr1_s() -> Way:
    """As `medr1 train` does it: run_state, gone on with, or done."""
    from medr1.train.begin import configuration, inspect_run_folder, locked_run_folder
    from medr1.train.run import train
    from medr1.train.settings import settings_from

    def attempt(out: Path, loaded: Any, **values: Any) -> None:
        questions, settings = few_questions(), settings_from({**TINY, **values}, out)
        wanted = configuration(settings, loaded.path, questions)
        run_state = inspect_run_folder(out, wanted, overwrite=False, first=True)
        if not run_state.is_finished:
            with locked_run_folder(out, run_state, overwrite=False, first=True):
                train(loaded, questions, settings, run_state=run_state)

    def newest(out: Path) -> Path | None:
        return newest_checkpoint(out) if checkpoints(out) else None

    return Way(attempt, newest, SAVING)


def trainer_s() -> Way:
    """By Trainer's own means."""
    import stock_run

    return Way(stock_run.attempt, stock_run.last_checkpoint, ".")


def killed_often(
    out: Path, kills: int, seed: int, way: Callable[[], Way], **values: Any
) -> dict[str, Any]:
    """A run killed again and again until it was done, every second time while it saves.

    Says how often it was killed, how often of these while saving, the most steps that one kill
    cost, and the error where a go ended by itself. Each go is a fork of this process, which has
    the libraries and the model loaded and nothing run_state.
    """
    from medr1.models import load_model

    how, loaded, draw = way(), load_model(tiny_vl_folder(), device="cpu"), random.Random(seed)
    found: dict[str, Any] = {"kills": 0, "while_saving": 0, "most_steps_lost": 0}

    def saved() -> int:
        newest = how.newest(out)
        return step_of(newest) if newest else 0

    log = out.parent / "kills.log"
    while True:
        child = _forked(lambda: how.attempt(out, loaded, **values), log)
        in_save, run_state = found["kills"] % 2 == 0, time.time()
        wanted, delay, files = (
            saved() + draw.randrange(0, 4),
            draw.uniform(0, 0.3),
            draw.randrange(1, 9),
        )
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if in_save:
                is_there = _written(out / how.saves_in, run_state) >= files
            else:
                is_there = time.time() - run_state > 0.3 and steps_done(out) >= wanted
            if found["kills"] < kills and is_there:
                time.sleep(0 if in_save else delay)
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                break
            time.sleep(0.0005)
        else:
            is_done = any(out.glob("*model.safetensors"))
            return found if is_done else {**found, "error": log.read_text().splitlines()[-1]}
        found["kills"] += 1
        found["while_saving"] += in_save
        found["most_steps_lost"] = max(found["most_steps_lost"], steps_done(out) - saved())


def _forked(go: Callable[[], None], log: Path) -> int:
    """The process id of a fork that does this, its errors in the log."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        go()
        code = 0
    finally:
        if code:
            traceback.print_exc()
        os._exit(code)


def _written(folder: Path, since: float) -> int:
    """How many files of a checkpoint a save has written there since; a kill's remains are older."""
    try:
        newest = max(folder.glob("checkpoint-*"), key=step_of, default=None)
        return sum(path.stat().st_mtime > since for path in newest.iterdir()) if newest else 0
    except FileNotFoundError:  # the save has just become whole
        return 0


def killed_in_a_process(
    out: Path, kills: int, *, stock: bool = False, seed: int = 0, **values: Any
) -> dict[str, Any]:
    """`killed_often` in a process of its own."""
    words = [sys.executable, __file__, str(out), str(kills), str(seed), json.dumps(values)]
    words += ["stock"] * stock
    result = subprocess.run(words, capture_output=True, text=True, timeout=900)
    if result.returncode:
        raise RuntimeError(result.stderr[-2000:])
    return json.loads(result.stdout)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A disk of so many bytes, mounted at this folder; for root alone."""
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    subprocess.run(options, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def checkpoint_bytes(folder: Path) -> int:
    """The size of the tiny run's checkpoint, by a run there."""
    if run(folder, max_steps=2).returncode:
        raise RuntimeError("the tiny run does not run")
    return sum(path.stat().st_size for path in (folder / "checkpoint-2").iterdir())


# --- several processes: one dies, one hangs, the launcher is killed


def fails_in_rank_1(folder: Path, how: str) -> dict[str, str]:
    """An environment with the reward `failing:in_rank_1`, which does this in the third step."""
    folder.joinpath("failing.py").write_text(
        "import os, signal\n"
        "def in_rank_1(completions, trainer_state, **columns):\n"
        "    if os.environ.get('RANK') == '1' and trainer_state.global_step == 2:\n"
        f"        {how}\n"
        "    return [0.0] * len(completions)\n"
    )
    return {**os.environ, "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"}


def second_process_fails(out: Path, how: str, *, within: float = 120, **values: Any) -> Ended:
    """A run of two processes of which one dies or hangs in the third step."""
    env, log = fails_in_rank_1(out.parent, how), out.parent / f"{out.name}.log"
    with running(command(out, 2, rewards=FAILING, **values), log, env) as process:
        wait_until(lambda: steps_done(out) >= 2 or process.poll() is not None)
        found = ended(process, out, log, within)
    end_all(processes_of(out))
    return found


def launcher_killed(out: Path, within: float = 10, **values: Any) -> Ended:
    """A run of two processes whose launcher is killed; `seconds` until both are gone."""
    log = out.parent / f"{out.name}.log"
    with running(command(out, 2, **{"max_steps": 200, **values}), log) as process:
        wait_until(lambda: steps_done(out) >= 2 or process.poll() is not None)
        assert sum(not is_launcher for is_launcher in processes_of(out).values()) == 2
        process.kill()
        code, started = process.wait(), time.monotonic()
        while processes_of(out) and time.monotonic() - started < within:
            time.sleep(0.02)
        found = Ended(code, time.monotonic() - started, len(processes_of(out)), log.read_text())
    end_all(processes_of(out))
    return found


def end_all(processes: Sequence[int] | dict[int, bool]) -> None:
    """Kill what a fault has left running."""
    for process in processes:
        os.kill(process, signal.SIGKILL)


def main() -> None:
    """One run, killed often."""
    out, kills, seed, values, *stock = sys.argv[1:]
    way = trainer_s if stock else medr1_s
    print(json.dumps(killed_often(Path(out), int(kills), int(seed), way, **json.loads(values))))


if __name__ == "__main__":
    main()
