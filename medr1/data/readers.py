"""Every format that questions come in (JSON, JSONL, CSV, Parquet, a data set on disk) to samples.

What is wrong with a file as a whole is an InputError; what is wrong with one item is a Failure
beside its sample, so that the rest goes on. Images are named here and not opened.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medr1.data.items import (
    IMAGE_KEYS,
    QUESTION_KEYS,
    read_item,
    sample_from_question,
    state_classes,
    with_id,
)
from medr1.data.roots import ImageRoot
from medr1.data.tables import faults_of_tables, table_rows
from medr1.errors import InputError
from medr1.files import open_file, parse_json, read_text, sha256_of
from medr1.records import Failure, Sample, sample_id

if TYPE_CHECKING:
    import pyarrow

__all__ = ["Questions", "read_items", "read_questions", "sample_from_question", "split_file"]

MAX_FILE = 256 * 1024**2
"""Bytes of a file that is held in memory whole; JSONL and Parquet have no such limit."""
MAX_LINE = 1024**2
"""Bytes of a line of JSONL."""


@dataclass(frozen=True)
class Items:
    """The items of a file as they stand in it."""

    values: list[Any]
    lines: list[int] | None = None
    """In which line each stands, where the file has lines."""

    def place(self, index: int) -> str:
        """Where an item stands: "line 3" or "item 3"."""
        return f"line {self.lines[index]}" if self.lines else f"item {index + 1}"


@dataclass(frozen=True)
class Questions:
    """What a file asks."""

    samples: list[Sample]
    """Every item in input order; one that cannot be used holds what could be read."""
    failures: dict[int, Failure]
    """Index in samples -> why that item cannot be used: no_question, no_image, bad_options,
    bad_type, bad_ground_truth, bad_item, bad_metadata, question_too_long."""
    image_root: ImageRoot
    """--image-root, in which all images have to lie, else the file's folder."""
    sha256: str
    """Of the input, in hex."""
    name: str = "the data"
    """The input's own name, without its folder."""

    def only(self, answer_types: Sequence[str]) -> Questions:
        """The items of these types of answer (records.ANSWER_TYPES), unusable ones among them."""
        kept = [i for i, sample in enumerate(self.samples) if sample.answer_type in answer_types]
        if not kept:
            raise InputError(
                f"{self.name} holds no items of the answer types {', '.join(answer_types)}."
            )
        failures = {n: self.failures[i] for n, i in enumerate(kept) if i in self.failures}
        return replace(self, samples=[self.samples[i] for i in kept], failures=failures)

    def require_complete(self) -> list[Sample]:
        """The samples, each usable and with its gold answer; else an InputError that says where."""
        said = {index: failure.message for index, failure in self.failures.items()}
        for index, sample in enumerate(self.samples):
            if sample.ground_truth is None and index not in said:
                said[index] = f"{self.name}, item {index + 1}: has no ground_truth; add it."
        if not said:
            return self.samples
        first = " ".join(said[index] for index in sorted(said)[:3])
        raise InputError(
            f"{self.name}: {len(said)} of {len(self.samples)} items cannot be used. {first}"
        )


def read_questions(
    path: str | Path,
    *,
    image_root: Path | None = None,
    limit: int | None = None,
    columns: Mapping[str, str] | None = None,
) -> Questions:
    """Read a file of questions, or a Hugging Face data set on disk; `limit`: the first N items.

    `columns`: our key -> the file's. InputError: no such file, a malformed one, an id given twice.
    """
    path = Path(path)
    if image_root is not None and not image_root.is_dir():
        raise InputError(f"the image root {image_root} is not a folder. Check --image-root.")
    samples, failures = samples_of(read_items(path, limit=limit, columns=columns), str(path))
    root = ImageRoot(image_root or _root(path), closed=image_root is not None)
    return Questions(samples, failures, root, sha256_of(path), path.name)


def read_items(
    path: Path, *, limit: int | None = None, columns: Mapping[str, str] | None = None
) -> Items:
    """The items of a file as they stand in it, with keys renamed by `columns`; never none."""
    columns = columns or {}
    items = _read(path)(path, limit, columns)
    values = [_renamed(item, columns) for item in items.values[:limit]]
    if not values:
        raise InputError(f"{path} holds no questions. Put at least one item into it.")
    return Items(values, items.lines)


def _renamed(item: Any, columns: Mapping[str, str]) -> Any:
    """The item under our keys; one that already had such a key loses it to the column."""
    if not columns or not isinstance(item, dict):
        return item
    taken = {key: item[column] for key, column in columns.items() if column in item}
    return {**{key: value for key, value in item.items() if key not in columns.values()}, **taken}


def _root(path: Path) -> Path:
    """Where relative names of images start: of a split among several, the folder of them all."""
    whole = path.is_dir() and not (path.parent / "dataset_dict.json").is_file()
    return path if whole else path.parent


