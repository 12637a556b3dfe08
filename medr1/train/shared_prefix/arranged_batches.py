"""Which groups are in one pass with gradient: those with the same images, or of similar length.

With `--gradient-accumulation-steps` N, completions are sampled for N batches at once, and an update
is the sum of the gradients of N batches. TRL shuffles the groups before it cuts them into batches.
Here the groups of one update are distributed anew over its batches:

    --group-by-image    those with equal images together, so that an image is run once, and then
                        those with completions of similar length
    --group-by-length   those of similar length, which leaves less padding

An update has the same groups as before. Its gradient is the same, up to rounding, with the loss
types whose sum over batches does not depend on their composition: grpo, dapo and dr_grpo; bnpo
divides by the tokens of each batch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from medr1.train.question_order import ByImage, QuestionOrder, fill

if TYPE_CHECKING:
    from trl import GRPOTrainer as _Trainer

    from medr1.train.inputs import Batch, Row
else:
    _Trainer = object

logger = logging.getLogger("medr1")


class ArrangedBatchesMixin(_Trainer):
    """Mixin for TRL's GRPOTrainer: the batches of an update are arranged by image or by length.

    It stands behind the mixins that check batches, and does nothing if prompts are not shared.
    """

    question_order: QuestionOrder | None
    group_by_length: bool = False
    """Whether batches are arranged by length, where they are not by image."""

    def arrange_by_length(self, *, shares: bool) -> None:
        """Arrange batches by length from now on, and warn if that changes nothing.

        Args:
            shares: Whether each prompt is run once for its completions.
        """
        self.group_by_length = True
        config: Any = self.args
        num_batches = config.steps_per_generation or 1
        if not shares:
            logger.warning("--group-by-length has no effect: prompts are not shared.")
        elif batches_of_an_update(num_batches, config.gradient_accumulation_steps) == 1:
            logger.warning(
                "--group-by-length has no effect: no two batches of a generation are always in one "
                "update. Raise --gradient-accumulation-steps."
            )

    def _prepare_inputs(self, generation_batch: list[Row] | Batch) -> Batch:
        before = self._buffered_inputs
        batch: Batch = super()._prepare_inputs(generation_batch)
        batches: Any = self._buffered_inputs
        is_shared = batch["prompt_ids"].ndim == 3  # otherwise one row per completion
        arrange: Callable[[Sequence[Batch]], list[Batch]] | None = None
        if isinstance(self.question_order, ByImage):
            arrange = by_image
        elif self.group_by_length:
            arrange = by_length
        if batches is before or not is_shared or arrange is None:
            return batch
        count = batches_of_an_update(len(batches), self.args.gradient_accumulation_steps)
        starts = range(0, len(batches), count)
        batches[:] = [b for start in starts for b in arrange(batches[start : start + count])]
        return batches[self._step % len(batches)]  # type: ignore[no-any-return]


def batches_of_an_update(num_batches: int, accumulation: int) -> int:
    """How many batches, one after the other, are always in one update.

    Args:
        num_batches: Number of batches of one generation.
        accumulation: Number of batches of an update.
    """
    if num_batches % accumulation == 0:
        return accumulation
    return num_batches if accumulation % num_batches == 0 else 1


def by_image(batches: Sequence[Batch]) -> list[Batch]:
    """The groups of some batches in as many batches of the same size, arranged by image.

    Args:
        batches: Batches as `rows_to_groups` makes them.
    """
    from trl.trainer.utils import split_pixel_values_by_grid

    if len(batches) < 2 or batches[0].get("pixel_values") is None:
        return list(batches)
    merged = _merged([split_pixel_values_by_grid(batch) for batch in batches])
    tokens: list[int] = merged["completion_mask"].flatten(1).sum(1).tolist()
    by_pixels: list[list[int]] = []  # the groups of each image
    for number, patches in enumerate(merged["pixel_values"]):
        same = (g for g in by_pixels if torch.equal(merged["pixel_values"][g[0]], patches))
        if groups := next(same, None):
            groups.append(number)
        else:
            by_pixels.append([number])
    for groups in by_pixels:
        groups.sort(key=lambda number: -tokens[number])
    # the largest first, so that few have to be cut
    by_pixels.sort(key=lambda groups: (-len(groups), -tokens[groups[0]]))
    parts = fill(by_pixels, len(tokens) // len(batches))
    order = [number for part in parts for groups in part for number in groups]
    return _ordered(merged, order, len(batches))


def by_length(batches: Sequence[Batch]) -> list[Batch]:
    """The groups of some batches in as many batches of the same size, with as little padding.

    In a batch, prompts are padded to the longest prompt, and the completions of a group to those of
    the group that has most tokens. Of the groups in their own order, and sorted by the tokens of
    the prompt, of the completions and of both, the order with the fewest tokens is taken.

    Args:
        batches: Batches as `rows_to_groups` makes them.
    """
    from trl.trainer.utils import split_pixel_values_by_grid

    if len(batches) < 2:
        return list(batches)
    merged = _merged([split_pixel_values_by_grid(batch) for batch in batches])
    # each completion of a group has a copy of the mask of their prompt
    prompts = merged["prompt_mask"][:, 0].sum(1)
    completions = merged["completion_mask"].flatten(1).sum(1)

    def padded(order: torch.Tensor) -> int:
        """The tokens of all batches with their padding; those of each batch have equal weight."""
        parts = (lengths[order].view(len(batches), -1) for lengths in (prompts, completions))
        return sum(int(part.max(1).values.sum()) for part in parts)

    lengths = prompts + completions, completions, prompts
    sorted_groups = [torch.argsort(-length, stable=True) for length in lengths]
    order = min([torch.arange(len(prompts)), *sorted_groups], key=padded)
    return _ordered(merged, order.tolist(), len(batches))


def _ordered(merged: Batch, order: Sequence[int], count: int) -> list[Batch]:
    """The groups of one batch in an order, cut into `count` batches of equal size."""
    from trl.trainer.utils import split_tensor_dict, unsplit_pixel_values_by_grid

    arranged: Any = {
        name: value
        if value is None or (isinstance(value, torch.Tensor) and not value.ndim)
        else value[order]
        if isinstance(value, torch.Tensor)
        else [value[number] for number in order]
        for name, value in merged.items()
    }
    split: Any = split_tensor_dict(arranged, count)
    return [unsplit_pixel_values_by_grid(batch) for batch in split]


def _merged(batches: Sequence[Batch]) -> Batch:
    """One batch of several; numbers (tensors without axes) are equal in all of them.

    Tensors of different batches have the same width, because they were cut from one generation.
    """
    merged: Batch = {}
    for name, value in batches[0].items():
        values = [batch[name] for batch in batches]
        if isinstance(value, torch.Tensor) and value.ndim:
            merged[name] = torch.cat(values)
        elif isinstance(value, list):
            merged[name] = [entry for part in values for entry in part]
        else:
            merged[name] = value
    return merged
