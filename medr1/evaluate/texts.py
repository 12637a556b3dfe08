"""Metrics of predicted against reference texts; equal pairs of texts are scored once.

BLEU and chrF are scores of a corpus and not means of items: their intervals resample the counts
they are made of (matches, totals, lengths), summed by image.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medr1.intervals import cluster_totals, percentiles, resample_sums
from medr1.similarity import token_f1, token_f1_multiset

Values = NDArray[np.float64]
BLEU_ORDERS = (1, 2, 3, 4)


def item_metrics(
    predicted: Sequence[str], references: Sequence[str]
) -> dict[str, tuple[Values, str]]:
    """{name: (a value in [0, 1] for each pair, how it is computed)}."""
    pairs, index = distinct(predicted, references)
    rouge = f"rouge_score {version('rouge-score')}|rougeL|mean of F|stemmer:no"
    return {
        "token_f1": (_scored(token_f1, pairs)[index], "sets of tokens|SQuAD normalisation"),
        "token_f1_multiset": (
            _scored(token_f1_multiset, pairs)[index],
            "multisets of tokens|SQuAD normalisation",
        ),
        "rouge_l": (_scored(_rouge_l(), pairs)[index], rouge),
    }


def corpus_metrics(
    predicted: Sequence[str],
    references: Sequence[str],
    clusters: Iterable[Hashable],
    *,
    seed: int,
    num_resamples: int,
) -> dict[str, dict[str, Any]]:
    """bleu1 .. bleu4 and chrf, as sacrebleu computes them, divided by 100."""
    if not predicted:
        null = {"value": None, "ci95": None, "n": 0, "reason": "no items"}
        return {name: dict(null) for name in (*(f"bleu{k}" for k in BLEU_ORDERS), "chrf")}
    clusters = list(clusters)
    pairs, index = distinct(predicted, references)
    found: dict[str, dict[str, Any]] = {}
    for statistics, scorers in (_bleu(pairs), _chrf(pairs)):
        rows = statistics[index]
        totals = cluster_totals(rows, clusters)
        drawn = resample_sums(totals, num_resamples, seed) if len(totals) > 1 else None
        for name, scorer in scorers.items():
            found[name] = _corpus_metric(scorer, rows, drawn)
    return found


def distinct(
    predicted: Sequence[str], references: Sequence[str]
) -> tuple[list[tuple[str, str]], NDArray[np.intp]]:
    """The different (predicted, reference) pairs, and for each item the index of its own."""
    seen: dict[tuple[str, str], int] = {}
    pairs = zip(predicted, references, strict=True)
    index = np.array([seen.setdefault(pair, len(seen)) for pair in pairs], dtype=np.intp)
    return list(seen), index


@dataclass(frozen=True)
class Scorer:
    """One corpus score, as a function of the summed statistics."""

    score: Callable[[list[int]], float]
    signature: str
    column: int = 0
    """Where the number of things that the prediction offers for scoring stands."""


def _corpus_metric(scorer: Scorer, rows: Values, drawn: Values | None) -> dict[str, Any]:
    """The score of the summed rows (items, S), its interval from the resampled sums."""
    interval, method = None, "one image only: no interval"
    if not rows[:, scorer.column].any():
        method = "no answer is long enough: 0 by definition, no interval"
    elif drawn is not None:
        interval = percentiles(np.array([scorer.score(_counts(row)) for row in drawn]))
        method = "bootstrap over images"
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
