"""Which of two models' answers the readers prefer: the rate, its interval, and a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medr1.documents.metric import Metric, no_value
from medr1.documents.review import PreferenceSummary
from medr1.review.rubric import PREFERENCE
from medr1.review.store import Judgement, Store, StoredItem
from medr1.stats.intervals import bootstrap_mean, named_interval
from medr1.stats.prediction_powered import corrected_mean
from medr1.stats.significance import sign_flip_test

_SCORE = {"a": 1.0, "both": 0.5, "neither": 0.5, "b": 0.0}


def preference_summary(
    store: Store, first: Mapping[tuple[str, int], Judgement], *, seed: int, num_resamples: int
) -> PreferenceSummary | None:
    """What the readers prefer; None for a review of one model.

    Args:
        store: The store of the review.
        first: (reader, place of the case) -> judgement at the first look.
        seed: Seed of the bootstrap.
        num_resamples: Number of its resamples.
    """
    compare = store.study.settings.get("compare")
    if compare is None:
        return None
    items = store.items()
    votes = [
        (place, judgement.ratings["preference"])
        for (_, place), judgement in first.items()
        if "preference" in judgement.ratings
    ]
    scores = np.full(len(items), np.nan)
    for item in items:
        own = [_SCORE[vote] for place, vote in votes if place == item.place]
        if own:
            scores[item.place] = np.mean(own)
    rated = ~np.isnan(scores)
    decided = [item for item in items if rated[item.place] and scores[item.place] != 0.5]
    clusters = [item.cluster for item in items if rated[item.place]]
    return PreferenceSummary(
        models=compare["models"],
        unpaired=compare["unpaired"],
        counts={name: sum(vote == name for _, vote in votes) for name in PREFERENCE.categories},
        n_undecided=int(rated.sum()) - len(decided),
        first_preferred=_rate(decided, scores, seed, num_resamples),
        p_value=sign_flip_test(np.sign(scores[rated] - 0.5), clusters),
        first_preferred_all_items=corrected_mean(
            np.array([item.is_right for item in items], dtype=np.float64),
            scores,
            [item.kind for item in items],
            [item.cluster for item in items],
        ),
    )


def _rate(
    decided: Sequence[StoredItem], scores: np.ndarray, seed: int, num_resamples: int
) -> Metric:
    """The share of the decided cases on which more readers prefer the first model."""
    from scipy.stats import binomtest

    if not decided:
        return no_value("no case on which the readers prefer one answer")
    values = np.array([scores[item.place] > 0.5 for item in decided], dtype=np.float64)
    clusters = [item.cluster for item in decided]
    share, n_clusters = float(values.mean()), len(set(clusters))
    if n_clusters == len(values) or share in (0.0, 1.0):
        exact = binomtest(round(share * n_clusters), n_clusters).proportion_ci(0.95, "exact")
        interval, method = (float(exact.low), float(exact.high)), "exact binomial"
        return Metric(value=share, ci95=interval, n=len(values), method=method)
    bootstrap = bootstrap_mean(values, clusters, seed=seed, num_resamples=num_resamples)
    ci95, method = named_interval(bootstrap, "cluster")
    return Metric(value=share, ci95=ci95, n=len(values), method=method)
