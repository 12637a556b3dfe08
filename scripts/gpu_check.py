"""Run all measurements that need a GPU, and write one JSON file with results and versions.

    python scripts/gpu_check.py                           one GPU of 80 GB, 12 minutes at most
    python scripts/gpu_check.py --device cpu --size 20m   the same parts on a CPU
    python scripts/gpu_check.py --only exactness train-nothink

Nothing is downloaded. The weights are random and have the size of Qwen2.5-VL-3B, so nothing is
learned about accuracy. Each part runs in its own process, and the file is written after each part.
So if a part fails or the time is over, the results of the other parts are in the file.

    doctor         versions, devices
    exactness      gradients and log-probabilities of shared prompts, compared with stock TRL
    train-nothink  a GRPO step of 10 completion tokens, G = 8: stock, shared, CUDA graphs
    train-think    the same with 224 tokens
    train-vllm     the no-think step with TRL's vLLM in the same process, if it is installed
    infer          medr1 infer, compared with the original's evaluation loop
    tests          the tests marked `gpu`
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medr1.files import to_json, write_atomic
from medr1.models.loading import library_versions

SCRIPTS = Path(__file__).parent
NOTHINK, THINK = 10, 224
"""Completion tokens of an answer without and with Med-R1's reasoning."""
GENERATIONS = 8
"""Completions per prompt."""


@dataclass(frozen=True)
class Goal:
    """A goal for one measured value: where the value is in the results, and its minimum."""

    name: str
    part: str
    path: tuple[str, ...]
    """The keys that lead to the value in the result of the part."""
    least: float


GOALS = (
    Goal("no-think: stock step / shared step", "train-nothink", ("ratio", "step"), 3.0),
    Goal("no-think: stock update / shared update", "train-nothink", ("ratio", "backward"), 2.5),
    Goal("no-think: stock memory / shared memory", "train-nothink", ("ratio", "saved"), 3.0),
    Goal("think: stock update / shared update", "train-think", ("ratio", "backward"), 2.5),
    Goal("think: stock memory / shared memory", "train-think", ("ratio", "saved"), 3.0),
)


def script(name: str, *args: object) -> list[str]:
    """The command that runs another script of this folder."""
    return [sys.executable, str(SCRIPTS / name), *map(str, args)]


def train_command(options: argparse.Namespace, length: int) -> list[str]:
    """The command that runs bench_train.py for one completion length."""
    common = ("--json", "--size", options.size, "--device", options.device)
    sizes = ("--prompts", 1, "--num-generations", GENERATIONS, "--rounds", options.rounds)
    ways = ("--ways", "stock", "shared", "graphs")
    return script("bench_train.py", *common, *sizes, "--completion-length", length, *ways)


def vllm_command(options: argparse.Namespace) -> list[str] | str:
    """The command that measures the step with vLLM, or why it cannot be measured."""
    if options.device == "cpu":
        return "it needs a GPU"
    if importlib.util.find_spec("vllm") is None:
        return "vllm is not installed"
    return script("gpu_parts.py", "vllm", "--size", options.size, "--rounds", options.rounds)


def infer_command(options: argparse.Namespace) -> list[str]:
    """The command that runs bench_infer.py with this size of model."""
    items = 16 if options.device == "cpu" else 48
    common = ("speed", "--json", "--size", options.size, "--device", options.device)
    return script("bench_infer.py", *common, "--items", items, "--rounds", options.rounds)


def tests_command(options: argparse.Namespace) -> list[str] | str:
    """The command that runs the tests marked `gpu`, or why they cannot be run."""
    if options.device == "cpu":
        return "it needs a GPU"
    pytest = ("-m", "pytest", "-m", "gpu", "-v", "--color=no", "tests/train")
    return ["env", "MEDR1_GPU_STEPS=5", sys.executable, *pytest]


Command = Callable[[argparse.Namespace], list[str] | str]
PARTS: dict[str, Command] = {
    "doctor": lambda options: [sys.executable, "-m", "medr1", "doctor", "--json"],
    "exactness": lambda options: script("gpu_parts.py", "exactness", "--device", options.device),
    "train-nothink": lambda options: train_command(options, NOTHINK),
    "train-think": lambda options: train_command(options, options.think_length),
    "train-vllm": vllm_command,
    "infer": infer_command,
    "tests": tests_command,
}


