"""Time a GRPO step in several ways, in turn, on the same model, questions and seeds.

    python scripts/bench_train.py                                        one row: G = 8, no-think
    python scripts/bench_train.py --num-generations 4 8 16 --completion-length 10 224 --plot a.png
    python scripts/bench_train.py --size 3b --prompts 8 --json           Qwen2.5-VL-3B's size: a GPU

`stock` is TRL's GRPOTrainer, `shared` medr1's with each prompt run once (train/shared_prefix.py),
`graphs` the same with a static cache and a compiled decoding step (CUDA graphs on a GPU; a CPU
compiles for a minute), `authors` the original's algorithm (authors_grpo.py). Weights are random,
images 384 pixels wide, every completion has its full length, rewards are drawn so that no group is
left out. Prompts have about 286 tokens, 196 of them the image's, as Med-R1's questions have with
Qwen's tokenizer.

Seconds are of the processor on a CPU, of CUDA events on a GPU, and ratios are taken within a round.
A step is rollout, forward and backward; reading rows and the optimizer's step are outside.

On a CPU TRL's head scores prompt tokens too, which it does not on CUDA: it is made to do as on CUDA
for `stock` and `shared`, or the comparison would flatter. Before anything is timed the completions
and gradients of the two are compared. Saved activations are the bytes kept for the backward pass.
The peak is that of a process that makes one step; on a GPU, of the memory that a step takes beside
one model's weights.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
import trl.trainer.utils
from authors_grpo import AuthorsGRPO
from bench_models import SIZES, enlarged, random_model
from transformers import CompileConfig
from trl import GRPOConfig, GRPOTrainer

from medr1.data.readers import Questions, read_questions
from medr1.data.tiny import tiny_vqa_folder
from medr1.models import LoadedModel
from medr1.train.grpo import training_set
from medr1.train.lengths import prompt_lengths
from medr1.train.shared_prefix import SharedPrefixTrainer

WAYS = ("stock", "shared", "graphs", "authors")
DEFAULT_WAYS = ("stock", "shared", "authors")


def drawn_rewards(completions: list[Any], **_: Any) -> list[float]:
    """A number for each completion, the same for all ways: no group has equal rewards."""
    draw = torch.Generator().manual_seed(len(completions))
    return torch.rand(len(completions), generator=draw).tolist()


@dataclass
class Way:
    """One way to make a step: its two halves, and what is counted on the way."""

    policy: Any
    reference: Any
    rollout: Callable[[], Any]
    loss: Callable[[Any], torch.Tensor]
    trainer: Any = None
    """TRL's or medr1's, where it is one of those."""
    seconds: dict[str, list[float]] = field(
        default_factory=lambda: {"generate": [], "backward": []}
    )
    images_encoded: int = 0
    prompt_tokens: int = 0


def lengthened(loaded: LoadedModel, questions: Questions, tokens: int) -> Questions:
    """The questions with words added, to prompts of about so many tokens: 6 fewer, 6 more, ..."""
    samples = []
    for number, sample in enumerate(questions.samples):
        target = tokens + (6 if number % 2 else -6)
        while prompt_lengths(loaded, [sample], questions.image_root, "nothink")[0].total < target:
            sample = replace(sample, question=f"{sample.question} image")
        samples.append(sample)
    return replace(questions, samples=samples)


def suppressed(loaded: LoadedModel) -> list[int]:
    """Tokens that would end a completion, or ask for an image."""
    return [*loaded.processor.tokenizer.all_special_ids, loaded.model.config.image_token_id]


def trainer_way(name: str, loaded: LoadedModel, rows: Any, options: argparse.Namespace) -> Way:
    """A step of a TRL trainer: generation, scoring and rewards, then the loss."""
    generation = {"suppress_tokens": suppressed(loaded), "eos_token_id": None}
    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        use_cpu=loaded.device.type == "cpu",
        bf16=options.bf16,
        report_to=[],
        remove_unused_columns=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=len(rows),
        num_generations=options.generations,
        max_completion_length=options.length,
        beta=options.beta,
        generation_kwargs=generation,
        cache_implementation="static" if name == "graphs" else None,
        use_vllm=name == "vllm",
        vllm_mode="colocate",
        vllm_gpu_memory_utilization=0.3,
    )
    kind: Any = GRPOTrainer if name == "stock" else SharedPrefixTrainer
    trainer = kind(
        model=copy.deepcopy(loaded.model),
        reward_funcs=[drawn_rewards],
        args=config,
        train_dataset=options.data,
        processing_class=loaded.processor,
    )
    if name == "graphs" and loaded.device.type == "cpu":
        compiling = CompileConfig(mode="default")
        compiling._compile_all_devices = True
        trainer.generation_config.compile_config = compiling
    if name != "stock" and not trainer._shares:
        raise SystemExit(f"{name}: prompts are not shared, see the warning above.")
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    return Way(
        trainer.model,
        trainer.ref_model,
        lambda: trainer._prepare_inputs(rows),
        lambda batch: trainer._compute_loss(trainer.model, batch),
        trainer,
    )


def authors_way(loaded: LoadedModel, rows: Any, options: argparse.Namespace) -> Way:
    """A step of the original's algorithm."""
    algorithm = AuthorsGRPO(
        copy.deepcopy(loaded.model).train(),
        copy.deepcopy(loaded.model),
        loaded.processor,
        options.generations,
        options.length,
        suppressed(loaded),
    )
    rewards = torch.tensor(drawn_rewards(rows)).view(-1, options.generations)
    spread = rewards.std(1, keepdim=True) + 1e-4
    advantages = ((rewards - rewards.mean(1, keepdim=True)) / spread).flatten().to(loaded.device)
    return Way(
        algorithm.policy,
        algorithm.reference,
        lambda: algorithm.rollout(rows, advantages),
        algorithm.loss,
    )


