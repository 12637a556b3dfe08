"""The parts that several documents share: a number with its interval, and a part that is missing.

Every type here is a `msgspec.Struct`: its fields are the keys of the JSON document, in their order.
`files.to_json` writes it, `msgspec.convert` reads it, and `medr1 schema NAME` prints its JSON
Schema.
"""

from __future__ import annotations

from msgspec import Struct


class Metric(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A number with its 95 % confidence interval; without a value, the reason."""

    value: float | None
    ci95: tuple[float, float] | None
    """Lower and upper bound; None where there is no interval. `method` or `reason` says why."""
    n: int
    """Number of items, or of whatever the number is a mean of."""
    method: str | None = None
    """How the interval was computed."""
    reason: str | None = None
    """Why there is no value."""
    signature: str | None = None
    """How a metric of texts was computed: library, version and options."""
    by_chance: float | None = None
    """For calibration errors: 95 % of perfectly calibrated models have a smaller value."""
    n_clipped: int | None = None
    """For the NLL: number of items whose probability was too small and was raised."""
    n_without: int | None = None
    """Number of items that were left out because an answer is missing."""


def no_value(reason: str) -> Metric:
    """The metric without a value, for a number that cannot be computed, and the reason why."""
    return Metric(value=None, ci95=None, n=0, reason=reason)


def value_of(metric: Metric) -> float:
    """The value of a metric that has one; ValueError, with the reason, for one that has none."""
    if metric.value is None:
        raise ValueError(f"the metric has no value: {metric.reason}")
    return metric.value


class Section(Struct, frozen=True, kw_only=True, tag_field="status", tag="computed"):
    """A part of a document that is not always there; where it is not, there is `Missing`."""


class Missing(Struct, frozen=True, kw_only=True, tag_field="status", tag="missing"):
    """A part of a document that could not be computed."""

    reason: str


class Clusters(Struct, frozen=True, kw_only=True):
    """What the intervals resample."""

    unit: str
    """"image", or the key of `--cluster-by`, such as "patient"."""
    n: int


class Intervals(Struct, frozen=True, kw_only=True):
    """How the bootstrap intervals were drawn."""

    seed: int
    num_resamples: int
