"""The prompts of the published protocols: the exact strings of the authors' code."""

import pytest

from medr1.answers.protocols.prompts import PROMPT_NAMES
from medr1.errors import InputError
from medr1.prompts import (
    prompt_format,
    prompt_name,
    prompt_sha256,
    template,
    training_template,
    user_text,
)
from medr1.records import Sample

CHOICE = Sample("1", ("a.png",), "Which {options}?", {"A": "CT", "B": "MRI"}, "A")
YES_NO = Sample("2", ("a.png",), "Is it normal?", {}, "yes", "yes_no")
CLOSED = Sample("3", ("a.png",), "Which side?", {}, "Left", metadata={"answer_class": "closed"})
OPEN = Sample("4", ("a.png",), "What is seen?", {}, "a mass")


@pytest.mark.parametrize(
    ("prompt", "sample", "text"),
    [
        (
            "medevalkit",
            CHOICE,
            "\nQuestion: Which {options}?\nOptions: \nA. CT\nB. MRI\n"
            "Answer with the option's letter from the given choices directly.",
        ),
        (
            "medevalkit",
            YES_NO,
            "Is it normal?\nPlease output 'yes' or 'no'(no extra output).",
        ),
        (
            "medevalkit",
            CLOSED,
            "Which side?\nAnswer the question using a single word or phrase.",
        ),
        ("medevalkit", OPEN, "What is seen?\nPlease answer the question concisely."),
        (
            "medevalkit-boxed",
            OPEN,
            "What is seen?\nPlease answer the question concisely and put the answer in one "
            '"\\boxed{}".',
        ),
        (
            "medvlthinker",
            CHOICE,
            "You will solve a problem/request. You should provide your thoughts within <think> "
            "</think> tags before providing the answer.\\nWrite your final answer within <answer> "
            "</answer> tags.\n\nQuestion: Which {options}?\n\nOptions:\n\nA. CT\n\nB. MRI",
        ),
        (
            "omnimedvqa",
            CHOICE,
            "Which {options}?Here are 2 candidate answers:['CT', 'MRI'] Only return what you think "
            "is the correct answer from the candidate answers, do not return any other irrelevant "
            "text!",
        ),
    ],
    ids=[
        "choice",
        "yes-no",
        "closed",
        "open",
        "boxed",
        "medvlthinker",
        "omnimedvqa",
    ],
)
def test_the_text_is_that_of_the_authors(prompt, sample, text):
    assert user_text(sample, prompt) == text


def test_each_prompt_has_a_name_a_hash_and_the_format_it_asks_for():
    assert [prompt_name(name) for name in PROMPT_NAMES] == list(PROMPT_NAMES)
    assert len({prompt_sha256(name) for name in PROMPT_NAMES}) == len(PROMPT_NAMES)
    formats = {name: prompt_format(name) for name in PROMPT_NAMES}
    assert formats.pop("medvlthinker") == "think"
    assert set(formats.values()) == {"bare"}
    assert template("medevalkit").count("{question}") == 4


def test_a_published_prompt_is_not_for_training():
    with pytest.raises(InputError, match="for inference only"):
        training_template("medevalkit")
    assert training_template("think") == template("think")