def build(name: str, loaded: LoadedModel, rows: Any, options: argparse.Namespace) -> Way:
    """The way of this name, on a copy of the model."""
    if name == "authors":
        return authors_way(loaded, rows, options)
    return trainer_way(name, loaded, rows, options)


@contextmanager
def timed(device: torch.device, into: list[float]) -> Iterator[None]:
    """Adds the seconds that the block takes: of the processor, or between two CUDA events."""
    if device.type == "cuda":
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        events[0].record()
        yield
        events[1].record()
        torch.cuda.synchronize()
        into.append(events[0].elapsed_time(events[1]) / 1000)
        return
    started = time.process_time()
    yield
    into.append(time.process_time() - started)


def make_step(way: Way, device: torch.device, seed: int) -> None:
    """One step without the optimizer's, timed."""
    way.policy.zero_grad(set_to_none=True)
    torch.manual_seed(seed)
    with timed(device, way.seconds["generate"]):
        batch = way.rollout()
    with timed(device, way.seconds["backward"]):
        way.loss(batch).backward()


def count(way: Way, columns: int, pad: int, image: int) -> None:
    """Add up, from now on, the images encoded and the prompt tokens run through the language model.

    A prompt's tokens are those before its last, which begins each completion in every way.
    """

    def encoded(module: Any, args: Any, kwargs: Any) -> None:
        way.images_encoded += len(kwargs["grid_thw"])

    def run(module: Any, args: Any, kwargs: Any) -> None:
        ids = kwargs["input_ids"]
        if bool((ids == image).any()):
            way.prompt_tokens += int((ids[:, :columns] != pad).sum())

    for model in filter(None, (way.policy, way.reference)):
        model.model.visual.register_forward_pre_hook(encoded, with_kwargs=True)
        model.model.register_forward_pre_hook(run, with_kwargs=True)


def saved_bytes(way: Way, seed: int) -> int:
    """Bytes of distinct memory, weights apart, that the forward pass keeps for the backward."""
    weights = {p.untyped_storage().data_ptr() for p in way.policy.parameters()}
    found: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    torch.manual_seed(seed)
    batch = way.rollout()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        way.loss(batch)
    return sum(found.values())


def difference(stock: Way, shared: Way) -> float:
    """The largest error of any parameter's gradient, relative to that parameter's largest."""
    pairs = zip(stock.policy.parameters(), shared.policy.parameters(), strict=True)
    gradients = [(a.grad, b.grad) for a, b in pairs if a.grad is not None]
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in gradients)


