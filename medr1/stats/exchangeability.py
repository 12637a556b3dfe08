"""A test of whether the published order of options is one of several equally likely orders.

A model that has not seen a test set has no reason to prefer the order in which the set lists its
options to another random one. A model that has learned the set by heart has. Source: Oren et al.
(2023), "Proving test set contamination in black box language models", arXiv 2310.17623, with the
options of each question in place of the examples of a data set.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 9_999
"""Number of random choices of an order for each question. The smallest p-value is 1 / 10,000."""


def preference(log_probabilities: Sequence[float]) -> float:
    """The share of the other orders that are less probable than the first; equal ones count half.

    Args:
        log_probabilities: Of the published order, then of at least one other order.
    """
    first, others = log_probabilities[0], np.asarray(log_probabilities[1:])
    return float(np.mean((others < first) + 0.5 * (others == first)))


def exchangeability_p_value(items: Sequence[Sequence[float]], seed: int) -> float:
    """The p-value of the hypothesis that the published orders are exchangeable with the others.

    One-sided: the mean `preference` of the questions is compared with its values where a random
    order of each question is taken as the published one. The test is exact if the published order
    of each question was drawn at random, apart from the random choice of RESAMPLES.

    Args:
        items: For each question the log-probabilities of its orders, the published one first.
        seed: Seed of the random choice.
    """
    rng = np.random.default_rng(seed)
    observed, resampled = 0.0, np.zeros(RESAMPLES)
    for log_probabilities in items:
        preferences = _preferences(np.asarray(log_probabilities))
        observed += preferences[0]
        resampled += preferences[rng.integers(len(preferences), size=RESAMPLES)]
    # sums of equal numbers in another order differ by rounding
    at_least = np.count_nonzero(resampled >= observed - 1e-9 * max(len(items), 1))
    return float((1 + at_least) / (1 + RESAMPLES))


def _preferences(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The preference for each order, if it were the published one."""
    below = (values[None, :] < values[:, None]).sum(axis=1)
    equal = (values[None, :] == values[:, None]).sum(axis=1) - 1
    preferences: NDArray[np.float64] = (below + 0.5 * equal) / (len(values) - 1)
    return preferences
