"""Compare the memory that `medr1 train --dry-run` plans with what processes of 3B's size take.

    python scripts/large_run.py FOLDER --tiktoken qwen.tiktoken     about 10 minutes on two cores
    python scripts/large_run.py FOLDER --size tiny --tiktoken FILE  the same parts, a small model

FOLDER gets a checkpoint of large_checkpoint.py, which also says where qwen.tiktoken is, and one
question with an image of 384 pixels. It needs 8 GB, and is not deleted. A checkpoint that is there
is used again. Then these commands run one after the other on the CPU, each in its own process:

    plan     medr1 train --dry-run; what it takes are the libraries, since it loads no weights
    infer    medr1 infer in bfloat16, one question
    train    medr1 train: one step of GRPO on a LoRA adapter, with the vision tower frozen

The table has the largest resident memory of each process (VmHWM). It is compared with the planned
memory plus that of the libraries, which is that of the process `plan`. The exit code is 1 if the
two differ by more than 15 % (--tolerance).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from large_checkpoint import SIZES, find_tiktoken

SCRIPTS = Path(__file__).resolve().parent
CHECKPOINT_BYTES = 8 * 10**9
"""Free space that the checkpoint of 3B needs."""


def text_numbers(completions: Sequence[Any], **_: object) -> list[float]:
    """A reward for random weights: a number in [0, 1) of each text, so that two hardly ever tie.

    Args:
        completions: The completions, as TRL gives them.
    """
    texts = [json.dumps(completion, sort_keys=True) for completion in completions]
    return [zlib.crc32(text.encode()) / 2**32 for text in texts]


@dataclass(frozen=True)
class Process:
    """A process that has ended, and the memory that it took."""

    name: str
    planned: int
    """Bytes of the plan, without libraries."""
    libraries: int
    """Bytes of libraries, measured in a process without weights."""
    peak: int
    """Bytes of the largest resident memory (VmHWM)."""
    seconds: float

    @property
    def ratio(self) -> float:
        """Measured memory over planned memory and libraries."""
        return self.peak / (self.planned + self.libraries)


def run(name: str, command: Sequence[object], log: Path) -> tuple[str, int, float]:
    """Run a command, and return its stdout, its largest resident memory in bytes, its seconds.

    Args:
        name: Name of the process, for messages.
        command: The arguments of Python.
        log: File to which stderr is written.

    Raises:
        SystemExit: The command fails.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SCRIPTS.parent), str(SCRIPTS)])}
    output, started = log.with_suffix(".out"), time.monotonic()
    print(f"{name} ...", file=sys.stderr, flush=True)
    with output.open("wb") as out, log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, *map(str, command)], env=environment, stdout=out, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        end = "\n".join(log.read_text(encoding="utf-8").splitlines()[-20:])
        raise SystemExit(f"{name} ended with exit code {process.returncode}:\n{end}")
    # the kernel gives kibibytes
    return output.read_text(encoding="utf-8"), usage.ru_maxrss * 1024, time.monotonic() - started


def write_question(folder: Path, pixels: int) -> Path:
    """Write a file with one embedded question, its image enlarged, and return its path.

    Args:
        folder: The folder to write to.
        pixels: Width and height of the image.
    """
    from medr1.data.images import load_image
    from medr1.data.readers import read_questions
    from medr1.data.roots import resolve_image
    from medr1.data.tiny import tiny_vqa_folder

    questions = read_questions(tiny_vqa_folder() / "train.json", limit=1)
    sample = questions.samples[0]
    image = load_image(resolve_image(sample.images[0], questions.image_root)).image
    image.resize((pixels, pixels)).save(folder / "image.png")
    item = {
        "id": sample.id,
        "image": "image.png",
        "question": sample.question,
        "options": dict(sample.options),
        "answer": sample.ground_truth,
    }
    file = folder / "question.json"
    file.write_text(json.dumps([item]), encoding="utf-8")
    return file


def make_checkpoint(options: argparse.Namespace) -> Path:
    """The folder of the checkpoint, which is made if it is not there."""
    checkpoint: Path = options.folder / f"checkpoint-{options.size}"
    if (checkpoint / "model.safetensors.index.json").is_file():
        return checkpoint
    options.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(options.folder).free
    if options.size == "3b" and free < CHECKPOINT_BYTES:
        raise SystemExit(f"{options.folder} has {free / 1e9:.1f} GB of free space; 8 are needed.")
    tiktoken = find_tiktoken(options.tiktoken)
    program = [SCRIPTS / "large_checkpoint.py", checkpoint, "--size", options.size]
    command = [*program, "--tiktoken", tiktoken, "--shard-bytes", options.shard_bytes]
    run("checkpoint", command, options.folder / "checkpoint.log")
    return checkpoint


