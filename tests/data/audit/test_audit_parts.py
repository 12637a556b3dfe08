"""The audit's parts against truth counted by hand, or against the slow and obvious way."""

import json
import random
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medr1.data.audit.blind import longest_option, normalized_question
from medr1.data.audit.classifier import classifier_scores
from medr1.data.audit.defects import encoding_damage, find_defects, letter_balance, option_counts
from medr1.data.audit.images import HashedImage, perceptual_hashes
from medr1.data.audit.knowledge import AboveChance, expected_lucky_items, groups_above_chance
from medr1.data.audit.leakage import folded_path, normalized_path
from medr1.data.audit.near import MAX_DHASH, MAX_PHASH, near_images
from medr1.data.audit.patients import patients, series
from medr1.data.audit.places import item_lines
from medr1.data.audit.shortcuts import (
    blind_panel,
    shortcuts,
    strictly_best,
    with_shuffled_labels,
)
from medr1.data.audit.subset import subset_of
from medr1.data.audit.wordings import wordings
from medr1.data.readers import read_questions
from medr1.documents.metric import Missing
from medr1.errors import InputError
from medr1.records import Sample


def sample(gold, *options, question="What is it?", image="x.png", **more):
    named = dict(zip("ABCDEFGH", options, strict=False))
    return Sample("0", (image,), question, named, gold, **more)


# --- defects ----------------------------------------------------------------------------------


def defects_of(tmp_path, *items):
    path = tmp_path / "t.json"
    path.write_text(json.dumps(items))
    return [(f.kind, f.index) for f in find_defects(read_questions(path))]


def ask(problem, gold="A", image="a.png"):
    return {"image": image, "problem": problem, "solution": f"<answer> {gold} </answer>"}


def test_each_defect_is_found_where_it_is(tmp_path):
    assert defects_of(
        tmp_path,
        ask("q0? A)x, B)y"),
        ask("q1? A)x, B)y", "C"),
        ask("q2? A)x, B)x"),
        ask("q3? A)Yes, B)yes, C)no"),
        ask("q4? A)37 Â°C, B)y"),
        {"image": "a.png", "problem": "q5? A)x, B)y"},
        {"image": "a.png", "problem": " "},
        "no object",
        ask("q8? A)x, B)y"),
        ask("q8? A)y, B)x", "B"),  # the same answer in another place
        ask("Q8 ? A)x, B)y", "B"),
        ask("q0? A)x, B)y"),
    ) == [
        ("answer_not_in_options", 1),
        ("duplicate_options", 2),
        ("duplicate_options_by_case", 3),
        ("encoding_damage", 4),
        ("no_ground_truth", 5),
        ("unusable_item", 6),
        ("unusable_item", 7),
        ("two_ground_truths", 8),
        ("two_ground_truths", 9),
        ("two_ground_truths", 10),
        ("duplicate_item", 11),
    ]


@pytest.mark.parametrize(
    ("text", "damaged"),
    [
        ("plain", False),
        ("37 °C, naïve, Sjögren, β-cell, 肺炎, ≥ 5 µm, “quoted”", False),
        ("Ãrea", False),
        ("AT&T; R&D", False),
        ("naÃ¯ve", True),
        ("donâ€™t", True),
        ("lost \ufffd", True),
        ("a &amp; b", True),
        ("bell \x07", True),
    ],
)
def test_encoding_damage(text, damaged):
    assert bool(encoding_damage(text)) == damaged


def test_letter_balance_compares_items_of_as_many_options():
    two = [sample("A", "x", "y")] * 6 + [sample("B", "x", "y")] * 2
    four = [sample(gold, *"wxyz") for gold in "ABCD"] * 3
    letters, test = letter_balance([*two, *four, sample(None, "x", "y"), sample("3")])
    assert letters == {"A": 9, "B": 5, "C": 3, "D": 3}
    # two options: (6 - 4)^2 / 4 + (2 - 4)^2 / 4 = 2 on one degree; four: 0 on three
    assert (test.chi2, test.df) == (2.0, 4) and test.p == pytest.approx(0.7357589)
    assert option_counts([*two, *four, sample("3")]) == {"0": 1, "2": 8, "4": 12}


# --- places and subsets -----------------------------------------------------------------------

