"""Prompt templates, and the chat messages that are made from them.

`authors-*` are the exact strings of Med-R1's scripts, which its published checkpoints expect
(github.com/Yuxiang-Lai117/Med-R1, grpo_vqa*.py and test_*vl_vqa*.py). The prompts of other projects
are in `answers.protocols.prompts`; they are for inference only.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from medr1.answers import format_of
from medr1.answers.protocols.prompts import PROMPT_NAMES, prompt_text, template_text
from medr1.errors import InputError
from medr1.files import read_text
from medr1.records import Sample, Turn

ANSWER_STYLES = ("letter", "text")

_ANSWER = {
    ("multiple_choice", "letter"): "the letter of the right option",
    ("multiple_choice", "text"): "the right option",
    ("yes_no", "letter"): "Yes or No",
    ("yes_no", "text"): "Yes or No",
    ("count", "letter"): "a number",
    ("count", "text"): "a number",
    ("open", "letter"): "a short answer",
    ("open", "text"): "a short answer",
}

PROMPTS: Mapping[str, str] = {
    "think": "{problem} Think step by step inside <think> </think> tags, "
    "then give {answer} inside <answer> </answer> tags.",
    "nothink": "{problem} Give {answer} inside <answer> </answer> tags.",
    "think-after": "{problem} Give {answer} inside <answer> </answer> tags, "
    "then the reason for it inside <think> </think> tags.",
    "bare": "{problem}",
    "authors-think": "{problem} Your task: 1. Think through the question step by step, enclose "
    "your reasoning process in <think>...</think> tags. 2. Then provide the correct single-letter "
    "choice (A, B, C, D,...) inside <answer>...</answer> tags. 3. No extra information or text "
    "outside of these tags.",
    "authors-nothink": "{problem} Your task: 1. Provide the correct single-letter choice "
    "(A, B, C, D,...) inside <answer>...</answer> tags. 2. No extra information or text outside "
    "of this tag.",
    "authors-eval-think": "{problem} Think through the question step by step in "
    "<think>...</think> tags. Then provide the correct single-letter choice (A, B, C, D,...) "
    "inside <answer>...</answer> tags.",
    "authors-eval-nothink": "{problem} Provide the correct single-letter choice (A, B, C, D,...) "
    "inside <answer>...</answer> tags.",
    "authors-zeroshot": "{problem} Provide the correct single-letter choice (A, B, C, D,...).",
}

ALL_PROMPTS = (*PROMPTS, *PROMPT_NAMES)
"""The names that `infer --prompt` takes."""


@cache
def template(prompt: str) -> str:
    """The template that `prompt` names: a name in PROMPTS, a file, or the template itself.

    A template has {problem} once, which is replaced by the question with its options. It may have
    {answer}, which is replaced by what to answer with ("the letter of the right option"). A file is
    read once.

    Raises:
        InputError: `prompt` is no name, no file and no template, or the file lacks {problem}.
    """
    if prompt in PROMPTS:
        return PROMPTS[prompt]
    if prompt in PROMPT_NAMES:
        return template_text(prompt)
    if prompt.count("{problem}") == 1:
        return prompt
    if not os.path.isfile(prompt):  # unlike Path.is_file, False for a name too long
        short = prompt if len(prompt) < 80 else prompt[:77] + "..."
        raise InputError(
            f"unknown prompt {short!r}. Give a file or one of: {', '.join(ALL_PROMPTS)}."
        )
    text = read_text(Path(prompt)).strip()
    if text.count("{problem}") != 1:
        raise InputError(f"{prompt}: needs {{problem}} exactly once, in the place of the question.")
    return text


def training_template(prompt: str) -> str:
    """The template of a prompt for training; see `template`.

    Raises:
        InputError: As in `template`, or it is a prompt of a published protocol, for inference only.
    """
    if prompt in PROMPT_NAMES:
        raise InputError(
            f"the prompt {prompt} is for inference only. Give a file or one of: "
            f"{', '.join(PROMPTS)}."
        )
    return template(prompt)


def prompt_name(prompt: str) -> str:
    """The name of a prompt for records: its name, its file's name, or "template" for a text."""
    if prompt in ALL_PROMPTS:
        return prompt
    return "template" if "{problem}" in prompt else Path(prompt).name


def prompt_format(prompt: str) -> str:
    """The format that a prompt asks for, by the tags in its text: one of answers.FORMATS."""
    return format_of(template(prompt))


def problem_text(sample: Sample) -> str:
    """The question with its options, as in the published splits: `stem A)x, B)y`."""
    options = ", ".join(f"{letter}){text}" for letter, text in sample.options.items())
    return f"{sample.question} {options}".strip()


def problem_of(text: str) -> str:
    """The question with its options, from the text of a user's turn.

    A text that was made with a template of PROMPTS loses the instruction of the template. Other
    texts are returned as they are.

    Args:
        text: What the model was asked.
    """
    for instruction in _instructions():
        if text.endswith(instruction):
            return text.removesuffix(instruction)
    return text


