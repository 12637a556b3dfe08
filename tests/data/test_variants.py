"""Which questions are asked under which perturbation, with which gold, and which are left out."""

from pathlib import Path

import pytest
from predictions import tag

from medr1 import answers
from medr1.data.perturbations import PERTURBATIONS
from medr1.data.readers import Questions, read_questions
from medr1.data.rewordings import REWORDINGS, TEMPLATES, premise_of, wrong_texts
from medr1.data.tiny import tiny_vqa_folder
from medr1.data.variants import (
    BLIND,
    DEFAULT_KINDS,
    KINDS,
    PERTURBATION_KEYS,
    chosen_kinds,
    is_scale,
    plan_perturbations,
    title_of,
)
from medr1.errors import InputError
from medr1.records import Failure, Sample


def sample(name, question="What is shown?", options=("Heart", "Lung"), gold="A", **more):
    options = dict(zip("ABCDEFGH", options, strict=False))
    kind = "multiple_choice" if options else "open"
    more = {"question_type": "Anatomy", "answer_type": kind, **more}
    return Sample(name, (f"{name}.png",), question, options, gold, **more)


def planned(samples, kinds, severities=(1, 3, 5), failures=None, **more):
    questions = Questions(samples, failures or {}, Path(), "0", "q.json")
    return plan_perturbations(questions, kinds, severities, **more)


def under(found, kind):
    return [s for s in found.questions.samples if s.metadata["perturbation"] == kind]


def test_every_item_is_asked_clean_at_each_severity_and_blind():
    found = planned([sample("a"), sample("b")], ("jpeg", "flip_horizontal"), (1, 5))
    assert found.severities == {"jpeg": (1, 5), "flip_horizontal": (1,), "blank": (1,)}
    ids = [s.id for s in found.questions.samples]
    assert ids[:2] == ["a", "b"] and len(set(ids)) == len(ids) == 2 * (1 + 2 + 1 + 1)
    for index, one in enumerate(found.questions.samples):
        kind, severity, original = (one.metadata[key] for key in PERTURBATION_KEYS)
        assert original in ("a", "b") and one.images == (f"{original}.png",)
        shown = None if kind == "none" else (kind, severity)
        assert found.perturbations.get(index) == shown
    assert (found.num_clean, found.excluded) == (2, {})


@pytest.mark.parametrize(
    ("kind", "question", "options", "gold", "reason"),
    [
        ("flip_horizontal", "Which side?", ("Heart", "Lung"), "A", "side"),
        ("flip_horizontal", "What?", ("Left lung", "Lung"), "B", "side"),
        ("flip_horizontal", "What is it?", (), "right lung", "side"),
        ("flip_vertical", "What?", ("Upper lobe", "Lung"), "A", "upper"),
        ("flip_vertical", "What?", ("Left lung", "Lung"), "B", "side"),
        ("crop", "How many nuclei are there?", (), "3", "number"),
        ("rotation", "How many nuclei are there?", ("3", "4"), "A", "number"),
        ("occlusion", "What number of nuclei?", (), "3", "number"),
        ("option_order", "What?", (), "lung", "options"),
        ("distractor", "What?", (), "lung", "options"),
    ],
)
def test_what_may_change_the_right_answer_is_left_out_and_counted(
    kind, question, options, gold, reason
):
    item = sample("a", question, options, gold)
    others = [sample("b", options=("Heart", "Skin", "Lung")), sample("c", options=("Heart", "Toe"))]
    found = planned([item, *others], (kind,))
    assert {s.metadata["perturbation_of"] for s in under(found, kind)} == {"b", "c"}
    (why,) = (text for text in found.excluded[kind] if reason in text)
    assert found.excluded[kind][why] == 1
    assert len(under(planned([item], ("jpeg",)), "jpeg")) == 3


def test_severities_that_a_kind_does_not_have_leave_it_out_and_are_said():
    found = planned([sample("a"), sample("b")], ("letter_names", "jpeg"), (5,))
    assert found.severities == {"jpeg": (5,), "blank": (1,)}
    assert found.excluded == {"letter_names": {"that --severities leaves out; it has 1 to 4": 2}}
    with pytest.raises(InputError, match="nothing is asked: letter_names that --severities"):
        planned([sample("a")], ("letter_names",), (5,))


