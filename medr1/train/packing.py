"""A prompt packed once with all its completions behind it, and what each token may see.

    tokens:    [prompt less its last][last prompt token, completion 1 less its last][same of 2] ...
    visible:   within the prompt all before; behind it the whole prompt, and one's own part before
    position:  as if one's own part alone followed the prompt
    label:     the token that follows in one's own completion; none within the prompt

Each part begins with the last prompt token, whose label is the completion's first token. So one
pass says the log-probability of every token of every completion, and the prompt is in it once.

Shapes: P prompts, G completions of each, N prompt tokens (left padded), C completion tokens (right
padded), K = N - 1 shared tokens, T = K + G * C packed tokens; S blocks of L tokens (a prompt's
completions, some to a block, S * L = G * C).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

IGNORED = -100
"""The label of a token that nothing is asked of."""


@dataclass(frozen=True)
class Groups:
    """Prompts, each with its pictures and its completions."""

    prompt_ids_PN: torch.Tensor
    prompt_mask_PN: torch.Tensor
    is_image_PN: torch.Tensor
    """1 for an image token, 0 for text."""
    completion_ids_PGC: torch.Tensor
    completion_mask_PGC: torch.Tensor
    patches: Sequence[torch.Tensor]
    """The pixels of each prompt's pictures."""
    grids: Sequence[torch.Tensor]
    """How many patches each picture has in time, height and width."""

    @property
    def number(self) -> int:
        """P."""
        return len(self.prompt_ids_PN)

    def chosen(self, indices: Sequence[int]) -> Groups:
        """Some of the groups, without the columns that are padding in all of them."""
        rows = list(indices)
        prompt_mask = self.prompt_mask_PN[rows]
        completion_mask = self.completion_mask_PGC[rows]
        first = int(prompt_mask.any(0).int().argmax())
        columns = completion_mask.any(0).any(0).nonzero()
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


