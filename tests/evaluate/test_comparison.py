"""Two and more runs on the same items: pairing, differences, seeds, groups."""

import random
from dataclasses import replace

import numpy as np
import pytest
from msgspec.structs import asdict

from medr1.documents.metric import Clusters
from medr1.errors import InputError
from medr1.evaluate.comparing.comparison import compare
from medr1.evaluate.comparing.pairing import pair_items
from medr1.evaluate.judging import Settings
from medr1.evaluate.metrics.summary import compare_accuracy
from medr1.records import Prediction, Sample, sample_id
from medr1.stats.significance import mcnemar_exact

OPTIONS = {"A": "CT", "B": "MRI"}
QUICK = Settings(num_resamples=200)


def item(name, right, *, image=None, question="Which?", gold="A", **more):
    sample = Sample(
        name, (image or f"{name}.png",), question, OPTIONS, gold, "multiple_choice", **more
    )
    said = gold if right else "AB".replace(gold, "")
    return Prediction(sample, f"<answer>{said}</answer>")


def run(rights, **more):
    return [item(f"q{i}", right, **more) for i, right in enumerate(rights)]


def compared(*runs, group_by=(), **options):
    named = {f"r{i}": {f"r{i}.json": rows} for i, rows in enumerate(runs)}
    return compare(named, settings=replace(QUICK, group_by=group_by), **options)


def test_counts_and_mcnemar_by_hand():
    base, later = [1] * 60 + [0] * 40, [1] * 50 + [0] * 10 + [1] * 25 + [0] * 15
    document, items = compared(run(base), run(later))
    (found,) = document.comparisons
    assert (found.run, found.base) == ("r1", "r0")
    assert found.difference.value == pytest.approx(0.15)
    assert (found.won, found.lost) == (25, 10)
    assert (found.both_right, found.both_wrong) == (50, 15)
    assert found.mcnemar.exact == pytest.approx(mcnemar_exact(25, 10))
    assert found.p == pytest.approx(found.mcnemar.exact) == found.p_holm
    assert found.mcnemar.mid_p < found.mcnemar.exact
    assert found.minimum_detectable_difference.discordance == pytest.approx(0.35)
    assert found.over_seeds is None and document.runs[0].seeds is None
    outcomes = [item.outcome["r1"] for item in items]
    assert [outcomes.count(o) for o in ("won", "lost", "both right", "both wrong")] == [
        25, 10, 50, 15,
    ]  # fmt: skip
    assert document.n == 100 and not document.warnings


def test_the_same_as_compare_accuracy_whatever_the_order():
    rng = random.Random(0)
    images = [f"{rng.randrange(40)}.png" for _ in range(120)]
    one, two = (
        [item(f"q{i}", rng.random() < p, image=images[i]) for i in range(120)] for p in (0.5, 0.7)
    )
    expected = compare_accuracy(one, two, num_resamples=200)
    shuffled = rng.sample(two, len(two))
    document, _ = compared(one, shuffled)
    assert document.comparisons[0].difference.ci95 == expected.difference.ci95
    assert document.runs[0].accuracy == expected.base
    assert document.runs[1].accuracy == expected.trained
    assert "120 items belong to 36 images" in document.warnings[0]
    assert document.clusters == Clusters(unit="image", n=36)
    assert document.comparisons[0].p != document.comparisons[0].mcnemar.exact