def test_items_that_cannot_be_judged_are_not_asked():
    samples = [sample("a"), sample("b", gold=None), sample("c"), sample("d", options=(), gold="x")]
    found = planned(samples, (), failures={2: Failure("no_image", "")}, options_only=True)
    assert [s.id for s in found.questions.samples] == ["a", "a@blank-1"]
    assert found.excluded["none"] == {
        "without ground_truth": 1,
        "that cannot be used (no_image)": 1,
        "without options, which --mode options needs": 1,
    }
    with pytest.raises(InputError, match="no item can be asked and judged: 1 without ground_truth"):
        planned([samples[1]], ())
    with pytest.raises(InputError, match="perturbation_of"):
        planned([sample("a", metadata={"perturbation_of": "x"})], ())


def test_options_in_another_order_keep_their_ground_truth():
    real = read_questions(tiny_vqa_folder() / "test.json").samples
    for one in [s for s in real if s.options][:60]:
        seen = set()
        for variant in range(1, 6):
            turned = REWORDINGS["option_order"].reword(one, variant, 0, {})
            assert list(turned.options) == list(one.options)
            assert sorted(turned.options.values()) == sorted(one.options.values())
            assert list(turned.options.values()) != list(one.options.values())
            assert turned.options[turned.ground_truth] == one.options[one.ground_truth]
            assert turned == REWORDINGS["option_order"].reword(one, variant, 0, {})
            seen.add(tuple(turned.options.values()))
        assert len(seen) > 1 or len(one.options) == 2


def test_options_under_later_letters_keep_their_order_and_ground_truth():
    real = read_questions(tiny_vqa_folder() / "test.json").samples
    for one in [s for s in real if s.options][:60]:
        for variant in range(1, 5):
            moved = REWORDINGS["letter_names"].reword(one, variant, 0, {})
            assert list(moved.options.values()) == list(one.options.values())
            assert "".join(moved.options) == "ABCDEFGH"[variant : variant + len(one.options)]
            assert moved.options[moved.ground_truth] == one.options[one.ground_truth]
            gold = moved.ground_truth
            for said in (tag(gold), f"{gold}) {moved.options[gold]}", moved.options[gold]):
                found = answers.judge(
                    said, ground_truth=gold, options=moved.options, answer_type=one.answer_type
                )
                assert found.correct and found.extraction.answer == gold
            outside = answers.judge(
                tag("A"), ground_truth=gold, options=moved.options, answer_type=one.answer_type
            )
            assert not outside.correct  # the letter it had before is not one of them
    five = sample("a", options=tuple("vwxyz"), gold="A")
    assert REWORDINGS["letter_names"].reword(five, 1, 0, {}) is None
    found = planned([five, sample("b")], ("letter_names",))
    assert found.excluded["letter_names"] == {"without options, or with more than four": 1}


def test_a_paraphrase_keeps_the_questions_own_words():
    assert len(set(TEMPLATES)) == REWORDINGS["paraphrase"].variants == 5
    for variant in range(1, 6):
        made = REWORDINGS["paraphrase"].reword(sample("a"), variant, 0, {})
        assert "What is shown?" in made.question and made.question != "What is shown?"
        assert (made.options, made.ground_truth) == (sample("a").options, "A")


def test_an_added_option_is_known_to_be_wrong():
    items = [
        sample("a", options=("Heart", "Lung"), gold="A"),
        sample("b", options=("Skin", "heart", "Liver"), gold="B"),
        sample("c", options=("Brain", "Lung"), gold="A"),  # Brain: never wrong beside the heart
        sample("d", options=("Heart", "Toe"), gold="A", question_type="Other"),
    ]
    wrong = wrong_texts(items)
    added = set()
    for seed in range(20):
        made = REWORDINGS["distractor"].reword(items[0], 1, seed, wrong)
        assert list(made.options)[:2] == ["A", "B"] and made.ground_truth == "A"
        added.add(made.options["C"])
    assert added == {"Skin", "Liver"}
    assert REWORDINGS["distractor"].reword(items[2], 1, 0, wrong) is None
    eight = sample("e", options=("Heart", *"bcdefgh"))
    assert REWORDINGS["distractor"].reword(eight, 1, 0, wrong) is None


