"""Time `medr1 infer` against the original's evaluation loop, on one machine in one run.

    python scripts/bench_infer.py speed                  the embedded model
    python scripts/bench_infer.py speed --size 20m       random weights, 384-pixel images, 10 tokens
    python scripts/bench_infer.py speed --size 3b        the same at Qwen2.5-VL-3B's size: for a GPU
    python scripts/bench_infer.py journal                what the journal adds beside a model
    python scripts/bench_infer.py scale                  100,000 items: memory, and going on

`speed` answers the same questions in turn with each way and compares them within a round: ratios
are to the original's loop (test_qwen2_5vl_vqa_nothink.py restated: file order, one padded batch at
a time, greedy `generate`). Random weights say nothing but say it at the right length. `scale` has a
stub in the model's place, and only there.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from bench_models import SIZES, enlarged, random_model

from medr1.data.images import load_image
from medr1.data.readers import Questions, read_questions
from medr1.data.roots import resolve_image
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.infer import batch
from medr1.infer.engine import Decoding, predict
from medr1.models import LoadedModel, load_model
from medr1.prompts import chat_messages
from medr1.records import Prediction, Sample

ANSWER_TOKENS = 10
"""A no-think answer, `<answer> C </answer>`, has about this many."""


def original_loop(
    loaded: LoadedModel, questions: Questions, batch_size: int, max_new_tokens: int
) -> list[str]:
    """The outputs, as the original's evaluation script makes them."""
    outputs: list[str] = []
    for start in range(0, len(questions.samples), batch_size):
        part = questions.samples[start : start + batch_size]
        texts = [
            loaded.processor.apply_chat_template(
                chat_messages(s, "nothink", loaded.info.answer_style),
                tokenize=False,
                add_generation_prompt=True,
            )
            for s in part
        ]
        images = [
            [load_image(resolve_image(n, questions.image_root)).image for n in s.images]
            for s in part
        ]
        inputs = loaded.processor(text=texts, images=images, padding=True, return_tensors="pt")
        inputs = inputs.to(loaded.device)
        with torch.inference_mode():
            ids = loaded.model.generate(
                **inputs, use_cache=True, max_new_tokens=max_new_tokens, do_sample=False
            )
        new = ids[:, inputs["input_ids"].shape[1] :]
        outputs += loaded.processor.batch_decode(new, skip_special_tokens=True)
    return [output.strip() for output in outputs]


def speed(arguments: argparse.Namespace) -> None:
    """Seconds of each way, round by round, and the ratios within a round."""
    questions = read_questions(tiny_vqa_folder() / "test.json").only(["multiple_choice"])
    questions = replace(questions, samples=questions.samples[: arguments.items], failures={})
    with tempfile.TemporaryDirectory() as folder:
        if arguments.size == "embedded":
            loaded, limit = load_model(tiny_vl_folder(), device=arguments.device), 256
        else:
            loaded, limit = random_model(arguments.size, arguments.device), ANSWER_TOKENS
            questions = enlarged(questions, Path(folder))
        number = sum(p.numel() for p in loaded.model.parameters())

        def ours(mode: str) -> list[Prediction]:
            return predict(
                loaded,
                questions.samples,
                image_root=questions.image_root,
                prompt="nothink",
                decoding=Decoding(mode, max_new_tokens=limit),
                batch_size=arguments.batch_size,
            )

        ways: dict[str, Callable[[], Any]] = {
            "original": lambda: original_loop(loaded, questions, arguments.batch_size, limit),
            "generate": lambda: ours("generate"),
            "options": lambda: ours("options"),
            "both": lambda: ours("both"),
        }
        said = original_loop(loaded, questions, arguments.batch_size, limit)
        same = sum(a == p.model_output for a, p in zip(said, ours("generate"), strict=True))
        found = {
            "parameters": number,
            "questions": len(said),
            "batch_size": arguments.batch_size,
            "device": loaded.device.type,
            "dtype": str(loaded.dtype).removeprefix("torch."),
            "same_output": same,
            "rounds": arguments.rounds,
            "ways": compare(ways, arguments.rounds),
        }
    print(json.dumps(found) if arguments.json else speed_text(found))


def speed_text(found: dict[str, Any]) -> str:
    """The same for people."""
    lines = [
        f"{found['parameters'] / 1e6:.1f} M parameters, {found['questions']} questions, batch "
        f"{found['batch_size']}, {found['device']}, {found['dtype']}",
        f"the same output as the original's loop: {found['same_output']} of {found['questions']}",
    ]
    for name, way in found["ways"].items():
        low, high = way["range"]
        lines.append(
            f"{name:<10} {way['seconds']:8.3f} s   {way['times_as_fast']:5.2f}x as fast"
            f"   ({low:.2f} to {high:.2f} in {found['rounds']} rounds)"
        )
    return "\n".join(lines)


