"""Token variance and image shift: constructed models, scikit-learn, and the whole command."""

import json
import random

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from predictions import prediction, tag
from sklearn.metrics import roc_auc_score

from medr1.cli import cli
from medr1.data.tiny import tiny_vqa_folder
from medr1.documents.summary import Summary
from medr1.evaluate.judging import Columns, Settings, judge_all
from medr1.evaluate.metrics.summary import summarize
from medr1.evaluate.token_columns import token_columns
from medr1.evaluate.trust.token_uncertainty import standardised, token_uncertainty
from medr1.records import prediction_to_dict

OPTIONS = {"A": "CT", "B": "MRI"}
QUICK = Settings(num_resamples=200)


def item(right, with_image, without_image, **more):
    return prediction(
        tag("A" if right else "B"),
        "A",
        options=OPTIONS,
        token_logprobs=None if with_image is None else tuple(with_image),
        token_logprobs_without_image=None if without_image is None else tuple(without_image),
        **more,
    )


def test_the_two_numbers_of_an_item_by_hand():
    columns = token_columns(
        [
            item(True, (-1.0, -3.0), (-2.0, -2.5)),
            item(True, (-1.0,), (-1.0,)),
            item(True, (-1.0, -2.0), None),  # a question without an image
            item(True, (-1.0, -2.0), (-1.0,)),  # lists that do not belong together
            item(True, (), ()),
            item(True, None, None),
        ]
    )
    assert columns.variance == pytest.approx([1.0, 0.0, 0.25, 0.25, np.nan, np.nan], nan_ok=True)
    assert columns.shift == pytest.approx([0.75, 0.0, *[np.nan] * 4], nan_ok=True)
    assert list(columns.known) == [True, True, False, False, False, False]


def test_z_scores():
    everywhere = np.ones(4, dtype=bool)
    scores = standardised(np.array([1.0, 2.0, 3.0, 6.0]), everywhere)
    assert scores.mean() == pytest.approx(0) and scores.std() == pytest.approx(1)
    assert not standardised(np.full(4, 0.1), everywhere).any()
    some = np.array([True, True, False, False])
    assert list(standardised(np.array([1.0, 3.0, 9.0, 9.0]), some)[:2]) == [-1, 1]


def test_a_model_whose_wrong_answers_are_uneven_and_blind():
    """Wrong answers have a higher variance and no shift; right ones look at the image."""
    made = [item(True, (-0.1, -0.2), (-2.0, -2.0)) for _ in range(20)]
    made += [item(False, (-0.1, -4.0), (-0.1, -4.0)) for _ in range(20)]
    section = token_uncertainty(judge_all(made, QUICK))
    assert (section.n, section.n_without) == (40, 0)
    for area in (section.auroc_variance, section.auroc_image_shift, section.auroc_combined):
        assert area.value == 1
    assert section.image_shift.value == pytest.approx((1.85 + 0) / 2)


def test_a_model_whose_probabilities_say_nothing():
    made = [item(right, (-1.0, -2.0), (-3.0, -1.0)) for right in [True, False] * 15]
    section = token_uncertainty(judge_all(made, QUICK))
    for area in (section.auroc_variance, section.auroc_image_shift, section.auroc_combined):
        assert area.value == 0.5


def test_the_areas_are_those_of_scikit_learn():
    """Random numbers: areas agree, the intervals hold them, items without numbers are left out."""
    draw = random.Random(0)
    made, variances, shifts, wrong = [], [], [], []
    for _ in range(200):
        right = draw.random() < 0.6
        tokens = [-draw.expovariate(1 if right else 0.6) for _ in range(draw.randint(1, 9))]
        blank = [x - draw.gauss(0.5 * right, 0.4) for x in tokens]
        made.append(item(right, tokens, blank))
        variances.append(np.var(tokens))
        shifts.append(np.mean(np.abs(np.subtract(tokens, blank))))
        wrong.append(not right)
    made.insert(7, item(True, None, None))
    made.insert(9, item(False, (-1.0,), None))
    section = token_uncertainty(judge_all(made, QUICK))
    assert (section.n, section.n_without) == (200, 2)
    z = [(x - np.mean(x)) / np.std(x) for x in (np.array(variances), np.array(shifts))]
    for area, scores in (
        (section.auroc_variance, variances),
        (section.auroc_image_shift, np.negative(shifts)),
        (section.auroc_combined, z[0] - z[1]),
    ):
        assert area.value == pytest.approx(roc_auc_score(wrong, scores))
        assert area.ci95[0] < area.value < area.ci95[1]
    assert section.variance.value == pytest.approx(np.mean(variances))
    assert section.image_shift.value == pytest.approx(np.mean(shifts))


def test_parts_are_joined_in_order():
    made = [item(True, (-1.0, -x), (-1.0, -1.0)) for x in range(6)]
    whole = judge_all(made, QUICK).columns
    parts = [judge_all(made[:2], QUICK).columns, judge_all(made[2:], QUICK).columns]
    joined = Columns.concatenate(parts)
    assert list(joined.tokens.variance) == list(whole.tokens.variance)
    assert list(joined.tokens.shift) == list(whole.tokens.shift)


def test_without_log_probabilities_the_key_is_missing():
    summary = summarize([item(True, None, None)], num_resamples=10)
    assert "token_uncertainty" not in msgspec.to_builtins(summary)


def results(tmp_path, entries):
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"schema": "medr1.results/1", "meta": {}, "results": entries}))
    return path


def test_the_command_shows_them_everywhere(tmp_path):
    made = [item(i % 3 > 0, (-0.1, -i / 9), (-0.5, -i / 7)) for i in range(60)]
    path = results(tmp_path, [prediction_to_dict(row) for row in made])
    out = tmp_path / "out"
    done = CliRunner().invoke(cli, ["eval", str(path), "--output-dir", str(out)])
    assert done.exit_code == 0, done.output
    assert "AUROC of token variance and image shift" in done.output
    summary = msgspec.json.decode((out / "summary.json").read_bytes(), type=Summary)
    assert summary.token_uncertainty.n == 60
    page = (out / "report.html").read_text()
    assert "Probabilities of the tokens, with and without the image" in page
    assert "auroc_token_uncertainty" in (out / "summary.csv").read_text()
    explained = CliRunner().invoke(cli, ["eval", "--explain", "token_uncertainty"])
    assert explained.exit_code == 0 and "2603.21693" in explained.output


def test_lists_of_other_values_are_refused(tmp_path):
    entry = prediction_to_dict(item(True, (-1.0,), (-1.0,)))
    for wrong in ("-1", ["-1"], [None]):
        path = results(tmp_path, [{**entry, "token_logprobs": wrong}])
        done = CliRunner().invoke(cli, ["eval", str(path)])
        assert done.exit_code == 2 and "'token_logprobs'" in done.output, done.output


def test_from_the_embedded_model_to_the_report(tmp_path):
    infer = ["infer", "--model-path", "tiny-vl", "--limit", "40", "--batch-size", "20"]
    infer += ["--batch-file", str(tiny_vqa_folder() / "validation.json"), "--token-logprobs"]
    infer += ["--output-file", str(tmp_path / "r.json"), "--max-new-tokens", "8"]
    assert CliRunner().invoke(cli, infer).exit_code == 0
    done = CliRunner().invoke(cli, ["eval", str(tmp_path / "r.json"), "--json"])
    summary = json.loads(done.stdout)
    section = summary["token_uncertainty"]
    assert section["n"] == 40 and section["image_shift"]["value"] > 0
    assert 0 <= section["auroc_combined"]["value"] <= 1
