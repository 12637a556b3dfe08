"""Random splits: groups stay whole, strata give their share, and the seed decides."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medr1.data.splits import published_splits, random_split, split_files
from medr1.errors import InputError
from medr1.records import Sample


def sample(number, image, modality="CT", kind="DD", dataset="D", **metadata):
    return Sample(
        f"q{number}",
        (image,),
        f"q{number}?",
        {},
        "Yes",
        "yes_no",
        kind,
        modality,
        dataset,
        metadata,
    )


def many(n=1000):
    return [
        sample(
            number, f"{number // 2}.png", f"M{number % 10 // 2 % 3}", f"K{number % 2}",
            f"D{number // 100}", patient=number // 6,
        )
        for number in range(n)
    ]  # fmt: skip


@pytest.mark.parametrize("group", ["image", "patient", "dataset"])
def test_groups_never_straddle_and_strata_give_their_share(group):
    samples = many()
    split = random_split(samples, group_by=group, test_share=0.2, seed=1)
    key = {
        "image": lambda s: s.images,
        "patient": lambda s: s.metadata["patient"],
        "dataset": lambda s: s.dataset,
    }[group]
    for name in (key, lambda s: s.images):
        sides = {}
        for one, side in zip(samples, split, strict=True):
            assert sides.setdefault(name(one), side) == side
    assert split.count("test") == pytest.approx(200, abs=4 if group != "dataset" else 0)
    for stratum in {(s.modality, s.question_type) for s in samples}:
        inside = [
            side
            for one, side in zip(samples, split, strict=True)
            if (one.modality, one.question_type) == stratum
        ]
        share = inside.count("test") / len(inside)
        assert share == pytest.approx(0.2, abs=0.01 if group == "image" else 0.06)


def test_the_seed_decides_and_the_order_does_not():
    samples = many(400)
    first = random_split(samples, seed=1)
    assert random_split(samples, seed=1) == first != random_split(samples, seed=2)
    order = list(range(len(samples)))
    random.Random(0).shuffle(order)
    again = random_split([samples[index] for index in order], seed=1)
    assert [first[index] for index in order] == again


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 2)), min_size=1),
    st.sampled_from(["image", "patient"]),
    st.floats(0.05, 0.95),
)
def test_whatever_the_groups_no_image_is_on_both_sides(rows, group, share):
    samples = [
        sample(number, f"{image}.png", f"M{kind}", patient=patient)
        for number, (image, patient, kind) in enumerate(rows)
    ]
    try:
        split = random_split(samples, group_by=group, test_share=share)
    except InputError as error:
        assert "would be empty" in str(error)
        return
    sides = {side: {n for n, s in enumerate(split) if s == side} for side in ("train", "test")}
    for name in ("images",) if group == "image" else ("images", "metadata"):
        seen = {side: {str(getattr(samples[n], name)) for n in sides[side]} for side in sides}
        assert not seen["train"] & seen["test"]


def test_one_group_cannot_be_split_and_patients_must_be_named():
    with pytest.raises(InputError, match="in 1 groups cannot be split"):
        random_split([sample(1, "a.png"), sample(2, "a.png")])
    with pytest.raises(InputError, match=r"1 of 2 items .*no patient.*--map patient=KEY"):
        random_split([sample(1, "a.png", patient="p"), sample(2, "b.png")], group_by="patient")


def test_a_question_published_twice_goes_by_its_options(tmp_path):
    item = {"image": "a.png", "problem": "Which? A)x, B)y", "solution": "<answer> A </answer>"}
    other = {**item, "problem": "Which? A)x, B)z"}
    (tmp_path / "CT_train.json").write_text(json.dumps([item]))
    (tmp_path / "CT_test.json").write_text(json.dumps([other]))
    (tmp_path / "notes.json").write_text("[]")
    assert set(split_files(tmp_path).values()) == {"train", "test"}
    published = published_splits(tmp_path)
    asked = Sample("", ("a.png",), "Which?", {"A": "x", "B": "z"}, "A")
    assert published.num_items == 2 and published.split_of(asked) == "test"
    assert (
        published.split_of(Sample("", ("a.png",), "which? ", {"A": "x", "B": "y"}, "A")) == "train"
    )
    assert published.split_of(Sample("", ("a.png",), "Which?", {"A": "p", "B": "q"}, "A")) is None
    assert published.split_of(Sample("", ("b.png",), "Which?", {}, "A")) is None
    with pytest.raises(InputError, match="--splits"):
        published_splits(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no split files"):
        published_splits(tmp_path / "empty")
