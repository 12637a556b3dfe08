"""Option probabilities: a softmax over the log-probabilities of the options' answer strings.

An answer string is the text by which the model would give an answer, such as
"<answer> C </answer>". It comes after the prompt, or after the reasoning that the model has
generated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medr1.prompts import answer_texts, template
from medr1.records import Sample

_BLOCK = "<answer> {} </answer>"
"""How the published splits write an answer, and how their checkpoints were trained to."""


def answer_strings(sample: Sample, prompt: str, answer_style: str) -> dict[str, str]:
    """The string by which a model would give each possible answer.

    Args:
        sample: The question.
        prompt: The prompt template: its name, its file or its text. If it asks for <answer> tags,
            the string has them.
        answer_style: letter or text: how the checkpoint names an option.

    Returns:
        Answer -> string: {"A": "<answer> CT </answer>", ...}. The answers are those of
        `prompts.answer_texts`; {} where there are none to choose from.
    """
    pattern = _BLOCK if "<answer>" in template(prompt) else "{}"
    texts = answer_texts(sample, answer_style)
    return {answer: pattern.replace("{}", text) for answer, text in texts.items()}


def reasons_first(prompt: str) -> bool:
    """Whether the prompt asks for reasoning before the answer."""
    text = template(prompt)
    return 0 <= text.find("<think>") < text.find("<answer>")


def normalized_probabilities(logps: Mapping[str, float]) -> dict[str, float] | None:
    """The softmax of log-probabilities, which sums to 1; None where a number is not finite."""
    from math import exp, isfinite

    if not all(map(isfinite, logps.values())):
        return None
    top = max(logps.values())
    weights = {answer: exp(logp - top) for answer, logp in logps.items()}
    total = sum(weights.values())
    return {answer: weight / total for answer, weight in weights.items()}


def mean_probabilities(distributions: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean probability of each answer over several distributions with the same answers."""
    return {
        answer: sum(probabilities[answer] for probabilities in distributions) / len(distributions)
        for answer in distributions[0]
    }


def most_probable(probabilities: Mapping[str, float]) -> str:
    """The most probable answer; the first of equals."""
    return max(probabilities, key=lambda answer: probabilities[answer])
