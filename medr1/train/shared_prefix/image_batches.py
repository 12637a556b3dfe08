"""Which groups are in one pass with gradient: those whose prompts have the same images.

With `--gradient-accumulation-steps` N, completions are sampled for N batches at once, and an update
is the sum of the gradients of N batches. TRL shuffles the groups before it cuts them into batches,
so questions of one image are mostly in different ones, and each of these runs the image again. With
`--group-by-image` the groups of one update are distributed anew over its batches: those with equal
images together, and then those of similar length, which leaves less padding. An update has the same
groups as before. Its gradient is the same, up to rounding, with the loss types whose sum over
batches does not depend on their composition: grpo, dapo and dr_grpo; bnpo divides by the tokens of
each batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from medr1.train.question_order import ByImage, QuestionOrder, fill

if TYPE_CHECKING:
    from trl import GRPOTrainer as _Trainer

    from medr1.train.inputs import Batch, Row
else:
    _Trainer = object


class ImageBatchesMixin(_Trainer):
    """Mixin for TRL's GRPOTrainer: the batches of an update are arranged by image.

    It stands behind the mixins that check batches, and does nothing if prompts are not shared.
    """

    question_order: QuestionOrder | None

    def _prepare_inputs(self, generation_batch: list[Row] | Batch) -> Batch:
        before = self._buffered_inputs
        batch: Batch = super()._prepare_inputs(generation_batch)
        batches: Any = self._buffered_inputs
        is_shared = batch["prompt_ids"].ndim == 3  # otherwise one row per completion
        if batches is before or not is_shared or not isinstance(self.question_order, ByImage):
            return batch
        count = batches_of_an_update(len(batches), self.args.gradient_accumulation_steps)
        starts = range(0, len(batches), count)
        batches[:] = [b for start in starts for b in by_image(batches[start : start + count])]
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
    from trl.trainer.utils import (
        split_pixel_values_by_grid,
        split_tensor_dict,
        unsplit_pixel_values_by_grid,
    )

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
    arranged: Any = {
        name: value
        if value is None or (isinstance(value, torch.Tensor) and not value.ndim)
        else value[order]
        if isinstance(value, torch.Tensor)
        else [value[number] for number in order]
        for name, value in merged.items()
    }
    split: Any = split_tensor_dict(arranged, len(batches))
    return [unsplit_pixel_values_by_grid(batch) for batch in split]


def _merged(batches: Sequence[Batch]) -> Batch:
    """One batch of several; numbers (tensors without axes) are equal in all of them."""
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
