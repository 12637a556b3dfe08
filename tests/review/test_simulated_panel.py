"""Simulated readers: what is planted in their review is in the intervals of its summary."""

from contextlib import closing

import numpy as np
import pytest

from medr1.documents.review import ReviewSummary
from medr1.errors import InputError
from medr1.review.sampling import ReviewCandidate
from medr1.review.simulated_panel import ERROR_RATES, expected_kappa, simulated_review
from medr1.review.store import Store
from medr1.review.summary import review_summary
from medr1.stats.raters import fleiss_kappa


def candidates(n=600):
    """Items of 300 images, of which about six of ten have the verdict "right"."""
    draw = np.random.default_rng(5)
    return [
        ReviewCandidate(
            f"q{k}", bool(draw.random() < 0.6), float(draw.random()), None, None, k // 2
        )
        for k in range(n)
    ]


def summary_of(path, num_resamples=400) -> ReviewSummary:
    with closing(Store(path)) as store:
        return review_summary(store, num_resamples=num_resamples)


@pytest.mark.parametrize("share_true", [0.3, 0.7])
def test_the_planted_kappa_is_that_of_very_many_cases(share_true):
    draw = np.random.default_rng(0)
    truth = draw.random((200_000, 1)) < share_true
    codes = np.where(draw.random((200_000, 3)) < ERROR_RATES, ~truth, truth).astype(np.intp)
    expected = fleiss_kappa(codes, 2, num_resamples=2).value
    assert expected_kappa(share_true, ERROR_RATES) == pytest.approx(expected, abs=0.004)


def test_the_panel_is_written_once_and_says_that_it_is_simulated(tmp_path):
    paths = [tmp_path / "a.db", tmp_path / "b.db"]
    truths = [simulated_review(path, candidates(200), "ab" * 32, 1) for path in paths]
    assert truths[0] == truths[1] and truths[0].true_accuracy > truths[0].accuracy > 0.5
    with pytest.raises(InputError, match="exists already"):
        simulated_review(paths[0], candidates(200), "ab" * 32, 1)
    first, second = (summary_of(path, 20) for path in paths)
    assert first == second
    assert {reader.name.rpartition(" ")[0] for reader in first.readers} == {"Simulated reader"}
    assert all(reader.n_repeated == 20 for reader in first.readers)
    with closing(Store(paths[0])) as store:
        assert store.study.settings["simulated"]


@pytest.mark.slow  # writes 100 reviews, of 480 judgements each
def test_the_intervals_hold_what_is_planted_in_most_of_100_panels(tmp_path):
    inside = {"kappa": 0, "alpha": 0, "accuracy": 0}
    items = candidates()
    for seed in range(100):
        path = tmp_path / f"{seed}.db"
        truth = simulated_review(path, items, "ab" * 32, seed)
        document = summary_of(path)
        correct = document.questions["correct"]
        # alpha is kappa, but for a correction of one over the number of ratings
        for name, metric, value in (
            ("kappa", correct.fleiss_kappa, truth.kappa),
            ("alpha", correct.krippendorff_alpha, truth.kappa),
            ("accuracy", document.corrected_accuracy, truth.accuracy),
        ):
            inside[name] += metric.ci95[0] <= value <= metric.ci95[1]
    assert min(inside.values()) >= 90, inside
