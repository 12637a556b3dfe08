"""What has to be measured on a GPU, in one command: one JSON of results with versions.

    python scripts/gpu_check.py                           one GPU of 80 GB, 12 minutes at most
    python scripts/gpu_check.py --device cpu --size 20m   the same parts on a CPU
    python scripts/gpu_check.py --only exactness train-nothink

Nothing is downloaded: weights are random, of the size of Qwen2.5-VL-3B, and say nothing about
accuracy. Each part is a process of its own, and the file is written after each: a part that fails,
or the end of the time, costs no other part's results.

    doctor         versions, devices
    exactness      gradients and log-probabilities of shared prompts against stock TRL
    train-nothink  a GRPO step of 10 completion tokens, G = 8: stock, shared, CUDA graphs
    train-think    the same with 224 tokens
    train-vllm     the no-think step with TRL's vLLM in the same process, where it is installed
    infer          medr1 infer against the original's evaluation loop
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
from medr1.models import library_versions

SCRIPTS = Path(__file__).parent
NOTHINK, THINK = 10, 224
"""Completion tokens: of a letter in its tags, and of Med-R1's reasoning."""
GENERATIONS = 8


@dataclass(frozen=True)
class Goal:
    """A figure that is hoped for: where it stands in the results, and the least it has to be."""

    name: str
    part: str
    path: tuple[str, ...]
    least: float


GOALS = (
    Goal("no-think: stock step / shared step", "train-nothink", ("ratio", "step"), 3.0),
    Goal("no-think: stock update / shared update", "train-nothink", ("ratio", "backward"), 2.5),
    Goal("no-think: stock memory / shared memory", "train-nothink", ("ratio", "saved"), 3.0),
    Goal("think: stock update / shared update", "train-think", ("ratio", "backward"), 2.5),
    Goal("think: stock memory / shared memory", "train-think", ("ratio", "saved"), 3.0),
)


def script(name: str, *args: object) -> list[str]:
    """The command that runs a script beside this one."""
    return [sys.executable, str(SCRIPTS / name), *map(str, args)]


def train_command(options: argparse.Namespace, length: int) -> list[str]:
    """bench_train.py for one completion length."""
    common = ("--json", "--size", options.size, "--device", options.device)
    sizes = ("--prompts", 1, "--num-generations", GENERATIONS, "--rounds", options.rounds)
    ways = ("--ways", "stock", "shared", "graphs")
    return script("bench_train.py", *common, *sizes, "--completion-length", length, *ways)


def vllm_command(options: argparse.Namespace) -> list[str] | str:
    """The step with vLLM; a reason where it cannot be made."""
    if options.device == "cpu":
        return "it needs a GPU"
    if importlib.util.find_spec("vllm") is None:
        return "vllm is not installed"
    return script("gpu_parts.py", "vllm", "--size", options.size, "--rounds", options.rounds)


def infer_command(options: argparse.Namespace) -> list[str]:
    """bench_infer.py at the size."""
    items = 16 if options.device == "cpu" else 48
    common = ("speed", "--json", "--size", options.size, "--device", options.device)
    return script("bench_infer.py", *common, "--items", items, "--rounds", options.rounds)


def tests_command(options: argparse.Namespace) -> list[str] | str:
    """The tests that need a GPU."""
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
"""What pytest -v prints of a test; between name and outcome may stand a row that it printed."""


def run_part(command: list[str] | str, seconds: float) -> dict[str, Any]:
    """The status of a part, its seconds, and its result or why there is none."""
    if isinstance(command, str):
        return {"status": "not run", "reason": command}
    if seconds <= 0:
        return {"status": "not run", "reason": "no time was left"}
    started = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=SCRIPTS.parent, capture_output=True, text=True, timeout=seconds
        )
        output, errors, code = done.stdout, done.stderr, done.returncode
    except subprocess.TimeoutExpired as stopped:
        output, errors = (_text(part) for part in (stopped.stdout, stopped.stderr))
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
    why = "stopped: no time was left" if code is None else f"exit code {code}"
    return {"status": "failed", "reason": why, "end_of_errors": errors[-2000:], **entry}


def _text(part: bytes | str | None) -> str:
    return part.decode(errors="replace") if isinstance(part, bytes) else part or ""


def goals_of(parts: dict[str, Any]) -> list[dict[str, Any]]:
    """Each goal with the value that was measured; None where it was not."""
    rows = []
    for goal in GOALS:
        value: Any = parts.get(goal.part, {}).get("result")
        for key in goal.path:
            value = value.get(key) if isinstance(value, dict) else None
        met = None if value is None else value >= goal.least
        rows.append({"goal": goal.name, "least": goal.least, "measured": value, "met": met})
    return rows


def machine(device: str) -> dict[str, Any]:
    """The card, its memory and driver, or the processor."""
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--size", choices=["20m", "3b"], default="3b")
    parser.add_argument("--rounds", type=int, help="timed rounds [default: 3; 1 on a CPU]")
    parser.add_argument("--think-length", type=int, default=THINK, help="tokens of train-think")
    parser.add_argument("--minutes", type=float, default=12.0, help="after which no part begins")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--output-file", type=Path, default=Path("gpu_check.json"))
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.device == "cpu" else 3)
    return options


def main() -> int:
    """Run the parts; 0 where each that can be run is done."""
    import torch

    options = read_options()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here. --device cpu --size 20m runs the parts on a CPU.")
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
        print(f"{row['goal']}: {row['measured']}, at least {row['least']} hoped for")
    print(options.output_file)
    return 1 if any(part["status"] == "failed" for part in parts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
