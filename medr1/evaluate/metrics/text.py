"""Metrics that compare the answers' texts with the ground truths: token F1, ROUGE-L, BLEU, chrF.

Equal pairs of texts are scored once. BLEU and chrF are scores of a whole corpus, not means over
items. Their intervals resample the counts they are made of (matches, n-grams, lengths), summed for
each image.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medr1.documents.metric import Metric, no_value
from medr1.metrics.registry import CORPUS_METRICS, METRICS, PAIR_METRICS, CorpusScore, PairScore
from medr1.metrics.text_scores import BLEU_ORDERS, Scorer
from medr1.stats.intervals import cluster_totals, named_interval, percentiles, resample_sums

Values = NDArray[np.float64]
BLEU_METRICS = tuple(f"bleu{k}" for k in BLEU_ORDERS)
_ROUNDING = 1e-9
"""Two scores that differ by less are equal, up to rounding."""
_MATCHES, _NGRAMS = 2, 2 + max(BLEU_ORDERS)
"""Columns of the matches, and of the n-grams, of order 1 in a row of `count_bleu`'s counts."""


def item_scores(
    predicted: Sequence[str], references: Sequence[str], names: Container[str] = PAIR_METRICS
) -> dict[str, tuple[Values, str]]:
    """Score each pair of texts by the metrics that are means over items.

    Args:
        predicted: The answers' texts, "" for none.
        references: The ground truths' texts, in the same order.
        names: Which of PAIR_METRICS to compute.

    Returns:
        {metric: (an array with a value in [0, 1] for each pair, how it is computed)}.
    """
    pairs, index = distinct_pairs(predicted, references)
    scores: dict[str, tuple[Values, str]] = {}
    for name in PAIR_METRICS:
        function = METRICS[name].function
        if name in names and isinstance(function, PairScore):
            values = _score_pairs(function.load(), pairs)[index]
            scores[name] = values, METRICS[name].signature()
    return scores


@dataclass(frozen=True)
class Corpus:
    """Pairs of texts as counts (pairs, S), and the scores that their sums have."""

    rows: Values
    scorers: Mapping[str, Scorer]
    """Metric -> its scorer."""


def corpus_scores(
    predicted: Sequence[str], references: Sequence[str], names: Container[str] = CORPUS_METRICS
) -> list[Corpus]:
    """Count what BLEU and chrF need of each pair of texts, as sacrebleu counts it.

    Args:
        predicted: The answers' texts, "" for none.
        references: The ground truths' texts, in the same order.
        names: Which of CORPUS_METRICS to compute.

    Returns:
        The counts for BLEU-1 to BLEU-4 together, and those for chrF, each with a row per pair.
    """
    if not predicted:
        # a corpus without rows keeps the names, so that each gets a metric without a value
        scorers = {name: Scorer(lambda sums: 0.0, "") for name in CORPUS_METRICS if name in names}
        return [Corpus(np.zeros((0, 1)), scorers)]
    pairs, index = distinct_pairs(predicted, references)
    functions: dict[CorpusScore, list[str]] = {}  # one function counts for several metrics
    for name in CORPUS_METRICS:
        function = METRICS[name].function
        if name in names and isinstance(function, CorpusScore):
            functions.setdefault(function, []).append(name)
    corpora = []
    for function, selected in functions.items():
        rows, scorers = function.count(pairs)
        corpora.append(Corpus(rows[index], {name: scorers[name] for name in selected}))
    return corpora


def corpus_estimates(
    corpus: Corpus,
    clusters: Iterable[Hashable],
    *,
    unit: str = "image",
    seed: int,
    num_resamples: int,
) -> dict[str, Metric]:
    """The corpus scores, as shares in [0, 1], each with its bootstrap interval over clusters.

    Args:
        corpus: The counts and scorers.
        clusters: The cluster of each row, such as its image.
        unit: What a cluster is, in the singular.
        seed: Seed of the bootstrap.
        num_resamples: Number of resamples.
    """
    rows = corpus.rows
    if not len(rows):
        return dict.fromkeys(corpus.scorers, no_value("no items"))
    totals = cluster_totals(rows, clusters)
    resamples = resample_sums(totals, num_resamples, seed) if len(totals) > 1 else None
    return {
        name: _estimate(scorer, rows, resamples, unit) for name, scorer in corpus.scorers.items()
    }


