"""The server engine: asks an OpenAI-compatible server the questions of a plan, many at a time.

    for each question, when there is room for a request:
        encode its images
        for each rotation of the options:
            completion = a chat request, greedy or sampled
            log-probs  = of each option's answer string (a request each), or of the answer's letter
        a Prediction

A question whose requests fail for now is asked again later. After several failures in a row the run
ends; the questions that failed then are not answered, so that the same command asks them again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections import Counter, deque
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from medr1.chat.client import Client, Consumption, RequestFailed, RequestRefused
from medr1.chat.responses import ChatResponse
from medr1.chat.settings import Server
from medr1.documents.results import ServerIdentity
from medr1.errors import InputError, ItemError, Medr1Error
from medr1.infer.engine import (
    Capabilities,
    Engine,
    EngineIdentity,
    InferencePlan,
    OptionProbabilities,
    TokenLogprobsKind,
)
from medr1.infer.options import answer_strings, reasons_first
from medr1.infer.predictions import (
    CompletionLogprobs,
    Rotation,
    RotationOutput,
    assemble,
    failed_prediction,
    prefill_text,
    prompt_for,
    rotations,
    sampling_seed,
)
from medr1.infer.server.messages import (
    CONTROL_TOKENS,
    EncodedImage,
    ImageEncoder,
    request_messages,
    whole_text,
)
from medr1.infer.server.probe import CONTINUED, ServerFacts, probe, scoring_body
from medr1.infer.server.scores import probabilities_of_letters, probabilities_of_strings
from medr1.infer.server.token_scores import completion_tokens, logprobs_in_prompt
from medr1.models.loading import installed_version
from medr1.prompts import as_plain_text
from medr1.records import Failure, Prediction, Sample

_MOST_FAILURES = 10
"""Failed questions in a row after which the run ends."""
_MOST_TRIES = 3
"""Times that a question is asked if there is no connection or the server is busy."""
_ASKED_AGAIN = ("connection_failed", "rate_limited")
"""Failures after which a question is asked again later. The others have been repeated already."""
_SEEDS = 2**31
"""Number of seeds; some servers take 32 bits."""

_MIXES_REQUESTS = "mlx_vlm "
"""Beginning of `ServerFacts.software`. mlx-vlm 0.7.10 takes temperature, seed and log-probabilities
of all requests of a batch from the first of them."""

_T = TypeVar("_T")

logger = logging.getLogger("medr1")


@dataclass(frozen=True)
class ServerEngine(Engine):
    """A model behind an OpenAI-compatible server."""

    server: Server
    facts: ServerFacts
    consumption: Consumption = field(default_factory=Consumption)

    @staticmethod
    def connect(server: Server, model: str | None) -> ServerEngine:
        """Ask the server what it can do.

        Args:
            server: The server.
            model: The name of the model; None for the only model of the server.

        Raises:
            InputError: The key, the model or a setting cannot be used.
            Medr1Error: The server cannot be reached, or does not work.
        """
        facts = probe(server, model)
        method = server.option_probabilities
        if (method == "exact" and not facts.prompt_logprobs) or (
            method == "letter" and not facts.top_tokens
        ):
            raise InputError(
                f"--option-probabilities {method}: {server.base_url} does not return the "
                f"log-probabilities for it. Possible here: {facts.option_probabilities}."
            )
        if (facts.software or "").startswith(_MIXES_REQUESTS) and server.concurrency > 1:
            logger.warning(
                "%s gives requests that it answers together the settings of one of them, such as "
                "the temperature. One request is sent at a time.",
                facts.software,
            )
            server = replace(server, concurrency=1)
        return ServerEngine(server, facts)

    @property
    def method(self) -> OptionProbabilities:
        """How the options' probabilities are computed."""
        if self.server.option_probabilities == "auto":
            return self.facts.option_probabilities
        return self.server.option_probabilities

    @property
    def capabilities(self) -> Capabilities:
        """What the server offers; see `ServerFacts`."""
        tokens: TokenLogprobsKind = "none"
        if self.facts.top_tokens:
            tokens = "both" if self.facts.prompt_logprobs else "with image"
        # The probe for them sends the beginning of a completion. Other servers may ignore such a
        # beginning and write a new completion, so they are not trusted with it.
        continues = self.facts.prompt_logprobs
        return Capabilities(self.method, dropout=False, token_logprobs=tokens, continues=continues)

    def identity(self) -> EngineIdentity:
        """The model's name, the server's version, and what is sent with each request."""
        # Of these, medr1 makes the prompts and pillow the images.
        versions = {name: installed_version(name) or "" for name in ("medr1", "pillow")}
        return EngineIdentity(
            model=self.facts.model,
            model_sha256=None,
            prompt=None,
            device="server",
            dtype=None,
            versions=versions,
            server=ServerIdentity(
                software=self.facts.software,
                answer_style=self.server.answer_style,
                option_probabilities=self.method,
                extra_body_sha256=_sha256(self.server.extra_body),
            ),
        )

    def predict(
        self, samples: Sequence[Sample], plan: InferencePlan
    ) -> Iterator[dict[int, Prediction]]:
        """Answer the questions of a plan, several at a time.

        Args:
            samples: As in `Engine.predict`.
            plan: As in `Engine.predict`.

        Raises:
            InputError: No request can succeed, such as with a key that has expired.
            Medr1Error: The server failed ten times in a row, or the budget is used up.
        """
        # Without a coroutine that runs, the requests wait: while the caller writes the answers of
        # the last step, the operating system keeps what arrives.
        with asyncio.Runner() as runner:
            run = runner.run(_start(self, samples, plan))
            try:
                while (answered := runner.run(run.next_answers())) is not None:
                    yield dict(sorted(answered.items()))
            finally:
                runner.run(run.close())

    def progress(self) -> str:
        """The tokens so far and, with a price, what they cost."""
        used = self.consumption
        text = f"{used.prompt_tokens:,} tokens read, {used.completion_tokens:,} generated"
        if self.server.price:
            text += f", {used.cost(self.server.price):.2f} paid"
        return text

    def statistics(self) -> Mapping[str, object]:
        """The address, its models, and the requests and tokens used."""
        used = self.consumption
        record: dict[str, object] = {
            "base_url": self.server.base_url,
            "models": self.facts.models,
            "requests": used.requests,
            "prompt_tokens": used.prompt_tokens,
            "completion_tokens": used.completion_tokens,
        }
        if self.server.price:
            record["cost"] = round(used.cost(self.server.price), 6)
        return record