def test_images_that_repeat_widen_everything():
    rng = np.random.default_rng(1)
    images = rng.choice([-1, 0, 1], 50, p=[0.1, 0.6, 0.3])
    base = [item(f"q{i}", images[i // 6] <= 0, image=f"{i // 6}") for i in range(300)]
    later = [item(f"q{i}", images[i // 6] >= 0, image=f"{i // 6}") for i in range(300)]
    clustered = compared(base, later)[0].comparisons[0]
    alone = compared(*(run([p.model_output == "<answer>A</answer>" for p in r])
                       for r in (base, later)))[0].comparisons[0]  # fmt: skip
    assert clustered.p > 50 * alone.p
    assert np.ptp(clustered.difference.ci95) > 2 * np.ptp(alone.difference.ci95)
    effect = clustered.minimum_detectable_difference.design_effect
    assert effect == pytest.approx(6, rel=0.05)


# --- pairing ----------------------------------------------------------------------------------


def test_items_in_one_file_only():
    first, second = run([1, 0, 1]), run([1, 0, 1, 1, 1])
    with pytest.raises(InputError, match=r"2 items are not in both .*'q3', is in r1.json only"):
        compared(first, second)
    document, items = compared(first, second, common_only=True)
    assert document.n == 3 == len(items)
    assert document.warnings[0].startswith("2 items ")
    with pytest.raises(InputError, match="no items in common"):
        compared(run([1]), [item("other", 1)], common_only=True)


@pytest.mark.parametrize(
    ("change", "says"),
    [({"question": "What?"}, "another question"), ({"gold": "B"}, "another ground truth")],
)
def test_one_id_with_two_questions(change, says):
    with pytest.raises(InputError, match=f"item 'q0' has {says} in r1.json than in r0.json"):
        compared(run([1]), [item("q0", 1, **change)])


def test_an_id_that_stands_twice():
    with pytest.raises(InputError, match=r"r1.json: .*the id 'q0'"):
        compared(run([1]), run([1]) + run([0]))


def test_one_run_is_no_comparison():
    with pytest.raises(InputError, match="at least two runs"):
        compared(run([1]))


def test_the_order_is_the_first_files():
    paired = pair_items({"a": run([1, 1, 1])[::-1], "b": run([0, 0, 0])})
    assert [p.sample.id for p in paired.first] == ["q2", "q1", "q0"]
    assert [p.sample.id for p in paired.predictions["b"]] == ["q2", "q1", "q0"]


def asked(image, right=1, *, question="Which?", options=OPTIONS, gold="A"):
    """An item that brought no id, so that it has the hash of its image's path."""
    name = sample_id(Sample("", (image,), question, options))
    sample = Sample(name, (image,), question, options, gold, "multiple_choice")
    return Prediction(sample, f"<answer>{gold if right else 'AB'.replace(gold, '')}</answer>")


def images_of(paired, name):
    return [one.sample.images[0] for one in paired.predictions[name]]


def test_the_same_ids_are_paired_by_id():
    document, _ = compared(run([1, 0]), run([1, 1], image="elsewhere/x.png"))
    assert document.paired_by == "id" and not document.warnings[1:]


@pytest.mark.parametrize("folder", ["data/", "", "C:\\data\\"])
def test_without_ids_images_may_lie_in_other_folders(folder):
    names = [f"{i}.png" for i in range(6)]
    one = [asked(f"/a/{name}", i % 2) for i, name in enumerate(names)]
    two = [asked(f"{folder}{name}", i % 2) for i, name in enumerate(names)]
    paired = pair_items({"one": one, "two": two[::-1]})
    assert paired.paired_by == "question and image name" and paired.num_left_out == 0
    assert images_of(paired, "one") == [f"/a/{name}" for name in names]
    assert images_of(paired, "two") == [f"{folder}{name}" for name in names]
    document, _ = compared(one, two[::-1])
    assert document.paired_by == "question and image name"
    assert "paired by question, options and image name" in document.warnings[0]
    found = document.comparisons[0]
    assert (found.won, found.lost, found.both_right, found.both_wrong) == (0, 0, 3, 3)


def test_names_that_repeat_take_folders_with_them():
    one = [asked(f"/a/{folder}/{i}.png") for folder in ("CT", "MR") for i in range(3)]
    two = [asked(f"b/images/{folder}/{i}.png") for folder in ("MR", "CT") for i in (2, 0, 1)]
    paired = pair_items({"one": one, "two": two})
    assert images_of(paired, "two") == [path.replace("/a/", "b/images/") for path in
                                        images_of(paired, "one")]  # fmt: skip
    bare = [asked(f"{i}.png") for i in range(3)]
    with pytest.raises(InputError, match="9 items are not in both"):
        pair_items({"one": one, "bare": bare})
    elsewhere = [asked(one.sample.images[0].replace("MR", "US")) for one in two]
    paired = pair_items({"one": one, "two": elsewhere}, common_only=True)
    assert images_of(paired, "one") == [f"/a/CT/{i}.png" for i in range(3)]
    assert paired.num_left_out == 6


def test_question_and_options_tell_items_of_one_image_apart():
    others = {"A": "liver", "B": "lung"}
    one = [
        asked("/a/x.png"),
        asked("/a/x.png", question="Where?"),
        asked("/a/x.png", options=others),
    ]
    two = [asked("x.png", question=" Where? "), asked("x.png", options=others), asked("x.png")]
    paired = pair_items({"one": one, "two": two})
    assert paired.predictions["two"] == [two[2], two[0], two[1]]


def test_what_only_an_id_could_tell_apart_is_refused():
    one = [asked("/a/x.png"), asked("/a/y.png"), asked("/a/x.png", 0)]
    one[2] = replace(one[2], sample=replace(one[2].sample, id=f"{one[2].sample.id}-2"))
    two = [replace(p, sample=asked(p.sample.images[0][3:]).sample) for p in one]
    two[2] = replace(two[2], sample=replace(two[2].sample, id=f"{two[2].sample.id}-2"))
    says = r"one: items 1 and 3, 'Which\?' about /a/x.png, have the same question.* Give the items"
    for common_only in (False, True):
        with pytest.raises(InputError, match=says):
            pair_items({"one": one, "two": two}, common_only=common_only)
    with pytest.raises(InputError, match="two: items 1 and 3"):
        pair_items({"one": one[:2], "two": two})
    assert pair_items({"one": one, "two": one[::-1]}).paired_by == "id"


def test_ids_of_the_files_go_before_questions():
    """Two items that only their ids tell apart, in files of which one has a further item."""
    one = [item(name, 1, image="x.png") for name in ("p", "q")]
    two = [*one[::-1], item("r", 1, image="y.png")]
    paired = pair_items({"one": one, "two": two}, common_only=True)
    assert paired.paired_by == "id" and paired.num_left_out == 1
    assert [p.sample.id for p in paired.predictions["two"]] == ["p", "q"]


def test_other_ids_for_the_same_questions():
    one, two = run([1, 0, 1]), [replace(p, sample=replace(p.sample, id=f"x{p.sample.id}"))
                                for p in run([0, 0, 1])]  # fmt: skip
    document, items = compared(one, two)
    assert document.paired_by == "question and image name"
    assert [item.id for item in items] == ["q0", "q1", "q2"]
    assert (document.comparisons[0].won, document.comparisons[0].lost) == (0, 1)


def test_paired_by_question_another_gold_and_missing_items_are_refused():
    one = [asked(f"/a/{i}.png") for i in range(3)]
    two = [asked(f"b/{i}.png", gold="AB"[i == 1]) for i in range(3)]
    with pytest.raises(InputError, match=r"item 'Which\?' about /a/1.png has another ground truth"):
        pair_items({"one": one, "two": two})
    says = (
        r"1 items are not in both one and two, paired by question and image name; the first, "
        r"'Which\?' about /a/2.png, is in one only\. .*--common-only"
    )
    with pytest.raises(InputError, match=says):
        pair_items({"one": one, "two": [two[0], asked("b/1.png")]}, common_only=False)


# --- several runs, groups, seeds --------------------------------------------------------------


def test_holm_over_runs_and_over_groups():
    rng = random.Random(2)
    base = [rng.random() < 0.5 for _ in range(200)]
    better = [right or rng.random() < 0.25 for right in base]
    other = [right if rng.random() < 0.9 else not right for right in base]
    names = ["CT" if i % 2 else "MRI" for i in range(200)]

    def named(rights):
        return [
            item(f"q{i}", right, modality=names[i], metadata={"age": i % 3})
            for i, right in enumerate(rights)
        ]

    document, _ = compared(named(base), named(better), named(other), group_by=("age",))
    first, second = document.comparisons
    small, large = sorted([first.p, second.p])
    assert {first.p_holm, second.p_holm} == {2 * small, max(large, 2 * small)}
    groups = first.groups
    assert list(groups["modality"]) == ["CT", "MRI"] and list(groups["age"]) == ["0", "1", "2"]
    assert not groups["dataset"]
    assert sum(g.won for g in groups["modality"].values()) == first.won
    smallest = min(g.p for g in groups["age"].values())
    assert min(g.p_holm for g in groups["age"].values()) == pytest.approx(3 * smallest)
    with pytest.raises(InputError, match=r"--group-by sex: no item .* There are: age"):
        compared(named(base), named(better), group_by=("sex",))


def test_seeds_count_as_one_result():
    rng = np.random.default_rng(5)
    base = rng.random(150) < 0.5
    seeds = [base | (rng.random(150) < p) for p in (0.2, 0.3, 0.25)]
    runs = {
        "base": {"base.json": run(base)},
        "trained": {f"{i}.json": run(rights) for i, rights in enumerate(seeds)},
    }
    document, items = compare(runs, settings=QUICK)
    trained, found = document.runs[1], document.comparisons[0]
    accuracies = [rights.mean() for rights in seeds]
    assert trained.seeds.accuracies == pytest.approx(accuracies)
    assert trained.accuracy.value == pytest.approx(np.mean(accuracies))
    assert trained.seeds.sd == pytest.approx(np.std(accuracies, ddof=1))
    assert (trained.seeds.min, trained.seeds.max) == (min(accuracies), max(accuracies))
    assert found.difference.n == 150  # items, not items times seeds
    assert found.difference.value == pytest.approx(np.mean(accuracies) - base.mean())
    assert found.mcnemar.exact is None and found.p < 0.01
    low, high = found.over_seeds.ci95
    assert low < found.difference.value < high
    assert "same seeds" in document.meaning
    assert {item.correct["trained"] for item in items} <= {0, 1 / 3, 2 / 3, 1}


def test_three_equal_seeds_are_one_run():
    base, later = [1] * 60 + [0] * 40, [1] * 50 + [0] * 10 + [1] * 25 + [0] * 15
    single = compared(run(base), run(later))[0].comparisons[0]
    runs = {"a": {"a": run(base)}, "b": {f"b{i}": run(later) for i in range(3)}}
    several = compare(runs, settings=QUICK)[0].comparisons[0]
    for name in ("value", "ci95", "n"):
        values = (getattr(found.difference, name) for found in (several, single))
        assert next(values) == pytest.approx(next(values)), name
    assert (several.won, several.lost) == (single.won, single.lost)
    assert several.p == pytest.approx(single.p)
    detectable = (asdict(found.minimum_detectable_difference) for found in (several, single))
    assert next(detectable) == pytest.approx(next(detectable))
    assert several.over_seeds.reason == "the seeds do not differ"


def test_false_alarms_with_seeds_are_rare():
    """Two runs of three seeds from one model: few p under 0.05."""
    rng = np.random.default_rng(6)
    hits, trials = 0, 60
    for _ in range(trials):
        chance = rng.beta(2, 2, 80)
        runs = {
            name: {f"{name}{s}": run(rng.random(80) < chance) for s in range(3)} for name in "ab"
        }
        quickly = Settings(num_resamples=2)
        hits += compare(runs, settings=quickly)[0].comparisons[0].p < 0.05
    assert hits / trials <= 0.12


def test_runs_that_never_differ():
    document, _ = compared(run([1, 0, 1]), run([1, 0, 1]))
    found = document.comparisons[0]
    assert (found.difference.value, found.p, found.won) == (0, 1, 0)
    assert found.difference.ci95[0] < 0 < found.difference.ci95[1]
    assert found.minimum_detectable_difference.value is None
