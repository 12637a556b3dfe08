"""Measure an embedded model on the validation split: what it knows, and how it answers."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from tiny_vl_pictures import TinyImages
from tiny_vl_stages import Batches, Concepts, image_features

from medr1.answers import judge
from medr1.records import Sample


@torch.no_grad()
def probe_vision(model: Any, images: TinyImages, concepts: Concepts) -> dict[str, float]:
    """Accuracy of the vision tower alone, whose answer is the concept nearest to the image.

    Args:
        model: The model after stage 1.
        images: The images.
        concepts: The possible answers, with the right ones of these images.

    Returns:
        Question type -> accuracy.
    """
    right: dict[str, list[bool]] = defaultdict(list)
    for names in chunks(sorted(concepts.labels), 128):
        features = image_features(model, images.patches(names))
        for kind, answers in concepts.names.items():
            best = concepts.scores(features, kind).argmax(1).tolist()
            for name, choice in zip(names, best, strict=True):
                if kind in concepts.labels[name]:
                    right[kind].append(answers[choice] == concepts.labels[name][kind])
    return {kind: mean(verdicts) for kind, verdicts in sorted(right.items())}


@torch.no_grad()
def generate(
    model: Any,
    batches: Batches,
    samples: Sequence[Sample],
    images: Sequence[str] = (),
    temperature: float = 0.0,
) -> list[str]:
    """Generate a completion for each sample.

    Args:
        model: The model.
        batches: Makes the model's inputs.
        samples: The questions.
        images: One path for each sample, in place of its own image; empty for its own.
        temperature: Temperature of sampling; 0 for greedy decoding.
    """
    model.eval()
    sampling = {"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
    completions: list[str] = []
    for numbers in chunks(range(len(samples)), 128):
        inputs = batches.inputs(
            [samples[number] for number in numbers],
            images=[images[number] for number in numbers] if images else (),
        )
        output = model.generate(
            **inputs, max_new_tokens=20, do_sample=bool(temperature), **sampling
        )
        new_ids = output[:, inputs["input_ids"].shape[1] :]
        completions += batches.tokenizer.batch_decode(new_ids, skip_special_tokens=True)
    model.train()
    return completions


def verdicts(samples: Sequence[Sample], completions: Sequence[str], protocol: str) -> list[bool]:
    """For each completion, whether it is right under a protocol."""
    return [
        judge(
            completion,
            ground_truth=sample.ground_truth or "",
            options=sample.options,
            answer_type=sample.answer_type,
            protocol=protocol,
        ).correct
        for sample, completion in zip(samples, completions, strict=True)
    ]


def probe_answers(
    model: Any, batches: Batches, samples: Sequence[Sample], seed: int
) -> dict[str, Any]:
    """Measure how the model answers questions with options.

    Args:
        model: The model after stage 2.
        batches: Makes the model's inputs.
        samples: The questions; those without options are left out.
        seed: Seed of the sampling and of the shuffled images.

    Returns:
        The numbers and examples of the model card (tiny_vl_card.py).
    """
    closed = [sample for sample in samples if sample.options]
    images = [sample.images[0] for sample in closed]
    random.Random(seed).shuffle(images)
    torch.manual_seed(seed)
    greedy = generate(model, batches, closed)
    sampled = generate(model, batches, closed, temperature=1.0)
    greedy_verdicts = verdicts(closed, greedy, "default")
    by_type: dict[str, list[bool]] = defaultdict(list)
    for sample, right in zip(closed, greedy_verdicts, strict=True):
        by_type[sample.question_type or ""].append(right)
    return {
        "items": len(closed),
        "default": mean(greedy_verdicts),
        "default_by_type": {kind: mean(right) for kind, right in sorted(by_type.items())},
        "default_shuffled_images": mean(
            verdicts(closed, generate(model, batches, closed, images), "default")
        ),
        "strict": mean(verdicts(closed, greedy, "strict")),
        "sampled_default": mean(verdicts(closed, sampled, "default")),
        "sampled_strict": mean(verdicts(closed, sampled, "strict")),
        "sampled_tagged": mean(["<answer>" in text for text in sampled]),
        "sampled_names_an_option": mean(
            [
                any(option in text for option in sample.options.values())
                for sample, text in zip(closed, sampled, strict=True)
            ]
        ),
        "examples": sampled[:: max(1, len(sampled) // 8)][:8],
    }


def mean(values: Sequence[bool]) -> float:
    """The share of True, rounded to four decimals; 0 for no values."""
    return round(sum(values) / len(values), 4) if values else 0.0


def chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Split a sequence into parts of `size` items; the last part may be shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
