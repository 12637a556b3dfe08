"""Key-value caches for decoding that are not copied at every token.

During decoding, attention keeps the keys and values of all previous tokens. transformers'
DynamicCache makes room for each new token by copying everything that is cached. With a prompt that
holds an image and hundreds of tokens to generate, that is a third of the work. The caches here
allocate room for many tokens at a time.

Shapes: B rows (sequences), H heads, T cached tokens, D the size of a head.
"""

from __future__ import annotations

import torch
from transformers import DynamicCache, PreTrainedConfig, StaticCache
from transformers.cache_utils import CacheLayerMixin, DynamicLayer

BLOCK = 64
"""Number of tokens for which room is added at a time."""
STATIC_BLOCK = 256
"""A static cache's length is a multiple of this, so that longer prompts rarely need a new one."""


class BlockwiseLayer(DynamicLayer):
    """A layer of the cache whose `keys` and `values` are the filled part of larger tensors.

    `_keys` and `_values` are the larger tensors, (B, H, T + room, D).
    """

    keys: torch.Tensor
    values: torch.Tensor
    _keys: torch.Tensor
    _values: torch.Tensor

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of transformers
        self.keys, self.values = self._keys, self._values = _keys_and_values(layer)
        self.dtype, self.device = self.keys.dtype, self.keys.device
        self.is_initialized = True

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: object,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append keys and values in place, as long as there is room.

        Args:
            key_states: Keys of the new tokens, (B, H, new tokens, D).
            value_states: Values of the new tokens, of the same shape.
            args: As in the base class; not used.
            kwargs: As in the base class; not used.

        Returns:
            All keys and all values, (B, H, T, D) each.
        """
        start = self.keys.shape[-2]
        end = start + key_states.shape[-2]
        # Repeating or selecting rows makes new tensors without room: `keys` is no longer a view.
        if end > self._keys.shape[-2] or self.keys.data_ptr() != self._keys.data_ptr():
            self._keys, self._values = with_room(self.keys, end), with_room(self.values, end)
        self._keys[..., start:end, :] = key_states
        self._values[..., start:end, :] = value_states
        self.keys, self.values = self._keys[..., :end, :], self._values[..., :end, :]
        return self.keys, self.values

    def keep_rows(self, rows_A: torch.Tensor) -> None:
        """Keep some rows, in a new order, within the memory of the layer.

        Only rows that change their place are copied. The layer must have its memory for itself,
        as after `update` of a layer that was made from another.

        Args:
            rows_A: For each place of the result, the row that comes there; no row twice.
        """
        moved = (rows_A != torch.arange(len(rows_A), device=rows_A.device)).nonzero().flatten()
        for filled_BHTD in (self.keys, self.values):
            filled_BHTD[moved] = filled_BHTD[rows_A[moved]]
        self._keys, self._values = self._keys[: len(rows_A)], self._values[: len(rows_A)]
        self.keys, self.values = self.keys[: len(rows_A)], self.values[: len(rows_A)]


def _keys_and_values(layer: object) -> tuple[torch.Tensor, torch.Tensor]:
    """The keys and values of a layer, (B, H, T, D) each; ValueError for a layer without."""
    if isinstance(layer, CacheLayerMixin) and layer.keys is not None and layer.values is not None:
        return layer.keys, layer.values
    raise ValueError("a layer of the cache has no keys and values")


def with_room(filled_BHTD: torch.Tensor, end: int) -> torch.Tensor:
    """A copy of a tensor, with room for `end` tokens and one block more.

    Args:
        filled_BHTD: Keys or values.
        end: Number of tokens that the copy must have room for.
    """
    rows, heads, tokens, size = filled_BHTD.shape
    larger = filled_BHTD.new_empty((rows, heads, end + BLOCK, size))
    larger[..., :tokens, :] = filled_BHTD
    return larger


def grow_in_blocks(cache: DynamicCache) -> None:
    """Make the layers of a filled cache grow by blocks; sliding-window layers are not changed."""
    cache.layers = [
        BlockwiseLayer(layer) if type(layer) is DynamicLayer and layer.is_initialized else layer
        for layer in cache.layers
    ]


def branch(cache: DynamicCache) -> DynamicCache:
    """A cache that begins as another one, and leaves it as it is.

    Args:
        cache: A filled cache whose layers grow by blocks.
    """
    branched = DynamicCache()
    # A new layer has no room, so its first update copies the keys and values.
    branched.layers = [
        BlockwiseLayer(layer) if isinstance(layer, DynamicLayer) else layer
        for layer in cache.layers
    ]
    return branched


def repeated_in_static(
    filled: DynamicCache,
    times: int,
    length: int,
    config: PreTrainedConfig,
    previous: StaticCache | None,
) -> StaticCache:
    """A static cache that holds each row of a filled cache several times.

    Row r of `filled` becomes the rows r * times ... (r + 1) * times - 1: one prompt for each of its
    completions.

    Args:
        filled: The cache of the prompts, B rows.
        times: How often each row is repeated.
        length: Tokens that the cache must have room for.
        config: Configuration of the text model.
        previous: A cache to use again if it has B * times rows and enough room, so that code that
            was compiled for it stays valid; None to make a new one.
    """
    rows = times * _keys_and_values(filled.layers[0])[0].shape[0]
    cache = previous
    if cache is None or not _has_room(cache, rows, length):
        # -(-a // b) is a / b rounded up
        cache = StaticCache(config, max_cache_len=-(-length // STATIC_BLOCK) * STATIC_BLOCK)
    cache.reset()
    for layer, source in zip(cache.layers, filled.layers, strict=True):
        keys, values = _keys_and_values(source)
        assert isinstance(layer, CacheLayerMixin)
        layer.update(keys.repeat_interleave(times, 0), values.repeat_interleave(times, 0))
    return cache


def _has_room(cache: StaticCache, rows: int, length: int) -> bool:
    """Whether an earlier cache has this number of rows and room for `length` tokens."""
    keys, _ = _keys_and_values(cache.layers[0])
    return keys.shape[0] == rows and keys.shape[2] >= length
