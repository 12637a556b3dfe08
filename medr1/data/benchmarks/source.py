"""The files of a benchmark as its authors publish it: a folder or an archive."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from medr1.data.archives import Archive, Folder, is_archive, open_source
from medr1.data.benchmarks.benchmark import Record
from medr1.data.roots import open_image
from medr1.errors import InputError, ItemError
from medr1.files import parse_json

MAX_TABLE_CELL = 10_000_000
"""Most characters of one cell of a CSV file."""
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
                self._places.setdefault(name.partition("/")[2], (number, name))

    def find(self, names: Iterable[str]) -> tuple[int, str] | None:
        """The first of the names that is a file, also below one folder; None if there is none."""
        return next((self._places[name] for name in names if name in self._places), None)

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

    def records(self, name: str) -> Iterator[Record]:
        """The records of a file: JSON, JSONL, CSV or Parquet.

        Raises:
            InputError: The file cannot be read.
        """
        content = self.content(name)
        try:
            if name.endswith(".parquet"):
                yield from _parquet(content)
            elif name.endswith(".csv"):
                csv.field_size_limit(MAX_TABLE_CELL)
                yield from csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
            elif name.endswith(".jsonl"):
                for number, line in enumerate(content.decode("utf-8-sig").splitlines(), 1):
                    if line.strip():
                        yield from _objects([parse_json(line, name, first_line=number)], name)
            else:
                yield from _objects(parse_json(content.decode("utf-8-sig"), name), name)
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{self.path}: {name} cannot be read ({error}).") from None

    def sha256(self, name: str) -> str:
        """SHA-256, in hex, of a file of the source."""
        return hashlib.sha256(self.content(name)).hexdigest()


def _has_images(file: Path) -> bool:
    return file.suffix in (".zip", ".tar", ".gz", ".tgz") and file.is_file()


def _objects(document: object, name: str) -> Iterator[Record]:
    if not isinstance(document, list):
        raise InputError(f"{name} is no list of records.")
    for record in document:
        yield record if isinstance(record, dict) else {"": json.dumps(record)}


def _parquet(content: bytes) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content))
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:150]
        raise InputError(f"it is no Parquet file that can be read ({reason}).") from None
