"""The parts of gpu_check.py that are in no benchmark: exactness on the device, and vLLM.

    python scripts/gpu_parts.py exactness --device cpu
    python scripts/gpu_parts.py vllm --size 3b              not run yet

`exactness` makes one step of stock TRL and one with shared prompts, on the same completions and on
18 million random weights, in 32 and in 16 bits. In 32 bits the two have to agree. In 16 bits each
is compared with stock TRL in 32 bits: the error of `shared` should not be larger than that of
`stock`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
import trl.trainer.utils
from bench_models import SIZES, enlarged, random_model
from bench_train import Way, lengthened, make_step, trainer_way

from medr1.data.readers import read_questions
from medr1.data.tiny import tiny_vqa_folder
from medr1.models.loading import LoadedModel
from medr1.train.grpo import training_set

PROMPTS, GENERATIONS, PROMPT_LENGTH = 2, 8, 286
"""Prompts of the batch, completions of each, and tokens of a prompt."""


@contextmanager
def bench_options(loaded: LoadedModel, length: int) -> Iterator[tuple[Any, argparse.Namespace]]:
    """Make the rows of one batch, and the options that `bench_train.trainer_way` needs.

    They are valid inside the block; then their images are deleted.
    """
    questions = read_questions(tiny_vqa_folder() / "test.json").only(["multiple_choice"])
    questions = replace(questions, samples=questions.samples[:PROMPTS], failures={})
    with tempfile.TemporaryDirectory() as folder:
        questions = lengthened(loaded, enlarged(questions, Path(folder)), PROMPT_LENGTH)
        data = training_set(loaded, questions.samples, questions.image_root, "nothink", "letter")
        columns = data[[number for number in range(PROMPTS) for _ in range(GENERATIONS)]]
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        yield (
            rows,
            argparse.Namespace(
                **{"data": data, "generations": GENERATIONS, "length": length},
                **{"beta": 0.0, "bf16": False, "ragged": False},
            ),
        )


def logps_and_gradient(way: Way, batch: Any) -> tuple[list[list[int]], torch.Tensor, torch.Tensor]:
    """Completions of a batch (P * G, C), their log-probabilities, and the gradient as one vector.

    The completions are sorted, because TRL shuffles rows, and medr1 shuffles groups. The numbers
    have 32 bits and are on the CPU.
    """
    all_logps: list[torch.Tensor] = []
    compute_logps = way.trainer._get_per_token_logps_and_entropies

    def recording(*args: Any, **kwargs: Any) -> Any:
        result = compute_logps(*args, **kwargs)
        all_logps.append(result[0])
        return result

    way.trainer._get_per_token_logps_and_entropies = recording
    way.loss(batch).backward()
    gradients = [p.grad.flatten() for p in way.policy.parameters() if p.grad is not None]
    tokens = batch["completion_ids"].flatten(0, -2).tolist()
    order = sorted(range(len(tokens)), key=tokens.__getitem__)
    logps = all_logps[0].detach().float().cpu()[order]
    return sorted(tokens), logps, torch.cat(gradients).float().cpu()


def exactness(options: argparse.Namespace) -> dict[str, Any]:
    """Differences of shared prompts and of stock TRL from stock TRL in 32 bits."""
    loaded = random_model("20m", options.device, "float32")
    batches: dict[str, Any] = {}
    differences: dict[str, Any] = {}
    reference: Any = None
    same_tokens = True
    with bench_options(loaded, 16) as (rows, step_options):
        for dtype in ("float32", "bfloat16"):
            step_options.bf16 = dtype == "bfloat16"
            for name in ("stock", "shared"):
                way = trainer_way(name, loaded, rows, step_options)
                if name not in batches:
                    torch.manual_seed(0)
                    batches[name] = way.rollout()
                tokens, logps, gradient = logps_and_gradient(way, batches[name])
                reference = reference or (tokens, logps, gradient)
                same_tokens &= tokens == reference[0]
                differences.setdefault(dtype, {})[name] = {
                    "log_probabilities_largest_difference": float(
                        (logps - reference[1]).abs().max()
                    ),
                    "gradient_relative_difference": float(
                        (gradient - reference[2]).norm() / reference[2].norm()
                    ),
                }
    bf16 = {
        name: values["gradient_relative_difference"]
        for name, values in differences["bfloat16"].items()
    }
    return {
        **differences,
        "same_tokens": same_tokens,
        "float32_agrees": differences["float32"]["shared"]["gradient_relative_difference"] < 1e-4,
        "bfloat16_error_of_shared_to_stock": round(bf16["shared"] / bf16["stock"], 3),
    }


def vllm(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a no-think step in which vLLM generates the completions, in this process."""
    one_process = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    os.environ |= {**one_process, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}
    loaded = random_model(options.size, "cuda")
    with tempfile.TemporaryDirectory() as folder, bench_options(loaded, 10) as (rows, step_options):
        loaded.model.save_pretrained(folder)
        loaded.processor.save_pretrained(folder)
        model: Any = loaded.model
        model.name_or_path = model.config._name_or_path = folder  # vLLM loads it
        step_options.bf16 = True
        way = trainer_way("vllm", loaded, rows, step_options)
        for number in range(options.rounds + 1):
            make_step(way, loaded.device, number)
    return {part: round(median(times[1:]), 4) for part, times in way.seconds.items()}


def main() -> None:
    """Run one part, and print its result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["exactness", "vllm"], help="what to measure")
    parser.add_argument("--device", default="cuda", help="device of exactness")
    parser.add_argument("--size", choices=SIZES, default="3b", help="model of vllm")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds of vllm")
    options = parser.parse_args()
    # TRL then computes the logits of completion tokens only, as on CUDA
    trl.trainer.utils._use_triton = lambda device: True
    print(json.dumps({"exactness": exactness, "vllm": vllm}[options.part](options)))


if __name__ == "__main__":
    main()
