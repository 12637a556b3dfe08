"""The options of the judge of open answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medr1.chat.settings import API_KEY_VARIABLE, Server
from medr1.cli.common import add_options, option
from medr1.errors import InputError

if TYPE_CHECKING:
    from medr1.judge.asking import Judge

judge_options = add_options(
    option(
        "--judge-url",
        group="Judge",
        metavar="URL",
        help="Address of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1, whose "
        "model judges open answers that the rules do not call right. It gets the question, the "
        "ground truth and the answer; its number stands beside that of the rules. Needs "
        f"--judge-model. A key is read from the environment variable {API_KEY_VARIABLE}. "
        "[default: no judge]",
    ),
    option(
        "--judge-model",
        group="Judge",
        metavar="NAME",
        help="Name of the judge at the server. Needs --judge-url.",
    ),
    option(
        "--judge-labels",
        group="Judge",
        metavar="KEY",
        help="Metadata key with what people say about the answers, true or false, or correct or "
        "incorrect. The judge and the rules are compared with them. Needs --judge-url.",
    ),
    option(
        "--judge-cache",
        group="Judge",
        metavar="FILE",
        help="File with the replies of the judge, which are not asked for again. Needs "
        "--judge-url. [default: OUTPUT_DIR.judge.jsonl beside --output-dir; without it, no file]",
    ),
)
"""--judge-url and the options that need it; `judge_from` reads them."""


def judge_from(options: dict[str, object]) -> Judge | None:
    """Take the options of the judge out of a command's options.

    Args:
        options: Name of a parameter -> value. The entries of `judge_options` are removed.

    Returns:
        The judge; None without --judge-url.

    Raises:
        UsageError: The options do not belong together.
        InputError: The address cannot be used.
    """
    url, model, labels, cache = (
        options.pop(f"judge_{name}") for name in ("url", "model", "labels", "cache")
    )
    if not url:
        for name, value in (("model", model), ("labels", labels), ("cache", cache)):
            if value:
                raise click.UsageError(f"--judge-{name} needs --judge-url.")
        return None
    if not model:
        raise click.UsageError("--judge-url needs --judge-model NAME.")
    from medr1.judge.asking import Judge

    try:
        server = Server(base_url=str(url))
    except InputError as error:
        raise InputError(str(error).replace("--base-url", "--judge-url")) from None
    return Judge(
        server=server,
        model=str(model),
        labels=str(labels) if labels else None,
        cache=Path(str(cache)) if cache else None,
    )
