"""The server that samples completions: what it is asked, and what it has to be able to do.

vLLM 0.32 is such a server, if it runs with VLLM_SERVER_DEV_MODE=1. Of any other, these are needed:

- /v1/chat/completions returns token ids (`return_token_ids`) and log-probabilities, and obeys
  `logit_bias`
- /collective_rpc with the method `reload_weights` loads weights from a folder
- /reset_prefix_cache, /reset_mm_cache and /reset_encoder_cache empty its caches
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from medr1.chat.client import Client, Consumption, RequestFailed, RequestRefused
from medr1.chat.responses import ChatResponse, Choice
from medr1.chat.settings import Server
from medr1.errors import InputError, Medr1Error

CACHES = ("/reset_prefix_cache", "/reset_mm_cache", "/reset_encoder_cache")
"""The routes that empty the caches. Their entries belong to the weights before a reload; vLLM 0.32
ends with an error if it needs an image that it has encoded before a reload."""
RELOAD = "/collective_rpc"
"""The route that makes the server load weights."""
SECONDS = 1800.0
"""Seconds to wait for the completions of one prompt, which may wait for those of others."""
REQUESTS = 256
"""Most requests at a time. All are sent at once: the server was started for this run."""
CERTAIN = 100
"""The bias, in logits, that makes a token certain, or impossible with the other sign."""
MOST_BIAS = -0.01
"""The lowest log-probability of a token with the bias CERTAIN, after the processing of logits."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Sampling:
    """How completions are sampled. All of it is sent: a server has defaults of its own."""

    temperature: float
    top_p: float
    top_k: int
    """0: all tokens."""
    min_p: float
    repetition_penalty: float
    max_tokens: int | None
    """Most tokens of a completion; None: as many as the server takes."""
    end_tokens: tuple[int, ...]
    """Ids of the tokens that end a completion."""
    suppressed_tokens: tuple[int, ...]
    """Ids of tokens that may not be sampled, such as the placeholder of images."""

    @property
    def is_plain(self) -> bool:
        """Whether tokens are sampled from the model's own distribution."""
        return (self.temperature, self.top_p, self.repetition_penalty) == (1, 1, 1) and not (
            self.top_k or self.min_p
        )

    def body(self) -> dict[str, object]:
        """The parameters of a request."""
        return {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k or -1,
            "min_p": self.min_p,
            "repetition_penalty": self.repetition_penalty,
            "max_tokens": self.max_tokens,
            "stop_token_ids": list(self.end_tokens),
            "logit_bias": {str(token): -CERTAIN for token in self.suppressed_tokens},
            "logprobs": True,
            "top_logprobs": 0,
            "return_token_ids": True,
        }


@dataclass(frozen=True)
class RolloutRequest:
    """One prompt, and how many completions of it are wanted."""

    messages: list[dict[str, object]]
    """The messages, with images as data URLs."""
    num_completions: int
    seed: int
    template_arguments: dict[str, object]
    """Arguments of the chat template; {} for none."""


@dataclass(frozen=True)
class RolloutAnswer:
    """What the server sampled for one prompt."""

    prompt_ids: list[int]
    """The token ids of the prompt as the server has read it, with those of images."""
    token_ids: list[list[int]]
    """The token ids of each completion."""
    logprobs: list[list[float]]
    """The log-probability of each token of each completion, in nats."""


@dataclass(frozen=True)
class RolloutServer:
    """A server with the checkpoint that is trained. `connect` makes it."""

    server: Server
    model: str
    """The name of the model there."""
    sampling: Sampling

    @staticmethod
    def connect(url: str, sampling: Sampling) -> RolloutServer:
        """Find out whether a server can sample the completions of a run.

        Args:
            url: Its address, such as http://127.0.0.1:8000/v1.
            sampling: How completions are sampled.

        Raises:
            InputError: The address or the key is wrong, the server lacks a route, returns no token
                ids, ignores `logit_bias`, or returns log-probabilities of another distribution.
            Medr1Error: The server cannot be reached, or does not work.
        """
        server = Server(base_url=url, timeout=SECONDS, concurrency=REQUESTS)
        return _run(server, _connect(server, sampling))

    def sample(self, requests: Sequence[RolloutRequest]) -> list[RolloutAnswer]:
        """Sample completions, many prompts at a time.

        Args:
            requests: The prompts.

        Returns:
            The answer to each request, in their order.

        Raises:
            Medr1Error: The server fails, or its answer is not complete.
        """
        return _run(self.server, _sample(self, requests))

    def reload(self, folder: Path) -> None:
        """Make the server load other weights. No request may be running.

        Args:
            folder: Folder with the weights as safetensors, which the server can read.

        Raises:
            Medr1Error: The server fails.
        """
        _run(self.server, _reload(self, folder))


