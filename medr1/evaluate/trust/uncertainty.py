"""Uncertainty by repeated sampling: the section `uncertainty` of summary.json.

`medr1 infer --num-samples N` draws N completions ("samples") of each item beside its one answer.
Samples that disagree are a sign that the model does not know. This module computes the accuracy of
their majority (self-consistency), the entropy of their answers, pass@k, and how far the accuracy
moves from run to run. The functions of one item's samples are in `sample_statistics`.

An item that failed has no samples. It counts as wrong in every accuracy and pass@k, and is left out
of every measure of agreement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from math import ceil

import numpy as np

from medr1.documents.metric import Metric, Missing, no_value
from medr1.documents.trust import (
    AgreementBand,
    AnswerEntropy,
    PassAtK,
    SelfConsistency,
    Stability,
    Uncertainty,
)
from medr1.evaluate.coded import Mask, Values
from medr1.evaluate.estimates import difference_metric, mean_metric, statistic_metric
from medr1.evaluate.judging import Judged, SampledAnswers
from medr1.evaluate.trust import sample_statistics
from medr1.evaluate.trust.ranking import auroc_metric

NO_SAMPLES = "the results hold no samples beside the one answer; make some: infer --num-samples 8"
_BANDS = (1.0, 0.75, 0.5, 0.0)
"""The lowest agreement of each row of the table, from all samples down to less than half."""


def uncertainty(judged: Judged) -> Uncertainty | Missing:
    """The section `uncertainty` of summary.json; missing where no item has samples."""
    repeated = _RepeatedItems(judged)
    if not repeated.has_samples.any():
        return Missing(reason=NO_SAMPLES)
    return Uncertainty(
        num_samples=repeated.num_samples,
        n=int(repeated.requested.sum()),
        n_without=int((~repeated.requested).sum()),
        n_failed=int((repeated.requested & ~repeated.has_samples).sum()),
        self_consistency=_self_consistency(repeated),
        entropy=_entropy(repeated),
        by_agreement=_by_agreement(repeated),
        pass_at_k=[repeated.pass_at(k) for k in range(1, repeated.num_samples[0] + 1)],
        stability=_stability(repeated),
    )


@dataclass(frozen=True)
class _RepeatedItems:
    """Judged items with their samples, as columns with one entry for each item."""

    judged: Judged

    @cached_property
    def count(self) -> Values:
        """The number of samples."""
        return self.judged.columns.sampled.map(lambda sampled: len(sampled.answers))

    @property
    def has_samples(self) -> Mask:
        return self.count > 0

    @cached_property
    def requested(self) -> Mask:
        """Where samples were requested: also items that failed before they had any."""
        return self.has_samples | self.judged.outcomes.where(lambda outcome: outcome.failed)

    @property
    def has_multiple(self) -> Mask:
        """Where there are two samples or more, so that agreement is defined."""
        return self.count > 1

    @cached_property
    def num_samples(self) -> tuple[int, int]:
        """(fewest, most) samples of an item, among the items that have some."""
        counts = self.count[self.has_samples]
        return int(counts.min()), int(counts.max())

    def map(self, function: Callable[[SampledAnswers], float], fewest: int = 1) -> Values:
        """The function's value for each item; 0.0 where it has fewer samples than `fewest`."""
        return self.judged.columns.sampled.map(
            lambda sampled: function(sampled) if len(sampled.answers) >= fewest else 0.0
        )

    @cached_property
    def agreement(self) -> Values:
        """The share of the samples with the most frequent answer."""
        return self.map(lambda sampled: sample_statistics.agreement(sampled.answers))

    def pass_at(self, k: int) -> PassAtK:
        """The mean of pass@k over all items for which samples were requested."""
        right = self.map(
            lambda sampled: sample_statistics.pass_at_k(
                len(sampled.correct), sum(sampled.correct), k
            )
        )
        return PassAtK(k=k, metric=mean_metric(right, self.judged, self.requested))

    def mean_over_multiple(self, values: Values) -> Metric:
        """The mean of `values` (items,) over the items with two samples or more."""
        return mean_metric(values, self.judged, self.has_multiple, "no item has two samples")


