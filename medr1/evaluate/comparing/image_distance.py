"""The distance of two sets of images: the kernel distance of their embeddings.

It is the squared maximum mean discrepancy with a polynomial kernel of degree 3, by its unbiased
estimator, as in the Kernel Inception Distance (Binkowski et al., 2018, arXiv 1801.01401), which
does not depend on the number of images as the Frechet distance does. The embeddings are those of
the given model, so values of two models are not comparable.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

MIN_IMAGES = 2
"""Fewest images of a set."""


def kernel_distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy of two sets.

    Args:
        first: Embeddings, (images, dimensions); at least MIN_IMAGES.
        second: The same of the other set.

    Returns:
        About 0 for sets of the same distribution, also slightly below; larger for others.
    """
    dimensions = first.shape[1]

    def kernel(rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
        values: NDArray[np.float64] = (rows @ columns.T / dimensions + 1) ** 3
        return values

    def mean_of_pairs(rows: NDArray[np.float64]) -> float:
        values, count = kernel(rows, rows), len(rows)
        return float((values.sum() - np.trace(values)) / (count * (count - 1)))

    return mean_of_pairs(first) + mean_of_pairs(second) - 2 * float(kernel(first, second).mean())


def image_distances(
    embeddings: Mapping[str, NDArray[np.float64]],
) -> dict[tuple[str, str], float]:
    """The distance of each two domains, in both orders.

    Each dimension is scaled to mean 0 and standard deviation 1 over all images first, so that no
    dimension with large numbers decides alone.

    Args:
        embeddings: Domain -> embeddings of its images; a domain with fewer than MIN_IMAGES is left
            out.
    """
    usable = {name: rows for name, rows in embeddings.items() if len(rows) >= MIN_IMAGES}
    if not usable:
        return {}
    together = np.concatenate(list(usable.values()))
    mean, spread = together.mean(0), together.std(0)
    varies = spread > 0
    scaled = {
        name: (rows[:, varies] - mean[varies]) / spread[varies] for name, rows in usable.items()
    }
    distances = {}
    for first, second in combinations(scaled, 2):
        distance = kernel_distance(scaled[first], scaled[second]) if varies.any() else 0.0
        distances[first, second] = distances[second, first] = distance
    return distances
