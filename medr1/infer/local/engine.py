"""The inference engine: questions in, predictions out.

It generates answers freely, computes the probability of each option, or both:

    for each batch of the plan:
        encode each different image once
        for each order of the options:
            prefix      = the prompts, run once
            completions = greedy or sampled, from the prefix
            log-probs   = of the options' answer strings, from the prefix and any reasoning
        for each pass with dropout, one question at a time: images, prefix, log-probs again
        a Prediction for each question
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medr1 import answers
from medr1.data.roots import ImageRoot
from medr1.infer.local.dropout import dropout_on
from medr1.infer.local.generation import (
    ImageFeatures,
    Prefix,
    generate,
    prefill,
    sample_completions,
    score_strings,
)
from medr1.infer.local.inputs import (
    Question,
    QuestionBuilder,
    Row,
    is_out_of_memory,
    prepare_batches,
)
from medr1.infer.options import mean_probabilities, most_probable, normalized_probabilities
from medr1.infer.plan import plan_batches
from medr1.models.loading import LoadedModel
from medr1.records import Decoding, Failure, Prediction, Sample

if TYPE_CHECKING:
    from transformers.generation.streamers import BaseStreamer

_DEFAULT_DECODING = Decoding()
_DIGITS = 6
"""Decimals of a probability; further ones depend on the order of additions, so on the batch."""


@dataclass(frozen=True)
class _RowOutput:
    """The model's output for one row: a completion, option probabilities, or both."""

    text: str | None = None
    """The completion."""
    num_tokens: int | None = None
    finish_reason: str | None = None
    samples: tuple[str, ...] = ()
    """Further sampled completions."""
    probabilities: Mapping[str, float] | None = None
    """Answer -> probability, by the letters of the row, which may be rotated."""


def predict(
    loaded: LoadedModel,
    samples: Sequence[Sample],
    *,
    image_root: ImageRoot,
    batch_size: int = 1,
    failures: Mapping[int, Failure] | None = None,
    prompt: str | None = None,
    decoding: Decoding = _DEFAULT_DECODING,
    seed: int = 0,
    streamer: BaseStreamer | None = None,
) -> list[Prediction]:
    """Answer all samples.

    Args:
        loaded: The model.
        samples: The questions.
        image_root: Where relative image paths start.
        batch_size: Most questions in a batch.
        failures: As in `predict_batches`.
        prompt: As in `predict_batches`.
        decoding: How questions are answered.
        seed: As in `predict_batches`.
        streamer: As in `predict_batches`.

    Returns:
        The predictions in the order of the samples.
    """
    plan = plan_batches(samples, image_root, batch_size)
    predictions: dict[int, Prediction] = {}
    batches = predict_batches(
        loaded,
        samples,
        plan,
        image_root=image_root,
        failures=failures,
        prompt=prompt,
        decoding=decoding,
        seed=seed,
        streamer=streamer,
    )
    for batch in batches:
        predictions.update(batch)
    return [predictions[index] for index in range(len(samples))]


def predict_batches(
    loaded: LoadedModel,
    samples: Sequence[Sample],
    plan: Sequence[Sequence[int]],
    *,
    image_root: ImageRoot,
    failures: Mapping[int, Failure] | None = None,
    perturbations: Mapping[int, tuple[str, int]] | None = None,
    prompt: str | None = None,
    decoding: Decoding = _DEFAULT_DECODING,
    seed: int = 0,
    streamer: BaseStreamer | None = None,
) -> Iterator[dict[int, Prediction]]:
    """Answer the batches of a plan one after the other.

    A batch that does not fit into memory is halved, down to single items. An item that cannot be
    answered has an error in its prediction.

    Args:
        loaded: The model.
        samples: All questions of the input.
        plan: Batches of positions in `samples` (`plan_batches`).
        image_root: Where relative image paths start.
        failures: Position -> why an item is already known to be unusable.
        perturbations: Position -> (kind, severity) of the perturbation of the item's images.
        prompt: A prompt template that overrides the checkpoint's own.
        decoding: How questions are answered.
        seed: Seed of all sampling, which depends on it and the item's id only.
        streamer: A transformers streamer, which receives the completion of a single item while it
            is generated.

    Returns:
        For each batch: position -> prediction.

    Raises:
        InputError: The model cannot be asked at all, such as without room for a prompt.
    """
    builder = QuestionBuilder(
        loaded,
        image_root,
        prompt,
        decoding.permute,
        decoding.ablate_image,
        seed,
        decoding.max_new_tokens,
        perturbations or {},
    )
    for questions, failed in prepare_batches(builder, plan, samples, failures or {}):
        predictions = {i: Prediction(samples[i], error=failure) for i, failure in failed.items()}
        if decoding.mode == "options":
            for question in [
                question for question in questions if not question.rows[0].answer_strings
            ]:
                questions.remove(question)
                reason = "it has no options to score"
                predictions[question.index] = _failed_prediction(question, "no_options", reason)
        predictor = _BatchPredictor(loaded, decoding, seed, streamer)
        predictions.update(_predict_or_halve(predictor, questions))
        yield dict(sorted(predictions.items()))


