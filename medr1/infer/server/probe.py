"""What a server can do, found out with a few small requests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from medr1.chat.client import (
    Client,
    Consumption,
    RequestFailed,
    RequestRefused,
    require_listed,
)
from medr1.chat.responses import ModelEntry
from medr1.chat.settings import Server
from medr1.errors import InputError, Medr1Error
from medr1.infer.engine import OptionProbabilities
from medr1.infer.server.messages import data_url

_VERSION_PAGES = (
    ("/version", "version", "vllm"),
    ("/get_server_info", "version", "sglang"),
    ("/api/version", "version", "ollama"),
    ("/props", "build_info", "llama.cpp"),
)
"""Page of a server, its key with the version, and the server that has it."""
_QUESTION = "Answer with one letter. Is this image A) grey or B) red?"
CONTINUED: Mapping[str, object] = {"add_generation_prompt": False, "continue_final_message": True}
"""Parameters with which a server continues the last message, the assistant's (vLLM's)."""
_MOST_TOP_TOKENS = (20, 5)
"""Numbers of most probable tokens that are asked for: OpenAI's limit, and that of some others."""


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a server offers for one model."""

    model: str
    software: str | None
    """The server and its version; None if it does not tell."""
    models: list[str]
    """Names of all its models; [] if it has no list."""
    max_tokens: int | None
    """Most tokens of prompt and completion together; None if the server does not tell."""
    top_tokens: int
    """Number of most probable tokens that it returns for each place; 0 if none."""
    prompt_logprobs: bool
    """Whether it returns the log-probabilities of the prompt's tokens."""
    seconds: float
    """Time of one short answer about a small image."""

    @property
    def option_probabilities(self) -> OptionProbabilities:
        """The best way to compute options' probabilities here."""
        if self.prompt_logprobs:
            return "exact"
        return "letter" if self.top_tokens else "none"


def probe(server: Server, model: str | None) -> ServerFacts:
    """Ask a server what it can do.

    Args:
        server: The server.
        model: The name of the model; None for the only model of the server.

    Raises:
        InputError: The key or the model is refused, or the model takes no images.
        Medr1Error: The server cannot be reached, or does not work.
    """
    return asyncio.run(_probe(server, model))


async def _probe(server: Server, model: str | None) -> ServerFacts:
    listing = Client(server, "", Consumption())
    try:
        models = await listing.models()
        entries = models.data if models else []
        entry = _entry(server, model, entries)
        software = await _software(listing, entry)
    except RequestFailed as error:
        raise Medr1Error(
            f"cannot use {server.base_url}: {error} Check the address, and that the server runs."
        ) from None
    finally:
        await listing.close()
    client = Client(server, entry.id, Consumption())
    try:
        started = asyncio.get_running_loop().time()
        top_tokens = await _top_tokens(client, entry.id)
        seconds = asyncio.get_running_loop().time() - started
        return ServerFacts(
            model=entry.id,
            software=software,
            models=[other.id for other in entries],
            max_tokens=entry.max_model_len,
            top_tokens=top_tokens,
            prompt_logprobs=await _has_prompt_logprobs(client),
            seconds=round(seconds, 3),
        )
    except (RequestFailed, RequestRefused) as error:
        raise Medr1Error(f"cannot use {entry.id} at {server.base_url}: {error}") from None
    finally:
        await client.close()


def _entry(server: Server, model: str | None, entries: list[ModelEntry]) -> ModelEntry:
    """The model's entry in the list; InputError for an unknown or missing name."""
    names = [entry.id for entry in entries]
    if model is None:
        if len(entries) == 1:
            return entries[0]
        if not names:
            raise InputError(
                f"{server.base_url} has no list of models. Check the address, which often ends "
                "with /v1, or name a model with --model-path."
            )
        raise InputError(
            f"{server.base_url}: name a model with --model-path. It has: {', '.join(names[:10])}."
        )
    require_listed(server, model, entries)
    return next((entry for entry in entries if entry.id == model), ModelEntry(model))


async def _software(client: Client, entry: ModelEntry) -> str | None:
    """The server and its version."""
    for path, key, name in _VERSION_PAGES:
        page = await client.page(path)
        if page and isinstance(version := page.get(key), str):
            return f"{name} {version}"
    return client.software or entry.owned_by


async def _top_tokens(client: Client, model: str) -> int:
    """How many of the most probable tokens the server returns; InputError without images."""
    from PIL import Image

    url = data_url(Image.new("RGB", (64, 64), "grey"))
    image = {"type": "image_url", "image_url": {"url": url}}
    text = {"type": "text", "text": _QUESTION}
    body = {
        "messages": [{"role": "user", "content": [image, text]}],
        "max_tokens": 1,
        "temperature": 0,
    }
    for number in _MOST_TOP_TOKENS:
        try:
            answer = await client.chat({**body, "logprobs": True, "top_logprobs": number})
        except RequestRefused:
            continue
        return min((len(token.top_logprobs) for token in answer.tokens), default=0)
    try:
        await client.chat(body)
    except RequestRefused as error:
        try:
            await client.chat({**body, "messages": [{"role": "user", "content": _QUESTION}]})
        except RequestRefused:
            raise error from None
        raise InputError(f"{model} takes no images, only text: {error}") from None
    return 0


async def _has_prompt_logprobs(client: Client) -> bool:
    """Whether the server returns the log-probabilities of a prompt that ends with an answer."""
    body = scoring_body([{"role": "user", "content": _QUESTION}], "A")
    try:
        answer = await client.chat(body)
    except (RequestRefused, RequestFailed):
        return False
    return bool(answer.prompt_logprobs)


def scoring_body(messages: list[dict[str, object]], string: str) -> dict[str, object]:
    """The request for the log-probabilities of an answer string after a prompt (vLLM's).

    Args:
        messages: The messages of the prompt.
        string: What follows the prompt.
    """
    return {
        "messages": [*messages, {"role": "assistant", "content": string}],
        "max_tokens": 1,
        "temperature": 0,
        "prompt_logprobs": 0,
        **CONTINUED,
    }
