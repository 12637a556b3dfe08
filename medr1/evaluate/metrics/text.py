"""Metrics that compare the answers' texts with the ground truths: token F1, ROUGE-L, BLEU, chrF.

Equal pairs of texts are scored once. BLEU and chrF are scores of a whole corpus, not means over
items. Their intervals resample the counts they are made of (matches, n-grams, lengths), summed for
each image.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medr1.stats.intervals import cluster_totals, named_interval, percentiles, resample_sums
from medr1.text.similarity import token_f1, token_f1_multiset, token_recall

Values = NDArray[np.float64]
BLEU_ORDERS = (1, 2, 3, 4)
BLEU_METRICS = tuple(f"bleu{k}" for k in BLEU_ORDERS)
ITEM_METRICS = ("token_f1", "token_f1_multiset", "open_recall", "rouge_l")
CORPUS_METRICS = (*BLEU_METRICS, "chrf")
TEXT_METRICS = ("exact_match", *ITEM_METRICS, *CORPUS_METRICS)
"""The metrics that need the answers' texts."""
_ROUNDING = 1e-9
"""Two scores that differ by less are equal, up to rounding."""
_MATCHES, _NGRAMS = 2, 2 + max(BLEU_ORDERS)
"""Columns of the matches, and of the n-grams, of order 1 in a row of BLEU's counts (`_bleu`)."""


def item_scores(
    predicted: Sequence[str], references: Sequence[str], names: Container[str] = ITEM_METRICS
) -> dict[str, tuple[Values, str]]:
    """Score each pair of texts by the metrics that are means over items.

    Args:
        predicted: The answers' texts, "" for none.
        references: The ground truths' texts, in the same order.
        names: Which of ITEM_METRICS to compute.

    Returns:
        {metric: (an array with a value in [0, 1] for each pair, how it is computed)}.
    """
    pairs, index = distinct_pairs(predicted, references)
    scores: dict[str, tuple[Values, str]] = {}
    if "token_f1" in names:
        signature = "sets of tokens|SQuAD normalisation"
        scores["token_f1"] = _score_pairs(token_f1, pairs)[index], signature
    if "token_f1_multiset" in names:
        signature = "multisets of tokens|SQuAD normalisation"
        scores["token_f1_multiset"] = _score_pairs(token_f1_multiset, pairs)[index], signature
    if "open_recall" in names:
        signature = "LLaVA-Med's tp / (tp + fn)|SQuAD normalisation"
        scores["open_recall"] = _score_pairs(token_recall, pairs)[index], signature
    if "rouge_l" in names:
        signature = f"rouge_score {version('rouge-score')}|rougeL|mean of F|stemmer:no"
        scores["rouge_l"] = _score_pairs(_rouge_l(), pairs)[index], signature
    return scores


@dataclass(frozen=True)
class Scorer:
    """One corpus score, such as BLEU-2, as a function of summed counts."""

    score: Callable[[list[int]], float]
    """Maps the sums of all columns to the score, in [0, 1]."""
    signature: str
    """How it is computed: the library, its version and options."""
    column: int = 0
    """Column of the number of n-grams that the answers hold for this score. A sum of 0 there means
    that no answer is long enough, so that the score is 0 by definition."""


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
    corpora = []
    for count, metrics in ((_bleu, BLEU_METRICS), (_chrf, ("chrf",))):
        selected = [name for name in metrics if name in names]
        if selected:
            rows, scorers = count(pairs)
            corpora.append(Corpus(rows[index], {name: scorers[name] for name in selected}))
    return corpora


def corpus_estimates(
    corpus: Corpus,
    clusters: Iterable[Hashable],
    *,
    unit: str = "image",
    seed: int,
    num_resamples: int,
) -> dict[str, dict[str, Any]]:
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
        null = {"value": None, "ci95": None, "n": 0, "reason": "no items"}
        return {name: dict(null) for name in corpus.scorers}
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


def _estimate(scorer: Scorer, rows: Values, resamples: Values | None, unit: str) -> dict[str, Any]:
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
    return {
        "value": scorer.score(_counts(rows.sum(axis=0))),
        "ci95": list(interval) if interval else None,
        "n": len(rows),
        "method": method,
        "signature": scorer.signature,
    }


def _score_pairs(function: Callable[[str, str], float], pairs: Sequence[tuple[str, str]]) -> Values:
    return np.array([function(*pair) for pair in pairs], dtype=np.float64)


def _counts(row: Values) -> list[int]:
    return [round(value) for value in row.tolist()]


def _rouge_l() -> Callable[[str, str], float]:
    """ROUGE-L as a function of answer and ground truth; rouge_score takes them the other way."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    return lambda answer, reference: float(scorer.score(reference, answer)["rougeL"].fmeasure)


def _bleu(pairs: Sequence[tuple[str, str]]) -> tuple[Values, dict[str, Scorer]]:
    """The counts for BLEU of each pair, and the scorers of BLEU-1 to BLEU-4.

    A row is [words, reference words, matches of order 1..4, n-grams of order 1..4]. Corpus BLEU-k
    is the brevity penalty times the geometric mean of the n-gram precisions of order 1 to k.
    """
    from sacrebleu.metrics.bleu import BLEU

    max_order = max(BLEU_ORDERS)
    # effective_order silences a warning; it changes a sentence's score, but not its counts.
    counter = BLEU(max_ngram_order=max_order, lowercase=True, effective_order=True)
    scores = [counter.sentence_score(answer, [reference]) for answer, reference in pairs]
    statistics = np.array(
        [[score.sys_len, score.ref_len, *score.counts, *score.totals] for score in scores],
        dtype=np.float64,
    )

    def scorer(k: int) -> Callable[[list[int]], float]:
        def score(sums: list[int]) -> float:
            bleu = BLEU.compute_bleu(
                sums[2 : 2 + k],
                sums[2 + max_order : 2 + max_order + k],
                sums[0],
                sums[1],
                smooth_method="exp",
                max_ngram_order=k,
            )
            return bleu.score / 100

        return score

    metric = BLEU(max_ngram_order=max_order, lowercase=True)
    metric.corpus_score(["x"], [["x"]])  # the signature is complete only after a first score
    signature = f"sacrebleu {metric.get_signature()}"
    return statistics, {
        f"bleu{k}": Scorer(scorer(k), f"BLEU-{k}|{signature}", column=1 + max_order + k)
        for k in BLEU_ORDERS
    }


def _chrf(pairs: Sequence[tuple[str, str]]) -> tuple[Values, dict[str, Scorer]]:
    """The counts for chrF of each pair, and its scorer.

    A row holds, for each order 1 to 6, the numbers of character n-grams of the answer, of the
    reference, and of both. sacrebleu gives these counts to its own significance tests only, which
    is why two private methods are called here; a test compares the result with its public
    corpus_score.
    """
    from sacrebleu.metrics.chrf import CHRF

    metric = CHRF()
    predicted, references = zip(*pairs, strict=True)
    rows = metric._extract_corpus_statistics(predicted, [references])
    signature = f"sacrebleu {metric.get_signature()}"

    def score(sums: list[int]) -> float:
        return metric._compute_score_from_stats(sums).score / 100

    return np.array(rows, dtype=np.float64), {"chrf": Scorer(score, f"chrF2|{signature}")}
