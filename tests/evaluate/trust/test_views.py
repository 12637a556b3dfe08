"""Mild views of a picture as one answer, on probabilities whose mean is known."""

import numpy as np
import pytest
from test_ensemble import OPTIONS

from medr1.evaluate.judging import Settings
from medr1.evaluate.trust.robustness import robustness
from medr1.records import Prediction, Sample

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
    found = robustness(rows, settings=Settings(num_resamples=100))["views"]
    assert found["n"] == 25 and found["num_views"] == 3
    assert found["value"] == 1.0 and found["one_answer"]["value"] == 0.0
    assert found["difference"]["value"] == 1.0 and found["flip_rate"]["value"] == 1.0
    p = np.array(list(SHARES.values()))
    each = -(p * np.log(p)).sum(1)
    mean = p.mean(0)
    wanted = -(mean * np.log(mean)).sum() - each.mean()
    assert found["mutual_information"]["value"] == pytest.approx(wanted)


def test_too_little_is_a_sentence():
    rows = asked("none", 0, 30, SHARES["none"]) + asked("jpeg", 1, 30, SHARES["jpeg"])
    assert "fewer than two views" in robustness(rows, settings=Settings())["views"]["reason"]
    few = [row for kind in SHARES for row in asked(kind, int(kind != "none"), 12, SHARES[kind])]
    assert robustness(few, settings=Settings())["views"]["value"] is None
