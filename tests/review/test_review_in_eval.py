"""`medr1 eval --review`: what experts found, in the summary, the tables and the page."""

import csv
import io
import json
from contextlib import closing

import msgspec
import pytest
from in_process import medr1
from review_results import write_results

from medr1.data.tiny import tiny_vqa_folder
from medr1.documents.summary import Summary
from medr1.evaluate.judging import Settings
from medr1.files import sha256_of
from medr1.review.candidates import read_candidates
from medr1.review.simulated_panel import simulated_review
from medr1.review.store import Judgement, Store, Study, create_store
from medr1.review.summary import review_summary


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory):
    """Results of 40 questions, and a review of them by simulated readers."""
    folder = tmp_path_factory.mktemp("reviewed")
    results = write_results(folder / "results.json", 40)
    _, candidates = read_candidates(results, Settings("default", "image"))
    simulated_review(folder / "results.review.db", candidates, sha256_of(results), 1)
    return results, folder / "results.review.db", candidates


def evaluated(tmp_path, *args):
    output = tmp_path / "eval"
    images = ("--image-root", tiny_vqa_folder())
    done = medr1("eval", *args, *images, "--metrics", "accuracy", "--output-dir", output)
    assert done.returncode == 0, done.stderr
    return output, done.stdout


def test_the_numbers_are_those_of_the_reviews_own_summary(reviewed, tmp_path):
    results, path, _ = reviewed
    output, table = evaluated(tmp_path, results, "--review", path)
    text = (output / "summary.json").read_text()
    summary = msgspec.json.decode(text, type=Summary)
    with closing(Store(path)) as store:
        own = review_summary(store)
    part = summary.review
    assert (part.n_cases, part.n_readers, part.n_adjudicated) == (own.n_cases, 3, None)
    assert (
        part.is_simulated and part.n_judged == own.n_cases > 20 and part.questions == own.questions
    )
    assert (part.corrected_accuracy, part.rule) == (own.corrected_accuracy, own.rule)
    assert part.automatic_accuracy.value == summary.metrics["accuracy"].value
    value = f"{100 * own.corrected_accuracy.value:.1f} %"
    assert "Simulated reader" not in text  # no name of a reader
    (line,) = [row for row in table.splitlines() if row.startswith("accuracy corrected by")]
    assert value in line and f"3 simulated readers judged {own.n_cases} of" in table
    rows = {row["metric"]: row for row in csv.DictReader(io.StringIO(_read(output, "summary.csv")))}
    for name, metric in {
        "corrected_accuracy": own.corrected_accuracy,
        "rule_precision": own.rule.precision,
        "krippendorff_alpha_correct": own.questions["correct"].krippendorff_alpha,
    }.items():
        assert float(rows[name]["value"]) == pytest.approx(metric.value, abs=1e-4)
    assert not any(name.endswith("_harm") for name in rows)  # which nobody answered
    page = _read(output, "report.html")
    assert ">Review by simulated readers</h3>" in page and value in page
    assert "alpha of readers: correct" in page and "alpha of readers: harm" not in page
    alpha = own.questions["correct"].krippendorff_alpha
    assert f">{alpha.value:.2f}<" in page and f"{alpha.ci95[0]:.2f} to {alpha.ci95[1]:.2f}" in page
    assert "by answer type, with 95 % CI" in page and "bins of about equally many" in page
    assert "Simulated reader" not in page and "3 simulated readers judged" in page
    without, table = evaluated(tmp_path / "plain", results)
    assert "review" not in json.loads(_read(without, "summary.json"))
    assert "eview by " not in _read(without, "report.html") + table


def _read(folder, name):
    return (folder / name).read_text()


def test_an_adjudication_counts_and_other_reviews_are_refused(reviewed, tmp_path):
    results, path, candidates = reviewed
    other = write_results(tmp_path / "other.json", 12)
    done = medr1("eval", other, "--review", path)
    assert done.returncode == 2 and "is not a review of" in done.stderr
    compare = {"compare": {"models": ["a", "b"], "unpaired": [0, 0]}}
    two = tmp_path / "two.db"
    create_store(two, Study(sha256_of(results), 1, 0, compare), candidates, [0]).close()
    done = medr1("eval", results, "--review", two)
    assert done.returncode == 2 and "compares two models" in done.stderr
    with closing(Store(path)) as store:
        study = store.study
    settings = {"first_round": {**_values(study), "settings": dict(study.settings)}}
    second = tmp_path / "second.db"
    round_2 = Study(study.results_sha256, study.seed, 0, settings)
    with closing(create_store(second, round_2, candidates, [0])) as store:
        store.add(Judgement("c", "C", 0, {"correct": "yes"}))
    done = medr1("eval", results, "--review", second, "--review", path, "--metrics", "accuracy")
    assert done.returncode == 0, done.stderr
    assert "an adjudicator decided 1 case" in " ".join(done.stdout.split())


def _values(study):
    return {"results_sha256": study.results_sha256, "seed": study.seed, "repeats": study.repeats}
