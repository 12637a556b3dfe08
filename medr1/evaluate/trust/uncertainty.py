"""What several samples of each item say: `summary["uncertainty"]`.

The samples are those of `medr1 infer --num-samples`, beside the one answer. An item that failed
has none: it is wrong in every accuracy and pass@k, and in no measure of agreement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from math import ceil
from typing import Any

import numpy as np

from medr1.evaluate.estimates import Metric, difference_metric, mean_metric, null, statistic_metric
from medr1.evaluate.judging import Judged, Mask, SampledAnswers, Values
from medr1.evaluate.trust import repeats
from medr1.evaluate.trust.ranking import auroc_metric

NO_SAMPLES = "the results hold no samples beside the one answer; make some: infer --num-samples 8"
_BANDS = (1.0, 0.75, 0.5, 0.0)
"""Least agreement of each row of the table, from all samples to fewer than half."""


def uncertainty(judged: Judged) -> dict[str, Any]:
    """The `uncertainty` part of summary.json; null with a reason where no item has samples."""
    found = _Repeated(judged)
    if not found.has_samples.any():
        return null(NO_SAMPLES)
    return {
        "num_samples": found.num_samples,
        "n": int(found.asked.sum()),
        "n_without": int((~found.asked).sum()),
        "n_failed": int((found.asked & ~found.has_samples).sum()),
        "self_consistency": _self_consistency(found),
        "entropy": _entropy(found),
        "by_agreement": _by_agreement(found),
        "pass_at_k": [found.pass_at(k) for k in range(1, found.num_samples[0] + 1)],
        "stability": _stability(found),
    }


@dataclass(frozen=True)
class _Repeated:
    """Judged items by what their samples came to."""

    judged: Judged

    @cached_property
    def count(self) -> Values:
        """The number of samples of each item."""
        return self.judged.columns.sampled.map(lambda one: len(one.answers))

    @property
    def has_samples(self) -> Mask:
        return self.count > 0

    @cached_property
    def asked(self) -> Mask:
        """Where samples were asked for: also an item that failed before it had any."""
        return self.has_samples | self.judged.outcomes.where(lambda outcome: outcome.failed)

    @property
    def several(self) -> Mask:
        """Where there are two samples or more, so that they can agree."""
        return self.count > 1

    @cached_property
    def num_samples(self) -> list[int]:
        """The fewest and the most samples of an item that has some."""
        counts = self.count[self.has_samples]
        return [int(counts.min()), int(counts.max())]

    def map(self, function: Callable[[SampledAnswers], float], fewest: int = 1) -> Values:
        """The number of each item's samples; 0 where there are fewer than the function needs."""
        return self.judged.columns.sampled.map(
            lambda one: function(one) if len(one.answers) >= fewest else 0.0
        )

    @cached_property
    def agreement(self) -> Values:
        return self.map(lambda one: repeats.agreement(one.answers))

    def pass_at(self, k: int) -> Metric:
        right = self.map(lambda one: repeats.pass_at_k(len(one.correct), sum(one.correct), k))
        return {"k": k, **mean_metric(right, self.judged, self.asked)}

    def agreeing(self, values: Values) -> Metric:
        """The mean over the items with several samples."""
        return mean_metric(values, self.judged, self.several, "no item has two samples")


def _self_consistency(found: _Repeated) -> dict[str, Any]:
    """The majority's accuracy beside the one answer's: Wang et al. (2023), self-consistency."""
    judged, asked = found.judged, found.asked
    right = found.map(_majority_is_right)
    return {
        "accuracy": mean_metric(judged.correct, judged, asked),
        "majority_accuracy": mean_metric(right, judged, asked),
        "difference": difference_metric(right, judged.correct, judged, asked),
        "agreement": mean_metric(found.agreement, judged, found.has_samples),
        "n_ties": int(found.map(lambda one: repeats.is_tie(one.answers)).sum()),
    }


def _majority_is_right(one: SampledAnswers) -> bool:
    first = repeats.majority(one.answers)
    return first is not None and one.correct[first]


def _entropy(found: _Repeated) -> dict[str, Metric]:
    """The answers' entropy, and how well it and the agreement tell wrong answers from right."""
    judged, several = found.judged, found.several
    entropy = found.map(lambda one: repeats.normalised_entropy(one.answers), fewest=2)
    area = partial(auroc_metric, positive=judged.correct == 0, judged=judged, where=several)
    return {
        "mean": found.agreeing(entropy),
        "auroc": area(entropy),
        "auroc_disagreement": area(1 - found.agreement),
    }


def _by_agreement(found: _Repeated) -> list[dict[str, Any]]:
    """The one answer's accuracy where the samples agree so much; bands without items left out."""
    rows = []
    above = np.inf
    fewest, most = found.num_samples
    for least in _BANDS:
        where = found.several & (found.agreement >= least) & (found.agreement < above)
        if where.any():
            label = _band(least, above, most if fewest == most else None)
            accuracy = mean_metric(found.judged.correct, found.judged, where)
            rows.append({"agreement": label, "n": int(where.sum()), "accuracy": accuracy})
        above = least
    return rows


def _band(least: float, above: float, n: int | None) -> str:
    """Such as "6 to 7 of 8"; a share where items differ in the number of their samples."""
    if n is None:
        return "all" if least == 1 else f"{100 * least:.0f} to under {100 * above:.0f} %"
    first, last = ceil(least * n), n if least == 1 else ceil(above * n) - 1
    return f"{first} of {n}" if first == last else f"{first} to {last} of {n}"


def _stability(found: _Repeated) -> dict[str, Any]:
    """How far the answers, and with them the accuracy, move from run to run."""
    judged, several = found.judged, found.several
    spread = found.map(lambda one: repeats.variance(len(one.correct), sum(one.correct)), fewest=2)
    pairs = found.map(lambda one: repeats.pairwise_agreement(one.answers), fewest=2)

    def of_sums(function: Callable[[Values], Values]) -> Metric:
        if not several.any():
            return null("no item has two samples")
        sums = np.column_stack([spread, np.ones(len(spread))])[several]
        return statistic_metric(sums, judged.clusters[several], function, judged)

    return {
        "all_agree": found.agreeing((found.agreement == 1).astype(np.float64)),
        "pairwise_agreement": found.agreeing(pairs),
        "within_item_sd": of_sums(lambda sums: np.sqrt(sums[:, 0] / sums[:, 1])),
        "between_run_sd": of_sums(lambda sums: np.sqrt(sums[:, 0]) / sums[:, 1]),
        "observed_run_sd": _observed(found),
    }


def _observed(found: _Repeated) -> float | None:
    """The standard deviation of the accuracies of the first, second ... samples as runs.

    None where items differ in the number of samples, or have but one.
    """
    fewest, most = found.num_samples
    if fewest != most or most < 2:
        return None
    sampled = found.judged.columns.sampled
    counts = np.bincount(sampled.codes, minlength=len(sampled.values))
    runs = sum(
        count * np.array(one.correct, dtype=np.float64)
        for count, one in zip(counts, sampled.values, strict=True)
        if one.correct
    )
    return float(np.std(runs / found.has_samples.sum(), ddof=1))
