"""A review as tasks of Label Studio, which fit the labelling configuration beside them."""

import json
from contextlib import closing
from xml.etree import ElementTree

import pytest
from in_process import medr1
from review_results import write_results

from medr1.data.tiny import tiny_vqa_folder
from medr1.errors import InputError
from medr1.review.rubric import RUBRIC
from medr1.review.store import Judgement, Store
from medr1.workflows.review import adjudicate_review, start_review
from medr1.workflows.review_export import export_review

FULL = {"correct": "no", "grounded": "partly", "safe": "yes", "harm": "mild", "confidence": "low"}


@pytest.fixture
def review(tmp_path):
    """Two readers, who differ on one case, and an adjudicator."""
    results = write_results(tmp_path / "results.json")
    start_review(results, image_root=tiny_vqa_folder()).close()
    path = tmp_path / "results.review.db"
    with closing(Store(path)) as store:
        cases = [item.place for item in store.items() if item.is_case]
        store.add(Judgement("a1", "A", cases[0], FULL, "<b>not so</b>", 4.25))
        store.add(Judgement("a2", "A", cases[0], {"correct": "no"}, is_repeat=True))
        store.add(Judgement("b1", "B", cases[0], {"correct": "yes"}))
        store.add(Judgement("b2", "B", cases[1], {}, action="skip"))
    server = adjudicate_review(results, [path], adjudicator="C", image_root=tiny_vqa_folder())
    server.app.store.add(Judgement("c1", "C", cases[0], {"correct": "partly"}))
    server.close()
    return results, [path, tmp_path / "results.adjudication.db"], cases


def answers(annotation):
    """Name of each question -> the answer; all regions have the documented keys."""
    values = {}
    for region in annotation["result"]:
        assert set(region) == {"id", "from_name", "to_name", "type", "value"}
        key = {"choices": "choices", "textarea": "text"}[region["type"]]
        (values[region["from_name"]],) = region["value"][key]
    return values


def test_every_judgement_is_an_annotation_of_its_case(review, tmp_path):
    results, stores, cases = review
    output = tmp_path / "out"
    images = ("--image-root", tiny_vqa_folder())
    done = medr1("review", "export", results, *stores, "--output-dir", output, *images)
    assert done.returncode == 0, done.stderr
    assert f"{len(cases)} tasks with 5 annotations." in done.stdout
    tasks = json.loads((output / "label_studio.json").read_text())
    entries = json.loads(results.read_text())["results"]
    assert [task["data"]["item_id"] for task in tasks] == [entries[p]["id"] for p in cases]
    first, second, *rest = tasks
    one, repeated, other, final = sorted(first["annotations"], key=_order)
    assert answers(one) == {**FULL, "look": "first", "comment": "<b>not so</b>", "reader": "A"}
    assert one["lead_time"] == 4.2 and one["created_at"].endswith("Z")
    assert answers(repeated) == {"correct": "no", "look": "second", "reader": "A"}
    assert answers(other)["correct"] == "yes" and answers(other)["reader"] == "B"
    assert answers(final) == {"correct": "partly", "look": "first", "reader": "C"}
    assert [a["ground_truth"] for a in (one, repeated, other, final)] == [False] * 3 + [True]
    (skipped,) = second["annotations"]
    assert skipped["was_cancelled"] and not one["was_cancelled"]
    assert all(task["annotations"] == [] for task in rest)
    regions = [r["id"] for task in tasks for a in task["annotations"] for r in a["result"]]
    assert len(set(regions)) == len(regions)
    for task, place in zip(tasks, cases, strict=True):
        (prediction,) = task["predictions"]
        is_right = entries[place]["extracted_answer"] == entries[place]["ground_truth"]
        assert answers(prediction) == {"correct": "yes" if is_right else "no"}
        assert prediction["score"] == entries[place]["confidence"]


def test_a_case_that_the_adjudicator_skips_has_no_ground_truth(review, tmp_path):
    results, stores, cases = review
    with closing(Store(stores[1])) as store:
        store.add(Judgement("c2", "C", cases[0], {}, action="undo"))
        store.add(Judgement("c3", "C", cases[0], {}, action="skip"))
    export_review(results, stores, output_dir=tmp_path / "out", image_root=tiny_vqa_folder())
    first, *_ = json.loads((tmp_path / "out" / "label_studio.json").read_text())
    (skipped,) = [one for one in first["annotations"] if one["was_cancelled"]]
    assert answers(skipped)["reader"] == "C"
    assert not any(one["ground_truth"] for one in first["annotations"])


def _order(annotation):
    own = answers(annotation)
    return own["reader"], own["look"]


def test_the_configuration_shows_all_that_the_tasks_answer(review, tmp_path):
    results, stores, _ = review
    export_review(results, stores, output_dir=tmp_path / "out", image_root=tiny_vqa_folder())
    view = ElementTree.fromstring((tmp_path / "out" / "label_studio.xml").read_text())
    tags = {tag.get("name"): tag for tag in view if tag.get("name")}
    for question in RUBRIC:
        assert tags[question.key].tag == "Choices"
        values = tuple(choice.get("value") for choice in tags[question.key])
        assert values == question.categories
    tasks = json.loads((tmp_path / "out" / "label_studio.json").read_text())
    for task in tasks:
        for tag in tags.values():
            source = tag.get("value") or tag.get("valueList")
            assert source is None or source.removeprefix("$") in task["data"]
        for entry in (*task["annotations"], *task["predictions"]):
            for region in entry["result"]:
                assert tags[region["from_name"]].get("toName") == region["to_name"]
                assert tags[region["from_name"]].tag.lower() == region["type"]
                assert region["to_name"] in tags
        for url in task["data"]["images"]:
            name = url.removeprefix("/data/local-files/?d=")
            assert (tiny_vqa_folder() / name).is_file() and " " not in url


def test_an_image_has_the_address_that_is_asked_for(review, tmp_path):
    results, stores, _ = review
    document = json.loads(results.read_text())
    folder = tiny_vqa_folder()
    for entry in document["results"]:
        entry["images"] = [str(folder / name) for name in entry["images"]]
    (tmp_path / "absolute").mkdir()
    absolute = tmp_path / "absolute" / "results.json"
    absolute.write_text(json.dumps(document))
    with pytest.raises(InputError, match="not the file that was reviewed"):
        export_review(absolute, stores, output_dir=tmp_path / "o")
    start_review(absolute, image_root=folder).close()
    export_review(
        absolute,
        [absolute.with_name("results.review.db")],
        output_dir=tmp_path / "out",
        image_root=folder,
        image_url="https://images.invalid/",
    )
    tasks = json.loads((tmp_path / "out" / "label_studio.json").read_text())
    for task in tasks:
        (url,) = task["data"]["images"]
        assert (folder / url.removeprefix("https://images.invalid/")).is_file()
        assert str(folder) not in json.dumps(task)
