"""The stages that look at pictures: vision alignment, then weak supervised fine-tuning."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import torch
from tiny_vl_model import gold_text, render
from tiny_vl_pictures import Pictures
from tiny_vl_recipe import Recipe
from tiny_vl_training import report, update
from torch.nn import functional

from medr1.records import LETTERS, Sample

# ------------------------------------------------------------------- stage 1: vision alignment


class Concepts:
    """The answers of each question type as directions in the language model's embedding space."""

    def __init__(self, model: Any, tokenizer: Any, samples: Sequence[Sample]) -> None:
        self.labels = picture_labels(samples)
        embeddings = model.get_input_embeddings().weight.detach()
        self.names: dict[str, list[str]] = {}
        self.directions: dict[str, torch.Tensor] = {}
        self.weights: dict[str, torch.Tensor] = {}
        for kind in sorted({kind for labels in self.labels.values() for kind in labels}):
            counts = Counter(labels[kind] for labels in self.labels.values() if kind in labels)
            self.names[kind] = sorted(counts)
            sums = [embeddings[tokenizer.encode(f" {name}")].sum(0) for name in self.names[kind]]
            self.directions[kind] = functional.normalize(torch.stack(sums), dim=1)
            rarity = torch.tensor([counts[name] ** -0.5 for name in self.names[kind]])
            self.weights[kind] = rarity / rarity.mean()

    def with_labels(self, samples: Iterable[Sample]) -> Concepts:
        """The same directions, with the labels of other pictures."""
        other = copy(self)
        other.labels = picture_labels(samples)
        return other

    def scores(self, features: torch.Tensor, kind: str) -> torch.Tensor:
        """features (N, hidden) -> (N, answers of this kind)."""
        return 8 * features @ self.directions[kind].T


def picture_labels(samples: Iterable[Sample]) -> dict[str, dict[str, str]]:
    """{image: {question type: the right answer}} of the questions that have options."""
    labels: dict[str, dict[str, str]] = defaultdict(dict)
    for sample in samples:
        if sample.options and sample.question_type:
            labels[sample.images[0]][sample.question_type] = gold_text(sample)
    return dict(labels)


def picture_features(model: Any, images: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The tower's output for each picture, averaged over its tokens: (N, hidden)."""
    output = model.model.visual(images["pixel_values"], grid_thw=images["image_grid_thw"])
    return output.pooler_output.unflatten(0, (len(images["image_grid_thw"]), -1)).mean(1)


def alignment_loss(
    features: torch.Tensor, names: Sequence[str], concepts: Concepts
) -> torch.Tensor:
    """Cross-entropy over the answers of each question type that a picture has a label for."""
    loss = 0.01 * (features.norm(dim=1) - 1).pow(2).mean()
    for kind, answers in concepts.names.items():
        rows = [row for row, name in enumerate(names) if kind in concepts.labels[name]]
        if rows:
            gold = torch.tensor([answers.index(concepts.labels[names[r]][kind]) for r in rows])
            scores = concepts.scores(features[rows], kind)
            weight = concepts.weights[kind]
            loss = loss + functional.cross_entropy(
                scores, gold, weight=weight, reduction="sum"
            ) / len(names)
    return loss


def align_vision(model: Any, pictures: Pictures, concepts: Concepts, recipe: Recipe) -> None:
    """Stage 1: only the vision tower learns."""
    picker = random.Random(recipe.seed)
    noise = torch.Generator().manual_seed(recipe.seed)
    weights = list(model.model.visual.parameters())
    optimizer = torch.optim.AdamW(
        weights, lr=recipe.vision_lr, weight_decay=0.05, betas=(0.9, 0.98)
    )
    names = sorted(concepts.labels)
    for step in range(recipe.vision_steps):
        batch = picker.sample(names, min(recipe.vision_batch, len(names)))
        decay = 1 - 0.97 * step / recipe.vision_steps
        rate = recipe.vision_lr * min(1, (step + 1) / 20) * decay
        features = picture_features(model, pictures.patches(batch, noise))
        loss = alignment_loss(features, batch, concepts)
        update(optimizer, weights, loss, rate)
        if step % 100 == 0:
            report(f"vision {step}/{recipe.vision_steps} loss {loss.item():.3f}")


# --------------------------------------------------------------- stage 2: weak supervised tuning


class Batches:
    """Samples as model inputs: the prompt's tokens, then those of an answer where one is given."""

    def __init__(self, processor: Any, pictures: Pictures, recipe: Recipe) -> None:
        self.processor, self.pictures, self.recipe = processor, pictures, recipe
        self.tokenizer = processor.tokenizer

    def prompt_ids(self, sample: Sample) -> list[int]:
        """The prompt's tokens, with each image's placeholder repeated as the processor does it."""
        token = self.processor.image_token
        text = render(self.processor, sample, self.recipe)
        return self.tokenizer.encode(text.replace(token, token * self.pictures.tokens))

    def inputs(
        self,
        samples: Sequence[Sample],
        answers: Sequence[str] = (),
        images: Sequence[str] = (),
        generator: torch.Generator | None = None,
    ) -> dict[str, torch.Tensor]:
        """Padded on the left for generation; on the right, with labels, where there are answers."""
        prompts = [self.prompt_ids(sample) for sample in samples]
        ends = [self.tokenizer.encode(f"{answer}<|im_end|>") for answer in answers]
        rows = [a + b for a, b in zip(prompts, ends, strict=True)] if ends else prompts
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self.tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        labels = torch.full_like(ids, -100)
        for index, row in enumerate(rows):
            place = slice(0, len(row)) if ends else slice(width - len(row), width)
            ids[index, place] = torch.tensor(row)
            mask[index, place] = 1
            if ends:
                labels[index, len(prompts[index]) : len(row)] = torch.tensor(ends[index])
        names = images or [sample.images[0] for sample in samples]
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "mm_token_type_ids": (ids == self.processor.image_token_id).long(),
            **({"labels": labels} if ends else {}),
            **self.pictures.patches(names, generator),
        }


