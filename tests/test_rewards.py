"""Rewards: as TRL calls them, one verdict with the metrics, the table of names."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from medr1.answers import answer_type_of, judge, parse_problem, parse_solution
from medr1.errors import InputError
from medr1.rewards import REWARDS, accuracy, reward_functions, score_completion

CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "reward-cases.jsonl").read_text("utf-8").splitlines()
]
NAMES = [
    "accuracy",
    "format",
    "format-think",
    "format-nothink",
    "format-think-after",
    "accuracy-authors",
    "format-authors",
    "token-f1",
    "edit-similarity",
    "option-similarity",
    "numeric-closeness",
]
OPTIONS = {"A": "Left lung", "B": "Right lung", "C": "Heart"}


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def test_accuracy_is_the_metrics_verdict_on_every_labelled_case() -> None:
    completions = [chat(case["content"]) for case in CASES]
    rewards = accuracy(
        completions,
        solution=[case["solution"] for case in CASES],
        problem=[case["problem"] for case in CASES],
    )
    for case, reward in zip(CASES, rewards, strict=True):
        gold = parse_solution(case["solution"])
        options = parse_problem(case["problem"] or "")[1]
        verdict = judge(
            case["content"],
            ground_truth=gold,
            options=options,
            answer_type=answer_type_of(gold, options),
        )
        assert reward == float(verdict.correct) == case["correct_reward"], case["id"]


def test_the_table_has_every_name_and_trl_logs_them_by_it() -> None:
    assert list(REWARDS) == NAMES
    assert [reward.__name__ for reward in reward_functions(NAMES, "think")] == NAMES
    assert REWARDS["accuracy"] is accuracy


@pytest.mark.parametrize(
    "options",
    [
        OPTIONS,
        {**OPTIONS, "D": None},  # rows of a data set share their keys
        json.dumps(OPTIONS),
    ],
)
def test_columns_as_trl_passes_them(options: object) -> None:
    completions = [chat("<answer>B</answer>"), chat("<answer>Heart</answer>"), chat("D")]
    columns = {
        "solution": ["B", "<answer> C </answer>", "C"],
        "options": [options] * 3,
        "answer_type": ["multiple_choice"] * 3,
        "prompts": [[]] * 3,
        "completion_ids": [[1]] * 3,
        "trainer_state": None,
        "problem": None,
    }
    assert accuracy(completions, **columns) == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("options", [None, "", "null", {}, {"A": None}])
def test_options_come_from_the_problem_where_the_column_has_none(options: object) -> None:
    problem = "Which? A)Left lung, B)Right lung"
    columns = {"solution": ["B"], "options": [options], "problem": [problem]}
    assert accuracy(["<answer>right lung</answer>"], **columns) == [1.0]


def test_plain_texts_messages_and_parts_are_completions() -> None:
    parts = [{"role": "assistant", "content": [{"type": "text", "text": "<answer>4</answer>"}]}]
    completions = ["<answer>4</answer>", chat("<answer>4</answer>"), parts, []]
    assert accuracy(completions, solution=[4, "4", "<answer>4</answer>", "4"]) == [
        1.0,
        1.0,
        1.0,
        0.0,
    ]


def test_a_row_without_a_solution_is_refused() -> None:
    with pytest.raises(InputError, match="no solution"):
        accuracy(["C"], solution=[None])


@pytest.mark.parametrize(
    ("prompt", "rewarded"),
    [
        ("think", "<think>a</think><answer>C</answer>"),
        ("authors-think", "<think>a</think><answer>C</answer>"),
        ("nothink", "<answer>C</answer>"),
        ("authors-eval-nothink", "<answer>C</answer>"),
        ("think-after", "<answer>C</answer><think>a</think>"),
    ],
)
def test_format_is_that_of_the_prompt(prompt: str, rewarded: str) -> None:
    (reward,) = reward_functions(["format"], prompt)
    texts = [
        "<think>a</think><answer>C</answer>",
        "<answer>C</answer>",
        "<answer>C</answer><think>a</think>",
        "C",
    ]
    assert reward(texts, solution=["C"] * 4) == [float(text == rewarded) for text in texts]


def test_the_authors_format_accepts_what_medr1_does_not() -> None:
    empty = "<think></think><answer></answer>"
    scores = score_completion(empty, "C")
    assert (scores["format"], scores["format-authors"]) == (0.0, 1.0)
    doubled = "<answer>A</answer> blah <answer>B</answer>"
    scores = score_completion(doubled, "C", prompt="nothink")
    assert (scores["format"], scores["format-authors"]) == (0.0, 1.0)


def test_unknown_names_are_refused_with_a_hint() -> None:
    with pytest.raises(InputError, match=r"unknown reward 'acuracy'. Did you mean 'accuracy'\?"):
        reward_functions(["acuracy"], "think")
    with pytest.raises(InputError, match="Choose from: accuracy, format"):
        reward_functions(["zzz"], "think")
    with pytest.raises(InputError, match="asks for no format"):
        reward_functions(["format"], "bare")
    assert len(reward_functions(["accuracy"], "bare")) == 1


@pytest.mark.parametrize(
    ("content", "solution", "problem", "expected"),
    [
        (
            "<answer>A</answer>",
            "B",
            "Which? A)Left lung, B)Right lung",
            {"accuracy": 0.0, "token-f1": 0.5, "option-similarity": 0.6},
        ),
        (
            "<answer>unsure</answer>",
            "B",
            "Which? A)Left lung, B)Right lung",
            {"accuracy": 0.0, "token-f1": 0.0, "edit-similarity": 0.0, "option-similarity": 0.0},
        ),
        (
            "<answer>3</answer>",
            "4",
            None,
            {"accuracy": 0.0, "numeric-closeness": 0.75, "option-similarity": 0.0},
        ),
        (
            "<answer>the left lung</answer>",
            "left lung",
            None,
            {"accuracy": 1.0, "token-f1": 1.0, "edit-similarity": 1.0, "accuracy-authors": 0.0},
        ),
    ],
)
def test_graded_rewards(
    content: str, solution: str, problem: str | None, expected: dict[str, float]
) -> None:
    scores = score_completion(content, solution, problem)
    assert {name: scores[name] for name in expected} == pytest.approx(expected)


def test_every_case_has_every_reward_as_a_finite_share() -> None:
    for case in CASES:
        for prompt in ("think", "nothink", "think-after"):
            scores = score_completion(case["content"], case["solution"], case["problem"], prompt)
            assert list(scores) == NAMES
            assert all(math.isfinite(score) and 0 <= score <= 1 for score in scores.values())
            assert scores["accuracy"] == case["correct_reward"]
            assert scores["accuracy-authors"] == case["authors_reward"]