def bleu_order_note(corpus: Corpus, weights: Values, values: Mapping[str, float]) -> str | None:
    """A sentence on why a BLEU of higher order is above one of lower order; None where none is.

    On long texts BLEU falls with the order, so a reader takes a rise for an error. It happens on
    short ones: answers of one word have no 2-grams and count in BLEU-1 only, and smoothing counts
    a part of a match where there is none.

    Args:
        corpus: The counts of BLEU, a row for each distinct pair of texts.
        weights: For each row the number of items that have this pair.
        values: Metric -> its value, for the BLEU metrics that were computed.
    """
    orders = [k for k in BLEU_ORDERS if f"bleu{k}" in values]
    above: dict[int, list[int]] = {}  # lowest order that is beaten -> the orders that beat it
    for k in orders:
        lower = [j for j in orders if j < k and values[f"bleu{k}"] > values[f"bleu{j}"] + _ROUNDING]
        if lower:
            above.setdefault(lower[0], []).append(k)
    if not above:
        return None
    higher = [k for ks in above.values() for k in ks]
    comparisons = "; ".join(
        f"{', '.join(_bleu_text(k, values) for k in ks)} {'are' if len(ks) > 1 else 'is'} above "
        f"{_bleu_text(j, values)}"
        for j, ks in above.items()
    )
    # a pair whose answer has k-grams has an answer of at least k words
    long_enough = (corpus.rows[:, _NGRAMS : _NGRAMS + max(higher)] > 0).T @ weights
    counts = ", ".join(f"{round(n)} for k = {k}" for k, n in enumerate(long_enough, 1))
    matches = weights @ corpus.rows[:, _MATCHES : _MATCHES + max(higher)]
    # the lowest order without any match; from there on sacrebleu smooths
    unmatched = next((k for k, n in enumerate(matches, 1) if not n), max(BLEU_ORDERS) + 1)
    reasons = []
    if min(higher) < unmatched:
        reasons.append(
            "the sequences of the long answers match better than the words of all answers"
        )
    if max(higher) >= unmatched:
        reasons.append(
            f"no sequence of {unmatched} words matches, and smoothing counts part of a match"
        )
    return (
        f"{comparisons}: BLEU-k counts sequences of up to k words, and only answers of at least k "
        f"words have sequences of k words (of {round(weights.sum())} items: {counts}); "
        f"{'; '.join(reasons)}. Do not compare the orders with each other."
    )


def _bleu_text(k: int, values: Mapping[str, float]) -> str:
    return f"BLEU-{k} ({100 * values[f'bleu{k}']:.1f} %)"


def distinct_pairs(
    predicted: Sequence[str], references: Sequence[str]
) -> tuple[list[tuple[str, str]], NDArray[np.intp]]:
    """The distinct pairs of texts, and for each item the index of its pair.

    Args:
        predicted: The answers' texts.
        references: The ground truths' texts, in the same order.
    """
    index_of: dict[tuple[str, str], int] = {}
    pairs = zip(predicted, references, strict=True)
    index = np.array([index_of.setdefault(pair, len(index_of)) for pair in pairs], dtype=np.intp)
    return list(index_of), index


def _estimate(scorer: Scorer, rows: Values, resamples: Values | None, unit: str) -> Metric:
    """The metric of one scorer: the score of the summed rows, and its interval.

    `resamples` holds the summed counts of each bootstrap resample (resamples, S); None where there
    are too few clusters.
    """
    interval = None
    if not rows[:, scorer.column].any():
        method = "no answer is long enough: 0 by definition, no interval"
    else:
        if resamples is not None:
            interval = percentiles(np.array([scorer.score(_counts(row)) for row in resamples]))
        interval, method = named_interval(interval, unit)
    return Metric(
        value=scorer.score(_counts(rows.sum(axis=0))),
        ci95=interval,
        n=len(rows),
        method=method,
        signature=scorer.signature,
    )


def _score_pairs(function: Callable[[str, str], float], pairs: Sequence[tuple[str, str]]) -> Values:
    return np.array([function(*pair) for pair in pairs], dtype=np.float64)


def _counts(row: Values) -> list[int]:
    return [round(value) for value in row.tolist()]
