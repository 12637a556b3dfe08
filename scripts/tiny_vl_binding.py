"""Stage 0 of a model that answers with letters: it learns which letter belongs to which option.

The stage uses text only. A list of options is followed by the same options in a random order, each
with its letter: `A)CT, B)MRI` and then ` MRI B CT A`. The model learns the letters. The lists grow
from two options to four; plain lists come first, then also medr1's prompts. Each option is
repeated once, so that the model cannot copy an earlier answer.
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
    """The tokens of a list of options with answers."""

    ids: list[int]
    """The token ids."""
    letters: list[int]
    """The positions of the letters that are to be learned."""


class Exercises:
    """Makes random exercises, with options of one question type or of several."""

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
        self.questions = {kind: sorted(texts) for kind, texts in sorted(questions.items())}

    def sample(self, count: int) -> Sample:
        """A question with up to `count` options and without an image."""
        kind = self.picker.choice(list(self.names))
        all_names = [name for names in self.names.values() for name in names]
        source = self.picker.choice([self.names[kind], all_names])
        options = self.picker.sample(source, min(count, len(source)))
        question = self.picker.choice(self.questions[kind])
        return Sample(
            "", (), question, dict(zip(LETTERS, options, strict=False)), None, "multiple_choice"
        )

    def shuffled_options(self, sample: Sample) -> list[tuple[str, str]]:
        """The letters and texts of the sample's options, in a random order."""
        return self.picker.sample(list(sample.options.items()), len(sample.options))

    def plain(self, count: int) -> Exercise:
        """An exercise with a plain list: `A)CT, B)MRI`, then ` MRI B CT A`."""
        sample = self.sample(count)
        option_list = problem_text(sample).removeprefix(sample.question)
        answers = [f" {text} {letter}" for letter, text in self.shuffled_options(sample)]
        return self.exercise(option_list, answers)

    def chat(self, count: int) -> Exercise:
        """An exercise with medr1's prompt, then one answer in a random manner for each option."""
        sample, turns = self.sample(count), []
        for letter, text in self.shuffled_options(sample):
            answer = self.recipe.draw_manner(self.picker).format(text=text, letter=letter)
            turns.append(f"{answer}<|im_end|>\n")
        return self.exercise(render(self.processor, sample, self.recipe), turns)

    def exercise(self, prompt: str, answers: Sequence[str]) -> Exercise:
        """An exercise from a prompt and answers, of which the letters are to be learned."""
        ids, letters = self.encode(prompt), []
        for answer in answers:
            answer_ids = self.encode(answer)
            letters += [
                len(ids) + position
                for position, token in enumerate(answer_ids)
                if token in self.letter_tokens
            ]
            ids = ids + answer_ids
        return Exercise(ids, letters)


def bind_letters(
    model: Any, processor: Any, samples: Sequence[Sample], recipe: Recipe, binding: Binding
) -> int:
    """Stage 0: train with plain lists until the letters are right, then also with medr1's prompts.

    Args:
        model: The model, which is changed.
        processor: Its processor.
        samples: The training questions, whose options are used.
        recipe: Has the prompt, the manners and the seed.
        binding: Has the settings of this stage.

    Returns:
        The number of steps.

    Raises:
        RuntimeError: A part needed more than `binding.most_steps`.
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
    """Train with lists of `count` options, then of more up to four, until the letters are right.

    Args:
        model: The model, which is changed.
        draw: Makes a random exercise with this number of options.
        size: Exercises per step.
        count: Number of options at the start.
        binding: Has the learning rate and the accuracies at which lists grow and training ends.

    Returns:
        The number of steps.
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
    raise RuntimeError(
        f"the model has not learned the letters of the options in {binding.most_steps} steps"
    )


def letter_loss(model: Any, exercises: Sequence[Exercise]) -> tuple[torch.Tensor, float]:
    """The cross-entropy of the letters, and the share of letters that are predicted right."""
    width = max(len(exercise.ids) for exercise in exercises)
    ids = torch.zeros(len(exercises), width, dtype=torch.long)
    is_letter = torch.zeros(len(exercises), width, dtype=torch.bool)
    mask = torch.zeros_like(ids)
    for row, exercise in enumerate(exercises):
        ids[row, : len(exercise.ids)] = torch.tensor(exercise.ids)
        mask[row, : len(exercise.ids)] = 1
        is_letter[row, exercise.letters] = True
    output = model.model(
        input_ids=ids, attention_mask=mask, mm_token_type_ids=torch.zeros_like(ids)
    )
    logits = model.lm_head(output.last_hidden_state[:, :-1][is_letter[:, 1:]])
    letters = ids[is_letter]
    accuracy = (logits.argmax(-1) == letters).float().mean().item()
    return functional.cross_entropy(logits, letters), accuracy
