"""How often the intervals that are printed hold the truth, in items whose truth is known."""

import numpy as np
import pytest
from scipy.stats import binomtest

from medr1.stats.intervals import bootstrap_mean, paired_difference, wilson

DRAWS = 400


def items(draw, n_images, each=3):
    """Right or wrong (items,) in two runs, about images that are more or less hard, and images."""
    images = np.repeat(np.arange(n_images), each)
    ease = draw.beta(3, 2, n_images)[images]  # mean 0.6
    runs = [(draw.random(len(images)) < chance).astype(float) for chance in (ease, ease**1.5)]
    return runs, images


TRUTH = 0.6
SECOND = float(np.random.default_rng(0).beta(3, 2, 2_000_000).__pow__(1.5).mean())


def share_inside(n_images, interval_of, truth):
    draw = np.random.default_rng(n_images)
    inside = 0
    for seed in range(DRAWS):
        low, high = interval_of(*items(draw, n_images), seed)
        inside += low <= truth <= high
    return inside


def near_nominal(inside, least=0.925):
    """Between `least`, which percentile intervals of few images reach, and over 95 %."""
    low, high = binomtest(inside, DRAWS).proportion_ci(0.99)
    return high >= least and low <= 0.97


@pytest.mark.parametrize("n_images", [40, 150])
def test_the_bootstrap_over_images(n_images):
    def interval(runs, images, seed):
        return bootstrap_mean(runs[0], images, seed=seed, num_resamples=400)

    assert near_nominal(share_inside(n_images, interval, TRUTH))


@pytest.mark.parametrize("n_images", [40, 150])
def test_the_paired_bootstrap(n_images):
    def interval(runs, images, seed):
        return paired_difference(*runs, images, seed=seed, num_resamples=400)[1]

    assert near_nominal(share_inside(n_images, interval, TRUTH - SECOND))


def test_wilson_for_images_with_one_question_each_and_not_for_more():
    """Items that share images are not independent: taken as such the interval is too narrow."""
    draw = np.random.default_rng(1)
    inside = {1: 0, 8: 0}
    for each in inside:
        for _ in range(DRAWS):
            runs, _ = items(draw, 60, each)
            low, high = wilson(int(runs[0].sum()), len(runs[0]))
            inside[each] += low <= TRUTH <= high
    assert near_nominal(inside[1])
    assert inside[8] / DRAWS < 0.90


def test_ten_images_are_too_few_and_that_is_why_eval_warns():
    def interval(runs, images, seed):
        return bootstrap_mean(runs[0], images, seed=seed, num_resamples=400)

    assert share_inside(10, interval, TRUTH) / DRAWS < 0.94
