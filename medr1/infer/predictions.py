"""From the outputs for each order of the options to a prediction, for every engine.

A question with options can be asked in several orders of its options, called rotations. Each
rotation gives a prompt of its own, whose letters stand for other options.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from medr1 import answers
from medr1.infer.engine import Prefill
from medr1.infer.options import mean_probabilities, most_probable
from medr1.prompts import plain_text
from medr1.records import Failure, Prediction, Sample

_DIGITS = 6
"""Decimals of a probability; further ones depend on the order of additions, so on the batch."""
_LOGPROB_DIGITS = 4
"""Decimals of a token's log-probability."""


@dataclass(frozen=True)
class Rotation:
    """A question with its options in one order."""

    sample: Sample
    """The question; its options have the letters A, B, C, ... in the new order."""
    original_letters: Mapping[str, str]
    """Letter of an option in this order -> its letter in the file."""


@dataclass(frozen=True)
class CompletionLogprobs:
    """The log-probability of each token of a completion (natural logarithm)."""

    with_image: Sequence[float]
    without_image: Sequence[float] | None = None
    """Of the same tokens, with a grey image in the prompt; None where they are not known."""


@dataclass(frozen=True)
class RotationOutput:
    """The model's output for one rotation: a completion, option probabilities, or both."""

    text: str | None = None
    """The completion."""
    num_tokens: int | None = None
    finish_reason: str | None = None
    samples: tuple[str, ...] = ()
    """Further sampled completions."""
    probabilities: Mapping[str, float] | None = None
    """Answer -> probability, by the letters of the rotation."""
    bounds: Mapping[str, tuple[float, float]] | None = None
    """Answer -> (lowest, highest) probability, if not all are known; by the rotation's letters."""
    token_logprobs: CompletionLogprobs | None = None
    """Of the tokens of `text`, if they were requested."""


def prompt_for(sample: Sample, requested: str | None, checkpoint_prompt: str | None) -> str:
    """Choose the prompt template of a question.

    Args:
        sample: The question.
        requested: The template of --prompt; None without one.
        checkpoint_prompt: The template that the checkpoint was trained with; None if unknown.

    Returns:
        The requested template, else the checkpoint's, else nothink with options and bare without.
    """
    return requested or checkpoint_prompt or ("nothink" if sample.options else "bare")


def prefill_text(prefill: Prefill | None, control_tokens: Sequence[str]) -> str:
    """The text of the beginning of a completion, without control tokens; "" without one.

    Args:
        prefill: The beginning.
        control_tokens: Texts that the tokenizer reads as control tokens; the tags of the reasoning
            stay as they are.
    """
    if prefill is None:
        return ""
    tags = ("<think>", "</think>")
    return plain_text(prefill.text, [token for token in control_tokens if token not in tags])


def rotations(sample: Sample, num_orders: int) -> list[Rotation]:
    """The question with its options moved by 0, 1, 2, ... places.

    Options A: CT, B: MRI, C: US moved by 1 are A: MRI, B: US, C: CT; the original letter of A is
    then B.

    Args:
        sample: The question.
        num_orders: The number of rotations; at most as many as there are options, and at least one.
    """
    letters, texts = list(sample.options), list(sample.options.values())
    result = []
    for places in range(min(num_orders, len(letters) or 1)):
        options = dict(zip(letters, texts[places:] + texts[:places], strict=True))
        original_letters = dict(zip(letters, letters[places:] + letters[:places], strict=True))
        result.append(Rotation(replace(sample, options=options), original_letters))
    return result


def sampling_seed(seed: int, number: int | str, sample_id: str) -> int:
    """The seed of one completion of one item, or of one pass with dropout.

    Args:
        seed: The seed of the run.
        number: The number of the completion, or the name of the pass.
        sample_id: The id of the item.
    """
    digest = hashlib.sha256(f"{seed} {number} {sample_id}".encode("utf-8", "surrogatepass"))
    return int.from_bytes(digest.digest()[:7], "big")


def failed_prediction(
    sample: Sample, code: str, reason: str, notes: tuple[str, ...] = ()
) -> Prediction:
    """A prediction without an answer, and why.

    Args:
        sample: The question.
        code: The code of the error, for programs.
        reason: The reason in words, without a full stop.
        notes: What was done to the images.
    """
    error = Failure(code, f"item {sample.id}: {reason}.")
    return Prediction(sample, image_notes=notes, error=error)


