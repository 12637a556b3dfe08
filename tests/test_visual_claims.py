"""Claims to see the image: the labelled sentences, and what is no claim."""

from pathlib import Path

import pytest

import medr1.evaluate.metrics
from medr1.text.visual_claims import claims_to_see


def labelled():
    """(label, sentence, question) of each line of visual-claims.txt."""
    for line in (Path(__file__).parent / "visual-claims.txt").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            label, sentence, *question = line.split(" | ")
            yield label, sentence, question[0] if question else ""


def counts(half):
    """(true positives, false positives, missed claims) of every second line of each label."""
    rows = {label: [row for row in labelled() if row[0] == label] for label in ("claim", "none")}
    found = {
        label: sum(claims_to_see(sentence, question) for _, sentence, question in some[half::2])
        for label, some in rows.items()
    }
    return found["claim"], found["none"], len(rows["claim"][half::2]) - found["claim"]


def test_the_file_has_60_of_each_label():
    labels = [label for label, _, _ in labelled()]
    assert labels.count("claim") == labels.count("none") == 60


def test_the_documentation_has_the_shares_of_the_sentences_kept_aside():
    right, wrong, missed = counts(1)
    page = Path(medr1.evaluate.metrics.__path__[0], "README.md").read_text(encoding="utf-8")
    text = " ".join(page.split())
    assert (
        f"finds {right} of {right + missed} claims and calls {wrong} of 30 others a claim" in text
    )
    assert counts(0) == (29, 0, 1)


@pytest.mark.parametrize(
    "text",
    [
        "<think>It is soft tissue.\nThe image shows a mass</think>",
        "I think of CT. The scan clearly shows bone.",
        "It is 3.5 cm long. There is a nodule in the left lung on this CT.",
        "<answer>In the image, the rim is bright.</answer>",
    ],
    ids=["lines", "second", "number", "block"],
)
def test_a_claim_anywhere_in_a_completion_is_found(text):
    assert claims_to_see(text)


@pytest.mark.parametrize("text", ["", "A", "<answer>B</answer>", "I see. So it is B."])
def test_short_completions_claim_nothing(text):
    assert not claims_to_see(text)


def test_the_words_of_the_question_are_no_claim():
    question = "Given that the image shows a liver, what is the modality?"
    text = "Given that the IMAGE shows\na liver, what is the modality? It is MRI."
    assert not claims_to_see(text, question)
    assert claims_to_see(f"{text} The image shows a bright spleen.", question)
