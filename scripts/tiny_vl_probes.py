"""What a model made here knows and how it says it, on questions it was not made from."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from tiny_vl_pictures import Pictures
from tiny_vl_stages import Batches, Concepts, picture_features

from medr1.answers import judge
from medr1.records import Sample


@torch.no_grad()
def probe_vision(model: Any, pictures: Pictures, concepts: Concepts) -> dict[str, float]:
    """Accuracy of the aligned tower alone by question type: the nearest concept is the answer."""
    right: dict[str, list[bool]] = defaultdict(list)
    for names in chunks(sorted(concepts.labels), 128):
        features = picture_features(model, pictures.patches(names))
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
    """What the model says to each sample: greedy, or sampled at a temperature."""
    model.eval()
    sampling = {"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
    said: list[str] = []
    for numbers in chunks(range(len(samples)), 128):
        inputs = batches.inputs(
            [samples[number] for number in numbers],
            images=[images[number] for number in numbers] if images else (),
        )
        output = model.generate(
            **inputs, max_new_tokens=20, do_sample=bool(temperature), **sampling
        )
        new = output[:, inputs["input_ids"].shape[1] :]
        said += batches.tokenizer.batch_decode(new, skip_special_tokens=True)
    model.train()
    return said


def verdicts(samples: Sequence[Sample], said: Sequence[str], protocol: str) -> list[bool]:
    """Which answers are right under a protocol."""
    return [
        judge(
            text,
            ground_truth=sample.ground_truth or "",
            options=sample.options,
            answer_type=sample.answer_type,
            protocol=protocol,
        ).correct
        for sample, text in zip(samples, said, strict=True)
    ]


def probe_answers(
    model: Any, batches: Batches, samples: Sequence[Sample], seed: int
) -> dict[str, Any]:
    """How the base answers questions with options: what it knows, in what manner, and why."""
    closed = [sample for sample in samples if sample.options]
    images = [sample.images[0] for sample in closed]
    random.Random(seed).shuffle(images)
    torch.manual_seed(seed)
    greedy = generate(model, batches, closed)
    sampled = generate(model, batches, closed, temperature=1.0)
    knows = verdicts(closed, greedy, "default")
    by_type: dict[str, list[bool]] = defaultdict(list)
    for sample, right in zip(closed, knows, strict=True):
        by_type[sample.question_type or ""].append(right)
    return {
        "items": len(closed),
        "default": mean(knows),
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
    """The share of true ones, to four places."""
    return round(sum(values) / len(values), 4) if values else 0.0


def chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """The items in runs of this size; the last may be shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
