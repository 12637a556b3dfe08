"""The recipes of the embedded models: all numbers that determine their weights."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Binding:
    """How the language model learns, from text alone, which letter belongs to which option.

    It learns in two parts: from plain lists of options, then also from medr1's prompts.
    """

    lr: float = 1e-3
    """Learning rate."""
    plain_batch: int = 64
    """Sequences per step in the first part."""
    chat_batch: int = 32
    """Sequences per step in the second part."""
    plain_share: float = 0.4
    """Share of plain lists in the second part."""
    widen_at: float = 0.93
    """Smoothed accuracy at which the lists get one more option."""
    done_at: float = 0.98
    """Smoothed accuracy with four options at which a part ends."""
    most_steps: int = 3000
    """Largest number of steps of a part; the build fails after it."""


@dataclass(frozen=True)
class Recipe:
    """How one embedded model is made; the defaults are the same for both models."""

    prompt: str
    """A key of `medr1.prompts.PROMPTS`."""
    answer_style: str
    """How the model answers: "letter" or "text"."""
    layers: int
    vision_depth: int
    vision_steps: int
    sft_steps: int
    manners: Mapping[str, float]
    """Template of a completion -> its share; {text} is an option, {letter} its letter."""
    random_label: Mapping[str, float]
    """Question type -> share of labels that are replaced by a random option of the question."""
    counting_share: float = 0.0
    """Share of counting questions in stage 2; their answers are random numbers from 1 to 5."""
    binding: Binding | None = None
    """How stage 0 is trained; None without it."""
    redraw_options: bool = False
    """Whether stage 2 gives each question other wrong options each time, in a random order."""
    seed: int = 0
    vocab_size: int = 800
    hidden_size: int = 128
    heads: int = 4
    vision_hidden_size: int = 64
    initializer_range: float = 0.05
    shared_spelling: float = 0.7
    """Share of the variance that the first embeddings of `CT`, ` CT` and `)CT` have in common."""
    vision_batch: int = 64
    vision_lr: float = 2e-3
    sft_batch: int = 32
    sft_lr: float = 2e-3

    def draw_manner(self, picker: random.Random) -> str:
        """A random one of `manners`, with the shares as probabilities."""
        (manner,) = picker.choices(list(self.manners), list(self.manners.values()))
        return manner


TEXT = Recipe(
    prompt="nothink",
    answer_style="text",
    layers=2,
    vision_depth=3,
    vision_steps=550,
    sft_steps=600,
    manners={
        "<answer> {text} </answer>": 0.3,
        "The answer is {text}.": 0.4,
        "{text}": 0.3,
    },
    random_label={
        "Modality Recognition": 0.80,
        "Anatomy Identification": 0.75,
        "View Plane": 0.75,
        "Stain": 0.70,
    },
    counting_share=0.06,
)

LETTERS = Recipe(
    prompt="think",
    answer_style="letter",
    layers=3,
    vision_depth=3,
    vision_steps=700,
    sft_steps=480,
    manners={
        "<think> {text} {letter} </think> <answer> {letter} </answer>": 0.3,
        "{text} {letter}": 0.3,
        "<think> {text} {letter} </think> {letter}": 0.4,
    },
    random_label={
        "Modality Recognition": 0.72,
        "Anatomy Identification": 0.68,
        "View Plane": 0.5,
        "Stain": 0.65,
    },
    binding=Binding(),
    redraw_options=True,
)

RECIPES: Mapping[str, Recipe] = {"text": TEXT, "letters": LETTERS}