def train_command(checkpoint: Path, questions: Path, options: argparse.Namespace) -> list[object]:
    """The command of one GRPO step.

    Args:
        checkpoint: The checkpoint.
        questions: The file with the question.
        options: The options of the command line.
    """
    group = options.num_generations
    sizes = ("--num-generations", group, "--batch-size", group, "--max-steps", 1)
    adapter = ("--use-peft", "--lora-dropout", 0, "--freeze-vision", "--learning-rate", 1e-5)
    length = ("--max-completion-length", options.completion_length)
    where = ("--data", questions, "--output-dir", options.folder / f"run-{options.size}")
    common = ("--device", "cpu", "--dtype", "bfloat16", "--offline", "--quiet", "--overwrite")
    reward = ("--rewards", "large_run:text_numbers", "--logging-steps", 1)
    model = ("-m", "medr1", "train", "--model-path", checkpoint)
    return [*model, *where, *common, *sizes, *length, *adapter, *reward]


def infer_command(checkpoint: Path, questions: Path, options: argparse.Namespace) -> list[object]:
    """The command that answers the question.

    Args:
        checkpoint: The checkpoint.
        questions: The file with the question.
        options: The options of the command line.
    """
    where = ("--batch-file", questions, "--output-file", options.folder / "results.json")
    common = ("--device", "cpu", "--dtype", "bfloat16", "--offline", "--quiet", "--overwrite")
    length = ("--max-new-tokens", options.completion_length)
    return ["-m", "medr1", "infer", "--model-path", checkpoint, *where, *common, *length]


def measure(options: argparse.Namespace) -> tuple[dict[str, Any], list[Process]]:
    """The plan, and the processes with their memory."""
    checkpoint = make_checkpoint(options)
    questions = write_question(options.folder, options.image_size)
    train = train_command(checkpoint, questions, options)
    output, libraries, seconds = run(
        "plan", [*train, "--dry-run", "--json"], options.folder / "plan.log"
    )
    plan = json.loads(output)
    total = sum(plan["bytes_per_process"].values())
    if (free := psutil.virtual_memory().available) < total + libraries:
        raise SystemExit(
            f"{free / 2**30:.1f} GiB of memory are free, and {(total + libraries) / 2**30:.1f} are "
            "planned. Stop other programs first."
        )
    processes = [Process("plan", 0, libraries, libraries, seconds)]
    index = json.loads((checkpoint / "model.safetensors.index.json").read_text("utf-8"))
    for name, planned, command in (
        ("infer", index["metadata"]["total_size"], infer_command(checkpoint, questions, options)),
        ("train", total, train),
    ):
        _, peak, seconds = run(name, command, options.folder / f"{name}.log")
        processes.append(Process(name, planned, libraries, peak, seconds))
    return plan, processes


def table(processes: Sequence[Process]) -> str:
    """The processes as a table in Markdown; memory in GiB."""
    lines = [
        "| process | planned | libraries | together | measured | measured / together | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for process in processes:
        planned, libraries, peak = process.planned, process.libraries, process.peak
        sizes = (f"{size / 2**30:.2f}" for size in (planned, libraries, planned + libraries, peak))
        cells = (process.name, *sizes, f"{process.ratio:.2f}", f"{process.seconds:.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def read_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder to write")
    parser.add_argument("--size", choices=SIZES, default="3b", help="size of the model")
    parser.add_argument("--tiktoken", type=Path, help="Qwen's tokens, qwen.tiktoken")
    parser.add_argument("--num-generations", type=int, default=2, help="completions of the prompt")
    parser.add_argument("--completion-length", type=int, default=16, help="tokens of a completion")
    parser.add_argument("--image-size", type=int, default=384, help="width and height in pixels")
    parser.add_argument("--shard-bytes", type=int, default=1 << 30, help="bytes of a weights file")
    parser.add_argument("--tolerance", type=float, default=0.15, help="largest difference, a share")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser.parse_args()


def main() -> int:
    """Run the processes, and print the table; 1 if a process does not take what is planned."""
    options = read_options()
    plan, processes = measure(options)
    if options.json:
        rows = [{**asdict(process), "ratio": process.ratio} for process in processes]
        print(json.dumps({"bytes_per_process": plan["bytes_per_process"], "processes": rows}))
    else:
        print(table(processes))
    return int(any(abs(process.ratio - 1) > options.tolerance for process in processes))


if __name__ == "__main__":
    sys.exit(main())
