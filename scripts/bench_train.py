"""Measure the speed and memory of a GRPO training step in several ways.

    python scripts/bench_train.py                                        one row: G = 8, no-think
    python scripts/bench_train.py --num-generations 4 8 16 --completion-length 10 224 --plot a.png
    python scripts/bench_train.py --ragged --completion-length 224 --ways stock shared
    python scripts/bench_train.py --prompts 4 --questions-per-image 1 2 4 --ways stock groups shared
    python scripts/bench_train.py --size 3b --prompts 8 --json           Qwen2.5-VL-3B's size: a GPU

The ways have the same model, questions and seeds:

    stock    TRL's GRPOTrainer
    shared   medr1's trainer, which runs each prompt once (train/shared_prefix/trainer.py)
    groups   the same, but an image is run once for each of its questions
    graphs   as shared, with a static cache and a compiled decoding step: CUDA graphs on a GPU; on a
             CPU the compilation takes a minute
    authors  the original's algorithm (authors_grpo.py)

Weights are random, images are 384 pixels wide, and every completion has its full length. With
`--ragged` the completions of a group end at different lengths instead, as those of trained models
do: the longest has the full length, and the mean is 40 % of it. Rewards are random, so that no
group has equal rewards. Prompts have about 286 tokens, of which the image
has 196; Med-R1's questions have as many with Qwen's tokenizer.

A step is rollout, forward and backward pass. Reading rows and the optimizer's step are not timed.
Seconds are processor time on a CPU, and time between CUDA events on a GPU. Each round times all
ways, one after the other, and ratios compare times of the same round.

On a CPU, TRL's head also computes logits of prompt tokens, which it does not do on CUDA. For
`stock` and `shared` it is set to do as on CUDA; otherwise the comparison would be too favourable.
The first, untimed round compares the gradients of the two. Saved activations are the bytes that
are kept for the backward pass. The peak is the memory of a process that makes one step; on a GPU,
it is the memory that a step needs, plus one model's weights.
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
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
import trl.trainer.utils
from authors_grpo import AuthorsGRPO
from bench_models import SIZES, enlarged, random_model
from transformers import CompileConfig, LogitsProcessor, LogitsProcessorList
from trl import GRPOConfig, GRPOTrainer

from medr1.data.readers import Questions, read_questions
from medr1.data.tiny import tiny_vqa_folder
from medr1.models.loading import LoadedModel
from medr1.train.dry_run.prompt_lengths import prompt_lengths
from medr1.train.grpo import training_set
from medr1.train.shared_prefix import generation, packing
from medr1.train.shared_prefix.trainer import SharedPrefixTrainer

WAYS = ("stock", "groups", "shared", "graphs", "authors")
DEFAULT_WAYS = ("stock", "shared", "authors")


def random_rewards(completions: list[Any], **_: Any) -> list[float]:
    """A random reward for each completion, the same for all ways; no group has equal rewards."""
    generator = torch.Generator().manual_seed(len(completions))
    return torch.rand(len(completions), generator=generator).tolist()


@dataclass
class Way:
    """One way to make a training step: its two parts, their times, and what was counted."""

    policy: Any
    """The model that is trained."""
    reference: Any
    """The reference model; None without one."""
    rollout: Callable[[], Any]
    """Generates completions, and returns the batch for `loss`."""
    loss: Callable[[Any], torch.Tensor]
    trainer: Any = None
    """TRL's or medr1's trainer; None for the original's algorithm."""
    seconds: dict[str, list[float]] = field(
        default_factory=lambda: {"generate": [], "backward": []}
    )
    """Part -> seconds of each step: "generate" is the rollout, "backward" loss and gradient."""
    images_encoded: int = 0
    prompt_tokens: int = 0
    decoded_tokens: int = 0


