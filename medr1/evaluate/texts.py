"""Metrics of predicted against reference texts; equal pairs of texts are scored once.

BLEU and chrF are scores of a corpus and not means of items: their intervals resample the counts
they are made of (matches, totals, lengths), summed by image.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medr1.intervals import cluster_totals, named_interval, percentiles, resample_sums
from medr1.similarity import token_f1, token_f1_multiset, token_recall

Values = NDArray[np.float64]
BLEU_ORDERS = (1, 2, 3, 4)
BLEU_METRICS = tuple(f"bleu{k}" for k in BLEU_ORDERS)
ITEM_METRICS = ("token_f1", "token_f1_multiset", "open_recall", "rouge_l")
CORPUS_METRICS = (*BLEU_METRICS, "chrf")
TEXT_METRICS = ("exact_match", *ITEM_METRICS, *CORPUS_METRICS)
"""The metrics that need the answers' texts."""
_ROUNDING = 1e-9
"""Scores that differ by less are the same, but for rounding."""
_MATCHES, _NGRAMS = 2, 2 + max(BLEU_ORDERS)
"""Where those of order 1 stand in a row of BLEU's counts."""


def item_scores(
    predicted: Sequence[str], references: Sequence[str], names: Container[str] = ITEM_METRICS
) -> dict[str, tuple[Values, str]]:
    """{name: (a value in [0, 1] for each pair, how it is computed)}, of those of `names`."""
    pairs, index = distinct(predicted, references)
    found: dict[str, tuple[Values, str]] = {}
    if "token_f1" in names:
        said = "sets of tokens|SQuAD normalisation"
        found["token_f1"] = _scored(token_f1, pairs)[index], said
    if "token_f1_multiset" in names:
        said = "multisets of tokens|SQuAD normalisation"
        found["token_f1_multiset"] = _scored(token_f1_multiset, pairs)[index], said
    if "open_recall" in names:
        signature = "LLaVA-Med's tp / (tp + fn)|SQuAD normalisation"
        found["open_recall"] = _scored(token_recall, pairs)[index], signature
    if "rouge_l" in names:
        said = f"rouge_score {version('rouge-score')}|rougeL|mean of F|stemmer:no"
        found["rouge_l"] = _scored(_rouge_l(), pairs)[index], said
    return found


@dataclass(frozen=True)
class Scorer:
    """One corpus score, as a function of the summed statistics."""

    score: Callable[[list[int]], float]
    signature: str
    column: int = 0
    """Where the number of things that the prediction offers for scoring stands."""


@dataclass(frozen=True)
class Corpus:
    """Statistics of pairs of texts (pairs, S), and the scores that their sums have."""

    rows: Values
    scorers: Mapping[str, Scorer]


def corpus_scores(
    predicted: Sequence[str], references: Sequence[str], names: Container[str] = CORPUS_METRICS
) -> list[Corpus]:
    """bleu1 .. bleu4 and chrf, as sacrebleu has them, those of `names`: a row for each pair."""
    if not predicted:
        nothing = {name: Scorer(lambda sums: 0.0, "") for name in CORPUS_METRICS if name in names}
        return [Corpus(np.zeros((0, 1)), nothing)]
    pairs, index = distinct(predicted, references)
    found = []
    for count, made in ((_bleu, BLEU_METRICS), (_chrf, ("chrf",))):
        wanted = [name for name in made if name in names]
        if wanted:
            rows, scorers = count(pairs)
            found.append(Corpus(rows[index], {name: scorers[name] for name in wanted}))
    return found


def corpus_estimates(
    corpus: Corpus,
    clusters: Iterable[Hashable],
    *,
    unit: str = "image",
    seed: int,
    num_resamples: int,
) -> dict[str, dict[str, Any]]:
    """The scores of all rows, divided by 100, each with its interval; a cluster for each row."""
    rows = corpus.rows
    if not len(rows):
        null = {"value": None, "ci95": None, "n": 0, "reason": "no items"}
        return {name: dict(null) for name in corpus.scorers}
    totals = cluster_totals(rows, clusters)
    drawn = resample_sums(totals, num_resamples, seed) if len(totals) > 1 else None
    return {name: _estimate(one, rows, drawn, unit) for name, one in corpus.scorers.items()}


