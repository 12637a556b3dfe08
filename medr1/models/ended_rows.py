"""Decoding without the rows whose completions have ended.

transformers' `generate` runs every row until the longest completion has ended. Here the model runs
only the rows that are left: those that ended leave the inputs and the cache, and get zeros as
logits, which `generate` computes but does not use. All that `generate` does around the model, such
as processing logits and drawing tokens, still has all rows in their order, so each row gets the
tokens that it would get without this.

Shapes: B rows of `generate`, A rows that the model still runs, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from medr1.models.kv_cache import BlockwiseLayer

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import GenerationConfig
    from transformers.cache_utils import Cache
    from transformers.utils.generic import ModelOutput


@contextmanager
def leave_out_ended_rows(model: Module, cache: Cache, end_tokens: list[int]) -> Iterator[None]:
    """Within the block, passes of `model` leave out the rows of which a completion has ended.

    The block is one call of `generate`, which continues prompts in the cache. A cache with layers
    other than `BlockwiseLayer`, such as a static one, keeps all rows.

    Args:
        model: The model whose `generate` is called.
        cache: The cache that `generate` gets, which loses the rows that ended.
        end_tokens: The tokens that end a completion; without any, all rows are run.
    """
    layers = [layer for layer in cache.layers if isinstance(layer, BlockwiseLayer)]
    if not end_tokens or len(layers) < len(cache.layers):
        yield
        return
    rows = _RemainingRows(layers, end_tokens)
    handles = (
        model.register_forward_pre_hook(rows.select_inputs, with_kwargs=True),
        model.register_forward_hook(rows.restore_logits),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def end_tokens(model: object, config: GenerationConfig | None = None) -> list[int]:
    """The tokens that end a completion, as `generate` takes them from its configurations.

    Args:
        model: The model, with its own generation configuration.
        config: The configuration that `generate` gets, which comes first; None for none.
    """
    own: GenerationConfig = vars(model)["generation_config"]
    tokens = None if config is None else config.eos_token_id
    tokens = own.eos_token_id if tokens is None else tokens
    if tokens is None:
        return []
    return [tokens] if isinstance(tokens, int) else list(tokens)


class _RemainingRows:
    """The hooks of one call of `generate`, and which rows are left."""

    def __init__(self, layers: list[BlockwiseLayer], end_tokens: list[int]) -> None:
        self._layers, self._end_tokens = layers, end_tokens
        self._num_rows = 0
        """B; 0 before the first pass."""
        self._rows_A: torch.Tensor | None = None
        """The number of each row that is left, in the order of the cache; None: all rows."""

    def select_inputs(
        self, model: Module, args: tuple[object, ...], inputs: dict[str, object]
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        """The inputs of a pass, with the rows that are left.

        Args:
            model: The model; not used.
            args: Inputs without names; none.
            inputs: The inputs of all rows by their names.
        """
        ids_B1 = inputs["input_ids"]
        assert isinstance(ids_B1, torch.Tensor)
        if not self._num_rows:  # the first pass runs the last tokens of the prompts
            self._num_rows = len(ids_B1)
            return args, inputs
        self._drop_ended(ids_B1[:, -1])
        if self._rows_A is None:
            return args, inputs
        return args, {name: self._select(name, value) for name, value in inputs.items()}

    def _drop_ended(self, tokens_B: torch.Tensor) -> None:
        """Remove the rows whose newest token is an end token from the cache.

        One row always stays: with sharded weights, a process makes passes until all have ended.
        """
        tokens_A = tokens_B if self._rows_A is None else tokens_B[self._rows_A]
        ends = torch.tensor(self._end_tokens, device=tokens_A.device)
        remains_A = ~torch.isin(tokens_A, ends)
        count = max(1, int(remains_A.sum()))
        if count == len(remains_A):
            return
        # The last rows that remain move to the places of rows that ended, the others stay.
        order = torch.arange(count, device=tokens_A.device)
        places = (~remains_A[:count]).nonzero().flatten()
        movers = remains_A[count:].nonzero().flatten() + count
        order[places[: len(movers)]] = movers
        for layer in self._layers:
            layer.keep_rows(order)
        self._rows_A = order if self._rows_A is None else self._rows_A[order]

    def _select(self, name: str, value: object) -> object:
        """An input of the rows that are left; values without rows are returned as they are."""
        if not isinstance(value, torch.Tensor) or value.ndim < 2:
            return value
        axis = -2 if name == "position_ids" else 0  # positions may have axes before the rows
        if value.shape[axis] != self._num_rows:
            return value
        assert self._rows_A is not None
        return value.index_select(axis, self._rows_A.to(value.device))

    def restore_logits(self, model: Module, args: tuple[object, ...], output: ModelOutput) -> None:
        """Set the logits of a pass to those of all rows, zeros for rows that ended.

        Args:
            model: The model; not used.
            args: Inputs without names; none.
            output: The output of the pass, which is changed.
        """
        if self._rows_A is None:
            return
        logits_A1V = output["logits"]
        logits_B1V = logits_A1V.new_zeros((self._num_rows, *logits_A1V.shape[1:]))
        output["logits"] = logits_B1V.index_copy_(0, self._rows_A, logits_A1V)