@cache
def _instructions() -> tuple[str, ...]:
    """What each template has after the question, the longest first."""
    texts = {
        template.removeprefix("{problem}").replace("{answer}", answer)
        for template in PROMPTS.values()
        for answer in _ANSWER.values()
    }
    return tuple(sorted(texts - {""}, key=len, reverse=True))


def as_plain_text(sample: Sample, control_tokens: Sequence[str]) -> Sample:
    """The item without control tokens in its question, options and earlier turns; see `plain_text`.

    Args:
        sample: An item.
        control_tokens: Texts that the tokenizer reads as control tokens, such as `<|image_pad|>`.
    """
    texts = (sample.question, *sample.options.values())
    question, *options = (plain_text(text, control_tokens) for text in texts)
    history = tuple(
        replace(turn, content=plain_text(turn.content, control_tokens)) for turn in sample.history
    )
    if texts == (question, *options) and history == sample.history:
        return sample
    options_of = dict(zip(sample.options, options, strict=True))
    return replace(sample, question=question, options=options_of, history=history)


def plain_text(text: str, control_tokens: Sequence[str]) -> str:
    """The text with a space inside each control token, so that every tokenizer reads plain text.

    `<|image_pad|>` in a question becomes `< |image_pad|>`. Else it would stand for an image.

    Args:
        text: Text from a file, such as a question.
        control_tokens: Texts that the tokenizer reads as control tokens.
    """
    pattern = _control_pattern(tuple(control_tokens))
    while pattern.search(text):
        text = pattern.sub(lambda token: f"{token[0][0]} {token[0][1:]}", text)
    return text


@cache
def _control_pattern(control_tokens: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted((t for t in control_tokens if len(t) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def user_text(sample: Sample, prompt: str, answer_style: str = "letter") -> str:
    """The text of the user's turn.

    Args:
        sample: The item that is asked.
        prompt: As in `template`.
        answer_style: "letter" or "text": what {answer} in the template asks for.
    """
    if prompt in PROMPT_NAMES:
        return prompt_text(
            prompt,
            sample.question,
            sample.options,
            yes_no=sample.answer_type == "yes_no",
            closed=str(sample.metadata.get("answer_class", "")).casefold() == "closed",
        )
    before, after = template(prompt).split("{problem}")
    answer = _ANSWER[sample.answer_type, answer_style]
    instruction = (part.replace("{answer}", answer) for part in (before, after))
    return problem_text(sample).join(instruction)


def answer_texts(sample: Sample, answer_style: str = "letter") -> dict[str, str]:
    """All possible answers of an item, and how a model writes each.

    Args:
        sample: An item.
        answer_style: "letter" or "text": an option is written as its letter or as its text.

    Returns:
        Answer -> text. The answers are the letters of the options, or "yes" and "no" for a yes-no
        question without options; empty for other questions.
    """
    if sample.answer_type == "yes_no" and not sample.options:
        return {"yes": "Yes", "no": "No"}
    return {a: a if answer_style == "letter" else text for a, text in sample.options.items()}


def ground_truth_text(sample: Sample, answer_style: str = "letter") -> str:
    """The right answer as a model has to write it.

    Args:
        sample: An item with a ground truth.
        answer_style: As in `answer_texts`.
    """
    answer = sample.ground_truth or ""
    texts = answer_texts(sample, answer_style)
    return texts.get(answer) or texts.get(answer.casefold().rstrip(".")) or answer


def chat_turns(sample: Sample, prompt: str, answer_style: str = "letter") -> list[Turn]:
    """The turns of an item as text: the earlier ones, and the question in the prompt's template.

    Args:
        sample: The item that is asked.
        prompt: As in `template`.
        answer_style: As in `user_text`.
    """
    return [*sample.history, Turn("user", user_text(sample, prompt, answer_style))]


def chat_messages(
    sample: Sample, prompt: str, answer_style: str = "letter"
) -> list[dict[str, Any]]:
    """The chat messages of an item: its earlier turns, and the question as the user's last turn.

    The images are before the text of the first turn of the user, where TRL puts them too. Only the
    last turn has the instruction of the prompt.

    Args:
        sample: The item that is asked.
        prompt: As in `template`.
        answer_style: As in `user_text`.

    Returns:
        Messages for a chat template. An image is only a placeholder here; the processor gets the
        pixels separately.
    """
    turns = chat_turns(sample, prompt, answer_style)
    messages = [
        {"role": turn.role, "content": [{"type": "text", "text": turn.content}]} for turn in turns
    ]
    return with_images(messages, [{"type": "image"} for _ in sample.images])


def with_images(
    messages: Sequence[Mapping[str, Any]], images: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The messages with these images before the text of the user's first turn.

    Args:
        messages: Messages of one question. Placeholders of images are replaced.
        images: The images as parts of a content, in order.
    """
    texts = [
        {**message, "content": [part for part in message["content"] if part["type"] == "text"]}
        for message in messages
    ]
    first = next(message for message in texts if message["role"] == "user")
    first["content"] = [*images, *first["content"]]
    return texts


def prompt_sha256(prompt: str) -> str:
    """SHA-256 of a prompt's template, in hex; it is recorded together with the name."""
    return hashlib.sha256(template(prompt).encode()).hexdigest()
