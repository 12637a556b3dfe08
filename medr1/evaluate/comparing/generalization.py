"""How well training on other domains serves a domain: the gap to the model of the domain itself.

Leave one domain out: for each test domain, the mean accuracy of the models that were trained on
other domains is held against the model that was trained on it. The gap is the difference; its
interval comes from the resamples of the matrix, in which both have the same images.

A gap may grow with the distance of the domains. There are two distances. That of their answers is
half the sum of the absolute differences between the shares of each ground truth (total variation),
from 0 (the same answers, equally often) to 1 (no answer in common). That of their images is the
kernel distance of embeddings (`image_distance`), where a model for them is given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medr1.documents.matrix import DomainGap, DomainPair, Generalization
from medr1.documents.metric import Metric, no_value
from medr1.records import Sample
from medr1.stats.intervals import named_interval, percentiles

MIN_PAIRS = 4
"""Fewest pairs of domains for a correlation."""


@dataclass(frozen=True)
class ImageDistances:
    """How far the images of the domains are apart."""

    model: str
    """The checkpoint whose vision tower gave the embeddings."""
    distances: Mapping[tuple[str, str], float]
    """(domain, other domain) -> distance, in both orders (`image_distance.image_distances`)."""


Accuracies = Mapping[tuple[str, str], float]
"""(training domain, test domain) -> accuracy."""


def generalization(
    accuracies: Accuracies,
    resamples: Mapping[tuple[str | None, str], NDArray[np.float64]] | None,
    samples: Mapping[str, Sequence[Sample]],
    unit: str,
    images: ImageDistances | None = None,
) -> Generalization:
    """The gaps of all test domains with a model of their own, and the distances.

    Args:
        accuracies: The cells of the matrix.
        resamples: For each cell its accuracy in every resample; None where there are no intervals.
        samples: Test domain -> its items.
        unit: What the intervals resample.
        images: The distances of the domains' images; None if they are not compared.
    """
    tests = [test for test in samples if (test, test) in accuracies]
    others = {
        test: [train for train, other in accuracies if other == test and train != test]
        for test in tests
    }
    domains = {
        test: _gap(test, others[test], accuracies, resamples, unit)
        for test in tests
        if others[test]
    }
    shares = {test: _answer_shares(samples[test]) for test in samples}
    pairs = [
        DomainPair(
            train=train,
            test=test,
            answer_distance=_total_variation(shares[train], shares[test]),
            image_distance=images.distances.get((train, test)) if images else None,
            drop=accuracies[test, test] - accuracies[train, test],
        )
        for test in domains
        for train in others[test]
        if train in shares
    ]
    return Generalization(
        domains=domains,
        mean_gap=_mean_gap(list(domains), others, accuracies, resamples, unit),
        pairs=pairs,
        rank_correlation=_rank_correlation([(pair.answer_distance, pair.drop) for pair in pairs]),
        image_rank_correlation=_rank_correlation(
            [(pair.image_distance, pair.drop) for pair in pairs if pair.image_distance is not None]
        ),
        image_model=images.model if images else None,
    )


def _gap(
    test: str,
    others: Sequence[str],
    accuracies: Accuracies,
    resamples: Mapping[tuple[str | None, str], NDArray[np.float64]] | None,
    unit: str,
) -> DomainGap:
    """The gap of one test domain."""
    mean = float(np.mean([accuracies[train, test] for train in others]))
    gap = _mean_gap([test], {test: others}, accuracies, resamples, unit)
    interval = None
    if resamples is not None:
        interval = percentiles(np.mean([resamples[train, test] for train in others], axis=0))
    interval, method = named_interval(interval, unit)
    return DomainGap(
        in_domain=accuracies[test, test],
        others=Metric(value=mean, ci95=interval, n=len(others), method=method),
        gap=gap,
    )


def _mean_gap(
    tests: Sequence[str],
    others: Mapping[str, Sequence[str]],
    accuracies: Accuracies,
    resamples: Mapping[tuple[str | None, str], NDArray[np.float64]] | None,
    unit: str,
) -> Metric:
    """The unweighted mean of the gaps of some test domains; n counts domains."""
    if not tests:
        return no_value("no test domain with a model of its own and of others")
    values = [
        accuracies[test, test] - float(np.mean([accuracies[train, test] for train in others[test]]))
        for test in tests
    ]
    interval = None
    if resamples is not None:
        gaps = [
            resamples[test, test]
            - np.mean([resamples[train, test] for train in others[test]], axis=0)
            for test in tests
        ]
        interval = percentiles(np.mean(gaps, axis=0))
    interval, method = named_interval(interval, unit)
    return Metric(value=float(np.mean(values)), ci95=interval, n=len(tests), method=method)


def _answer_shares(samples: Iterable[Sample]) -> dict[str, float]:
    """Ground truth as text, in lower case -> its share of the items."""
    texts = Counter(
        " ".join(sample.options.get(truth, truth).casefold().split())
        for sample in samples
        if (truth := sample.ground_truth)
    )
    total = sum(texts.values())
    return {text: count / total for text, count in texts.items()}


def _total_variation(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    """Half the sum of the differences between two distributions, 0 to 1."""
    total = sum(abs(first.get(text, 0) - second.get(text, 0)) for text in {*first, *second})
    return min(1.0, 0.5 * total)  # above 1 only by rounding


def _rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's correlation of two values; None for too few pairs or equal values."""
    if len(pairs) < MIN_PAIRS or any(len(set(values)) < 2 for values in zip(*pairs, strict=True)):
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(*zip(*pairs, strict=True)).statistic)