TEST_OUTCOME = r"^(\S+::\S+)\s+(?:\|.*\|\s+)?(PASSED|FAILED|SKIPPED|ERROR)"
"""A test in the output of pytest -v; a table row that it printed may follow its name."""


def run_part(command: list[str] | str, seconds: float) -> dict[str, Any]:
    """Run a part, and return its status, its seconds, and its result or why there is none.

    Args:
        command: The command to run, or a sentence that tells why the part cannot be run.
        seconds: The time left; the command is stopped after it.
    """
    if isinstance(command, str):
        return {"status": "not run", "reason": command}
    if seconds <= 0:
        return {"status": "not run", "reason": "no time was left"}
    started = time.monotonic()
    try:
        process = subprocess.run(
            command, cwd=SCRIPTS.parent, capture_output=True, text=True, timeout=seconds
        )
        output, errors, code = process.stdout, process.stderr, process.returncode
    except subprocess.TimeoutExpired as timeout:
        output, errors = (_text(stream) for stream in (timeout.stdout, timeout.stderr))
        code = None
    entry: dict[str, Any] = {"seconds": round(time.monotonic() - started, 1)}
    if "pytest" in command:
        tests = re.findall(TEST_OUTCOME, output, re.M)
        entry["result"] = {name: outcome.lower() for name, outcome in tests}
        entry["rows"] = re.findall(r"^\| .* \|$", output, re.M)
    elif code == 0:
        entry["result"] = json.loads(output)
    if code == 0:
        return {"status": "done", **entry}
    reason = "stopped: no time was left" if code is None else f"exit code {code}"
    return {"status": "failed", "reason": reason, "end_of_errors": errors[-2000:], **entry}


def _text(stream: bytes | str | None) -> str:
    return stream.decode(errors="replace") if isinstance(stream, bytes) else stream or ""


def goals_of(parts: dict[str, Any]) -> list[dict[str, Any]]:
    """Each goal with the measured value and whether it is met; both None if not measured."""
    rows = []
    for goal in GOALS:
        value: Any = parts.get(goal.part, {}).get("result")
        for key in goal.path:
            value = value.get(key) if isinstance(value, dict) else None
        is_met = None if value is None else value >= goal.least
        rows.append({"goal": goal.name, "least": goal.least, "measured": value, "met": is_met})
    return rows


def machine(device: str) -> dict[str, Any]:
    """The GPU with its memory and CUDA version, or the processor with its threads."""
    import torch

    if device != "cuda":
        return {"device": device, "name": platform.machine(), "threads": torch.get_num_threads()}
    properties = torch.cuda.get_device_properties(0)
    return {
        "device": "cuda",
        "name": properties.name,
        "memory_bytes": properties.total_memory,
        "cuda": torch.version.cuda,
    }


def read_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="where to run")
    parser.add_argument("--size", choices=["20m", "3b"], default="3b", help="size of the model")
    parser.add_argument("--rounds", type=int, help="timed rounds [default: 3; 1 on a CPU]")
    parser.add_argument("--think-length", type=int, default=THINK, help="tokens of train-think")
    parser.add_argument("--minutes", type=float, default=12.0, help="time for all parts")
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help="parts to run"
    )
    parser.add_argument(
        "--output-file", type=Path, default=Path("gpu_check.json"), help="file to write"
    )
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.device == "cpu" else 3)
    return options


def main() -> int:
    """Run the parts; 0 if no part has failed."""
    import torch

    options = read_options()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("There is no CUDA device. Give --device cpu --size 20m to run the parts on a CPU.")
        return 2
    deadline = time.monotonic() + 60 * options.minutes
    parts: dict[str, Any] = {}
    for name in options.only:
        print(f"{name} ...", end=" ", flush=True)
        parts[name] = run_part(PARTS[name](options), deadline - time.monotonic())
        print(parts[name]["status"], parts[name].get("reason", ""), parts[name].get("seconds", ""))
        document = {
            "schema": "medr1.gpu_check/1",
            "machine": machine(options.device),
            "versions": library_versions(),
            "size": options.size,
            "goals": goals_of(parts),
            "parts": parts,
        }
        write_atomic(options.output_file, to_json(document))
    for row in goals_of(parts):
        print(f"{row['goal']}: {row['measured']} (goal: at least {row['least']})")
    print(options.output_file)
    return 1 if any(part["status"] == "failed" for part in parts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