def bleu_order_note(corpus: Corpus, weights: Values, values: Mapping[str, float]) -> str | None:
    """Why BLEU of a higher order is above one of a lower order; None where none is.

    `weights` says how many items have each row of the corpus, `values` what the metrics came to.
    """
    orders = [k for k in BLEU_ORDERS if f"bleu{k}" in values]
    above: dict[int, list[int]] = {}
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
    long_enough = (corpus.rows[:, _NGRAMS : _NGRAMS + max(higher)] > 0).T @ weights
    counts = ", ".join(f"{round(n)} have {k}" for k, n in enumerate(long_enough, 1))
    matches = weights @ corpus.rows[:, _MATCHES : _MATCHES + max(higher)]
    unmatched = next((k for k, n in enumerate(matches, 1) if not n), max(BLEU_ORDERS) + 1)
    reasons = []
    if min(higher) < unmatched:
        reasons.append("the sequences of the long answers match better than the words of all")
    if max(higher) >= unmatched:
        reasons.append(f"no sequence of {unmatched} matches, and smoothing counts a part of one")
    return (
        f"{comparisons}: BLEU-k counts sequences of up to k words, which only answers that long "
        f"have (of {round(weights.sum())} items {counts}); {'; '.join(reasons)}. Do not compare "
        "the orders with each other."
    )


def _bleu_text(k: int, values: Mapping[str, float]) -> str:
    return f"BLEU-{k} ({100 * values[f'bleu{k}']:.1f} %)"


def distinct(
    predicted: Sequence[str], references: Sequence[str]
) -> tuple[list[tuple[str, str]], NDArray[np.intp]]:
    """The different (predicted, reference) pairs, and for each item the index of its own."""
    seen: dict[tuple[str, str], int] = {}
    pairs = zip(predicted, references, strict=True)
    index = np.array([seen.setdefault(pair, len(seen)) for pair in pairs], dtype=np.intp)
    return list(seen), index


def _estimate(scorer: Scorer, rows: Values, drawn: Values | None, unit: str) -> dict[str, Any]:
    """The score of the summed rows (items, S), its interval from the resampled sums."""
    interval = None
    if not rows[:, scorer.column].any():
        method = "no answer is long enough: 0 by definition, no interval"
    else:
        if drawn is not None:
            interval = percentiles(np.array([scorer.score(_counts(row)) for row in drawn]))
        interval, method = named_interval(interval, unit)
    return {
        "value": scorer.score(_counts(rows.sum(axis=0))),
        "ci95": list(interval) if interval else None,
        "n": len(rows),
        "method": method,
        "signature": scorer.signature,
    }


def _scored(function: Callable[[str, str], float], pairs: Sequence[tuple[str, str]]) -> Values:
    return np.array([function(*pair) for pair in pairs], dtype=np.float64)


def _counts(row: Values) -> list[int]:
    return [round(value) for value in row.tolist()]


def _rouge_l() -> Callable[[str, str], float]:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    return lambda predicted, gold: float(scorer.score(gold, predicted)["rougeL"].fmeasure)


def _bleu(pairs: Sequence[tuple[str, str]]) -> tuple[Values, dict[str, Scorer]]:
    """Per pair [length, reference length, matches of order 1..4, n-grams of order 1..4].

    Corpus BLEU-k: brevity penalty times the geometric mean of the n-gram precisions 1..k.
    """
    from sacrebleu.metrics.bleu import BLEU

    top = max(BLEU_ORDERS)
    # effective_order changes a sentence's score and not its counts; it silences a warning.
    counter = BLEU(max_ngram_order=top, lowercase=True, effective_order=True)
    scores = [counter.sentence_score(predicted, [gold]) for predicted, gold in pairs]
    statistics = np.array(
        [[s.sys_len, s.ref_len, *s.counts, *s.totals] for s in scores], dtype=np.float64
    )

    def scorer(k: int) -> Callable[[list[int]], float]:
        def score(sums: list[int]) -> float:
            found = BLEU.compute_bleu(
                sums[2 : 2 + k],
                sums[2 + top : 2 + top + k],
                sums[0],
                sums[1],
                smooth_method="exp",
                max_ngram_order=k,
            )
            return found.score / 100

        return score

    plain = BLEU(max_ngram_order=top, lowercase=True)
    plain.corpus_score(["x"], [["x"]])  # a signature is complete only after a first score
    signature = f"sacrebleu {plain.get_signature()}"
    return statistics, {
        f"bleu{k}": Scorer(scorer(k), f"BLEU-{k}|{signature}", column=1 + top + k)
        for k in BLEU_ORDERS
    }


def _chrf(pairs: Sequence[tuple[str, str]]) -> tuple[Values, dict[str, Scorer]]:
    """Per pair [predicted, reference, common] character n-grams of each order 1..6.

    sacrebleu shows these counts to its own significance tests only, hence the two private names;
    a test holds the result against its public corpus_score.
    """
    from sacrebleu.metrics.chrf import CHRF

    metric = CHRF()
    predicted, references = zip(*pairs, strict=True)
    rows = metric._extract_corpus_statistics(predicted, [references])
    signature = f"sacrebleu {metric.get_signature()}"

    def score(sums: list[int]) -> float:
        return metric._compute_score_from_stats(sums).score / 100

    return np.array(rows, dtype=np.float64), {"chrf": Scorer(score, f"chrF2|{signature}")}