def split_file(path: str | Path, split: str) -> Path:
    """The file of one split ("train", "validation", "test") in a folder; a file is itself."""
    path = Path(path)
    if not path.is_dir() or (path / "state.json").is_file():
        return path
    for suffix in _READERS:
        if (file := path / f"{split}{suffix}").is_file():
            return file
    if (path / split / "state.json").is_file():
        return path / split
    raise InputError(f"{path} holds no {split}.json. Name a file, or a folder with one.")


def has_split(path: str | Path, split: str) -> bool:
    """Whether this is a folder with a file of that split."""
    try:
        return split_file(path, split) != Path(path)
    except InputError:
        return False


def samples_of(items: Items, source: str) -> tuple[list[Sample], dict[int, Failure]]:
    """Items to samples with unique ids: a repeated hash gets "-2", "-3"; a given id may not.

    `source` is the file they stand in, for what is said of them.
    """
    name = os.path.basename(source)
    samples: list[Sample] = []
    failures: dict[int, Failure] = {}
    given: dict[str, int] = {}
    classes = state_classes(items.values)
    for index, item in enumerate(items.values):
        sample, failure = read_item(item, f"{name}, {items.place(index)}", open_is_class=classes)
        samples.append(sample)
        if failure is not None:
            failures[index] = failure
        if sample.id and given.setdefault(sample.id, index) != index:
            raise InputError(
                f"{source}, {items.place(given[sample.id])} and {items.place(index)}: both have "
                f"the id {sample.id[:80]!r}. Make ids unique, or leave them out."
            )
    seen: dict[str, int] = dict.fromkeys(given, 1)
    for index, sample in enumerate(samples):
        if not sample.id:
            hashed = sample_id(sample.images, sample.question, sample.options)
            times = seen[hashed] = seen.get(hashed, 0) + 1
            samples[index] = with_id(sample, hashed if times == 1 else f"{hashed}-{times}")
    return samples, failures


# --- formats ----------------------------------------------------------------------------------

Reader = Callable[[Path, int | None, Mapping[str, str]], Items]


def _read(path: Path) -> Reader:
    """The reader for what lies there, by the file's ending."""
    if os.path.isdir(path):
        return _read_folder
    if not os.path.exists(path):  # unlike Path.exists, False for a name too long
        hub = ""
        if len(path.parts) == 2 and not path.is_absolute() and path.suffix not in _READERS:
            hub = " A data set on the hub is not read yet: download it, and name the folder."
        raise InputError(f"file not found: {path}. Check the path.{hub}")
    if not path.is_file():
        raise InputError(f"{path} is not a regular file. Save the questions to one.")
    if path.suffix.lower() not in _READERS:
        raise InputError(
            f"{path}: the ending {path.suffix!r} is not known. Use {', '.join(_READERS)}."
        )
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty. Put at least one question into it.")
    return _READERS[path.suffix.lower()]


def _small_text(path: Path) -> str:
    if path.stat().st_size > MAX_FILE:
        raise InputError(f"{path} is larger than {MAX_FILE >> 20} MB. Use JSONL for so many items.")
    return read_text(path)


def _read_json(path: Path, limit: int | None, columns: Mapping[str, str]) -> Items:
    document = parse_json(_small_text(path), str(path))
    keys = document if isinstance(document, dict) else {"questions": document}
    if isinstance(keys.get("questions"), list):
        return Items(keys["questions"])
    results = isinstance(keys.get("results"), list)
    hint = " It looks like results; `medr1 eval` reads those." if results else ""
    raise InputError(
        f'{path}: neither a list of questions nor {{"questions": [...]}}. Make it one.{hint}'
    )


def _read_jsonl(path: Path, limit: int | None, columns: Mapping[str, str]) -> Items:
    items: list[Any] = []
    lines: list[int] = []
    number = 0
    with open_file(path) as file:
        while line := file.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                raise InputError(f"{path}, line {number}: longer than {MAX_LINE >> 20} MB. Cut it.")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}, line {number}: not UTF-8 text (byte {error.start}). Save it as UTF-8."
                ) from None
            if text.strip():
                items.append(parse_json(text, str(path), first_line=number))
                lines.append(number)
            if len(items) == limit:
                break
    return Items(items, lines)


