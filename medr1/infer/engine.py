"""Questions in, predictions out: free decoding, the options' probabilities, or both.

for each batch of the plan:
    encode each different picture once
    for each order of the options:
        prefix      = the prompts, run once
        completions = greedy or sampled, from the prefix
        log-probs   = of the options' answer strings, from the prefix and any reasoning
    for each pass with dropout on, question by question: pictures, prefix, log-probs anew
    a Prediction for each question
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medr1 import answers
from medr1.data.roots import ImageRoot
from medr1.infer.dropout import dropout_on
from medr1.infer.generation import Features, Prefix, generate, prefill, sample, score
from medr1.infer.inputs import Preparation, Question, Row, is_out_of_memory, prepared
from medr1.infer.options import mean_shares, most_probable, shares
from medr1.infer.plan import plan_batches
from medr1.models import LoadedModel
from medr1.records import Failure, Prediction, Sample

_DIGITS = 6
"""Decimals of a probability: what differs beyond them is the order of additions."""


@dataclass(frozen=True)
class Decoding:
    """How a question is answered."""

    mode: str = "both"
    """generate: free decoding. options: the most probable option. both: free decoding, and the
    options' probabilities where there are options."""
    max_new_tokens: int = 512
    do_sample: bool = False
    temperature: float = 0.7
    num_samples: int = 0
    """Completions sampled beside the one answer."""
    permute: int = 1
    """Rotations of the options over which the probabilities are averaged."""
    dropout_samples: int = 0
    """Passes with the model's dropout on, beside the one answer."""
    ablate_image: str = "none"
    """none | blank | noise | shuffle; the last is done to the samples, not here (ablation.py)."""


@dataclass(frozen=True)
class _RowOutput:
    """The model's output for one row: a completion, option probabilities, or both."""

    text: str | None = None
    num_tokens: int | None = None
    finish_reason: str | None = None
    samples: tuple[str, ...] = ()
    probabilities: Mapping[str, float] | None = None
    """By the row's own letters."""


def predict(
    loaded: LoadedModel, samples: Sequence[Sample], *, batch_size: int = 1, **arguments: Any
) -> list[Prediction]:
    """The answers to all samples, in order; the further arguments are those of predict_batches."""
    plan = plan_batches(samples, arguments["image_root"], batch_size)
    made: dict[int, Prediction] = {}
    for batch in predict_batches(loaded, samples, plan, **arguments):
        made.update(batch)
    return [made[index] for index in range(len(samples))]


def predict_batches(
    loaded: LoadedModel,
    samples: Sequence[Sample],
    plan: Sequence[Sequence[int]],
    *,
    image_root: ImageRoot,
    failures: Mapping[int, Failure] | None = None,
    perturbed: Mapping[int, tuple[str, int]] | None = None,
    prompt: str | None = None,
    decoding: Decoding = Decoding(),
    seed: int = 0,
    streamer: Any = None,
) -> Iterator[dict[int, Prediction]]:
    """The answers to the batches of a plan (indices into samples), each batch by index.

    `failures` are items already known to be unusable, by index; `perturbed` has the kind and
    severity by which an item's pictures are perturbed. `prompt` overrides the checkpoint's own.
    Sampling depends on the seed and the item's id alone. What does not fit into memory is halved,
    down to single items; an item that cannot be answered has an error.
    `streamer` (transformers) is given a single item's completion while it is written.
    """
    preparation = Preparation(
        loaded,
        image_root,
        prompt,
        decoding.permute,
        decoding.ablate_image,
        seed,
        decoding.max_new_tokens,
        perturbed or {},
    )
    for questions, failed in prepared(preparation, plan, samples, failures or {}):
        made = {i: Prediction(samples[i], error=failure) for i, failure in failed.items()}
        if decoding.mode == "options":
            for question in [q for q in questions if not q.rows[0].answers]:
                questions.remove(question)
                made[question.index] = _failed(question, "no_options", "it has no options to score")
        made.update(_answered(_BatchPredictor(loaded, decoding, seed, streamer), questions))
        yield dict(sorted(made.items()))


def _failed(question: Question, code: str, reason: str) -> Prediction:
    message = f"item {question.sample.id}: {reason}."
    return Prediction(question.sample, image_notes=question.notes, error=Failure(code, message))


