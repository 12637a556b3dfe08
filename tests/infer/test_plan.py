"""A plan is a partition: every item once, same images together, the largest first."""

from itertools import chain

from medr1.infer.plan import plan_batches
from medr1.records import Sample


def sample(name, image, question="What?"):
    return Sample(name, (image,) if image else (), question)


def test_a_plan_holds_every_item_once_and_is_the_same_again(validation):
    for size in (1, 7, 64, 1000):
        plan = plan_batches(validation.samples, validation.image_root, size)
        assert sorted(chain.from_iterable(plan)) == list(range(len(validation.samples)))
        assert all(len(batch) == size for batch in plan[:-1])
        assert plan == plan_batches(validation.samples, validation.image_root, size)


def test_questions_about_one_image_stand_together_and_large_ones_come_first(tmp_path):
    for name, size in (("small", 100), ("large", 10_000)):
        (tmp_path / name).write_bytes(b"x" * size)
    samples = [
        sample("0", "small"),
        sample("1", "large"),
        sample("2", "gone"),
        sample("3", "small", "A longer question, to be put first?"),
        sample("4", "large"),
        sample("5", ""),
    ]
    assert plan_batches(samples, tmp_path, 2) == [[1, 4], [0, 3], [2, 5]]


def test_names_that_are_no_files_do_no_harm(tmp_path):
    samples = [sample("0", "a\0b"), sample("1", "x" * 5000), sample("2", "https://example.org/a")]
    assert sorted(chain.from_iterable(plan_batches(samples, tmp_path, 2))) == [
        0,
        1,
        2,
    ]
