"""The options of the commands that can ask a server instead of running a model themselves."""

from __future__ import annotations

import json
from typing import get_args

import click

from medr1.chat.settings import API_KEY_VARIABLE, RequestedProbabilities, Server
from medr1.cli.common import CommaList, add_options, option
from medr1.prompts import ANSWER_STYLES

_NAMES = tuple(Server.__dataclass_fields__)
"""Names of the parameters of the options that describe the server."""


def _default(name: str) -> str:
    """The default of a field of `Server`, for the help."""
    return str(Server.__dataclass_fields__[name].default)


def _json_object(
    ctx: click.Context, param: click.Parameter, value: str | dict[str, object] | None
) -> dict[str, object] | None:
    """The callback of --extra-body."""
    if value is None or isinstance(value, dict):
        return value
    try:
        document = json.loads(value)
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}.") from None
    if not isinstance(document, dict):
        raise click.BadParameter('not a JSON object. Example: {"top_k": 1}')
    return document


server_options = add_options(
    option(
        "--engine",
        group="Server",
        type=click.Choice(["local", "openai"]),
        default="local",
        help="What runs the model. local: this process. openai: an OpenAI-compatible server, "
        "at --base-url; --model-path is then the model's name there.",
    ),
    option(
        "--base-url",
        group="Server",
        metavar="URL",
        help="Address of the server, such as http://127.0.0.1:8000/v1. Needs --engine openai. "
        f"A key is read from the environment variable {API_KEY_VARIABLE}.",
    ),
    option(
        "--answer-style",
        group="Server",
        type=click.Choice(ANSWER_STYLES),
        show_default=_default("answer_style"),
        help="How the prompt to a server asks for an option: by its letter, or by its text.",
    ),
    option(
        "--option-probabilities",
        group="Server",
        type=click.Choice(get_args(RequestedProbabilities)),
        show_default=_default("option_probabilities"),
        help="How a server's option probabilities are computed. exact: from whole answer "
        "strings (vLLM). letter: from the most probable tokens in the place of the "
        "answer. auto: the best that the server offers.",
    ),
    option(
        "--concurrency",
        group="Server",
        type=click.IntRange(min=1),
        show_default=_default("concurrency"),
        help="Most requests at a time. The number starts low, grows while the server keeps up, "
        "and is cut when it is busy.",
    ),
    option(
        "--timeout",
        group="Server",
        type=click.FloatRange(min=0, min_open=True),
        show_default=_default("timeout"),
        help="Seconds to wait for an answer of the server.",
    ),
    option(
        "--max-retries",
        group="Server",
        type=click.IntRange(min=0),
        show_default=_default("max_retries"),
        help="Number of times that a failed request is sent again.",
    ),
    option(
        "--extra-body",
        group="Server",
        metavar="JSON",
        callback=_json_object,
        help='More parameters of each request, as a JSON object, such as {"top_k": 1}; null '
        "removes a parameter.",
    ),
    option(
        "--max-requests",
        group="Server",
        type=click.IntRange(min=1),
        help="Number of requests after which the run ends. [default: no limit]",
    ),
    option(
        "--max-total-tokens",
        group="Server",
        type=click.IntRange(min=1),
        help="Number of tokens, read and generated, after which the run ends. [default: no limit]",
    ),
    option(
        "--price",
        group="Server",
        type=CommaList(float),
        metavar="INPUT,OUTPUT",
        help="Prices of a million tokens read and of a million generated, such as 0.4,1.6, to show "
        "the cost so far.",
    ),
)
"""--engine, --base-url and the options of a server; `server_from` reads them."""


def server_from(options: dict[str, object]) -> Server | None:
    """Take the options of a server out of a command's options.

    Args:
        options: Name of a parameter -> value. The entries of `server_options` are removed.

    Returns:
        The server; None with --engine local.

    Raises:
        UsageError: The options do not belong together.
        InputError: A value cannot be used.
    """
    engine = options.pop("engine")
    values = {name: options.pop(name) for name in _NAMES}
    given_values = {name: value for name, value in values.items() if value is not None}
    if engine == "local":
        if given_values:
            name = next(iter(given_values)).replace("_", "-")
            raise click.UsageError(f"--{name} needs --engine openai.")
        return None
    if "base_url" not in given_values:
        raise click.UsageError(
            "--engine openai needs --base-url. Example: --base-url http://127.0.0.1:8000/v1"
        )
    price = given_values.get("price")
    if isinstance(price, tuple) and len(price) != 2:
        raise click.UsageError("--price needs two numbers. Example: --price 0.4,1.6")
    return Server(**given_values)  # type: ignore[arg-type]  # click has checked the types