def _self_consistency(repeated: _RepeatedItems) -> SelfConsistency:
    """Self-consistency (Wang et al., 2023): the majority's accuracy beside the one answer's."""
    judged, requested = repeated.judged, repeated.requested
    right = repeated.map(_majority_is_right)
    n_ties = int(repeated.map(lambda sampled: sample_statistics.is_tie(sampled.answers)).sum())
    return SelfConsistency(
        accuracy=mean_metric(judged.correct, judged, requested),
        majority_accuracy=mean_metric(right, judged, requested),
        difference=difference_metric(right, judged.correct, judged, requested),
        agreement=mean_metric(repeated.agreement, judged, repeated.has_samples),
        n_ties=n_ties,
    )


def _majority_is_right(sampled: SampledAnswers) -> bool:
    first = sample_statistics.majority(sampled.answers)
    return first is not None and sampled.correct[first]


def _entropy(repeated: _RepeatedItems) -> AnswerEntropy:
    """The answers' entropy, and how well it and disagreement predict wrong answers (AUROC)."""
    judged, multiple = repeated.judged, repeated.has_multiple
    entropy = repeated.map(
        lambda sampled: sample_statistics.normalised_entropy(sampled.answers), fewest=2
    )
    area = partial(auroc_metric, positive=judged.correct == 0, judged=judged, where=multiple)
    return AnswerEntropy(
        mean=repeated.mean_over_multiple(entropy),
        auroc=area(entropy),
        auroc_disagreement=area(1 - repeated.agreement),
    )


def _by_agreement(repeated: _RepeatedItems) -> list[AgreementBand]:
    """The one answer's accuracy by the samples' agreement, for each band that has items."""
    bands = []
    above = np.inf  # bands are [least, above)
    fewest, most = repeated.num_samples
    for least in _BANDS:
        where = repeated.has_multiple & (repeated.agreement >= least) & (repeated.agreement < above)
        if where.any():
            label = _band(least, above, most if fewest == most else None)
            accuracy = mean_metric(repeated.judged.correct, repeated.judged, where)
            bands.append(AgreementBand(agreement=label, n=int(where.sum()), accuracy=accuracy))
        above = least
    return bands


def _band(least: float, above: float, n: int | None) -> str:
    """The label of a band, such as "6 to 7 of 8" for n = 8 samples.

    A range of shares where items differ in their number of samples (n is None).
    """
    if n is None:
        return "all" if least == 1 else f"{100 * least:.0f} to under {100 * above:.0f} %"
    first, last = ceil(least * n), n if least == 1 else ceil(above * n) - 1
    return f"{first} of {n}" if first == last else f"{first} to {last} of {n}"


def _stability(repeated: _RepeatedItems) -> Stability:
    """How far the answers, and with them the accuracy, vary from run to run."""
    judged, multiple = repeated.judged, repeated.has_multiple
    variances = repeated.map(
        lambda sampled: sample_statistics.variance(len(sampled.correct), sum(sampled.correct)),
        fewest=2,
    )
    pairs = repeated.map(
        lambda sampled: sample_statistics.pairwise_agreement(sampled.answers), fewest=2
    )

    def of_sums(function: Callable[[Values], Values]) -> Metric:
        if not multiple.any():
            return no_value("no item has two samples")
        # columns: the sum of the items' variances, and the number of items
        sums = np.column_stack([variances, np.ones(len(variances))])[multiple]
        return statistic_metric(sums, judged.clusters[multiple], function, judged)

    return Stability(
        all_agree=repeated.mean_over_multiple((repeated.agreement == 1).astype(np.float64)),
        pairwise_agreement=repeated.mean_over_multiple(pairs),
        within_item_sd=of_sums(lambda sums: np.sqrt(sums[:, 0] / sums[:, 1])),
        between_run_sd=of_sums(lambda sums: np.sqrt(sums[:, 0]) / sums[:, 1]),
        observed_run_sd=_observed_run_sd(repeated),
    )


def _observed_run_sd(repeated: _RepeatedItems) -> float | None:
    """The standard deviation of the accuracy over runs, the k-th samples of all items as run k.

    None where items differ in their number of samples, or have only one.
    """
    fewest, most = repeated.num_samples
    if fewest != most or most < 2:
        return None
    sampled = repeated.judged.columns.sampled
    counts = np.bincount(sampled.codes, minlength=len(sampled.values))
    # the number of right answers in each run; `sampled` holds equal items once, with their count
    runs = sum(
        count * np.array(item.correct, dtype=np.float64)
        for count, item in zip(counts, sampled.values, strict=True)
        if item.correct
    )
    return float(np.std(runs / repeated.has_samples.sum(), ddof=1))
