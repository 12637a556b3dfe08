"""comparison.json and items.jsonl, the documents of `medr1 compare`."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from medr1.documents.metric import Clusters, Metric
from medr1.documents.trust import Ensemble


class SeedSpread(Struct, frozen=True, kw_only=True):
    """The accuracies of one run's seeds."""

    n: int
    accuracies: list[float]
    mean: float
    sd: float
    """The standard deviation, with n - 1."""
    min: float
    max: float


class Run(Struct, frozen=True, kw_only=True):
    """One run: a results file, or several files of the same training with different seeds."""

    name: str
    files: list[str]
    accuracy: Metric
    seeds: SeedSpread | None
    num_tokens: Metric | None = None
    """The mean length of the completions in tokens; None where the files do not say."""


class McNemar(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """p values of McNemar's test; None with a reason for several seeds."""

    exact: float | None
    mid_p: float | None
    reason: str | None = None


class DetectableDifference(Struct, frozen=True, kw_only=True):
    """The smallest difference that so many items would show with the given power."""

    value: float | None
    reason: str | None
    power: float
    """The probability to find a difference of this size."""
    alpha: float
    """The level of the two-sided test."""
    discordance: float
    """The mean squared difference of an item; for single runs the share that only one got right."""
    design_effect: float
    """How much larger the variance is because items share images; at least 1."""


class Difference(Struct, frozen=True, kw_only=True):
    """The accuracy of a run minus that of the base, over some items."""

    difference: Metric
    p: float | None
    p_holm: float | None = None
    """p with Holm's correction over all runs, or over the groups of one kind."""
    test: str
    """The test that p comes from."""
    won: int
    """Number of items on which the run scores higher than the base."""
    lost: int
    """Number of items on which the run scores lower than the base."""
    both_right: int
    both_wrong: int
    mcnemar: McNemar
    minimum_detectable_difference: DetectableDifference


class RunComparison(Difference, frozen=True, kw_only=True):
    """One run compared with the base: over all items, over seeds, and in each group."""

    run: str
    base: str
    over_seeds: Metric | None
    """The difference with an interval over seeds; None where both have one seed."""
    groups: dict[str, dict[str, Difference]]
    """Kind, such as modality -> group -> the difference there."""


class PairComparison(Difference, frozen=True, kw_only=True):
    """Two of several runs: `run` minus `base`. p_holm is corrected over all pairs."""

    run: str
    base: str
    """The other run of the pair, which need not be that of the document."""
    mcnemar_holm: float | None
    """McNemar's exact p with Holm's correction over all pairs."""


class Comparison(Struct, frozen=True, kw_only=True):
    """comparison.json: runs on the same items, each compared with the first."""

    schema: Literal["medr1.comparison/2"] = "medr1.comparison/2"
    protocol: str
    paired_by: str
    n: int
    clusters: Clusters
    base: str
    runs: list[Run]
    comparisons: list[RunComparison]
    pairs: list[PairComparison] = []
    """Each run with each other one; empty for two runs, where `comparisons` has the only pair."""
    ensemble: Ensemble | None
    meaning: str
    """A sentence that says to what the intervals and p values generalise."""
    warnings: list[str]


class ComparedItem(Struct, frozen=True, kw_only=True):
    """A line of items.jsonl: one item, and what each run made of it."""

    id: str
    images: list[str]
    modality: str | None
    question_type: str | None
    ground_truth: str | None
    correct: dict[str, float]
    """Run -> the share of its seeds that are right; 0 or 1 for a single seed."""
    outcome: dict[str, str]
    """Run other than the base -> won, lost, both right or both wrong; equal where the same share
    of the seeds of both is right, neither none nor all."""
