"""What an OpenAI-compatible server can do for `medr1 infer --engine openai`."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from medr1.chat.settings import Server
from medr1.doctor.examination import CheckResult
from medr1.infer.server.probe import ServerFacts, probe


class ServerExamination(msgspec.Struct, frozen=True, kw_only=True):
    """The document that `medr1 doctor --base-url URL --json` prints."""

    schema: str = "medr1.doctor_server/1"
    base_url: str
    facts: ServerFacts
    option_probabilities: str
    """exact, letter or none: the best way to compute options' probabilities with this server."""


def examine_server(base_url: str, model: str | None = None) -> ServerExamination:
    """Ask a server what it can do, with a few short requests.

    Args:
        base_url: Its address, such as http://127.0.0.1:8000/v1.
        model: The name of the model; None for the only model of the server.

    Raises:
        InputError: The address, the key or the model is refused, or the model takes no images.
        Medr1Error: The server cannot be reached, or does not work.
    """
    facts = probe(Server(base_url=base_url), model)
    return ServerExamination(
        base_url=base_url, facts=facts, option_probabilities=facts.option_probabilities
    )


def server_checks(facts: ServerFacts) -> Iterator[CheckResult]:
    """The results of the checks, for the terminal.

    Args:
        facts: What the server offers.
    """
    yield CheckResult(
        "ok", "images", f"answered a question about an image of 64 pixels in {facts.seconds:.1f} s"
    )
    if facts.prompt_logprobs:
        yield CheckResult(
            "ok", "probabilities", "exact: from the log-probabilities of whole answer strings"
        )
    elif facts.top_tokens:
        yield CheckResult(
            "warn",
            "probabilities",
            f"from the {facts.top_tokens} most probable tokens in the place of the answer's letter",
            "use a prompt that asks for a letter; --mode options needs another server, such as "
            "vLLM",
        )
    else:
        yield CheckResult(
            "warn",
            "probabilities",
            "the server returns no log-probabilities",
            "for a confidence, sample several answers: --num-samples 10",
        )
