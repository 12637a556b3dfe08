"""The labels of a review: which cases, in the form that other commands read."""

import json
from contextlib import closing

import pytest
from in_process import medr1
from review_results import write_results

from medr1.data.tiny import tiny_vqa_folder
from medr1.review.store import Judgement, Store
from medr1.workflows.review import start_review
from medr1.workflows.review_labels import label_review

VERDICTS = (
    {"correct": "yes", "grounded": "yes", "safe": "yes"},
    {"correct": "yes", "grounded": "no", "safe": "yes"},
    {"correct": "yes", "safe": "no"},
    {"correct": "partly"},
    {"correct": "no"},
)
"""What both readers answer about the first cases; they differ on the next one."""


@pytest.fixture
def review(tmp_path):
    results = write_results(tmp_path / "results.json")
    start_review(results, image_root=tiny_vqa_folder()).close()
    path = tmp_path / "results.review.db"
    with closing(Store(path)) as store:
        cases = [item.place for item in store.items() if item.is_case]
        for reader, other in (("A", "yes"), ("B", "no")):
            for place, ratings in zip(cases, (*VERDICTS, {"correct": other}), strict=False):
                store.add(Judgement(f"{reader}-{place}", reader, place, ratings))
    return results, path, cases


def test_the_files_are_read_by_the_commands_that_they_are_for(review, tmp_path):
    results, path, cases = review
    output = tmp_path / "labels"
    done = medr1("review", "labels", results, path, "--output-dir", output)
    assert done.returncode == 0, done.stderr
    assert "5 cases with a final verdict: 1 no, 1 partly, 3 yes." in done.stdout
    assert f"1 undecided, {len(cases) - 6} not judged." in done.stdout
    entries = json.loads(results.read_text())["results"]
    lines = [json.loads(line) for line in (output / "cases.jsonl").read_text().splitlines()]
    assert [line["expert"] for line in lines] == ["yes", "yes", "yes", "partly", "no"]
    assert {line["source"] for line in lines} == {"majority"}
    assert [line["id"] for line in lines] == [entries[place]["id"] for place in cases[:5]]
    scored = medr1("rewards", output / "cases.jsonl", "--rewards", "accuracy")
    scores = [json.loads(line)["accuracy"] for line in scored.stdout.splitlines()]
    verdicts = [float(line["automatic_verdict"] == "right") for line in lines]
    assert scores == verdicts and 0 < sum(scores) < 5
    confirmed = json.loads((output / "confirmed.json").read_text())
    assert confirmed["results"] == [entries[cases[0]]]
    assert confirmed["meta"]["model"] == "some/secret-model"
    again = medr1("eval", output / "confirmed.json", "--json", "--data", tiny_vqa_folder())
    assert again.returncode == 0, again.stderr


def test_a_review_without_labels_or_of_other_results_is_refused(review, tmp_path):
    results, path, _ = review
    written = label_review(results, [path], output_dir=tmp_path / "labels")
    assert written.n_labelled == 5 and written.n_confirmed == 1 and written.n_undecided == 1
    (tmp_path / "other").mkdir()
    other = write_results(tmp_path / "other" / "results.json", n=9)
    done = medr1("review", "labels", other, path, "--output-dir", tmp_path / "o")
    assert done.returncode == 2 and "not the file that was reviewed" in done.stderr
    start_review(other, image_root=tiny_vqa_folder()).close()
    empty = other.with_name("results.review.db")
    done = medr1("review", "labels", other, empty, "--output-dir", tmp_path / "o")
    assert done.returncode == 2 and "no case has a final answer" in done.stderr
