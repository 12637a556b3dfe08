"""Packing: a prompt and all its completions as one sequence, so that the prompt is run once.

A packed sequence has K tokens of the prompt (all but its last), then one part per completion:

    tokens      [prompt without its last token][part 1][part 2] ... [part G]
    part g      [last prompt token][completion g without its last token]
    visible     a prompt token sees the prompt tokens before it and itself; a token of a part sees
                the K prompt tokens, and the tokens of its own part up to itself
    position    the same as if the part were the only one behind the prompt
    label       the next token of the completion; `IGNORED` on the prompt and on padding

Each part begins with a copy of the last prompt token. The first token of its completion is
predicted there, and G completions have up to G different first tokens, but a token has only one
label. One pass over a packed sequence computes the log-probability of each token of each
completion.

The completions are put into blocks of equal length (see `block_layout`): attention treats each
block as a row of its own, behind the same prompt. The padding of completions is left out; only the
blocks have some at their ends.

Shapes: P prompts, G completions of each, N prompt tokens (padded on the left), C completion tokens
(padded on the right), K = N - 1 shared prompt tokens, S blocks of a prompt, L tokens of a block,
T = K + S * L packed tokens, B = P * S blocks of all prompts, M = K + L keys that a block reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from medr1.train.inputs import Batch

IGNORED = -100
"""The label of a token at which nothing is predicted (torch's `ignore_index`)."""


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


@dataclass(frozen=True)
class AttentionLayout:
    """Where the prompt ends in packed tokens, and which keys each token sees."""

    num_shared: int
    """K."""
    num_blocks: int
    """S."""
    prompt_mask_PKK: torch.Tensor | None
    """Which prompt tokens a prompt token sees; None: those before it and itself, no padding."""
    block_mask_BLM: torch.Tensor
    """Which keys a token of a block sees: the K of the prompt, then the L of its block. If
    the mask of all blocks is the same, the first axis has length 1."""
    _biases: dict[tuple[torch.dtype, int], tuple[torch.Tensor | None, torch.Tensor]] = field(
        default_factory=dict, repr=False
    )

    def attention_bias(
        self, dtype: torch.dtype, copies: int
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """The masks of the prompt and of the blocks, as numbers that are added to the scores.

        The result is computed once for all layers. Every layer keeps its bias for the backward
        pass, so a new tensor per layer would need the memory once per layer.

        Args:
            dtype: The dtype of the scores.
            copies: How often the L rows of a block are repeated: the number of query heads that
                `attention` puts behind each other.

        Returns:
            The prompt's bias (P, 1, K, K), None if its mask is None; the blocks' bias
            (B, 1, copies * L, M).
        """
        key = (dtype, copies)
        if key not in self._biases:
            prompt_mask, block_mask = self.prompt_mask_PKK, self.block_mask_BLM
            prompt_bias = None if prompt_mask is None else mask_to_bias(prompt_mask, dtype)
            block_bias = mask_to_bias(block_mask, dtype).repeat(1, 1, copies, 1)
            self._biases[key] = prompt_bias, block_bias
        return self._biases[key]


def mask_to_bias(visible_BLM: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A mask as numbers that are added to attention scores: 0, or minus infinity if hidden.

    Args:
        visible_BLM: Whether each of L tokens sees each of M keys, in B rows.
        dtype: The dtype of the result.

    Returns:
        Shape (B, 1, L, M), with an axis for the heads.
    """
    bias = torch.zeros(visible_BLM.shape, dtype=dtype, device=visible_BLM.device)
    return bias.masked_fill(~visible_BLM, -torch.inf)[:, None]


@dataclass(frozen=True)
class BlockLayout:
    """The place of each completion token in the blocks of its prompt."""

    places_PGC: torch.Tensor
    """The place of each token among the S * L of its prompt; -1 for padding."""
    tokens_PSL: torch.Tensor
    """The reverse: the number of the token among the G * C of its prompt; -1 for padding."""


@dataclass(frozen=True)
class PackedGroups:
    """The inputs of one pass of the model over packed groups, and the tokens to score."""

    ids_PT: torch.Tensor
    positions_3PT: torch.Tensor
    """Positions in time, height and width, as Qwen's rotary embedding has them."""
    labels_PT: torch.Tensor
    """The token to predict at each place; `IGNORED` if there is none."""
    layout: AttentionLayout
    blocks: BlockLayout
    """Where the completions' tokens are."""


def pack(groups: Groups, positions_3PN: torch.Tensor) -> PackedGroups:
    """Pack each prompt with its completions.

    Args:
        groups: P prompts with G completions each.
        positions_3PN: The positions of the prompts' tokens, without completions.
    """
    ids_PGC = groups.completion_ids_PGC
    _, num_generations, length = ids_PGC.shape
    shared_PK, last_P11 = groups.prompt_ids_PN[:, :-1], groups.prompt_ids_PN[:, None, -1:]
    blocks = block_layout(groups.completion_mask_PGC, shared_PK.shape[1])
    # The last token of a completion is only a label: nothing is predicted behind it.
    parts_PGC = torch.cat([last_P11.expand(-1, num_generations, -1), ids_PGC[..., :-1]], -1)
    tokens_PT = blocks.tokens_PSL.flatten(1)
    is_padding_PT, index_PT = tokens_PT < 0, tokens_PT.clamp(min=0)
    # Every part starts again at the position of the last prompt token. The tokens behind it are
    # text, whose position grows by 1 in time, height and width alike.
    part_positions = positions_3PN[..., -1:] + index_PT % length
    labels_PT = ids_PGC.flatten(1).gather(1, index_PT).masked_fill(is_padding_PT, IGNORED)
    return PackedGroups(
        torch.cat([shared_PK, parts_PGC.flatten(1).gather(1, index_PT)], 1),
        torch.cat([positions_3PN[..., :-1], part_positions], -1),
        torch.cat([torch.full_like(shared_PK, IGNORED), labels_PT], 1),
        attention_layout(groups.prompt_mask_PN[:, :-1].bool(), blocks.tokens_PSL, length),
        blocks,
    )


def block_layout(mask_PGC: torch.Tensor, num_shared: int) -> BlockLayout:
    """Put the completions into blocks, in as few tokens as possible.

    More completions in a block mean fewer copies of the prompt's keys, but more pairs of tokens
    that are computed and then hidden, because the completions of a block must not see each other. A
    block is not longer than the shared prompt or, if that is longer, the longest completion. So
    these pairs are never more than the pairs with the prompt.

    Args:
        mask_PGC: 1 for the tokens of a completion, then 0 for padding.
        num_shared: K.
    """
    num_prompts, num_generations, length = mask_PGC.shape
    lengths_PG: list[list[int]] = mask_PGC.sum(-1).tolist()
    longest = max(max(lengths) for lengths in lengths_PG)
    candidates = []
    for num_blocks in range(1, num_generations + 1):
        starts = [balanced_starts(lengths, num_blocks) for lengths in lengths_PG]
        ends = (
            offset + tokens
            for placed, lengths in zip(starts, lengths_PG, strict=True)
            for (_, offset), tokens in zip(placed, lengths, strict=True)
        )
        # A block is never without tokens, even if all completions are.
        size = max(1, *ends)
        if size <= max(1, longest, num_shared):
            candidates.append((num_blocks * size, num_blocks, size, starts))
    _, num_blocks, size, starts = min(candidates, key=lambda candidate: candidate[:2])
    first_PG1 = torch.tensor([[block * size + offset for block, offset in row] for row in starts])
    device = mask_PGC.device
    places_PGC = first_PG1.to(device)[..., None] + torch.arange(length, device=device)
    places_PGC = places_PGC.masked_fill(mask_PGC == 0, -1)
    tokens_PT = places_PGC.new_full((num_prompts, num_blocks * size), -1)
    prompts, *numbers = mask_PGC.nonzero(as_tuple=True)
    tokens_PT[prompts, places_PGC[mask_PGC != 0]] = numbers[0] * length + numbers[1]
    return BlockLayout(places_PGC, tokens_PT.unflatten(1, (num_blocks, size)))


def balanced_starts(lengths_G: Sequence[int], num_blocks: int) -> list[tuple[int, int]]:
    """The block of each completion and its first token there, with blocks of similar lengths.

    The longest completion that is left goes into the block that has the fewest tokens.

    Args:
        lengths_G: The tokens of each completion.
        num_blocks: Number of blocks.
    """
    filled = [0] * num_blocks
    starts = [(0, 0)] * len(lengths_G)
    for number in sorted(range(len(lengths_G)), key=lambda number: -lengths_G[number]):
        block = filled.index(min(filled))
        starts[number] = (block, filled[block])
        filled[block] += lengths_G[number]
    return starts


def attention_layout(
    visible_PK: torch.Tensor, tokens_PSL: torch.Tensor, length: int
) -> AttentionLayout:
    """Which keys the packed tokens see.

    Args:
        visible_PK: False for padding in the prompts, without their last tokens.
        tokens_PSL: As in `BlockLayout`.
        length: C, the length of a completion with its padding.
    """
    num_shared, (_, num_blocks, size) = visible_PK.shape[1], tokens_PSL.shape
    device = visible_PK.device
    no_padding = bool(visible_PK.all())
    # The number of the completion that each token of a block belongs to: 0 0 0 1 1 1 ..., and -1 of
    # padding, which sees only padding and the prompt.
    completion_BL = tokens_PSL.flatten(0, 1).div(length, rounding_mode="floor")
    causal_LL = torch.ones(size, size, dtype=torch.bool, device=device).tril()
    own_BLL = (completion_BL[:, :, None] == completion_BL[:, None]) & causal_LL
    prompt_BK = visible_PK.repeat_interleave(num_blocks, 0)
    prompt_BLK = prompt_BK[:, None].expand(-1, size, -1)
    block_mask_BLM = torch.cat([prompt_BLK, own_BLL], -1)
    if no_padding:
        if bool((own_BLL == own_BLL[:1]).all()):
            block_mask_BLM = block_mask_BLM[:1]
        # Without a mask, attention is causal, and torch can use its faster kernels.
        return AttentionLayout(num_shared, num_blocks, None, block_mask_BLM)
    causal_KK = torch.ones(num_shared, num_shared, dtype=torch.bool, device=device).tril()
    # Padding sees itself: the softmax of a token that sees nothing would be NaN.
    itself_KK = torch.eye(num_shared, dtype=torch.bool, device=device)
    prompt_mask_PKK = causal_KK & visible_PK[:, None] | itself_KK
    return AttentionLayout(num_shared, num_blocks, prompt_mask_PKK, block_mask_BLM)


def unpack(values_PT: torch.Tensor, packed: PackedGroups) -> torch.Tensor:
    """The values of the completions' tokens (P, G, C), and 0 for their padding.

    Args:
        values_PT: A value for each packed token, such as its label's log-probability.
        packed: The packed groups.
    """
    places_PGC = packed.blocks.places_PGC
    num_shared = packed.layout.num_shared
    values = values_PT[:, num_shared:].gather(1, places_PGC.clamp(min=0).flatten(1))
    return values.view(places_PGC.shape).masked_fill(places_PGC < 0, 0)


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
        grids = inputs["image_grid_thw"].split(inputs["num_images"][::num_generations])
        # An image has time * height * width patches; all images' patches are rows of one tensor.
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
