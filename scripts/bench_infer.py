"""Compare the speed of `medr1 infer` with that of the original's evaluation loop.

    python scripts/bench_infer.py speed                  the embedded model
    python scripts/bench_infer.py speed --size 20m       random weights, 384-pixel images, 10 tokens
    python scripts/bench_infer.py speed --size 3b        the same at Qwen2.5-VL-3B's size: for a GPU
    python scripts/bench_infer.py journal                time that writing the journal takes
    python scripts/bench_infer.py scale                  100,000 items: memory, and resuming

`speed` answers the same questions in several ways, one after the other, and repeats this in rounds.
A ratio compares a way with the original's loop in the same round. That loop is that of
test_qwen2_5vl_vqa_nothink.py, rewritten: file order, one padded batch at a time, greedy `generate`.
The completions of random weights have no meaning, but the right length. In `scale` a stub replaces
the model.
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
from medr1.infer.engine import EngineIdentity, InferencePlan
from medr1.infer.local.engine import LocalEngine, predict
from medr1.journal import Journal
from medr1.models.loading import LoadedModel, load_model
from medr1.prompts import chat_messages
from medr1.records import Decoding, Prediction, Sample

ANSWER_TOKENS = 10
"""Tokens of a completion without reasoning, `<answer> C </answer>`, about."""


def original_loop(
    loaded: LoadedModel, questions: Questions, batch_size: int, max_new_tokens: int
) -> list[str]:
    """Generate the completions as the original's evaluation script does."""
    model: Any = loaded.model  # `generate` has no type of a method in transformers' model
    completions: list[str] = []
    for start in range(0, len(questions.samples), batch_size):
        samples = questions.samples[start : start + batch_size]
        texts = [
            loaded.processor.apply_chat_template(
                chat_messages(sample, "nothink", loaded.info.answer_style),
                tokenize=False,
                add_generation_prompt=True,
            )
            for sample in samples
        ]
        images = [
            [load_image(resolve_image(name, questions.image_root)).image for name in sample.images]
            for sample in samples
        ]
        inputs = loaded.processor(text=texts, images=images, padding=True, return_tensors="pt")
        inputs = inputs.to(loaded.device)
        with torch.inference_mode():
            ids = model.generate(
                **inputs, use_cache=True, max_new_tokens=max_new_tokens, do_sample=False
            )
        new_ids = ids[:, inputs["input_ids"].shape[1] :]
        completions += loaded.processor.batch_decode(new_ids, skip_special_tokens=True)
    return [completion.strip() for completion in completions]


def speed(arguments: argparse.Namespace) -> None:
    """Print the seconds of each way of answering, and its ratios to the original's loop."""
    questions = read_questions(tiny_vqa_folder() / "test.json").only(["multiple_choice"])
    questions = replace(questions, samples=questions.samples[: arguments.items], failures={})
    with tempfile.TemporaryDirectory() as folder:
        if arguments.size == "embedded":
            loaded, limit = load_model(tiny_vl_folder(), device=arguments.device), 256
        else:
            loaded, limit = random_model(arguments.size, arguments.device), ANSWER_TOKENS
            questions = enlarged(questions, Path(folder))
        num_parameters = sum(weight.numel() for weight in loaded.model.parameters())

        def medr1_infer(mode: str) -> list[Prediction]:
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
            "generate": lambda: medr1_infer("generate"),
            "options": lambda: medr1_infer("options"),
            "both": lambda: medr1_infer("both"),
        }
        completions = original_loop(loaded, questions, arguments.batch_size, limit)
        predictions = medr1_infer("generate")
        num_same = sum(
            completion == prediction.model_output
            for completion, prediction in zip(completions, predictions, strict=True)
        )
        results = {
            "parameters": num_parameters,
            "questions": len(completions),
            "batch_size": arguments.batch_size,
            "device": loaded.device.type,
            "dtype": str(loaded.dtype).removeprefix("torch."),
            "same_output": num_same,
            "rounds": arguments.rounds,
            "ways": compare(ways, arguments.rounds),
        }
    print(json.dumps(results) if arguments.json else speed_text(results))


def speed_text(results: dict[str, Any]) -> str:
    """The results of `speed` as text."""
    lines = [
        f"{results['parameters'] / 1e6:.1f} M parameters, {results['questions']} questions, batch "
        f"{results['batch_size']}, {results['device']}, {results['dtype']}",
        "the same output as the original's loop: "
        f"{results['same_output']} of {results['questions']}",
    ]
    for name, way in results["ways"].items():
        low, high = way["range"]
        lines.append(
            f"{name:<10} {way['seconds']:8.3f} s   {way['times_as_fast']:5.2f}x as fast"
            f"   ({low:.2f} to {high:.2f} in {results['rounds']} rounds)"
        )
    return "\n".join(lines)


