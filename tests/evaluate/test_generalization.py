"""The gap between a domain's own model and those of other domains, on constructed verdicts."""

import numpy as np
import pytest
from scipy.stats import bootstrap, spearmanr

from medr1.evaluate.comparing.matrix import matrix
from medr1.evaluate.judging import Settings
from medr1.records import Prediction, Sample
from medr1.report.pages.matrix import matrix_html
from medr1.report.terminal.matrix import matrix_table

OPTIONS = {"A": "CT", "B": "MRI", "C": "X", "D": "Y"}


def results(domain, rights, truths):
    """One prediction for each verdict; the ground truths are those of the domain."""
    predictions = []
    for i, (right, truth) in enumerate(zip(rights, truths, strict=True)):
        images, wrong = (f"{domain}/{i}.png",), "B" if truth == "A" else "A"
        sample = Sample(f"q{i}", images, "Which?", OPTIONS, truth, "multiple_choice")
        answer = truth if right else wrong
        predictions.append(Prediction(sample, f"<answer>{answer}</answer>"))
    return predictions


TRUTHS = {"CT": "A" * 40, "MRI": "A" * 30 + "B" * 10, "US": "B" * 40}
"""Answer distances: CT to MRI 0.25, CT to US 1, MRI to US 0.75."""
SHARES = {
    "CT": {"CT": 0.9, "MRI": 0.7, "US": 0.2},
    "MRI": {"CT": 0.8, "MRI": 0.9, "US": 0.4},
    "US": {"CT": 0.3, "MRI": 0.5, "US": 0.9},
}
"""Training domain -> test domain -> share that is right."""


def verdicts(train, test):
    generator = np.random.default_rng([ord(train[0]), ord(test[0])])
    rights = np.arange(40) < round(40 * SHARES[train][test])
    return generator.permutation(rights)


@pytest.fixture(scope="module")
def document():
    cells = {
        train: {
            test: {f"{train}-{test}.json": results(test, verdicts(train, test), TRUTHS[test])}
            for test in SHARES
        }
        for train in SHARES
    }
    return matrix(cells, {}, {}, settings=Settings(num_resamples=4000))


def test_gaps_by_hand(document):
    domains = document.generalization.domains
    assert list(domains) == ["CT", "MRI", "US"]
    assert domains["CT"].in_domain == pytest.approx(0.9)
    assert (
        domains["CT"].others.value == pytest.approx((0.8 + 0.3) / 2) and domains["CT"].others.n == 2
    )
    gaps = {"CT": 0.9 - 0.55, "MRI": 0.9 - 0.6, "US": 0.9 - 0.3}
    assert {name: entry.gap.value for name, entry in domains.items()} == pytest.approx(gaps)
    assert document.generalization.mean_gap.value == pytest.approx(np.mean(list(gaps.values())))
    assert document.generalization.mean_gap.n == 3


def test_the_interval_is_that_of_a_paired_bootstrap_of_scipy(document):
    own, *others = (verdicts(train, "CT").astype(float) for train in ("CT", "MRI", "US"))
    differences = own - np.mean(others, axis=0)
    reference = bootstrap(
        (differences,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    interval = document.generalization.domains["CT"].gap.ci95
    assert interval == pytest.approx((reference.low, reference.high), abs=0.02)


def test_distances_of_the_answers_and_their_correlation_with_the_drop(document):
    pairs = {(pair.train, pair.test): pair for pair in document.generalization.pairs}
    assert len(pairs) == 6
    assert pairs["MRI", "CT"].answer_distance == pairs["CT", "MRI"].answer_distance == 0.25
    assert pairs["US", "CT"].answer_distance == 1 and pairs["US", "MRI"].answer_distance == 0.75
    assert pairs["US", "CT"].drop == pytest.approx(0.9 - 0.3)
    distances = [pair.answer_distance for pair in pairs.values()]
    expected = spearmanr(distances, [pair.drop for pair in pairs.values()]).statistic
    assert document.generalization.rank_correlation == pytest.approx(expected)
    assert expected > 0.8  # the drops were made to grow with the distance


def test_table_and_page_have_the_gaps(document):
    table = matrix_table(document)
    assert max(map(len, table.splitlines())) <= 80
    assert "mean of 3 domains" in table and "+35.0" in table and "Spearman's rho" in table
    page = matrix_html(document)
    assert "Leave one domain out" in page and "+35.0" in page


def test_a_matrix_without_own_models_has_no_gaps():
    cells = {"CT": {"MRI": {"a.json": results("MRI", verdicts("CT", "MRI"), TRUTHS["MRI"])}}}
    document = matrix(cells, {}, {}, settings=Settings(num_resamples=100))
    assert not document.generalization.domains and document.generalization.mean_gap.value is None
    assert "Gap" not in matrix_table(document)
    assert "Leave one domain out" not in matrix_html(document)
