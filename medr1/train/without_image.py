"""The completions of the policy without the images, for rewards that pay for using them.

The reward `image-dependence` compares each sampled answer with the answer of the same policy to the
same question with a grey image. That is one more greedy completion for each question of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from medr1.errors import InputError
from medr1.records import Sample
from medr1.rewards import reward_with_column

if TYPE_CHECKING:
    import torch
    from trl import GRPOTrainer as _Trainer

    from medr1.train.inputs import Row
else:
    _Trainer = object

COLUMN = "output_without_image"
"""The column of these completions, as the rewards read it."""


AnswersWithoutImage = Callable[[Sequence[Sample]], Sequence[str]]
"""Returns the greedy completion of the policy as it is now to each question with a grey image."""


class WithoutImageMixin(_Trainer):
    """Mixin for TRL's GRPOTrainer: rewards get the column of completions without the images.

    It stands before the trainer in the list of base classes.
    """

    samples_of_rows: Sequence[Sample] = ()
    """The samples of the training set, in its order; a row has its position as `index`."""
    answers_without_image: AnswersWithoutImage | None = None
    """What makes the completions; None where no reward reads them."""

    def _calculate_rewards(
        self,
        inputs: list[Row],
        prompts: list[object],
        completions: list[str | list[dict[str, str]]],
        completion_ids_list: list[list[int]],
    ) -> torch.Tensor:
        if self.answers_without_image is not None:
            different = list(dict.fromkeys(row["index"] for row in inputs))
            samples = [self.samples_of_rows[index] for index in different]
            outputs = dict(zip(different, self.answers_without_image(samples), strict=True))
            inputs = [{**row, COLUMN: outputs[row["index"]]} for row in inputs]
        rewards: torch.Tensor = super()._calculate_rewards(
            inputs, prompts, completions, completion_ids_list
        )
        return rewards


def require_images(samples: Sequence[Sample], reward: str) -> None:
    """Raise InputError if an item has no image, since the reward could not be earned there.

    Args:
        samples: The questions to train on.
        reward: The name of the reward.
    """
    for sample in samples:
        if not sample.images:
            raise InputError(
                f"item {sample.id} has no image, and the reward {reward!r} pays for the use of "
                "images. Leave the reward out."
            )


def add_answers_without_image(
    trainer: Any, rewards: Sequence[str], answers: AnswersWithoutImage | None
) -> None:
    """Give the trainer what makes the completions, if a reward reads them.

    Args:
        trainer: The trainer of the run.
        rewards: The rewards of the run, as in its settings.
        answers: What makes them.

    Raises:
        InputError: A reward reads them, and `answers` is None, or a process holds only parts of
            the weights.
    """
    reward = reward_with_column(rewards, COLUMN)
    if reward is None:
        return
    if answers is None:
        raise InputError(
            f"the reward {reward!r} needs answers without the image. Train with medr1 train, or "
            "pass `answers_without_image`."
        )
    kind = trainer.accelerator.distributed_type.value
    if kind in ("FSDP", "DEEPSPEED"):
        raise InputError(
            f"the reward {reward!r} needs all weights in each process, and {kind} shards them. "
            "Use DDP (torchrun), or leave the reward out."
        )
    trainer.answers_without_image = answers
