"""Measure what `--group-by-length` saves: padding, and the time of the passes with gradient.

    OMP_NUM_THREADS=1 python scripts/bench_length_batches.py
    OMP_NUM_THREADS=1 python scripts/bench_length_batches.py --spread 2 --completion-length 64

One update has 4 batches of 2 prompts with 8 completions each. The weights are random (17.7 million
parameters), prompts have about 286 tokens. The completions of a group end at different lengths, as
in `bench_train.py --ragged`. The longest of each group has between `--completion-length` and that
divided by `--spread` tokens, evenly on a logarithmic scale. A round runs the same update twice,
with the batches as TRL's shuffle cuts them and by length, the first of the two in turn. Seconds
are processor time of the forward and backward passes. Sampling is the same in both and not timed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from bench_models import enlarged, random_model
from bench_train import lengthened, ragged_lengths, random_rewards
from trl import GRPOConfig

from medr1.data.readers import read_questions
from medr1.data.tiny import tiny_vqa_folder
from medr1.train.grpo import training_set
from medr1.train.shared_prefix.arranged_batches import by_length
from medr1.train.shared_prefix.trainer import SharedPrefixTrainer

ACCUMULATION, PROMPTS, GENERATIONS = 4, 2, 8


def completion_lengths(longest: int, spread: float) -> list[int]:
    """The tokens of each completion of an update, group after group, the groups in random order.

    Args:
        longest: Tokens of the longest completion of all.
        spread: How many times as long it is as the longest completion of the shortest group.
    """
    groups = ACCUMULATION * PROMPTS
    scales = [spread ** (-number / (groups - 1)) for number in range(groups)]
    order = torch.randperm(groups, generator=torch.Generator().manual_seed(1)).tolist()
    return [
        length
        for number in order
        for length in ragged_lengths(1, GENERATIONS, max(1, round(longest * scales[number])))
    ]


def make_trainer(folder: Path, options: argparse.Namespace) -> tuple[Any, list[Any]]:
    """The trainer with the shared prompts, and the rows of one update."""
    loaded = random_model("20m", "cpu")
    questions = read_questions(tiny_vqa_folder() / "test.json").only(["multiple_choice"])
    samples = questions.samples[: ACCUMULATION * PROMPTS]
    questions = enlarged(replace(questions, samples=samples, failures={}), folder)
    questions = lengthened(loaded, questions, 286)
    data = training_set(loaded, questions.samples, questions.image_root, "nothink", "letter")
    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(dir=folder),
        use_cpu=True,
        bf16=False,
        report_to=[],
        remove_unused_columns=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=PROMPTS * GENERATIONS,
        gradient_accumulation_steps=ACCUMULATION,
        num_generations=GENERATIONS,
        max_completion_length=options.completion_length,
    )
    trainer: Any = SharedPrefixTrainer(
        model=loaded.model,
        reward_funcs=[random_rewards],
        args=config,
        train_dataset=data,
        processing_class=loaded.processor,
    )
    lengths = completion_lengths(options.completion_length, options.spread)
    draw = torch.Generator().manual_seed(2)

    def generate(*_: Any, **__: Any) -> tuple[list[list[int]], None]:
        words = [torch.randint(10, 200, (length,), generator=draw).tolist() for length in lengths]
        return words, None

    trainer._generate_single_turn = generate
    trainer.current_gradient_accumulation_steps = ACCUMULATION
    trainer.model.train()
    columns = data[[i for i in range(len(samples)) for _ in range(GENERATIONS)]]
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return trainer, rows


def measure(options: argparse.Namespace) -> str:
    """The lines to print: padding of both ways, and the ratio of their seconds."""
    with tempfile.TemporaryDirectory() as folder:
        trainer, rows = make_trainer(Path(folder), options)
        torch.manual_seed(0)
        trainer._prepare_inputs(rows)
    batches = list(trainer._buffered_inputs)
    ways = {"as TRL cuts them": batches, "by length": by_length(batches)}
    needed = sum(
        int(batch["prompt_mask"][:, 0].sum() - len(batch["prompt_ids"]))
        + int(batch["completion_mask"].sum())
        for batch in batches
    )
    tokens: dict[str, int] = {}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    read: list[int] = []
    trainer.model.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: read.append(kwargs["inputs_embeds"].shape[:-1].numel()),
        with_kwargs=True,
    )
    for number in range(options.rounds + 1):  # the first is a warm-up
        names = list(ways) if number % 2 else list(reversed(ways))
        for name in names:
            trainer.model.zero_grad(set_to_none=True)
            read.clear()
            started = time.process_time()
            for batch in ways[name]:
                trainer._compute_loss(trainer.model, batch).backward()
            seconds[name].append(time.process_time() - started)
            tokens[name] = sum(read)
    padding = ", ".join(f"{1 - needed / count:.1%} {name}" for name, count in tokens.items())
    padding = f"padding of the tokens that are run: {padding}"
    before, after = (values[1:] for values in seconds.values())
    if not before:
        return padding
    ratios = sorted(a / b for a, b in zip(before, after, strict=True))
    return (
        f"{padding}\n"
        f"seconds as TRL cuts them / by length: {median(ratios):.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f}), {len(ratios)} rounds"
    )


def main() -> int:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--completion-length", type=int, default=224, help="tokens of the longest")
    parser.add_argument("--spread", type=float, default=4, help="longest / shortest group")
    parser.add_argument(
        "--rounds", type=int, default=5, help="timed rounds, after one warm-up; 0: padding"
    )
    print(measure(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
