"""How ROUGE-L scores a pair of texts, and how BLEU and chrF score a corpus by its counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

BLEU_ORDERS = (1, 2, 3, 4)


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


def rouge_l() -> Callable[[str, str], float]:
    """ROUGE-L as a function of answer and ground truth; rouge_score takes them the other way."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    return lambda answer, reference: float(scorer.score(reference, answer)["rougeL"].fmeasure)


def count_bleu(pairs: Sequence[tuple[str, str]]) -> tuple[Values, dict[str, Scorer]]:
    """The counts for BLEU of each pair, and the scorers of BLEU-1 to BLEU-4.

    A row is [words, reference words, matches of order 1..4, n-grams of order 1..4]. Corpus BLEU-k
    is the brevity penalty times the geometric mean of the n-gram precisions of order 1 to k.
    """
    import numpy as np
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


def count_chrf(pairs: Sequence[tuple[str, str]]) -> tuple[Values, dict[str, Scorer]]:
    """The counts for chrF of each pair, and its scorer.

    A row holds, for each order 1 to 6, the numbers of character n-grams of the answer, of the
    reference, and of both. sacrebleu gives these counts to its own significance tests only, which
    is why two private methods are called here; a test compares the result with its public
    corpus_score.
    """
    import numpy as np
    from sacrebleu.metrics.chrf import CHRF

    metric = CHRF()
    predicted, references = zip(*pairs, strict=True)
    rows = metric._extract_corpus_statistics(predicted, [references])
    signature = f"sacrebleu {metric.get_signature()}"

    def score(sums: list[int]) -> float:
        return metric._compute_score_from_stats(sums).score / 100

    return np.array(rows, dtype=np.float64), {"chrf": Scorer(score, f"chrF2|{signature}")}
