"""Several samples of an item: enumeration, scipy, simulation, and hand-made votes."""

from itertools import combinations, product

import numpy as np
import pytest
from predictions import prediction, tag
from scipy.stats import entropy

from medr1.evaluate.judging import Settings, judge_all
from medr1.evaluate.trust import sample_statistics
from medr1.evaluate.trust.uncertainty import uncertainty
from medr1.records import Failure

OPTIONS = {"A": "CT", "B": "MRI", "C": "X-ray"}
QUICK = Settings(num_resamples=200)


@pytest.mark.parametrize("n", [1, 4, 6])
def test_pass_at_k_is_the_share_of_all_choices_with_a_right_one(n):
    for correct, k in product(range(n + 1), range(1, n + 1)):
        items = [i < correct for i in range(n)]
        wanted = np.mean([any(chosen) for chosen in combinations(items, k)])
        assert sample_statistics.pass_at_k(n, correct, k) == pytest.approx(wanted, abs=1e-12)
    with pytest.raises(ValueError, match="pass@"):
        sample_statistics.pass_at_k(n, 0, n + 1)


@pytest.mark.parametrize("answers", [*product("ab", repeat=4), tuple("abcc"), tuple("abcd")])
def test_entropy_and_agreement_by_enumeration(answers):
    shares = [answers.count(a) / 4 for a in set(answers)]
    assert sample_statistics.normalised_entropy(answers) == pytest.approx(
        entropy(shares) / np.log(4)
    )
    pairs = np.mean([a == b for a, b in combinations(answers, 2)])
    assert sample_statistics.pairwise_agreement(answers) == pytest.approx(pairs)
    assert sample_statistics.agreement(answers) == max(shares)


def test_no_answer_agrees_with_none_and_the_earlier_of_equals_is_the_majority():
    assert sample_statistics.normalised_entropy((None, None, None)) == pytest.approx(1.0)
    assert sample_statistics.pairwise_agreement((None, None, "a")) == 0
    assert sample_statistics.majority((None, "b", "a", "a", "b")) == 1
    assert sample_statistics.is_tie(("b", "a", "a", "b")) and not sample_statistics.is_tie(
        (None, None, "a")
    )
    assert (
        sample_statistics.majority((None, None)) is None
        and sample_statistics.agreement((None, "a")) == 0.5
    )
    assert sample_statistics.variance(4, 1) == pytest.approx(np.var([1, 0, 0, 0], ddof=1))


def item(said, samples, gold="A", **more):
    return prediction(tag(said), gold, options=OPTIONS, samples=[tag(s) for s in samples], **more)


def test_the_section_of_a_summary():
    made = [item("A", "AAAA") for _ in range(20)]  # right, all agree
    made += [item("B", "AAAB") for _ in range(10)]  # the majority mends it
    made += [item("A", "BBBA") for _ in range(6)]  # and spoils it
    made += [item("C", "ABBA") for _ in range(4)]  # a tie: the earlier
    failed = prediction(None, "A", options=OPTIONS, error=Failure("unreadable", "x"))
    found = uncertainty(judge_all([*made, failed], QUICK))
    assert (found.n, found.n_without, found.n_failed) == (41, 0, 1)
    own = found.self_consistency
    assert own.accuracy.value == pytest.approx(26 / 41)
    assert own.majority_accuracy.value == pytest.approx(34 / 41)
    assert own.difference.value == pytest.approx(8 / 41) and own.n_ties == 4
    assert own.agreement.value == pytest.approx((20 + 16 * 0.75 + 4 * 0.5) / 40)
    bands = {row.agreement: (row.n, row.accuracy.value) for row in found.by_agreement}
    assert bands == {"4 of 4": (20, 1.0), "3 of 4": (16, 6 / 16), "2 of 4": (4, 0.0)}
    by_k = [one.metric.value for one in found.pass_at_k]
    right = [4] * 20 + [3] * 10 + [1] * 6 + [2] * 4
    for k, value in enumerate(by_k, 1):
        assert value == pytest.approx(sum(sample_statistics.pass_at_k(4, c, k) for c in right) / 41)
    stability = found.stability
    assert stability.all_agree.value == 0.5
    runs = [
        [int(r) for r in row]
        for row in ("1111",) * 20 + ("1110",) * 10 + ("0001",) * 6 + ("1001",) * 4
    ]
    variance = np.var(np.array(runs), axis=1, ddof=1)
    assert stability.within_item_sd.value == pytest.approx(np.sqrt(variance.mean()))
    assert stability.between_run_sd.value == pytest.approx(np.sqrt(variance.sum()) / 40)
    observed = np.std(np.array(runs).mean(axis=0), ddof=1)
    assert stability.observed_run_sd == pytest.approx(observed)
    assert found.entropy.auroc.value is not None


def test_the_spread_between_runs_is_that_of_runs():
    """20 runs of 400 items that are each right by a chance of their own."""
    draw = np.random.default_rng(0)
    chances = draw.beta(1, 1, 400)
    runs = draw.random((400, 20)) < chances[:, None]
    made = [item("A", ["A" if right else "B" for right in row[:5]]) for row in runs]
    found = uncertainty(judge_all(made, QUICK)).stability.between_run_sd
    assert found.ci95[0] < np.std(runs.mean(axis=0), ddof=1) * 1.5
    truth = np.sqrt((chances * (1 - chances)).sum()) / 400
    assert found.ci95[0] < truth < found.ci95[1]


def test_one_sample_and_none_have_sentences():
    assert "infer --num-samples" in uncertainty(judge_all([prediction(tag("A"), "A")])).reason
    one = uncertainty(judge_all([item("A", "A"), item("B", "A")], QUICK))
    assert one.num_samples == (1, 1) and one.pass_at_k[0].metric.value == 1.0
    assert one.stability.all_agree.reason and one.entropy.mean.reason
