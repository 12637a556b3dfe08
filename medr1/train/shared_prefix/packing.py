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

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch

from medr1.train.shared_prefix.groups import Groups
from medr1.train.shared_prefix.prefix_tree import PrefixTree, align, prefix_tree

IGNORED = -100
"""The label of a token at which nothing is predicted (torch's `ignore_index`)."""


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
    tree: PrefixTree | None = None
    """The prefixes that prompts have in common, with all tokens in one row (`PrefixTree.flatten`);
    None: each prompt has a row of its own."""
    _biases: dict[tuple[torch.dtype, int], Biases] = field(default_factory=dict, repr=False)

    def attention_bias(self, dtype: torch.dtype, copies: int) -> Biases:
        """The masks as numbers that are added to the scores.

        The result is computed once for all layers. Every layer keeps its bias for the backward
        pass, so a new tensor per layer would need the memory once per layer.

        Args:
            dtype: The dtype of the scores.
            copies: How often the L rows of a block are repeated: the number of query heads that
                `attention` puts behind each other.

        """
        key = (dtype, copies)
        if key not in self._biases:
            prompt_mask, prefix_mask, tree = self.prompt_mask_PKK, None, self.tree
            if tree is not None:
                if prompt_mask is None:
                    prompt_mask = causal_mask(self.num_shared, self.block_mask_BLM.device)[None]
                else:
                    prefix_mask = prompt_mask[tree.firsts_F, : tree.num_prefix, : tree.num_prefix]
                prompt_mask = prompt_mask[:, tree.num_prefix :]
            self._biases[key] = Biases(
                None if prefix_mask is None else mask_to_bias(prefix_mask, dtype),
                None if prompt_mask is None else mask_to_bias(prompt_mask, dtype),
                mask_to_bias(self.block_mask_BLM, dtype).repeat(1, 1, copies, 1),
            )
        return self._biases[key]


class Biases(NamedTuple):
    """What is added to attention scores; None: causal, without padding."""

    prefix: torch.Tensor | None
    """Of the prefixes, (F, 1, E, E); None also without a tree."""
    prompt: torch.Tensor | None
    """Of the prompts, (P, 1, K, K), with a tree of their rests (P or 1, 1, R, K)."""
    block: torch.Tensor
    """Of the blocks, (B or 1, 1, copies * L, M)."""


def causal_mask(size: int, device: torch.device) -> torch.Tensor:
    """A mask by which each of `size` tokens sees itself and those before it (size, size)."""
    return torch.ones(size, size, dtype=torch.bool, device=device).tril()


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
    """The inputs of one pass of the model over packed groups, and the tokens to score.

    If prompts have prefixes in common, all tokens are in one row: P is 1 in these shapes.
    """

    ids_PT: torch.Tensor
    positions_3PT: torch.Tensor
    """Positions in time, height and width, as Qwen's rotary embedding has them."""
    labels_PT: torch.Tensor
    """The token to predict at each place; `IGNORED` if there is none."""
    layout: AttentionLayout
    blocks: BlockLayout
    """Where the completions' tokens are."""
    patches: Sequence[torch.Tensor] = ()
    """The patches of each image that is run, in the order of their tokens."""
    grids: Sequence[torch.Tensor] = ()
    """As in `Groups`, of the same images."""


def pack_by_image(groups: Groups, positions_3PN: torch.Tensor) -> PackedGroups:
    """Pack each prompt with its completions, and prefixes that prompts have in common once.

    Args:
        groups: P prompts with G completions each.
        positions_3PN: The positions of the prompts' tokens, without completions.
    """
    tree = prefix_tree(groups)
    if tree is None:
        return pack(groups, positions_3PN)
    packed = pack(*align(groups, positions_3PN, tree))
    return replace(
        packed,
        ids_PT=tree.flatten(packed.ids_PT),
        positions_3PT=tree.flatten(packed.positions_3PT),
        labels_PT=tree.flatten(packed.labels_PT),
        layout=replace(packed.layout, tree=tree),
    )


def prompts_only(groups: Groups, positions_3PN: torch.Tensor, tree: PrefixTree) -> PackedGroups:
    """The prompts in one row, without completions and last tokens.

    Args:
        groups: P prompts; their completions are not used.
        positions_3PN: The positions of the prompts' tokens.
        tree: The prefixes that these prompts have in common.
    """
    aligned, aligned_positions = align(groups, positions_3PN, tree)
    ids_PK, visible_PK = aligned.prompt_ids_PN[:, :-1], aligned.prompt_mask_PN[:, :-1].bool()
    no_blocks = visible_PK.new_zeros((0, 0, visible_PK.shape[1]))
    none = ids_PK.new_zeros((len(ids_PK), 0, 0))
    return PackedGroups(
        tree.flatten(ids_PK),
        tree.flatten(aligned_positions[..., :-1]),
        tree.flatten(torch.full_like(ids_PK, IGNORED)),
        AttentionLayout(visible_PK.shape[1], 0, prompt_mask(visible_PK), no_blocks, tree),
        BlockLayout(none, none),
        aligned.patches,
        aligned.grids,
    )


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
        groups.patches,
        groups.grids,
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
    causal_LL = causal_mask(size, device)
    own_BLL = (completion_BL[:, :, None] == completion_BL[:, None]) & causal_LL
    prompt_BK = visible_PK.repeat_interleave(num_blocks, 0)
    prompt_BLK = prompt_BK[:, None].expand(-1, size, -1)
    block_mask_BLM = torch.cat([prompt_BLK, own_BLL], -1)
    if no_padding:
        if bool((own_BLL == own_BLL[:1]).all()):
            block_mask_BLM = block_mask_BLM[:1]
        # Without a mask, attention is causal, and torch can use its faster kernels.
        return AttentionLayout(num_shared, num_blocks, None, block_mask_BLM)
    return AttentionLayout(num_shared, num_blocks, prompt_mask(visible_PK), block_mask_BLM)


def prompt_mask(visible_PK: torch.Tensor) -> torch.Tensor:
    """Which prompt tokens each prompt token sees (P, K, K).

    Args:
        visible_PK: False for padding.
    """
    num_shared, device = visible_PK.shape[1], visible_PK.device
    # Padding sees itself: the softmax of a token that sees nothing would be NaN.
    itself_KK = torch.eye(num_shared, dtype=torch.bool, device=device)
    return causal_mask(num_shared, device) & visible_PK[:, None] | itself_KK


def unpack(values_PT: torch.Tensor, packed: PackedGroups) -> torch.Tensor:
    """The values of the completions' tokens (P, G, C), and 0 for their padding.

    Args:
        values_PT: A value for each packed token, such as its label's log-probability.
        packed: The packed groups.
    """
    places_PGC, tree = packed.blocks.places_PGC, packed.layout.tree
    behind = (
        values_PT[:, packed.layout.num_shared :] if tree is None else tree.behind_prompts(values_PT)
    )
    values = behind.gather(1, places_PGC.clamp(min=0).flatten(1))
    return values.view(places_PGC.shape).masked_fill(places_PGC < 0, 0)
