"""A tiny training run to interrupt: its settings, its command, its log, its processes.

faults.py, fault_table.py and the tests use it. It trains the embedded model on the embedded data.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medr1.data.readers import Questions, read_questions
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.files import sha256_of

TINY: Mapping[str, Any] = {
    "rewards": ["accuracy", "format"],
    "num_generations": 2,
    "batch_size": 4,
    "max_completion_length": 4,
    "learning_rate": 1e-3,
    "max_steps": 8,
    "logging_steps": 1,
    "save_steps": 2,
}
"""The settings of the run."""
LORA: Mapping[str, Any] = {
    "use_peft": True, "lora_r": 4, "lora_dropout": 0.1, "learning_rate": 1e-2,
    "disable_dropout": False,
}  # fmt: skip
"""Further settings, with which an adapter with dropout is trained."""
STOCK = Path(__file__).with_name("stock_run.py")
COMPARED = ("loss", "reward", "grad_norm", "learning_rate", "kl", "train_loss")
"""The logged numbers that a resumed run has to repeat exactly."""


def few_questions(number: int = 40) -> Questions:
    """The first training questions of the embedded data."""
    return read_questions(tiny_vqa_folder() / "train.json", limit=number)


def flags(values: Mapping[str, Any]) -> list[str]:
    """The values of a configuration as options on the command line."""
    options = []
    for name, value in values.items():
        text = ",".join(value) if isinstance(value, list) else str(value).lower()
        options += [f"--{name.replace('_', '-')}", *([] if value is True else [text])]
    return options


def command(out: Path, processes: int = 1, *, stock: bool = False, **values: Any) -> list[str]:
    """The command that trains the embedded model on the embedded data.

    Args:
        out: The output folder.
        processes: Number of processes; more than one run under torchrun.
        stock: Run stock_run.py, which resumes with Trainer's own means, instead of `medr1 train`.
        **values: Settings that replace those of `TINY`.
    """
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    python = [sys.executable, *(torchrun if processes > 1 else ())]
    if stock:
        return [*python, str(STOCK), str(out), json.dumps(values)]
    paths = {"model_path": tiny_vl_folder(), "data": tiny_vqa_folder(), "output_dir": out}
    fixed = {"answer_types": "multiple_choice", "device": "cpu"}
    return [*python, "-m", "medr1", "train", *flags({**paths, **fixed, **TINY, **values})]


@contextmanager
def running(
    arguments: list[str], log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command for the block, and kill it at the end of the block if it still runs.

    Args:
        arguments: The command.
        log: File to which its stdout and stderr are appended.
        env: Its environment; None for that of this process.
    """
    with log.open("ab") as file:
        process = subprocess.Popen(
            arguments, stdout=file, stderr=file, env=env, start_new_session=True
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def run(out: Path, processes: int = 1, **values: Any) -> subprocess.CompletedProcess[str]:
    """Run the training in another process and wait for its end.

    Args:
        out: The output folder.
        processes: Number of training processes.
        **values: Further arguments of `command`.

    Returns:
        The ended process, with its exit code and its output as text.
    """
    arguments = command(out, processes, **values)
    return subprocess.run(arguments, capture_output=True, text=True, timeout=600)


def logged_steps(out: Path) -> list[dict[str, Any]]:
    """The numbers `COMPARED` of each logged step; empty if the run has no log yet."""
    file = out / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.is_file() else []
    # the last line may still be being written
    entries = [json.loads(line) for line in lines if line.endswith("\n")]
    return [{key: entry[key] for key in ("step", *COMPARED) if key in entry} for entry in entries]


def steps_done(out: Path) -> int:
    """The number of the last logged step; 0 if none was logged."""
    return max((entry["step"] for entry in logged_steps(out)), default=0)


def final_weights(out: Path) -> str:
    """The SHA-256 of the trained weights."""
    return sha256_of(next(out.glob("*model.safetensors")))


def same_run(first: Path, second: Path) -> bool:
    """Whether two runs logged the same numbers and ended with the same weights, bit for bit.

    Args:
        first: Output folder of one run.
        second: Output folder of the other run.
    """
    same_log = logged_steps(first) == logged_steps(second)
    return same_log and final_weights(first) == final_weights(second)


def wait_until(condition: Callable[[], bool], seconds: float = 600.0) -> float:
    """Wait until a condition is true; the seconds that this took.

    Args:
        condition: Called every 20 ms until it returns True.
        seconds: The longest time to wait.

    Raises:
        TimeoutError: The condition was still false after that time.
    """
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise TimeoutError(f"the condition was still false after {seconds} seconds")
        time.sleep(0.02)
    return time.monotonic() - started


def processes_of(out: Path) -> dict[int, bool]:
    """Process id -> whether it is torchrun, for all other processes of this output folder.

    A process belongs to the folder if its command line contains the folder's path.
    """
    processes = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:  # the process has ended meanwhile
            continue
        is_zombie = state == "Z"  # ended, and not yet collected by its parent
        if str(out).encode() in arguments and not is_zombie:
            processes[int(entry.name)] = b"torch.distributed.run" in arguments
    return processes
