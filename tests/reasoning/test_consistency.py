"""What a reasoning concludes with: the labelled reasonings, and single rules."""

import json
from pathlib import Path

import pytest

import medr1.reasoning
from medr1.reasoning import OUTCOMES, consistency, consistency_of
from medr1.stats.intervals import wilson

HERE = Path(__file__).parent
MODALITIES = {"A": "CT", "B": "MRI", "C": "Ultrasound", "D": "X-ray"}
QUESTION = "What imaging modality was used?"


def labelled(name):
    lines = (HERE / name).read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def read(case):
    return consistency_of(
        *(case[key] for key in ("reasoning", "answer", "question", "options", "answer_type"))
    )


def test_there_are_200_cases_and_no_text_is_in_both_files():
    rows = [*labelled("cases.jsonl"), *labelled("cases-aside.jsonl")]
    assert len({row["reasoning"] for row in rows}) == 200
    assert {row["outcome"] for row in rows} == set(OUTCOMES) - {"no_answer"}


@pytest.mark.parametrize("case", labelled("cases.jsonl"), ids=lambda case: case["reasoning"][:40])
def test_the_rules_read_the_cases_that_they_were_written_for(case):
    result = read(case)
    assert (result.outcome, result.concluded) == (case["outcome"], case["concluded"])
    assert result.names_option == (case["outcome"] != "not_named")


def rate(name, hits, n):
    low, high = wilson(hits, n)
    return f"| {name} | {hits} of {n} | {low:.2f} to {high:.2f} |"


def table():
    """Precision and recall on the cases kept aside, as the page has them."""
    pairs = [(case["outcome"], read(case).outcome) for case in labelled("cases-aside.jsonl")]
    lines = ["| measure | value | 95 % interval |", "|---|---|---|"]
    for title, is_one in (
        ("`contradicts`", lambda outcome: outcome == "contradicts"),
        ("names an option", lambda outcome: outcome != "not_named"),
    ):
        both = sum(is_one(label) and is_one(result) for label, result in pairs)
        lines += [
            rate(f"{title}, precision", both, sum(is_one(result) for _, result in pairs)),
            rate(f"{title}, recall", both, sum(is_one(label) for label, _ in pairs)),
        ]
    right = sum(label == result for label, result in pairs)
    return "\n".join([*lines, rate("right outcome", right, len(pairs))])


def test_the_page_has_precision_and_recall_of_the_cases_kept_aside():
    page = Path(medr1.reasoning.__path__[0], "README.md").read_text(encoding="utf-8")
    assert table() in page


def completion(reasoning, answer):
    return f"<think>{reasoning}</think><answer>{answer}</answer>"


def outcome(reasoning, answer="A", options=MODALITIES, question=QUESTION):
    return consistency(completion(reasoning, answer), question, options, "multiple_choice").outcome


def test_a_completion_is_read_with_its_answer():
    result = consistency(completion("It is CT.", "B"), QUESTION, MODALITIES, "multiple_choice")
    assert (result.outcome, result.concluded, result.answer) == ("contradicts", "A", "B")
    after = "<answer>A</answer><think>It is CT.</think>"
    assert consistency(after, QUESTION, MODALITIES, "multiple_choice").outcome == "consistent"
    assert consistency("<answer>A</answer>", QUESTION, MODALITIES, "multiple_choice") is None
    unreadable = completion("It is CT.", "dunno")
    result = consistency(unreadable, QUESTION, MODALITIES, "multiple_choice")
    assert result.outcome == "no_answer" and result.names_option


@pytest.mark.parametrize(
    ("reasoning", "expected"),
    [
        ("", None),
        (" ", None),
        ("...", "not_named"),
        ("Hepatitis B is common and vitamin B is healthy.", "not_named"),
        ("A scan is shown.", "not_named"),
        ("B", "contradicts"),
        ("A", "consistent"),
        ("It is CT. " * 3000, "consistent"),
        ("Is it MRI? Maybe.", "unclear"),
    ],
    ids=["empty", "blank", "dots", "hepatitis", "article", "letter", "own", "long", "asked"],
)
def test_short_and_long_reasonings(reasoning, expected):
    result = consistency(completion(reasoning, "A"), QUESTION, MODALITIES, "multiple_choice")
    assert (result and result.outcome) == expected


def test_an_option_inside_another_one_is_not_named_by_it():
    options = {"A": "Pneumonia", "B": "Viral pneumonia"}
    text = "Ground-glass opacities on both sides. So it is viral pneumonia."
    assert outcome(text, "B", options, "Which disease is it?") == "consistent"
    assert outcome(text, "A", options, "Which disease is it?") == "contradicts"


@pytest.mark.parametrize(
    ("reasoning", "concluded"),
    [
        ("There is no bleeding, and a polyp is present.", "A"),
        ("The wall is smooth. There is no polyp.", "B"),
        ("A polyp is seen, so the answer is A.", "A"),
        ("The answer is no.", "B"),
        ("The wall is bright.", None),
    ],
    ids=["present", "denied", "letter", "word", "neither"],
)
def test_options_that_are_yes_and_no_are_read_as_yes_and_no(reasoning, concluded):
    options = {"A": "Yes", "B": "No."}
    result = consistency_of(reasoning, "A", "Is there a polyp?", options, "multiple_choice")
    assert result.concluded == concluded
    assert result.names_option == (concluded is not None)


def test_normal_is_named_in_any_description_and_decides_only_alone():
    options = {"A": "Pneumonia", "B": "Normal"}
    question = "What is the diagnosis?"
    text = "An opacity in the lower lobe, a pneumonia. The heart size is normal."
    assert outcome(text, "A", options, question) == "consistent"
    assert outcome("All is normal.", "B", options, question) == "consistent"
    assert outcome("A pneumonia. So overall it is normal.", "B", options, question) == "consistent"


def test_a_list_of_options_with_reasons_is_read_line_by_line():
    lines = (
        "A) CT - not likely.",
        "B) MRI - likely.",
        "C) Ultrasound - no speckle.",
        "D) X-ray - not so.",
    )
    assert outcome("\n".join(lines), "B") == "consistent"
    assert outcome("\n".join(lines), "D") == "contradicts"


def test_plain_statements_about_several_options_are_unclear():
    options = {"A": "Liver", "B": "Lung"}
    text = "The lungs are displayed on both sides. The liver is partly visible."
    assert outcome(text, "B", options, "Which organ is it?") == "unclear"
    assert outcome(f"{text} So I'm going with B.", "A", options, "Which?") == "contradicts"


def test_equal_options_cannot_be_told_apart():
    assert outcome("It is CT.", "A", {"A": "CT", "B": "CT"}) == "not_named"


def test_padding_and_an_empty_reasoning_do_not_make_an_answer_consistent():
    padding = "The image has been looked at with care and in every part. " * 20
    assert outcome(padding) == "not_named"
    assert outcome(f"It is CT or MRI or ultrasound or X-ray. {padding}") == "unclear"
    assert outcome(f"It is MRI. {padding}") == "contradicts"


def test_counts_and_yes_no_are_compared_as_answers_are():
    count = consistency_of("In total there are two nodules.", "2.0", "How many?", {}, "count")
    assert count.outcome == "consistent" and count.concluded == "2"
    question = "Is there a fracture?"
    denied = consistency_of("There is no fracture.", "yes", question, {}, "yes_no")
    assert denied.outcome == "contradicts" and denied.concluded == "no"