FORMS = {
    "t.json": '[\n {"image": "a.png", "question": "q [1]\\n"},\n\n {"image": "b.png",\n "question"'
    ': "x"}, {"image": "c.png", "question": "]"}\n]',
    "q.json": '{"about": {"questions": [1]},\n "questions": [\n {"image": "a.png", "question": "1"}'
    '\n, {"image": "b.png", "question": "2"}, {"image": "c.png", "question": "3"}]}',
    "t.jsonl": '{"image": "a.png", "question": "1"}\n\n{"image": "b.png", "question": "2"}\n'
    '{"image": "c.png", "question": "3"}',
    "t.csv": 'image,question\na.png,"two\nlines"\n\nb.png,2\nc.png,3',
}
LINES = {"t.json": [2, 4, 5], "q.json": [3, 4, 4], "t.jsonl": [1, 3, 4], "t.csv": [2, 5, 6]}


@pytest.mark.parametrize("name", FORMS)
def test_lines_and_subsets_of_every_form(name, tmp_path):
    path = tmp_path / name
    path.write_text(FORMS[name])
    assert item_lines(path) == LINES[name]
    whole = read_questions(path).samples
    for kept in ([0, 2], [1], [0, 1, 2]):
        part = tmp_path / f"part-{name}"
        content = subset_of(path, kept)
        part.write_bytes(content if isinstance(content, bytes) else content.encode())
        found = read_questions(part).samples
        assert [vars(s) for s in found] == [vars(whole[i]) for i in kept]


def test_a_subset_of_parquet_keeps_every_column(tmp_path):
    import pyarrow.parquet

    rows = [{"image": f"{n}.png", "question": f"q{n}", "scanner": n} for n in range(4)]
    path, part = tmp_path / "t.parquet", tmp_path / "p.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert item_lines(path) is None
    part.write_bytes(subset_of(path, [1, 3]))
    assert pyarrow.parquet.read_table(part).to_pylist() == [rows[1], rows[3]]
    with pytest.raises(InputError, match="saved data set"):
        subset_of(tmp_path, [0])


# --- pictures, paths, patients ----------------------------------------------------------------


def test_the_search_for_near_hashes_is_exact():
    deal = random.Random(0)
    table = [HashedImage("k", deal.getrandbits(64), deal.getrandbits(64)) for _ in range(300)]
    asked = []
    for n in range(400):
        one = deal.choice(table)
        flips = [sum(1 << b for b in deal.sample(range(64), deal.randrange(12))) for _ in "pd"]
        asked.append(
            HashedImage("a", one.phash ^ flips[0], one.dhash ^ flips[1]) if n % 9 else HashedImage()
        )
    expected = []
    for one in asked:
        near = []
        for place, other in enumerate(table) if one.phash is not None else ():
            bits = (one.phash ^ other.phash).bit_count(), (one.dhash ^ other.dhash).bit_count()
            if bits[0] <= MAX_PHASH and bits[1] <= MAX_DHASH:
                near.append((sum(bits), place, *bits))
        expected.append(min(near)[1:] if near else None)
    assert near_images(asked, table) == expected
    assert 50 < sum(found is not None for found in expected) < 350


def test_a_picture_of_one_grey_is_near_nothing():
    assert perceptual_hashes(Image.new("RGB", (40, 40), (9, 9, 9))) == (None, None)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32), dtype=np.uint8))
    assert None not in perceptual_hashes(noise)


def test_paths_are_normalised_in_two_steps():
    assert {normalized_path(p) for p in ("a/b.png", "./a//b.png ", "a/c/../b.png")} == {"a/b.png"}
    assert normalized_path("A/b.png") != normalized_path("a/b.png")
    assert len({folded_path(p) for p in ("a/b c.png", "A\\B C.PNG", "./a/bc.png")}) == 1
    assert folded_path("a/b.png") != folded_path("a/b.jpg")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Images/PAD/imgs_1/PAT_1449_1554_932.png", "Images/PAD/imgs_2/PAT_1449_9_1.png", True),
        ("Images/PAD/imgs_1/PAT_1449_1554_932.png", "Images/PAD/imgs_1/PAT_144_9_1.png", False),
        ("Images/DR/0/405_left.jpeg", "Images/DR/4/405_right.jpeg", True),
        ("Images/DR/0/405_left.jpeg", "Images/Other/0/405_left.jpeg", False),
        ("X/train/patient00012/study1/v.jpg", "X/test/patient00012/study2/v.jpg", True),
        ("files/p10/p10000032/s50414267/a.jpg", "files/p10/p10000032/s5/b.jpg", True),
        ("nih/00000013_005.png", "nih/00000013_026.png", True),
        ("tcga/TCGA-02-0006-01Z.png", "tcga/TCGA-02-0006-02A.png", True),
        ("Images/ISIC/ISIC_0065404.jpg", "Images/ISIC/ISIC_0065404.jpg", None),
        ("Images/A/subtype_12.png", "Images/A/subtype_12.png", None),
    ],
)
def test_patients_by_file_name(one, other, same):
    first, second = (patients(sample("A", image=name)) for name in (one, other))
    assert bool(first) == (same is not None)
    assert bool(first & second) == bool(same)