@dataclass(frozen=True)
class Layout:
    """Where the prompt ends in packed tokens, and what is visible within it and behind it."""

    shared: int
    """K."""
    blocks: int
    """S."""
    prompt_PKK: torch.Tensor | None
    """None: causal, without padding."""
    block_SLK: torch.Tensor
    """For each block of each prompt, or one for all, over K + L keys."""
    _biases: dict[tuple[torch.dtype, int], tuple[torch.Tensor | None, torch.Tensor]] = field(
        default_factory=dict, repr=False
    )

    def attention_bias(
        self, dtype: torch.dtype, copies: int
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Both as what is added to scores, with an axis for heads, the second's rows repeated.

        Made once for all layers: it is the same memory that each of them keeps for its gradient.
        """
        key = (dtype, copies)
        if key not in self._biases:
            prompt = None if self.prompt_PKK is None else mask_to_bias(self.prompt_PKK, dtype)
            self._biases[key] = prompt, mask_to_bias(self.block_SLK, dtype).repeat(1, 1, copies, 1)
        return self._biases[key]


def mask_to_bias(visible_SLK: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """0 where a key is visible, else minus infinity (S, 1, L, K)."""
    hidden = torch.zeros(visible_SLK.shape, dtype=dtype, device=visible_SLK.device)
    return hidden.masked_fill(~visible_SLK, -torch.inf)[:, None]


@dataclass(frozen=True)
class Packed:
    """What one pass of the model is given, and what it is asked."""

    ids_PT: torch.Tensor
    positions_3PT: torch.Tensor
    labels_PT: torch.Tensor
    layout: Layout


def pack(groups: Groups, positions_3PN: torch.Tensor) -> Packed:
    """The groups as packed tokens; `positions_3PN` are those of the prompts alone."""
    ids_PGC, mask_PGC = groups.completion_ids_PGC, groups.completion_mask_PGC
    _, generations, length = ids_PGC.shape
    last_PG1 = groups.prompt_ids_PN[:, None, -1:].expand(-1, generations, -1)
    parts_PGC = torch.cat([last_PG1, ids_PGC[..., :-1]], -1)
    shared_PK = groups.prompt_ids_PN[:, :-1]
    steps_C = torch.arange(length, device=ids_PGC.device)
    behind_3PT = (positions_3PN[..., -1:] + steps_C).repeat(1, 1, generations)
    labels_PGC = ids_PGC.masked_fill(mask_PGC == 0, IGNORED)
    return Packed(
        torch.cat([shared_PK, parts_PGC.flatten(1)], 1),
        torch.cat([positions_3PN[..., :-1], behind_3PT], -1),
        torch.cat([torch.full_like(shared_PK, IGNORED), labels_PGC.flatten(1)], 1),
        layout(groups.prompt_mask_PN[:, :-1].bool(), generations, length),
    )


def layout(visible_PK: torch.Tensor, generations: int, length: int) -> Layout:
    """What the packed tokens see; `visible_PK` is false where the prompt is padding.

    As many completions share a block as together are no longer than the prompt: a block hides them
    from each other, and reads the prompt's keys once for all.
    """
    shared = visible_PK.shape[1]
    device = visible_PK.device
    whole = bool(visible_PK.all())
    fitting = (n for n in range(generations, 0, -1) if generations % n == 0)
    together = next(n for n in fitting if n == 1 or n * length <= shared)
    blocks = generations // together
    part_L = torch.arange(together * length, device=device) // length
    own_LL = (part_L[:, None] == part_L).tril()
    seen_PK = visible_PK[:1] if whole else visible_PK.repeat_interleave(blocks, 0)
    seen_SLK = seen_PK[:, None].expand(-1, len(own_LL), -1)
    block_SLK = torch.cat([seen_SLK, own_LL.expand(len(seen_PK), -1, -1)], -1)
    if whole:
        return Layout(shared, blocks, None, block_SLK)
    causal_KK = torch.ones(shared, shared, dtype=torch.bool, device=device).tril()
    itself_KK = torch.eye(shared, dtype=torch.bool, device=device)  # padding sees itself alone
    return Layout(shared, blocks, causal_KK & visible_PK[:, None] | itself_KK, block_SLK)


def unpack(values_PT: torch.Tensor, groups: Groups) -> torch.Tensor:
    """The values of the completions' tokens (P, G, C), zero where there is padding."""
    shape = groups.completion_ids_PGC.shape
    return values_PT[:, groups.prompt_ids_PN.shape[1] - 1 :].reshape(shape)


def in_groups(batch: dict[str, Any], generations: int) -> dict[str, Any]:
    """A batch with a row for each completion as one with a row for each prompt: (P * G, ...) to
    (P, G, ...).

    `pixel_values` and `image_grid_thw`, which are the prompts' already, stay; so do numbers. What
    shuffles and splits rows then moves whole groups.
    """
    grouped = {}
    for name, value in batch.items():
        if name in _OF_PROMPTS or value is None:
            grouped[name] = value
        elif isinstance(value, list):
            grouped[name] = value[::generations]
        else:
            grouped[name] = value.unflatten(0, (-1, generations)) if value.ndim else value
    return grouped


def in_rows(batch: dict[str, Any]) -> dict[str, Any]:
    """The opposite of `in_groups`."""
    generations = batch["prompt_ids"].shape[1]
    rows = {}
    for name, value in batch.items():
        if name in _OF_PROMPTS or value is None:
            rows[name] = value
        elif isinstance(value, list):
            rows[name] = [part for part in value for _ in range(generations)]
        else:
            rows[name] = value.flatten(0, 1) if value.ndim else value
    return rows


_OF_PROMPTS = ("pixel_values", "image_grid_thw")


def groups_of(
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    completion_length: int,
    generations: int,
    inputs: Mapping[str, Any],
) -> Groups:
    """The groups in a batch of prompts and completions, one row a completion.

    Of the model's other inputs, pixels and grids are those of the prompts, each once; `num_images`
    has a number for each row.
    """
    types = inputs.get("mm_token_type_ids")
    types = torch.zeros_like(input_ids) if types is None else types
    ids, mask, kinds = (
        rows.unflatten(0, (-1, generations)) for rows in (input_ids, attention_mask, types)
    )
    patches: Sequence[torch.Tensor] = []
    grids: Sequence[torch.Tensor] = []
    if inputs.get("pixel_values") is not None:
        grids = inputs["image_grid_thw"].split(inputs["num_images"][::generations])
        patches = inputs["pixel_values"].split([int(grid.prod(-1).sum()) for grid in grids])
    return Groups(
        ids[:, 0, :-completion_length],
        mask[:, 0, :-completion_length],
        kinds[:, 0, :-completion_length],
        ids[..., -completion_length:],
        mask[..., -completion_length:],
        patches,
        grids,
    )


@dataclass(frozen=True)
class GradientSplit:
    """Which groups of a batch need a gradient, and which the loss does not depend on."""

    with_gradient: list[int]
    without_gradient: list[int]
    """May name a group of the others again, whose values are then those with a gradient."""

    def merged(self, with_QGC: torch.Tensor, without_RGC: torch.Tensor) -> torch.Tensor:
        """The values of all groups (P, G, C), from those of Q with and R without a gradient."""
        num_groups = 1 + max(*self.with_gradient, *self.without_gradient)
        values_PGC = with_QGC.new_zeros((num_groups, *with_QGC.shape[1:]))
        for groups, values in (
            (self.without_gradient, without_RGC),
            (self.with_gradient, with_QGC),
        ):
            place = torch.tensor(groups, device=values.device)
            values_PGC = values_PGC.index_copy(0, place, values)
        return values_PGC