def peak_of_process(name: str, options: argparse.Namespace) -> int:
    """Peak bytes of a process that loads the model and makes one step."""
    command = [sys.executable, __file__, "--peak-of", name, "--device", "cpu"]
    same = ("size", "prompts", "prompt_length", "beta")
    given = {name.replace("_", "-"): getattr(options, name) for name in same}
    given |= {"num-generations": options.generations, "completion-length": options.length}
    command += [part for name, value in given.items() for part in (f"--{name}", str(value))]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def measure_peak(loaded: LoadedModel, rows: Any, options: argparse.Namespace) -> int:
    """The peak of this process, after one step."""
    make_step(build(options.peak_of, loaded, rows, options), loaded.device, 0)
    status = Path("/proc/self/status").read_text()  # getrusage's peak is inherited from the parent
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def peak_on_gpu(way: Way, device: torch.device) -> int:
    """Peak bytes of one step and one model's weights, without what else the GPU's memory holds."""
    way.policy.zero_grad(set_to_none=True)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    make_step(way, device, 0)
    way.policy.zero_grad(set_to_none=True)
    weights = sum(p.numel() * p.element_size() for p in way.policy.parameters())
    return torch.cuda.max_memory_allocated() - before + weights


def within_rounds(base: list[float], own: list[float]) -> dict[str, float]:
    """The median, least and largest of the ratios of each round, the first left out."""
    ratios = sorted(a / b for a, b in zip(base[1:], own[1:], strict=True))
    return {
        "median": round(median(ratios), 3),
        "min": round(ratios[0], 3),
        "max": round(ratios[-1], 3),
    }


RATIOS = (
    ("ratio", "stock", "shared"),
    ("ratio_graphs", "stock", "graphs"),
    ("ratio_authors", "authors", "shared"),
)
"""The name of a comparison, and the two ways whose seconds are divided."""


def ratios(base: Way, own: Way) -> dict[str, Any]:
    """How many times as long each part takes: median, and the range over the rounds."""
    found: dict[str, Any] = {}
    for part in ("step", "backward", "generate"):
        spread = within_rounds(base.seconds[part], own.seconds[part])
        found[part] = spread.pop("median")
        found[f"{part}_range"] = list(spread.values())
    return found


def compare(loaded: LoadedModel, rows: Any, options: argparse.Namespace) -> dict[str, Any]:
    """The ways, round by round."""
    ways = {name: build(name, loaded, rows, options) for name in options.ways}
    batch = ways["shared"].rollout()
    columns = batch["prompt_ids"].shape[-1] - 1
    for name, way in ways.items():
        tokenizer, config = loaded.processor.tokenizer, loaded.model.config
        if name != "graphs":  # they are those of shared, and a hook would be compiled
            count(way, columns, tokenizer.pad_token_id, config.image_token_id)
    for number in range(options.rounds + 1):  # the first warms up
        for way in ways.values():
            make_step(way, loaded.device, number)
        if number == 0 and "stock" in ways:
            apart = difference(ways["stock"], ways["shared"])
            print(f"gradients of stock and shared differ by {apart:.1e}", file=sys.stderr)
    steps = options.rounds + 1
    counts = {
        name: {
            "images_encoded": way.images_encoded // steps,
            "prompt_tokens": way.prompt_tokens // steps,
        }
        for name, way in ways.items()
        if name != "graphs"
    }
    peaks = {}
    if loaded.device.type == "cuda":
        peaks = {name: peak_on_gpu(way, loaded.device) for name, way in ways.items()}
    saved = {name: saved_bytes(way, 0) for name, way in ways.items()}
    for way in ways.values():
        way.policy, way.reference = None, None
    found: dict[str, Any] = {
        "size": options.size,
        "device": loaded.device.type,
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "prompts": options.prompts,
        "num_generations": options.generations,
        "completion_length": options.length,
        "beta": options.beta,
        "rounds": options.rounds,
        "prompt_columns": columns + 1,
        **{key: {name: c[key] for name, c in counts.items()} for key in counts["shared"]},
        "saved_bytes": saved,
        "peak_bytes": peaks,
        "gradient_difference": apart if "stock" in ways else None,
    }
    for way in ways.values():
        timed_rounds = options.rounds + 1
        parts = [times[:timed_rounds] for times in way.seconds.values()]
        way.seconds = dict(zip(way.seconds, parts, strict=True))
        way.seconds["step"] = [sum(p) for p in zip(*parts, strict=True)]
    for key, base, own in RATIOS:
        if base in ways and own in ways:
            found[key] = ratios(ways[base], ways[own])
            found[key]["saved"] = round(saved[base] / saved[own], 3)
    found["seconds"] = {
        name: {part: round(median(times[1:]), 4) for part, times in way.seconds.items()}
        for name, way in ways.items()
    }
    return found


HEADER = (
    "| C | G | prompts | step (range) | backward | generate | saved | peak | images "
    "| prompt tokens | authors: step | saved |\n" + "|---" * 12 + "|"
)


