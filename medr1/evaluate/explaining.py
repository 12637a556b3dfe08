"""The definitions for people: on a terminal, and as the README beside this file.

A test holds the README equal to `page()`.
"""

from __future__ import annotations

import difflib
import textwrap
from importlib.metadata import PackageNotFoundError, version

from medr1.errors import InputError
from medr1.evaluate.definitions import DEFINITIONS

WIDTH = 80


def explain(name: str) -> str:
    """A metric's definition for a terminal of 80 columns, with the versions installed here."""
    known = name.strip().lower().replace("-", "_")
    if known not in DEFINITIONS:
        near = difflib.get_close_matches(known, DEFINITIONS, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(DEFINITIONS)}."
        raise InputError(f"unknown metric {name!r}. {hint}")
    definition = DEFINITIONS[known]
    rows = [
        *(("formula", definition.formula), ("normalised", definition.normalisation)),
        *(("library", definition.library), ("range", definition.range)),
        *(("reading", definition.reading), ("source", definition.source)),
    ]
    if definition.packages:
        rows.append(("installed", ", ".join(map(_installed, definition.packages))))
    lines = [f"{definition.title}  ({definition.name})", ""]
    for label, text in rows:
        start, indent = f"{label:<12}", " " * 12
        lines.append(textwrap.fill(text, WIDTH, initial_indent=start, subsequent_indent=indent))
    return "\n".join(lines)


def _installed(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} is not installed"


def page() -> str:
    """All definitions as Markdown: the README beside this file."""
    parts = [
        "# What the numbers are",
        "Each number of `medr1 eval`'s summary.json: its formula, what is done to the texts "
        "before, the library that computes it, and how it is read. `medr1 eval --explain accuracy` "
        "prints the same with the versions that are installed.",
        "Nothing is dropped: an item that failed or whose answer could not be read is in every "
        "denominator. Every metric has a 95 % interval. This page is written by "
        "`explaining.page()`.",
    ]
    for d in DEFINITIONS.values():
        rows = (
            ("Formula", d.formula),
            ("Normalisation", d.normalisation),
            ("Library", d.library),
            ("Range", d.range),
            ("Reading", d.reading),
            ("Source", d.source),
        )
        lines = (f"- {label}: {text}" for label, text in rows)
        parts.append(f"## {d.title}\n\n`{d.name}`\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"
