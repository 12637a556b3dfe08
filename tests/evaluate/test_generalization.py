"""The gap between a domain's own model and those of other domains, on constructed verdicts."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import bootstrap, spearmanr

from medr1.data.images import load_image
from medr1.data.readers import read_questions
from medr1.data.roots import resolve_image
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.evaluate.comparing.generalization import ImageDistances
from medr1.evaluate.comparing.image_distance import image_distances, kernel_distance
from medr1.evaluate.comparing.matrix import matrix
from medr1.evaluate.judging import Settings
from medr1.models.image_embedding import embed_images
from medr1.models.loading import load_model
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


def test_kernel_distance_is_that_of_scikit_learns_kernel():
    from sklearn.metrics.pairwise import polynomial_kernel

    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(9, 5)), generator.normal(0.5, 2, size=(7, 5))
    own = [polynomial_kernel(rows, degree=3) for rows in (first, second)]
    means = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in own]
    expected = sum(means) - 2 * polynomial_kernel(first, second, degree=3).mean()
    assert kernel_distance(first, second) == pytest.approx(expected)


def test_kernel_distance_is_unbiased():
    generator = np.random.default_rng(1)
    draws = [kernel_distance(*generator.normal(size=(2, 6, 4))) for _ in range(3000)]
    error = np.std(draws) / np.sqrt(len(draws))
    assert abs(np.mean(draws)) < 4 * error


def test_images_of_other_modalities_are_farther_than_those_of_one():
    questions = read_questions(tiny_vqa_folder() / "test.json")
    names = {
        modality: sorted({s.images[0] for s in questions.samples if s.modality == modality})[:24]
        for modality in ("CT", "Microscopy")
    }
    loaded = load_model(tiny_vl_folder(), device="cpu")
    rows = {
        modality: embed_images(
            loaded, [load_image(resolve_image(n, questions.image_root)).image for n in images]
        )
        for modality, images in names.items()
    }
    halves = {"CT, even": rows["CT"][::2], "CT, odd": rows["CT"][1::2], "M": rows["Microscopy"]}
    distances = image_distances(halves | {"one image": rows["CT"][:1]})
    assert distances["CT, even", "M"] == distances["M", "CT, even"] > 0
    assert distances["CT, even", "M"] > 10 * abs(distances["CT, even", "CT, odd"])
    assert not any("one image" in pair for pair in distances)


def test_image_distances_come_with_their_correlation(document):
    distances = {pair: abs(SHARES[pair[0]][pair[1]] - 0.9) for pair in permutations(SHARES, 2)}
    cells = {
        train: {
            test: {f"{train}-{test}.json": results(test, verdicts(train, test), TRUTHS[test])}
            for test in SHARES
        }
        for train in SHARES
    }
    with_images = matrix(
        cells,
        {},
        {},
        settings=Settings(num_resamples=100),
        image_distances=lambda samples: ImageDistances("an encoder", distances),
    ).generalization
    assert with_images.image_rank_correlation == pytest.approx(1)
    assert with_images.image_model == "an encoder"
    assert document.generalization.image_rank_correlation is None
