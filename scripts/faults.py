"""Faults for a real tiny training run: signals, kills, a full disk, a process that dies or hangs.

Each function starts the run of fault_runs.py, causes one fault, and returns how the run ended.
fault_table.py and the tests call them. As a script it runs a training that is killed repeatedly:

    python scripts/faults.py OUT KILLS SEED '{"max_steps": 60}' [stock]

With `stock` the run resumes with Trainer's own means (stock_run.py). The output is one JSON object.
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
from medr1.train.recovery.checkpoint_manifest import SAVING, checkpoints, newest_checkpoint, step_of

# Python statements that a reward function runs in the second process.
DEATHS = {
    "kill -9": "os.kill(os.getpid(), signal.SIGKILL)",
    "an error": "raise RuntimeError('broken')",
    "exit 0": "os._exit(0)",
}
STOPPED = "os.kill(os.getpid(), signal.SIGSTOP)"
"""The statement that makes the process hang: it stays in memory and does not run."""
FAILING = ["accuracy", "failing:in_rank_1"]
"""The rewards of a run with that statement, see `fails_in_rank_1`."""


@dataclass(frozen=True)
class RunEnd:
    """How a run ended after a fault."""

    code: int | None
    """The exit code; None if the run had not ended when the waiting time was over."""
    seconds: float
    """Seconds from the fault to the end of the run, or of the waiting."""
    processes_left: int
    """Number of the run's processes that still existed then."""
    output: str
    """All that the run wrote to stdout and stderr."""

    @property
    def last_line(self) -> str:
        """The last line of the output."""
        return (self.output.strip().splitlines() or [""])[-1]


def await_end(process: subprocess.Popen[bytes], out: Path, log: Path, within: float) -> RunEnd:
    """Wait at most `within` seconds for the end of a process, which had a fault just now."""
    started = time.monotonic()
    try:
        code: int | None = process.wait(timeout=within)
    except subprocess.TimeoutExpired:
        code = None
    return RunEnd(
        code, time.monotonic() - started, len(processes_of(out)), log.read_text(encoding="utf-8")
    )


# --- one process: signals, kills, a full disk


def send_signals(
    out: Path, *signals: int, after: int = 3, pause: float = 0.0, **values: Any
) -> RunEnd:
    """Start a run, and send it signals after some steps.

    Args:
        out: The output folder.
        *signals: Numbers of the signals, in order.
        after: Number of logged steps after which the first signal is sent.
        pause: Seconds to wait after each signal.
        **values: Further arguments of `fault_runs.command`.
    """
    log = out.parent / f"{out.name}.log"
    with running(command(out, **values), log) as process:
        wait_until(lambda: steps_done(out) >= after or process.poll() is not None)
        for signum in signals:
            process.send_signal(signum)
            time.sleep(pause)
        return await_end(process, out, log, 600)


def signal_while_saving(out: Path, signum: int, **values: Any) -> RunEnd:
    """Start a run, and send it a signal while it writes its first checkpoint.

    Args:
        out: The output folder.
        signum: Number of the signal.
        **values: Further arguments of `fault_runs.command`.
    """
    log = out.parent / f"{out.name}.log"
    with running(command(out, **values), log) as process:
        wait_until(lambda: (out / SAVING).is_dir() or process.poll() is not None)
        process.send_signal(signum)
        return await_end(process, out, log, 600)


@dataclass(frozen=True)
class ResumeMethod:
    """How a run is started and resumed in this process."""

    attempt: Callable[..., None]
    """Starts or resumes the run in a folder and runs it to its end; does nothing if it is ended."""
    newest: Callable[[Path], Path | None]
    """The checkpoint from which a run in the folder would resume."""
    saving_folder: str
    """The part of the run's folder in which a checkpoint is written."""


