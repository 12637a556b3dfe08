import pytest
from hypothesis import given
from hypothesis import strategies as st

from medr1.errors import InputError
from medr1.infer.options import answer_strings, reasons_first
from medr1.prompts import (
    PROMPTS,
    as_plain_text,
    chat_messages,
    problem_of,
    problem_text,
    prompt_format,
    prompt_name,
    prompt_sha256,
    template,
    user_text,
)
from medr1.records import Sample

CHOICE = Sample(
    "1",
    ("a.jpg",),
    "Which imaging technique?",
    {"A": "CT, contrast {answer}", "B": "MRI"},
    answer_type="multiple_choice",
)
OPEN = Sample("2", ("a.jpg", "b.jpg"), "What is seen?")


def test_a_problem_is_written_as_in_the_published_splits():
    assert problem_text(CHOICE) == "Which imaging technique? A)CT, contrast {answer}, B)MRI"
    assert problem_text(OPEN) == "What is seen?"


def test_braces_in_a_question_stay_what_they_are():
    assert "{answer}, B)MRI Give the letter of the right option" in user_text(CHOICE, "nothink")


def test_the_answer_asked_for_fits_the_question_and_the_style():
    assert "Give the right option inside" in user_text(CHOICE, "nothink", "text")
    assert "give a short answer inside" in user_text(OPEN, "think")
    assert user_text(OPEN, "bare") == "What is seen?"


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("style", ["letter", "text"])
@pytest.mark.parametrize("sample", [CHOICE, OPEN], ids=["choice", "open"])
def test_the_question_is_read_back_from_the_prompt(prompt, style, sample):
    assert problem_of(user_text(sample, prompt, style)) == problem_text(sample)


def test_the_authors_strings_are_exact():
    assert user_text(OPEN, "authors-nothink") == (
        "What is seen? Your task: 1. Provide the correct single-letter choice (A, B, C, D,...) "
        "inside <answer>...</answer> tags. 2. No extra information or text outside of this tag."
    )
    assert user_text(OPEN, "authors-eval-think") == (
        "What is seen? Think through the question step by step in <think>...</think> tags. Then "
        "provide the correct single-letter choice (A, B, C, D,...) inside <answer>...</answer> "
        "tags."
    )


def test_images_come_before_the_text():
    (turn,) = chat_messages(OPEN, "bare")
    assert turn["role"] == "user"
    assert [part["type"] for part in turn["content"]] == ["image", "image", "text"]


def test_every_prompt_begins_with_the_problem_and_has_its_own_hash():
    assert all(template.startswith("{problem}") for template in PROMPTS.values())
    assert len({prompt_sha256(name) for name in PROMPTS}) == len(PROMPTS)


def test_an_unknown_prompt_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"think-aftr.*think-after"):
        user_text(OPEN, "think-aftr")


def test_a_prompt_is_a_name_or_a_file_or_its_text(tmp_path):
    text = "Look closely. {problem} Answer in <answer> </answer>, reason in <think> </think>."
    file = tmp_path / "mine.txt"
    file.write_text(text + "\n")
    assert template(str(file)) == template(text) == text
    assert prompt_sha256(str(file)) == prompt_sha256(text)
    assert [prompt_name(p) for p in ("think", str(file), text)] == ["think", "mine.txt", "template"]
    assert prompt_format(str(file)) == prompt_format(text) == "think-after"
    assert user_text(OPEN, text) == text.replace("{problem}", "What is seen?")
    with pytest.raises(InputError, match="unknown prompt"):
        template("{problem} {problem}")


@pytest.mark.parametrize("prompt", PROMPTS)
def test_training_and_inference_read_the_same_order_from_a_prompt(prompt):
    strings = answer_strings(CHOICE, prompt, "letter")
    assert reasons_first(prompt) == (prompt_format(prompt) == "think")
    assert (strings["B"] == "B") == (prompt_format(prompt) == "bare")


@given(st.text(alphabet="<|>ab"))
def test_no_control_token_is_left_in_a_question(text):
    tokens = ["<|a|>", "<a>", "<|ab|>", "a|", "b"]
    sample = Sample("1", ("a.jpg",), text, {"A": text})
    plain = as_plain_text(sample, tokens)
    for found in (plain.question, plain.options["A"]):
        assert not any(token in found for token in tokens if len(token) > 1)
        assert found.replace(" ", "") == text
    assert as_plain_text(plain, tokens) is plain
