"""Attention over packed tokens (`packing`), computed in two or three calls per layer.

The first call is for the prompt, which sees only itself. The second is for the blocks of
completions: each block is a row of its own and sees the prompt and itself. So no matrix of the size
T x T is ever computed or stored. If prompts have prefixes in common (`prefix_tree`), there is a
call for the prefixes before, and that for the prompts has the queries of their rests only.

All calls use the attention that the model has anyway: torch's scaled_dot_product_attention (sdpa),
or the one that the model's own module writes out (eager). A forward pass without a layout, such as
generation, runs that attention unchanged.

Shapes: P prompts, H heads, T tokens, D the size of a head, K shared prompt tokens, S blocks of a
prompt, L tokens of a block, B = P * S blocks of all prompts; F prefixes of E tokens.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, sdpa_mask

from medr1.train.shared_prefix.packing import AttentionLayout, mask_to_bias

if TYPE_CHECKING:
    from transformers import PreTrainedModel

AttentionFunction = Callable[..., tuple[torch.Tensor, torch.Tensor | None]]
"""An attention as transformers registers it. It takes the module, query, key, value (P, H, T, D)
and the mask, and returns the output (P, T, H, D) and the attention weights or None."""


def use_shared_attention(model: PreTrainedModel) -> None:
    """Make the language model's attention use the `layout` that is passed to `forward`.

    A model whose attention is not in `SHARED_ATTENTIONS` is not changed.
    """
    config = model.config.get_text_config()
    name = config._attn_implementation
    if name in SHARED_ATTENTIONS:
        config._attn_implementation = SHARED_ATTENTIONS[name]


def eager_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: object,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The attention that the model's own module writes out; without a mask it is causal."""
    # The written-out attention adds the mask, and without one every token would see all others.
    # sdpa is causal without a mask.
    if attention_mask is None:
        size = query.shape[2]
        causal = torch.ones(1, size, size, dtype=torch.bool, device=query.device).tril()
        attention_mask = mask_to_bias(causal, query.dtype)
    own: AttentionFunction = sys.modules[type(module).__module__].eager_attention_forward
    return own(module, query, key, value, attention_mask, **kwargs)


def attention_with_layout(attend: AttentionFunction, heads_together: bool) -> AttentionFunction:
    """An attention that also takes a layout, made from one that does not.

    Args:
        attend: The attention to call for the prompt, and for passes without a layout.
        heads_together: In grouped query attention, several query heads read one key head. If true,
            these query heads are put behind each other on the token axis, and blocks need no copy
            of the keys and values for each query head. If false, `attend` does this itself.
    """

    def attention(
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        layout: AttentionLayout | None = None,
        dropout: float = 0.0,
        scaling: float | None = None,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        attend_all = partial(attend, module, dropout=dropout, scaling=scaling, **kwargs)
        if layout is None:
            return attend_all(query, key, value, attention_mask)
        num_blocks, tree, num_queries = layout.num_blocks, layout.tree, layout.num_shared
        copies = query.shape[1] // key.shape[1] if heads_together else 1
        biases = layout.attention_bias(query.dtype, copies)
        prefix_FEHD = None
        if tree is not None:
            prefixes, (query, key, value) = zip(*map(tree.split, (query, key, value)), strict=True)
            prefix_FEHD, _ = attend_all(*prefixes, biases.prefix)
            # From here on each prompt has a row of its own, with the keys of its prefix.
            key, value = map(tree.add_prefixes, prefixes[1:], (key, value))
            num_queries = tree.num_rest  # those of the prefix are done
        parts = [
            part.split([number, part.shape[2] - number], 2)
            for part, number in (
                (query, num_queries),
                (key, layout.num_shared),
                (value, layout.num_shared),
            )
        ]
        # With several blocks, the keys and values of the blocks are copies (below). A view of the
        # prompt's part would then keep the complete tensors in memory for the backward pass.
        prompt_parts = [part[0].contiguous() if num_blocks > 1 else part[0] for part in parts]
        rows_PTHD, _ = attend_all(*prompt_parts, biases.prompt)
        if num_blocks:
            # With one block, its keys are all keys of a prompt, in the same order: no copy.
            keys, values = (
                torch.cat(
                    [
                        repeat_for_blocks(prompt_part, num_blocks),
                        split_into_blocks(block_part, num_blocks),
                    ],
                    2,
                )
                if num_blocks > 1
                else complete
                for complete, (prompt_part, block_part) in zip((key, value), parts[1:], strict=True)
            )
            queries = split_into_blocks(parts[0][1], num_blocks)
            if heads_together:
                blocks = attend_heads_together(
                    queries, keys, values, biases.block, copies, dropout, scaling
                )
            else:
                blocks, _ = attend_all(queries, keys, values, biases.block)
            blocks_PTHD = blocks.unflatten(0, (-1, num_blocks)).flatten(1, 2)
            rows_PTHD = torch.cat([rows_PTHD, blocks_PTHD], 1)
        if prefix_FEHD is None:
            return rows_PTHD, None
        return torch.cat([prefix_FEHD.flatten(0, 1), rows_PTHD.flatten(0, 1)])[None], None

    return attention


def attend_heads_together(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor,
    copies: int,
    dropout: float,
    scaling: float | None,
) -> torch.Tensor:
    """Attention in which query heads that read one key head are behind each other, (B, L, H, D).

    Args:
        query: Queries (B, H, L, D).
        key: Keys (B, heads of keys, M, D).
        value: Values, of the same shape.
        bias: What is added to the scores (B, 1, copies * L, M).
        copies: How many query heads read one key head.
        dropout: The share of scores that are dropped.
        scaling: What scores are multiplied by; None for torch's default.
    """
    length = query.shape[2]
    # (B, heads of keys * copies, L, D) to (B, heads of keys, copies * L, D)
    together = query.unflatten(1, (-1, copies)).flatten(2, 3)
    output = scaled_dot_product_attention(
        together, key, value, attn_mask=bias, dropout_p=dropout, scale=scaling
    )
    # back to (B, H, L, D), then (B, L, H, D), the order of transformers' outputs
    apart: torch.Tensor = output.unflatten(2, (copies, length)).flatten(1, 2).transpose(1, 2)
    return apart


def split_into_blocks(tensor_PHTD: torch.Tensor, num_blocks: int) -> torch.Tensor:
    """The tokens of all blocks (P, H, S * L, D), with each block as a row (B, H, L, D)."""
    blocks: torch.Tensor = tensor_PHTD.unflatten(2, (num_blocks, -1))
    return blocks.transpose(1, 2).flatten(0, 1)


def repeat_for_blocks(tensor_PHKD: torch.Tensor, num_blocks: int) -> torch.Tensor:
    """The prompts' tokens (P, H, K, D), repeated for each of their blocks (B, H, K, D)."""
    return tensor_PHKD[:, None].expand(-1, num_blocks, -1, -1, -1).flatten(0, 1)


SHARED_ATTENTIONS = {"sdpa": "shared_prefix_sdpa", "eager": "shared_prefix_eager"}
"""Name of a model's attention -> name under which the same with a layout is registered."""

_SDPA, _EAGER = SHARED_ATTENTIONS["sdpa"], SHARED_ATTENTIONS["eager"]
AttentionInterface.register(_SDPA, attention_with_layout(sdpa_attention_forward, True))
AttentionInterface.register(_EAGER, attention_with_layout(eager_attention, False))
# Passes without a layout get the mask that the model's own attention would get.
AttentionMaskInterface.register(_SDPA, sdpa_mask)
AttentionMaskInterface.register(_EAGER, eager_mask)
