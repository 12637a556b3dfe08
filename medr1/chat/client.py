"""Sends chat requests to an OpenAI-compatible server, and sorts what can go wrong.

The package openai sends the requests and repeats them. What remains is of three kinds:

    InputError         no request can succeed: a wrong key, an unknown model
    RequestRefused     this request cannot succeed: a prompt that is too long, a bad image
    RequestFailed      it might succeed later: no connection, no answer in time, a server error
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from medr1.chat.limiter import AdaptiveLimiter
from medr1.chat.responses import (
    ChatResponse,
    ModelEntry,
    ModelList,
    Usage,
    read_chat,
    read_models,
)
from medr1.chat.settings import API_KEY_VARIABLE, Server, api_key
from medr1.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import openai

logger = logging.getLogger("medr1")

_TOO_LONG = re.compile(
    r"context (length|size|window|budget)|max_model_len|too (long|many tokens)|maximum.{0,20}token",
    re.I,
)
_NAMED_IN_HEADER = ("mlx_vlm", "llama.cpp")
_IMAGE = re.compile(r"image|base64|multimodal|multi-modal", re.I)
_DATA_URL = re.compile(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]*")
_LONGEST_MESSAGE = 300
"""Characters of a server's message that are repeated."""


class RequestFailed(Exception):
    """A request that failed for now. `code` is the code of the item's error if it stays so."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class RequestRefused(Exception):
    """A request that the server will never answer, with the code of the item's error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class RouteMissing(InputError):
    """A route that a server does not have."""


