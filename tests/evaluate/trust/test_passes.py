"""Several passes as one answer, on probabilities whose mean is known."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from predictions import prediction, tag
from scipy.stats import entropy
from sklearn.metrics import roc_auc_score
from test_ensemble import OPTIONS

from medr1.documents.metric import Metric, Missing
from medr1.documents.trust import Dropout, MeanPrediction
from medr1.evaluate.judging import Judged, Settings, judge_all
from medr1.evaluate.metrics.summary import summarize
from medr1.evaluate.trust.mean_of_passes import dropout
from medr1.evaluate.trust.robustness import robustness
from medr1.records import Prediction, Sample
from medr1.report.pages.ensembles import ensembles_view
from medr1.report.pages.page import report_html
from medr1.report.terminal.tables import summary_table

SHARES = {"none": (0.4, 0.5, 0.1), "jpeg": (0.6, 0.3, 0.1), "contrast": (0.7, 0.2, 0.1)}


def asked(kind, severity, n, shares, gold="A"):
    made = []
    for i in range(n):
        keys = ("perturbation", "perturbation_severity", "perturbation_of")
        metadata = dict(zip(keys, (kind, severity, f"q{i}"), strict=True))
        one = Sample(
            *(f"q{i}@{kind}-{severity}", (f"{i}.png",), "Which?", OPTIONS, gold, "multiple_choice"),
            metadata=metadata,
        )
        probabilities = dict(zip("ABC", shares, strict=True))
        letter = max(probabilities, key=probabilities.get)
        made.append(Prediction(one, f"<answer>{letter}</answer>", option_probs=probabilities))
    return made


def test_the_mean_of_the_views_can_be_right_where_the_picture_alone_is_not():
    rows = asked("none", 0, 30, SHARES["none"])
    rows += asked("jpeg", 1, 30, SHARES["jpeg"]) + asked("jpeg", 5, 30, (0.0, 0.0, 1.0))
    rows += asked("contrast", 1, 25, SHARES["contrast"])  # five items are not asked so
    found = robustness(rows, settings=Settings(num_resamples=100)).test_time_augmentation
    assert found.num_views == 3
    found = found.prediction
    assert found.accuracy.n == 25
    assert found.accuracy.value == 1.0 and found.single_pass.value == 0.0
    assert found.difference.value == 1.0 and found.flip_rate.value == 1.0
    p = np.array(list(SHARES.values()))
    each = -(p * np.log(p)).sum(1)
    mean = p.mean(0)
    wanted = -(mean * np.log(mean)).sum() - each.mean()
    assert found.mutual_information.value == pytest.approx(wanted)


def test_too_little_is_a_sentence():
    rows = asked("none", 0, 30, SHARES["none"]) + asked("jpeg", 1, 30, SHARES["jpeg"])
    found = robustness(rows, settings=Settings()).test_time_augmentation
    assert "fewer than two views" in found.reason
    few = [row for kind in SHARES for row in asked(kind, int(kind != "none"), 12, SHARES[kind])]
    assert isinstance(robustness(few, settings=Settings()).test_time_augmentation, Missing)


def with_passes(draw, n, num_samples=6):
    """Predictions of three options whose passes spread the more the less the model knows."""
    made = []
    for i in range(n):
        base = draw.dirichlet(np.ones(3))
        passes = [draw.dirichlet(1 + 20 * base) for _ in range(num_samples)]
        answer = tag("ABC"[int(base.argmax())])
        shares = dict(zip("ABC", base, strict=True))
        others = tuple(dict(zip("CBA", p[::-1], strict=True)) for p in passes)
        made.append(
            prediction(
                *(answer, "A"), options=OPTIONS, name=str(i), option_probs=shares,
                dropout_probs=others,
            )
        )  # fmt: skip
    return made


def test_passes_with_dropout_against_scipy_and_sklearn():
    rows = with_passes(np.random.default_rng(0), 60)
    found = dropout(judge_all(rows, Settings(num_resamples=50)))
    seen = np.array([[[one[k] for k in "ABC"] for one in p.dropout_probs] for p in rows])
    mean = seen.mean(axis=1)
    total = entropy(mean, axis=1)
    information = total - entropy(seen, axis=2).mean(axis=1)
    alone = np.array([max(p.option_probs, key=p.option_probs.get) == "A" for p in rows])
    wrong = mean.argmax(axis=1) != 0
    chosen = seen.argmax(axis=2)
    assert (found.num_samples, found.prediction.accuracy.n, found.n_without) == (6, 60, 0)
    found = found.prediction
    assert found.accuracy.value == pytest.approx((mean.argmax(axis=1) == 0).mean())
    assert found.single_pass.value == pytest.approx(alone.mean())
    assert found.difference.value == pytest.approx(found.accuracy.value - found.single_pass.value)
    assert found.flip_rate.value == (np.ptp(chosen, axis=1) > 0).mean()
    assert found.mutual_information.value == pytest.approx(information.mean())
    assert found.predictive_entropy.value == pytest.approx(total.mean())
    assert found.auroc.value == pytest.approx(roc_auc_score(wrong, information))
    assert found.auroc_entropy.value == pytest.approx(roc_auc_score(wrong, total))


def test_passes_that_are_all_sure_have_no_interval_in_nats():
    shares = {"A": 1.0, "B": 0.0, "C": 0.0}
    more = {"options": OPTIONS, "option_probs": shares, "dropout_probs": (shares, shares)}
    rows = [prediction(tag("A"), "A", name=str(i), image=f"{i}.png", **more) for i in range(40)]
    found = dropout(judge_all(rows, Settings(num_resamples=50))).prediction
    assert found.accuracy.value == 1.0 and found.accuracy.ci95[0] > 0.9
    for metric in (found.mutual_information, found.predictive_entropy):
        assert (metric.value, metric.ci95) == (0, None)


def test_passes_that_are_not_whole_are_counted_and_left_out():
    rows = with_passes(np.random.default_rng(1), 40)
    rows[0] = replace(rows[0], dropout_probs=())
    rows[1] = replace(rows[1], dropout_probs=rows[1].dropout_probs[:3])
    rows[2] = replace(rows[2], dropout_probs=({"A": 1.0}, *rows[2].dropout_probs[1:]))
    rows[3] = replace(
        rows[3], dropout_probs=({"A": 1.5, "B": 0.0, "C": 0.0}, *rows[3].dropout_probs[1:])
    )
    rows[4] = replace(rows[4], option_probs=None)
    rows[5] = replace(rows[5], option_probs={"A": 0.5, "B": 0.5})  # its passes know of a third
    judged = judge_all(rows, Settings(num_resamples=50))
    found = dropout(judged)
    assert (found.prediction.accuracy.n, found.n_without) == (34, 6)
    # in chunks, of which one has no passes at all and one fewer options, the same
    parts = [judge_all(part, judged.settings).columns for part in (rows[:1], rows[1:5], rows[5:])]
    joined = Judged(type(parts[0]).concatenate(parts), judged.settings)
    assert dropout(joined) == found


def test_items_with_fewer_options_choose_among_their_own():
    draw = np.random.default_rng(3)
    two = {"A": 0.4, "B": 0.6}
    rows = with_passes(draw, 20) + [
        prediction(
            tag("B"),
            "B",
            options={"A": "CT", "B": "MRI"},
            option_probs=two,
            dropout_probs=(two,) * 6,
        )
        for _ in range(20)
    ]
    found = dropout(judge_all(rows, Settings(num_resamples=50))).prediction
    alone = dropout(judge_all(rows[:20], Settings(num_resamples=50))).prediction
    assert found.accuracy.value == pytest.approx((alone.accuracy.value + 1) / 2)
    assert found.single_pass.value == pytest.approx((alone.single_pass.value + 1) / 2)
    assert found.flip_rate.value == pytest.approx(alone.flip_rate.value / 2)
    total = alone.predictive_entropy.value + entropy([0.4, 0.6])
    assert found.predictive_entropy.value == pytest.approx(total / 2)


def test_no_passes_or_too_few_items_are_a_sentence():
    rows = with_passes(np.random.default_rng(2), 19)
    assert "fewer than 20 items" in dropout(judge_all(rows)).reason
    without = [replace(row, dropout_probs=()) for row in rows]
    assert "--dropout-samples" in dropout(judge_all(without)).reason


def test_the_page_and_the_terminal_say_what_the_passes_are_worth():
    rows = with_passes(np.random.default_rng(0), 60)
    summary = summarize(rows, num_resamples=50)
    (part,) = ensembles_view(summary)
    shown = {row["name"]: row["value"] for row in part["rows"]}
    found = summary.dropout.prediction
    assert "6 passes" in part["title"]
    assert shown["mean of the passes"] == f"{100 * found.accuracy.value:.1f} %"
    assert shown["the passes differ"] == f"{100 * found.flip_rate.value:.1f} %"
    assert shown["AUROC of the entropy"] == f"{100 * found.auroc_entropy.value:.1f} %"
    page = report_html([msgspec.structs.replace(summary, results="a.json")], [], thumbnails={})
    assert part["sentence"] in page and "Several answers combined into one" in page
    assert "mean of 6 dropout passes" in summary_table(summary)
    without = summarize([replace(row, dropout_probs=()) for row in rows])
    assert ensembles_view(without) == []


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.01, 0.03), "better than a single pass (+2.0 points, 95 % CI +1.0 to +3.0)"),
        ((-0.03, -0.01), "worse than a single pass"),
        ((-0.01, 0.03), "no clear difference from a single pass"),
        (None, "questions: compared with a single pass (+2.0 points, no interval)"),
    ],
)
def test_better_is_said_only_where_the_interval_says_so(interval, said):
    number = Metric(value=0.02, ci95=interval, n=60)
    metrics = MeanPrediction(**dict.fromkeys(MeanPrediction.__struct_fields__, number))
    section = Dropout(num_samples=4, n_without=0, prediction=metrics)
    summary = summarize([prediction(tag("A"), "A", options=OPTIONS)], num_resamples=50)
    (part,) = ensembles_view(msgspec.structs.replace(summary, dropout=section))
    assert said in part["sentence"]
