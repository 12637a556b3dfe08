"""An ensemble: statsmodels, scipy, Fleiss' own table, hand-made votes, real runs."""

import json
from itertools import product

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from predictions import prediction, tag
from scipy.stats import entropy as scipy_entropy
from statsmodels.stats.inter_rater import fleiss_kappa as statsmodels_kappa

from medr1.cli import cli
from medr1.documents.summary import Summary
from medr1.evaluate.comparing.comparison import compare
from medr1.evaluate.judging import Settings, judge_all
from medr1.evaluate.trust.ensemble import (
    ensemble,
    entropy,
    fleiss_kappa,
    kappa_contributions,
    majority,
    mutual_information,
    vote_codes,
)
from medr1.records import prediction_from_dict, prediction_to_dict
from medr1.report.charts.shares import number_cell
from medr1.report.terminal.comparison import comparison_table

OPTIONS = {"A": "CT", "B": "MRI", "C": "PET"}
QUICK = Settings(num_resamples=200)
FLEISS_1971 = [
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
]  # fmt: skip


def kappa(counts):
    return fleiss_kappa(
        kappa_contributions(np.array(counts, dtype=float)).sum(axis=0, keepdims=True)
    )[0]


def test_kappa_is_the_published_one_and_statsmodels():
    assert kappa(FLEISS_1971) == pytest.approx(0.2099307, abs=1e-6)
    draw = np.random.default_rng(0)
    for _ in range(5):
        counts = draw.multinomial(4, draw.dirichlet(np.ones(3)), size=60)
        assert kappa(counts) == pytest.approx(statsmodels_kappa(counts), abs=1e-12)
    assert np.isnan(kappa([(3, 0), (3, 0)]))


def test_the_majority_by_enumeration():
    for letters in product("AB-", repeat=3):
        places = [-1 if a == "-" else letters.index(a) for a in letters]
        found = majority(np.array(places)[:, None])[0]
        given = [a for a in letters if a != "-"]
        if not given:
            assert found == -1
            continue
        most = max(given.count(a) for a in given)
        assert letters[found] == next(a for a in letters if a != "-" and given.count(a) == most)


def test_information_is_scipy_s():
    draw = np.random.default_rng(1)
    shares = draw.dirichlet(np.ones(4), (3, 50))
    shares[:, :10, 3] = np.nan
    known = np.nan_to_num(shares)
    assert entropy(shares[0]) == pytest.approx(
        -np.where(known[0] > 0, known[0] * np.log(np.where(known[0] > 0, known[0], 1)), 0).sum(1)
    )
    for i in range(10, 50):
        wanted = scipy_entropy(shares[:, i].mean(0)) - scipy_entropy(shares[:, i], axis=1).mean()
        assert mutual_information(shares)[i] == pytest.approx(wanted)
    for members in (3, 5, 7):  # no rounding is left to rank items by
        same = np.repeat(shares[:1], members, axis=0)
        assert (mutual_information(same) == 0).all()


def member(said, golds, shares=None):
    made = []
    for i, (answer, gold) in enumerate(zip(said, golds, strict=True)):
        more = {}
        if shares:
            more["option_probs"] = dict(zip("ABC", shares[i], strict=True))
        name, output = f"q{i}", tag(answer) if answer != "-" else "no idea"
        made.append(prediction(output, gold, options=OPTIONS, name=name, image=f"{i}.png", **more))
    return made


def test_the_section_of_a_comparison():
    golds = "AAAAAB" * 10
    files = {
        "one": member("ABABA-" * 10, golds),
        "two": member("AABBC-" * 10, golds),
        "three": member("AABCA-" * 10, golds),
    }
    found = ensemble({name: judge_all(rows, QUICK) for name, rows in files.items()})
    # A; A; B; a tie of B, B, C is B; A; none
    assert found.majority.accuracy.value == pytest.approx(3 / 6)
    differences = found.majority.differences
    assert differences["one"].value == pytest.approx(3 / 6 - 3 / 6)
    assert differences["two"].value == pytest.approx(3 / 6 - 2 / 6)
    assert found.all_agree.value == pytest.approx(1 / 6)
    pairs = {pair.members: pair.agreement.value for pair in found.pairs}
    assert pairs["one", "two"] == pytest.approx(2 / 6)
    assert pairs["two", "three"] == pytest.approx(3 / 6)
    counts = [(3, 0, 0), (2, 1, 0), (1, 2, 0), (0, 2, 1), (2, 0, 1)]
    kappa = found.kappa["multiple_choice"]
    assert kappa.value == pytest.approx(statsmodels_kappa(np.array(counts * 10)))
    assert kappa.ci95[0] < kappa.value < kappa.ci95[1]
    assert (kappa.n, kappa.n_without) == (50, 10)
    assert found.kappa["yes_no"].value is None
    assert found.mean_probabilities.reason