@dataclass
class Consumption:
    """The requests that were answered, and their tokens."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, usage: Usage | None) -> None:
        """Count one answer."""
        self.requests += 1
        if usage:
            self.prompt_tokens += usage.prompt_tokens
            self.completion_tokens += usage.completion_tokens

    @property
    def tokens(self) -> int:
        """All tokens."""
        return self.prompt_tokens + self.completion_tokens

    def is_used_up(self, server: Server) -> bool:
        """Whether the budget of requests or tokens of a server is used up."""
        requests, tokens = server.max_requests, server.max_total_tokens
        return (requests is not None and self.requests >= requests) or (
            tokens is not None and self.tokens >= tokens
        )

    def cost(self, price: tuple[float, float]) -> float:
        """The price of all tokens, in the currency of `price` (`Server.price`)."""
        return (self.prompt_tokens * price[0] + self.completion_tokens * price[1]) / 1e6


class Client:
    """A connection to a server; made and used inside one event loop.

    Args:
        server: The server.
        model: The name of the model there.
        consumption: Counts the requests.
    """

    def __init__(self, server: Server, model: str, consumption: Consumption) -> None:
        import openai

        self.limiter = AdaptiveLimiter(server.concurrency)
        self.software: str | None = None
        self._server = server
        self._model = model
        self._consumption = consumption
        self._key = api_key()
        # The package refuses an empty key; a server without keys ignores this one.
        self._openai = openai.AsyncOpenAI(
            api_key=self._key or "none",
            base_url=server.base_url,
            timeout=server.timeout,
            max_retries=server.max_retries,
            http_client=openai.DefaultAsyncHttpxClient(
                event_hooks={"request": [self._before], "response": [self._after]}
            ),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._openai.close()

    async def _before(self, request: Any) -> None:
        request.extensions["medr1.sent"] = time.monotonic()

    async def _after(self, response: Any) -> None:
        """Adapt the number of requests at a time to the status of one answer."""
        if response.status_code == 429:
            sent = response.request.extensions.get("medr1.sent", 0.0)
            self.limiter.refused(sent, _seconds(response.headers.get("retry-after")))
        elif response.status_code >= 500:
            self.limiter.failed()
        else:
            self.limiter.answered()

    async def models(self) -> ModelList | None:
        """The server's list of models; None if it has none.

        Raises:
            InputError: The key is refused.
            RequestFailed: The server cannot be reached, or does not answer.
        """
        import openai

        try:
            response = await self._openai.models.with_raw_response.list()
            self.software = _software(response.headers.get("server") or "")
            return read_models(response.content)
        except (openai.NotFoundError, msgspec.MsgspecError):
            return None
        except openai.OpenAIError as error:
            raise self._sorted(error) from None

    async def page(self, path: str) -> Mapping[str, object] | None:
        """A JSON object that the server has beside the interface, such as /version; None without.

        Args:
            path: Path after the address without /v1.
        """
        import openai

        try:
            content = await self._openai.with_options(max_retries=0).get(
                self._server.root + path, cast_to=object
            )
        except (openai.OpenAIError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    async def has_route(self, path: str) -> bool:
        """Whether the server has a route that takes POST; it is called without a body.

        Args:
            path: Path after the address without /v1.

        Raises:
            InputError: The key is refused.
            RequestFailed: The server cannot be reached, or does not answer.
        """
        try:
            await self.call(path)
        except RouteMissing:
            return False
        except RequestRefused:
            pass  # it needs a body
        return True

    async def call(self, path: str, body: Mapping[str, object] | None = None) -> None:
        """Send POST to a route that the server has beside the interface, such as /collective_rpc.

        Args:
            path: Path after the address without /v1.
            body: A JSON object; None: no body.

        Raises:
            RouteMissing: The server has no such route.
            InputError: The key is refused.
            RequestRefused: The server refuses this body.
            RequestFailed: The server cannot be reached, or fails.
        """
        import openai

        try:
            await self._openai.with_options(max_retries=0).post(
                self._server.root + path, cast_to=str, body=body
            )
        except openai.APIStatusError as error:
            if error.status_code in (404, 405):
                raise RouteMissing(f"{self._server.root} has no route {path}.") from None
            raise self._sorted(error) from None
        except openai.OpenAIError as error:
            raise self._sorted(error) from None

    async def chat(self, body: Mapping[str, object]) -> ChatResponse:
        """Send one chat request, and wait for its answer.

        Args:
            body: The parameters of the request, without `model`.

        Raises:
            InputError: No request can succeed.
            RequestRefused: This request cannot succeed.
            RequestFailed: It failed, also when it was repeated.
        """
        import openai

        parameters = {**body, **(self._server.extra_body or {})}
        parameters = {name: value for name, value in parameters.items() if value is not None}
        messages: Any = parameters.pop("messages")
        for retries in range(self._server.max_retries, -1, -1):
            try:
                async with self.limiter:
                    response = await self._openai.chat.completions.with_raw_response.create(
                        model=self._model, messages=messages, extra_body=parameters
                    )
                answer = read_chat(response.content)
                self._consumption.add(answer.usage)
                return answer
            except openai.OpenAIError as error:
                raise self._sorted(error) from None
            except msgspec.MsgspecError as error:
                self.limiter.failed()
                # The package openai repeats what failed, but not what it cannot read.
                if not retries:
                    text = f"the server's answer is not that of a chat request: {error}"
                    raise RequestFailed("bad_response", text) from None
        raise AssertionError("the loop ends with an answer or an error")

    def _sorted(self, error: openai.OpenAIError) -> Exception:
        """The error as one of the three kinds."""
        import openai

        if isinstance(error, openai.APITimeoutError):
            seconds = f"{self._server.timeout:g}"
            return RequestFailed("timeout", f"the server did not answer within {seconds} s.")
        if isinstance(error, openai.APIConnectionError):
            self.limiter.failed()
            reason = str(error.__cause__ or error).rstrip(".")
            return RequestFailed("connection_failed", f"no connection: {reason}.")
        if not isinstance(error, openai.APIStatusError):
            return RequestFailed("bad_response", self._text(error))
        text = self._text(error)
        if error.status_code in (401, 403):
            return InputError(
                f"{self._server.base_url} refuses the key in {API_KEY_VARIABLE}: {text}"
                if self._key
                else f"{self._server.base_url} needs a key. Set the environment variable "
                f"{API_KEY_VARIABLE}."
            )
        if error.status_code == 404:
            return InputError(
                f"{self._server.base_url} answers 404 to a chat request: {text} Check the model's "
                "name, and that the address ends as the server's documentation says, often /v1."
            )
        if error.status_code == 429:
            # Other messages with the word quota may be about a limit per minute.
            if "insufficient_quota" in str(error.body):
                return InputError(f"{self._server.base_url}: {text} Check the account's quota.")
            return RequestFailed("rate_limited", f"the server is busy (429): {text}")
        if error.status_code >= 500:
            return RequestFailed("server_error", f"the server failed ({error.status_code}): {text}")
        if error.status_code == 413:
            return RequestRefused("image_refused", f"the request is too large (413): {text}")
        code = "request_refused"
        if _TOO_LONG.search(text):
            code = "prompt_too_long"
        elif _IMAGE.search(text):
            code = "image_refused"
        return RequestRefused(code, f"the server refused the request ({error.status_code}): {text}")

    def _text(self, error: openai.OpenAIError) -> str:
        """The server's message in one line, without the key; it ends with a full stop."""
        body = getattr(error, "body", None)
        message = body.get("message") if isinstance(body, dict) else None
        detail = body.get("detail") if isinstance(body, dict) else None
        text = " ".join(str(message or detail or error).split())
        text = _DATA_URL.sub("(image)", text)
        if self._key:
            text = text.replace(self._key, "***")
        if len(text) > _LONGEST_MESSAGE:
            text = text[: _LONGEST_MESSAGE - 3] + "..."
        return text if text.endswith((".", "...", "!", "?")) else f"{text}."


def require_listed(server: Server, model: str, entries: Sequence[ModelEntry]) -> None:
    """Raise InputError if a server has a list of models, and a model is not in it.

    Args:
        server: The server.
        model: The name of the model.
        entries: The server's list; empty if it has none.
    """
    names = [entry.id for entry in entries]
    if names and model not in names:
        hint = did_you_mean(model, names, f"It has: {', '.join(names[:10])}.")
        raise InputError(f"{server.base_url} has no model {model!r}. {hint}")


def _software(header: str) -> str | None:
    """The server and its version in a header such as mlx_vlm/0.7.10; None if it names another part.

    Many servers run inside uvicorn or behind a proxy, whose name the header then has.
    """
    name, _, version = header.partition("/")
    return f"{name} {version}" if version and name in _NAMED_IN_HEADER else None


def _seconds(retry_after: str | None) -> float:
    """The seconds in a Retry-After header; 0 without one, or if it is a date."""
    try:
        return max(0.0, min(float(retry_after or 0), 3600.0))
    except ValueError:
        return 0.0