def lengthened(loaded: LoadedModel, questions: Questions, tokens: int) -> Questions:
    """The questions with words added, so that prompts have about the same length.

    Args:
        loaded: The model with its processor.
        questions: The questions.
        tokens: Tokens of a prompt, with the image's; in turn, prompts have 6 fewer and 6 more.
    """
    samples = []
    for number, sample in enumerate(questions.samples):
        target = tokens + (6 if number % 2 else -6)
        while prompt_lengths(loaded, [sample], questions.image_root, "nothink")[0].total < target:
            sample = replace(sample, question=f"{sample.question} image")
        samples.append(sample)
    return replace(questions, samples=samples)


def suppressed(loaded: LoadedModel) -> list[int]:
    """Ids of the tokens that would end a completion or stand for an image."""
    return [*loaded.processor.tokenizer.all_special_ids, loaded.model.config.image_token_id]


def ragged_lengths(prompts: int, generations: int, longest: int) -> list[int]:
    """The tokens of each row's completion, in a random order within each group.

    They are quantiles of one distribution: the longest of each group has all tokens, the mean is
    40 % of that, and half of the completions are shorter than about a third.

    Args:
        prompts: Number of groups.
        generations: G.
        longest: Tokens of the longest completion.
    """
    quantiles = (torch.arange(generations) + 1) / generations
    # The exponent whose mean is nearest to 0.4; a larger exponent makes completions shorter.
    exponents = torch.linspace(0.5, 5, 451)
    means = (quantiles[:, None] ** exponents).mean(0)
    fractions = quantiles ** exponents[(means - 0.4).abs().argmin()]
    lengths = (fractions * longest).round().clamp(min=1).int()
    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(generations, generator=generator) for _ in range(prompts)]
    return torch.cat([lengths[order] for order in orders]).tolist()


class EndAt(LogitsProcessor):
    """Ends the completion of each row at a given length, and not before."""

    def __init__(self, lengths: list[int], end_token: int) -> None:
        self._lengths, self._end_token = torch.tensor(lengths), end_token
        self._step = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The scores with the end token hidden, or as the only one.

        Args:
            input_ids: The tokens so far; not used.
            scores: The scores of each row.
        """
        self._step += 1
        ends = (self._lengths <= self._step).to(scores.device)[:, None]
        is_end = torch.arange(scores.shape[-1], device=scores.device) == self._end_token
        return scores.masked_fill(ends != is_end, -torch.inf)


def trainer_way(name: str, loaded: LoadedModel, rows: Any, options: argparse.Namespace) -> Way:
    """The step of TRL's trainer or of one of medr1's.

    Args:
        name: "stock", "groups", "shared", "graphs" or "vllm".
        loaded: The model; the way trains a copy of it.
        rows: The rows of one batch.
        options: The command line's options, with `data` (the training set), `generations` (G),
            `length` (completion tokens), `beta`, `bf16` and `ragged`; if that is true, also
            `prompts`.
    """
    hidden, end_token = suppressed(loaded), loaded.processor.tokenizer.eos_token_id
    generation: dict[str, Any] = {"suppress_tokens": hidden, "eos_token_id": None}
    if options.ragged:
        hidden = [token for token in hidden if token != end_token]
        generation = {"suppress_tokens": hidden, "eos_token_id": end_token}
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
    trainer_class: Any = GRPOTrainer if name == "stock" else SharedPrefixTrainer
    trainer = trainer_class(
        model=copy.deepcopy(loaded.model),
        reward_funcs=[random_rewards],
        args=config,
        train_dataset=options.data,
        processing_class=loaded.processor,
    )
    if name == "graphs" and loaded.device.type == "cpu":
        compile_config: Any = CompileConfig(mode="default")
        compile_config._compile_all_devices = True
        trainer.generation_config.compile_config = compile_config
    if name != "stock" and not trainer._shares:
        raise SystemExit(f"{name}: prompts are not shared. The warning above tells why.")
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()

    def rollout() -> Any:
        model = trainer.model
        if not options.ragged:
            return trainer._prepare_inputs(rows)
        lengths = ragged_lengths(options.prompts, options.generations, options.length)
        ends = LogitsProcessorList([EndAt(lengths, end_token)])
        model.generate = partial(type(model).generate, model, logits_processor=ends)
        try:
            return trainer._prepare_inputs(rows)
        finally:
            model.__dict__.pop("generate", None)

    def loss(batch: Any) -> Any:
        return trainer._compute_loss(trainer.model, batch)

    if name == "groups":
        rollout, loss = without_prefix_tree()(rollout), without_prefix_tree()(loss)
    return Way(trainer.model, trainer.ref_model, rollout, loss, trainer)


@contextmanager
def without_prefix_tree() -> Iterator[None]:
    """Within the block, an image is run once for each of its questions."""
    with (
        patch.object(packing, "prefix_tree", return_value=None),
        patch.object(generation, "prefix_tree", return_value=None),
    ):
        yield


def with_questions_per_image(questions: Questions, number: int) -> Questions:
    """The questions, of which each `number` that follow each other are about one image.

    Args:
        questions: The questions, each with an image.
        number: Questions of an image.
    """
    samples = [
        replace(sample, images=questions.samples[i - i % number].images)
        for i, sample in enumerate(questions.samples)
    ]
    return replace(questions, samples=samples)


def authors_way(loaded: LoadedModel, rows: Any, options: argparse.Namespace) -> Way:
    """The step of the original's algorithm."""
    algorithm = AuthorsGRPO(
        copy.deepcopy(loaded.model).train(),
        copy.deepcopy(loaded.model),
        loaded.processor,
        options.generations,
        options.length,
        suppressed(loaded),
    )
    rewards = torch.tensor(random_rewards(rows)).view(-1, options.generations)
    spread = rewards.std(1, keepdim=True) + 1e-4
    advantages = ((rewards - rewards.mean(1, keepdim=True)) / spread).flatten().to(loaded.device)
    return Way(
        algorithm.policy,
        algorithm.reference,
        lambda: algorithm.rollout(rows, advantages),
        algorithm.loss,
    )


