"""The order in which GRPO draws the questions: shuffled, from easy to hard, or by image.

    shuffled       each pass over the data has a new random order                    TRL's sampler
    easy to hard   the first pass is sorted by pass rates, later passes are shuffled   --curriculum
    by image       the questions of one image are drawn together            --group-by-image

In each of them a question is drawn once in a pass. As in TRL's sampler, the questions that do not
fill the last batch of a pass are left out of it. They are chosen at random, so that not always the
hardest ones are left out. An order depends on the seed, the number of the pass and the number of
questions of a batch over all processes: every process draws the same one, and so does a run that is
resumed.

A batch here has the questions whose completions are sampled together, in all processes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Sampler

from medr1.data.pass_rates import rates_by_question, read_pass_rates
from medr1.data.readers import Questions
from medr1.errors import InputError
from medr1.terminal import counted

if TYPE_CHECKING:
    from trl import GRPOConfig
    from trl import GRPOTrainer as _Trainer

    from medr1.train.settings import TrainingSettings
else:
    _Trainer = object

WINDOWS = 10
"""The sorted questions are cut into so many parts of equal size, and each part is shuffled."""


@dataclass(frozen=True)
class EasyToHard:
    """The questions by pass rate, the highest first, in the first pass; later passes are shuffled.

    The rates are those of the model before training, so they say less in later passes.
    """

    name: str
    """The name of the file of pass rates, without its folder."""
    rates: Sequence[float | None]
    """The pass rate of each question; None if it has none."""
    batch: int
    """Number of questions of a batch."""

    def indices(self, number: int, generator: torch.Generator) -> list[int]:
        """The questions of a pass, in the order in which they are drawn.

        Args:
            number: The number of the pass, from 0 on.
            generator: Draws the random numbers of the passes, one pass after the other.
        """
        shuffled = _permutation(len(self.rates), generator)
        if number:
            return shuffled
        num_left_out = len(shuffled) % self.batch
        left_out, questions = shuffled[:num_left_out], shuffled[num_left_out:]
        known = [(rate, i) for i in questions if (rate := self.rates[i]) is not None]
        known.sort(key=lambda pair: -pair[0])  # equal rates stay shuffled
        ordered = [index for _, index in known]
        size = ceil(len(ordered) / WINDOWS) or 1
        for start in range(0, len(ordered), size):
            window = ordered[start : start + size]
            places = _permutation(len(window), generator)
            ordered[start : start + size] = [window[place] for place in places]
        unknown = [index for index in questions if self.rates[index] is None]
        return [*ordered, *unknown, *left_out]

    def description(self, num_drawn: int) -> str:
        """The order as a phrase.

        Args:
            num_drawn: Number of questions that the run draws, each pass counted.
        """
        rates = [rate for rate in self.rates if rate is not None]
        phrase = f"by pass rate, easy to hard in the first pass ({self.name}: "
        phrase += f"{max(rates):.2f} to {min(rates):.2f}"
        if unknown := len(self.rates) - len(rates):
            phrase += f"; {unknown:,} of {counted(len(self.rates), 'question')} without a rate last"
        end = len(self.rates) - len(self.rates) % self.batch
        if num_drawn < end:
            phrase += f"; the run ends before the last {end - num_drawn:,} of the first pass"
        return phrase + ")"


@dataclass(frozen=True)
class ByImage:
    """The questions of one image in one batch, and there in one process; images are shuffled.

    Images are equal if their paths are, so no image is opened. Images of equal pixels under two
    paths are two images here; where they meet in a batch, their prompts are shared nevertheless.
    """

    images: Sequence[tuple[str, ...]]
    """The paths of the images of each question."""
    batch: int
    """Number of questions of a batch."""
    part: int
    """Number of questions of a batch in one process; a divisor of `batch`."""

    def indices(self, number: int, generator: torch.Generator) -> list[int]:
        """The questions of a pass, in the order in which they are drawn.

        Args:
            number: The number of the pass, from 0 on; every pass has an order of its own.
            generator: Draws the random numbers of the passes, one pass after the other.
        """
        shuffled = _permutation(len(self.images), generator)
        num_left_out = len(shuffled) % self.batch
        left_out, questions = shuffled[:num_left_out], shuffled[num_left_out:]
        by_image: dict[tuple[str, ...], list[int]] = {}
        for index in questions:
            by_image.setdefault(self.images[index], []).append(index)
        groups = list(by_image.values())
        groups = [groups[place] for place in _permutation(len(groups), generator)]
        batches = fill(groups, self.batch)
        batches = [batches[place] for place in _permutation(len(batches), generator)]
        # What a batch has does not depend on the number of processes, which may change when a run
        # is resumed; only the order within a batch does.
        parts = (
            part
            for batch in batches
            for part in fill(sorted(batch, key=len, reverse=True), self.part)
        )
        return [index for part in parts for group in part for index in group] + left_out

    def description(self, num_drawn: int) -> str:
        """The order as a phrase; `num_drawn` does not matter."""
        images = counted(len(set(self.images)), "image")
        return f"by image ({counted(len(self.images), 'question')} about {images})"


QuestionOrder = EasyToHard | ByImage


def _permutation(count: int, generator: torch.Generator) -> list[int]:
    numbers: list[int] = torch.randperm(count, generator=generator).tolist()
    return numbers


def fill(groups: Sequence[Sequence[int]], size: int) -> list[list[list[int]]]:
    """Distribute groups over parts of one size, and cut a group only if no other one fits.

    The next part gets the first group that fits into what is left of it, and so on until it is
    full. If none fits, it gets as much of the next group as fits, and the rest of it waits.

    Args:
        groups: The groups, in the order in which they are distributed.
        size: Number of elements of a part. The last part may have fewer.

    Returns:
        The parts, each with its groups.
    """
    waiting: dict[int, deque[tuple[int, list[int]]]] = {}
    for number, group in enumerate(groups):
        waiting.setdefault(len(group), deque()).append((number, list(group)))
    parts: list[list[list[int]]] = []
    room = 0
    while heads := [queue[0] for queue in waiting.values() if queue]:
        if not room:
            parts.append([])
            room = size
        number, group = min([head for head in heads if len(head[1]) <= room] or heads)
        waiting[len(group)].popleft()
        parts[-1].append(group[:room])
        if rest := group[room:]:  # it was the first of all that wait, and stays so
            waiting.setdefault(len(rest), deque()).appendleft((number, rest))
        room -= len(parts[-1][-1])
    return parts


def question_order(
    settings: TrainingSettings, questions: Questions, config: GRPOConfig
) -> QuestionOrder | None:
    """The order that the settings ask for; None: TRL's.

    Args:
        settings: The settings of the run.
        questions: The questions to train on, as they are in the file.
        config: TRL's configuration.

    Raises:
        InputError: The settings contradict each other, the file of pass rates does not belong to
            the questions, or a batch has too few questions for an image to have several.
    """
    if not settings.curriculum and not settings.group_by_image:
        return None
    name = "--curriculum" if settings.curriculum else "--group-by-image"
    if settings.curriculum and settings.group_by_image:
        raise InputError(
            "--curriculum and --group-by-image are two orders of the questions. Give one of them."
        )
    if not config.shuffle_dataset:
        raise InputError(
            f"{name} and --shuffle-dataset false are two orders of the questions. Give one of them."
        )
    num_generations = config.num_generations or 1
    batch = max((config.generation_batch_size or 1) // num_generations, 1)
    if settings.curriculum:
        path = Path(settings.curriculum)
        document = read_pass_rates(path)
        rates = rates_by_question(document, questions.samples, path, questions.name)
        return EasyToHard(path.name, rates, batch)
    rows = config.per_device_train_batch_size * (config.steps_per_generation or 1)
    # a process that has parts of groups has no whole number of questions
    part = batch if rows % num_generations else rows // num_generations
    if part == 1:
        raise InputError(
            f"--group-by-image: a process has {rows} completions at a time, which are those of one "
            "question, so no question would share its image. Raise --batch-size."
        )
    return ByImage([sample.images for sample in questions.samples], batch, part)


def num_drawn(config: GRPOConfig, steps: int) -> int:
    """Number of questions that a run draws, each as often as it is drawn.

    Args:
        config: TRL's configuration.
        steps: Number of steps of the run.
    """
    batches = steps * config.gradient_accumulation_steps
    generations = ceil(batches / ((config.steps_per_generation or 1) * config.num_iterations))
    return generations * ((config.generation_batch_size or 1) // (config.num_generations or 1))


class OrderedSampler(Sampler[int]):
    """TRL's sampler, which repeats questions for their completions, with another order of them."""

    def __init__(self, positions: Sampler[int], order: QuestionOrder, seed: int) -> None:
        """Make a sampler that begins with the first pass.

        Args:
            positions: TRL's sampler without shuffling. It yields positions in the order.
            order: The order of the questions.
            seed: Seed of the order.
        """
        self.positions, self.order = positions, order
        # named as in TRL's sampler: exact_resume.py draws the orders of the passes that are done
        self.generator = torch.Generator().manual_seed(seed)
        self.num_passes = 0

    def __iter__(self) -> Iterator[int]:
        indices = self.order.indices(self.num_passes, self.generator)
        self.num_passes += 1
        for position in self.positions:
            yield indices[position]

    def __len__(self) -> int:
        return len(self.positions)  # type: ignore[arg-type]  # TRL's has a length


class QuestionOrderMixin(_Trainer):
    """Mixin for TRL's GRPOTrainer: the questions are drawn in `question_order`."""

    question_order: QuestionOrder | None = None
    """None: TRL's order."""

    def _get_train_sampler(self, dataset: Any = None) -> Sampler[int]:
        sampler: Any = super()._get_train_sampler(dataset)
        if self.question_order is None:
            return sampler  # type: ignore[no-any-return]
        sampler.shuffle = False
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return OrderedSampler(sampler, self.question_order, seed)
