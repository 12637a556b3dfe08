"""The embedded data set: what it promises, recomputed from the files themselves."""

import hashlib
import json
from collections import Counter, defaultdict
from itertools import product
from pathlib import Path

import pytest
from PIL import Image

from medr1.answers import parse_problem, parse_solution
from medr1.data.audit import blind_accuracy, chance
from medr1.data.readers import read_questions
from medr1.data.tiny import tiny_vqa_folder
from medr1.errors import InputError
from medr1.records import Sample

FOLDER = Path(__file__).parents[2] / "data" / "tiny_vqa_ds"
SPLITS = ("train", "validation", "test")
MULTIPLE_CHOICE = ("Anatomy Identification", "Modality Recognition", "Stain", "View Plane")
MIN_GAP = 8
"""Pixels or voxels between a training region and a held-out one."""


@pytest.fixture(scope="module")
def items() -> dict[str, list[dict]]:
    return {split: json.loads((FOLDER / f"{split}.json").read_text()) for split in SPLITS}


@pytest.fixture(scope="module")
def samples() -> dict[str, list[Sample]]:
    return {split: read_questions(FOLDER / f"{split}.json").samples for split in SPLITS}


def gold_text(item: dict) -> str:
    options, gold = parse_problem(item["problem"])[1], parse_solution(item["solution"])
    return options[gold] if options else gold


def separation(one: list[list[int]], other: list[list[int]]) -> int:
    """How far two boxes of half-open ranges are apart, along the axis where they are furthest."""
    return max(
        max(low2 - high1, low1 - high2)
        for (low1, high1), (low2, high2) in zip(one, other, strict=True)
    )


# --- size and form ----------------------------------------------------------------------------


def test_there_is_enough_of_it(items):
    everything = [item for split in SPLITS for item in items[split]]
    assert len(everything) >= 2000
    assert len({item["image"] for item in everything}) >= 1000
    assert len({item["modality"] for item in everything}) >= 6
    for split in SPLITS:
        kinds = {item["question_type"] for item in items[split]}
        assert kinds == {*MULTIPLE_CHOICE, "Counting"}


def test_folder_is_at_most_8_mb():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 8_000_000


def test_images_are_small_rgb_jpegs_without_metadata():
    for path in sorted((FOLDER / "images").iterdir()):
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (112, 112)), path
            assert not image.getexif(), path
            assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}, path


def test_every_image_is_asked_about_and_every_question_has_its_image(items):
    asked = {item["image"] for split in SPLITS for item in items[split]}
    assert asked == {f"images/{path.name}" for path in (FOLDER / "images").iterdir()}


def test_ids_are_unique(items):
    ids = [item["id"] for split in SPLITS for item in items[split]]
    assert len(ids) == len(set(ids))


def test_the_readers_take_every_item(samples):
    for split in SPLITS:
        assert not read_questions(FOLDER / f"{split}.json").failures
        for sample in samples[split]:
            if sample.question_type == "Counting":
                assert not sample.options
                assert sample.answer_type == "count"
            else:
                assert len(sample.options) in (3, 4)
                assert len(set(sample.options.values())) == len(sample.options)
                assert sample.ground_truth in sample.options


# --- the split --------------------------------------------------------------------------------


@pytest.mark.parametrize("held_out", ["validation", "test"])
def test_no_held_out_region_touches_a_training_region(items, held_out):
    train = defaultdict(set)
    for item in items["train"]:
        train[item["source"]].add(json.dumps(item["region"]))
    regions = {(item["source"], json.dumps(item["region"])) for item in items[held_out]}
    shared = 0
    for source, region in sorted(regions):
        for other in train[source]:
            shared += 1
            assert separation(json.loads(region), json.loads(other)) >= MIN_GAP, (source, region)
    assert shared > 1000  # the test is not empty: many sources are split by region


def test_one_image_is_one_region_of_one_source(items):
    known: dict[str, tuple] = {}
    for item in (item for split in SPLITS for item in items[split]):
        entry = (item["source"], item["region"], item["modality"])
        assert known.setdefault(item["image"], entry) == entry
        assert all(low < high for low, high in item["region"])


def test_no_image_occurs_twice(items):
    digests = [hashlib.sha256(path.read_bytes()).digest() for path in (FOLDER / "images").iterdir()]
    assert len(digests) == len(set(digests))
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not {i["image"] for i in items[one]} & {i["image"] for i in items[other]}


def test_separation_of_boxes():
    assert separation([[0, 10], [0, 10]], [[0, 10], [18, 20]]) == 8
    assert separation([[0, 10], [0, 10]], [[5, 6], [9, 20]]) < 0
    assert separation([[3, 4], [0, 9], [0, 9]], [[0, 9], [0, 9], [9, 12]]) == 0


# --- balance and blindness --------------------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
def test_answers_are_balanced_within_each_question_type(items, split):
    counts = defaultdict(Counter)
    for item in items[split]:
        counts[item["question_type"]][gold_text(item)] += 1
    assert set(counts["Counting"]) == set("12345")
    for kind, count in counts.items():
        assert len(set(count.values())) == 1, (kind, count)


@pytest.mark.parametrize("split", SPLITS)
def test_every_answer_is_offered_equally_often(items, split):
    offered = defaultdict(Counter)
    for item in items[split]:
        offered[item["question_type"]].update(parse_problem(item["problem"])[1].values())
    for kind in MULTIPLE_CHOICE:
        assert max(offered[kind].values()) <= min(offered[kind].values()) + 2, offered[kind]


@pytest.mark.parametrize(("split", "kind"), list(product(SPLITS, MULTIPLE_CHOICE)))
def test_letters_are_balanced(items, split, kind):
    of_kind = [item for item in items[split] if item["question_type"] == kind]
    letters = Counter(parse_solution(item["solution"]) for item in of_kind)
    assert max(letters.values()) - min(letters.values()) <= 1


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("baseline", ["option_prior", "majority_letter", "longest_option"])
def test_the_blind_stay_within_5_points_of_chance(samples, split, baseline):
    scored = [sample for sample in samples[split] if sample.options]
    hits = blind_accuracy(samples["train"], scored)[baseline]
    assert abs(sum(hits) / len(hits) - chance(scored)) <= 0.05


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_question_text_tells_nothing(samples, split):
    scored = [sample for sample in samples[split] if sample.options]
    hits = blind_accuracy(samples["train"], scored)["question_option_lookup"]
    assert abs(sum(hits) / len(hits) - chance(scored)) <= 0.05


# --- where it comes from ----------------------------------------------------------------------


def test_sources_page_names_every_source_and_file(items):
    page = (FOLDER / "SOURCES.md").read_text()
    table = json.loads((FOLDER.parents[1] / "scripts" / "tiny_vqa_sources.json").read_text())
    used = {item["source"] for split in SPLITS for item in items[split]}
    assert used == {source["id"] for source in table["sources"]}
    for source in table["sources"]:
        section = page.partition(f"### {source['id']}:")[2].partition("\n### ")[0]
        for known in ("path", "origin", "licence", "labels", "cropped"):
            assert source[known] in section, (source["id"], known)
    for wheel in table["wheels"]:
        assert wheel["sha256"] in page
        assert wheel["file"] in page
        if "notice" in wheel:
            assert (FOLDER / "licences" / f"{wheel['name']}.txt").read_text().strip()


# --- finding it -------------------------------------------------------------------------------


def test_folder_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tiny_vqa_folder() == FOLDER


def test_a_missing_folder_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("medr1.installation._CHECKOUT", tmp_path)
    with pytest.raises(InputError, match="data/tiny_vqa_ds is missing from this installation"):
        tiny_vqa_folder()