def compare(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """Run each way in turn; the first is what the others are held against."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            started = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - started)
    first = seconds[next(iter(ways))]
    found = {}
    for name, times in seconds.items():
        ratios = sorted(base / own for base, own in zip(first, times, strict=True))
        found[name] = {
            "seconds": round(median(times), 4),
            "times_as_fast": round(median(ratios), 3),
            "range": [round(ratios[0], 3), round(ratios[-1], 3)],
        }
    return found


def journal(arguments: argparse.Namespace) -> None:
    """The whole of run_batch, and the share of it that the journal and results.json take."""
    questions = read_questions(tiny_vqa_folder() / "test.json")
    questions = replace(questions, samples=questions.samples[: arguments.items])
    loaded, decoding = load_model(tiny_vl_folder()), Decoding(max_new_tokens=32)
    spent = {"append": 0.0, "merge": 0.0}

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args)
            finally:
                spent[name] += time.perf_counter() - started

        return run

    batch.Journal.append = timed("append", batch.Journal.append)  # type: ignore[method-assign]
    batch._merge_journals = timed("merge", batch._merge_journals)
    meta = batch.manifest(
        loaded, questions, data="test.json", prompt=None, decoding=decoding, seed=0
    )
    for number in range(arguments.rounds):
        spent.update(append=0.0, merge=0.0)
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            batch.run_batch(
                loaded,
                questions,
                Path(folder) / "results.json",
                meta,
                decoding=decoding,
                batch_size=arguments.batch_size,
            )
            whole = time.perf_counter() - started
        share, merge = 100 * spent["append"] / whole, 1000 * spent["merge"]
        print(
            f"round {number + 1}: {len(questions.samples)} items in {whole:.2f} s, journal "
            f"{1000 * spent['append']:.1f} ms ({share:.2f} %), results.json {merge:.1f} ms"
        )


def scale(arguments: argparse.Namespace) -> None:
    """100,000 items in a process that is killed at two thirds, and in one that goes on."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "questions.jsonl"
        with source.open("w") as file:
            for number in range(arguments.items):
                item = {
                    "id": f"item-{number}",
                    "image": f"images/{number}.png",
                    "question": f"What imaging modality was used to take image {number}?",
                    "options": {"A": "CT", "B": "MRI", "C": "Ultrasound", "D": "X-ray"},
                    "ground_truth": "ABCD"[number % 4],
                }
                file.write(json.dumps(item) + "\n")
        for stop in (2 * arguments.items // 3, 0):
            command = [
                sys.executable,
                __file__,
                "stub",
                "--items",
                str(stop),
                "--file",
                str(source),
            ]
            print(subprocess.run(command, capture_output=True, text=True).stdout.strip())


def stub(arguments: argparse.Namespace) -> None:
    """One process of `scale`: answers at once, and dies after --items of them (0: never)."""
    started = time.perf_counter()
    first: list[float] = []
    made = 0

    def answer(
        loaded: Any, samples: Sequence[Sample], plan: Sequence[Sequence[int]], **_: Any
    ) -> Any:
        nonlocal made
        for indices in plan:
            if not first:
                first.append(time.perf_counter() - started)
            yield {
                i: Prediction(samples[i], model_output=f"<answer> A </answer> {'x' * 200}")
                for i in indices
            }
            made += len(indices)
            if arguments.items and made >= arguments.items:
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                print(f"killed after {made} items; peak {peak:.0f} MB", flush=True)
                os.kill(os.getpid(), signal.SIGKILL)

    batch.predict_batches = answer
    questions = read_questions(arguments.file)
    output = arguments.file.with_name("results.json")
    meta = {"data_sha256": questions.sha256, "seed": 0}
    outcome = batch.run_batch(
        None,  # type: ignore[arg-type]
        questions,
        output,
        meta,
        decoding=Decoding(),
        batch_size=64,
    )
    assert outcome is not None and outcome.n == len(questions.samples)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"went on {first[0]:.1f} s after the process began, did {made} items, wrote all "
        f"{outcome.n} in {time.perf_counter() - started:.1f} s; peak {peak:.0f} MB"
    )


def main() -> None:
    """Run the part that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["speed", "journal", "scale", "stub"])
    parser.add_argument("--size", choices=["embedded", *SIZES], default="embedded")
    parser.add_argument("--items", type=int)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto", help="of speed")
    parser.add_argument("--json", action="store_true", help="of speed: one document")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.items is None:
        arguments.items = {"speed": 48, "journal": 716, "scale": 100_000}[arguments.part]
    globals()[arguments.part](arguments)


if __name__ == "__main__":
    main()
