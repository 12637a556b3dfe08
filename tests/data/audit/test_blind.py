"""The baselines that see no image, on samples whose answers are known by hand."""

import math

from medr1.data.audit import (
    answerable,
    blind_accuracy,
    blind_predictions,
    chance,
    correct,
    longest_option,
    majority_letter,
    option_prior,
    question_option_lookup,
)
from medr1.data.audit.blind import question_option_scores
from medr1.records import Sample


def sample(gold: str | None, *options: str, question: str = "What is it?") -> Sample:
    named = dict(zip("ABCDEFGH", options, strict=False))
    return Sample(id="0", images=("x.png",), question=question, options=named, ground_truth=gold)


def test_chance_is_the_mean_over_items_with_options():
    assert chance([sample("A", "x", "y"), sample("B", "a", "b", "c", "d"), sample("3")]) == 0.375
    assert math.isnan(chance([sample("3")]))


def test_option_prior_takes_what_was_most_often_right_when_offered():
    train = [sample("A", "CT", "MRI"), sample("A", "CT", "X-Ray"), sample("B", "CT", "X-Ray")]
    # CT (2 + .5) / 5 = .5; X-Ray 1.5 / 4 = .375; MRI .5 / 3 = .167; unseen .5 / 2 = .25
    test = [
        sample(None, "MRI", "CT"),
        sample(None, "MRI", "X-Ray"),
        sample(None, "MRI", "PET"),
        sample(None, "PET", "X-Ray", "CT"),
    ]
    assert option_prior(train, test) == ["B", "B", "B", "C"]


def test_option_prior_counts_rates_and_not_numbers():
    often = [sample("A", "often", "x")] * 3 + [sample("B", "often", "x")] * 7
    rare = [sample("A", "rare", "y")] * 2
    assert option_prior([*often, *rare], [sample(None, "often", "rare")]) == ["B"]


def test_option_prior_ignores_case_and_final_period():
    train = [sample("A", "Benign.", "Malignant")] * 3
    assert option_prior(train, [sample(None, "malignant.", " benign")]) == ["B"]


def test_option_prior_ties_go_to_the_earlier_letter():
    assert option_prior([], [sample(None, "x", "y", "z")]) == ["A"]
    backwards = Sample(id="0", images=(), question="?", options={"B": "y", "A": "x"})
    assert option_prior([], [backwards]) == ["A"]


def test_items_without_options_get_no_letter():
    assert option_prior([], [sample("3")]) == [""]
    assert longest_option([sample("3")]) == [""]
    assert majority_letter([], [sample("3")]) == [""]


def test_train_items_without_a_usable_gold_do_not_count():
    train = [sample(None, "x", "y"), sample("F", "x", "y"), sample("3"), sample("B", "x", "y")]
    assert answerable(train) == [train[3]]
    assert option_prior(train, [sample(None, "x", "y")]) == ["B"]


def test_majority_letter_is_train_s_and_must_be_offered():
    train = [sample("D", *"abcd")] * 3 + [sample("B", *"abcd")] * 2
    assert majority_letter(train, [sample("A", *"abcd"), sample("A", "a", "b")]) == ["D", "B"]


def test_longest_option():
    assert longest_option([sample("A", "CT", "Ultrasound", "X-Ray")]) == ["B"]
    assert longest_option([sample("A", "ab", "cd")]) == ["A"]


def test_question_option_lookup_takes_the_usual_answer_of_the_same_question():
    train = [sample("A", "CT", "MRI", question="Which?")] * 2 + [
        sample("B", "CT", "MRI", question="What?")
    ]
    # the prior: CT (2 + .5) / (3 + 2) = .5, MRI (1 + .5) / 5 = .3; under "What?" alone
    # CT (0 + .5) / (1 + 1) = .25 and MRI (1 + .3) / 2 = .65
    test = [
        sample(None, "MRI", "CT", question="which "),
        sample(None, "CT", "MRI", question="What?"),
        sample(None, "MRI", "CT", question="New?"),
        sample(None, "PET", "MRI", question="What?"),
    ]
    assert question_option_lookup(train, test) == ["B", "B", "B", "B"]
    scores = question_option_scores(train, test)
    assert scores[1] == {"A": 0.25, "B": 0.65}
    assert scores[2] == {"A": 0.3, "B": 0.5}


def test_correct_and_blind_accuracy_give_a_figure_per_item():
    train = [sample("A", "CT", "MRI")] * 3
    test = [sample("A", "CT", "MRI"), sample("A", "MRI", "CT"), sample("4")]
    assert correct(["A", "B"], test[:2]) == [1, 0]
    blind = blind_accuracy(train, iter(test))
    assert blind["option_prior"] == [1, 0]
    assert blind["longest_option"] == [0, 1]
    assert set(blind) == {
        "option_prior",
        "majority_letter",
        "longest_option",
        "question_option_lookup",
    }


def test_blind_predictions_cover_every_item_and_count_open_ones_as_wrong():
    train = [sample("A", "CT", "MRI")] * 3
    blind = blind_predictions(train, [sample("B", "MRI", "CT"), sample("4"), sample("")])
    assert blind.letters == ("B", "", "")
    assert blind.right == (True, False, False)
    assert blind.chance == 0.5