def _answered(predictor: _BatchPredictor, questions: list[Question]) -> dict[int, Prediction]:
    """The answers to one batch, or to its halves where it does not fit into memory."""
    import torch

    if not questions:
        return {}
    try:
        with torch.inference_mode():
            return predictor(questions)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # outside of the except clause, whose traceback holds the tensors
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(questions) == 1:
        reason = "it does not fit into memory; use a smaller image, or another device"
        return {questions[0].index: _failed(questions[0], "out_of_memory", reason)}
    half = len(questions) // 2
    return {**_answered(predictor, questions[:half]), **_answered(predictor, questions[half:])}


@dataclass(frozen=True)
class _BatchPredictor:
    """Predicts the answers to one batch of questions."""

    loaded: LoadedModel
    decoding: Decoding
    seed: int
    streamer: Any

    def __call__(self, questions: Sequence[Question]) -> dict[int, Prediction]:
        features = Features(self.loaded, [question.rows[0] for question in questions])
        outputs: dict[int, list[_RowOutput]] = {question.index: [] for question in questions}
        for turn in range(max(len(question.rows) for question in questions)):
            asked = [question for question in questions if turn < len(question.rows)]
            row_outputs = self._ask(asked, turn, features, answers=turn == 0)
            for question, row_output in zip(asked, row_outputs, strict=True):
                outputs[question.index].append(row_output)
        return {q.index: self._prediction(q, outputs[q.index]) for q in questions}

    def _passes(self, question: Question) -> tuple[dict[str, float], ...]:
        """The options' probabilities of each pass with dropout on; none where a pass has none.

        It is asked alone: what is dropped depends on the item and the pass, not on the batch.
        """
        passes = []
        for number in range(self.decoding.dropout_samples if question.rows[0].answers else 0):
            with dropout_on(self.loaded, self._seed(question, f"dropout {number}")):
                features = Features(self.loaded, question.rows[:1])
                outputs = [
                    output
                    for turn in range(len(question.rows))
                    for output in self._ask([question], turn, features, answers=False)
                ]
            by_order = _by_order(question, outputs)
            if len(by_order) < len(outputs):
                return ()
            passes.append(_rounded(mean_shares(by_order), question.rows[0].answers))
        return tuple(passes)

    def _ask(
        self, questions: Sequence[Question], turn: int, features: Features, *, answers: bool
    ) -> list[_RowOutput]:
        """The model's outputs for these questions, with the options in one order.

        `answers`: the completion is the answer; otherwise only the probabilities are used.
        """
        rows = [question.rows[turn] for question in questions]
        generates = self.decoding.mode != "options"
        scored = [bool(row.answers) and self.decoding.mode != "generate" for row in rows]
        # probabilities need a text only behind reasoning
        writes = generates and (answers or any(row.reasons_first for row in rows))
        prefix = prefill(self.loaded, rows, features)
        texts: list[tuple[str, list[int], str]] = [("", [], "")] * len(rows)
        if writes:
            texts = self._write(questions, prefix, self.streamer if answers else None)
        scores: list[list[float]] = [[] for _ in rows]
        if any(scored):
            tokens = [
                self._strings(row, text, ids, writes) if wanted else ([], [])
                for row, wanted, (text, ids, _) in zip(rows, scored, texts, strict=True)
            ]
            scores = score(self.loaded, prefix, *zip(*tokens, strict=True))
        more: list[list[str]] = [[] for _ in rows]
        if generates and answers and self.decoding.num_samples:
            more = self._sample(questions, prefix)
        return [
            _RowOutput(
                text if writes else None,
                len(ids) if writes else None,
                finish or None,
                tuple(others),
                shares(dict(zip(row.answers, logps, strict=True))) if logps else None,
            )
            for row, (text, ids, finish), others, logps in zip(
                rows, texts, more, scores, strict=True
            )
        ]

    def _write(
        self, questions: Sequence[Question], prefix: Prefix, streamer: Any
    ) -> list[tuple[str, list[int], str]]:
        """(completion, its tokens, finish reason) of each row."""
        max_new_tokens = self.decoding.max_new_tokens
        if self.decoding.do_sample:
            seeds = [[self._seed(question, 0)] for question in questions]
            temperature = self.decoding.temperature
            sampled = sample(
                self.loaded, prefix, max_new_tokens, temperature, seeds, streamer=streamer
            )
            new = [ids for (ids,) in sampled]
        else:
            new = generate(self.loaded, prefix, max_new_tokens, streamer=streamer)
        return [self._cut(ids) for ids in new]

    def _sample(self, questions: Sequence[Question], prefix: Prefix) -> list[list[str]]:
        numbers = range(1, self.decoding.num_samples + 1)
        seeds = [[self._seed(question, number) for number in numbers] for question in questions]
        new = sample(
            self.loaded, prefix, self.decoding.max_new_tokens, self.decoding.temperature, seeds
        )
        return [[self._cut(ids)[0] for ids in row] for row in new]

    def _seed(self, question: Question, number: int | str) -> int:
        """The seed of one completion, or pass, of one item."""
        name = f"{self.seed} {number} {question.sample.id}"
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:7], "big")

    def _cut(self, ids: list[int]) -> tuple[str, list[int], str]:
        """One completion up to and without its end token; "length" where none was reached."""
        ends = self.loaded.model.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends])
        stop = next((place for place, token in enumerate(ids) if token in ends), None)
        text = self._text(ids[:stop]).strip()
        return text, ids[:stop], "length" if stop is None else "stop"

    def _text(self, ids: list[int]) -> str:
        return self.loaded.processor.tokenizer.decode(ids, skip_special_tokens=True)

    def _strings(
        self, row: Row, text: str, ids: list[int], written: bool
    ) -> tuple[list[int], list[list[int]]]:
        """The reasoning tokens before the answer's place, and the answer strings' tokens there.

        Where reasoning was asked for and no answer follows it, there is no such place: none.
        """
        lead = ""
        before: list[int] = []
        if row.reasons_first and written:
            place = text.rfind("<answer>")
            if place < 0:
                return [], []
            whole = self._text(ids)
            place += len(whole) - len(whole.lstrip())
            ends = range(len(ids) + 1)
            num_before = bisect_right(ends, place, key=lambda n: len(self._text(ids[:n]))) - 1
            before = ids[:num_before]
            lead = whole[len(self._text(before)) : place]
        tokenizer = self.loaded.processor.tokenizer
        return before, [
            tokenizer(lead + answer, add_special_tokens=False)["input_ids"]
            for answer in row.answers.values()
        ]

    def _prediction(self, question: Question, outputs: Sequence[_RowOutput]) -> Prediction:
        """One entry of the results, from the outputs for each order of the options."""
        original, first = question.sample, question.rows[0]
        by_order = _by_order(question, outputs)
        whole = len(by_order) == len(outputs)
        if self.decoding.mode == "options" and not whole:
            return _failed(question, "non_finite", "the model's numbers are not finite")
        probabilities = mean_shares(by_order) if whole else None
        text = outputs[0].text
        if text is None and probabilities:
            text = first.answers[most_probable(probabilities)]
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
            option_probs=_rounded(probabilities, first.answers) if probabilities else None,
            confidence=_confidence(probabilities, extraction.answer),
            circular_answers=tuple(map(most_probable, by_order))
            if whole and len(outputs) > 1
            else (),
            dropout_probs=self._passes(question),
            finish_reason=outputs[0].finish_reason,
            num_tokens=outputs[0].num_tokens,
            image_notes=question.notes,
        )


def _by_order(question: Question, outputs: Sequence[_RowOutput]) -> list[dict[str, float]]:
    """The probabilities by the sample's own letters, of the orders that have them."""
    return [
        {row.original.get(answer, answer): p for answer, p in output.probabilities.items()}
        for row, output in zip(question.rows, outputs, strict=True)
        if output.probabilities
    ]


def _rounded(probabilities: Mapping[str, float], answers: Iterable[str]) -> dict[str, float]:
    return {answer: round(probabilities[answer], _DIGITS) for answer in answers}


def _confidence(probabilities: Mapping[str, float] | None, answer: str | None) -> float | None:
    """The probability of the extracted answer, where it is one of the options."""
    if not probabilities or answer is None or answer not in probabilities:
        return None
    return round(probabilities[answer], _DIGITS)