def test_patients_and_series_by_metadata():
    one = sample("A", image="PAT_1_1.png", metadata={"Patient_ID": 7, "StudyInstanceUID": "1.2"})
    other = sample("A", image="y.png", metadata={"patient": "7", "study": "1.2"})
    assert patients(one) == patients(other) == {"|7"}
    assert series(one) == series(other) == {"|1.2"}
    assert series(sample("A", image="s/vol-3_slice_01.png")) == series(
        sample("A", image="s/vol-3_slice_77.png")
    )


def test_wordings_one_word_apart_are_found_as_the_slow_way_finds_them():
    deal = random.Random(1)
    words = ["what", "is", "the", "this", "shown", "in", "image"]
    train = [" ".join(deal.choices(words, k=deal.randint(2, 6))) for _ in range(60)]
    test = [" ".join(deal.choices(words, k=deal.randint(2, 6))) for _ in range(200)]

    def less(text):
        parts = text.split()
        return {text, *(" ".join(parts[:i] + parts[i + 1 :]) for i in range(len(parts)))}

    near = {t for t, k in product(test, train) if t not in train and less(t) & less(k)}
    found = wordings(
        [sample("A", "x", "y", question=q) for q in train],
        [sample("A", "x", "y", question=q) for q in test],
    )
    assert found["near_question"].wordings == len(near) > 20
    assert found["same_question"].items == sum(t in train for t in test)
    assert normalized_question("What  IS it?") == "what is it"


# --- shortcuts --------------------------------------------------------------------------------


def leaky(n, seed, known=True):
    """Items whose gold option is always one of "gold 0..9" when known, else like the others."""
    deal = random.Random(seed)
    items = []
    for place in range(n):
        options = [f"{'gold' if known else 'thing'} {deal.randrange(10)}"]
        options += [f"thing {deal.randrange(10, 90)}" for _ in range(3)]
        gold = options[0]
        deal.shuffle(options)
        items.append(
            sample(
                "ABCD"[options.index(gold)], *options, image=f"{seed}-{place}.png", modality="CT"
            )
        )
    return items


def test_a_shortcut_is_found_and_shuffled_labels_lose_it():
    train, test = leaky(600, 1), leaky(300, 2)
    found, panel = shortcuts(train, test)
    for name in ("option_prior", "question_option_lookup", "text_classifier"):
        predictor = found.blind.predictors[name]
        assert predictor.accuracy.value > 0.95, name
        control = predictor.shuffled_labels
        assert control.draws == 20 and control.range[0] < 0.4, name
    assert abs(found.blind.predictors["text_classifier"].shuffled_labels.value - 0.25) < 0.1
    assert found.image_needed.items == sum(panel.image_needed) < 10
    assert found.groups["modality"]["CT"].n == 300
    assert panel.best in panel.predictors_above_chance and panel.best_accuracy > 0.95


def test_without_a_shortcut_every_item_needs_its_image():
    """A coin is right in a quarter of the items too: that takes none of them out."""
    train, test = leaky(600, 3, known=False), leaky(300, 4, known=False)
    deal = random.Random(0)
    train = [Sample(**{**vars(s), "ground_truth": deal.choice("ABCD")}) for s in train]
    test = [Sample(**{**vars(s), "ground_truth": deal.choice("ABCD")}) for s in test]
    panel = blind_panel(train, test)
    assert panel.predictors_above_chance == () and all(panel.image_needed)
    assert any(panel.right["option_prior"])


def test_a_choice_among_equals_takes_nothing_out():
    assert strictly_best({"A": 0.3, "B": 0.2}, "A")
    assert not strictly_best({"A": 0.3, "B": 0.3}, "A")  # the earlier letter is chosen all the same
    assert not strictly_best({"A": 0.3, "B": 0.2}, "B") and not strictly_best({}, "A")


def test_an_item_without_options_is_in_the_panel_and_never_right():
    train = [sample("A", "CT", "MRI", image=f"{n}") for n in range(200)]
    asked = [sample("A", "CT", "MRI", image=f"t{n}") for n in range(60)]
    panel = blind_panel(train, [*asked, sample("3", image="o")])
    assert "option_prior" in panel.predictors_above_chance and panel.metrics["option_prior"].n == 60
    assert panel.letters["option_prior"] == ("A",) * 60 + ("",)
    assert not any(panel.image_needed) and not panel.right["option_prior"][60]


