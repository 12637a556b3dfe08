"""think | nothink | think-after: from a Sample to the chat messages that a model sees.

`authors-*` are the exact strings of Med-R1's scripts, the interface of its published checkpoints
(github.com/Yuxiang-Lai117/Med-R1, grpo_vqa*.py and test_*vl_vqa*.py).
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
from medr1.errors import InputError
from medr1.files import read_text
from medr1.records import Sample

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


@cache
def template(prompt: str) -> str:
    """The text of a prompt: of a name in PROMPTS, or of a file, read once, or the text itself.

    A text holds {problem}, where the question with its options goes, and may hold {answer}, where
    goes what is to be given ("the letter of the right option"). InputError where it does not.
    """
    if prompt in PROMPTS:
        return PROMPTS[prompt]
    if prompt.count("{problem}") == 1:
        return prompt
    if not os.path.isfile(prompt):  # unlike Path.is_file, False for a name too long
        shown = prompt if len(prompt) < 80 else prompt[:77] + "..."
        raise InputError(
            f"unknown prompt {shown!r}: no such file, and none of {', '.join(PROMPTS)}."
        )
    text = read_text(Path(prompt)).strip()
    if text.count("{problem}") != 1:
        raise InputError(f"{prompt}: must hold {{problem}} once, where the question goes.")
    return text


def prompt_name(prompt: str) -> str:
    """What a prompt is called where it is recorded: its name, its file's, or "template"."""
    if prompt in PROMPTS:
        return prompt
    return "template" if "{problem}" in prompt else Path(prompt).name


def prompt_format(prompt: str) -> str:
    """think | nothink | think-after | bare: what a prompt asks for, by the tags in its text."""
    return format_of(template(prompt))


def problem_text(sample: Sample) -> str:
    """The question with its options inlined, as the published splits write it: `stem A)x, B)y`."""
    options = ", ".join(f"{letter}){text}" for letter, text in sample.options.items())
    return f"{sample.question} {options}".strip()


def as_plain_text(sample: Sample, control_tokens: Sequence[str]) -> Sample:
    """The sample with a space inside each control token that its question or options hold."""
    texts = (sample.question, *sample.options.values())
    question, *options = (plain_text(text, control_tokens) for text in texts)
    if texts == (question, *options):
        return sample
    return replace(
        sample, question=question, options=dict(zip(sample.options, options, strict=True))
    )


def plain_text(text: str, control_tokens: Sequence[str]) -> str:
    """The text with a space inside each control token that it holds.

    So `<|image_pad|>` typed by somebody stays a text, `< |image_pad|>`, in every tokenizer.
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
    """What the user's turn says; `prompt` as in `template`, `answer_style` letter | text."""
    before, after = template(prompt).split("{problem}")
    answer = _ANSWER[sample.answer_type, answer_style]
    instruction = (part.replace("{answer}", answer) for part in (before, after))
    return problem_text(sample).join(instruction)


def answer_texts(sample: Sample, answer_style: str = "letter") -> dict[str, str]:
    """Answer -> the text that gives it in this style, for every answer that can be right.

    The answers are the letters of the options, "yes" and "no" where that is asked, or none.
    """
    if sample.answer_type == "yes_no" and not sample.options:
        return {"yes": "Yes", "no": "No"}
    return {a: a if answer_style == "letter" else text for a, text in sample.options.items()}


def gold_text(sample: Sample, answer_style: str = "letter") -> str:
    """The gold answer as a model is to give it in this style."""
    gold = sample.ground_truth or ""
    texts = answer_texts(sample, answer_style)
    return texts.get(gold) or texts.get(gold.casefold().rstrip(".")) or gold


def chat_messages(
    sample: Sample, prompt: str, answer_style: str = "letter"
) -> list[dict[str, Any]]:
    """One user turn: an image part for each image, then the text. The pixels travel apart."""
    images = [{"type": "image"} for _ in sample.images]
    text = {"type": "text", "text": user_text(sample, prompt, answer_style)}
    return [{"role": "user", "content": [*images, text]}]


def prompt_sha256(prompt: str) -> str:
    """The hash of a prompt's text, recorded beside its name."""
    return hashlib.sha256(template(prompt).encode()).hexdigest()