def build(name: str, loaded: LoadedModel, rows: Any, options: argparse.Namespace) -> Way:
    """The way with this name, with a copy of the model; `trainer_way` describes the arguments."""
    if name == "authors":
        return authors_way(loaded, rows, options)
    return trainer_way(name, loaded, rows, options)


@contextmanager
def timed(device: torch.device, seconds: list[float]) -> Iterator[None]:
    """Append the seconds that the block takes: processor time, or time between two CUDA events."""
    if device.type == "cuda":
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        events[0].record()
        yield
        events[1].record()
        torch.cuda.synchronize()
        seconds.append(events[0].elapsed_time(events[1]) / 1000)
        return
    started = time.process_time()
    yield
    seconds.append(time.process_time() - started)


def make_step(way: Way, device: torch.device, seed: int) -> None:
    """Make one step without the optimizer's, and add its times to `way.seconds`.

    Args:
        way: The way to make the step.
        device: The model's device.
        seed: Seed of the sampling.
    """
    way.policy.zero_grad(set_to_none=True)
    torch.manual_seed(seed)
    with timed(device, way.seconds["generate"]):
        batch = way.rollout()
    with timed(device, way.seconds["backward"]):
        way.loss(batch).backward()


def count(way: Way, columns: int, pad: int, image: int) -> None:
    """Count, from now on, encoded images, prompt tokens and decoded tokens.

    Prompt tokens are those that the language model reads. The last token of a prompt is not counted
    there: in every way it is read once per completion. Decoded tokens are those that the model
    reads one at a time, each to predict the next.

    Args:
        way: The way whose counts are increased.
        columns: Prompt tokens of a row without the last one, with padding.
        pad: Id of the padding token.
        image: Id of the image token; rows without it are no prompts.
    """

    def count_images(module: Any, args: Any, kwargs: Any) -> None:
        way.images_encoded += len(kwargs["grid_thw"])

    def count_prompt_tokens(module: Any, args: Any, kwargs: Any) -> None:
        ids = kwargs["input_ids"]
        if ids.shape[1] == 1:
            way.decoded_tokens += len(ids)
        if bool((ids == image).any()):
            way.prompt_tokens += int((ids[:, :columns] != pad).sum())

    for model in filter(None, (way.policy, way.reference)):
        model.model.visual.register_forward_pre_hook(count_images, with_kwargs=True)
        model.model.register_forward_pre_hook(count_prompt_tokens, with_kwargs=True)