def assemble(
    sample: Sample,
    rotations: Sequence[Rotation],
    outputs: Sequence[RotationOutput],
    answer_strings: Mapping[str, str],
    *,
    mode: str,
    notes: tuple[str, ...],
    dropout_probs: tuple[dict[str, float], ...] = (),
    reasoning_from: str | None = None,
) -> Prediction:
    """Make the prediction of one question from the outputs for each rotation.

    Args:
        sample: The question as it is in the file.
        rotations: The rotations, the first with the options in the file's order.
        outputs: The output for each rotation.
        answer_strings: Answer -> answer string, of the first rotation (`options.answer_strings`).
        mode: The mode of the decoding.
        notes: What was done to the images.
        dropout_probs: The probabilities of each pass with dropout.
        reasoning_from: The id of another question whose reasoning the model was given.
    """
    by_order = probabilities_by_order(rotations, outputs)
    all_scored = len(by_order) == len(outputs)
    if mode == "options" and not all_scored:
        return failed_prediction(sample, "non_finite", "the model's numbers are not finite", notes)
    probabilities = mean_probabilities(by_order) if all_scored else None
    bounds = None if all_scored else _mean_bounds(rotations, outputs)
    text, logprobs = outputs[0].text, outputs[0].token_logprobs
    # In mode options the answer string of the best option is taken as the completion, so that it is
    # read by the same rules as generated text.
    if text is None and probabilities:
        text = answer_strings[most_probable(probabilities)]
    extraction = answers.extract(
        text or "",
        options=sample.options,
        answer_type=sample.answer_type,
        question=sample.question,
    )
    return Prediction(
        sample,
        model_output=text,
        samples=outputs[0].samples,
        extracted_answer=extraction.answer,
        extraction=extraction.method,
        reasoning=extraction.reasoning,
        reasoning_from=reasoning_from,
        option_probs=rounded(probabilities, answer_strings) if probabilities else None,
        option_bounds={
            answer: (round(bounds[answer][0], _DIGITS), round(bounds[answer][1], _DIGITS))
            for answer in answer_strings
        }
        if bounds
        else None,
        confidence=_confidence(probabilities, bounds, extraction.answer),
        circular_answers=tuple(map(most_probable, by_order))
        if all_scored and len(outputs) > 1
        else (),
        dropout_probs=dropout_probs,
        finish_reason=outputs[0].finish_reason,
        num_tokens=outputs[0].num_tokens,
        token_logprobs=_rounded_logprobs(logprobs.with_image) if logprobs else None,
        token_logprobs_without_image=_rounded_logprobs(logprobs.without_image)
        if logprobs
        else None,
        image_notes=notes,
    )


def probabilities_by_order(
    rotations: Sequence[Rotation], outputs: Sequence[RotationOutput]
) -> list[dict[str, float]]:
    """The probabilities of each rotation that has them, by the letters of the file.

    "yes" and "no" are no letters and stay as they are.

    Args:
        rotations: The rotations.
        outputs: The output for each of them.
    """
    return [
        {
            rotation.original_letters.get(answer, answer): probability
            for answer, probability in output.probabilities.items()
        }
        for rotation, output in zip(rotations, outputs, strict=True)
        if output.probabilities
    ]


def rounded(probabilities: Mapping[str, float], answers: Iterable[str]) -> dict[str, float]:
    """Round probabilities to _DIGITS decimals.

    Args:
        probabilities: Answer -> probability.
        answers: The answers to return, in their order.
    """
    return {answer: round(probabilities[answer], _DIGITS) for answer in answers}


def _rounded_logprobs(values: Sequence[float] | None) -> tuple[float, ...] | None:
    """Log-probabilities with 4 decimals; None where they are not known or not finite."""
    if values is None or not all(map(isfinite, values)):
        return None
    return tuple(round(value, _LOGPROB_DIGITS) for value in values)


def _mean_bounds(
    rotations: Sequence[Rotation], outputs: Sequence[RotationOutput]
) -> dict[str, tuple[float, float]] | None:
    """The mean over the rotations of the lowest and of the highest probability of each answer.

    None if a rotation has neither probabilities nor bounds.
    """
    lowest: list[dict[str, float]] = []
    highest: list[dict[str, float]] = []
    for rotation, output in zip(rotations, outputs, strict=True):
        bounds = output.bounds
        if output.probabilities:
            bounds = {answer: (p, p) for answer, p in output.probabilities.items()}
        if not bounds:
            return None
        letters = rotation.original_letters
        lowest.append({letters.get(answer, answer): low for answer, (low, _) in bounds.items()})
        highest.append({letters.get(answer, answer): high for answer, (_, high) in bounds.items()})
    lows, highs = mean_probabilities(lowest), mean_probabilities(highest)
    return {answer: (lows[answer], highs[answer]) for answer in lows}


def _confidence(
    probabilities: Mapping[str, float] | None,
    bounds: Mapping[str, tuple[float, float]] | None,
    answer: str | None,
) -> float | None:
    """The probability of the extracted answer, or the lowest that it can be.

    None if the answer is no option, or if nothing above 0 is known about its probability.
    """
    if answer is None:
        return None
    if probabilities and answer in probabilities:
        return round(probabilities[answer], _DIGITS)
    if bounds and answer in bounds and bounds[answer][0] > 0:
        return round(bounds[answer][0], _DIGITS)
    return None
