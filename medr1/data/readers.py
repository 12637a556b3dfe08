"""Reads questions into samples: from JSON, JSONL, CSV, TSV, .xlsx, Parquet, or a data set on disk.

A fault of the complete file is an InputError. A fault of one item is a Failure beside its sample,
so that the other items can be used. Images are not opened here; a sample has their paths.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from medr1.csv_cells import unguard
from medr1.data.columns import Kind
from medr1.data.delimited import rows_with_header
from medr1.data.items import (
    IMAGE_KEYS,
    have_answer_classes,
    read_item,
    sample_from_question,
    with_id,
)
from medr1.data.json_layouts import READ_START, has_json_lines, has_one_document, items_of
from medr1.data.naming import Naming
from medr1.data.roots import ImageRoot
from medr1.data.scans.items import show_scans, with_private_names
from medr1.data.scans.options import ScanOptions
from medr1.data.spreadsheets import file_and_sheet
from medr1.data.tables import table_errors, table_rows
from medr1.errors import InputError
from medr1.files import (
    is_blank,
    open_file,
    parse_json,
    read_text,
    sha256_of,
    similar_file,
    utf8_stream,
)
from medr1.records import ANSWER_TYPES, Failure, Sample, sample_id

if TYPE_CHECKING:
    import pyarrow

__all__ = ["Questions", "read_items", "read_questions", "sample_from_question", "split_file"]

MAX_FILE = 256 * 1024**2
"""Largest JSON or CSV file in bytes: it is read into memory. JSONL and Parquet have no limit."""
MAX_LINE = 1024**2
"""Largest line of a JSONL file in bytes."""


@dataclass(frozen=True)
class RawItems:
    """The items of a file, not yet read into samples."""

    values: Sequence[object]
    """The items as the file has them, usually dictionaries."""
    lines: list[int] | None = None
    """The line on which each item begins; None for a format without lines."""
    columns: Mapping[str, str] | None = None
    """Field -> column of a table; None for a format whose items may have different keys."""

    def place(self, index: int) -> str:
        """Where the item with this index is in its file: "line 3" or "item 3"."""
        return f"line {self.lines[index]}" if self.lines else f"item {index + 1}"


@dataclass(frozen=True)
class Questions:
    """The questions of a file."""

    samples: list[Sample]
    """All items in the order of the file; one that cannot be used has what could be read."""
    failures: dict[int, Failure]
    """Index in samples -> why the item cannot be used. The codes are no_question, no_image,
    bad_options, bad_type, bad_ground_truth, bad_item, bad_metadata and question_too_long."""
    image_root: ImageRoot
    """The folder of --image-root, which must contain all images; without it the file's folder."""
    sha256: str
    """Hash of the file or folder, and of what is shown of scans, in hexadecimal digits."""
    name: str = "the data"
    """The name of the file, without its folder."""

    def only(self, answer_types: Sequence[str]) -> Questions:
        """The questions with these answer types (records.ANSWER_TYPES), also the unusable ones.

        Raises:
            InputError: If there are none, or a type is unknown.
        """
        for name in answer_types:
            if name not in ANSWER_TYPES:
                raise InputError(
                    f"unknown answer type {name!r}. Choose from: {', '.join(ANSWER_TYPES)}."
                )
        indices = [i for i, sample in enumerate(self.samples) if sample.answer_type in answer_types]
        if not indices:
            types = sorted({sample.answer_type for sample in self.samples})
            raise InputError(
                f"{self.name} has no items with the answer types {', '.join(answer_types)}. "
                f"Its items have: {', '.join(types) or 'none'}."
            )
        failures = {n: self.failures[i] for n, i in enumerate(indices) if i in self.failures}
        return replace(self, samples=[self.samples[i] for i in indices], failures=failures)

    def require_complete(self) -> list[Sample]:
        """The samples, if each can be used and has a ground truth.

        Raises:
            InputError: If that is not so; it names the first three such items.
        """
        messages = {index: failure.message for index, failure in self.failures.items()}
        for index, sample in enumerate(self.samples):
            if sample.ground_truth is None and index not in messages:
                messages[index] = f"{self.name}, item {index + 1}: has no ground_truth; add it."
        if not messages:
            return self.samples
        first = " ".join(messages[index] for index in sorted(messages)[:3])
        raise InputError(
            f"{self.name}: {len(messages)} of {len(self.samples)} items cannot be used. {first}"
        )


