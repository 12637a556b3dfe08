"""Prompts that begin alike: several questions about one image, whose image is run once.

A pass has the prompts of a batch. Prompts with the same images and the same tokens up to the end of
the images are a family. The tokens that all prompts of a family have in common are its prefix, and
what is left of a prompt is its rest:

    prefix of the family ─┬─ rest of prompt 1 ── completions of prompt 1 (packing.py)
                          └─ rest of prompt 2 ── completions of prompt 2

`align` puts the prefixes of all prompts into the same columns, and so the rests. After that, a pass
needs the columns of a prefix from one prompt of each family only: `flatten` leaves out the others,
and writes what is left into one row of tokens. Attention (attention.py) gives each prompt the keys
and values of its prefix again, so every token sees what it saw in its own row, at the same
position.

Shapes: F families, P prompts, N tokens of a prompt, E columns of prefixes, R columns of rests, K =
E + R, T tokens of all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from medr1.train.shared_prefix.groups import Groups


@dataclass(frozen=True)
class PrefixTree:
    """Which prompts have a prefix in common, and where their tokens are."""

    firsts_F: torch.Tensor
    """The first prompt of each family."""
    family_P: torch.Tensor
    """The number of the family of each prompt."""
    num_prefix: int
    """E."""
    num_rest: int
    """R, at least 1."""
    columns_PN: torch.Tensor
    """The column that each of the K columns, and the one of the last token behind them, has in the
    prompts as they were; -1 for padding, (P, K + 1)."""

    @property
    def num_prefix_tokens(self) -> int:
        """F * E: the tokens of all prefixes, which come first in a flat row."""
        return len(self.firsts_F) * self.num_prefix

    def flatten(self, rows_PT: torch.Tensor) -> torch.Tensor:
        """All tokens in one row: the prefix of each family, then what is behind it in each prompt.

        Args:
            rows_PT: Values of aligned prompts and what is behind them, (..., P, T).

        Returns:
            Shape (..., 1, F * E + P * (T - E)).
        """
        prefixes = rows_PT[..., self.firsts_F, : self.num_prefix].flatten(-2)
        return torch.cat([prefixes, rows_PT[..., self.num_prefix :].flatten(-2)], -1).unsqueeze(-2)

    def split(self, flat_1HTD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens of prefixes (F, H, E, D) in a flat row, and all others (P, H, T - E, D).

        Args:
            flat_1HTD: Keys, values or queries of a flat row.
        """
        prefixes, others = flat_1HTD[0].split(
            [self.num_prefix_tokens, flat_1HTD.shape[2] - self.num_prefix_tokens], 1
        )
        prefixes_HFED = prefixes.unflatten(1, (len(self.firsts_F), -1))
        return prefixes_HFED.transpose(0, 1), self._by_prompt(others, 1).transpose(0, 1)

    def add_prefixes(self, prefixes_FHED: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """The tokens of each prompt behind those of its prefix, (P, H, T, D).

        Args:
            prefixes_FHED: Keys or values of the prefixes.
            others: Those of the other tokens, (P, H, T - E, D).
        """
        return torch.cat([prefixes_FHED.index_select(0, self.family_P), others], 2)

    def unaligned(self, flat_1HTD: torch.Tensor) -> torch.Tensor:
        """The tokens of prompts in the columns that they had before `align`, (P, H, N - 1, D).

        Args:
            flat_1HTD: Keys or values of a flat row without completions.
        """
        aligned_PHKD = self.add_prefixes(*self.split(flat_1HTD))
        prompts, places = (self.columns_PN[:, :-1] >= 0).nonzero(as_tuple=True)
        rows_PKHD = aligned_PHKD.transpose(1, 2)
        num_columns = int(self.columns_PN[0, -1])  # the last token's column is the number before it
        result_PNHD = rows_PKHD.new_zeros((len(rows_PKHD), num_columns, *rows_PKHD.shape[2:]))
        result_PNHD[prompts, self.columns_PN[prompts, places]] = rows_PKHD[prompts, places]
        return result_PNHD.transpose(1, 2).contiguous()

    def behind_prompts(self, flat_1T: torch.Tensor) -> torch.Tensor:
        """The values of the tokens that are behind the K of each prompt, (P, T - K).

        Args:
            flat_1T: A value for each token of a flat row.
        """
        others = self._by_prompt(flat_1T[0, self.num_prefix_tokens :], 0)
        return others[:, self.num_rest :]

    def _by_prompt(self, others: torch.Tensor, axis: int) -> torch.Tensor:
        rows: torch.Tensor = others.unflatten(axis, (len(self.family_P), -1))
        return rows


def prefix_tree(groups: Groups) -> PrefixTree | None:
    """The prefixes that prompts have in common; None if to run them once saves no tokens.

    Args:
        groups: The prompts, padded on the left.
    """
    if len(groups.patches) < 2:
        return None
    num_prompts, num_columns = groups.prompt_ids_PN.shape
    # without the last token: each completion begins with a copy of it (packing.py)
    rows = [
        ids[mask].tolist()[:-1]
        for ids, mask in zip(groups.prompt_ids_PN, groups.prompt_mask_PN.bool(), strict=True)
    ]
    image_ends = [
        int(kinds[mask].nonzero().max()) + 1 if kinds[mask].any() else 0
        for kinds, mask in zip(groups.is_image_PN, groups.prompt_mask_PN.bool(), strict=True)
    ]
    if any(end >= len(row) for row, end in zip(rows, image_ends, strict=True)):
        return None  # a rest has one token at least, and images are in prefixes
    families = _families(groups, rows, image_ends)
    if len(families) == num_prompts:
        return None
    sizes = [0] * num_prompts
    for family in families:
        size = _common_length([rows[prompt] for prompt in family])
        for prompt in family:
            sizes[prompt] = size
    # The prefix of a prompt alone can end anywhere behind its images. As long as those of families,
    # it adds no padding.
    longest = max(sizes[family[0]] for family in families if len(family) > 1)
    for family in families:
        if len(family) == 1:
            sizes[family[0]] = max(image_ends[family[0]], min(sizes[family[0]], longest))
    num_prefix = max(sizes)
    num_rest = max(len(row) - size for row, size in zip(rows, sizes, strict=True))
    saved = num_prompts * (num_columns - 1 - num_rest) - len(families) * num_prefix
    if saved <= 0:
        return None
    columns = [
        _padded(num_columns - 1 - len(row), size, num_prefix)
        + _padded(num_columns - 1 - len(row) + size, len(row) - size, num_rest)
        + [num_columns - 1]
        for row, size in zip(rows, sizes, strict=True)
    ]
    numbers = {prompt: number for number, family in enumerate(families) for prompt in family}
    device = groups.prompt_ids_PN.device
    return PrefixTree(
        torch.tensor([family[0] for family in families], device=device),
        torch.tensor([numbers[prompt] for prompt in range(num_prompts)], device=device),
        num_prefix,
        num_rest,
        torch.tensor(columns, device=device),
    )


def _families(
    groups: Groups, rows: Sequence[list[int]], image_ends: Sequence[int]
) -> list[list[int]]:
    """The prompts with the same images and the same tokens up to their end, by first prompt."""
    families: list[list[int]] = []
    for prompt, (row, end) in enumerate(zip(rows, image_ends, strict=True)):
        for family in families:
            first = family[0]
            if (
                row[:end] == rows[first][: image_ends[first]]
                and torch.equal(groups.grids[prompt], groups.grids[first])
                and torch.equal(groups.patches[prompt], groups.patches[first])
            ):
                family.append(prompt)
                break
        else:
            families.append([prompt])
    return families


def _common_length(rows: Sequence[list[int]]) -> int:
    """How many tokens all rows begin with alike, with at least one token left in each."""
    shortest = min(map(len, rows)) - 1
    differing = (i for i in range(shortest) if any(row[i] != rows[0][i] for row in rows))
    return next(differing, shortest)


def _padded(start: int, count: int, width: int) -> list[int]:
    """The numbers of `count` columns from `start` on, behind -1 up to the width."""
    return [-1] * (width - count) + list(range(start, start + count))


def align(
    groups: Groups, positions_3PN: torch.Tensor, tree: PrefixTree
) -> tuple[Groups, torch.Tensor]:
    """The prompts with prefixes and rests in the same columns, and their positions (3, P, K + 1).

    Args:
        groups: The prompts, with their completions.
        positions_3PN: The positions of the prompts' tokens.
        tree: Of these prompts.
    """
    is_padding_PN = tree.columns_PN < 0
    # The id of a padding token must be text, as that of the last one is.
    columns_PN = tree.columns_PN.masked_fill(is_padding_PN, groups.prompt_ids_PN.shape[1] - 1)
    aligned = replace(
        groups,
        prompt_ids_PN=groups.prompt_ids_PN.gather(1, columns_PN),
        prompt_mask_PN=(~is_padding_PN).to(groups.prompt_mask_PN.dtype),
        is_image_PN=groups.is_image_PN.gather(1, columns_PN),
        patches=[groups.patches[first] for first in tree.firsts_F.tolist()],
        grids=[groups.grids[first] for first in tree.firsts_F.tolist()],
    )
    return aligned, positions_3PN.gather(2, columns_PN.expand(3, -1, -1))
