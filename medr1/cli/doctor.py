"""`medr1 doctor`: versions and devices of this machine, and a test of their results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from medr1.cli.common import Medr1Command, common_options, device_option, json_option, option
from medr1.doctor.examination import examine
from medr1.terminal import echo

if TYPE_CHECKING:
    from medr1.doctor.server import ServerExamination

_COLORS = {"ok": "green", "warn": "yellow", "FAIL": "red"}


@click.command(
    cls=Medr1Command,
    workflow=examine,
    short_help="Check the machine, the libraries and the device.",
)
@option(
    "--base-url",
    group="Server",
    metavar="URL",
    help="Address of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1. With it, the "
    "server is checked instead of the machine.",
)
@option(
    "--model-path",
    group="Server",
    metavar="NAME",
    help="Name of the model on the server, if it has several. Needs --base-url.",
)
@device_option
@json_option
@common_options
def doctor(device: str, base_url: str | None, model_path: str | None, as_json: bool) -> None:
    """Check the machine, the libraries and the device. Takes about ten seconds.

    Lists versions, devices and memory, and what medr1 would choose. Then compares the attention of
    the device with a plain implementation, and the embedded model on the device with the same model
    on the CPU in float32. The exit code is 1 if a check fails, and 0 if there are only warnings.

    With --base-url, tells what an OpenAI-compatible server offers: its version, its models, and
    how `medr1 infer --engine openai` computes option probabilities with it.

    \b
    Examples:
      medr1 doctor
      medr1 doctor --device cuda --json
      medr1 doctor --base-url http://127.0.0.1:8000/v1
    """
    from medr1.errors import Medr1Error
    from medr1.files import to_json

    if base_url:
        _doctor_server(base_url, model_path, as_json)
        return
    if model_path:
        raise click.UsageError("--model-path needs --base-url. To check a checkpoint: medr1 verify")
    document = examine(device)
    if as_json:
        echo(to_json(document), nl=False)
    else:
        _show(_facts(document), document["checks"])
    failed = sum(check["status"] == "FAIL" for check in document["checks"])
    if failed:
        raise Medr1Error(
            f"{failed} of {len(document['checks'])} checks failed; see the lines with FAIL."
        )


def _doctor_server(base_url: str, model: str | None, as_json: bool) -> None:
    """Print what a server offers."""
    from medr1.doctor.server import examine_server, server_checks
    from medr1.files import to_json

    document = examine_server(base_url, model)
    if as_json:
        echo(to_json(document), nl=False)
        return
    _show(_server_facts(document), map(asdict, server_checks(document.facts)))


def _show(facts: Iterable[tuple[str, str]], checks: Iterable[dict[str, str]]) -> None:
    """Print labels and their values, and below them the checks."""
    from medr1.report.terminal.layout import aligned

    for line in (*aligned([*facts], justify="ll", gives_way=1, wraps=True), ""):
        echo(line)
    for status, line in _check_lines(checks):
        echo(line, lead=status)


def _server_facts(document: ServerExamination) -> Iterator[tuple[str, str]]:
    """Labels and values about a server and its models."""
    facts = document.facts
    software = f", {facts.software}" if facts.software else ""
    yield "server", f"{document.base_url}{software}"
    yield "models", ", ".join(facts.models) or "(the server has no list)"
    limit = f", at most {facts.max_tokens:,} tokens" if facts.max_tokens else ""
    yield "chosen", f"{facts.model}{limit}"


def _facts(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Labels and values about versions, devices and memory."""
    from medr1.doctor.machine import EXTRAS

    chosen, memory = document["chosen"], document["memory"]
    yield "version", f"medr1 {document['medr1']}, Python {document['python']}"
    yield "system", document["system"]
    versions = [
        f"{name} {library['installed'] or '(missing)'}"
        for name, library in document["libraries"].items()
    ]
    yield "libraries", ", ".join(versions)
    for device in document["devices"]:
        size = f", {device['memory'] / 1e9:.1f} GB" if device["memory"] else ""
        yield "device", f"{device['kind']}: {device['name']}{size}"
    yield ("chosen", f"{chosen['device']}, {chosen['dtype']}, attention {chosen['attention']}")
    total, available = memory["total"] / 1e9, memory["available"] / 1e9
    yield "memory", f"{total:.1f} GB, {available:.1f} GB available"
    for name, version in document["extras"].items():
        purpose, install = EXTRAS[name]
        missing = f"not installed: pip install {install} -c scripts/constraints.txt"
        yield "optional", f"{name} {version or missing} (for {purpose})"


def _check_lines(checks: Iterable[dict[str, str]]) -> Iterator[tuple[str, str]]:
    """(coloured status, rest of the line) of each check, and what to do if it did not pass.

    The status is "" in a line that continues the one above.
    """
    from medr1.report.terminal.layout import aligned

    rows: list[tuple[str, ...]] = []
    for check in checks:
        rows.append((check["status"], check["check"], check["message"]))
        if check["todo"]:
            rows.append(("", "", f"-> {check['todo']}"))
    for line in aligned(rows, justify="lll", gives_way=2, wraps=True):
        status = line.partition(" ")[0]
        yield click.style(status, fg=_COLORS[status]) if status else "", line[len(status) :]