def _failed_prediction(question: Question, code: str, reason: str) -> Prediction:
    """A prediction without an answer, and why."""
    message = f"item {question.sample.id}: {reason}."
    return Prediction(question.sample, image_notes=question.notes, error=Failure(code, message))


def _predict_or_halve(
    predictor: _BatchPredictor, questions: list[Question]
) -> dict[int, Prediction]:
    """The predictions of one batch; where it does not fit into memory, of its two halves."""
    import torch

    if not questions:
        return {}
    try:
        with torch.inference_mode():
            return predictor(questions)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Outside of the except clause: there the traceback keeps the tensors in memory.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(questions) == 1:
        reason = "it does not fit into memory; use a smaller image, or another device"
        return {questions[0].index: _failed_prediction(questions[0], "out_of_memory", reason)}
    middle = len(questions) // 2
    return {
        **_predict_or_halve(predictor, questions[:middle]),
        **_predict_or_halve(predictor, questions[middle:]),
    }


@dataclass(frozen=True)
class _BatchPredictor:
    """Predicts the answers to a batch of questions, called under torch.inference_mode."""

    loaded: LoadedModel
    decoding: Decoding
    seed: int
    streamer: BaseStreamer | None

    def __call__(self, questions: Sequence[Question]) -> dict[int, Prediction]:
        """Position of each question -> its prediction."""
        # The images are the same in every order of the options.
        features = ImageFeatures(self.loaded, [question.rows[0] for question in questions])
        outputs: dict[int, list[_RowOutput]] = {question.index: [] for question in questions}
        for rotation in range(max(len(question.rows) for question in questions)):
            # A question with fewer options has fewer rotations.
            remaining = [question for question in questions if rotation < len(question.rows)]
            row_outputs = self._row_outputs(remaining, rotation, features, is_answer=rotation == 0)
            for question, row_output in zip(remaining, row_outputs, strict=True):
                outputs[question.index].append(row_output)
        return {
            question.index: self._prediction(question, outputs[question.index])
            for question in questions
        }

    def _dropout_passes(self, question: Question) -> tuple[dict[str, float], ...]:
        """The options' probabilities of each pass with dropout; () where one pass has none.

        A question is asked alone here, so that what is dropped depends on the item and the number
        of the pass, and not on the rest of the batch.
        """
        passes = []
        num_passes = self.decoding.dropout_samples if question.rows[0].answer_strings else 0
        for number in range(num_passes):
            with dropout_on(self.loaded, self._seed(question, f"dropout {number}")):
                features = ImageFeatures(self.loaded, question.rows[:1])
                outputs = [
                    output
                    for rotation in range(len(question.rows))
                    for output in self._row_outputs([question], rotation, features, is_answer=False)
                ]
            by_order = _probabilities_by_order(question, outputs)
            # An order has no probabilities where a number is not finite, or no answer followed the
            # reasoning. A mean over the other orders would favour some letters.
            if len(by_order) < len(outputs):
                return ()
            passes.append(_rounded(mean_probabilities(by_order), question.rows[0].answer_strings))
        return tuple(passes)

    def _row_outputs(
        self,
        questions: Sequence[Question],
        rotation: int,
        features: ImageFeatures,
        *,
        is_answer: bool,
    ) -> list[_RowOutput]:
        """Run the model on these questions, with the options in one order.

        `is_answer`: the completion is the prediction's answer; otherwise only the probabilities
        are used.
        """
        rows = [question.rows[rotation] for question in questions]
        generates = self.decoding.mode != "options"
        scored = [bool(row.answer_strings) and self.decoding.mode != "generate" for row in rows]
        # Probabilities alone need a completion only where reasoning comes before the answer.
        writes = generates and (is_answer or any(row.reasons_first for row in rows))
        prefix = prefill(self.loaded, rows, features)
        completions: list[tuple[str, list[int], str]] = [("", [], "")] * len(rows)
        if writes:
            completions = self._complete(questions, prefix, self.streamer if is_answer else None)
        # Rows without options to score take part with no strings, and get no scores.
        scores: list[list[float]] = [[] for _ in rows]
        if any(scored):
            tokens = [
                self._reasoning_and_strings(row, text, token_ids, writes) if is_scored else ([], [])
                for row, is_scored, (text, token_ids, _) in zip(
                    rows, scored, completions, strict=True
                )
            ]
            scores = score_strings(self.loaded, prefix, *zip(*tokens, strict=True))
        samples: list[list[str]] = [[] for _ in rows]
        if generates and is_answer and self.decoding.num_samples:
            samples = self._sample(questions, prefix)
        return [
            _RowOutput(
                text if writes else None,
                len(token_ids) if writes else None,
                finish_reason or None,
                tuple(row_samples),
                normalized_probabilities(dict(zip(row.answer_strings, logps, strict=True)))
                if logps
                else None,
            )
            for row, (text, token_ids, finish_reason), row_samples, logps in zip(
                rows, completions, samples, scores, strict=True
            )
        ]

    def _complete(
        self, questions: Sequence[Question], prefix: Prefix, streamer: BaseStreamer | None
    ) -> list[tuple[str, list[int], str]]:
        """(completion, its tokens, finish reason) of each row."""
        max_new_tokens = self.decoding.max_new_tokens
        if self.decoding.do_sample:
            seeds = [[self._seed(question, 0)] for question in questions]
            temperature = self.decoding.temperature
            sampled = sample_completions(
                self.loaded, prefix, max_new_tokens, temperature, seeds, streamer=streamer
            )
            completions = [token_ids for (token_ids,) in sampled]
        else:
            completions = generate(self.loaded, prefix, max_new_tokens, streamer=streamer)
        return [self._cut_at_end(token_ids) for token_ids in completions]

    def _sample(self, questions: Sequence[Question], prefix: Prefix) -> list[list[str]]:
        """The further samples of each row; the seed number 0 is that of a sampled answer."""
        numbers = range(1, self.decoding.num_samples + 1)
        seeds = [[self._seed(question, number) for number in numbers] for question in questions]
        sampled = sample_completions(
            self.loaded, prefix, self.decoding.max_new_tokens, self.decoding.temperature, seeds
        )
        return [[self._cut_at_end(token_ids)[0] for token_ids in row] for row in sampled]

    def _seed(self, question: Question, number: int | str) -> int:
        """The seed of one completion, or of one pass with dropout, of one item."""
        name = f"{self.seed} {number} {question.sample.id}"
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:7], "big")

    def _cut_at_end(self, token_ids: list[int]) -> tuple[str, list[int], str]:
        """A completion without its end token and what follows; "length" where it has none."""
        stated = self.loaded.model.generation_config.eos_token_id
        end_tokens = set(stated if isinstance(stated, list) else [stated])
        stop = next(
            (position for position, token in enumerate(token_ids) if token in end_tokens), None
        )
        text = self._text(token_ids[:stop]).strip()
        return text, token_ids[:stop], "length" if stop is None else "stop"

    def _text(self, token_ids: list[int]) -> str:
        return str(self.loaded.processor.tokenizer.decode(token_ids, skip_special_tokens=True))

    def _reasoning_and_strings(
        self, row: Row, text: str, token_ids: list[int], written: bool
    ) -> tuple[list[int], list[list[int]]]:
        """The tokens of the reasoning before the answer, and the tokens of each answer string.

        Without a completion (mode options), or where the prompt asks for no reasoning, the strings
        come right after the prompt. Where reasoning was asked for but the completion has no
        <answer> tag, there is no place for an answer, and so no strings.
        """
        lead = ""
        reasoning: list[int] = []
        if row.reasons_first and written:
            position = text.rfind("<answer>")
            if position < 0:
                return [], []
            decoded = self._text(token_ids)
            # `text` is `decoded` without surrounding blanks, so its positions are smaller.
            position += len(decoded) - len(decoded.lstrip())
            # A token may hold both the end of the reasoning and the beginning of the tag, such as
            # " <". Take the most tokens whose text ends before the tag. What is left of the text
            # before the tag, here the blank, goes in front of each string.
            counts = range(len(token_ids) + 1)
            num_tokens = (
                bisect_right(counts, position, key=lambda n: len(self._text(token_ids[:n]))) - 1
            )
            reasoning = token_ids[:num_tokens]
            lead = decoded[len(self._text(reasoning)) : position]
        tokenizer = self.loaded.processor.tokenizer
        return reasoning, [
            tokenizer(lead + string, add_special_tokens=False)["input_ids"]
            for string in row.answer_strings.values()
        ]

    def _prediction(self, question: Question, outputs: Sequence[_RowOutput]) -> Prediction:
        """One entry of results.json, from the outputs for each order of the options."""
        # The first row has the options in their own order.
        original, first = question.sample, question.rows[0]
        by_order = _probabilities_by_order(question, outputs)
        all_scored = len(by_order) == len(outputs)
        if self.decoding.mode == "options" and not all_scored:
            return _failed_prediction(question, "non_finite", "the model's numbers are not finite")
        probabilities = mean_probabilities(by_order) if all_scored else None
        text = outputs[0].text
        # In mode options the answer string of the best option is taken as the completion, so that
        # it is read by the same rules as generated text.
        if text is None and probabilities:
            text = first.answer_strings[most_probable(probabilities)]
        extraction = answers.extract(
            text or "",
            options=original.options,
            answer_type=original.answer_type,
            question=original.question,
        )
        return Prediction(
            original,
            model_output=text,
            samples=outputs[0].samples,
            extracted_answer=extraction.answer,
            extraction=extraction.method,
            reasoning=extraction.reasoning,
            option_probs=_rounded(probabilities, first.answer_strings) if probabilities else None,
            confidence=_confidence(probabilities, extraction.answer),
            circular_answers=tuple(map(most_probable, by_order))
            if all_scored and len(outputs) > 1
            else (),
            dropout_probs=self._dropout_passes(question),
            finish_reason=outputs[0].finish_reason,
            num_tokens=outputs[0].num_tokens,
            image_notes=question.notes,
        )


def _probabilities_by_order(
    question: Question, outputs: Sequence[_RowOutput]
) -> list[dict[str, float]]:
    """The probabilities in each order that has them, by the letters of the sample.

    "yes" and "no" are no letters and stay as they are.
    """
    return [
        {
            row.original_letters.get(answer, answer): probability
            for answer, probability in output.probabilities.items()
        }
        for row, output in zip(question.rows, outputs, strict=True)
        if output.probabilities
    ]


def _rounded(probabilities: Mapping[str, float], answers: Iterable[str]) -> dict[str, float]:
    """The probabilities of these answers, in this order, rounded to _DIGITS decimals."""
    return {answer: round(probabilities[answer], _DIGITS) for answer in answers}


def _confidence(probabilities: Mapping[str, float] | None, answer: str | None) -> float | None:
    """The probability of the extracted answer, if it is one of the options."""
    if not probabilities or answer is None or answer not in probabilities:
        return None
    return round(probabilities[answer], _DIGITS)
