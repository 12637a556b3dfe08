"""Make checkpoints/tiny-vl: a Qwen2.5-VL of under a million parameters that `medr1 demo` trains.

    python scripts/build_tiny_vl.py --output-dir checkpoints/tiny-vl --seed 0 --overwrite

What comes out is a base for GRPO and not a finished model: its vision tower knows the pictures, its
answers are coherent, and what it says is only weakly tied to what it sees. Two stages, both on the
training split alone:

1. Vision alignment. The mean of the tower's output for a picture is drawn to the language model's
   own embedding of the words that are right for it, and away from those of its question type's
   other answers (contrastive, all true labels). The language model is not trained.
2. Weak supervised fine-tuning. The tower is frozen; the language model learns to answer in three
   manners (tagged, a sentence, bare), where most labels are replaced by a random listed option.
   Counting questions, which have no options, get a random number from 1 to 5.

The steps are fixed, so one seed and one thread give the same weights each time on one machine.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import AddedToken, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from torch.nn import functional
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from medr1.answers import judge
from medr1.data.readers import read_questions
from medr1.files import sha256_of, write_atomic
from medr1.models import checkpoint_document, library_versions
from medr1.prompts import ANSWER_STYLES, chat_messages, prompt_sha256, user_text
from medr1.records import Sample

PROMPT, ANSWER_STYLE = "nothink", "text"
CONTROL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
IMAGE_SIZE = {"shortest_edge": 56 * 56, "longest_edge": 112 * 112}
PATCH_SIZE, MERGE_SIZE, TEMPORAL_PATCH_SIZE = 14, 2, 2

# Behaves as Qwen2.5-VL's own: a default system turn, vision tokens in place of image and video.
CHAT_TEMPLATE = """\
{%- set seen = namespace(images=0, videos=0) -%}
{%- for message in messages -%}
{%- if loop.first and message['role'] != 'system' -%}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['content'] is string -%}
{{- message['content'] -}}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' or 'image' in part or 'image_url' in part -%}
{%- set seen.images = seen.images + 1 -%}
{%- if add_vision_id -%}{{- 'Picture ' ~ seen.images ~ ': ' -}}{%- endif -%}
{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- elif part['type'] == 'video' or 'video' in part -%}
{%- set seen.videos = seen.videos + 1 -%}
{%- if add_vision_id -%}{{- 'Video ' ~ seen.videos ~ ': ' -}}{%- endif -%}
{{- '<|vision_start|><|video_pad|><|vision_end|>' -}}
{%- elif 'text' in part -%}
{{- part['text'] -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


CARD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---

# tiny-vl: a vision-aligned, weakly labelled base for demonstrations

A Qwen2.5-VL of {parameters:,} parameters (language model: {recipe.layers} layers of
{recipe.hidden_size}; vision tower: {recipe.vision_depth} layers of {recipe.vision_hidden_size};
float32). It has Qwen2.5-VL's architecture, processor and chat template and loads like any other;
no weight of Qwen's is in it. It is there so that `medr1 demo` can show GRPO at work on two CPU
cores in minutes. **It is not for medical use, and what it scores says nothing about medicine.**

Made by `python scripts/build_tiny_vl.py --output-dir checkpoints/tiny-vl --seed {recipe.seed}`,
five minutes on one idle core, from `data/tiny_vqa_ds/train.json` alone; every number of the recipe
is in `medr1.json`.

## What it has seen

It is **not an untrained model**.

1. *Vision alignment* ({recipe.vision_steps} steps of {recipe.vision_batch} pictures): **all
   training images with all their true labels** of modality, anatomy, view plane and stain. Only
   the vision tower learns, to put a picture near the language model's word for what it shows.
   Pictures are augmented (crop, rotation, gain, offset, noise).
2. *Weak supervised fine-tuning* ({recipe.sft_steps} steps of {recipe.sft_batch}, tower frozen):
   training questions in the prompt `nothink`, answers as text. The label is replaced by a random
   one of the listed options in the share of cases that the table gives. The manner of answering
   is drawn at random: {manners}.
   {recipe.counting_share:.0%} of the samples are counting questions with a **random** number from
   1 to 5: it has learnt to answer with a number, and nothing about counting.

It has never seen an image or a label of the validation or test split. Steps, learning rates and
noise were chosen on the validation split. The held-out images come from other regions or scanners
of mostly the same sources (`data/tiny_vqa_ds/SOURCES.md`).

## How it answers (validation split, {probes[items]} questions with options)

| | share |
| --- | --- |
| greedy, any clear answer counts (`default`) | {probes[default]:.3f} |
| the same with the pictures shuffled | {probes[default_shuffled_images]:.3f} |
| greedy, exactly one answer block (`strict`) | {probes[strict]:.3f} |
| sampled at temperature 1, `default` | {probes[sampled_default]:.3f} |
| sampled at temperature 1, `strict` | {probes[sampled_strict]:.3f} |
| sampled at temperature 1, with an `<answer>` tag | {probes[sampled_tagged]:.3f} |

| question type | random labels | vision tower alone | greedy, `default` |
| --- | --- | --- | --- |
{rows}

The tower alone (the nearest word for a picture) is right far more often than the answers are: the
base knows more than it says. That, and the manner of answering, is what GRPO has to work with.

Sampled at temperature 1:

{examples}

## Limits

The words it knows are those of the training split's questions, about twenty-five answers to
eight questions. Other prompts than `nothink`, other questions and letters as answers are readable
for it (every byte has a token) but meaningless to it. Pictures are reduced to 112x112 pixels,
16 tokens.
"""


@dataclass(frozen=True)
class Recipe:
    """Every number that decides the weights."""

    seed: int = 0
    vocab_size: int = 800
    hidden_size: int = 128
    layers: int = 2
    heads: int = 4
    vision_hidden_size: int = 64
    vision_depth: int = 3
    initializer_range: float = 0.05
    shared_spelling: float = 0.7
    """Share of the variance that the embeddings of `CT`, ` CT` and `)CT` start with in common."""
    vision_steps: int = 550
    vision_batch: int = 64
    vision_lr: float = 2e-3
    sft_steps: int = 600
    sft_batch: int = 32
    sft_lr: float = 2e-3
    counting_share: float = 0.06
    manners: Mapping[str, float] = field(
        default_factory=lambda: {
            "<answer> {} </answer>": 0.3,
            "The answer is {}.": 0.4,
            "{}": 0.3,
        }
    )
    random_label: Mapping[str, float] = field(
        default_factory=lambda: {
            "Modality Recognition": 0.80,
            "Anatomy Identification": 0.75,
            "View Plane": 0.75,
            "Stain": 0.70,
        }
    )
    """Per question type: how often the true label is replaced by a random listed option."""


def gold_text(sample: Sample) -> str:
    """The right answer in words: the option's text, or the ground truth where there are none."""
    assert sample.ground_truth is not None
    return sample.options.get(sample.ground_truth, sample.ground_truth)


def render(processor: Any, sample: Sample) -> str:
    """The prompt as the model reads it, with one `<|image_pad|>` for each image."""
    messages = chat_messages(sample, PROMPT, ANSWER_STYLE)
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert isinstance(text, str)
    return text


# ---------------------------------------------------------------------------------- tokenizer


def corpus(samples: Iterable[Sample]) -> Iterator[str]:
    """What the tokenizer is trained on: every prompt kind, and each answer in every surrounding."""
    yield from ("system\nYou are a helpful assistant.", "user\n", "assistant\n", "Yes No Unknown")
    for sample in samples:
        for prompt in ("think", "nothink", "think-after"):
            for style in ANSWER_STYLES:
                text = user_text(sample, prompt, style)
                for tag in TAGS:
                    text = text.replace(tag, "\n")
                yield text
        answer = gold_text(sample)
        yield from (answer, f" {answer} ", f"The answer is {answer}.")


def train_tokenizer(samples: Sequence[Sample], vocab_size: int) -> Qwen2Tokenizer:
    """A byte-level BPE with Qwen's pre-tokenizer: all 256 bytes, then the commonest words."""
    blank = Qwen2Tokenizer()
    trainer = BpeTrainer(
        vocab_size=vocab_size - len(CONTROL_TOKENS) - len(TAGS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained = blank._tokenizer
    trained.train_from_iterator(corpus(samples), trainer)
    state = json.loads(trained.to_str())["model"]
    words = sorted(set(state["vocab"]) - set(CONTROL_TOKENS), key=state["vocab"].get)
    tokenizer = Qwen2Tokenizer(
        vocab={word: number for number, word in enumerate(words)},
        merges=[tuple(pair) for pair in state["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    tokenizer.add_tokens([AddedToken(t, special=True, normalized=False) for t in CONTROL_TOKENS])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in TAGS])
    return tokenizer


def build_processor(samples: Sequence[Sample], recipe: Recipe) -> Qwen2_5_VLProcessor:
    """The real Qwen2.5-VL processor around the small tokenizer, with at most 16 image tokens."""
    grid: dict[str, Any] = {
        "size": IMAGE_SIZE,
        "patch_size": PATCH_SIZE,
        "merge_size": MERGE_SIZE,
        "temporal_patch_size": TEMPORAL_PATCH_SIZE,
    }
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**grid),
        tokenizer=train_tokenizer(samples, recipe.vocab_size),
        video_processor=Qwen2VLVideoProcessor(**grid),
        chat_template=CHAT_TEMPLATE,
    )


# -------------------------------------------------------------------------------------- model


def model_config(tokenizer: Qwen2Tokenizer, recipe: Recipe) -> Qwen2_5_VLConfig:
    """Qwen2.5-VL's configuration in small; every token id comes from the tokenizer."""
    number = tokenizer.convert_tokens_to_ids
    half_head = recipe.hidden_size // recipe.heads // 2
    spatial = 3 * half_head // 8  # height and width; time takes the rest, as in Qwen2.5-VL
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": recipe.hidden_size,
        "intermediate_size": 3 * recipe.hidden_size,
        "num_hidden_layers": recipe.layers,
        "num_attention_heads": recipe.heads,
        "num_key_value_heads": recipe.heads,
        "max_position_embeddings": 2048,
        "initializer_range": recipe.initializer_range,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1_000_000.0,
            "mrope_section": [half_head - 2 * spatial, spatial, spatial],
        },
        "bos_token_id": number("<|endoftext|>"),
        "eos_token_id": number("<|im_end|>"),
        "pad_token_id": number("<|endoftext|>"),
        "tie_word_embeddings": True,
    }
    vision = {
        "depth": recipe.vision_depth,
        "hidden_size": recipe.vision_hidden_size,
        "intermediate_size": 3 * recipe.vision_hidden_size,
        "num_heads": 4,
        "out_hidden_size": recipe.hidden_size,
        "patch_size": PATCH_SIZE,
        "spatial_merge_size": MERGE_SIZE,
        "temporal_patch_size": TEMPORAL_PATCH_SIZE,
        "window_size": 112,
        "fullatt_block_indexes": [recipe.vision_depth - 1],
        "initializer_range": recipe.initializer_range,
    }
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        initializer_range=recipe.initializer_range,
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
        tie_word_embeddings=True,
    )


def build_model(tokenizer: Qwen2Tokenizer, recipe: Recipe) -> Qwen2_5_VLForConditionalGeneration:
    """A fresh model whose attention starts by looking for tokens like the present one."""
    torch.manual_seed(recipe.seed)
    model = Qwen2_5_VLForConditionalGeneration(model_config(tokenizer, recipe))
    with torch.no_grad():
        start_as_lookup(model)
        share_spellings(model.get_input_embeddings().weight, tokenizer, recipe.shared_spelling)
    generation = model.generation_config
    generation.bos_token_id = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    generation.pad_token_id = tokenizer.pad_token_id
    generation.eos_token_id = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    generation.do_sample = False
    return model


def start_as_lookup(model: Qwen2_5_VLForConditionalGeneration) -> None:
    """Mimetic initialisation: keys equal queries, and the output undoes the value projection."""
    for layer in model.model.language_model.layers:
        attention = layer.self_attn
        lookup = torch.nn.init.orthogonal_(torch.empty_like(attention.q_proj.weight))
        attention.q_proj.weight.copy_(lookup)
        attention.k_proj.weight.copy_(lookup)
        carry = torch.nn.init.orthogonal_(torch.empty_like(attention.v_proj.weight))
        attention.v_proj.weight.copy_(carry / 4)
        attention.o_proj.weight.copy_(carry.T / 4)


def share_spellings(embeddings: torch.Tensor, tokenizer: Qwen2Tokenizer, share: float) -> None:
    """Start `CT`, ` CT` (in an answer) and `)CT` (among the options) as near relatives."""
    spelled: dict[str, list[int]] = defaultdict(list)
    for token, number in sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1]):
        word = token.lstrip("Ġ)")
        if word.isalpha():
            spelled[word].append(number)
    for numbers in spelled.values():
        common = embeddings[numbers[0]].clone()
        for number in numbers[1:]:
            own = embeddings[number]
            embeddings[number] = math.sqrt(share) * common + math.sqrt(1 - share) * own