def _read_csv(path: Path, limit: int | None, columns: Mapping[str, str]) -> Items:
    """A row each, all text; a blank cell and pandas' nan are missing."""
    rows = csv.reader(io.StringIO(_small_text(path), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        _require_columns(header, path, columns)
        items: list[Any] = []
        lines: list[int] = []
        first = rows.line_num + 1
        for row in rows:
            if len(row) > len(header):
                raise InputError(
                    f"{path}, line {rows.line_num}: {len(row)} cells for {len(header)} columns. "
                    "Put cells that hold a comma into quotes."
                )
            pairs = zip(header, map(unguarded, row), strict=False)
            cells = {name: cell for name, cell in pairs if name}
            missing = ("", "nan", "NaN")
            if any(cell.strip() for cell in row):
                items.append({k: None if v.strip() in missing else v for k, v in cells.items()})
                lines.append(first)
            first = rows.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {rows.line_num}: {error}. Correct it there.") from None
    return Items(items, lines)


STARTS_FORMULA = re.compile(r"[\t\r]|[ \n']*[=+@\uff1d\uff0b\uff0d\uff20-]")
"""A cell that a spreadsheet might run, also behind what it drops; one is written with a ' before
it. The - of a negative number, too: what reads the cell takes the ' away again."""


def unguarded(cell: str) -> str:
    """The cell without the ' that keeps a spreadsheet from running it."""
    return cell[1:] if cell[:1] == "'" and STARTS_FORMULA.match(cell, 1) else cell


def _require_columns(names: list[str], path: Path, columns: Mapping[str, str]) -> None:
    named = [name for name in names if name]
    if unknown := [column for column in columns.values() if column not in named]:
        raise InputError(
            f"{path}: no column is called {unknown[0]!r}; there are: {', '.join(named)[:200]}. "
            "Correct --map."
        )
    if twice := sorted({name for name in named if named.count(name) > 1}):
        raise InputError(f"{path}: the column {twice[0]!r} stands twice. Rename one.")
    for wanted in (QUESTION_KEYS, IMAGE_KEYS):
        if not set(wanted) & {*named, *columns}:
            raise InputError(
                f"{path}: no column is called {' or '.join(wanted)}; there are: "
                f"{', '.join(named)[:200]}. Rename one."
            )


def _read_parquet(path: Path, limit: int | None, columns: Mapping[str, str]) -> Items:
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        names = _columns(file.schema_arrow, path, columns)
        _refuse_pictures(file.schema_arrow, path, columns)
        return Items(table_rows(file.read(columns=names).slice(0, limit), str(path)))
    except InputError:
        raise
    except faults_of_tables() as error:
        raise _unreadable(path, error, "Parquet") from None


def _read_folder(path: Path, limit: int | None, columns: Mapping[str, str]) -> Items:
    """A data set that `datasets` saved: no code in it is run, nothing is written beside it."""
    if (path / "dataset_dict.json").is_file():
        raise InputError(f"{path} holds several splits. Name one of the folders in it.")
    if not (path / "state.json").is_file():
        raise InputError(f"{path} is a folder. Name a file in it, such as {path / 'test.json'}.")
    import datasets

    try:
        table = datasets.load_from_disk(str(path)).with_format("arrow")[:]
        names = _columns(table.schema, path, columns)
        table = _names_for_pictures(table.select(names), path)
        _refuse_pictures(table.schema, path, columns)
        return Items(table_rows(table.slice(0, limit), str(path)))
    except InputError:
        raise
    except faults_of_tables() as error:
        raise _unreadable(path, error, "a data set on disk") from None


def _names_for_pictures(table: pyarrow.Table, path: Path) -> pyarrow.Table:
    """The table with `image` as the names of its pictures, where they lie there as files too."""
    import pyarrow.compute

    if "image" not in table.column_names or len(table) == 0:
        return table
    kind = table.schema.field("image").type
    if not pyarrow.types.is_struct(kind) or {"bytes", "path"} != {f.name for f in kind}:
        return table
    names = pyarrow.compute.struct_field(table["image"], "path")
    first = names[0].as_py()
    if not first or names.null_count or not os.path.isfile(os.path.join(_root(path), first)):
        return table
    return table.set_column(table.column_names.index("image"), "image", names)


def _unreadable(path: Path, error: Exception, kind: str) -> InputError:
    said = " ".join(str(error).split())[:150]
    return InputError(f"{path} cannot be read as {kind} ({said}). Save it again.")


def _columns(schema: pyarrow.Schema, path: Path, columns: Mapping[str, str]) -> list[str]:
    """The columns to read."""
    names = [name for name in schema.names if not name.startswith("__index_level_")]
    _require_columns(names, path, columns)
    return names


def _refuse_pictures(schema: pyarrow.Schema, path: Path, columns: Mapping[str, str]) -> None:
    """The column of images must name files, not hold their content."""
    for name in {columns.get(key, key) for key in IMAGE_KEYS} & set(schema.names):
        kind = str(schema.field(name).type)
        if "struct" in kind or "binary" in kind:
            raise InputError(
                f"{path}: the column {name!r} holds pictures, which is not read yet. "
                "Save them as files and name their paths."
            )


_READERS: dict[str, Reader] = {
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
