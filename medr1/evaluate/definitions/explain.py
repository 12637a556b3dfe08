"""Show the definitions of the metrics to people: on a terminal and as a Markdown page.

The page is evaluate/README.md; a test checks that it equals `page()`.
"""

from __future__ import annotations

import textwrap
from importlib.metadata import PackageNotFoundError, version

from medr1.errors import InputError, did_you_mean
from medr1.evaluate.definitions.metrics import DEFINITIONS

WIDTH = 80
"""Columns of the terminal that `explain` fills."""


def explain(name: str) -> str:
    """One metric's definition as text for a terminal, with the installed package versions.

    The name is a metric's, or its title as tables print it: "Token-F1" and "token_f1" are the same.
    InputError for an unknown name.
    """
    key = _key(name)
    names = {_key(title): key for key, d in DEFINITIONS.items() for title in (d.title, key)}
    if key not in names:
        listing = textwrap.fill(", ".join(DEFINITIONS), WIDTH)
        hint = did_you_mean(key, names, f"The metrics are:\n{listing}")
        raise InputError(f"unknown metric {name!r}. {hint}")
    definition = DEFINITIONS[names[key]]
    rows = [
        *(("formula", definition.formula), ("preparation", definition.normalisation)),
        *(("library", definition.library), ("range", definition.range)),
        *(("interpretation", definition.reading), ("source", definition.source)),
    ]
    if definition.packages:
        rows.append(("installed", ", ".join(map(_installed, definition.packages))))
    lines = [f"{definition.title}  ({definition.name})", ""]
    for label, text in rows:
        start, indent = f"{label:<16}", " " * 16
        lines.append(
            textwrap.fill(
                text,
                WIDTH,
                initial_indent=start,
                subsequent_indent=indent,
                break_on_hyphens=False,
            )
        )
    return "\n".join(lines)


def _key(name: str) -> str:
    """A name without differences in letter case, spaces and hyphens."""
    return "_".join(name.casefold().replace("-", " ").replace("_", " ").split())


def _installed(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} is not installed"


def page() -> str:
    """All definitions as Markdown: the text of evaluate/README.md."""
    parts = [
        "# The metrics and what they mean",
        "Each number in the summary.json of `medr1 eval`: its formula, what is done to the texts "
        "or items first, the library that computes it, and how to read it. "
        "`medr1 eval --explain accuracy` prints the same, with the versions that are installed. "
        "In the names of keys, `blind` means: without the image.",
        "No item is left out: an item that failed, or whose answer could not be read, is in every "
        "denominator. Every metric has a 95 % confidence interval. This page is written by "
        "`explain.page()`.",
    ]
    for definition in DEFINITIONS.values():
        rows = (
            ("Formula", definition.formula),
            ("Preparation", definition.normalisation),
            ("Library", definition.library),
            ("Range", definition.range),
            ("Interpretation", definition.reading),
            ("Source", definition.source),
        )
        lines = (f"- {label}: {text}" for label, text in rows)
        parts.append(f"## {definition.title}\n\n`{definition.name}`\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"