def medr1_resume() -> ResumeMethod:
    """Start and resume as `medr1 train` does."""
    from medr1.train.recovery.run_state import configuration, inspect_run_folder, locked_run_folder
    from medr1.train.run import train
    from medr1.train.settings import settings_from

    def attempt(out: Path, loaded: Any, **values: Any) -> None:
        questions, settings = few_questions(), settings_from({**TINY, **values}, out)
        run_configuration = configuration(settings, loaded.path, questions)
        run_state = inspect_run_folder(out, run_configuration, overwrite=False, first=True)
        if not run_state.is_finished:
            with locked_run_folder(out, run_state, overwrite=False, first=True):
                train(loaded, questions, settings, run_state=run_state)

    def newest(out: Path) -> Path | None:
        return newest_checkpoint(out) if checkpoints(out) else None

    return ResumeMethod(attempt, newest, SAVING)


def trainer_resume() -> ResumeMethod:
    """Start and resume with Trainer's own means."""
    import stock_run

    return ResumeMethod(stock_run.attempt, stock_run.last_checkpoint, ".")


def kill_repeatedly(
    out: Path, kills: int, seed: int, resume_method: Callable[[], ResumeMethod], **values: Any
) -> dict[str, Any]:
    """Kill a run repeatedly and resume it until it is done; every second kill is during a save.

    Each attempt is a fork of this process, which has loaded the libraries and the model and has
    not trained. That saves the time of loading them for each attempt.

    Args:
        out: The output folder.
        kills: Number of kills; after them the run is left alone.
        seed: Seed of the random times of the kills.
        resume_method: Returns how the run is started and resumed.
        **values: Settings that replace those of `TINY`.

    Returns:
        `kills`; `while_saving`, how many of them were during a save; `most_steps_lost`, the most
        steps that one kill cost; and `error`, the last line of the log, if an attempt failed.
    """
    from medr1.models.loading import load_model

    resume, loaded = resume_method(), load_model(tiny_vl_folder(), device="cpu")
    rng = random.Random(seed)
    counts: dict[str, Any] = {"kills": 0, "while_saving": 0, "most_steps_lost": 0}

    def saved_step() -> int:
        newest = resume.newest(out)
        return step_of(newest) if newest else 0

    log = out.parent / "kills.log"
    while True:
        child = _fork(lambda: resume.attempt(out, loaded, **values), log)
        in_save, started = counts["kills"] % 2 == 0, time.time()
        kill_step, delay, num_files = (
            saved_step() + rng.randrange(0, 4),
            rng.uniform(0, 0.3),
            rng.randrange(1, 9),
        )
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if in_save:
                is_time = _num_files_written(out / resume.saving_folder, started) >= num_files
            else:
                is_time = time.time() - started > 0.3 and steps_done(out) >= kill_step
            if counts["kills"] < kills and is_time:
                time.sleep(0 if in_save else delay)
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                break
            time.sleep(0.0005)
        else:
            is_done = any(out.glob("*model.safetensors"))
            return counts if is_done else {**counts, "error": log.read_text().splitlines()[-1]}
        counts["kills"] += 1
        counts["while_saving"] += in_save
        counts["most_steps_lost"] = max(counts["most_steps_lost"], steps_done(out) - saved_step())


