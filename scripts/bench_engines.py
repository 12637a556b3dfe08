"""Compare the speed of engines that answer questions, and measure what a server costs medr1.

    python scripts/bench_engines.py speed                  local, and each engine that is installed
    python scripts/bench_engines.py speed --engines vllm   local, and this one
    python scripts/bench_engines.py speed --base-url URL   local, and a server that runs already
    python scripts/bench_engines.py overhead               processor time per question of the client
    python scripts/bench_engines.py images                 processor time of encoding an image
    python scripts/bench_engines.py memory                 100,000 questions: the peak memory

`speed` answers the same questions with every engine, one after the other, and repeats this in
rounds. A ratio compares an engine with the local one in the same round. The model is
checkpoints/tiny-vl. Engines are installed by scripts/engines. The servers wait while it is not
their turn. `overhead` and `memory` ask a server in another process, which has no model and answers
at once, up to 32 questions at a time. The questions share an image, which is encoded once.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import urlopen

import numpy as np
from engine_server import ROOT, engine_server, environments, is_installed
from PIL import Image

from medr1.chat.settings import Server
from medr1.data.readers import Questions, read_questions
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.infer import batch
from medr1.infer.engine import Engine, InferencePlan, all_predictions
from medr1.infer.local.engine import LocalEngine
from medr1.infer.plan import plan_batches
from medr1.infer.server.engine import ServerEngine
from medr1.infer.server.messages import data_url
from medr1.models.loading import load_model
from medr1.records import Decoding, Prediction, Sample
from medr1.workflows.export import export_checkpoint

ENGINES = ("vllm", "mlx", "transformers_serve")
LOCAL_BATCH_SIZE = 32
MAX_NEW_TOKENS = 16
WAYS = {
    "generate": ("generate", "auto"),
    "letter": ("both", "letter"),
    "exact": ("both", "exact"),
}
"""Way of asking in `overhead` -> mode, and how the options' probabilities are computed."""


# --- speed ------------------------------------------------------------------------------------


def speed(arguments: argparse.Namespace) -> None:
    """Print the questions per second of each engine, and their ratios to the local one."""
    questions = repeated(tiny_vqa_folder() / "test.json", arguments.items)
    decoding = Decoding(arguments.mode, max_new_tokens=MAX_NEW_TOKENS)
    names = arguments.engines or [name for name in ENGINES if is_installed(name)]
    with ExitStack() as stack:
        engines: dict[str, Engine] = {
            "local": LocalEngine(load_model(tiny_vl_folder(), device=arguments.device))
        }
        for name in names:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            engines[name] = installed_engine(stack, name, Path(folder))
        if arguments.base_url:
            engines[arguments.base_url] = connected(arguments.base_url, arguments.model)
        seconds: dict[str, list[float]] = {name: [] for name in engines}
        outputs: dict[str, list[str | None]] = {}
        for engine in engines.values():  # each loads and compiles something at first
            answer(engine, replace(questions, samples=questions.samples[:64]), decoding)
        for _ in range(arguments.rounds):
            for name, engine in engines.items():
                started = time.perf_counter()
                predictions = answer(engine, questions, decoding)
                seconds[name].append(time.perf_counter() - started)
                outputs[name] = [prediction.model_output for prediction in predictions]
    print(
        f"{len(questions.samples)} questions, mode {arguments.mode}, {arguments.rounds} rounds, "
        f"{os.cpu_count()} cores; installed in {environments()}"
    )
    for name, times in seconds.items():
        ratios = [local / own for local, own in zip(seconds["local"], times, strict=True)]
        same = sum(map(str.__eq__, map(str, outputs[name]), map(str, outputs["local"])))
        print(
            f"{name:<20} {len(questions.samples) / median(times):7.1f} questions/s   "
            f"{median(ratios):5.2f}x local ({min(ratios):.2f} to {max(ratios):.2f})   "
            f"{same} outputs the same"
        )


def repeated(file: Path, items: int) -> Questions:
    """The questions of a file, from its start again if there are too few."""
    questions = read_questions(file)
    samples = [
        replace(questions.samples[n % len(questions.samples)], id=f"item-{n}") for n in range(items)
    ]
    return replace(questions, samples=samples, failures={})


def installed_engine(stack: ExitStack, name: str, folder: Path) -> Engine:
    """Start an engine's server, which ends with the stack."""
    checkpoint: Path = tiny_vl_folder()
    if name == "mlx":
        output = folder / checkpoint.name
        checkpoint = export_checkpoint(checkpoint, engine="mlx", output_dir=output).folder
    server = stack.enter_context(engine_server(name, checkpoint))
    return connected(server.base_url, server.model)


