"""`medr1 doctor`: what is here, and whether it computes what it should."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from medr1.cli.common import Medr1Command, common_options, device_option, json_option
from medr1.terminal import echo

_WIDTH = 100
_COLORS = {"ok": "green", "warn": "yellow", "FAIL": "red"}


@click.command(cls=Medr1Command, short_help="Check the machine, the libraries and the device.")
@device_option
@json_option
@common_options
def doctor(device: str, as_json: bool) -> None:
    """Check the machine, the libraries and the device, in about ten seconds.

    Says what is here and what medr1 would choose, then holds the device's attention against a plain
    one and the embedded model against the CPU in float32. Exits with 1 where a check failed; a
    warning alone is 0.
    """
    from medr1.doctor.examination import examine
    from medr1.errors import Medr1Error
    from medr1.files import to_json

    document = examine(device)
    if as_json:
        echo(to_json(document), nl=False)
    else:
        for line in (*_facts(document), ""):
            echo(line)
        for word, line in _findings(document["checks"]):
            echo(line, lead=word)
    failed = sum(check["status"] == "FAIL" for check in document["checks"])
    if failed:
        raise Medr1Error(f"{failed} of {len(document['checks'])} checks failed; see FAIL above.")


def _facts(document: dict[str, Any]) -> Iterator[str]:
    """What is here, label and value in two columns."""
    from medr1.doctor.machine import EXTRAS

    chosen, memory = document["chosen"], document["memory"]
    yield from _two("version", f"medr1 {document['medr1']}, Python {document['python']}")
    yield from _two("system", document["system"])
    versions = [
        f"{name} {its['installed'] or '(missing)'}" for name, its in document["libraries"].items()
    ]
    yield from _two("libraries", ", ".join(versions))
    for device in document["devices"]:
        size = f", {device['memory'] / 1e9:.1f} GB" if device["memory"] else ""
        yield from _two("device", f"{device['kind']}: {device['name']}{size}")
    yield from _two(
        "chosen", f"{chosen['device']}, {chosen['dtype']}, attention {chosen['attention']}"
    )
    total, available = memory["total"] / 1e9, memory["available"] / 1e9
    yield from _two("memory", f"{total:.1f} GB, {available:.1f} GB available")
    for name, version in document["extras"].items():
        purpose, install = EXTRAS[name]
        missing = f"not installed: pip install {install} -c scripts/constraints.txt"
        yield from _two("optional", f"{name} {version or missing} (for {purpose})")


def _two(label: str, text: str) -> Iterator[str]:
    """A label in its column and the text beside it, on as many lines as it takes."""
    from textwrap import wrap

    for number, line in enumerate(wrap(text, _WIDTH - 11, break_on_hyphens=False)):
        yield f"{'' if number else label:<11}{line}"


def _findings(checks: list[dict[str, str]]) -> Iterator[tuple[str, str]]:
    """ok, warn or FAIL, and the line behind it; what to do below, where something is wrong."""
    from textwrap import wrap

    for check in checks:
        said = wrap(check["said"], _WIDTH - 22)
        word = click.style(f"{check['status']:<6}", fg=_COLORS[check["status"]])
        yield word, f"{check['check']:<16}{said[0]}"
        yield from (("", " " * 22 + line) for line in said[1:])
        for line in wrap(f"-> {check['todo']}", _WIDTH - 25) if check["todo"] else ():
            yield "", " " * 22 + line
