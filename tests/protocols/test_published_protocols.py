"""The published protocols against scores that the authors' own functions gave (golden.json)."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from medr1.answers import PUBLISHED, extract, judge, same_answer

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))
CASES = GOLDEN["cases"]


def verdict_of(case, protocol):
    return judge(
        case["completion"],
        ground_truth=case["ground_truth"],
        options=case["options"],
        answer_type=case["answer_type"],
        closed=case["closed"],
        protocol=protocol,
    )


@pytest.mark.parametrize("protocol", PUBLISHED)
def test_every_score_is_that_of_the_authors_code(protocol):
    differences = []
    for case in CASES:
        expected = case["scores"][protocol]
        score = verdict_of(case, protocol).score
        if isinstance(expected, dict):  # the authors' program stops there
            expected = 0.0
        if score != (expected if expected is None else pytest.approx(expected, abs=1e-5)):
            differences.append((case["completion"], case["ground_truth"], expected, score))
    assert differences == []


def test_the_golden_cases_have_right_and_wrong_answers_of_every_type():
    types = Counter(case["answer_type"] for case in CASES)
    assert set(types) == {"multiple_choice", "yes_no", "count", "open"}
    for protocol in PUBLISHED:
        scores = [case["scores"][protocol] for case in CASES]
        assert min(scores.count(0), scores.count(1)) >= 15, protocol
    assert all(re.search(r"[0-9a-f]{7}", line) for line in GOLDEN["made_by"])


def test_a_right_multiple_choice_answer_is_read_as_the_letter_that_is_right():
    for case in CASES:
        for protocol in PUBLISHED:
            verdict = verdict_of(case, protocol)
            if case["options"] and verdict.correct and "mass" not in case["options"].values():
                assert verdict.extraction.answer == case["ground_truth"]


@pytest.mark.parametrize("protocol", PUBLISHED)
def test_the_answer_is_read_without_the_ground_truth(protocol):
    for case in CASES:
        read = extract(
            case["completion"],
            options=case["options"],
            answer_type=case["answer_type"],
            closed=case["closed"],
            protocol=protocol,
        )
        verdict = verdict_of(case, protocol)
        if case["options"] and "mass" not in case["options"].values():
            assert read.answer == verdict.extraction.answer


@pytest.mark.parametrize(
    ("protocol", "answer_type", "ground_truth", "completion", "is_right"),
    [
        ("medevalkit", "yes_no", "no", "It is abnormal.", True),
        ("medevalkit", "yes_no", "Yes", "Yes, there is.", False),
        ("medevalkit", "open", "pneumonia", "Answer: pneumonia", False),
        ("llava-med", "yes_no", "no", "yes and no", True),
        ("llava-med", "yes_no", "yes", "yes and no", True),
        ("medvlthinker", "open", "pneumonia", "Answer: pneumonia", False),
        ("medvlthinker-regrade", "open", "pneumonia", "Answer: pneumonia", True),
    ],
)
def test_the_faults_that_the_pages_name(protocol, answer_type, ground_truth, completion, is_right):
    verdict = judge(
        completion,
        ground_truth=ground_truth,
        options={},
        answer_type=answer_type,
        protocol=protocol,
    )
    assert verdict.correct is is_right


def test_a_question_that_a_protocol_has_no_rule_for_is_undecided():
    verdict = judge(
        "pneumonia", ground_truth="pneumonia", options={}, answer_type="open", protocol="omnimedvqa"
    )
    assert (verdict.correct, verdict.undecided, verdict.score) == (False, "no_rule", None)


def test_an_open_answer_gets_a_part_of_the_mark_from_llava_med():
    verdict = judge(
        "right lower lobe",
        ground_truth="right middle lobe",
        options={},
        answer_type="open",
        protocol="llava-med",
    )
    assert not verdict.correct
    assert verdict.score == pytest.approx(2 / 3)


def test_answers_are_compared_character_by_character():
    comparison = {"options": {}, "answer_type": "open"}
    assert same_answer("no effusion", "without effusion", **comparison)
    for protocol in PUBLISHED:
        assert same_answer("a", "a", **comparison, protocol=protocol)
        assert not same_answer("no effusion", "without effusion", **comparison, protocol=protocol)