def test_none_of_the_above_takes_the_place_of_the_right_option():
    reword = REWORDINGS["none_of_the_above"].reword
    real = [s for s in read_questions(tiny_vqa_folder() / "test.json").samples if s.options]
    changed = [(one, made) for one in real if (made := reword(one, 1, 0, {}))]
    assert len(changed) > 100
    for one, made in changed:
        gold = one.ground_truth
        assert made.ground_truth == gold and made.options[gold] == "None of the above"
        assert {**made.options, gold: one.options[gold]} == one.options
    one, made = changed[0]
    letters = [letter for letter in made.options if letter != made.ground_truth]

    def right(completion):
        return answers.judge(
            completion,
            ground_truth=made.ground_truth,
            options=made.options,
            answer_type=made.answer_type,
        ).correct

    gold = made.ground_truth
    for completion in (tag(gold), tag("None of the above"), "None of the above.",
                       f"The answer is {gold}) None of the above"):  # fmt: skip
        assert right(completion), completion
    assert not right(tag(letters[0])) and not right(one.options[gold])


@pytest.mark.parametrize("other", ["All of the above", "Both A and B", "None of these", "Other"])
def test_none_of_the_above_needs_options_that_stand_alone(other):
    reword = REWORDINGS["none_of_the_above"].reword
    assert reword(sample("a", options=("Heart", "Lung", other)), 1, 0, {}) is None
    assert reword(sample("a", options=("Heart", "heart")), 1, 0, {}) is None
    assert reword(sample("a", options=("Yes", "No")), 1, 0, {}) is None
    plan = planned([sample("a", options=()), sample("b")], ("none_of_the_above",))
    assert sum(plan.excluded["none_of_the_above"].values()) == 1
    made = plan.questions.samples[2]
    assert (made.id, made.options["A"]) == ("b@none_of_the_above-1", "None of the above")


def test_a_false_premise_is_a_wrong_option_and_keeps_the_ground_truth():
    reword = REWORDINGS["false_premise"].reword
    premises = set()
    for seed in range(20):
        made = reword(sample("a", options=("Heart", "Lung.", "Skin")), 1, seed, {})
        assert made == reword(sample("a", options=("Heart", "Lung.", "Skin")), 1, seed, {})
        assert made.question.endswith(", answer this question: What is shown?")
        assert (list(made.options.values()), made.ground_truth) == (["Heart", "Lung.", "Skin"], "A")
        premises.add(premise_of(made.question))
    assert premises == {"Lung", "Skin"}
    assert premise_of("What is shown?") == ""


@pytest.mark.parametrize(
    "fields",
    [
        {"options": (), "gold": "lung"},
        {"options": ("Yes", "No")},
        {"options": ("Heart", "All of the above")},
        {"question": "Which organ is not shown?"},
        {"question": "What does the image show, except bone?"},
    ],
    ids=["open", "yes-no", "all", "not", "except"],
)
def test_a_question_without_a_usable_wrong_option_presupposes_what_no_scan_shows(fields):
    made = REWORDINGS["false_premise"].reword(sample("a", **fields), 1, 0, {})
    assert premise_of(made.question) == "a bicycle"


def test_kinds_are_named_whole_or_in_part():
    assert chosen_kinds(["jpeg", "noise"]) == (
        *("gaussian_noise", "shot_noise", "speckle_noise"),
        "jpeg",
    )
    assert chosen_kinds(["Gaussian-Blur "]) == ("gaussian_blur",)
    assert chosen_kinds(["all"]) == tuple(kind for kind in KINDS if kind != BLIND)
    assert chosen_kinds(["blank"]) == ()
    with pytest.raises(InputError, match=r"'gausian_blur' is no perturbation.*Did you mean gaus"):
        chosen_kinds(["gausian_blur"])
    with pytest.raises(InputError, match="There are: gaussian_blur"):
        chosen_kinds(["x"])
    with pytest.raises(InputError, match="'none' is no perturbation"):
        chosen_kinds(["none"])  # not none_of_the_above, which has this word
    assert set(DEFAULT_KINDS) <= set(KINDS) and all(map(title_of, KINDS))
    assert not {*PERTURBATIONS} & {*REWORDINGS}
    assert not any(is_scale(kind) for kind in ("blank", "flip_vertical", "option_order"))
