"""The area under the ROC curve and its interval against scikit-learn, DeLong and simulation."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medr1.evaluate.trust.ranking import auroc


def delong(scores, positive):
    """The variance for independent items, from the placements as DeLong et al. (1988) write it."""
    x, y = scores[positive], scores[~positive]
    wins = (x[:, None] > y[None]) + 0.5 * (x[:, None] == y[None])
    return wins.mean(1).var(ddof=1) / len(x) + wins.mean(0).var(ddof=1) / len(y)


@pytest.mark.parametrize("seed", range(5))
def test_value_and_width_for_independent_items(seed):
    draw = np.random.default_rng(seed)
    positive = draw.random(400) < 0.3
    scores = np.round(draw.normal(positive * 0.8, 1), 1)
    value, (low, high) = auroc(scores, positive, np.arange(400))
    assert value == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    logit = [np.log(x / (1 - x)) for x in (low, value, high)]
    assert logit[1] - logit[0] == pytest.approx(logit[2] - logit[1])
    error = (logit[2] - logit[1]) / 1.959964 * value * (1 - value)
    assert error**2 == pytest.approx(delong(scores, positive), rel=1e-5)


def test_items_that_are_copies_of_each_other_widen_it():
    draw = np.random.default_rng(0)
    positive = draw.random(100) < 0.5
    scores = draw.normal(positive, 1)
    alone = auroc(scores, positive, np.arange(100))
    copies = auroc(np.tile(scores, 4), np.tile(positive, 4), np.tile(np.arange(100), 4))
    assert copies[0] == pytest.approx(alone[0]) and copies[1] == pytest.approx(alone[1], abs=1e-9)
    narrow = auroc(np.tile(scores, 4), np.tile(positive, 4), np.arange(400))[1]
    assert narrow[1] - narrow[0] < 0.6 * (alone[1][1] - alone[1][0])


def test_it_covers_the_truth_as_often_as_it_says():
    """Normal scores one apart: P(x > y) = Phi(1 / sqrt 2) = 0.7602, 300 draws of 40 images."""
    draw = np.random.default_rng(1)
    inside = 0
    for _ in range(300):
        clusters = np.repeat(np.arange(40), 3)
        positive = draw.random(120) < 0.5
        scores = draw.normal(positive + 0.0, 1)
        low, high = auroc(scores, positive, clusters)[1]
        inside += low <= 0.7602 <= high
    assert 0.91 <= inside / 300 <= 0.985


def test_without_spread_or_with_one_kind():
    assert auroc(np.arange(10.0), np.arange(10) > 4, np.arange(10)) == (1.0, None)
    assert auroc(np.arange(10.0), np.arange(10) % 2 == 0, np.zeros(10, dtype=np.intp))[1] is None
    # twelve wrong items of one image say nothing about wrong items of others
    draw, wrong = np.random.default_rng(0), np.arange(60) < 12
    clusters = np.where(wrong, 0, np.arange(60))
    assert auroc(draw.random(60), wrong, clusters)[1] is None
    clusters[0] = 99
    assert auroc(draw.random(60), wrong, clusters)[1] is not None
    with pytest.raises(ValueError, match="positive and negative"):
        auroc(np.arange(3.0), np.ones(3, dtype=bool), np.arange(3))
