"""Caches of keys and values for decoding that do not copy themselves at every token.

transformers' DynamicCache makes room for each token by copying all that is cached. In a decoding of
hundreds of tokens behind a prompt with an image, that is a third of the work.

Shapes: B rows, H heads, T cached tokens, D the size of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache, PreTrainedConfig, StaticCache
from transformers.cache_utils import DynamicLayer

BLOCK = 64
"""Tokens that there is made room for at a time."""
STATIC_BLOCK = 256
"""A static cache has a multiple of so many tokens: longer prompts seldom need another one."""


class BlockwiseLayer(DynamicLayer):
    """A layer of the cache whose `keys` and `values` are the filled part of larger tensors."""

    keys: Any
    values: Any
    _keys: Any
    _values: Any

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()
        self.keys, self.values = self._keys, self._values = layer.keys, layer.values
        self.dtype, self.device = self.keys.dtype, self.keys.device
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """All keys and values (B, H, T, D), the given ones behind those that were there."""
        start = self.keys.shape[-2]
        end = start + key_states.shape[-2]
        # rows that were repeated or chosen have left the room behind
        if end > self._keys.shape[-2] or self.keys.data_ptr() != self._keys.data_ptr():
            self._keys, self._values = with_room(self.keys, end), with_room(self.values, end)
        self._keys[..., start:end, :] = key_states
        self._values[..., start:end, :] = value_states
        self.keys, self.values = self._keys[..., :end, :], self._values[..., :end, :]
        return self.keys, self.values


def with_room(filled_BHTD: torch.Tensor, end: int) -> torch.Tensor:
    """The same in a tensor for `end` tokens and a block more."""
    rows, heads, tokens, size = filled_BHTD.shape
    larger = filled_BHTD.new_empty((rows, heads, end + BLOCK, size))
    larger[..., :tokens, :] = filled_BHTD
    return larger


def grow_in_blocks(cache: DynamicCache) -> None:
    """Let a filled cache's layers make room block by block; sliding windows stay as they are."""
    cache.layers = [
        BlockwiseLayer(layer) if type(layer) is DynamicLayer and layer.is_initialized else layer
        for layer in cache.layers
    ]


def repeated_in_static(
    filled: DynamicCache,
    times: int,
    length: int,
    config: PreTrainedConfig,
    previous: StaticCache | None,
) -> StaticCache:
    """A static cache for `length` tokens that holds each row of a filled cache so many times.

    `previous` is used again where it has as many rows and enough room: what is compiled for it
    stays compiled. `config` is that of the text model.
    """
    first: Any = filled.layers[0]
    rows = times * first.keys.shape[0]
    cache = previous
    if cache is None or not _has_room(cache, rows, length):
        cache = StaticCache(config, max_cache_len=-(-length // STATIC_BLOCK) * STATIC_BLOCK)
    cache.reset()
    layer: Any
    own: Any
    for layer, own in zip(cache.layers, filled.layers, strict=True):
        layer.update(own.keys.repeat_interleave(times, 0), own.values.repeat_interleave(times, 0))
    return cache


def _has_room(cache: StaticCache, rows: int, length: int) -> bool:
    layer: Any = cache.layers[0]
    return layer.keys.shape[0] == rows and layer.keys.shape[2] >= length