def connected(base_url: str, model: str | None) -> ServerEngine:
    return ServerEngine.connect(Server(base_url=base_url, answer_style="text"), model)


def answer(engine: Engine, questions: Questions, decoding: Decoding) -> list[Prediction]:
    """Answer all questions: the local engine in batches, a server each as soon as it can."""
    size = LOCAL_BATCH_SIZE if isinstance(engine, LocalEngine) else 1
    plan = InferencePlan(
        plan_batches(questions.samples, questions.image_root, size),
        questions.image_root,
        prompt="nothink",
        decoding=decoding,
    )
    return all_predictions(engine, questions.samples, plan)


# --- a server without a model -----------------------------------------------------------------


def serve(arguments: argparse.Namespace) -> None:
    """Run the server without a model, in the process of `quick_server`."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    top = [{"token": f" {letter}", "logprob": -1.0 - n} for n, letter in enumerate("ABCDEFGHIJ")]
    tokens = [
        {"token": token, "logprob": -0.1, "top_logprobs": 2 * top}
        for token in ("<answer>", " A", " ", "</answer>")
    ]
    message = {"role": "assistant", "content": "<answer> A </answer>"}
    usage = {"prompt_tokens": 60, "completion_tokens": 4, "total_tokens": 64}
    choice = {"message": message, "finish_reason": "stop"}
    plain = {"choices": [choice], "usage": usage}
    letters = {"choices": [{**choice, "logprobs": {"content": tokens}}]}
    rows = [{str(n): {"logprob": -1.0, "rank": 1}} for n in range(59)]
    scores = [
        json.dumps(
            {**plain, "prompt_logprobs": [None, *rows, {str(n): {"logprob": -1.0 - n / 9}}]}
        ).encode()
        for n in range(26)
    ]
    plain_body, letters_body = json.dumps(plain).encode(), json.dumps({**plain, **letters}).encode()

    async def chat(request: Request) -> Response:
        body = await request.body()
        # the last message ends with the options' letter in `scores`
        if b'"continue_final_message"' in body:
            last = json.loads(body)["messages"][-1]["content"]
            return Response(scores[len(last) % 26], media_type="application/json")
        content = letters_body if b'"logprobs"' in body else plain_body
        return Response(content, media_type="application/json")

    async def models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": "none"}]})

    routes = [
        Route("/v1/models", models),
        Route("/v1/chat/completions", chat, methods=["POST"]),
    ]
    config = uvicorn.Config(Starlette(routes=routes), port=arguments.port, log_level="critical")
    uvicorn.Server(config).run()


@contextmanager
def quick_server() -> Iterator[str]:
    """The address of a server without a model, in another process."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, __file__, "serve", "--port", str(port)])
    url = f"http://127.0.0.1:{port}/v1"
    try:
        while process.poll() is None:
            try:
                urlopen(f"{url}/models", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


# --- the client -------------------------------------------------------------------------------


def overhead(arguments: argparse.Namespace) -> None:
    """Print the processor time of this process per question, for each way of asking."""
    with tempfile.TemporaryDirectory() as folder, quick_server() as url:
        questions = read_questions(write_questions(Path(folder), arguments.items))
        few = replace(questions, samples=questions.samples[:100])
        for way, (mode, method) in WAYS.items():
            server = Server(base_url=url, option_probabilities=method)  # type: ignore[arg-type]
            engine = ServerEngine.connect(server, None)
            milliseconds = []
            answer(engine, few, Decoding(mode))
            for number in range(arguments.rounds):
                requests = engine.consumption.requests
                cpu, clock = time.process_time(), time.perf_counter()
                output = Path(folder) / f"{way}-{number}.json"
                whole_run(engine, questions, output, Decoding(mode))
                cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
                milliseconds.append(1000 * cpu / arguments.items)
                requests = engine.consumption.requests - requests
            print(
                f"{way:<9} {median(milliseconds):6.2f} ms of processor time per question "
                f"({min(milliseconds):.2f} to {max(milliseconds):.2f} in {arguments.rounds} "
                f"rounds), {requests / arguments.items:.0f} requests each, "
                f"{arguments.items / clock:.0f} questions/s"
            )


def whole_run(engine: Engine, questions: Questions, output: Path, decoding: Decoding) -> None:
    """Answer all questions into a results file, with the journal, as `medr1 infer` does."""
    meta = batch.manifest(
        engine.identity(), questions, data="q.jsonl", prompt="nothink", decoding=decoding, seed=0
    )
    outcome = batch.run_batch(
        engine, questions, output, meta, decoding=decoding, prompt="nothink", batch_size=1
    )
    assert outcome is not None and (outcome.n, outcome.n_error) == (len(questions.samples), 0)


def write_questions(folder: Path, items: int) -> Path:
    """A file with questions about one image of 64 pixels."""
    image = next((tiny_vqa_folder() / "images").glob("*.jpg"))
    (folder / "image.jpg").write_bytes(image.read_bytes())
    file = folder / "questions.jsonl"
    with file.open("w", encoding="utf-8") as stream:
        for number in range(items):
            item = {
                "id": f"item-{number}",
                "image": "image.jpg",
                "question": f"What imaging modality was used to take image {number}?",
                "options": {"A": "CT", "B": "MRI", "C": "Ultrasound", "D": "X-ray"},
                "ground_truth": "ABCD"[number % 4],
            }
            stream.write(json.dumps(item) + "\n")
    return file


def images(arguments: argparse.Namespace) -> None:
    """Print the processor time of encoding an image as PNG in a data URL."""
    random = np.random.default_rng(0)
    photo = Image.open(next((tiny_vqa_folder() / "images").glob("*.jpg"))).convert("RGB")
    for side in (64, 384, 1024):
        noise = random.normal(0, 4, (side, side, 3))
        pixels = np.asarray(photo.resize((side, side), Image.Resampling.BICUBIC)) + noise
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        milliseconds = []
        for _ in range(10 * arguments.rounds):
            started = time.process_time()
            url = data_url(image)
            milliseconds.append(1000 * (time.process_time() - started))
        print(
            f"{side} pixels: {median(milliseconds):.2f} ms ({min(milliseconds):.2f} to "
            f"{max(milliseconds):.2f}), {len(url) / 1e6:.2f} MB"
        )


def memory(arguments: argparse.Namespace) -> None:
    """Print the peak memory of a process that answers many questions through a server."""
    with tempfile.TemporaryDirectory() as folder, quick_server() as url:
        file = write_questions(Path(folder), arguments.items)
        command = [sys.executable, __file__, "client", "--file", str(file), "--base-url", url]
        subprocess.run(command, cwd=ROOT, check=True)


class WatchedEngine(ServerEngine):
    """A server engine that prints the peak memory on the way."""

    def predict(
        self, samples: Sequence[Sample], plan: InferencePlan
    ) -> Iterator[dict[int, Prediction]]:
        num_answered, shares = 0, [0.1, 0.5, 1.0]
        for answers in super().predict(samples, plan):
            num_answered += len(answers)
            while shares and num_answered >= shares[0] * len(samples):
                print(f"{shares.pop(0):4.0%} answered: peak {peak():.0f} MB", flush=True)
            yield answers


def client(arguments: argparse.Namespace) -> None:
    """Answer the questions of a file, in the process of `memory`."""
    started = time.perf_counter()
    engine = ServerEngine.connect(Server(base_url=arguments.base_url), None)
    watched = WatchedEngine(engine.server, engine.facts, engine.consumption)
    questions = read_questions(arguments.file)
    print(f"{len(questions.samples)} questions read: peak {peak():.0f} MB", flush=True)
    output = arguments.file.with_name("results.json")
    whole_run(watched, questions, output, Decoding("generate"))
    print(f"results written: peak {peak():.0f} MB, {time.perf_counter() - started:.0f} s")


def peak() -> float:
    """The peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


PARTS: dict[str, Any] = {
    part.__name__: part for part in (speed, overhead, images, memory, serve, client)
}


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=PARTS, help="memory and overhead start serve and client")
    parser.add_argument("--items", type=int, help="number of questions")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds")
    parser.add_argument("--engines", nargs="*", choices=ENGINES, help="of speed; [default: all]")
    parser.add_argument("--base-url", help="of speed: address of a server that runs")
    parser.add_argument("--model", help="name of the model there")
    parser.add_argument("--mode", choices=["generate", "both"], default="generate")
    parser.add_argument("--device", default="auto", help="of the local engine")
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.items is None:
        defaults = {"speed": 700, "overhead": 2000, "memory": 100_000}
        arguments.items = defaults.get(arguments.part)
    PARTS[arguments.part](arguments)


if __name__ == "__main__":
    main()