def read_questions(
    path: str | Path,
    image_root: Path | None = None,
    *,
    limit: int | None = None,
    columns: Mapping[str, str] | None = None,
    scans: ScanOptions | None = None,
    private_names: bool = True,
) -> Questions:
    """Read a file of questions, or a Hugging Face data set on disk.

    Args:
        path: The file or folder.
        image_root: The folder that relative image paths start from, and that must contain all
            images (--image-root). None: the folder of the file, and absolute paths are allowed.
        limit: Read the first N items only.
        columns: Key of medr1 -> key or column of the file that has its value (--map).
        scans: How scans are shown, for a command that opens images.
        private_names: Without `scans`, whether DICOM files that a command looked into before have
            their names in results. Otherwise all image names stay as the file has them.

    Raises:
        InputError: If the file does not exist or cannot be read, or if two items have the same id.
    """
    path = Path(path)
    if image_root is not None and not image_root.is_dir():
        raise InputError(f"the image root {image_root} is not a folder. Check --image-root.")
    samples, failures = samples_of(read_items(path, limit=limit, columns=columns), str(path))
    root = ImageRoot(image_root or default_image_root(path), closed=image_root is not None)
    file_hash = sha256_of(file_and_sheet(path)[0])
    if scans is None and private_names:
        samples = with_private_names(samples, root)
    elif scans is not None:
        with_scans, scan_failures = show_scans(samples, root, scans)
        if with_scans != samples:  # what is shown of scans is part of the data
            names = (name for sample in with_scans for name in sample.images)
            file_hash = hashlib.sha256("\n".join((file_hash, *names)).encode()).hexdigest()
        samples, failures = with_scans, {**scan_failures, **failures}
    return Questions(samples, failures, root, file_hash, path.name)


def read_items(
    path: Path,
    *,
    limit: int | None = None,
    columns: Mapping[str, str] | None = None,
    kind: Kind = "questions",
) -> RawItems:
    """The items of a file, with their keys renamed.

    Args:
        path: A file of questions, or a Hugging Face data set on disk.
        limit: Read the first N items only.
        columns: Key of medr1 -> key or column of the file that has its value.
        kind: What the file has: questions or completions.

    Raises:
        InputError: If the file does not exist, cannot be read or has no items.
    """
    naming = Naming(path, columns or {}, kind)
    items = _reader_of(path)(path, limit, naming)
    # the columns of a table were matched with its header
    names_of_file = naming.of_items(items.values) if items.columns is None else items.columns
    columns = naming.settled(names_of_file, items.values)
    values = [_renamed(item, columns) for item in items.values[:limit]]
    if not values:
        raise InputError(f"{path} has no questions. Put at least one item into it.")
    return RawItems(values, items.lines, items.columns)


def _renamed(item: object, columns: Mapping[str, str]) -> object:
    """The item with its keys renamed; a column replaces a value that has the same key already."""
    if not columns or not isinstance(item, dict):
        return item
    mapped = {key: item[column] for key, column in columns.items() if column in item}
    return {**{key: value for key, value in item.items() if key not in columns.values()}, **mapped}


def default_image_root(path: Path) -> Path:
    """The folder that relative image paths start from, if no other one is named.

    If a data set on disk is one of several splits, it is the folder of all splits.

    Args:
        path: A file of questions, or a data set on disk.
    """
    is_single_set = path.is_dir() and not (path.parent / "dataset_dict.json").is_file()
    return path if is_single_set else path.parent


def split_file(path: str | Path, split: str) -> Path:
    """The file of one split.

    Args:
        path: A folder with one file or data set per split, or as the Hugging Face hub has it, with
            `train-00000-of-00001.parquet` there or in its folder `data`; a file or data set is
            returned as it is.
        split: "train", "validation" or "test".

    Raises:
        InputError: If the folder has no such split, or has it in several files.
    """
    path = Path(path)
    if not path.is_dir() or (path / "state.json").is_file():
        return path
    for suffix in _READERS:
        if (file := path / f"{split}{suffix}").is_file():
            return file
    if (path / split / "state.json").is_file():
        return path / split
    parts = [
        part for folder in (path, path / "data") for part in folder.glob(f"{split}-*-of-*.parquet")
    ]
    if len(parts) > 1:
        raise InputError(
            f"{path} has the split {split} in {len(parts)} files such as {min(parts).name}, and "
            f"one file is read. Write them as one, {split}.parquet."
        )
    if parts:
        return parts[0]
    raise InputError(f"{path} has no {split}.json. Name a file, or a folder with one.")


def has_split(path: str | Path, split: str) -> bool:
    """Whether a path is a folder with this split.

    Args:
        path: A file or a folder.
        split: "train", "validation" or "test".
    """
    try:
        return split_file(path, split) != Path(path)
    except InputError:
        return False


