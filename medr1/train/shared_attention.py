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
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, sdpa_mask

from medr1.train.packing import Layout

Attend = Callable[..., tuple[torch.Tensor, torch.Tensor | None]]


def use_shared_attention(model: Any) -> None:
    """Make the language model's attention read the `layout` that a forward pass is given."""
    config = model.config.get_text_config()
    own = config._attn_implementation
    if own in NAMES:
        config._attn_implementation = NAMES[own]


def attend_written_out(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **kwargs: Any
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The attention that the model's own module writes out, which takes a mask to be added."""
    if attention_mask is None:  # it has no flag for it
        size = query.shape[2]
        attention_mask = torch.ones(size, size, dtype=torch.bool, device=query.device).tril()
    if attention_mask.dtype == torch.bool:
        least = torch.finfo(query.dtype).min
        attention_mask = torch.where(attention_mask, 0.0, least).to(query.dtype)
    own: Attend = sys.modules[type(module).__module__].eager_attention_forward
    return own(module, query, key, value, attention_mask, **kwargs)


def with_layout(attend: Attend) -> Attend:
    """An attention that takes a layout, made of one that does not."""

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
        parts = [tensor.split([shared, tensor.shape[2] - shared], 2) for tensor in (key, value)]
        queries = query.split([shared, query.shape[2] - shared], 2)
        mask = None if layout.prompt_PKK is None else layout.prompt_PKK[:, None]
        prompt_PKHD, _ = attend(module, queries[0], parts[0][0], parts[1][0], mask, **kwargs)
        keys, values = (
            whole
            if blocks == 1
            else torch.cat([repeated(head, blocks), in_blocks(tail, blocks)], 2)
            for whole, (head, tail) in zip((key, value), parts, strict=True)
        )
        mask = layout.block_SLK[:, None]
        behind, _ = attend(module, in_blocks(queries[1], blocks), keys, values, mask, **kwargs)
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

AttentionInterface.register(NAMES["sdpa"], with_layout(sdpa_attention_forward))
AttentionInterface.register(NAMES["eager"], with_layout(attend_written_out))
AttentionMaskInterface.register(NAMES["sdpa"], sdpa_mask)
AttentionMaskInterface.register(NAMES["eager"], eager_mask)
