"""Means of groups with their interval, and what is grouped."""

import random

import numpy as np
import pytest
from predictions import prediction, tag

from medr1.errors import InputError
from medr1.evaluate.estimates import macro_metric
from medr1.evaluate.judging import Columns, Settings, judge_all
from medr1.evaluate.metrics.summary import summarize, summary_of
from medr1.metrics.registry import NAMES


def items_with_ages(n=60):
    rng = random.Random(0)
    return [
        prediction(
            tag(rng.choice(["left lung", "right lung"])),
            "left lung",
            image=f"{i % 30}.png",
            modality=rng.choice(["CT", "MRI"]),
            metadata={"age": 20 + i, "scanner": rng.choice(["X", "Y"]), "nested": [1]},
        )
        for i in range(n)
    ]


def test_macro_is_the_mean_of_the_groups_means():
    judged = judge_all([prediction(tag("a"), "a") for _ in range(5)], Settings(num_resamples=500))
    values, codes = np.array([1.0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, -1])
    found = macro_metric(values, judged, codes)
    assert (found.value, found.n) == (0.5, 2)
    low, high = found.ci95
    assert 0 <= low < 0.5 < high <= 1
    assert macro_metric(values, judged, np.full(5, -1)).value is None


def test_macro_interval_covers_the_truth():
    """1000 items in groups of 700 and 300 with accuracies .9 and .5: the macro mean is .7."""
    rng = np.random.default_rng(0)
    judged = judge_all([prediction(tag("a"), "a") for _ in range(200)], Settings(num_resamples=400))
    covered = 0
    for _ in range(200):
        codes = (rng.random(200) < 0.3).astype(int)
        values = (rng.random(200) < np.where(codes, 0.5, 0.9)).astype(float)
        low, high = macro_metric(values, judged, codes).ci95
        covered += low <= 0.7 <= high
    assert covered >= 200 * 0.95 - 3 * (200 * 0.95 * 0.05) ** 0.5


def test_every_metric_stands_in_every_group():
    settings = Settings(group_by=("age", "scanner"), num_resamples=100, texts=True)
    judged = judge_all(items_with_ages(), settings)
    summary = summary_of(judged)
    for kind in ("modality", "scanner", "age"):
        for group in summary.groups[kind].values():
            assert set(group.metrics) == set(NAMES) - {"counting_accuracy", "closed_accuracy"}
            accuracy = group.metrics["accuracy"]
            assert accuracy.ci95[0] <= accuracy.value <= accuracy.ci95[1]
    assert list(summary.groups["age"]) == ["20 to 34", "35 to 49", "50 to 64", "65 to 79"]
    assert sum(group.n for group in summary.groups["age"].values()) == 60
    assert any("age has 60 different numbers" in warning for warning in summary.warnings)
    macro = summary.macro["scanner"]
    mean = np.mean([g.metrics["token_f1"].value for g in summary.groups["scanner"].values()])
    assert macro.metrics["token_f1"].value == pytest.approx(mean)
    assert macro.accuracy.ci95[0] < macro.accuracy.value < macro.accuracy.ci95[1]


def test_a_group_nobody_has_is_refused():
    judged = judge_all(items_with_ages(), Settings(group_by=("agee",), num_resamples=10))
    with pytest.raises(InputError, match=r"--group-by agee: .* age, nested, scanner"):
        summary_of(judged)


def test_a_list_in_the_metadata_is_a_group():
    judged = judge_all(items_with_ages(), Settings(group_by=("nested",), num_resamples=10))
    assert list(summary_of(judged, metrics=("accuracy",)).groups["nested"]) == ["[1]"]


def test_only_what_was_asked_is_computed():
    judged = judge_all(items_with_ages(), Settings(num_resamples=10, texts=True))
    summary = summary_of(judged, metrics=("token_f1",))
    assert list(summary.metrics) == ["accuracy", "token_f1"]
    full = summary_of(judged)
    assert summary.metrics["token_f1"] == full.metrics["token_f1"]
    assert not any("BLEU" in warning for warning in summary.warnings)


def test_parts_joined_are_the_whole():
    items, settings = (
        items_with_ages(),
        Settings(group_by=("age",), protocols=("strict",), texts=True),
    )
    whole = judge_all(items, settings).columns
    parts = Columns.concatenate(
        [judge_all(items[i : i + 7], settings).columns for i in range(0, 60, 7)]
    )
    assert parts.ids == whole.ids
    assert list(parts.outcomes) == list(whole.outcomes)
    assert list(parts.clusters) == list(whole.clusters)
    assert list(parts.groups["age"]) == list(whole.groups["age"])
    assert list(parts.texts) == list(whole.texts)
    for name in ("num_tokens", "characters", "has_finish_reason", "closed"):
        assert np.array_equal(getattr(parts, name), getattr(whole, name))
    assert np.array_equal(parts.right_under("strict"), whole.right_under("strict"))
    assert [*parts.protocols["strict"]] == [*whole.protocols["strict"]]


def test_accuracy_stands_under_every_protocol():
    items = [prediction(tag("A"), "A", options={"A": "CT", "B": "MRI"}), prediction("A", "A")]
    items.append(prediction("the answer is A", "A", options={"A": "CT", "B": "MRI"}))
    found = summarize(items, protocol="strict", num_resamples=10)
    values = {name: metric.value for name, metric in found.protocols.items()}
    assert values["strict"] == found.metrics["accuracy"].value == pytest.approx(1 / 3)
    assert values["default"] == 1
    assert set(values) == {"default", "strict", "authors-vqa", "authors-nothink"}
