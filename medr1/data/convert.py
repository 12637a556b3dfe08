"""Samples to a file in a spelling and a format, read back before it counts as written.

An item that would be read otherwise than it was is left out and said; what a spelling or a format
has no place for is counted by name. So nothing is damaged in silence.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medr1.data import spellings
from medr1.data.readers import Questions, read_questions
from medr1.data.writers import (
    cell_text,
    is_csv,
    is_table,
    prepare_output,
    unfinished_path,
    write_rows,
)
from medr1.errors import InputError, ItemError, OutputError
from medr1.files import remove, remove_unused, temporary
from medr1.records import Failure, Sample

_ROUNDS = 5


@dataclass(frozen=True)
class Conversion:
    """What became of the items."""

    n: int
    """Items written."""
    dropped: Mapping[str, int]
    """What had no place, such as "metadata age" -> from how many items."""
    errors: Mapping[int, Failure]
    """Index of an item that is left out -> why."""


def convert(
    questions: Questions, output: Path, spelling: str, *, overwrite: bool = False
) -> Conversion:
    """Write all items that can be read again as they are; see Conversion for the others.

    InputError where the output exists, where no item is left, or where the format cannot hold them.
    """
    prepare_output(output, overwrite=overwrite)
    errors = dict(questions.failures)
    items: dict[int, dict[str, Any]] = {}
    for index, sample in enumerate(questions.samples):
        if index not in errors:
            try:
                items[index] = _row(spellings.sample_to_item(sample, spelling), output)
            except ItemError as error:
                said = f"{questions.name}, item {index + 1}: {error}"
                errors[index] = Failure(error.code, said)
    part = unfinished_path(output)
    try:
        _write_checked(questions, items, errors, part, output, spelling)
        os.replace(part, output)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot write {output}: {error.strerror}.") from None
    finally:
        remove(part)
        remove_unused(temporary(part))
    dropped: Counter[str] = Counter()
    for index in items:
        dropped.update(_dropped(questions.samples[index], spelling, output))
    return Conversion(len(items), dropped, errors)


def _write_checked(
    questions: Questions,
    items: dict[int, dict[str, Any]],
    errors: dict[int, Failure],
    part: Path,
    output: Path,
    spelling: str,
) -> None:
    """Write and read back until every item that is left comes back as it was."""
    for _ in range(_ROUNDS):
        if not items:
            first = f" The first: {errors[min(errors)].message}" if errors else ""
            raise InputError(f"no item of {questions.name} can be written to {output}.{first}")
        write_rows(_alike(list(items.values())), part)
        try:
            read = read_questions(part)
        except InputError as error:
            said = str(error).replace(str(part), "it")
            raise InputError(f"{output} would not be read again: {said}") from None
        if len(read.samples) != len(items):
            raise InputError(f"{output} would not be read again as so many items. Use .jsonl.")
        changed = [
            index
            for position, index in enumerate(items)
            if position in read.failures
            or not spellings.is_same_sample(
                spellings.supported_part(read.samples[position], spelling),
                spellings.supported_part(_held(questions.samples[index], output), spelling),
            )
        ]
        if not changed:
            return
        for index in changed:
            del items[index]
            text = f"{questions.name}, item {index + 1}: would be read otherwise from {output.name}"
            errors[index] = Failure("not_carried", f"{text}; use .jsonl.")
    raise InputError(f"{output} would not be read again as it is written. Use .jsonl.")


def _row(item: Mapping[str, Any], output: Path) -> dict[str, Any]:
    """The item as the format holds it: without objects in it where that has columns."""
    if not is_table(output):
        return dict(item)
    objects = {k: item[k] for k in ("options", "metadata") if isinstance(item.get(k), Mapping)}
    row = {key: value for key, value in item.items() if key not in objects}
    inner = {f"option_{letter}": text for letter, text in objects.get("options", {}).items()}
    inner |= {k: value for k, value in objects.get("metadata", {}).items() if value is not None}
    if clash := row.keys() & inner.keys() or {"", *row} & {key.strip() for key in inner}:
        key = next(iter(clash))
        raise ItemError("not_carried", f"a table cannot hold its metadata {key!r}; use .jsonl.")
    if is_csv(output):
        for key in ("image", "images", "image_path"):
            if isinstance(names := row.get(key), list):
                if len(names) != 1:
                    raise ItemError(
                        "not_carried", f"CSV has one image an item, and it has {len(names)}."
                    )
                row[key] = names[0]
    return row | inner


def _alike(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with a list of images in each where one has a list."""
    for key in ("image", "image_path"):
        if any(isinstance(row.get(key), list) for row in rows):
            for row in rows:
                if isinstance(row.get(key), str):
                    row[key] = [row[key]]
    return rows


def _held(sample: Sample, output: Path) -> Sample:
    """The sample as the format can at best hold it: in tables no null, in CSV all text."""
    if not is_table(output):
        return sample
    metadata = spellings.without_nulls(sample)
    if is_csv(output):
        metadata = {k: v if isinstance(v, str) else _text(v) for k, v in metadata.items()}
    return replace(sample, metadata=metadata)


def _text(value: Any) -> str:
    return cell_text(value).removeprefix("'")


def _dropped(sample: Sample, spelling: str, output: Path) -> list[str]:
    names = list(spellings.missing_fields(sample, spelling))
    holds_metadata = spelling in ("medr1", "guide")
    if is_table(output) and holds_metadata:
        if spelling != "guide":
            names += spellings.null_keys(sample)
        if is_csv(output):
            kept = spellings.without_nulls(sample)
            names += [f"the type of {k}" for k, v in kept.items() if not isinstance(v, str)]
    return names


def said_of(dropped: Mapping[str, int], spelling: str, output: Path) -> str:
    """One sentence about what had no place; "" where everything had."""
    if not dropped:
        return ""
    shown = [f"{name} ({count} items)" for name, count in sorted(dropped.items())]
    more = f", and {len(shown) - 20} more" if len(shown) > 20 else ""
    kind = output.suffix.lower().removeprefix(".") or "data set on disk"
    return f"{spelling} in {kind} has no place for: {', '.join(shown[:20])}{more}."


def moved_images(questions: Questions, output: Path, samples: Sequence[Sample]) -> str:
    """What to say where relative image paths would be looked for in another folder; else ""."""
    root = output if output.suffix == "" else output.parent
    relative = any(not os.path.isabs(name) for sample in samples for name in sample.images)
    if not relative or os.path.realpath(root) == os.path.realpath(questions.image_root):
        return ""
    return (
        f"image paths are relative to {questions.image_root}: name that as --image-root "
        f"wherever {output} is used."
    )
