"""The names of the fields in one file of questions or completions: --map, and the usual names."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medr1.data.columns import (
    Kind,
    Match,
    ambiguous_columns,
    conversion,
    map_options,
    match_columns,
    names_of_items,
    require_header,
)
from medr1.data.items import FIELD_KEYS
from medr1.errors import InputError

logger = logging.getLogger("medr1")

_FIRST_ITEMS = 100
"""Items at the start of a JSON file whose keys are looked up in the table of usual names."""
COMPLETION_KEYS = {
    key: (key,) for key in ("content", "solution", "problem", "num_tokens", "output_without_image")
}
"""Field of a completion to score -> the keys that it is read from without any table."""
_EXACT: dict[Kind, Mapping[str, tuple[str, ...]]] = {
    "questions": FIELD_KEYS,
    "completions": COMPLETION_KEYS,
}
_REQUIRED: dict[Kind, tuple[str, ...]] = {
    "questions": ("question", "image"),
    "completions": ("content", "solution"),
}
"""Kind of file -> the fields of which a table must have a column."""


@dataclass(frozen=True)
class Naming:
    """How the fields of one file are called."""

    path: Path
    """The file, for messages."""
    mapped: Mapping[str, str] = field(default_factory=dict)
    """Key of medr1 -> key or column of the file that has its value (--map)."""
    kind: Kind = "questions"
    """What the file has: questions or completions."""

    @property
    def mapped_columns(self) -> Collection[str]:
        """The columns that --map names."""
        return self.mapped.values()

    def of_table(self, names: Sequence[str]) -> dict[str, str]:
        """Field -> column of a table: --map, and the columns with usual names.

        Args:
            names: The names of the columns; "" for one to be left out.

        Raises:
            InputError: A column of --map or a required column is missing, repeats or is ambiguous.
        """
        present = [name for name in names if name]
        available = ", ".join(present)[:200]
        if unknown := [column for column in self.mapped_columns if column not in present]:
            raise InputError(
                f"{self.path}: no column is called {unknown[0]!r}; there are: {available}. "
                "Correct --map."
            )
        if not self.mapped:
            require_header(present, self.path)
        if repeated := sorted({name for name in present if present.count(name) > 1}):
            raise InputError(
                f"{self.path}: two columns are called {repeated[0]!r}. Rename one of them."
            )
        match = self._match(names, _REQUIRED[self.kind])
        if match.missing:
            keys = ", and none ".join(
                " or ".join(_EXACT[self.kind][name]) for name in match.missing
            )
            columns = dict.fromkeys(match.missing, "COLUMN")
            advice = f"name it with {map_options(columns)}"
            if self.kind == "questions":
                command = conversion(self.path, {**self.mapped, **columns})
                advice = f"write a file with medr1's names: `{command}`"
            raise InputError(
                f"{self.path}: no column is called {keys}; there are: {available}. Rename one, or "
                f"{advice}."
            )
        return self._with_mapped(match)

    def of_items(self, items: Sequence[object]) -> dict[str, str]:
        """Field -> key of the items of a JSON file: --map, and the keys with usual names.

        Args:
            items: The items, usually dictionaries.

        Raises:
            InputError: No item has a key of --map, or two keys could be the same field.
        """
        objects = [item for item in items if isinstance(item, dict)]
        for key in self.mapped_columns:
            if objects and not any(key in item for item in objects):
                keys = ", ".join(map(str, objects[0]))[:200] or "none"
                raise InputError(
                    f"{self.path}: no item has the key {key!r}; the first has: {keys}. "
                    "Correct --map."
                )
        objects = objects[:_FIRST_ITEMS]
        return self._with_mapped(self._match(names_of_items(objects), ()))

    def _match(self, names: Sequence[str], required: Sequence[str]) -> Match:
        """Which column has which field; InputError if that is ambiguous."""
        exact = _EXACT[self.kind]
        match = match_columns(names, exact, self.mapped, kind=self.kind, required=required)
        if match.ambiguous:
            raise ambiguous_columns(self.path, *match.ambiguous, self.kind)
        return match

    def _with_mapped(self, match: Match) -> dict[str, str]:
        """Field -> column, of --map and of the columns that were recognised."""
        return {**match.columns, **self.mapped}

    def settled(self, columns: Mapping[str, str], items: Sequence[object]) -> dict[str, str]:
        """The columns without an id that was only recognised and repeats; the others are logged.

        Args:
            columns: Field -> column, by `of_table` or `of_items`.
            items: The items of the file, with its own keys.
        """
        columns = dict(columns)
        key = columns.get("id")
        if key is not None and "id" not in self.mapped:
            ids = [item.get(key) for item in items if isinstance(item, dict)]
            texts = [str(name) for name in ids if name is not None]
            if len(set(texts)) < len(texts):
                del columns["id"]
        recognised = {field: name for field, name in columns.items() if field not in self.mapped}
        if sentence := Match(recognised).sentence(self.path):
            logger.info("%s", sentence)
        return columns