def samples_of(items: RawItems, source: str) -> tuple[list[Sample], dict[int, Failure]]:
    """Read items into samples with unique ids.

    An item without an id gets a hash as its id, with "-2", "-3" ... if the same hash repeats.

    Args:
        items: The items of one file.
        source: The path of the file, for messages.

    Returns:
        The samples, and for the index of each that cannot be used, why.

    Raises:
        InputError: If two items state the same id.
    """
    name = os.path.basename(source)
    samples: list[Sample] = []
    failures: dict[int, Failure] = {}
    index_of_id: dict[str, int] = {}
    has_classes = have_answer_classes(items.values)
    for index, item in enumerate(items.values):
        sample, failure = read_item(
            item, f"{name}, {items.place(index)}", open_is_class=has_classes
        )
        samples.append(sample)
        if failure is not None:
            failures[index] = failure
        if sample.id and index_of_id.setdefault(sample.id, index) != index:
            raise InputError(
                f"{source}, {items.place(index_of_id[sample.id])} and {items.place(index)}: "
                f"both have the id {sample.id[:80]!r}. Make ids unique, or leave them out."
            )
    id_counts: dict[str, int] = dict.fromkeys(index_of_id, 1)
    for index, sample in enumerate(samples):
        if not sample.id:
            hash_id = sample_id(sample)
            count = id_counts[hash_id] = id_counts.get(hash_id, 0) + 1
            samples[index] = with_id(sample, hash_id if count == 1 else f"{hash_id}-{count}")
    return samples, failures


# --- formats ----------------------------------------------------------------------------------

Reader = Callable[[Path, int | None, Naming], RawItems]
"""(path, limit, the names of its fields) -> the items of the file. See `read_items`."""


def _reader_of(path: Path) -> Reader:
    """The reader for a file, by its extension, or for a folder."""
    if os.path.isdir(path):
        return _read_folder
    path = file_and_sheet(path)[0]
    if not os.path.exists(path):  # also False if the name is too long; Path.exists raises then
        where = "" if path.is_absolute() else " (relative to the current folder)"
        hint = ""
        if len(path.parts) == 2 and not path.is_absolute() and path.suffix not in _READERS:
            hint = f", or download a data set of the hub first: medr1 fetch {path} --data"
        advice = similar_file(path, f"Check the path{hint}.")
        raise InputError(f"file not found: {path}{where}. {advice}")
    if not path.is_file():
        raise InputError(f"{path} is not a regular file. Save the questions to one.")
    if path.suffix.lower() not in _READERS:
        raise InputError(
            f"{path}: the extension {path.suffix!r} is not known. Use {', '.join(_READERS)}."
        )
    if is_blank(path):
        raise InputError(f"{path} is empty. Put at least one item into it.")
    return _READERS[path.suffix.lower()]


def _require_small(path: Path) -> None:
    """Refuse a file of more than MAX_FILE bytes."""
    if path.stat().st_size > MAX_FILE:
        raise InputError(f"{path} is larger than {MAX_FILE >> 20} MB. Use JSONL for so many items.")


def _read_json(path: Path, limit: int | None, naming: Naming) -> RawItems:
    """The items of a list, of {"questions": [...]}, or of a layout of `json_layouts`."""
    _require_small(path)
    text = read_text(path)
    if has_json_lines(text):
        return _read_jsonl(path, limit, naming)
    document = parse_json(text, str(path))
    if isinstance(document, dict) and isinstance(document.get("questions"), list):
        return RawItems(document["questions"])
    items = items_of(document, path, naming.mapped_columns)
    if items is not None:
        return RawItems(items)
    has_results = isinstance(document, dict) and isinstance(document.get("results"), list)
    hint = " It looks like results; `medr1 eval` reads those." if has_results else ""
    raise InputError(
        f'{path}: neither a list of questions nor {{"questions": [...]}}. Write it as one of them.'
        f"{hint}"
    )


def _read_jsonl(path: Path, limit: int | None, naming: Naming) -> RawItems:
    """The items of a file with one JSON object per line; blank lines are skipped."""
    items: list[object] = []
    lines: list[int] = []
    number = 0
    with open_file(path) as binary:
        if has_one_document(binary.read(READ_START)):
            return _read_json(path, limit, naming)
        binary.seek(0)
        with utf8_stream(binary, path) as file:
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise InputError(
                        f"{path}, line {number}: longer than {MAX_LINE >> 20} MB. Shorten it."
                    )
                try:
                    text = line.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise InputError(
                        f"{path}, line {number}: not UTF-8 text (byte {error.start}). "
                        "Save it as UTF-8."
                    ) from None
                if text.strip():
                    items.append(parse_json(text, str(path), first_line=number))
                    lines.append(number)
                if len(items) == limit:
                    break
    return RawItems(items, lines)


