"""Several completions of one item in numbers: votes, agreement, entropy, pass@k.

All are of one item's answers, in the order in which they were sampled; equal answers are written
alike (`judging.SampledAnswers`). A sample without an answer, None, agrees with no other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from math import comb, log

Answers = Sequence[Hashable | None]


def votes(answers: Answers) -> list[int]:
    """How often each different answer was given, most often first; None is an answer of its own."""
    counts = Counter(answer for answer in answers if answer is not None)
    return sorted(counts.values(), reverse=True) + [1] * sum(answer is None for answer in answers)


def majority(answers: Answers) -> int | None:
    """Where the most frequent answer was first given; of equally frequent ones the earlier.

    None where no sample has an answer.
    """
    counts = Counter(answer for answer in answers if answer is not None)
    if not counts:
        return None
    most = max(counts.values())
    return next(i for i, a in enumerate(answers) if a is not None and counts[a] == most)


def is_tie(answers: Answers) -> bool:
    """Whether several answers are equally and most frequent."""
    counts = sorted(Counter(a for a in answers if a is not None).values())
    return len(counts) > 1 and counts[-1] == counts[-2]


def agreement(answers: Answers) -> float:
    """The share of the samples that give the most frequent answer; ValueError for none."""
    if not answers:
        raise ValueError("no samples have no agreement")
    counts = Counter(answer for answer in answers if answer is not None)
    return max(counts.values(), default=0) / len(answers)


def pairwise_agreement(answers: Answers) -> float:
    """The chance that two different samples give the same answer; ValueError for fewer than two."""
    n = len(answers)
    if n < 2:
        raise ValueError(f"{n} samples have no pairs")
    return sum(m * (m - 1) for m in votes(answers)) / (n * (n - 1))


def normalised_entropy(answers: Answers) -> float:
    """-Σ p log p / log n over the different answers of n samples: 0 all alike, 1 all different.

    The answers are classes of equal meaning, as in Kuhn, Gal and Farquhar (2023), semantic
    entropy, found by medr1's own equality. ValueError for fewer than two samples.
    """
    n = len(answers)
    if n < 2:
        raise ValueError(f"{n} samples have no entropy")
    found = -sum(m / n * log(m / n) for m in votes(answers)) / log(n)
    return min(1.0, max(0.0, found))


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The chance that one of k samples is right, from n of which `correct` are: unbiased.

    1 - C(n - c, k) / C(n, k), Chen et al. (2021), eq. 1. ValueError where k is not in 1..n.
    """
    if not 1 <= k <= n or not 0 <= correct <= n:
        raise ValueError(f"pass@{k} of {n} samples with {correct} right")
    return 1.0 - comb(n - correct, k) / comb(n, k)


def variance(n: int, correct: int) -> float:
    """The unbiased variance of right (1) and wrong (0) over samples; ValueError for n < 2."""
    if n < 2:
        raise ValueError(f"{n} samples have no variance")
    return correct * (n - correct) / (n * (n - 1))
