"""A review from its start to its files: two readers, two models, a second round, and the export."""

import csv
import json

import pytest

pytest.importorskip("selenium")
from in_process import medr1
from review_reader import CHOICES
from review_results import write_results

from medr1.data.tiny import tiny_vqa_folder
from medr1.review.rubric import rubric_of
from medr1.workflows.review import adjudicate_review


def test_a_review_from_start_to_export(reader, start, serve, tmp_path):
    results = tmp_path / "results.json"
    server = start(blind=True)
    reader.open(server.url, "Dr. A")
    for number in range(10):  # by keyboard
        assert reader.place() == (number + 1, 13)
        reader.judge()
    reader.browser.refresh()
    reader.enter("Dr. A")
    assert reader.place() == (11, 13)  # resumed
    for _ in range(3):
        reader.judge()
    assert "13 judged, 0 skipped" in reader.text("end-text")

    server.stop()  # another day, with the same store
    again = start(blind=True)
    assert again.app.store.path == server.app.store.path
    reader.open(again.url, "B")
    for _ in range(10):
        question = reader.text("question")
        differs = len(question) % 2 == 0
        reader.judge({**CHOICES, "correct": "1" if differs else "3"})
    first = again.app.store.judgements()
    assert len(first) == 23
    disputed = {
        a.place
        for a in first
        for b in first
        if a.reader != b.reader and a.place == b.place and a.ratings != b.ratings
    }
    assert disputed

    store = again.app.store.path
    second = serve(
        adjudicate_review(results, [store], adjudicator="C", image_root=tiny_vqa_folder())
    )
    reader.open(second.url, "C")
    shown = reader.place()[1]
    assert "Dr. A" not in reader.text("earlier-list") and "Reader 1" in reader.text("earlier-list")
    for _ in range(shown):
        reader.judge({**CHOICES, "correct": "1"})
    assert f"{shown} judged" in reader.text("end-text")

    output = tmp_path / "review"
    medr1("review", "summary", store, second.app.store.path, "--output-dir", output)
    document = json.loads((output / "review.json").read_text())
    numbers = {one["name"]: one["n_judged"] for one in document["readers"]}
    cases = {name: len({j.place for j in first if j.reader == name}) for name in ("Dr. A", "B")}
    assert numbers == cases and cases["Dr. A"] == 12  # one of the 13 is a repeated one
    with (output / "judgements.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 23
    with (output / "disputed.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) >= shown
    labels = tmp_path / "labels"
    stores = (store, second.app.store.path)
    images = ("--image-root", tiny_vqa_folder())
    medr1("review", "labels", results, *stores, *images, "--output-dir", labels)
    assert len((labels / "cases.jsonl").read_text().splitlines()) >= shown

    other = write_results(tmp_path / "other.json")
    other.write_text(other.read_text().replace("some/secret-model", "some/hidden-model"))
    pair = start(compare=other, store=tmp_path / "pair.db", blind=True)
    reader.open(pair.url, "Dr. A")
    keys = {question.key: "1" for question in rubric_of(is_comparison=True)}
    for _ in range(3):
        reader.judge(keys)
    preferences = [j.ratings["preference"] for j in pair.app.store.judgements("Dr. A")]
    assert len(preferences) == 3 and set(preferences) <= {"a", "b"}
    medr1("review", "summary", tmp_path / "pair.db", "--output-dir", tmp_path / "pair")
    document = json.loads((tmp_path / "pair" / "review.json").read_text())
    assert document["preference"]
    assert reader.run("return window.hurt") is None
