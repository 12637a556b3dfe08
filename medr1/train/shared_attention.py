"""Attention over packed tokens: of the prompt to itself, then of each block of completions to the
prompt and to itself. Nothing of the size T x T is computed or stored.

It is made of the attention that the model has anyway (torch's scaled_dot_product_attention, or the
written-out one), called twice. Without a layout, as in generation, it is that attention.

Shapes: P prompts, H heads, T tokens, D values a head, K tokens of the prompt, S blocks of L tokens.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, sdpa_mask

from medr1.train.packing import Layout, mask_to_bias

Attend = Callable[..., tuple[torch.Tensor, torch.Tensor | None]]


def use_shared_attention(model: Any) -> None:
    """Make the language model's attention read the `layout` that a forward pass is given."""
    config = model.config.get_text_config()
    own = config._attn_implementation
    if own in NAMES:
        config._attn_implementation = NAMES[own]


def eager_attention(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **kwargs: Any
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The attention that the model's own module writes out; without a mask it is causal here."""
    if attention_mask is None:
        size = query.shape[2]
        causal = torch.ones(1, size, size, dtype=torch.bool, device=query.device).tril()
        attention_mask = mask_to_bias(causal, query.dtype)
    own: Attend = sys.modules[type(module).__module__].eager_attention_forward
    return own(module, query, key, value, attention_mask, **kwargs)


def with_layout(attend: Attend, heads_together: bool) -> Attend:
    """An attention that takes a layout, made of one that does not.

    `heads_together`: the query heads of a key head stand behind each other as if they were tokens,
    so that blocks need no copies of keys and values for each query head.
    """

    def attention(
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        layout: Layout | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        if layout is None:
            return attend(module, query, key, value, attention_mask, **kwargs)
        shared, blocks = layout.shared, layout.blocks
        together = query.shape[1] // key.shape[1] if heads_together else 1
        masks = layout.attention_bias(query.dtype, together)
        parts = [part.split([shared, part.shape[2] - shared], 2) for part in (query, key, value)]
        # copies, where the blocks have their own too: a view would keep the whole for the gradient
        head = [part[0].contiguous() if blocks > 1 else part[0] for part in parts]
        prompt_PKHD, _ = attend(module, *head, masks[0], **kwargs)
        keys, values = (
            torch.cat([repeated(front, blocks), in_blocks(tail, blocks)], 2)
            if blocks > 1
            else whole
            for whole, (front, tail) in zip((key, value), parts[1:], strict=True)
        )
        queries = in_blocks(parts[0][1], blocks)
        length = queries.shape[2]
        queries = queries.unflatten(1, (-1, together)).flatten(2, 3)
        dropout, scale = kwargs.get("dropout", 0.0), kwargs.get("scaling")
        if heads_together:
            behind = scaled_dot_product_attention(
                queries, keys, values, attn_mask=masks[1], dropout_p=dropout, scale=scale
            )
            behind = behind.unflatten(2, (together, length)).flatten(1, 2).transpose(1, 2)
        else:
            behind, _ = attend(module, queries, keys, values, masks[1], **kwargs)
        return torch.cat([prompt_PKHD, behind.unflatten(0, (-1, blocks)).flatten(1, 2)], 1), None

    return attention


def in_blocks(tensor_PHTD: torch.Tensor, blocks: int) -> torch.Tensor:
    """(P, H, S * L, D) as (P * S, H, L, D)."""
    return tensor_PHTD.unflatten(2, (blocks, -1)).transpose(1, 2).flatten(0, 1)


def repeated(tensor_PHKD: torch.Tensor, blocks: int) -> torch.Tensor:
    """(P, H, K, D) as (P * S, H, K, D), the same for each block of a prompt."""
    return tensor_PHKD[:, None].expand(-1, blocks, -1, -1, -1).flatten(0, 1)


NAMES = {"sdpa": "shared_prefix_sdpa", "eager": "shared_prefix_eager"}
"""The attention of a model, and the one that takes its place."""

AttentionInterface.register(NAMES["sdpa"], with_layout(sdpa_attention_forward, True))
AttentionInterface.register(NAMES["eager"], with_layout(eager_attention, False))
AttentionMaskInterface.register(NAMES["sdpa"], sdpa_mask)
AttentionMaskInterface.register(NAMES["eager"], eager_mask)
