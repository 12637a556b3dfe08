"""Reads the completions that `medr1 rewards` scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from medr1.data.naming import COMPLETION_KEYS
from medr1.data.readers import read_items
from medr1.errors import InputError, did_you_mean


@dataclass(frozen=True)
class CompletionToScore:
    """A completion to score."""

    content: str
    """The completion."""
    solution: str
    """The right answer."""
    problem: str | None
    """The question with its options."""
    num_tokens: int | None
    """The tokens of the completion."""
    output_without_image: str | None
    """The completion for the same question without its image."""


def read_completions(
    path: Path, columns: Mapping[str, str]
) -> Iterator[tuple[str, CompletionToScore]]:
    """Read the completions of a file one after the other, each with its place for messages.

    Args:
        path: JSONL, JSON, CSV, TSV, .xlsx or Parquet.
        columns: Field of CompletionToScore -> column of the file (--map).

    Raises:
        InputError: The file or an item cannot be read, or --map names an unknown field.
    """
    for name in columns:
        if name not in COMPLETION_KEYS:
            hint = did_you_mean(name, COMPLETION_KEYS, f"Use {', '.join(COMPLETION_KEYS)}.")
            raise InputError(f"--map {name}={columns[name]}: there is no field {name!r}. {hint}")
    items = read_items(path, columns=columns, kind="completions")
    for index, item in enumerate(items.values):
        where = f"{path}, {items.place(index)}"
        fields = dict(item) if isinstance(item, dict) else {}
        tokens = fields.get("num_tokens")
        if items.columns is not None and isinstance(tokens, str) and tokens.isdecimal():
            fields["num_tokens"] = int(tokens)  # the cell of a table is a text
        yield where, _completion(fields, where)


def _completion(item: Mapping[str, object], where: str) -> CompletionToScore:
    """The completion of an item; InputError, with the place, for a value of the wrong type."""
    texts = []
    for key in ("content", "solution"):
        text = item.get(key)
        if not isinstance(text, str):
            raise InputError(f"{where}: expected an object with a text {key!r}.")
        texts.append(text)
    problem, num_tokens = item.get("problem"), item.get("num_tokens")
    if num_tokens is not None and (not isinstance(num_tokens, int) or num_tokens < 0):
        raise InputError(f"{where}: expected num_tokens as a whole number of at least 0.")
    without_image = item.get("output_without_image")
    return CompletionToScore(
        texts[0],
        texts[1],
        problem if isinstance(problem, str) else None,
        num_tokens,
        without_image if isinstance(without_image, str) else None,
    )
