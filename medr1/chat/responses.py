"""The parts of a server's answers that are read, checked against their types."""

from __future__ import annotations

import msgspec


class TopToken(msgspec.Struct):
    """A token that could stand in one place, with its log-probability."""

    token: str
    logprob: float


class Token(TopToken):
    """A generated token, with the most probable tokens in its place."""

    top_logprobs: list[TopToken] = []


class TokenLogprobs(msgspec.Struct):
    """The generated tokens."""

    content: list[Token] | None = None


class Message(msgspec.Struct):
    """A completion. Servers call the separated reasoning of a model by one of two names."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class Choice(msgspec.Struct):
    """One completion, and why it ended."""

    message: Message
    finish_reason: str | None = None
    logprobs: TokenLogprobs | None = None
    token_ids: list[int] | None = None
    """vLLM's: the ids of the generated tokens, if the request asks for them."""


class Usage(msgspec.Struct):
    """The tokens of one request."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class PromptToken(msgspec.Struct):
    """The log-probability of a token of the prompt."""

    logprob: float
    decoded_token: str | None = None
    """Its text; None if the server does not tell."""


class ChatResponse(msgspec.Struct):
    """The answer to a chat request."""

    choices: list[Choice]
    usage: Usage | None = None
    prompt_logprobs: list[dict[str, PromptToken] | None] | None = None
    """vLLM's: for each token of the prompt {its id: its log-probability}; null for the first."""
    prompt_token_ids: list[int] | None = None
    """vLLM's: the ids of the prompt's tokens, if the request asks for them."""

    @property
    def text(self) -> str:
        """The completion, with the reasoning that the server has separated from it, if any."""
        message = self.choices[0].message
        content = message.content or ""
        reasoning = message.reasoning_content or message.reasoning
        if reasoning:
            # Without content, the completion ended before the end of the reasoning.
            content = f"<think>{reasoning}</think>{content}" if content else f"<think>{reasoning}"
        return content.strip()

    @property
    def tokens(self) -> list[Token]:
        """The generated tokens; [] if the server does not return them."""
        logprobs = self.choices[0].logprobs
        return (logprobs.content or []) if logprobs else []


class ModelEntry(msgspec.Struct):
    """A model of the server's list."""

    id: str
    owned_by: str | None = None
    max_model_len: int | None = None


class ModelList(msgspec.Struct):
    """The models that a server has."""

    data: list[ModelEntry] = []


_chat = msgspec.json.Decoder(ChatResponse)
_models = msgspec.json.Decoder(ModelList)


def read_chat(content: bytes) -> ChatResponse:
    """Read the answer to a chat request; msgspec.MsgspecError if it is none."""
    response = _chat.decode(content)
    if not response.choices:
        raise msgspec.ValidationError("it has no choices")
    return response


def read_models(content: bytes) -> ModelList:
    """Read a list of models; msgspec.MsgspecError if it is none."""
    return _models.decode(content)