def table_row(found: dict[str, Any]) -> str:
    """One line of the table: what stock TRL needs, in multiples of what the shared path needs."""
    ratio, authors = found["ratio"], found.get("ratio_authors")
    low, high = ratio["step_range"]
    cells = [
        found["completion_length"],
        found["num_generations"],
        found["prompts"],
        f"{ratio['step']:.2f} ({low:.2f}-{high:.2f})",
        f"{ratio['backward']:.2f}",
        f"{ratio['generate']:.2f}",
        f"{ratio['saved']:.2f}",
        f"{found['peak_bytes']['stock'] / found['peak_bytes']['shared']:.2f}",
        " / ".join(str(found["images_encoded"][name]) for name in ("stock", "shared")),
        " / ".join(str(found["prompt_tokens"][name]) for name in ("stock", "shared")),
        f"{authors['step']:.2f}" if authors else "-",
        f"{authors['saved']:.2f}" if authors else "-",
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def draw(path: Path, rows: list[dict[str, Any]]) -> None:
    """A plot: the ratio of a step to stock TRL by G, a curve for each completion length."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    lengths = dict.fromkeys(row["completion_length"] for row in rows)
    colors = ("#0072B2", "#D55E00", "#009E73")
    for length, marker, color in zip(lengths, "os^", colors, strict=False):
        own = [row for row in rows if row["completion_length"] == length]
        x = [row["num_generations"] for row in own]
        y = [row["ratio"]["step"] for row in own]
        spread = [
            [value - row["ratio"]["step_range"][0] for value, row in zip(y, own, strict=True)],
            [row["ratio"]["step_range"][1] - value for value, row in zip(y, own, strict=True)],
        ]
        label = f"{length} completion tokens"
        axes.errorbar(x, y, spread, marker=marker, color=color, capsize=3, label=label)
    axes.set_xlabel("completions a prompt (G)")
    axes.set_ylabel("stock TRL's step / shared step")
    axes.set_xticks(sorted({row["num_generations"] for row in rows}))
    axes.axhline(1, color="#808080", linewidth=0.8)
    axes.legend()
    figure.savefig(path, dpi=150)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="20m")
    parser.add_argument("--num-generations", type=int, nargs="+", default=[8])
    parser.add_argument("--completion-length", type=int, nargs="+", default=[10])
    parser.add_argument("--prompts", type=int, default=2, help="prompts a step")
    parser.add_argument("--prompt-length", type=int, default=286, help="tokens, with the image's")
    parser.add_argument("--beta", type=float, default=0.0, help="of stock and shared")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds, after one to warm up")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(DEFAULT_WAYS))
    parser.add_argument("--json", action="store_true", help="one document; a list for several rows")
    parser.add_argument("--plot", type=Path, metavar="PNG")
    parser.add_argument("--peak-of", choices=WAYS, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure each combination of G and completion length."""
    options = read_options()
    trl.trainer.utils._use_triton = lambda device: True  # score completion tokens alone, as on CUDA
    loaded = random_model(options.size, options.device)
    options.bf16 = loaded.dtype == torch.bfloat16
    questions = read_questions(tiny_vqa_folder() / "test.json").only(["multiple_choice"])
    questions = replace(questions, samples=questions.samples[: options.prompts], failures={})
    results = []
    with tempfile.TemporaryDirectory() as folder:
        questions = lengthened(loaded, enlarged(questions, Path(folder)), options.prompt_length)
        data = training_set(
            loaded.processor, questions.samples, questions.image_root, "nothink", "letter"
        )
        if not options.json and not options.peak_of:
            number = sum(p.numel() for p in loaded.model.parameters())
            print(f"{number / 1e6:.1f} M parameters, {loaded.device}, {loaded.dtype}\n\n{HEADER}")
        for length in options.completion_length:
            for generations in options.num_generations:
                options.data, options.length, options.generations = data, length, generations
                rows = data[[i for i in range(options.prompts) for _ in range(generations)]]
                rows = [
                    dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)
                ]
                if options.peak_of:
                    print(measure_peak(loaded, rows, options))
                    return
                found = compare(loaded, rows, options)
                if not found["peak_bytes"]:
                    found["peak_bytes"] = {n: peak_of_process(n, options) for n in options.ways}
                results.append(found)
                if not options.json:
                    print(table_row(found), flush=True)
    if options.json:
        print(json.dumps(results[0] if len(results) == 1 else results, indent=2))
    if options.plot:
        draw(options.plot, results)


if __name__ == "__main__":
    main()
