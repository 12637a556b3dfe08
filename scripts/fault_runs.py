"""A tiny training run to break: its settings, its command, what it logged, what it left."""

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
LORA: Mapping[str, Any] = {
    "use_peft": True, "lora_r": 4, "lora_dropout": 0.1, "learning_rate": 1e-2,
    "disable_dropout": False,
}  # fmt: skip
STOCK = Path(__file__).with_name("stock_run.py")
COMPARED = ("loss", "reward", "grad_norm", "learning_rate", "kl", "train_loss")


def few_questions(number: int = 40) -> Questions:
    """The first training questions of the embedded data."""
    return read_questions(tiny_vqa_folder() / "train.json", limit=number)


def flags(values: Mapping[str, Any]) -> list[str]:
    """Values of a configuration as they are typed."""
    typed = []
    for name, value in values.items():
        text = ",".join(value) if isinstance(value, list) else str(value).lower()
        typed += [f"--{name.replace('_', '-')}", *([] if value is True else [text])]
    return typed


def command(out: Path, processes: int = 1, *, stock: bool = False, **values: Any) -> list[str]:
    """`medr1 train` on the embedded model and data, under torchrun where processes are several.

    With `stock` the same by Trainer's own means.
    """
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    launcher = [sys.executable, *(several if processes > 1 else ())]
    if stock:
        return [*launcher, str(STOCK), str(out), json.dumps(values)]
    where = {"model_path": tiny_vl_folder(), "data": tiny_vqa_folder(), "output_dir": out}
    own = {"answer_types": "multiple_choice", "device": "cpu"}
    return [*launcher, "-m", "medr1", "train", *flags({**where, **own, **TINY, **values})]


@contextmanager
def running(
    arguments: list[str], log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The process of a command, its output in a file; killed at the end if it still runs."""
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
    """The run as a process of its own, to its end."""
    arguments = command(out, processes, **values)
    return subprocess.run(arguments, capture_output=True, text=True, timeout=600)


def logged(out: Path) -> list[dict[str, Any]]:
    """The numbers of each step that an exact resume has to give again."""
    file = out / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.is_file() else []
    entries = [json.loads(line) for line in lines if line.endswith("\n")]
    return [{k: e[k] for k in ("step", *COMPARED) if k in e} for e in entries]


def steps_done(out: Path) -> int:
    """The last step that was logged."""
    return max((entry["step"] for entry in logged(out)), default=0)


def final_weights(out: Path) -> str:
    """The hash of the trained weights."""
    return sha256_of(next(out.glob("*model.safetensors")))


def same_run(one: Path, other: Path) -> bool:
    """Whether two runs logged the same numbers and ended with the same weights, bit for bit."""
    return logged(one) == logged(other) and final_weights(one) == final_weights(other)


def wait_until(condition: Callable[[], bool], seconds: float = 600.0) -> float:
    """Seconds until a condition held; TimeoutError where it never did."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise TimeoutError(f"not within {seconds} seconds")
        time.sleep(0.02)
    return time.monotonic() - started


def processes_of(out: Path) -> dict[int, bool]:
    """Process id -> whether it is a launcher, of everything that works for this output folder."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if str(out).encode() in words and state != "Z":
            found[int(entry.name)] = b"torch.distributed.run" in words
    return found
