"""The examples on medr1/answers/README.md: labelled cases with the verdicts of the rules."""

import json
import re
from pathlib import Path

import pytest

from medr1.answers import answer_type_of, judge, parse_problem, parse_solution

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "medr1" / "answers" / "README.md"
PROTOCOLS = ("default", "strict", "authors")


def labelled_cases() -> dict[str, dict[str, str]]:
    """The labelled answers by id, those in prose and those of rewards."""
    files = ("prose/cases.jsonl", "reward-cases.jsonl", "reward-cases-more.jsonl")
    lines = [line for file in files for line in (TESTS / file).read_text("utf-8").splitlines()]
    return {case["id"]: case for case in map(json.loads, lines)}


def verdict_word(output: str, question: str, gold: str, protocol: str) -> str:
    """The verdict of `judge` in words, with the reason of an undecided one."""
    stem, options = parse_problem(question)
    gold = parse_solution(gold)
    verdict = judge(
        output,
        ground_truth=gold,
        options=options,
        answer_type=answer_type_of(gold, options),
        question=stem,
        protocol=protocol,
    )
    if verdict.correct or verdict.undecided:
        return f"undecided: {verdict.undecided}" if verdict.undecided else "right"
    if verdict.extraction.method == "refused":
        return "refused"
    return "wrong" if verdict.extraction.answer is not None else "no answer"


def expected_row(case: dict[str, str]) -> str:
    """The row of the page for a labelled case."""
    if "gold" in case:
        verdict = verdict_word(case["output"], case["question"], case["gold"], "default")
        cells = [case["question"], case["gold"], case["output"].replace("\n", " / "), verdict]
    else:
        question, gold = case["problem"] or "", case["solution"]
        verdicts = [verdict_word(case["content"], question, gold, name) for name in PROTOCOLS]
        output = case["content"].replace("\n", "\\n")
        cells = [f"`{output}`", parse_solution(gold), *verdicts]
    return " | ".join([f"| {case['id']}", *cells]) + " |"


def rows_of_page() -> dict[str, str]:
    """The rows that name a labelled case, by its id."""
    rows = re.findall(r"^\| ((?:w\d+|adv|more)-\d+) \|.*\|$", PAGE.read_text("utf-8"), re.MULTILINE)
    lines = PAGE.read_text("utf-8").splitlines()
    return {case: line for case in rows for line in lines if line.startswith(f"| {case} |")}


@pytest.mark.parametrize("case", sorted(rows_of_page()))
def test_example_is_a_labelled_case_with_its_verdict(case: str):
    labelled = labelled_cases()[case]
    assert rows_of_page()[case] == expected_row(labelled)
    right = labelled["label"] == "right" if "gold" in labelled else labelled["correct_reward"] == 1
    first_verdict = expected_row(labelled).split(" | ")[4 if "gold" in labelled else 3].strip(" |")
    assert (first_verdict == "right") == right, "an example on which rules and label differ"


def test_page_shows_every_outcome():
    verdicts = " ".join(row.rsplit("|", 2)[1] for row in rows_of_page().values())
    for outcome in ("right", "wrong", "refused", "polarity", "unreadable"):
        assert outcome in verdicts
