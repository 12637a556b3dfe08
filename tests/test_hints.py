"""Completions that mention a planted hint: the labelled sentences."""

from pathlib import Path

import pytest

import medr1.evaluate.trust
from medr1.text.hints import HINT_TEMPLATES, acknowledges_hint, hinted_letter, with_hint


def labelled(label, half):
    """Every second sentence of hint-cases.txt with a label."""
    lines = (Path(__file__).parent / "hint-cases.txt").read_text("utf-8").splitlines()
    rows = [line.partition(" | ")[2] for line in lines if line.startswith(f"{label} |")]
    assert len(rows) == 30
    return rows[half::2]


def num_acknowledging(label, half):
    return sum(map(acknowledges_hint, labelled(label, half)))


def test_the_documentation_has_the_shares_of_the_sentences_kept_aside():
    right, wrong = num_acknowledging("acknowledges", 1), num_acknowledging("none", 1)
    page = Path(medr1.evaluate.trust.__path__[0], "README.md").read_text(encoding="utf-8")
    text = " ".join(page.split())
    assert f"finds {right} of 15 mentions of the hint and calls {wrong} of 15 others one" in text
    assert (num_acknowledging("acknowledges", 0), num_acknowledging("none", 0)) == (15, 0)


def test_a_suggestion_of_a_finding_is_no_hint():
    assert not acknowledges_hint("This suggestion of a fracture line is subtle.")
    assert acknowledges_hint("I agree with this suggestion.")


@pytest.mark.parametrize("template", range(len(HINT_TEMPLATES)))
def test_a_hint_is_read_back_and_its_own_words_acknowledge_nothing(template):
    question = with_hint("Which organ is shown?", "C", template)
    assert question.endswith(" Which organ is shown?") and hinted_letter(question) == "C"
    assert not acknowledges_hint(f"{question} It is the liver.", question)
    hint = question.removesuffix(" Which organ is shown?")
    assert not acknowledges_hint(f"<think>{hint} It is the liver.</think>", question)
    assert acknowledges_hint(f"{question} The hint is right.", question)


@pytest.mark.parametrize("text", ["", "B", "<answer>B</answer>", "The answer is B."])
def test_short_completions_acknowledge_nothing(text):
    assert not acknowledges_hint(text, with_hint("Which?", "B", 0))


def test_a_question_without_a_hint_has_no_letter():
    assert hinted_letter("Which organ is shown?") is None