def _fork(action: Callable[[], None], log: Path) -> int:
    """Run the action in a fork of this process, with its errors in the log; the process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        action()
        code = 0
    finally:
        if code:
            traceback.print_exc()
        os._exit(code)


def _num_files_written(folder: Path, since: float) -> int:
    """The number of files of the newest checkpoint in the folder that were written since then.

    Files that an earlier, killed attempt has left are older, so they do not count.
    """
    try:
        newest = max(folder.glob("checkpoint-*"), key=step_of, default=None)
        return sum(path.stat().st_mtime > since for path in newest.iterdir()) if newest else 0
    except FileNotFoundError:  # the save has ended, and the folder was renamed
        return 0


def kill_repeatedly_in_subprocess(
    out: Path, kills: int, *, stock: bool = False, seed: int = 0, **values: Any
) -> dict[str, Any]:
    """Call `kill_repeatedly` in another process, and return what it returns.

    Args:
        out: The output folder.
        kills: Number of kills.
        stock: Resume with Trainer's own means instead of medr1's.
        seed: Seed of the random times of the kills.
        **values: Settings that replace those of `TINY`.

    Raises:
        RuntimeError: The process failed; the message is the end of its stderr.
    """
    arguments = [sys.executable, __file__, str(out), str(kills), str(seed), json.dumps(values)]
    arguments += ["stock"] * stock
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=900)
    if result.returncode:
        raise RuntimeError(result.stderr[-2000:])
    return json.loads(result.stdout)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """Mount a small disk in memory for the block; only root may do this.

    Args:
        folder: Folder to create, at which the disk is mounted.
        size: Size of the disk in bytes.
    """
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    subprocess.run(options, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def checkpoint_bytes(folder: Path) -> int:
    """The size of a checkpoint of the tiny run in bytes, measured by a run in this folder."""
    if run(folder, max_steps=2).returncode:
        raise RuntimeError(f"the tiny run in {folder} failed, so its checkpoint has no size")
    return sum(path.stat().st_size for path in (folder / "checkpoint-2").iterdir())


# --- several processes: one dies, one hangs, the launcher is killed


def fails_in_rank_1(folder: Path, statement: str) -> dict[str, str]:
    """Write the reward `failing:in_rank_1`, and return the environment in which it can be imported.

    The reward runs the Python statement in the process of rank 1, in the third step.
    """
    folder.joinpath("failing.py").write_text(
        "import os, signal\n"
        "def in_rank_1(completions, trainer_state, **columns):\n"
        "    if os.environ.get('RANK') == '1' and trainer_state.global_step == 2:\n"
        f"        {statement}\n"
        "    return [0.0] * len(completions)\n"
    )
    return {**os.environ, "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"}


def fail_second_process(out: Path, statement: str, *, within: float = 120, **values: Any) -> RunEnd:
    """Start a run of two processes, of which the second one dies or hangs in the third step.

    Args:
        out: The output folder.
        statement: How it fails: a value of `DEATHS`, or `STOPPED`.
        within: The longest time in seconds to wait for the end of the run.
        **values: Further arguments of `fault_runs.command`.
    """
    env, log = fails_in_rank_1(out.parent, statement), out.parent / f"{out.name}.log"
    with running(command(out, 2, rewards=FAILING, **values), log, env) as process:
        wait_until(lambda: steps_done(out) >= 2 or process.poll() is not None)
        end = await_end(process, out, log, within)
    kill_all(processes_of(out))
    return end


def kill_launcher(out: Path, within: float = 10, **values: Any) -> RunEnd:
    """Start a run of two processes, and kill torchrun, which has started them.

    Args:
        out: The output folder.
        within: The longest time in seconds to wait until both processes have ended.
        **values: Further arguments of `fault_runs.command`.
    """
    log = out.parent / f"{out.name}.log"
    with running(command(out, 2, **{"max_steps": 200, **values}), log) as process:
        wait_until(lambda: steps_done(out) >= 2 or process.poll() is not None)
        assert sum(not is_launcher for is_launcher in processes_of(out).values()) == 2
        process.kill()
        code, started = process.wait(), time.monotonic()
        while processes_of(out) and time.monotonic() - started < within:
            time.sleep(0.02)
        end = RunEnd(code, time.monotonic() - started, len(processes_of(out)), log.read_text())
    kill_all(processes_of(out))
    return end


def kill_all(processes: Sequence[int] | dict[int, bool]) -> None:
    """Kill the processes that still run after a fault."""
    for process in processes:
        os.kill(process, signal.SIGKILL)


def main() -> None:
    """Kill one run repeatedly, and print what it cost."""
    out, kills, seed, values, *stock = sys.argv[1:]
    method = trainer_resume if stock else medr1_resume
    counts = kill_repeatedly(Path(out), int(kills), int(seed), method, **json.loads(values))
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
