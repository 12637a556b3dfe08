"""All answer strings of a row in one forward pass over the cached keys and values of the prompt.

The strings are packed one after the other, and the attention mask and the positions make each
string see what it would see alone:

    tokens:    [last prompt token + reasoning][string of A, less its last token][string of B ...]
    mask:      the prompt, the shared tokens up to itself, its own string up to itself
    position:  as if its own string alone followed the shared tokens

Shapes: B rows, P prompt tokens (left padded), Q packed tokens (left padded), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PackedStrings:
    """The answer strings of B rows, packed for one forward pass.

    The last four lists have one entry for each token of each string. The model's output at
    (row, query) is its prediction of the target token, which belongs to one of the strings.
    """

    ids_BQ: torch.Tensor
    """Token ids."""
    offsets_BQ: torch.Tensor
    """Position of each token, relative to the last prompt token, which has 0."""
    visible_BQQ: torch.Tensor
    """Whether a query (second axis) attends to a key (third axis). Padding attends to itself."""
    rows: list[int]
    queries: list[int]
    targets: list[int]
    strings: list[int]
    """The number of the string, counted over all rows."""


def pack_strings(
    shared: Sequence[Sequence[int]], strings: Sequence[Sequence[Sequence[int]]], pad: int
) -> PackedStrings:
    """Pack the answer strings of each row after the tokens that they share.

    Shared tokens [1, 2] with the strings [4, 5, 6] and [7] are packed as [1, 2, 4, 5]. Tokens 4 and
    7 are predicted at token 2, token 5 at token 4, and token 6 at token 5.

    Args:
        shared: For each row the token ids before the answer, one at least.
        strings: For each row the token ids of each of its strings.
        pad: Token id of the padding.
    """
    import torch

    # The last token of a string is only predicted and never an input.
    lengths = [
        len(prefix) + sum(len(s) - 1 for s in row_strings)
        for prefix, row_strings in zip(shared, strings, strict=True)
    ]
    width = max(lengths)
    token_ids = torch.full((len(shared), width), pad)
    offsets = torch.zeros((len(shared), width), dtype=torch.long)
    # Padding sees itself: a row that sees nothing would be nan.
    visible = torch.eye(width, dtype=torch.bool).repeat(len(shared), 1, 1)
    rows: list[int] = []
    queries: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    number = 0
    for row, (prefix, row_strings) in enumerate(zip(shared, strings, strict=True)):
        start = width - lengths[row]
        position = start + len(prefix)
        token_ids[row, start:position] = torch.tensor(prefix)
        offsets[row, start:position] = torch.arange(len(prefix))
        # First every token sees all shared tokens; then the shared tokens themselves are causal.
        visible[row, start:, start:position] = True
        visible[row, start:position, start:position] = _causal(len(prefix))
        last_shared = position - 1
        for string in row_strings:
            end = position + len(string) - 1
            token_ids[row, position:end] = torch.tensor(string[:-1])
            # Every string continues at the same offset, right after the shared tokens.
            offsets[row, position:end] = torch.arange(len(prefix), len(prefix) + len(string) - 1)
            visible[row, position:end, position:end] = _causal(len(string) - 1)
            # The first token is predicted at the last shared token, each further one at the
            # token before it.
            rows += [row] * len(string)
            queries += [last_shared, *range(position, end)]
            targets += string
            owners += [number] * len(string)
            number += 1
            position = end
    return PackedStrings(token_ids, offsets, visible, rows, queries, targets, owners)


def _causal(size: int) -> torch.Tensor:
    """A causal mask (size, size): True where the key is not after the query."""
    import torch

    return torch.ones(size, size, dtype=torch.bool).tril()
