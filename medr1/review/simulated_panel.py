"""A review by simulated readers, whose errors and whose true labels are known.

It shows whether the summary of a review is right: accuracy and kappa are planted, and their
intervals have to hold them. No clinician has seen the cases, and every reader's name says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean

from medr1.review.sampling import ReviewCandidate, random_generator, reader_order, sample_cases
from medr1.review.store import Judgement, Study, create_store

ERROR_RATES = (0.05, 0.1, 0.2)
"""For each reader, the probability of a wrong judgement."""
TRUE_IF = {True: 0.95, False: 0.15}
"""Automatic verdict (right, wrong) -> the probability that the answer is truly right."""
CASES = {
    "confident_error": 30,
    "reasoning_contradiction": 20,
    "item_contradiction": 20,
    "error": 40,
    "right": 60,
}
"""Number of sampled cases of each kind."""
REPEATS = 20
"""Number of cases that each reader is shown twice."""


@dataclass(frozen=True)
class SimulatedTruth:
    """What the summary of a simulated review should find."""

    true_accuracy: float
    """The share of all items whose answer is truly right."""
    accuracy: float
    """The share of all items that these readers, with their errors, would call right."""
    kappa: float
    """The Fleiss' kappa that such readers have on very many cases like the sampled ones."""
    error_rates: tuple[float, ...]


def simulated_review(
    path: Path, candidates: Sequence[ReviewCandidate], results_sha256: str, seed: int
) -> SimulatedTruth:
    """Write the store of a review by simulated readers, and tell what is planted in it.

    Args:
        path: The store, which must not exist.
        candidates: All items of the results file.
        results_sha256: Hash of the results file.
        seed: Of the sample, the true labels and the readers' errors.

    Raises:
        InputError: The store exists, or there are no items.
        OutputError: The store cannot be written.
    """
    draw = random_generator(seed, "true labels")
    is_true = [bool(draw.random() < TRUE_IF[candidate.is_right]) for candidate in candidates]
    cases = sample_cases(candidates, CASES, seed)
    study = Study(results_sha256, seed, REPEATS, {"counts": CASES, "simulated": True})
    with closing(create_store(path, study, candidates, cases)) as store:
        for number, error_rate in enumerate(ERROR_RATES, 1):
            name = f"Simulated reader {number}"
            errors = random_generator(seed, "errors", name)
            for presentation in reader_order(cases, name, seed, REPEATS):
                says_right = is_true[presentation.case] != (errors.random() < error_rate)
                store.add(
                    Judgement(
                        f"{number}-{presentation.case}-{int(presentation.is_repeat)}",
                        name,
                        presentation.case,
                        {"correct": "yes" if says_right else "no"},
                        is_repeat=presentation.is_repeat,
                    )
                )
    share = fmean(is_true)
    return SimulatedTruth(
        true_accuracy=share,
        accuracy=fmean(_called_right(share, rate) for rate in ERROR_RATES),
        kappa=expected_kappa(fmean(is_true[case] for case in cases), ERROR_RATES),
        error_rates=ERROR_RATES,
    )


def expected_kappa(share_true: float, error_rates: Sequence[float]) -> float:
    """The Fleiss' kappa of readers who err independently of each other, on very many cases.

    κ = (P - Pe) / (1 - Pe). P is the mean of (1 - e_i)(1 - e_j) + e_i e_j over pairs of readers
    i, j. Pe = q² + (1 - q)² with the share q of judgements "right".

    Args:
        share_true: The share of the cases whose answer is truly right.
        error_rates: The probability of a wrong judgement of each reader, at least two readers.
    """
    agreement = fmean((1 - a) * (1 - b) + a * b for a, b in combinations(error_rates, 2))
    share = fmean(_called_right(share_true, rate) for rate in error_rates)
    by_chance = share**2 + (1 - share) ** 2
    return (agreement - by_chance) / (1 - by_chance)


def _called_right(share_true: float, error_rate: float) -> float:
    return share_true * (1 - error_rate) + (1 - share_true) * error_rate