async def _sample(server: RolloutServer, requests: Sequence[RolloutRequest]) -> list[RolloutAnswer]:
    client = Client(server.server, server.model, Consumption())
    client.limiter.limit = float(server.server.concurrency)
    try:
        return await asyncio.gather(*(_ask(server, client, request) for request in requests))
    finally:
        await client.close()


async def _ask(server: RolloutServer, client: Client, request: RolloutRequest) -> RolloutAnswer:
    body = {
        **server.sampling.body(),
        "messages": request.messages,
        "n": request.num_completions,
        "seed": request.seed,
    }
    if request.template_arguments:
        body["chat_template_kwargs"] = request.template_arguments
    response = await client.chat(body)
    if len(response.choices) != request.num_completions:
        raise Medr1Error(
            f"{server.server.base_url} returned {len(response.choices)} completions instead of "
            f"{request.num_completions}. Check that it takes the parameter n."
        )
    return _answer(server.server, response)


async def _reload(server: RolloutServer, folder: Path) -> None:
    client = Client(server.server, server.model, Consumption())
    try:
        for route in CACHES:
            await client.call(route)
        arguments = {"weights_path": str(folder)}
        await client.call(RELOAD, {"method": "reload_weights", "kwargs": arguments})
    finally:
        await client.close()


def _run(server: Server, work: Coroutine[Any, Any, _T]) -> _T:
    """Do the work of requests; an error that concerns one request becomes Medr1Error."""
    try:
        return asyncio.run(work)
    except (RequestFailed, RequestRefused) as error:
        raise Medr1Error(
            f"rollouts by {server.base_url} failed: {error} Check the server, and run the same "
            "command again."
        ) from None


async def _connect(server: Server, sampling: Sampling) -> RolloutServer:
    listing = Client(server, "", Consumption())
    try:
        models = await listing.models()
        names = [entry.id for entry in models.data] if models else []
        if len(names) != 1:
            raise InputError(
                f"--rollout-url {server.base_url} lists {len(names)} models, expected the one that "
                "is trained. Check the address, which often ends with /v1."
            )
        for route in (*CACHES, RELOAD):
            # A server refuses the last call, without a method; a missing route is another error.
            if not await listing.has_route(route):
                raise InputError(
                    f"--rollout-url {server.base_url} has no route {route}, by which it would load "
                    "the weights of each step. Start vLLM with VLLM_SERVER_DEV_MODE=1."
                )
    finally:
        await listing.close()
    client = Client(server, names[0], Consumption())
    try:
        await _require_processed_logits(client, server, sampling)
    finally:
        await client.close()
    return RolloutServer(server, names[0], sampling)


async def _require_processed_logits(client: Client, server: Server, sampling: Sampling) -> None:
    """Make one suppressed token certain by its bias, and look at its log-probability.

    It is 0 after the processing of the logits, by the bias and also by the temperature, and far
    below 0 before it.
    """
    token = next(iter(sampling.suppressed_tokens), next(iter(sampling.end_tokens), 0))
    body = sampling.body()
    body |= {"max_tokens": 1, "logit_bias": {str(token): CERTAIN}, "n": 1, "seed": 0}
    body["messages"] = [{"role": "user", "content": "?"}]
    answer = _answer(server, await client.chat(body))
    if answer.token_ids[0] != [token]:
        raise InputError(
            f"--rollout-url {server.base_url} ignores logit_bias, so it could sample an image "
            "token, which has no image. Use a server that obeys it, such as vLLM."
        )
    if answer.logprobs[0][0] < MOST_BIAS and not sampling.is_plain:
        raise InputError(
            f"--rollout-url {server.base_url} returns log-probabilities before temperature and "
            "top_p, which are not those of the sampled tokens. Start vLLM with --logprobs-mode "
            "processed_logprobs, or sample with temperature 1, top_p 1, top_k 0, min_p 0 and "
            "repetition_penalty 1."
        )


def _answer(server: Server, response: ChatResponse) -> RolloutAnswer:
    """The token ids and log-probabilities of an answer; InputError if it has none."""

    def logprobs(choice: Choice) -> list[float]:
        content = choice.logprobs.content if choice.logprobs else None
        return [token.logprob for token in content or ()]

    token_ids = [choice.token_ids or [] for choice in response.choices]
    values = [logprobs(choice) for choice in response.choices]
    complete = all(ids and len(ids) == len(row) for ids, row in zip(token_ids, values, strict=True))
    if not response.prompt_token_ids or not complete:
        raise InputError(
            f"--rollout-url {server.base_url} does not return the token ids and the "
            "log-probabilities of prompts and completions (return_token_ids, logprobs). Use a "
            "server that does, such as vLLM."
        )
    return RolloutAnswer(response.prompt_token_ids, token_ids, values)
