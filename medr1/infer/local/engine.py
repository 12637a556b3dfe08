"""The local engine: a checkpoint in this process answers the batches of a plan.

It generates answers freely, computes the probability of each option, or both:

    for each batch of the plan:
        encode each different image once
        for each rotation of the options:
            prefix      = the prompts, run once
            completions = greedy or sampled, from the prefix
            log-probs   = of the options' answer strings, from the prefix and any reasoning
            log-probs   = of each token of the completions, with the images and with grey ones
        for each pass with dropout, one question at a time: images, prefix, log-probs again
        a Prediction for each question
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medr1.checkpoints.integrity import checkpoint_sha256
from medr1.data.roots import ImageRoot
from medr1.files import printable
from medr1.infer.engine import (
    Capabilities,
    Engine,
    EngineIdentity,
    InferencePlan,
    all_predictions,
)
from medr1.infer.local.dropout import dropout_on
from medr1.infer.local.generation import (
    BatchFeatures,
    Prefix,
    generate,
    prefill,
    sample_completions,
    score_strings,
)
from medr1.infer.local.inputs import (
    Question,
    QuestionBuilder,
    is_out_of_memory,
    prepare_batches,
)
from medr1.infer.local.texts import (
    Completion,
    cut_at_end,
    reasoning_and_strings,
    whole_text,
)
from medr1.infer.local.token_scores import completion_logprobs
from medr1.infer.options import mean_probabilities, normalized_probabilities
from medr1.infer.plan import plan_batches
from medr1.infer.predictions import (
    CompletionLogprobs,
    RotationOutput,
    assemble,
    failed_prediction,
    probabilities_by_order,
    rounded,
    sampling_seed,
)
from medr1.models.loading import LoadedModel, installed_version, library_versions
from medr1.records import Decoding, Failure, Prediction, Sample

if TYPE_CHECKING:
    from transformers.generation.streamers import BaseStreamer

_DEFAULT_DECODING = Decoding()


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
        failures: As in `InferencePlan`.
        prompt: As in `InferencePlan`.
        decoding: How questions are answered.
        seed: As in `InferencePlan`.
        streamer: As in `LocalEngine`.

    Returns:
        The predictions in the order of the samples.
    """
    plan = InferencePlan(
        batches=plan_batches(samples, image_root, batch_size),
        image_root=image_root,
        prompt=prompt,
        decoding=decoding,
        seed=seed,
        failures=failures or {},
    )
    return all_predictions(LocalEngine(loaded, streamer), samples, plan)


@dataclass(frozen=True)
class LocalEngine(Engine):
    """A model in this process."""

    loaded: LoadedModel
    streamer: BaseStreamer | None = None
    """A transformers streamer, which receives the completion of a single item while it is
    generated."""

    @property
    def capabilities(self) -> Capabilities:
        """Every way of answering."""
        return Capabilities("exact", dropout=True, token_logprobs="both", continues=True)

    def identity(self) -> EngineIdentity:
        """The checkpoint with its hash, the device and the versions of the libraries."""
        return local_identity(self.loaded)

    def predict(
        self, samples: Sequence[Sample], plan: InferencePlan
    ) -> Iterator[dict[int, Prediction]]:
        """Answer the batches of a plan one after the other.

        A batch that does not fit into memory is halved, down to single items.

        Args:
            samples: As in `Engine.predict`.
            plan: As in `Engine.predict`.
        """
        builder = QuestionBuilder(self.loaded, plan)
        for questions, failed in prepare_batches(builder, samples):
            predictions = {
                index: Prediction(samples[index], error=failure)
                for index, failure in failed.items()
            }
            if plan.decoding.mode == "options":
                for question in [
                    question for question in questions if not question.rows[0].answer_strings
                ]:
                    questions.remove(question)
                    predictions[question.index] = _failed(
                        question, "no_options", "it has no options to score"
                    )
            predictor = _BatchPredictor(self.loaded, plan.decoding, plan.seed, self.streamer)
            predictions.update(_predict_or_halve(predictor, questions))
            yield dict(sorted(predictions.items()))


def local_identity(loaded: LoadedModel) -> EngineIdentity:
    """The identity of an engine that runs this model.

    Args:
        loaded: The model.
    """
    versions = library_versions()
    if loaded.bits:
        versions["bitsandbytes"] = installed_version("bitsandbytes") or "unknown"
    return EngineIdentity(
        model=printable(loaded.path.resolve().name),
        model_sha256=checkpoint_sha256(loaded.path),
        prompt=loaded.info.prompt,
        device=loaded.device.type,
        dtype=str(loaded.dtype).removeprefix("torch."),
        versions=versions,
        quantization=f"{loaded.bits}bit" if loaded.bits else None,
    )


