"""Numbers about several sampled completions of one item: votes, agreement, entropy, pass@k.

Every function takes the answers of one item in the order in which they were sampled. Equal answers
are the same value, because `judging.SampledAnswers` writes them alike. None is a sample without an
answer; it agrees with no other sample, not even with another None.

For ["A", "A", "B", None] the majority is "A", the agreement 2/4.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from math import comb, log

Answers = Sequence[Hashable | None]
"""The answers of one item's samples."""


def votes(answers: Answers) -> list[int]:
    """How often each distinct answer occurs, most often first; each None counts as its own.

    ["A", "A", "B", None] -> [2, 1, 1]
    """
    counts = Counter(answer for answer in answers if answer is not None)
    return sorted(counts.values(), reverse=True) + [1] * sum(answer is None for answer in answers)


def majority(answers: Answers) -> int | None:
    """The index of the first sample with the most frequent answer; None where none has an answer.

    Of equally frequent answers the one that came first wins.
    """
    counts = Counter(answer for answer in answers if answer is not None)
    if not counts:
        return None
    most = max(counts.values())
    return next(i for i, a in enumerate(answers) if a is not None and counts[a] == most)


def is_tie(answers: Answers) -> bool:
    """Whether several answers share the highest frequency."""
    counts = sorted(Counter(a for a in answers if a is not None).values())
    return len(counts) > 1 and counts[-1] == counts[-2]


def agreement(answers: Answers) -> float:
    """The share of the samples with the most frequent answer, in [0, 1]; ValueError for none."""
    if not answers:
        raise ValueError("no samples have no agreement")
    counts = Counter(answer for answer in answers if answer is not None)
    return max(counts.values(), default=0) / len(answers)


def pairwise_agreement(answers: Answers) -> float:
    """The probability that two different samples have the same answer, in [0, 1].

    Σ m (m - 1) / (n (n - 1)) over the frequencies m of the answers of n samples. ValueError for
    fewer than two samples.
    """
    n = len(answers)
    if n < 2:
        raise ValueError(f"{n} samples have no pairs")
    return sum(m * (m - 1) for m in votes(answers)) / (n * (n - 1))


def normalised_entropy(answers: Answers) -> float:
    """-Σ p ln p / ln n over the distinct answers of n samples: 0 all equal, 1 all different.

    This is the semantic entropy of Kuhn, Gal and Farquhar (2023), with medr1's equality of answers
    as the equality of meaning, divided by its maximum. ValueError for fewer than two samples.
    """
    n = len(answers)
    if n < 2:
        raise ValueError(f"{n} samples have no entropy")
    entropy = -sum(m / n * log(m / n) for m in votes(answers)) / log(n)
    return min(1.0, max(0.0, entropy))  # rounding can leave [0, 1]


def pass_at_k(n: int, correct: int, k: int) -> float:
    """pass@k: the probability that at least one of k samples is right, without bias.

    1 - C(n - c, k) / C(n, k) for n samples of which c are right. Chen et al. (2021), equation 1.

    Args:
        n: Number of samples.
        correct: How many of them are right, 0 to n.
        k: Number of samples of which one has to be right, 1 to n.

    Raises:
        ValueError: If k or `correct` is out of range.
    """
    if not 1 <= k <= n or not 0 <= correct <= n:
        raise ValueError(f"pass@{k} of {n} samples with {correct} right")
    return 1.0 - comb(n - correct, k) / comb(n, k)


def variance(n: int, correct: int) -> float:
    """The unbiased variance of one sample's correctness (0 or 1): c (n - c) / (n (n - 1)).

    Args:
        n: Number of samples, at least 2; ValueError for fewer.
        correct: How many of them are right, c.
    """
    if n < 2:
        raise ValueError(f"{n} samples have no variance")
    return correct * (n - correct) / (n * (n - 1))
