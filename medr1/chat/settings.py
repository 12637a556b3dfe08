"""How an OpenAI-compatible server is used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import urlsplit

from medr1.errors import InputError
from medr1.prompts import ANSWER_STYLES

API_KEY_VARIABLE = "MEDR1_API_KEY"
"""The environment variable with the key of the server. The key is never written anywhere."""

RequestedProbabilities = Literal["auto", "exact", "letter", "none"]
"""As `engine.OptionProbabilities`; auto: the best that the server offers."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """An OpenAI-compatible server, and how it is used.

    Raises:
        InputError: A value cannot be used.
    """

    base_url: str
    """Its address, such as http://127.0.0.1:8000/v1."""
    answer_style: str = "letter"
    """letter or text: how the prompt asks for an option. A local checkpoint records its own."""
    option_probabilities: RequestedProbabilities = "auto"
    """How the options' probabilities are computed."""
    concurrency: int = 32
    """Most requests at a time. The number starts low, grows, and is cut when the server is busy."""
    timeout: float = 120.0
    """Seconds after which a request without an answer is sent again."""
    max_retries: int = 4
    """Number of times that a failed request is sent again."""
    extra_body: Mapping[str, object] | None = None
    """More parameters of each request; null removes a parameter."""
    max_requests: int | None = None
    """Number of requests after which the run ends; None: no limit."""
    max_total_tokens: int | None = None
    """Number of tokens, read and generated, after which the run ends; None: no limit."""
    price: tuple[float, float] | None = None
    """Price of a million tokens that are read, and of a million that are generated."""

    def __post_init__(self) -> None:
        not_an_address = InputError(
            f"--base-url {self.base_url}: not an address. Example: http://127.0.0.1:8000/v1"
        )
        try:
            parts = urlsplit(self.base_url)
        except ValueError:  # such as http://[
            raise not_an_address from None
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise not_an_address
        if parts.username or parts.password:
            raise InputError(
                f"--base-url: leave the password out; set the environment variable "
                f"{API_KEY_VARIABLE} instead."
            )
        if self.answer_style not in ANSWER_STYLES:
            raise InputError(f"--answer-style: give one of {', '.join(ANSWER_STYLES)}.")
        methods = get_args(RequestedProbabilities)
        if self.option_probabilities not in methods:
            raise InputError(f"--option-probabilities: give one of {', '.join(methods)}.")
        for name in ("concurrency", "timeout", "max_requests", "max_total_tokens"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InputError(f"--{name.replace('_', '-')}: {value} is not above 0.")
        if self.max_retries < 0:
            raise InputError(f"--max-retries: {self.max_retries} is below 0.")
        if self.price is not None and min(self.price) < 0:
            raise InputError("--price: a price is not below 0.")

    @property
    def root(self) -> str:
        """The address without /v1, where servers have their own pages."""
        return self.base_url.rstrip("/").removesuffix("/v1")


def api_key() -> str | None:
    """The key in the environment; None if there is none."""
    return os.environ.get(API_KEY_VARIABLE) or None
