"""Write questions to a file with other field names or in another format, and check the file.

The file is read back before it gets its final name. An item that would not be the same is left out
and reported; fields that the field names or the format cannot store are counted. So nothing is
changed or lost without a message.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medr1.csv_cells import unguard
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
from medr1.terminal import counted

_ROUNDS = 5
"""Most attempts to write the file. Without the items that would change, others may change, because
the type of a column can depend on all items."""
_TYPE_OF = "the type of "
"""Start of the name of a dropped field: its value is kept, but only as text."""


@dataclass(frozen=True)
class Conversion:
    """The outcome of `convert`."""

    n: int
    """Number of items written."""
    dropped: Mapping[str, int]
    """Field that could not be stored, such as "metadata age" -> number of items that have it."""
    errors: Mapping[int, Failure]
    """Position of an item that is left out -> why."""


def convert(
    questions: Questions, output: Path, field_names: str, *, overwrite: bool = False
) -> Conversion:
    """Write all items that are the same when they are read back.

    Args:
        questions: The items; those in `questions.failures` are left out.
        output: The file to write; its extension decides the format.
        field_names: The keys of an item in the file, one of `spellings.FIELD_NAME_SETS`.
        overwrite: Whether an existing output is replaced, and kept as .bak.

    Returns:
        What was written, and what was left out.

    Raises:
        InputError: The output exists, no item is left, or the format cannot store the items.
        OutputError: The file cannot be written.
    """
    prepare_output(output, overwrite=overwrite)
    errors = dict(questions.failures)
    items: dict[int, dict[str, object]] = {}
    for index, sample in enumerate(questions.samples):
        if index not in errors:
            try:
                items[index] = _stored_item(spellings.sample_to_item(sample, field_names), output)
            except ItemError as error:
                message = f"{questions.name}, item {index + 1}: {error}"
                errors[index] = Failure(error.code, message)
    draft = unfinished_path(output)
    try:
        _write_checked(questions, items, errors, draft, output, field_names)
        os.replace(draft, output)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot write {output}: {error.strerror}.") from None
    finally:
        remove(draft)
        remove_unused(temporary(draft))
    dropped: Counter[str] = Counter()
    for index in items:
        dropped.update(_dropped(questions.samples[index], field_names, output))
    return Conversion(len(items), dropped, errors)


def _write_checked(
    questions: Questions,
    items: dict[int, dict[str, object]],
    errors: dict[int, Failure],
    draft: Path,
    output: Path,
    field_names: str,
) -> None:
    """Write the items and read them back, without those that changed, until none changes."""
    for _ in range(_ROUNDS):
        if not items:
            first = f" The first: {errors[min(errors)].message}" if errors else ""
            raise InputError(f"no item of {questions.name} can be written to {output}.{first}")
        write_rows(_with_equal_types(list(items.values())), draft)
        try:
            read = read_questions(draft, private_names=False)
        except InputError as error:
            problem = str(error).replace(str(draft), "it")
            raise InputError(f"{output} could not be read back: {problem}") from None
        if len(read.samples) != len(items):
            raise InputError(
                f"{output} would have another number of items when read back. Use .jsonl."
            )
        changed = [
            index
            for position, index in enumerate(items)
            if position in read.failures
            or not spellings.is_same_sample(
                spellings.supported_part(read.samples[position], field_names),
                spellings.supported_part(_as_stored(questions.samples[index], output), field_names),
            )
        ]
        if not changed:
            return
        for index in changed:
            del items[index]
            text = f"{questions.name}, item {index + 1}: would change when read from {output.name}"
            errors[index] = Failure("not_carried", f"{text}; use .jsonl.")
    raise InputError(f"{output} would contain other items when read back. Use .jsonl.")


def _stored_item(item: Mapping[str, object], output: Path) -> dict[str, object]:
    """The item as it is written; for a table, options and metadata become columns of their own."""
    if not is_table(output):
        return dict(item)
    objects = {
        key: value for key in ("options", "metadata") if isinstance(value := item.get(key), Mapping)
    }
    row = {key: value for key, value in item.items() if key not in objects}
    columns = {f"option_{letter}": text for letter, text in objects.get("options", {}).items()}
    columns |= {k: value for k, value in objects.get("metadata", {}).items() if value is not None}
    if clash := row.keys() & columns.keys() or {"", *row} & {key.strip() for key in columns}:
        key = next(iter(clash))
        raise ItemError(
            "not_carried",
            f"a table cannot store its metadata {key!r}, because another column has this name or "
            "the name is empty; use .jsonl.",
        )
    if is_csv(output):
        for key in ("image", "images", "image_path"):
            if isinstance(names := row.get(key), list):
                if len(names) != 1:
                    raise ItemError(
                        "not_carried",
                        f"CSV has one image per item, and this item has {len(names)}.",
                    )
                row[key] = names[0]
    return row | columns


def _with_equal_types(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """The rows with a list of images in each, if any row has a list: a column has one type."""
    for key in ("image", "image_path"):
        if any(isinstance(row.get(key), list) for row in rows):
            for row in rows:
                if isinstance(row.get(key), str):
                    row[key] = [row[key]]
    return rows


def _as_stored(sample: Sample, output: Path) -> Sample:
    """The sample as it should be read back: a table stores no nulls, and CSV stores only text."""
    if not is_table(output):
        return sample
    metadata = spellings.without_nulls(sample)
    if is_csv(output):
        metadata = {k: v if isinstance(v, str) else _csv_text(v) for k, v in metadata.items()}
    return replace(sample, metadata=metadata)


def _csv_text(value: object) -> str:
    return unguard(cell_text(value))


def _dropped(sample: Sample, field_names: str, output: Path) -> list[str]:
    """The fields of a sample that the field names or the format cannot store."""
    names = list(spellings.missing_fields(sample, field_names))
    holds_metadata = field_names in ("medr1", "guide")
    if is_table(output) and holds_metadata:
        if field_names != "guide":
            names += spellings.null_keys(sample)
        if is_csv(output):
            metadata = spellings.without_nulls(sample)
            names += [f"{_TYPE_OF}{k}" for k, v in metadata.items() if not isinstance(v, str)]
    return names


def dropped_warning(dropped: Mapping[str, int], field_names: str, output: Path) -> str:
    """A warning that lists the fields that could not be stored; "" if there are none.

    Args:
        dropped: `Conversion.dropped`.
        field_names: The field names of the file, as in `convert`.
        output: The file.
    """
    if not dropped:
        return ""
    fields = [
        f"{name.replace(_TYPE_OF, 'the data type of ')} ({counted(count, 'item')})"
        for name, count in sorted(dropped.items())
    ]
    more = f", and {len(fields) - 20} more" if len(fields) > 20 else ""
    kind = f"a {output.suffix.lower()} file" if output.suffix else "a data set on disk"
    sentences = [f"--to {field_names} in {kind} does not keep: {', '.join(fields[:20])}{more}."]
    if field_names == "guide" and "question_type" in dropped:
        sentences.append("In the guide's field names, question_type is the answer type.")
    if any(name.startswith(_TYPE_OF) for name in dropped):
        sentences.append("In CSV, every value is text.")
    return " ".join(sentences)


def moved_images_warning(questions: Questions, output: Path, samples: Sequence[Sample]) -> str:
    """A sentence that names the --image-root that the written file needs; "" if it needs none.

    Relative image paths start at the folder of the file, so a file in another folder needs one.

    Args:
        questions: The questions that were read, with their image root.
        output: The file that was written.
        samples: The items in it.
    """
    root = output if output.suffix == "" else output.parent
    relative = any(not os.path.isabs(name) for sample in samples for name in sample.images)
    if not relative or os.path.realpath(root) == os.path.realpath(questions.image_root):
        return ""
    return (
        f"image paths are relative to {questions.image_root}: use it as --image-root with {output}."
    )
