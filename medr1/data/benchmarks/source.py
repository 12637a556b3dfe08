"""The files of a benchmark as its authors publish it: a folder or an archive."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, TextIO

from medr1.data.archives import Archive, Folder, is_archive, open_source
from medr1.data.benchmarks.benchmark import Record
from medr1.data.roots import open_image
from medr1.errors import InputError, ItemError
from medr1.files import open_file, parse_json, sha256_of

if TYPE_CHECKING:
    import pyarrow

MAX_TABLE_CELL = 100_000_000
"""Most characters of one cell of a table, which may be an image in base64."""
_ROWS_AT_ONCE = 64


class BenchmarkSource:
    """The files of a source, and of the archives in its top folder, by name.

    Args:
        path: A folder or an archive.

    Raises:
        InputError: It cannot be read, or an archive has a member that may do harm.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        main = open_source(path)
        self._parts: list[Folder | Archive] = [main]
        self.names = main.names()
        if isinstance(main, Folder):
            inside = [path / name for name in self.names if name.count("/") <= 1]
            self._parts += [
                open_source(file) for file in inside if _has_images(file) and is_archive(file)
            ]
        self._places: dict[str, tuple[int, str]] = {}
        for number, part in enumerate(self._parts):
            for name in self.names if number == 0 else part.names():
                self._places.setdefault(name, (number, name))
                if below := name.partition("/")[2]:
                    self._places.setdefault(below, (number, name))

    def find(self, names: Iterable[str]) -> tuple[int, str] | None:
        """The first of the names that is a file, also below one folder; None if there is none.

        An empty name, as of a record without an image, is no file.
        """
        return next((self._places[name] for name in names if name in self._places), None)

    def archives(self) -> Iterator[tuple[Path, list[str]]]:
        """(path, names of its files) of each archive in the folder."""
        for part in self._parts[1:]:
            yield part.path, part.names()

    def content(self, name: str) -> bytes:
        """The content of a file of the source.

        Raises:
            InputError: It cannot be read.
        """
        for _, content in self.contents(0, [name]):
            if isinstance(content, bytes):
                return content
            raise InputError(f"{self.path}: {content}")
        raise InputError(f"{self.path}: {name} cannot be read.")

    def contents(self, part: int, names: Iterable[str]) -> Iterator[tuple[str, bytes | ItemError]]:
        """(name, content) of files; an ItemError in place of one that cannot be read.

        Args:
            part: The first number of what `find` returned.
            names: The second values of what `find` returned with this number.
        """
        for name, location in self._parts[part].read(list(names)):
            if isinstance(location, bytes | ItemError):
                yield name, location
                continue
            try:
                with open_image(location.path, location.label) as file:
                    yield name, file.read()
            except ItemError as error:
                yield name, error

    def records(self, name: str, *, images: bool = True) -> Iterator[Record]:
        """The records of a file: JSON, JSONL, CSV, TSV, Parquet, or text with "|" between values.

        Args:
            name: A name in `names`.
            images: Whether to read the columns of images of a Parquet file.

        Raises:
            InputError: The file cannot be read.
        """
        if name.endswith(".parquet"):
            yield from _parquet(self._file(name) or io.BytesIO(self.content(name)), name, images)
            return
        try:
            with self._text(name) as lines:
                yield from _records(lines, name)
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{self.path}: {name} cannot be read ({error}).") from None

    def _text(self, name: str) -> TextIO:
        """A file of the source, opened as text; a file of a folder is not read at once."""
        file = self._file(name)
        stream: IO[bytes] = open_file(file) if file else io.BytesIO(self.content(name))
        return io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")

    def _file(self, name: str) -> Path | None:
        """The path of a file of the source; None if the source is an archive."""
        part = self._parts[0]
        if not isinstance(part, Folder):
            return None
        ((_, location),) = part.read([name])
        if isinstance(location, ItemError):
            raise InputError(f"{self.path}: {location}")
        return location.path

    def sha256(self, name: str) -> str:
        """SHA-256, in hex, of a file of the source."""
        file = self._file(name)
        return sha256_of(file) if file else hashlib.sha256(self.content(name)).hexdigest()


def _has_images(file: Path) -> bool:
    return file.suffix in (".zip", ".tar", ".gz", ".tgz") and file.is_file()


def _rows(lines: TextIO, name: str) -> Iterator[Record]:
    """The rows of a CSV or TSV file, whose cells may hold an image in base64."""
    limit = csv.field_size_limit(MAX_TABLE_CELL)  # of the whole process
    try:
        rows = csv.DictReader(lines, delimiter="\t" if name.endswith(".tsv") else ",")
        for number, row in enumerate(rows, 1):
            if None in row:  # where DictReader puts the values beyond the header
                raise InputError(
                    f"{name}, record {number} has more values than the header has columns. Check "
                    "its separators and quotes."
                )
            yield row
    finally:
        csv.field_size_limit(limit)


def _records(lines: TextIO, name: str) -> Iterator[Record]:
    """The records of a file of text, by the ending of its name."""
    if name.endswith((".csv", ".tsv")):
        yield from _rows(lines, name)
    elif name.endswith(".txt"):
        yield from ({"values": line.rstrip("\r\n").split("|")} for line in lines)
    elif name.endswith(".jsonl"):
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield from _objects([parse_json(line, name, first_line=number)], name)
    else:
        yield from _objects(parse_json(lines.read(), name), name)


def _objects(document: object, name: str) -> Iterator[Record]:
    if not isinstance(document, list):
        raise InputError(f"{name} is no list of records.")
    for record in document:
        yield record if isinstance(record, dict) else {"": json.dumps(record)}


def _parquet(file: Path | io.BytesIO, name: str, images: bool) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(file)
        schema = table.schema_arrow
        columns = [field.name for field in schema if images or not _is_image(field.type)]
        for batch in table.iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns):
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:150]
        raise InputError(f"{name} cannot be read as Parquet ({reason}). Get it again.") from None


def _is_image(column_type: pyarrow.DataType) -> bool:
    """Whether a column has images as the hub stores them: objects with bytes and path."""
    return "binary" in str(column_type)