def saved_bytes(way: Way, seed: int) -> int:
    """Bytes that the forward pass keeps for the backward pass, without the weights.

    Memory that several tensors share counts once.
    """
    weights = {weight.untyped_storage().data_ptr() for weight in way.policy.parameters()}
    storages: dict[int, int] = {}

    def record(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    torch.manual_seed(seed)
    batch = way.rollout()
    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        way.loss(batch)
    return sum(storages.values())


def gradient_difference(stock: Way, shared: Way) -> float:
    """The largest difference of gradients, relative to the largest gradient of the same weight."""
    pairs = zip(stock.policy.parameters(), shared.policy.parameters(), strict=True)
    gradients = [(a.grad, b.grad) for a, b in pairs if a.grad is not None]
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in gradients)


def peak_of_process(name: str, options: argparse.Namespace) -> int:
    """The peak memory in bytes of a new process that loads the model and makes one step."""
    command = [sys.executable, __file__, "--peak-of", name, "--device", "cpu"]
    names = ("size", "prompts", "prompt_length", "beta")
    values = {name.replace("_", "-"): getattr(options, name) for name in names}
    values["questions-per-image"] = options.questions
    values |= {"num-generations": options.generations, "completion-length": options.length}
    command += [part for name, value in values.items() for part in (f"--{name}", str(value))]
    command += ["--ways", "stock", "shared", "--ragged"] if options.ragged else []
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def measure_peak(loaded: LoadedModel, rows: Any, options: argparse.Namespace) -> int:
    """Make one step, and return the peak memory of this process in bytes."""
    make_step(build(options.peak_of, loaded, rows, options), loaded.device, 0)
    status = Path("/proc/self/status").read_text(
        encoding="utf-8"
    )  # getrusage's peak is inherited from the parent
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def peak_on_gpu(way: Way, device: torch.device) -> int:
    """The peak GPU memory of one step in bytes, with one model's weights and nothing else."""
    way.policy.zero_grad(set_to_none=True)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    make_step(way, device, 0)
    way.policy.zero_grad(set_to_none=True)
    weights = sum(weight.numel() * weight.element_size() for weight in way.policy.parameters())
    return int(torch.cuda.max_memory_allocated() - before + weights)


def within_rounds(base: list[float], own: list[float]) -> dict[str, float]:
    """Median, lowest and highest ratio of a round; the first round, a warm-up, does not count."""
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
    ("ratio_groups", "groups", "shared"),
)
"""Key of a comparison in the results, and the two ways of which the seconds are divided."""


def ratios(base: Way, own: Way) -> dict[str, Any]:
    """Ratios of the seconds of two ways, for the step and its two parts.

    Args:
        base: The way whose seconds are divided.
        own: The way by whose seconds they are divided.

    Returns:
        Part -> median ratio, and part + "_range" -> lowest and highest ratio of a round.
    """
    ratios_by_part: dict[str, Any] = {}
    for part in ("step", "backward", "generate"):
        spread = within_rounds(base.seconds[part], own.seconds[part])
        ratios_by_part[part] = spread.pop("median")
        ratios_by_part[f"{part}_range"] = list(spread.values())
    return ratios_by_part


