"""Stage 0 of a model that answers with letters: which letter stands before which option.

Text alone. After a list of options, each of them is named in a random order, and the model learns
the letter that follows: `A)CT, B)MRI` and then ` MRI B CT A`. From two options to four, and from
bare lists to the project's prompts. Each option is named once, so that there is no earlier answer
to copy.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tiny_vl_model import render
from tiny_vl_recipe import Binding, Recipe
from tiny_vl_training import report, update
from torch.nn import functional

from medr1.prompts import problem_text
from medr1.records import LETTERS, Sample

MOST_OPTIONS = 4


@dataclass(frozen=True)
class Exercise:
    """Tokens, and where among them the letters stand that are to be learnt."""

    ids: list[int]
    letters: list[int]


class Exercises:
    """Lists of options, of one question type or of several."""

    def __init__(self, processor: Any, samples: Sequence[Sample], recipe: Recipe) -> None:
        self.processor, self.recipe = processor, recipe
        self.encode = processor.tokenizer.encode
        self.letter_tokens = {self.encode(f" {letter}")[0] for letter in LETTERS[:MOST_OPTIONS]}
        self.picker = random.Random(recipe.seed)
        names: dict[str, set[str]] = defaultdict(set)
        questions: dict[str, set[str]] = defaultdict(set)
        for sample in samples:
            if sample.options and sample.question_type:
                names[sample.question_type] |= set(sample.options.values())
                questions[sample.question_type].add(sample.question)
        self.names = {kind: sorted(options) for kind, options in sorted(names.items())}
        self.questions = {kind: sorted(asked) for kind, asked in sorted(questions.items())}

    def sample(self, count: int) -> Sample:
        """A question with up to `count` options and no picture."""
        kind = self.picker.choice(list(self.names))
        every = [name for names in self.names.values() for name in names]
        source = self.picker.choice([self.names[kind], every])
        chosen = self.picker.sample(source, min(count, len(source)))
        question = self.picker.choice(self.questions[kind])
        return Sample(
            "", (), question, dict(zip(LETTERS, chosen, strict=False)), None, "multiple_choice"
        )

    def named(self, sample: Sample) -> list[tuple[str, str]]:
        """The sample's options, each with its letter, in a random order."""
        return self.picker.sample(list(sample.options.items()), len(sample.options))

    def plain(self, count: int) -> Exercise:
        """`A)CT, B)MRI`, then ` MRI B CT A`."""
        sample = self.sample(count)
        bare = problem_text(sample).removeprefix(sample.question)
        return self.exercise(bare, [f" {text} {letter}" for letter, text in self.named(sample)])

    def chat(self, count: int) -> Exercise:
        """The project's prompt, then answers in the recipe's manners, a turn for each option."""
        sample, turns = self.sample(count), []
        for letter, text in self.named(sample):
            answer = self.recipe.draw_manner(self.picker).format(text=text, letter=letter)
            turns.append(f"{answer}<|im_end|>\n")
        return self.exercise(render(self.processor, sample, self.recipe), turns)

    def exercise(self, asked: str, answers: Sequence[str]) -> Exercise:
        """What is asked and the answers to it, of which the letters are to be learnt."""
        ids, places = self.encode(asked), []
        for answer in answers:
            said = self.encode(answer)
            places += [
                len(ids) + place for place, token in enumerate(said) if token in self.letter_tokens
            ]
            ids = ids + said
        return Exercise(ids, places)


def bind_letters(
    model: Any, processor: Any, samples: Sequence[Sample], recipe: Recipe, binding: Binding
) -> int:
    """Stage 0: bare lists until the letters are right, then the project's prompts among them.

    Returns the number of steps it took.
    """
    exercises = Exercises(processor, samples, recipe)

    def mixed(count: int) -> Exercise:
        plain = exercises.picker.random() < binding.plain_share
        return exercises.plain(count) if plain else exercises.chat(count)

    steps = learn(model, exercises.plain, binding.plain_batch, 2, binding)
    model.get_input_embeddings().weight.requires_grad_(False)
    steps += learn(model, mixed, binding.chat_batch, MOST_OPTIONS - 1, binding)
    model.get_input_embeddings().weight.requires_grad_(True)
    return steps


def learn(
    model: Any, draw: Callable[[int], Exercise], size: int, count: int, binding: Binding
) -> int:
    """Train from lists of `count` options to lists of four, until the letters are right.

    Returns the number of steps it took.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=binding.lr, weight_decay=0.01, betas=(0.9, 0.98))
    right = 0.5
    for step in range(binding.most_steps):
        loss, accuracy = letter_loss(model, [draw(count) for _ in range(size)])
        update(optimizer, weights, loss, binding.lr * min(1, (step + 1) / 50))
        right = 0.95 * right + 0.05 * accuracy
        if step % 50 == 0:
            report(f"binding {step}, {count} options: {right:.3f} right, loss {loss.item():.3f}")
        if count == MOST_OPTIONS and right > binding.done_at:
            report(f"bound after {step} steps")
            return step + 1
        if count < MOST_OPTIONS and right > binding.widen_at:
            count, right = count + 1, 0.5
    raise RuntimeError(f"letters and options are not bound after {binding.most_steps} steps")


def letter_loss(model: Any, exercises: Sequence[Exercise]) -> tuple[torch.Tensor, float]:
    """The cross-entropy of the letters, and the share of them that are right."""
    width = max(len(exercise.ids) for exercise in exercises)
    ids = torch.zeros(len(exercises), width, dtype=torch.long)
    asked = torch.zeros(len(exercises), width, dtype=torch.bool)
    mask = torch.zeros_like(ids)
    for row, exercise in enumerate(exercises):
        ids[row, : len(exercise.ids)] = torch.tensor(exercise.ids)
        mask[row, : len(exercise.ids)] = 1
        asked[row, exercise.letters] = True
    output = model.model(
        input_ids=ids, attention_mask=mask, mm_token_type_ids=torch.zeros_like(ids)
    )
    logits = model.lm_head(output.last_hidden_state[:, :-1][asked[:, 1:]])
    letters = ids[asked]
    accuracy = (logits.argmax(-1) == letters).float().mean().item()
    return functional.cross_entropy(logits, letters), accuracy
