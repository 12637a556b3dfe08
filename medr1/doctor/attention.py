"""torch's fused attention against a plain one in float64, in the shapes that models here use.

B sequences, H heads for queries, K heads for keys and values, Q queries, T keys, D numbers a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

TOLERANCE = {"float32": 1e-4, "float16": 4e-3, "bfloat16": 3e-2}
"""Largest difference of an output of size one; the faults on record are far beyond it."""


@dataclass(frozen=True)
class Case:
    """One shape; `mask` is none, causal, padded (causal, left padded) or empty (a row of none)."""

    name: str
    heads: int
    kv_heads: int
    queries: int
    keys: int
    head_dim: int
    mask: str = "none"
    is_contiguous: bool = True


CASES = (
    Case("grouped heads, causal, head 64", 8, 2, 48, 48, 64, "causal"),
    Case("grouped heads, causal, head 80", 8, 2, 48, 48, 80, "causal"),
    Case("grouped heads, causal, head 128", 16, 2, 48, 48, 128, "causal"),
    Case("vision, no mask, head 80", 8, 8, 256, 256, 80),
    Case("left-padded batch", 8, 2, 40, 40, 128, "padded"),
    Case("one token, cache of 1024", 16, 2, 1, 1024, 128),
    Case("one token, padded cache", 16, 2, 1, 1024, 128, "padded"),
    Case("strided q, k, v, head 64", 8, 8, 48, 48, 64, "causal", False),
    Case("strided q, k, v, head 128", 16, 2, 48, 48, 128, "causal", False),
    Case("a row that sees nothing", 8, 2, 24, 24, 64, "empty"),
)


def compare(device: torch.device, dtypes: tuple[str, ...]) -> Iterator[tuple[str, str, float]]:
    """(case, dtype, largest difference from the plain attention) for every case."""
    import torch

    for number, case in enumerate(CASES):
        for dtype in dtypes:
            generator = torch.Generator().manual_seed(number)
            yield case.name, dtype, _difference(case, getattr(torch, dtype), device, generator)


def _difference(
    case: Case, dtype: torch.dtype, device: torch.device, generator: torch.Generator
) -> float:
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    def tensor(heads: int, length: int) -> torch.Tensor:
        """BHLD on the CPU; strided where the case asks for what a projection leaves."""
        if case.is_contiguous:
            return torch.randn(3, heads, length, case.head_dim, generator=generator).to(dtype)
        strided = torch.randn(3, length, heads, case.head_dim, generator=generator)
        return strided.to(dtype).transpose(1, 2)

    query = tensor(case.heads, case.queries)
    key, value = tensor(case.kv_heads, case.keys), tensor(case.kv_heads, case.keys)
    mask = seen(case)
    is_causal = case.mask == "causal"
    given = None if case.mask in ("none", "causal") else mask.to(device)
    got = scaled_dot_product_attention(
        query.to(device),
        key.to(device),
        value.to(device),
        attn_mask=given,
        is_causal=is_causal,
        enable_gqa=case.kv_heads != case.heads,
    )
    expected = plain_attention(query.double(), key.double(), value.double(), mask)
    # what a row that sees nothing holds is nobody's business, as long as it is a number
    rows = mask.any(-1, keepdim=True)
    apart = (got.cpu().double() - expected).masked_fill(~rows, 0.0)
    if not bool(torch.isfinite(got).all()):
        return float("inf")
    return float(apart.abs().max())


def seen(case: Case) -> torch.Tensor:
    """B1QT, which keys a query sees; the last query stands at the last key."""
    import torch

    mask_QT = torch.ones(case.queries, case.keys, dtype=torch.bool)
    if case.mask != "none":
        mask_QT = mask_QT.tril(case.keys - case.queries)
    mask = mask_QT.repeat(3, 1, 1, 1)
    if case.mask == "padded":
        own_QT = torch.ones_like(mask_QT).tril(case.keys - case.queries)
        own_QT &= ~own_QT.tril(case.keys - case.queries - 1)
        for row, left in enumerate((0, 5, 17)):
            mask[row, :, :, :left] = False
        # a padded query sees itself alone, as transformers has it
        mask |= own_QT
    if case.mask == "empty":
        mask[1, :, :3] = False
    return mask


def plain_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """softmax(query key / sqrt(D)) value, written out; a row that sees nothing gives zeros."""
    import torch

    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    weights = torch.softmax(scores.masked_fill(~mask, float("-inf")), -1)
    return torch.nan_to_num(weights, nan=0.0) @ value
