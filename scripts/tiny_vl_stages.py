"""The stages of training with images: vision alignment, then weak supervised fine-tuning."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import torch
from tiny_vl_model import render, right_answer
from tiny_vl_pictures import TinyImages
from tiny_vl_recipe import Recipe
from tiny_vl_training import report, update
from torch.nn import functional

from medr1.records import LETTERS, Sample

# ------------------------------------------------------------------- stage 1: vision alignment


class Concepts:
    """The answers of each question type as directions in the language model's embedding space.

    `labels` has the right answers of each image by question type. By question type, `names` has the
    answers, `directions` (answers, hidden) their unit vectors, and `weights` their weights in the
    loss: the rarer an answer, the larger.
    """

    def __init__(self, model: Any, tokenizer: Any, samples: Sequence[Sample]) -> None:
        self.labels = image_labels(samples)
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
        """The same directions, with the labels of other images."""
        other = copy(self)
        other.labels = image_labels(samples)
        return other

    def scores(self, features: torch.Tensor, kind: str) -> torch.Tensor:
        """Similarity of each image with each answer.

        Args:
            features: Features of the images (N, hidden).
            kind: The question type.

        Returns:
            Scores (N, answers of this question type).
        """
        return 8 * features @ self.directions[kind].T


def image_labels(samples: Iterable[Sample]) -> dict[str, dict[str, str]]:
    """Image -> question type -> right answer, for the questions with options."""
    labels: dict[str, dict[str, str]] = defaultdict(dict)
    for sample in samples:
        if sample.options and sample.question_type:
            labels[sample.images[0]][sample.question_type] = right_answer(sample)
    return dict(labels)


def image_features(model: Any, images: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The vision tower's output for each image, averaged over its tokens.

    Args:
        model: The model.
        images: Patches of N images (`TinyImages.patches`).

    Returns:
        Features (N, hidden).
    """
    output = model.model.visual(images["pixel_values"], grid_thw=images["image_grid_thw"])
    return output.pooler_output.unflatten(0, (len(images["image_grid_thw"]), -1)).mean(1)


def alignment_loss(
    features: torch.Tensor, names: Sequence[str], concepts: Concepts
) -> torch.Tensor:
    """Cross-entropy over the answers of each question type for which an image has a label.

    A small term keeps the length of the features near 1.
    """
    loss = 0.01 * (features.norm(dim=1) - 1).pow(2).mean()
    for kind, answers in concepts.names.items():
        rows = [row for row, name in enumerate(names) if kind in concepts.labels[name]]
        if rows:
            labels = torch.tensor([answers.index(concepts.labels[names[r]][kind]) for r in rows])
            scores = concepts.scores(features[rows], kind)
            weight = concepts.weights[kind]
            loss = loss + functional.cross_entropy(
                scores, labels, weight=weight, reduction="sum"
            ) / len(names)
    return loss


def align_vision(model: Any, images: TinyImages, concepts: Concepts, recipe: Recipe) -> None:
    """Stage 1: train the vision tower, and only it.

    Args:
        model: The model, which is changed.
        images: The training images.
        concepts: The answers, with the labels of the training images.
        recipe: Has the number of steps, the batch size and the learning rate.
    """
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
        features = image_features(model, images.patches(batch, noise))
        loss = alignment_loss(features, batch, concepts)
        update(optimizer, weights, loss, rate)
        if step % 100 == 0:
            report(f"vision {step}/{recipe.vision_steps} loss {loss.item():.3f}")


# --------------------------------------------------------------- stage 2: weak supervised tuning


class Batches:
    """Makes the model's inputs from samples: prompts, with or without answers after them."""

    def __init__(self, processor: Any, images: TinyImages, recipe: Recipe) -> None:
        self.processor, self.images, self.recipe = processor, images, recipe
        self.tokenizer = processor.tokenizer

    def prompt_ids(self, sample: Sample) -> list[int]:
        """The prompt's tokens, with the image token repeated as the processor does."""
        token = self.processor.image_token
        text = render(self.processor, sample, self.recipe)
        return self.tokenizer.encode(text.replace(token, token * self.images.tokens))

    def inputs(
        self,
        samples: Sequence[Sample],
        answers: Sequence[str] = (),
        images: Sequence[str] = (),
        generator: torch.Generator | None = None,
    ) -> dict[str, torch.Tensor]:
        """The inputs of a batch.

        Args:
            samples: The questions.
            answers: One answer for each question. With them, rows are padded on the right and have
                labels, for training; without, they are padded on the left, for generation.
            images: One path for each sample, in place of its own image; empty for its own.
            generator: Augments the images; None for the images as they are.
        """
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
            **self.images.patches(names, generator),
        }


def weak_answer(sample: Sample, recipe: Recipe, picker: random.Random) -> str:
    """A training answer in a random manner; often a random option replaces the right one."""
    if sample.options:
        letter = sample.ground_truth or ""
        if picker.random() < recipe.random_label[sample.question_type or ""]:
            letter = picker.choice(list(sample.options))
        answer = {"letter": letter, "text": sample.options[letter]}
    else:
        answer = {"text": str(picker.randint(1, 5))}
    return recipe.draw_manner(picker).format(**answer)


def with_other_options(
    sample: Sample, answers: Mapping[str, Sequence[str]], picker: random.Random
) -> Sample:
    """The question with up to three new wrong options of its type, in a random order."""
    right = right_answer(sample)
    wrong = [answer for answer in answers[sample.question_type or ""] if answer != right]
    texts = picker.sample(wrong, min(3, len(wrong)))
    texts.insert(picker.randint(0, len(texts)), right)
    options = dict(zip(LETTERS, texts, strict=False))
    return replace(sample, options=options, ground_truth=LETTERS[texts.index(right)])


def sample_batches(
    samples: Sequence[Sample], recipe: Recipe, picker: random.Random
) -> Iterator[list[Sample]]:
    """Endless batches: each question with options once per epoch, and some counting questions."""
    closed = [sample for sample in samples if sample.options]
    counting = [sample for sample in samples if not sample.options]
    queue: list[Sample] = []
    while True:
        size = recipe.sft_batch
        num_counting = (
            sum(picker.random() < recipe.counting_share for _ in range(size)) if counting else 0
        )
        if len(queue) < size:
            queue += picker.sample(closed, len(closed))
        num_closed = size - num_counting
        batch, queue = queue[:num_closed], queue[num_closed:]
        yield batch + picker.sample(counting, min(num_counting, len(counting)))


def tune_language(
    model: Any,
    batches: Batches,
    samples: Sequence[Sample],
    answers: Mapping[str, Sequence[str]],
    recipe: Recipe,
) -> None:
    """Stage 2: train all but the vision tower with the weak labels and the manners of answering.

    Args:
        model: The model, which is changed.
        batches: Makes the model's inputs.
        samples: The training questions.
        answers: Question type -> its answers, from which new options are taken.
        recipe: Has the shares of random labels and manners, the steps and the learning rate.
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