def _read_table(path: Path, limit: int | None, naming: Naming) -> RawItems:
    """One item per row, all values texts; a blank cell, and the nan of pandas, are missing."""
    _require_small(file_and_sheet(path)[0])
    rows = rows_with_header(path, naming.mapped_columns)
    header = [name.strip() for name in next(rows, (0, []))[1]]
    columns = naming.of_table(header)
    items: list[object] = []
    lines: list[int] = []
    for line, row in rows:
        if len(row) > len(header):
            raise InputError(
                f"{path}, line {line}: {len(row)} cells for {len(header)} columns. "
                "Put cells that contain the separator into quotes."
            )
        cells = {name: unguard(cell) for name, cell in zip(header, row, strict=False) if name}
        items.append({name: _value(cell) for name, cell in cells.items()})
        lines.append(line)
    return RawItems(items, lines, columns)


def _value(cell: str) -> str | None:
    """The text of a cell with the line ends of Unix; None if it is blank or the nan of pandas."""
    if cell.strip() in ("", "nan", "NaN"):
        return None
    return cell.replace("\r\n", "\n").replace("\r", "\n") if "\r" in cell else cell


def _read_parquet(path: Path, limit: int | None, naming: Naming) -> RawItems:
    """The items of a Parquet file, one per row."""
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        names, columns = _columns(file.schema_arrow, naming)
        _refuse_image_bytes(file.schema_arrow, path, columns)
        rows = table_rows(file.read(columns=names).slice(0, limit), str(path))
        return RawItems(rows, None, columns)
    except InputError:
        raise
    except table_errors() as error:
        raise _unreadable(path, error, "Parquet") from None


def _read_folder(path: Path, limit: int | None, naming: Naming) -> RawItems:
    """The items of a data set that `datasets` saved to disk.

    No code of the data set is run, and nothing is written into its folder.
    """
    if (path / "dataset_dict.json").is_file():
        raise InputError(f"{path} has several splits. Name one of the folders in it.")
    if not (path / "state.json").is_file():
        raise InputError(f"{path} is a folder. Name a file in it, such as {path / 'test.json'}.")
    import datasets

    try:
        table = datasets.load_from_disk(str(path)).with_format("arrow")[:]
        names, columns = _columns(table.schema, naming)
        table = _with_image_paths(table.select(names), path)
        _refuse_image_bytes(table.schema, path, columns)
        return RawItems(table_rows(table.slice(0, limit), str(path)), None, columns)
    except InputError:
        raise
    except table_errors() as error:
        raise _unreadable(path, error, "a data set on disk") from None


def _with_image_paths(table: pyarrow.Table, path: Path) -> pyarrow.Table:
    """The table with paths in the column `image`, if it has embedded images that are files too."""
    import pyarrow.compute

    if "image" not in table.column_names or len(table) == 0:
        return table
    image_type = table.schema.field("image").type
    if not pyarrow.types.is_struct(image_type) or {"bytes", "path"} != {f.name for f in image_type}:
        return table
    image_paths = pyarrow.compute.struct_field(table["image"], "path")
    first = image_paths[0].as_py()
    if (
        not first
        or image_paths.null_count
        or not os.path.isfile(os.path.join(default_image_root(path), first))
    ):
        return table
    return table.set_column(table.column_names.index("image"), "image", image_paths)


def _unreadable(path: Path, error: Exception, file_format: str) -> InputError:
    reason = " ".join(str(error).split())[:150]
    return InputError(f"{path} cannot be read as {file_format} ({reason}). Save it again.")


def _columns(schema: pyarrow.Schema, naming: Naming) -> tuple[list[str], dict[str, str]]:
    """The columns to read, without those of an index of pandas; and field -> column."""
    names = [name for name in schema.names if not name.startswith("__index_level_")]
    return names, naming.of_table(names)


def _refuse_image_bytes(schema: pyarrow.Schema, path: Path, columns: Mapping[str, str]) -> None:
    """Raise an InputError if the column of images has their bytes and not their paths."""
    for name in {columns.get(key, key) for key in IMAGE_KEYS} & set(schema.names):
        column_type = str(schema.field(name).type)
        if "struct" in column_type or "binary" in column_type:
            raise InputError(
                f"{path}: the column {name!r} contains image data, and only paths can be read. "
                "Save the images as files, and put their paths into the column."
            )


_READERS: dict[str, Reader] = {
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".csv": _read_table,
    ".tsv": _read_table,
    ".xlsx": _read_table,
    ".parquet": _read_parquet,
}
