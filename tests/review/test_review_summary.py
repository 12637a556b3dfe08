"""The summary of a review: a panel whose true agreement and accuracy are known, and small cases."""

import csv
import io
import json
from contextlib import closing

import msgspec
import numpy as np
import pytest
from in_process import medr1

from medr1.documents.review import ReviewSummary
from medr1.review.sampling import ReviewCandidate, reader_order, sample_cases
from medr1.review.store import Judgement, Study, create_store
from medr1.stats.raters import krippendorff_alpha
from medr1.workflows.review import summarize_review

READERS = ("Dr. A", "B", "=C")
COUNTS = (30, 75, 75)
SKILL = 0.9
"""Probability that a reader finds what is true."""


def write_panel(path, seed, n=600, readers=READERS, counts=COUNTS):
    """A review of answers whose truth is known: the rule is wrong about a tenth of them."""
    draw = np.random.default_rng(seed)
    is_true = draw.random(n) < 0.65
    verdict = np.where(draw.random(n) < 0.9, is_true, ~is_true)
    candidates = [
        ReviewCandidate(f"q{k}", bool(verdict[k]), float(draw.random()), "CT", None, k)
        for k in range(n)
    ]
    kinds = dict(zip(("confident_error", "error", "right"), counts, strict=True))
    cases = sample_cases(candidates, kinds, seed)
    with closing(create_store(path, Study("ab" * 32, seed, 10), candidates, cases)) as store:
        # one transaction, where the server has one for each judgement
        for reader in readers:
            for shown in reader_order(cases, reader, seed, 10):
                is_right = bool(is_true[shown.case] == (draw.random() < SKILL))
                ratings = {"correct": "yes" if is_right else "no", "safe": "yes"}
                look = int(shown.is_repeat)
                name = f"{reader}-{shown.case}-{look}"
                store.add(
                    Judgement(
                        name, reader, shown.case, ratings, "=1+1", 2.0, is_repeat=shown.is_repeat
                    )
                )
    return path


@pytest.fixture(scope="module")
def panel(tmp_path_factory):
    return write_panel(tmp_path_factory.mktemp("panel") / "panel.review.db", 1)


def true_alpha(counts):
    """The alpha of three such readers on very many cases of these kinds.

    0.585 + 0.035 of the items have the verdict "right", of which 0.585 are true answers; of the
    0.38 with the verdict "wrong", 0.065 are.
    """
    share_right = counts[2] / sum(counts)
    share_true = share_right * 0.585 / 0.62 + (1 - share_right) * 0.065 / 0.38
    draw = np.random.default_rng(0)
    truth = draw.random((200_000, 1)) < share_true
    codes = np.where(draw.random((200_000, 3)) < SKILL, truth, ~truth).astype(np.intp)
    return krippendorff_alpha(codes, 2, num_resamples=2).value


def corrected_truth():
    """What readers who are right with probability SKILL find on all items, whose truth is 0.65."""
    return 0.65 * SKILL + 0.35 * (1 - SKILL)


def test_the_planted_agreement_and_accuracy_are_found(panel):
    document = summarize_review([panel])
    correct = document.questions["correct"]
    low, high = correct.krippendorff_alpha.ci95
    assert low <= true_alpha(COUNTS) <= high
    low, high = document.corrected_accuracy.ci95
    assert low <= corrected_truth() <= high
    assert (document.n_items, document.n_cases) == (600, 180)
    assert document.corrected_accuracy.n == 180
    assert [(r.name, r.n_judged, r.n_repeated) for r in document.readers] == [
        (name, 180, 10) for name in sorted(READERS)
    ]
    assert correct.within_readers.n == 30 and 0 < correct.within_readers.value <= 1
    assert correct.cohen_kappa.value is None and "two readers" in correct.cohen_kappa.reason
    safe = document.questions["safe"]
    assert safe.krippendorff_alpha.value is None and safe.gwet_ac1.value == 1
    assert document.questions["harm"].fleiss_kappa.reason == "no case has two ratings"
    differ = {case.item_id for case in document.disputed}
    assert len(differ) == len(document.disputed) > 10
    for case in document.disputed:
        assert case.question == "correct" and set(case.ratings.values()) == {"yes", "no"}


def test_the_command_prints_tables_and_writes_files(panel, tmp_path):
    output = tmp_path / "out"
    done = medr1("review", "summary", panel, "--output-dir", output)
    assert done.returncode == 0, done.stderr
    assert "180 cases of 600 items, 3 readers" in done.stdout
    assert "corrected by experts" in done.stdout and "Dr. A" in done.stdout
    # all ratings are equal: no alpha, and a complete agreement by AC1
    (safe,) = [line.split() for line in done.stdout.splitlines() if line.startswith("safe")]
    assert safe == ["safe", "1.00", "180"]
    assert "…" not in done.stdout
    second_look = done.stdout.partition("same reader, second look")[2].splitlines()
    assert second_look[1].split()[0] == "correct" and second_look[1].split()[-1] == "30"
    assert "- safe, alpha: all ratings are equal" in done.stdout
    assert "answer type" in done.stdout and "precision (95 % CI)" in done.stdout
    (header,) = [line for line in done.stdout.splitlines() if line.startswith("confidence ")]
    assert header.split()[:4] == ["confidence", "mean", "items", "judged"]
    text = (output / "review.json").read_text()
    document = msgspec.json.decode(text, type=ReviewSummary)
    assert json.loads(medr1("review", "summary", panel, "--json").stdout) == json.loads(text)
    rows = list(csv.DictReader(io.StringIO((output / "judgements.csv").read_text())))
    assert len(rows) == 3 * 190
    assert {row["look"] for row in rows} == {"1", "2"}
    assert {row["comment"] for row in rows} == {"'=1+1"}  # no formula of a spreadsheet
    assert {row["reader"] for row in rows} == {"Dr. A", "B", "'=C"}
    disputed = list(csv.DictReader(io.StringIO((output / "disputed.csv").read_text())))
    assert len(disputed) == len(document.disputed)
    assert set(disputed[0]) == {"item_id", "question", *(f"reader {name}" for name in READERS)}


def test_stores_of_several_computers_are_put_together_and_not_changed(tmp_path):
    names = ("A", "B")
    paths = [
        write_panel(tmp_path / f"{name}.db", 5, n=90, readers=[name], counts=(2, 11, 14))
        for name in names
    ]
    before = [path.read_bytes() for path in paths]
    document = summarize_review(paths)
    assert [path.read_bytes() for path in paths] == before
    assert [reader.name for reader in document.readers] == ["A", "B"]
    assert document.questions["correct"].cohen_kappa.n == 27
    other = write_panel(tmp_path / "other.db", 6, n=90, readers=["A"], counts=(2, 11, 14))
    done = medr1("review", "summary", paths[0], other)
    assert done.returncode == 2 and "other cases" in done.stderr


def test_a_review_without_judgements_says_what_is_missing(tmp_path):
    path = write_panel(tmp_path / "empty.db", 2, n=60, readers=(), counts=(5, 5, 5))
    done = medr1("review", "summary", path)
    assert done.returncode == 0, done.stderr
    assert "15 cases of 60 items, 0 readers" in done.stdout
    assert "No judgements yet." in done.stdout and " - " not in done.stdout
    document = json.loads(medr1("review", "summary", path, "--json").stdout)
    assert document["corrected_accuracy"]["reason"] == "no item is judged"
    assert medr1("review", "summary", tmp_path / "missing.db").returncode == 2