def _sha256(extra_body: Mapping[str, object] | None) -> str | None:
    """SHA-256 of the additional parameters; None without any."""
    if not extra_body:
        return None
    return hashlib.sha256(json.dumps(extra_body, sort_keys=True).encode()).hexdigest()


async def _start(
    engine: ServerEngine, samples: Sequence[Sample], plan: InferencePlan
) -> _ServerRun:
    """Make a run inside the event loop that it needs."""
    client = Client(engine.server, engine.facts.model, engine.consumption)
    return _ServerRun(engine, samples, plan, client, ImageEncoder(plan))


class _ServerRun:
    """One run of `ServerEngine.predict`: which questions wait, are asked, or have failed."""

    def __init__(
        self,
        engine: ServerEngine,
        samples: Sequence[Sample],
        plan: InferencePlan,
        client: Client,
        encoder: ImageEncoder,
    ) -> None:
        self._engine = engine
        self._samples = samples
        self._plan = plan
        self._client = client
        self._encoder = encoder
        self._questioner = _Questioner(engine, plan, client, encoder)
        self._waiting = deque(index for batch in plan.batches for index in batch)
        self._running: dict[asyncio.Task[Prediction], int] = {}
        self._tries: Counter[int] = Counter()
        self._failures_in_a_row = 0
        # Failed questions whose error is recorded only if the server answers others afterwards.
        self._doubtful: dict[int, Prediction] = {}
        # The last one, if the server has answered nothing since.
        self._connection_error: RequestFailed | None = None

    async def close(self) -> None:
        """End all requests and threads."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._encoder.close()
        await self._client.close()

    async def next_answers(self) -> dict[int, Prediction] | None:
        """The predictions of the questions that were answered since the last call.

        None when there are no more.
        """
        while True:
            self._start_questions()
            if not self._running:
                if self._waiting:
                    raise Medr1Error(self._budget_message())
                if self._connection_error:
                    raise Medr1Error(self._failure_message(self._connection_error))
                answers, self._doubtful = self._doubtful, {}
                return answers or None
            done, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            answers = {}
            failures = {}
            for task in done:
                index = self._running.pop(task)
                try:
                    answers[index] = task.result()
                except RequestFailed as error:
                    failures[index] = error
            if answers:
                answers |= self._doubtful
                self._doubtful, self._failures_in_a_row = {}, 0
                self._connection_error = None
            for index, failure in failures.items():
                self._note_failure(index, failure)
            if answers:
                return answers

    def _start_questions(self) -> None:
        """Ask as many questions as there is room for requests."""
        while (
            self._waiting
            and len(self._running) < self._client.limiter.limit
            and not self._engine.consumption.is_used_up(self._engine.server)
        ):
            index = self._waiting.popleft()
            task = asyncio.create_task(self._questioner.answer(index, self._samples[index]))
            self._running[task] = index

    def _budget_message(self) -> str:
        used = self._engine.consumption
        return (
            f"the budget is used up: {used.requests} requests, {used.tokens} tokens. "
            f"{len(self._waiting)} questions are not answered. Raise --max-requests or "
            "--max-total-tokens, and run the same command again."
        )

    def _failure_message(self, error: RequestFailed) -> str:
        return (
            f"{self._engine.server.base_url} failed {self._failures_in_a_row} times in a row. The "
            f"last time: {error} Check the server, and run the same command again."
        )

    def _note_failure(self, index: int, error: RequestFailed) -> None:
        """Ask a question again later, or note its error; Medr1Error after too many in a row."""
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= _MOST_FAILURES:
            raise Medr1Error(self._failure_message(error))
        self._tries[index] += 1
        if error.code in _ASKED_AGAIN:
            self._connection_error = error
        if error.code in _ASKED_AGAIN and self._tries[index] < _MOST_TRIES:
            self._waiting.append(index)
        else:
            sample = self._samples[index]
            self._doubtful[index] = failed_prediction(sample, error.code, str(error).rstrip("."))


@dataclass(frozen=True)
class _Questioner:
    """Asks one question at a time."""

    engine: ServerEngine
    plan: InferencePlan
    client: Client
    encoder: ImageEncoder

    async def answer(self, index: int, sample: Sample) -> Prediction:
        """Ask one question; RequestFailed if the server fails for now.

        Args:
            index: Position of the question in the input.
            sample: The question.
        """
        decoding = self.plan.decoding
        if failure := self.plan.failures.get(index):
            return Prediction(sample, error=failure)
        try:
            images = await self._images(index, sample)
        except ItemError as error:
            return Prediction(sample, error=Failure(error.code, str(error)))
        notes = tuple(note for image in images for note in image.notes)
        prompt = prompt_for(sample, self.plan.prompt, None)
        style, start = self.engine.server.answer_style, self.plan.prefills.get(index)
        prefill = prefill_text(start, CONTROL_TOKENS)
        orders = rotations(as_plain_text(sample, CONTROL_TOKENS), decoding.permute)
        strings = [answer_strings(order.sample, prompt, style) for order in orders]
        if decoding.mode == "options" and not strings[0]:
            return failed_prediction(sample, "no_options", "it has no options to score", notes)
        try:
            outputs = await _all(
                [
                    self._ask(
                        *(order, prompt, row_strings, images, sample.id, prefill),
                        is_answer=number == 0,
                    )
                    for number, (order, row_strings) in enumerate(zip(orders, strings, strict=True))
                ]
            )
        except RequestRefused as error:
            return failed_prediction(sample, error.code, _refusal(error, len(images)), notes)
        return assemble(
            *(sample, orders, outputs, strings[0]),
            mode=decoding.mode,
            notes=notes,
            reasoning_from=start.source_id if start else None,
        )

    async def _images(self, index: int, sample: Sample) -> list[EncodedImage]:
        perturbation = self.plan.perturbations.get(index)
        return [await self.encoder.encode(name, perturbation) for name in sample.images]

    async def _ask(
        self,
        order: Rotation,
        prompt: str,
        strings: Mapping[str, str],
        images: Sequence[EncodedImage],
        sample_id: str,
        prefill: str,
        *,
        is_answer: bool,
    ) -> RotationOutput:
        """Ask a question with its options in one order.

        `is_answer`: the completion is the prediction's answer; otherwise only the probabilities
        are used.
        """
        decoding, method = self.plan.decoding, self.engine.method
        style = self.engine.server.answer_style
        messages = request_messages(order.sample, prompt, style, images)
        begun = messages
        if prefill:
            begun = [*messages, {"role": "assistant", "content": prefill}]
        generates = decoding.mode != "options"
        is_scored = bool(strings) and decoding.mode != "generate" and method != "none"
        reads_letter = is_scored and method == "letter"
        writes = generates and (is_answer or reads_letter or reasons_first(prompt))
        wants_tokens = decoding.token_logprobs and is_answer
        completion: ChatResponse | None = None
        if writes:
            extra: dict[str, object] = {}
            if reads_letter:
                extra = {"logprobs": True, "top_logprobs": self.engine.facts.top_tokens}
            elif wants_tokens:
                extra = {"logprobs": True}
            completion = await self._complete(begun, sample_id, 0, decoding.do_sample, extra)
        probabilities = bounds = None
        if completion and reads_letter:
            probabilities, bounds = probabilities_of_letters(completion, list(strings))
        elif is_scored and not reads_letter:
            text = whole_text(prefill, completion) if completion and reasons_first(prompt) else None
            probabilities = await self._score(messages, text, strings)
        samples: list[ChatResponse] = []
        if generates and is_answer:
            numbers = range(1, decoding.num_samples + 1)
            samples = await _all(
                [self._complete(begun, sample_id, number, True, {}) for number in numbers]
            )
        return RotationOutput(
            whole_text(prefill, completion) if completion else None,
            completion.usage.completion_tokens if completion and completion.usage else None,
            completion.choices[0].finish_reason if completion else None,
            tuple(whole_text(prefill, sample) for sample in samples),
            probabilities,
            bounds,
            await self._token_logprobs(order.sample, prompt, images, prefill, completion)
            if completion and wants_tokens
            else None,
        )

    async def _token_logprobs(
        self,
        sample: Sample,
        prompt: str,
        images: Sequence[EncodedImage],
        prefill: str,
        completion: ChatResponse,
    ) -> CompletionLogprobs | None:
        """The log-probability of each token of a completion, with the images and, by one more
        request, without; None if the server returns no tokens."""
        tokens = completion_tokens(completion)
        if not tokens:
            return None
        with_image = [token.logprob for token in tokens]
        grey = [replace(image, url=image.blank_url or "") for image in images]
        if not grey or not self.engine.facts.prompt_logprobs:
            return CompletionLogprobs(with_image)
        messages = request_messages(sample, prompt, self.engine.server.answer_style, grey)
        text = prefill + "".join(token.token for token in tokens)
        response = await self.client.chat(scoring_body(messages, text))
        return CompletionLogprobs(with_image, logprobs_in_prompt(response, tokens))

    async def _complete(
        self,
        messages: list[dict[str, object]],
        sample_id: str,
        number: int,
        do_sample: bool,
        extra: Mapping[str, object],
    ) -> ChatResponse:
        """One completion; `number` and the item decide the seed of a sampled one."""
        decoding = self.plan.decoding
        body = {"messages": messages, "max_tokens": decoding.max_new_tokens, **extra}
        if messages[-1]["role"] == "assistant":
            body.update(CONTINUED)
        if do_sample:
            body["temperature"] = decoding.temperature
            body["seed"] = sampling_seed(self.plan.seed, number, sample_id) % _SEEDS
        else:
            body["temperature"] = 0
        return await self.client.chat(body)

    async def _score(
        self, messages: list[dict[str, object]], text: str | None, strings: Mapping[str, str]
    ) -> dict[str, float] | None:
        """The probability of each answer string after the prompt, and after any reasoning.

        None where reasoning was asked for but the completion has no <answer> tag: then there is no
        place for an answer.
        """
        reasoning = ""
        if text is not None:
            position = text.rfind("<answer>")
            if position < 0:
                return None
            reasoning = text[:position]
        responses = await _all(
            [
                self.client.chat(scoring_body(messages, reasoning + string))
                for string in strings.values()
            ]
        )
        return probabilities_of_strings(dict(zip(strings, responses, strict=True)))


def _refusal(error: RequestRefused, num_images: int) -> str:
    """Why a question was refused, and what to do if it may be for its number of images."""
    reason = str(error).rstrip(".")
    if num_images > 1 and error.code in ("image_refused", "prompt_too_long"):
        return (
            f"{reason}. It has {num_images} images; if they are slices of a scan, show them in one "
            "image: --slices montage:3x3"
        )
    return reason


async def _all(coroutines: Sequence[Coroutine[object, object, _T]]) -> list[_T]:
    """The results of coroutines that run at the same time; the first error ends the others."""
    if len(coroutines) == 1:
        return [await coroutines[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
