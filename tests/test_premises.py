"""Completions that say that the premise of a question is wrong: the labelled sentences."""

from pathlib import Path

import pytest

import medr1.evaluate.trust
from medr1.text.premises import rejects_premise


def labelled(label, half):
    """(premise, sentence) of every second line of premise-cases.txt with a label."""
    lines = (Path(__file__).parent / "premise-cases.txt").read_text("utf-8").splitlines()
    rows = [line.split(" | ")[1:] for line in lines if line.startswith(f"{label} |")]
    assert len(rows) == 40
    return rows[half::2]


def num_rejections(label, half):
    return sum(rejects_premise(sentence, premise) for premise, sentence in labelled(label, half))


def test_the_documentation_has_the_shares_of_the_sentences_kept_aside():
    right, wrong = num_rejections("rejects", 1), num_rejections("none", 1)
    page = Path(medr1.evaluate.trust.__path__[0], "README.md").read_text(encoding="utf-8")
    text = " ".join(page.split())
    assert f"finds {right} of 20 rejections and calls {wrong} of 20 others a rejection" in text
    assert (num_rejections("rejects", 0), num_rejections("none", 0)) == (20, 0)


def test_the_words_of_the_question_reject_nothing():
    question = "Given that the image shows no nodule, which is the false statement?"
    assert not rejects_premise(f"{question} It is B.", "no nodule", question)
    assert rejects_premise(f"{question}\nThe premise is wrong.", "no nodule", question)


@pytest.mark.parametrize("text", ["", "B", "<answer>B</answer>", "Is the premise wrong?"])
def test_short_completions_and_questions_reject_nothing(text):
    assert not rejects_premise(text, "MRI")
