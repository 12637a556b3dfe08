"""The recipes of the embedded models: every number that decides their weights."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Binding:
    """How the language model learns which letter stands before which option, from text alone."""

    lr: float = 1e-3
    plain_batch: int = 64
    """Sequences a step while they are bare lists of options."""
    chat_batch: int = 32
    """Sequences a step once they are the prompts of the project."""
    plain_share: float = 0.4
    """Share of bare lists that stays among the prompts."""
    widen_at: float = 0.93
    """Smoothed accuracy at which a list of options gets one more."""
    done_at: float = 0.98
    """Smoothed accuracy with four options at which a part is over."""
    most_steps: int = 3000
    """A part that needs more than this has failed."""


@dataclass(frozen=True)
class Recipe:
    """How one embedded model is made; what is not said is the same in both."""

    prompt: str
    """A key of PROMPTS."""
    answer_style: str
    """letter | text"""
    layers: int
    vision_depth: int
    vision_steps: int
    sft_steps: int
    manners: Mapping[str, float]
    """How an answer may be put, and how often: {text} is an option, {letter} its letter."""
    random_label: Mapping[str, float]
    """Per question type: how often the true label is replaced by a random listed option."""
    counting_share: float = 0.0
    """Share of counting questions in stage 2, each with a random number from 1 to 5."""
    binding: Binding | None = None
    redraw_options: bool = False
    """Whether stage 2 asks each question with other wrong options, in another order."""
    seed: int = 0
    vocab_size: int = 800
    hidden_size: int = 128
    heads: int = 4
    vision_hidden_size: int = 64
    initializer_range: float = 0.05
    shared_spelling: float = 0.7
    """Share of the variance that the embeddings of `CT`, ` CT` and `)CT` start with in common."""
    vision_batch: int = 64
    vision_lr: float = 2e-3
    sft_batch: int = 32
    sft_lr: float = 2e-3

    def draw_manner(self, picker: random.Random) -> str:
        """One of the manners, as often as it is to come."""
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
