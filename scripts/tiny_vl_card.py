"""README.md (the model card) and medr1.json of an embedded model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tiny_vl_recipe import Recipe

from medr1.files import sha256_of
from medr1.models.loading import checkpoint_document, library_versions
from medr1.prompts import prompt_sha256

CARD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---

# {name}: a vision-aligned, weakly labelled base for demonstrations

A Qwen2.5-VL of {parameters:,} parameters (language model: {recipe.layers} layers of
{recipe.hidden_size}; vision tower: {recipe.vision_depth} layers of {recipe.vision_hidden_size};
float32). It has Qwen2.5-VL's architecture, processor and chat template and loads like any other;
no weight of Qwen's is in it. It is there to show GRPO at work on two CPU cores in minutes.
**It is not for medical use, and what it scores says nothing about medicine.**

Made in minutes on one idle core, from `data/tiny_vqa_ds/train.json` alone; every number of the
recipe is in `medr1.json`:

    python scripts/build_tiny_vl.py --recipe {recipe_name} --output-dir checkpoints/{name}

## What it has seen

It is **not an untrained model**.

{stages}

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

The tower alone (the nearest word for a picture) is right more often than the answers are: the
base knows more than it says. That, and the manner of answering, is what GRPO has to work with.

Sampled at temperature 1:

{examples}

## Limits

{limits}
The words it knows are those of the training split's questions, about twenty-five answers to
eight questions. Other prompts than `{recipe.prompt}` and other questions are readable for it
(every byte has a token) but meaningless to it. Pictures are reduced to 112x112 pixels, 16 tokens.
"""

BOUND = """\
*Letter binding* (text alone, {bound} steps): lists of two, then three, then four options, as bare
   lists and in the prompt `{recipe.prompt}`; each option is named and followed by its letter. It
   teaches which letter stands before which option and nothing about pictures."""

ALIGNED = """\
*Vision alignment* ({recipe.vision_steps} steps of {recipe.vision_batch} pictures): **all
   training images with all their true labels** of modality, anatomy, view plane and stain. Only
   the vision tower learns, to put a picture near the language model's word for what it shows.
   Pictures are augmented (crop, rotation, gain, offset, noise)."""

TUNED = """\
*Weak supervised fine-tuning* ({recipe.sft_steps} steps of {recipe.sft_batch}, tower frozen):
   training questions in the prompt `{recipe.prompt}`, answer style {recipe.answer_style}. The
   label is replaced by a random one of the listed options in the share of cases that the table
   gives. The manner of answering is drawn at random: {manners}."""

REDRAWN = """
   Each question comes with other wrong options of its type, in another order, each time."""

COUNTED = """
   {recipe.counting_share:.0%} of the samples are counting questions with a **random** number from
   1 to 5: it has learnt to answer with a number, and nothing about counting."""

WORDS = """\
It answers in words; letters as answers mean nothing to it.
"""

CAPTION = """\
What stands between `<think>` and `</think>` is a one-word caption and its letter, and **not
reasoning**. Counting questions, which have no letters, were never asked.
"""


def checkpoint_notes(data: Path, recipe: Recipe, probes: Mapping[str, Any]) -> str:
    """The content of medr1.json: how the checkpoint was made, and with which prompt it is used.

    Args:
        data: The training split.
        recipe: The recipe of the model.
        probes: The measurements on the validation split.
    """
    stages = ["letter binding"] if recipe.binding else []
    return checkpoint_document(
        base=None,
        method=" + ".join([*stages, "vision alignment", "weak SFT"]),
        prompt=recipe.prompt,
        prompt_sha256=prompt_sha256(recipe.prompt),
        answer_style=recipe.answer_style,
        data="data/tiny_vqa_ds/train.json",
        data_sha256=sha256_of(data),
        seed=recipe.seed,
        versions=library_versions(),
        recipe=asdict(recipe),
        validation=probes,
    )


def model_card(
    name: str, recipe_name: str, recipe: Recipe, probes: Mapping[str, Any], parameters: int
) -> str:
    """The content of README.md: what the model was trained on, how it answers, and its limits.

    Args:
        name: Name of the checkpoint's folder.
        recipe_name: A key of `RECIPES`.
        recipe: The recipe of the model.
        probes: The measurements on the validation split.
        parameters: Number of parameters.
    """
    manners = "; ".join(
        f"`{manner.format(text='X', letter='L')}` {share:.0%}"
        for manner, share in recipe.manners.items()
    )
    stages = [BOUND] if recipe.binding else []
    stages += [ALIGNED, TUNED]
    stages[-1] += REDRAWN if recipe.redraw_options else ""
    stages[-1] += COUNTED if recipe.counting_share else ""
    numbered = "\n".join(f"{number}. {stage}" for number, stage in enumerate(stages, 1))
    rows = [
        f"| {kind} | {share:.0%} | {probes['vision'][kind]:.3f} "
        f"| {probes['default_by_type'][kind]:.3f} |"
        for kind, share in sorted(recipe.random_label.items())
    ]
    return CARD.format(
        name=name,
        recipe_name=recipe_name,
        recipe=recipe,
        probes=probes,
        parameters=parameters,
        stages=numbered.format(
            recipe=recipe, manners=manners, bound=probes.get("binding_steps", 0)
        ),
        rows="\n".join(rows),
        examples="\n".join(f"- `{text}`" for text in probes["examples"]),
        limits=CAPTION if recipe.answer_style == "letter" else WORDS,
    )