def compare(loaded: LoadedModel, rows: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Time all ways round by round, and measure their memory.

    Args:
        loaded: The model.
        rows: The rows of one batch.
        options: See `trainer_way`.

    Returns:
        The results: a row of the table, or one JSON object.
    """
    ways = {name: build(name, loaded, rows, options) for name in options.ways}
    batch = ways["shared"].rollout()
    columns = batch["prompt_ids"].shape[-1] - 1
    for name, way in ways.items():
        tokenizer, config = loaded.processor.tokenizer, loaded.model.config
        if name != "graphs":  # it has the counts of shared, and a hook would be compiled
            count(way, columns, tokenizer.pad_token_id, config.image_token_id)
    for number in range(options.rounds + 1):  # the first is a warm-up
        for way in ways.values():
            make_step(way, loaded.device, number)
        if number == 0 and "stock" in ways:
            difference = gradient_difference(ways["stock"], ways["shared"])
            print(f"gradients of stock and shared differ by {difference:.1e}", file=sys.stderr)
    steps = options.rounds + 1
    counts = {
        name: {
            "images_encoded": way.images_encoded // steps,
            "prompt_tokens": way.prompt_tokens // steps,
            "decoded_tokens": way.decoded_tokens // steps,
        }
        for name, way in ways.items()
        if name != "graphs"
    }
    peaks = {}
    if loaded.device.type == "cuda":
        peaks = {name: peak_on_gpu(way, loaded.device) for name, way in ways.items()}
    saved = {name: saved_bytes(way, 0) for name, way in ways.items()}
    for way in ways.values():  # free the models
        way.policy, way.reference = None, None
    results: dict[str, Any] = {
        "size": options.size,
        "device": loaded.device.type,
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "prompts": options.prompts,
        "num_generations": options.generations,
        "completion_length": options.length,
        "ragged": options.ragged,
        "questions_per_image": options.questions,
        "beta": options.beta,
        "rounds": options.rounds,
        "prompt_columns": columns + 1,
        **{
            key: {name: way_counts[key] for name, way_counts in counts.items()}
            for key in counts["shared"]
        },
        "saved_bytes": saved,
        "peak_bytes": peaks,
        "gradient_difference": difference if "stock" in ways else None,
    }
    for way in ways.values():  # without the steps that measured memory
        timed_rounds = options.rounds + 1
        parts = [times[:timed_rounds] for times in way.seconds.values()]
        way.seconds = dict(zip(way.seconds, parts, strict=True))
        way.seconds["step"] = [sum(times) for times in zip(*parts, strict=True)]
    for key, base, own in RATIOS:
        if base in ways and own in ways:
            results[key] = ratios(ways[base], ways[own])
            results[key]["saved"] = round(saved[base] / saved[own], 3)
    results["seconds"] = {
        name: {part: round(median(times[1:]), 4) for part, times in way.seconds.items()}
        for name, way in ways.items()
    }
    return results


HEADER = (
    "| C | G | prompts | step (range) | backward | generate | saved | peak | images "
    "| prompt tokens | authors: step | saved | questions / image | groups: step (range) "
    "| backward | generate | saved |\n" + "|---" * 17 + "|"
)


def table_row(results: dict[str, Any]) -> str:
    """One row of the table: time and memory of stock TRL as multiples of those of `shared`."""
    ratio, authors = results["ratio"], results.get("ratio_authors")
    low, high = ratio["step_range"]
    peaks, groups = results["peak_bytes"], results.get("ratio_groups")
    cells = [
        results["completion_length"],
        results["num_generations"],
        results["prompts"],
        f"{ratio['step']:.2f} ({low:.2f}-{high:.2f})",
        f"{ratio['backward']:.2f}",
        f"{ratio['generate']:.2f}",
        f"{ratio['saved']:.2f}",
        f"{peaks['stock'] / peaks['shared']:.2f}" if peaks else "-",
        " / ".join(str(results["images_encoded"][name]) for name in ("stock", "shared")),
        " / ".join(str(results["prompt_tokens"][name]) for name in ("stock", "shared")),
        f"{authors['step']:.2f}" if authors else "-",
        f"{authors['saved']:.2f}" if authors else "-",
        results["questions_per_image"],
        "{:.2f} ({:.2f}-{:.2f})".format(groups["step"], *groups["step_range"]) if groups else "-",
        *(f"{groups[part]:.2f}" if groups else "-" for part in ("backward", "generate", "saved")),
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def plot_ratios(path: Path, rows: list[dict[str, Any]]) -> None:
    """Plot the ratio of stock TRL's step to the shared one over G, a curve per completion length.

    Args:
        path: PNG file to write.
        rows: The results of `compare`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    lengths = dict.fromkeys(row["completion_length"] for row in rows)
    colors = ("#0072B2", "#D55E00", "#009E73")
    for length, marker, color in zip(lengths, "os^", colors, strict=False):
        curve = [row for row in rows if row["completion_length"] == length]
        x = [row["num_generations"] for row in curve]
        y = [row["ratio"]["step"] for row in curve]
        spread = [
            [value - row["ratio"]["step_range"][0] for value, row in zip(y, curve, strict=True)],
            [row["ratio"]["step_range"][1] - value for value, row in zip(y, curve, strict=True)],
        ]
        label = f"{length} completion tokens"
        axes.errorbar(x, y, spread, marker=marker, color=color, capsize=3, label=label)
    axes.set_xlabel("completions per prompt (G)")
    axes.set_ylabel("stock TRL's step / shared step")
    axes.set_xticks(sorted({row["num_generations"] for row in rows}))
    axes.axhline(1, color="#808080", linewidth=0.8)
    axes.legend()
    figure.savefig(path, dpi=150)


def read_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="20m", help="parameters of the model")
    parser.add_argument(
        "--num-generations", type=int, nargs="+", default=[8], help="completions per prompt (G)"
    )
    parser.add_argument(
        "--completion-length", type=int, nargs="+", default=[10], help="tokens per completion"
    )
    parser.add_argument("--prompts", type=int, default=2, help="prompts per step")
    parser.add_argument(
        "--questions-per-image", type=int, nargs="+", default=[1], help="prompts about one image"
    )
    parser.add_argument("--no-peak", action="store_true", help="do not measure the peak memory")
    parser.add_argument(
        "--prompt-length", type=int, default=286, help="tokens per prompt, with the image's"
    )
    parser.add_argument(
        "--beta", type=float, default=0.0, help="weight of the KL divergence, except in authors"
    )
    parser.add_argument(
        "--ragged", action="store_true", help="completions end at different lengths; not `authors`"
    )
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds, after one warm-up")
    parser.add_argument("--device", default="auto", help="device of the model")
    parser.add_argument(
        "--ways", nargs="+", choices=WAYS, default=list(DEFAULT_WAYS), help="ways to measure"
    )
    parser.add_argument("--json", action="store_true", help="print JSON: a list for several rows")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="file for a plot of the ratios")
    parser.add_argument("--peak-of", choices=WAYS, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure each combination of G and completion length."""
    options = read_options()
    if options.ragged and "authors" in options.ways:
        raise SystemExit("--ragged needs --ways without authors")
    # TRL then computes the logits of completion tokens only, as on CUDA
    trl.trainer.utils._use_triton = lambda device: True
    loaded = random_model(options.size, options.device)
    options.bf16 = loaded.dtype == torch.bfloat16
    questions = read_questions(tiny_vqa_folder() / "test.json").only(["multiple_choice"])
    questions = replace(questions, samples=questions.samples[: options.prompts], failures={})
    results = []
    with tempfile.TemporaryDirectory() as folder:
        questions = lengthened(loaded, enlarged(questions, Path(folder)), options.prompt_length)
        if not options.json and not options.peak_of:
            num_parameters = sum(weight.numel() for weight in loaded.model.parameters())
            print(f"{num_parameters / 1e6:.1f} M parameters, {loaded.device}, {loaded.dtype}\n")
            print(HEADER)
        for number, length, generations in product(
            options.questions_per_image, options.completion_length, options.num_generations
        ):
            samples = with_questions_per_image(questions, number).samples
            data = training_set(loaded, samples, questions.image_root, "nothink", "letter")
            options.questions, options.data = number, data
            options.length, options.generations = length, generations
            rows = data[[i for i in range(options.prompts) for _ in range(generations)]]
            rows = [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]
            if options.peak_of:
                print(measure_peak(loaded, rows, options))
                return
            result = compare(loaded, rows, options)
            if not result["peak_bytes"] and not options.no_peak:
                result["peak_bytes"] = {
                    name: peak_of_process(name, options) for name in options.ways
                }
            results.append(result)
            if not options.json:
                print(table_row(result), flush=True)
    if options.json:
        print(json.dumps(results[0] if len(results) == 1 else results, indent=2))
    if options.plot:
        plot_ratios(options.plot, results)


if __name__ == "__main__":
    main()
