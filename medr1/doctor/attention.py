"""Compare torch's fused attention with a plain implementation in float64.

Fused attention has been wrong without an error on some devices. The cases have the shapes that
occur in the models here: grouped heads, padding, a cache, tensors that are not contiguous.

Shapes: B sequences, H heads for queries, K heads for keys and values, Q queries, T keys, D numbers
a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

TOLERANCE = {"float32": 1e-4, "float16": 4e-3, "bfloat16": 3e-2}
"""Largest accepted difference, for outputs of about 1. The known faults are far above it."""


@dataclass(frozen=True)
class Case:
    """One shape of attention inputs to compare."""

    name: str
    heads: int
    """Heads of the queries."""
    kv_heads: int
    """Heads of keys and values; several query heads share one."""
    queries: int
    keys: int
    head_dim: int
    mask: str = "none"
    """none, causal, padded (causal, with left padding) or empty (causal, and one sequence's first
    keys are hidden, so that a row sees nothing)."""
    is_contiguous: bool = True
    """False: strided, as a projection leaves its output after the heads are moved."""


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


def attention_differences(
    device: torch.device, dtypes: tuple[str, ...]
) -> Iterator[tuple[str, str, float]]:
    """Compute every case on the device and in plain float64.

    Args:
        device: The device to check.
        dtypes: Names of torch dtypes, such as "bfloat16".

    Returns:
        (name of the case, dtype, largest difference; inf where an output is not finite).
    """
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
        """(B, heads, length, D) on the CPU, contiguous or strided as the case wants."""
        if case.is_contiguous:
            return torch.randn(3, heads, length, case.head_dim, generator=generator).to(dtype)
        strided = torch.randn(3, length, heads, case.head_dim, generator=generator)
        return strided.to(dtype).transpose(1, 2)

    query = tensor(case.heads, case.queries)
    key, value = tensor(case.kv_heads, case.keys), tensor(case.kv_heads, case.keys)
    mask = visible_keys(case)
    is_causal = case.mask == "causal"
    # Without padding models pass no mask, but is_causal: that is another code path of torch.
    attn_mask = None if case.mask in ("none", "causal") else mask.to(device)
    output = scaled_dot_product_attention(
        query.to(device),
        key.to(device),
        value.to(device),
        attn_mask=attn_mask,
        is_causal=is_causal,
        enable_gqa=case.kv_heads != case.heads,
    )
    expected = plain_attention(query.double(), key.double(), value.double(), mask)
    # The output of a row that sees nothing does not matter, as long as it is finite.
    sees_something = mask.any(-1, keepdim=True)
    difference = (output.cpu().double() - expected).masked_fill(~sees_something, 0.0)
    if not bool(torch.isfinite(output).all()):
        return float("inf")
    return float(difference.abs().max())


def visible_keys(case: Case) -> torch.Tensor:
    """The mask (B, 1, Q, T) of a case: True where a query sees a key.

    The last query has the position of the last key, as in decoding with a cache.
    """
    import torch

    mask_QT = torch.ones(case.queries, case.keys, dtype=torch.bool)
    if case.mask != "none":
        mask_QT = mask_QT.tril(case.keys - case.queries)
    mask = mask_QT.repeat(3, 1, 1, 1)
    if case.mask == "padded":
        # own_QT: the diagonal, each query with its own key.
        own_QT = torch.ones_like(mask_QT).tril(case.keys - case.queries)
        own_QT &= ~own_QT.tril(case.keys - case.queries - 1)
        for row, padding in enumerate((0, 5, 17)):
            mask[row, :, :, :padding] = False
        # A padded query sees itself alone, as in transformers.
        mask |= own_QT
    if case.mask == "empty":
        mask[1, :, :3] = False
    return mask


def plain_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """softmax(query key^T / sqrt(D)) value, written out; zeros for a row that sees nothing.

    Args:
        query: (B, H, Q, D).
        key: (B, K, T, D).
        value: (B, K, T, D).
        mask: (B, 1, Q, T), True where a query sees a key.

    Returns:
        (B, H, Q, D).
    """
    import torch

    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    weights = torch.softmax(scores.masked_fill(~mask, float("-inf")), -1)
    return torch.nan_to_num(weights, nan=0.0) @ value
