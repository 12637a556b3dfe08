"""A tiny training run to break: its settings, its command, what it logged, what it left.

fault_table.py and the tests break it; by themselves these do nothing.
"""

from __future__ import annotations

import json
import os
import random
import signal
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


def command(out: Path, processes: int = 1, **values: Any) -> list[str]:
    """`medr1 train` on the embedded model and data, under torchrun where processes are several."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    where = {"model_path": tiny_vl_folder(), "data": tiny_vqa_folder(), "output_dir": out}
    own = {"answer_types": "multiple_choice", "device": "cpu"}
    return [
        *(sys.executable, *(launcher if processes > 1 else ()), "-m", "medr1", "train"),
        *flags({**where, **own, **TINY, **values}),
    ]


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


FAILING = ["accuracy", "failing:in_rank_1"]


def final_weights(out: Path) -> str:
    """The hash of the trained weights."""
    return sha256_of(next(out.glob("*model.safetensors")))


def same_run(one: Path, other: Path) -> bool:
    """Whether two runs logged the same numbers and ended with the same weights, bit for bit."""
    return logged(one) == logged(other) and final_weights(one) == final_weights(other)


def wait_until(condition: Callable[[], bool], seconds: float = 120.0) -> float:
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


def attempt(out: Path, loaded: Any, **values: Any) -> None:
    """One go at a run in this process, as `medr1 train` does it: begun, gone on with, or done."""
    from medr1.train.begin import configuration, look_at, taken
    from medr1.train.run import train
    from medr1.train.settings import settings_from

    questions = few_questions()
    settings = settings_from({**TINY, **values}, out)
    wanted = configuration(settings, loaded.path, questions)
    begun = look_at(out, wanted, overwrite=False, first=True)
    if not begun.is_finished:
        with taken(out, begun, overwrite=False, first=True):
            train(loaded, questions, settings, begun=begun)


def killed_often(out: Path, kills: int, seed: int, **values: Any) -> dict[str, Any]:
    """A run killed again and again until it was done, every second time while it saves.

    Says how often it was killed while saving, and the most steps that one kill cost. Each go is a
    fork of this process, which has the libraries and the model loaded and nothing begun.
    """
    from medr1.models import load_model
    from medr1.train.manifest import SAVING, checkpoints, newest_checkpoint, step_of

    loaded, draw = load_model(tiny_vl_folder(), device="cpu"), random.Random(seed)
    saving, lost, done = 0, 0, 0
    with (out.parent / "kills.log").open("ab") as log:
        while True:
            child = os.fork()
            if not child:
                os.dup2(log.fileno(), 2)
                code = 1
                try:
                    attempt(out, loaded, **values)
                    code = 0
                finally:
                    os._exit(code)
            in_save, begun = done % 2 == 0, time.time()
            newest = newest_checkpoint(out) if checkpoints(out) else None
            wanted = (step_of(newest) if newest else 0) + draw.randrange(0, 4)
            delay, files = draw.uniform(0.0, 0.3), draw.randrange(1, 9)
            while os.waitpid(child, os.WNOHANG) == (0, 0):
                if in_save:
                    is_there = _written(out / SAVING, begun) >= files
                else:
                    is_there = time.time() - begun > 0.3 and steps_done(out) >= wanted
                if done < kills and is_there:
                    time.sleep(0 if in_save else delay)
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                    break
                time.sleep(0.0005)
            else:
                if (out / "SHA256SUMS").is_file():
                    return {"kills": done, "while_saving": saving, "most_steps_lost": lost}
                raise RuntimeError(f"a go ended by itself: see {log.name}")
            done += 1
            saving += in_save
            newest = newest_checkpoint(out)
            lost = max(lost, steps_done(out) - (step_of(newest) if newest else 0))


def _written(folder: Path, since: float) -> int:
    """How many files a save has written there since then; what a kill left is older."""
    try:
        return sum(path.stat().st_mtime > since for path in folder.glob("*/*"))
    except FileNotFoundError:  # the save has just become whole
        return 0


def main() -> None:
    """`fault_runs.py OUT KILLS SEED {"max_steps": ...}`: one run, killed often."""
    out, kills, seed, values = sys.argv[1:]
    print(json.dumps(killed_often(Path(out), int(kills), int(seed), **json.loads(values))))


if __name__ == "__main__":
    main()
