"""Groups: prompts with the completions of each, and the same as the rows that TRL works on.

Shapes: P prompts, G completions of each, N prompt tokens (padded on the left), C completion tokens
(padded on the right).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from medr1.train.inputs import Batch


@dataclass(frozen=True)
class Groups:
    """A batch of prompts, each with its images and its G completions."""

    prompt_ids_PN: torch.Tensor
    prompt_mask_PN: torch.Tensor
    """0 for padding, 1 for a token."""
    is_image_PN: torch.Tensor
    """1 for an image token, 0 for text."""
    completion_ids_PGC: torch.Tensor
    completion_mask_PGC: torch.Tensor
    """0 for padding, 1 for a token."""
    patches: Sequence[torch.Tensor]
    """Per prompt, the pixels of its images as rows of patches; () without images."""
    grids: Sequence[torch.Tensor]
    """Per prompt, the number of patches in time, height and width of each of its images."""

    @property
    def num_prompts(self) -> int:
        """P."""
        return len(self.prompt_ids_PN)

    def select(self, indices: Sequence[int]) -> Groups:
        """Some of the groups, without the columns that are padding in all of them."""
        rows = list(indices)
        prompt_mask = self.prompt_mask_PN[rows]
        completion_mask = self.completion_mask_PGC[rows]
        first = int(prompt_mask.any(0).int().argmax())
        columns = completion_mask.any(0).any(0).nonzero()
        # One column stays even if all completions are empty: a part is never without tokens.
        end = int(columns.max()) + 1 if len(columns) else 1
        return Groups(
            self.prompt_ids_PN[rows, first:],
            prompt_mask[:, first:],
            self.is_image_PN[rows, first:],
            self.completion_ids_PGC[rows, :, :end],
            completion_mask[..., :end],
            [self.patches[row] for row in rows] if self.patches else [],
            [self.grids[row] for row in rows] if self.grids else [],
        )


def rows_to_groups(batch: Batch, num_generations: int) -> Batch:
    """A batch of one row per completion, with one row per prompt instead.

    TRL shuffles a batch and splits it by rows. After this, it moves complete groups.

    Args:
        batch: TRL's batch: name -> tensor (P * G, ...), or list of P * G values, or None. Rows that
            belong to one prompt follow each other.
        num_generations: G.

    Returns:
        name -> tensor (P, G, ...), or list of P values. Numbers (tensors without axes) stay, and so
        do `pixel_values` and `image_grid_thw`, which have one part per prompt already.
    """
    grouped = {}
    for name, value in batch.items():
        if name in _PER_PROMPT or value is None:
            grouped[name] = value
        elif isinstance(value, list):
            grouped[name] = value[::num_generations]
        else:
            grouped[name] = value.unflatten(0, (-1, num_generations)) if value.ndim else value
    return grouped


def groups_to_rows(batch: Batch) -> Batch:
    """A batch of one row per prompt, with one row per completion: undoes `rows_to_groups`."""
    num_generations = batch["prompt_ids"].shape[1]
    rows = {}
    for name, value in batch.items():
        if name in _PER_PROMPT or value is None:
            rows[name] = value
        elif isinstance(value, list):
            rows[name] = [item for item in value for _ in range(num_generations)]
        else:
            rows[name] = value.flatten(0, 1) if value.ndim else value
    return rows


_PER_PROMPT = ("pixel_values", "image_grid_thw")
"""Entries of a batch that have one part per prompt, not one per completion."""


def groups_from_rows(
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    completion_length: int,
    num_generations: int,
    inputs: Mapping[str, Any],
) -> Groups:
    """The groups in a batch of prompts with completions, one row per completion.

    Args:
        input_ids: Prompt and completion of each row (P * G, N + C).
        attention_mask: 0 for padding (P * G, N + C).
        completion_length: C.
        num_generations: G.
        inputs: The model's other inputs. `pixel_values` and `image_grid_thw` have the images of
            each prompt once; `num_images` has the number of images of each row.
    """
    types = inputs.get("mm_token_type_ids")
    types = torch.zeros_like(input_ids) if types is None else types
    ids, mask, kinds = (
        rows.unflatten(0, (-1, num_generations)) for rows in (input_ids, attention_mask, types)
    )
    patches: Sequence[torch.Tensor] = []
    grids: Sequence[torch.Tensor] = []
    if inputs.get("pixel_values") is not None:
        patches, grids = images_by_prompt(
            inputs["pixel_values"],
            inputs["image_grid_thw"],
            inputs["num_images"][::num_generations],
        )
    return Groups(
        ids[:, 0, :-completion_length],
        mask[:, 0, :-completion_length],
        kinds[:, 0, :-completion_length],
        ids[..., -completion_length:],
        mask[..., -completion_length:],
        patches,
        grids,
    )


def images_by_prompt(
    pixel_values: torch.Tensor, image_grid_thw: torch.Tensor, num_images: Sequence[int]
) -> tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]:
    """The patches of each prompt's images, and their grids.

    Args:
        pixel_values: The patches of all images, one a row.
        image_grid_thw: The patches of each image in time, height and width.
        num_images: The number of images of each prompt.
    """
    grids = image_grid_thw.split(list(num_images))
    # An image has time * height * width patches; all images' patches are rows of one tensor.
    return pixel_values.split([int(grid.prod(-1).sum()) for grid in grids]), grids


def repeat_images(batch: Batch, num_generations: int, part: int) -> Batch:
    """A batch whose images are there once for each part of a group, in place of once a group.

    Args:
        batch: One row per completion, with the images of each prompt once.
        num_generations: G, a multiple of `part`.
        part: The rows of a part.
    """
    if part == num_generations or batch.get("pixel_values") is None:
        return batch
    patches, grids = images_by_prompt(
        batch["pixel_values"], batch["image_grid_thw"], batch["num_images"][::num_generations]
    )
    times = num_generations // part
    return {
        **batch,
        "pixel_values": torch.cat([values for values in patches for _ in range(times)]),
        "image_grid_thw": torch.cat([grid for grid in grids for _ in range(times)]),
    }


@dataclass(frozen=True)
class GradientSplit:
    """Which groups of a batch need a gradient, and which the loss does not depend on."""

    with_gradient: list[int]
    """Positions of groups, at least one."""
    without_gradient: list[int]
    """Positions of groups, at least one. It may be one of `with_gradient` again, if every group
    needs a gradient in this process; its values with a gradient are then the ones used."""

    def merge(self, with_QGC: torch.Tensor, without_RGC: torch.Tensor) -> torch.Tensor:
        """The values of all groups, in the order of the batch.

        Args:
            with_QGC: Values of the Q groups of `with_gradient`.
            without_RGC: Values of the R groups of `without_gradient`.

        Returns:
            Shape (P, G, C); gradients flow to `with_QGC`.
        """
        num_groups = 1 + max(*self.with_gradient, *self.without_gradient)
        values_PGC = with_QGC.new_zeros((num_groups, *with_QGC.shape[1:]))
        # The groups with a gradient come last: a group that is in both keeps its gradient.
        for groups, values in (
            (self.without_gradient, without_RGC),
            (self.with_gradient, with_QGC),
        ):
            place = torch.tensor(groups, device=values.device)
            values_PGC = values_PGC.index_copy(0, place, values)
        return values_PGC