def compare(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """Time each way once per round, and compare it with the first one.

    Args:
        ways: Name -> function to time.
        rounds: Number of rounds.

    Returns:
        Name -> median seconds, median ratio of the first way's seconds to its own, and the lowest
        and highest ratio of a round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            started = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - started)
    first = seconds[next(iter(ways))]
    results = {}
    for name, times in seconds.items():
        ratios = sorted(base / own for base, own in zip(first, times, strict=True))
        results[name] = {
            "seconds": round(median(times), 4),
            "times_as_fast": round(median(ratios), 3),
            "range": [round(ratios[0], 3), round(ratios[-1], 3)],
        }
    return results


def journal(arguments: argparse.Namespace) -> None:
    """Print the time of `run_batch`, and how much of it writing journal and results takes."""
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

    Journal.append = timed("append", Journal.append)  # type: ignore[method-assign]
    batch._merge_journals = timed("merge", batch._merge_journals)
    engine = LocalEngine(loaded)
    meta = batch.manifest(
        engine.identity(), questions, data="test.json", prompt=None, decoding=decoding, seed=0
    )
    for number in range(arguments.rounds):
        spent.update(append=0.0, merge=0.0)
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            batch.run_batch(
                engine,
                questions,
                Path(folder) / "results.json",
                meta,
                decoding=decoding,
                batch_size=arguments.batch_size,
            )
            seconds = time.perf_counter() - started
        share, merge = 100 * spent["append"] / seconds, 1000 * spent["merge"]
        print(
            f"round {number + 1}: {len(questions.samples)} items in {seconds:.2f} s, journal "
            f"{1000 * spent['append']:.1f} ms ({share:.2f} %), results.json {merge:.1f} ms"
        )


def scale(arguments: argparse.Namespace) -> None:
    """Run many items in a process that is killed at two thirds, and resume in a second one."""
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
        for kill_after in (2 * arguments.items // 3, 0):
            command = [
                sys.executable,
                __file__,
                "stub",
                "--items",
                str(kill_after),
                "--file",
                str(source),
            ]
            print(subprocess.run(command, capture_output=True, text=True).stdout.strip())


def stub(arguments: argparse.Namespace) -> None:
    """One process of `scale`, with a stub as model; it is killed after --items (0: never)."""
    started = time.perf_counter()
    seconds_to_first: list[float] = []
    num_answered = 0

    def answer(engine: LocalEngine, samples: Sequence[Sample], plan: InferencePlan) -> Any:
        nonlocal num_answered
        for indices in plan.batches:
            if not seconds_to_first:
                seconds_to_first.append(time.perf_counter() - started)
            yield {
                i: Prediction(samples[i], model_output=f"<answer> A </answer> {'x' * 200}")
                for i in indices
            }
            num_answered += len(indices)
            if arguments.items and num_answered >= arguments.items:
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                print(f"killed after {num_answered} items; peak {peak:.0f} MB", flush=True)
                os.kill(os.getpid(), signal.SIGKILL)

    LocalEngine.predict = answer  # type: ignore[method-assign, assignment]
    questions = read_questions(arguments.file)
    output = arguments.file.with_name("results.json")
    identity = EngineIdentity(
        model="stub", model_sha256=None, prompt=None, device="cpu", dtype=None, versions={}
    )
    meta = batch.manifest(
        identity, questions, data="questions.jsonl", prompt=None, decoding=Decoding(), seed=0
    )
    outcome = batch.run_batch(
        LocalEngine(None),  # type: ignore[arg-type]
        questions,
        output,
        meta,
        decoding=Decoding(),
        batch_size=64,
    )
    assert outcome is not None and outcome.n == len(questions.samples)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"resumed {seconds_to_first[0]:.1f} s after its start, answered {num_answered} items, "
        f"wrote all {outcome.n} in {time.perf_counter() - started:.1f} s; peak {peak:.0f} MB"
    )


def main() -> None:
    """Run one part of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "part", choices=["speed", "journal", "scale", "stub"], help="`scale` itself starts stub"
    )
    parser.add_argument(
        "--size", choices=["embedded", *SIZES], default="embedded", help="model of speed"
    )
    parser.add_argument("--items", type=int, help="number of questions")
    parser.add_argument("--batch-size", type=int, default=8, help="questions per batch")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds")
    parser.add_argument("--device", default="auto", help="device of speed")
    parser.add_argument("--json", action="store_true", help="for speed: print one JSON document")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.items is None:
        arguments.items = {"speed": 48, "journal": 716, "scale": 100_000}[arguments.part]
    globals()[arguments.part](arguments)


if __name__ == "__main__":
    main()