# ------------------------------------------------------------------------------------- images


class Pictures:
    """Every image once, as the processor's resized 8-bit pixels; patches of them on demand."""

    def __init__(self, processor: Any, root: Path, names: Iterable[str]) -> None:
        self.processor = processor.image_processor
        self.names = sorted(set(names))
        self.number = {name: index for index, name in enumerate(self.names)}
        side = math.isqrt(IMAGE_SIZE["longest_edge"])
        pixels = []
        for name in self.names:
            with Image.open(root / name) as image:
                rgb = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
            pixels.append(np.asarray(rgb))
        self.pixels = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
        self.tokens = (side // PATCH_SIZE // MERGE_SIZE) ** 2

    def patches(
        self, names: Sequence[str], generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """`pixel_values` and `image_grid_thw` as the processor gives them; augmented where a
        generator is given: a random crop, a little rotation, gain, offset and noise."""
        images = self.pixels[[self.number[name] for name in names]].float() / 255
        if generator is not None:
            images = crop_and_turn(images, generator)
        mean, std = (
            torch.tensor(values).view(3, 1, 1)
            for values in (self.processor.image_mean, self.processor.image_std)
        )
        images = (images - mean) / std
        if generator is not None:
            images = change_intensity(images, generator)
        patches, height, width = self.processor.patchify(
            images, PATCH_SIZE, MERGE_SIZE, TEMPORAL_PATCH_SIZE
        )
        grid = torch.tensor([[1, height, width]] * len(names))
        return {"pixel_values": patches.flatten(0, 1), "image_grid_thw": grid}


def crop_and_turn(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """images (N, 3, H, W): each cut to 80-100 % of its side somewhere, turned by up to 9°."""
    scale, across, down, angle = torch.rand(4, len(images), generator=generator)
    scale = 0.8 + 0.2 * scale
    angle = 0.3 * (angle - 0.5)
    rows = (
        torch.stack([scale * angle.cos(), -scale * angle.sin(), (2 * across - 1) * (1 - scale)], 1),
        torch.stack([scale * angle.sin(), scale * angle.cos(), (2 * down - 1) * (1 - scale)], 1),
    )
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def change_intensity(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """images (N, 3, H, W), normalised: each with its own gain and offset, and noise."""
    gain, offset = torch.randn(2, len(images), 1, 1, 1, generator=generator)
    noise = torch.randn(images.shape, generator=generator)
    return images * (1 + 0.25 * gain) + 0.25 * offset + 0.1 * noise


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


def update(
    optimizer: torch.optim.Optimizer, weights: list[Any], loss: torch.Tensor, rate: float
) -> None:
    """One clipped step at this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    optimizer.step()


# --------------------------------------------------------------- stage 2: weak supervised tuning


class Batches:
    """Samples as model inputs: the prompt's tokens, then those of an answer where one is given."""

    def __init__(self, processor: Any, pictures: Pictures) -> None:
        self.processor, self.pictures = processor, pictures
        self.tokenizer = processor.tokenizer
        self.prompts: dict[str, list[int]] = {}

    def prompt_ids(self, sample: Sample) -> list[int]:
        """The prompt's tokens, with each image's placeholder repeated as the processor does it."""
        if sample.id not in self.prompts:
            token = self.processor.image_token
            text = render(self.processor, sample).replace(token, token * self.pictures.tokens)
            self.prompts[sample.id] = self.tokenizer.encode(text)
        return self.prompts[sample.id]

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
        answer = gold_text(sample)
        if picker.random() < recipe.random_label[sample.question_type or ""]:
            answer = picker.choice(list(sample.options.values()))
    else:
        answer = str(picker.randint(1, 5))
    (manner,) = picker.choices(list(recipe.manners), list(recipe.manners.values()))
    return manner.format(answer)


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


def tune_language(model: Any, batches: Batches, samples: Sequence[Sample], recipe: Recipe) -> None:
    """Stage 2: the vision tower is frozen, the rest learns the manners and the weak labels."""
    picker = random.Random(recipe.seed)
    noise = torch.Generator().manual_seed(recipe.seed)
    model.model.visual.requires_grad_(False)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=recipe.sft_lr, weight_decay=0.01, betas=(0.9, 0.98))
    stream = sample_batches(samples, recipe, picker)
    for step in range(recipe.sft_steps):
        batch = next(stream)
        answers = [weak_answer(sample, recipe, picker) for sample in batch]
        decay = 0.05 + 0.95 * (0.5 + 0.5 * math.cos(math.pi * step / recipe.sft_steps))
        rate = recipe.sft_lr * min(1, (step + 1) / 20) * decay
        loss = model(**batches.inputs(batch, answers, generator=noise)).loss
        update(optimizer, weights, loss, rate)
        if step % 100 == 0:
            report(f"tuning {step}/{recipe.sft_steps} loss {loss.item():.3f}")
    model.model.visual.requires_grad_(True)


# ------------------------------------------------------------------------------------- probes


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
            **inputs, max_new_tokens=14, do_sample=bool(temperature), **sampling
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


def report(line: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


# --------------------------------------------------------------------------------- checkpoint


def checkpoint_notes(data: Path, recipe: Recipe, probes: Mapping[str, Any]) -> str:
    """medr1.json: how the checkpoint was made and how it wants to be asked."""
    return checkpoint_document(
        base=None,
        method="vision alignment + weak SFT",
        prompt=PROMPT,
        prompt_sha256=prompt_sha256(PROMPT),
        answer_style=ANSWER_STYLE,
        data="data/tiny_vqa_ds/train.json",
        data_sha256=sha256_of(data),
        seed=recipe.seed,
        versions=library_versions(),
        recipe=asdict(recipe),
        validation=probes,
    )


def model_card(recipe: Recipe, probes: Mapping[str, Any], parameters: int) -> str:
    """README.md of the checkpoint: what it is, what it saw, how it answers, what it is not for."""
    kinds = sorted(recipe.random_label)
    rows = "\n".join(
        f"| {kind} | {recipe.random_label[kind]:.0%} | {probes['vision'][kind]:.3f} "
        f"| {probes['default_by_type'][kind]:.3f} |"
        for kind in kinds
    )
    manners = "; ".join(
        f"`{manner.format('X')}` {share:.0%}" for manner, share in recipe.manners.items()
    )
    examples = "\n".join(f"- `{text}`" for text in probes["examples"])
    return CARD.format(
        recipe=recipe,
        probes=probes,
        parameters=parameters,
        rows=rows,
        manners=manners,
        examples=examples,
    )


def save(
    folder: Path, model: Any, processor: Any, notes: str, card: str, *, overwrite: bool
) -> None:
    """Write everything beside the target, then put it in its place."""
    building = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    model.save_pretrained(building)
    processor.save_pretrained(building)
    write_atomic(building / "medr1.json", notes)
    write_atomic(building / "README.md", card)
    if overwrite:
        shutil.rmtree(folder, ignore_errors=True)
    building.rename(folder)


def build(
    train: Path, validation: Path, recipe: Recipe
) -> tuple[Any, Qwen2_5_VLProcessor, dict[str, Any]]:
    """The model, its processor and what the validation split says about it."""
    split = {"train": read_questions(train), "validation": read_questions(validation)}
    taught, held_out = (questions.require_complete() for questions in split.values())
    processor = build_processor(taught, recipe)
    model = build_model(processor.tokenizer, recipe)
    report(f"{model.num_parameters():,} parameters, {len(processor.tokenizer)} tokens")
    pictures, unseen = (
        Pictures(processor, questions.image_root, (s.images[0] for s in questions.samples))
        for questions in split.values()
    )
    concepts = Concepts(model, processor.tokenizer, taught)
    align_vision(model, pictures, concepts, recipe)
    probes: dict[str, Any] = {
        "vision": probe_vision(model, unseen, concepts.with_labels(held_out)),
    }
    report(f"vision alone, validation: {probes['vision']}")
    tune_language(model, Batches(processor, pictures), taught, recipe)
    probes |= probe_answers(model, Batches(processor, unseen), held_out, recipe.seed)
    return model, processor, probes


def main() -> None:
    """Read the command line, build, probe, save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    data = Path(__file__).resolve().parent.parent / "data" / "tiny_vqa_ds"
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=data / "train.json")
    parser.add_argument("--validation-data", type=Path, default=data / "validation.json")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    options = parser.parse_args()
    folder: Path = options.output_dir.resolve()
    if folder.exists() and not options.overwrite:
        sys.exit(f"{folder} exists. Give --overwrite, or another --output-dir.")
    torch.set_num_threads(options.threads)
    started = time.monotonic()
    recipe = Recipe(seed=options.seed)
    model, processor, probes = build(options.data, options.validation_data, recipe)
    for name, value in probes.items():
        report(f"{name}: {value}")
    notes = checkpoint_notes(options.data, recipe, probes)
    card = model_card(recipe, probes, model.num_parameters())
    save(folder, model, processor, notes, card, overwrite=options.overwrite)
    report(f"{sha256_of(folder / 'model.safetensors')} {folder}/model.safetensors")
    report(f"done in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
