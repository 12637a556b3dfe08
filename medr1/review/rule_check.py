"""How the automatic verdict and the model's confidence relate to what experts say.

The kinds of items are sampled at different rates. Each judged item therefore counts as N/n items,
with n judged of the N items of its kind, so that the numbers are those of all items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from medr1.documents.metric import Metric, no_value
from medr1.documents.review import RuleCheck, RuleOfType
from medr1.review.confidence_bins import confidence_bins
from medr1.review.store import StoredItem
from medr1.stats.intervals import (
    Floats,
    cluster_codes,
    cluster_totals,
    named_interval,
    percentiles,
    resample_sums,
)
from medr1.stats.weighted_share import weighted_share

MAX_UNDEFINED = 0.05
"""Largest share of resamples without a value with which there is an interval."""


def rule_check(
    items: Sequence[StoredItem],
    verdicts: Mapping[int, float],
    *,
    seed: int = 0,
    num_resamples: int = 2000,
) -> RuleCheck:
    """The precision and recall of the automatic verdict "right", and the model's confidence.

    Args:
        items: All items of the results file.
        verdicts: Place of each judged case -> the experts' verdict, in [0, 1].
        seed: Of the bootstrap intervals.
        num_resamples: Number of resamples.
    """
    sizes = Counter(item.kind for item in items)
    judged = [item for item in items if item.place in verdicts]
    n_judged = Counter(item.kind for item in judged)
    missing = [kind for kind in sizes if not n_judged[kind]]
    if missing:
        reason = f"no item is judged in {len(missing)} of {len(sizes)} kinds"
        nothing = no_value(reason if judged else "no item is judged")
        return RuleCheck(precision=nothing, recall=nothing, confidence_auroc=nothing)
    weights = np.array([sizes[item.kind] / n_judged[item.kind] for item in judged])
    expert = np.array([verdicts[item.place] for item in judged])
    rule = np.array([item.is_right for item in judged], dtype=np.float64)
    clusters = [item.cluster for item in judged]
    both = weights * rule * expert
    return RuleCheck(
        precision=_ratio(both, weights * rule, clusters, "no judged item", seed, num_resamples),
        recall=_ratio(
            both, weights * expert, clusters, "experts call none right", seed, num_resamples
        ),
        confidence_auroc=_auroc(judged, weights, expert, seed, num_resamples),
        by_answer_type=_by_answer_type(items, judged, weights, expert),
        calibration=confidence_bins(items, judged, weights, expert),
    )


def _by_answer_type(
    items: Sequence[StoredItem], judged: Sequence[StoredItem], weights: Floats, expert: Floats
) -> dict[str, RuleOfType]:
    """Answer type -> the precision and recall on its items; a type of few items has wide intervals.

    A judged item keeps the weight that it has among all items.
    """
    rule = np.array([item.is_right for item in judged], dtype=np.float64)
    clusters = [item.cluster for item in judged]
    entries = {}
    for answer_type, number in sorted(Counter(item.answer_type for item in items).items()):
        of_type = np.array([item.answer_type == answer_type for item in judged])
        counted = weights * of_type
        n_judged = int(of_type.sum())
        missing = None if n_judged else "no item is judged"
        entries[answer_type] = RuleOfType(
            n_items=number,
            n_judged=n_judged,
            precision=weighted_share(
                counted * rule, expert, clusters, reason=missing or "no judged item is called right"
            ),
            recall=weighted_share(
                counted * expert, rule, clusters, reason=missing or "experts call none right"
            ),
        )
    return entries


def _ratio(
    above: Floats,
    below: Floats,
    clusters: Sequence[int],
    reason: str,
    seed: int,
    num_resamples: int,
) -> Metric:
    """Σ above / Σ below over items; its n counts the items that are in the sum below."""
    if not below.sum():
        return no_value(reason)
    totals = cluster_totals(np.column_stack([above, below]), clusters)
    sums = resample_sums(totals, num_resamples, seed)
    resampled = sums[:, 0] / np.where(sums[:, 1] > 0, sums[:, 1], np.nan)
    return _metric(float(above.sum() / below.sum()), resampled, len(totals), int((below > 0).sum()))


def _auroc(
    judged: Sequence[StoredItem], weights: Floats, expert: Floats, seed: int, num_resamples: int
) -> Metric:
    """The probability that a right answer has a higher confidence than a wrong one.

    An answer that experts call half right counts half to each. Equal confidences count one half.
    """
    used = np.array([item.confidence is not None for item in judged])
    confidence = np.array([item.confidence for item in judged if item.confidence is not None])
    right, wrong = (weights * expert)[used], (weights * (1 - expert))[used]
    if not right.sum() or not wrong.sum():
        return no_value("no confidences of right and wrong answers")
    difference = confidence[:, None] - confidence
    wins = (difference > 0) + 0.5 * (difference == 0)
    codes = cluster_codes(item.cluster for item in judged if item.confidence is not None)
    number = int(codes.max()) + 1
    draws = np.random.default_rng(seed).multinomial(
        number, np.full(number, 1 / number), num_resamples
    )
    times = np.vstack([np.ones(len(codes)), draws[:, codes]])
    a, b = times * right, times * wrong
    pairs = a.sum(axis=1) * b.sum(axis=1)
    values = ((a @ wins) * b).sum(axis=1) / np.where(pairs > 0, pairs, np.nan)
    return _metric(float(values[0]), values[1:], number, len(codes))


def _metric(value: float, resampled: Floats, num_clusters: int, n: int) -> Metric:
    """A value with the interval of its resamples, if there are enough of them."""
    is_defined = ~np.isnan(resampled)
    interval = None
    method = "too few different verdicts: no interval"
    if num_clusters < 2:
        interval, method = named_interval(None, "cluster")
    elif np.mean(~is_defined) <= MAX_UNDEFINED:
        interval, method = named_interval(percentiles(resampled[is_defined]), "cluster")
    return Metric(value=value, ci95=interval, n=n, method=method)