def weak_answer(sample: Sample, recipe: Recipe, picker: random.Random) -> str:
    """An answer in one of the manners: often a random listed option in place of the right one."""
    if sample.options:
        letter = sample.ground_truth or ""
        if picker.random() < recipe.random_label[sample.question_type or ""]:
            letter = picker.choice(list(sample.options))
        said = {"letter": letter, "text": sample.options[letter]}
    else:
        said = {"text": str(picker.randint(1, 5))}
    return recipe.draw_manner(picker).format(**said)


def with_other_options(
    sample: Sample, answers: Mapping[str, Sequence[str]], picker: random.Random
) -> Sample:
    """The same question with up to three other wrong options of its type, in a random order."""
    gold = gold_text(sample)
    wrong = [answer for answer in answers[sample.question_type or ""] if answer != gold]
    texts = picker.sample(wrong, min(3, len(wrong)))
    texts.insert(picker.randint(0, len(texts)), gold)
    options = dict(zip(LETTERS, texts, strict=False))
    return replace(sample, options=options, ground_truth=LETTERS[texts.index(gold)])


def sample_batches(
    samples: Sequence[Sample], recipe: Recipe, picker: random.Random
) -> Iterator[list[Sample]]:
    """Endless batches: every question with options once an epoch, and a few counting ones."""
    closed = [sample for sample in samples if sample.options]
    counting = [sample for sample in samples if not sample.options]
    queue: list[Sample] = []
    while True:
        size = recipe.sft_batch
        extra = sum(picker.random() < recipe.counting_share for _ in range(size)) if counting else 0
        if len(queue) < size:
            queue += picker.sample(closed, len(closed))
        taken, queue = queue[: size - extra], queue[size - extra :]
        yield taken + picker.sample(counting, min(extra, len(counting)))


def tune_language(
    model: Any,
    batches: Batches,
    samples: Sequence[Sample],
    answers: Mapping[str, Sequence[str]],
    recipe: Recipe,
) -> None:
    """Stage 2: the vision tower is frozen, the rest learns the manners and the weak labels.

    `answers` are those of each question type, from which options are drawn anew.
    """
    picker = random.Random(recipe.seed)
    noise = torch.Generator().manual_seed(recipe.seed)
    model.model.visual.requires_grad_(False)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=recipe.sft_lr, weight_decay=0.01, betas=(0.9, 0.98))
    stream = sample_batches(samples, recipe, picker)
    for step in range(recipe.sft_steps):
        batch = next(stream)
        if recipe.redraw_options:
            batch = [with_other_options(sample, answers, picker) for sample in batch]
        targets = [weak_answer(sample, recipe, picker) for sample in batch]
        decay = 0.05 + 0.95 * (0.5 + 0.5 * math.cos(math.pi * step / recipe.sft_steps))
        rate = recipe.sft_lr * min(1, (step + 1) / 20) * decay
        loss = model(**batches.inputs(batch, targets, generator=noise)).loss
        update(optimizer, weights, loss, rate)
        if step % 100 == 0:
            report(f"tuning {step}/{recipe.sft_steps} loss {loss.item():.3f}")
    model.model.visual.requires_grad_(True)