def test_mean_probabilities_mend_what_a_vote_cannot():
    golds = "A" * 40
    sure, unsure = (0.9, 0.05, 0.05), (0.45, 0.5, 0.05)
    files = {
        "one": member("A" * 40, golds, [sure] * 40),
        "two": member("B" * 40, golds, [unsure] * 40),
        "three": member("B" * 40, golds, [unsure] * 20 + [(0.0, 1.0, 0.0)] * 20),
    }
    document, _ = compare({name: {name: rows} for name, rows in files.items()}, settings=QUICK)
    found = document.ensemble
    assert found.majority.accuracy.value == 0
    mean = found.mean_probabilities
    assert mean.accuracy.value == 0.5 and mean.differences["two"].value == 0.5
    parts = mean.predictive_entropy.value - mean.expected_entropy.value
    assert mean.mutual_information.value == pytest.approx(parts)
    # the wrong means have 0.813 nats, the right ones 0.823: what they disagree about tells, and
    # how unsure they are does not
    assert mean.auroc.value == 1.0 and mean.auroc_entropy.value == 0.0
    table = comparison_table(document)
    assert "ensemble of 3 files" in table and "mean of the probabilities" in table
    assert "Fleiss' kappa" in table


def test_nats_that_are_all_0_have_no_interval_of_a_share():
    sure = member("A" * 40, "A" * 40, [(1.0, 0.0, 0.0)] * 40)
    judged = {name: judge_all(sure, QUICK) for name in ("one", "two")}
    found = ensemble(judged).mean_probabilities
    assert found.accuracy.value == 1.0 and found.accuracy.ci95[0] > 0.9
    for metric in (found.mutual_information, found.predictive_entropy, found.expected_entropy):
        assert (metric.value, metric.ci95) == (0, None)
        assert metric.method == "no spread: no interval"
        assert number_cell(metric)["interval"] == ""


def test_open_answers_that_claim_the_same_are_one():
    def said(text):
        (one,) = judge_all([prediction(text, "no effusion", answer_type="open")]).outcomes.values
        return one

    outcomes = [said(tag(t)) for t in ("No effusion", "no effusion.", "effusion", "No Effusion")]
    assert vote_codes(outcomes, "default") == [0, 0, 2, 0]


def test_options_are_paired_by_name_and_not_by_their_place_in_a_file():
    shares = {"A": 0.7, "B": 0.2, "C": 0.1}

    def made(keys):
        said = {key: shares[key] for key in keys}
        options = {key: OPTIONS[key] for key in keys}
        return judge_all(
            [
                prediction(tag("A"), "A", options=options, option_probs=said, name=f"q{i}")
                for i in range(30)
            ],
            QUICK,
        )

    mean = ensemble({"one": made("ABC"), "two": made("CAB")}).mean_probabilities
    assert mean.accuracy.value == 1.0 and mean.mutual_information.value == pytest.approx(0)
    assert ensemble({"one": made("ABC"), "two": made("AB")}).mean_probabilities.reason


def test_chance_is_chance_in_each_kind_of_question():
    draw = np.random.default_rng(0)

    def rater():
        letters = [
            prediction(tag(draw.choice(list("ABC"))), "A", options=OPTIONS) for _ in range(300)
        ]
        words = [prediction(tag(draw.choice(["Yes", "No"])), "yes") for _ in range(300)]
        return judge_all([*letters, *words], QUICK)

    found = ensemble({name: rater() for name in ("one", "two", "three")}).kappa
    for kind in ("multiple_choice", "yes_no"):
        low, high = found[kind].ci95
        assert low < 0 < high and found[kind].n == 300


def test_answers_that_are_missing_or_all_the_same_are_no_agreement_beyond_chance():
    files = {name: judge_all(member("A-" * 20, "A" * 40), QUICK) for name in ("one", "two")}
    found = ensemble(files)
    assert found.all_agree.value == 0.5
    assert found.kappa["multiple_choice"].reason == "every answer is the same"


def test_eval_takes_files_as_one_and_says_so_on_the_page(tmp_path):
    golds = ["A"] * 30
    votes = {"mine": "A" * 10 + "B" * 20, "two": "A" * 10 + "C" * 20, "three": "A" * 30}
    files = []
    for name, letters in votes.items():
        sure = {key: tuple(0.8 if key == k else 0.1 for k in "ABC") for key in "ABC"}
        rows = member(letters, golds, [sure[letter] for letter in letters])
        files.append(tmp_path / f"{name}.json")
        entries = [prediction_to_dict(row) for row in rows]
        files[-1].write_text(json.dumps({"schema": "medr1.results/1", "results": entries}))
    mine, *others = map(str, files)
    asked = [part for other in others for part in ("--ensemble", other)]
    runner = CliRunner()
    done = runner.invoke(cli, ["eval", mine, *asked, "--output-dir", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    summary = msgspec.json.decode((tmp_path / "out" / "summary.json").read_bytes(), type=Summary)
    judged = {
        str(file): judge_all(
            [prediction_from_dict(e) for e in json.loads(file.read_text())["results"]]
        )
        for file in files
    }
    assert summary.ensemble == msgspec.structs.replace(ensemble(judged), paired_by="id")
    assert "majority of 3 files" in done.stdout
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Ensemble: this file with" in page and "two.json" in page and "Fleiss" in page
    again = runner.invoke(cli, ["eval", mine, "--ensemble", mine])
    assert again.exit_code == 2 and "itself" in again.output
    short = tmp_path / "short.json"
    short.write_text(json.dumps({"schema": "medr1.results/1", "results": entries[:5]}))
    other = runner.invoke(cli, ["eval", mine, "--ensemble", str(short)])
    assert other.exit_code == 2 and "25 items are not in both" in other.output
    assert "--common-only" not in other.output