def _failed(question: Question, code: str, reason: str) -> Prediction:
    """The prediction of a question that could not be answered."""
    return failed_prediction(question.sample, code, reason, question.notes)


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
        return {questions[0].index: _failed(questions[0], "out_of_memory", reason)}
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
        features = BatchFeatures(self.loaded, [question.rows[0] for question in questions])
        outputs: dict[int, list[RotationOutput]] = {question.index: [] for question in questions}
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
                features = BatchFeatures(self.loaded, question.rows[:1])
                outputs = [
                    output
                    for rotation in range(len(question.rows))
                    for output in self._row_outputs([question], rotation, features, is_answer=False)
                ]
            by_order = probabilities_by_order(question.rotations, outputs)
            # An order has no probabilities where a number is not finite, or no answer followed the
            # reasoning. A mean over the other orders would favour some letters.
            if len(by_order) < len(outputs):
                return ()
            passes.append(rounded(mean_probabilities(by_order), question.rows[0].answer_strings))
        return tuple(passes)

    def _row_outputs(
        self,
        questions: Sequence[Question],
        rotation: int,
        features: BatchFeatures,
        *,
        is_answer: bool,
    ) -> list[RotationOutput]:
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
        completions = [Completion("", [], "")] * len(rows)
        if writes:
            completions = self._complete(questions, prefix, self.streamer if is_answer else None)
        # Rows without options to score take part with no strings, and get no scores.
        scores: list[list[float]] = [[] for _ in rows]
        if any(scored):
            tokens = [
                reasoning_and_strings(
                    self.loaded,
                    row.answer_strings.values(),
                    completion if writes and row.reasons_first else None,
                )
                if is_scored
                else ([], [])
                for row, is_scored, completion in zip(rows, scored, completions, strict=True)
            ]
            scores = score_strings(self.loaded, prefix, *zip(*tokens, strict=True))
        token_logprobs: Sequence[CompletionLogprobs | None] = [None] * len(rows)
        if generates and is_answer and self.decoding.token_logprobs:
            completed = [completion.token_ids for completion in completions]
            token_logprobs = completion_logprobs(self.loaded, rows, prefix, completed)
        samples: list[list[str]] = [[] for _ in rows]
        if generates and is_answer and self.decoding.num_samples:
            samples = self._sample(questions, prefix)
        return [
            RotationOutput(
                whole_text(self.loaded, row.prefill, completion) if writes else None,
                len(completion.token_ids) if writes else None,
                completion.finish_reason or None,
                tuple(row_samples),
                normalized_probabilities(dict(zip(row.answer_strings, logps, strict=True)))
                if logps
                else None,
                token_logprobs=row_logprobs,
            )
            for row, completion, row_samples, logps, row_logprobs in zip(
                rows, completions, samples, scores, token_logprobs, strict=True
            )
        ]

    def _complete(
        self, questions: Sequence[Question], prefix: Prefix, streamer: BaseStreamer | None
    ) -> list[Completion]:
        """The completion of each row."""
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
        return [cut_at_end(self.loaded, token_ids) for token_ids in completions]

    def _sample(self, questions: Sequence[Question], prefix: Prefix) -> list[list[str]]:
        """The further samples of each row; the seed number 0 is that of a sampled answer."""
        numbers = range(1, self.decoding.num_samples + 1)
        seeds = [[self._seed(question, number) for number in numbers] for question in questions]
        sampled = sample_completions(
            self.loaded, prefix, self.decoding.max_new_tokens, self.decoding.temperature, seeds
        )
        return [
            [
                whole_text(
                    self.loaded, question.rows[0].prefill, cut_at_end(self.loaded, token_ids)
                )
                for token_ids in row
            ]
            for question, row in zip(questions, sampled, strict=True)
        ]

    def _seed(self, question: Question, number: int | str) -> int:
        return sampling_seed(self.seed, number, question.sample.id)

    def _prediction(self, question: Question, outputs: Sequence[RotationOutput]) -> Prediction:
        """One entry of results.json, from the outputs for each order of the options."""
        return assemble(
            question.sample,
            question.rotations,
            outputs,
            question.rows[0].answer_strings,
            mode=self.decoding.mode,
            notes=question.notes,
            dropout_probs=self._dropout_passes(question),
            reasoning_from=question.reasoning_from,
        )
