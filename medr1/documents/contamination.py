"""contamination.json: whether a model prefers the published order of the options."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from medr1.documents.metric import Metric


class Contamination(Struct, frozen=True, kw_only=True):
    """contamination.json."""

    schema: Literal["medr1.contamination/1"] = "medr1.contamination/1"
    model: str
    model_sha256: str | None
    data: str
    """The name of the file of questions."""
    data_sha256: str
    n: int
    """Number of questions whose orders were compared."""
    n_without_options: int
    n_natural_order: int
    """Number of questions whose options are sorted or refer to each other; they are left out."""
    n_failed: int
    orders: int
    """Most orders of a question, with the published one."""
    seed: int
    preference: Metric
    """The mean share of the other orders that the model finds less probable than the published
    one; 0.5 without a preference."""
    gain: Metric
    """How much more probable the published order is than the mean of the others, in nats."""
    p_value: float | None
    """That the published orders are exchangeable with the others; None without questions."""