def test_labels_are_dealt_among_items_of_as_many_options():
    train = leaky(50, 5) + [sample("B", "yes", "no", image=f"{n}") for n in range(9)]
    shuffled = with_shuffled_labels(train, 1)
    assert sorted(s.ground_truth for s in shuffled) == sorted(s.ground_truth for s in train)
    assert all(s.ground_truth == "B" for s in shuffled[50:])
    assert [s.options for s in shuffled] == [s.options for s in train]
    assert shuffled != train and shuffled == with_shuffled_labels(train, 1)


def test_the_classifier_reads_question_and_option_together():
    """Which option is right depends on the question's word; neither alone tells."""
    deal = random.Random(0)
    items = []
    for n in range(400):
        word, gold = deal.choice([("bright", "CT"), ("dark", "MRI")])
        options = deal.sample(["CT", "MRI"], 2)
        items.append(
            sample("AB"[options.index(gold)], *options, question=f"A {word} one?", image=f"{n}")
        )
    train, test = items[:300], items[300:]
    (scores,) = classifier_scores(train, test, [[s.ground_truth for s in train]])
    assert all(max(s, key=s.get) == t.ground_truth for s, t in zip(scores, test, strict=True))


def test_nothing_to_learn_from_and_nothing_to_score():
    found, panel = shortcuts([sample("3")], [sample("A", "x", "y")])
    assert found.blind.predictors["option_prior"].accuracy.value is None
    assert panel.image_needed == (True,)
    found, panel = shortcuts([sample("A", "x", "y")], [sample("3")])
    assert found.blind.chance is None and panel.best == "" and panel.image_needed == (False,)
    found, panel = shortcuts(None, [sample("A", "long one", "y")])
    assert panel is None and found.blind.predictors["longest_option"].accuracy.value == 1.0
    assert isinstance(found.image_needed, Missing) and found.groups == {}


def grouped(n, known=False, seed=7):
    """Items of groups g0 to g5; `known`: the longest option is right in g0, and not in g1 to g3."""
    deal = random.Random(seed)
    items = []
    for place in range(n):
        options, group = ["ct", "mri", "x-ray", "us"], f"g{place % 6}"
        deal.shuffle(options)
        longest = options.index("x-ray")
        gold = deal.randrange(4)
        if known and group in ("g1", "g2", "g3"):
            gold = deal.choice([letter for letter in range(4) if letter != longest])
        elif known and group == "g0":
            gold = longest
        items.append(
            sample("ABCD"[gold], *options, image=f"{seed}-{place}.png", modality=group, dataset="D")
        )
    return items


def test_a_shortcut_in_one_group_takes_its_items_out_and_no_others():
    train, test = grouped(600, seed=1), grouped(240, known=True)
    found, panel = shortcuts(train, test)
    assert panel.predictors_above_chance == ()
    (known,) = found.image_needed.in_groups
    assert (known.predictor, known.kind, known.group) == ("longest_option", "modality", "g0")
    assert (known.value, known.chance, known.n) == (1.0, 0.25, 40)
    assert known.p_holm < 1e-6
    out = [s.modality for s, needed in zip(test, panel.image_needed, strict=True) if not needed]
    assert out == ["g0"] * 40
    assert found.groups["modality"]["g0"].image_needed == 0
    assert found.image_needed.lucky == 0  # one that is always right never guesses


def test_groups_without_a_shortcut_seldom_show_one():
    """Holm's level holds for all predictors and groups of a split together."""
    flagged = 0
    for seed in range(100):
        test = grouped(180, seed=seed)
        said = longest_option(test)
        right = [s.ground_truth == letter for s, letter in zip(test, said, strict=True)]
        flagged += bool(groups_above_chance(test, range(180), {"longest_option": right}))
    assert flagged <= 8  # 5 expected at most


def test_items_guessed_well_are_counted_under_the_best_predictor():
    coarse = AboveChance("option_prior", "", "", tuple(range(100)), 0.4, 0.25)
    fine = AboveChance("longest_option", "modality", "CT", tuple(range(40)), 0.7, 0.25, 0.001)
    assert expected_lucky_items([coarse]) == pytest.approx(100 * 0.25 * 0.6 / 0.75)
    assert expected_lucky_items([coarse, fine]) == pytest.approx(60 * 0.2 + 40 * 0.1)
    assert expected_lucky_items([]) == 0


def test_the_embedded_split_has_shortcuts_in_groups_alone():
    folder = Path(__file__).parents[3] / "data" / "tiny_vqa_ds"
    train, test = (read_questions(folder / f"{name}.json").samples for name in ("train", "test"))
    panel = blind_panel(train, test)
    assert panel.predictors_above_chance == () and sum(panel.image_needed) == 583
    longest = {one.group for one in panel.above_chance if one.predictor == "longest_option"}
    assert longest == {"Fundus Photography", "wsidicom-data"}
