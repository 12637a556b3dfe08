"""A result file as chunks: each a few thousand entries, to be parsed where one likes.

JSONL, CSV and Parquet are streamed; JSON is read whole. Reading does as little as it can, so that
one process can feed several that parse.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medr1.data.tables import faults_of_tables
from medr1.errors import InputError
from medr1.evaluate.reading import lmms
from medr1.evaluate.reading.entries import read_entry, require_gold, table_names
from medr1.evaluate.reading.matching import Lookup
from medr1.evaluate.reading.places import ENTRIES, Entry, Row
from medr1.files import open_file, parse_json, read_text
from medr1.records import RESULTS_SCHEMA, Prediction

CHUNK_BYTES = 2 << 20
CHUNK_ITEMS = 4000
MAX_LINE = 64 << 20
"""Bytes of a line of JSONL."""
FORMATS = (
    'medr1\'s results.json, {"results": [...]} as the original and its inference.py write it, '
    "a list of such items, one item a line in .jsonl, lmms-eval's sample logs, and .csv, .tsv and "
    ".parquet with named columns"
)


@dataclass(frozen=True)
class Source:
    """A result file and how it is read."""

    path: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our name -> the key or column it has there."""
    lookup: Lookup | None = None
    by_row: bool = False
    """Whether its items are matched with the data by their order."""

    def open(self) -> tuple[dict[str, Any], Iterator[Chunk]]:
        """What the file says of its run, and its chunks, in one pass."""
        suffix = self.path.suffix.lower()
        if suffix == ".xlsx":
            raise InputError(f"{self.path}: results in .xlsx are not read. Save it as .csv.")
        if suffix in (".jsonl", ".ndjson"):
            return {}, _lines(self)
        if suffix == ".parquet":
            return {}, _batches(self)
        if suffix in (".csv", ".tsv"):
            return {}, _rows(self, "\t" if suffix == ".tsv" else ",")
        meta, found = _document(self.path)
        task = lmms.task_of(self.path, meta)
        parts = range(0, len(found), CHUNK_ITEMS)
        return meta, (
            Chunk(self, "items", i + 1, i, found[i : i + CHUNK_ITEMS], task) for i in parts
        )


@dataclass(frozen=True)
class Chunk:
    """Some entries of a file, in order, not parsed yet; it can go to another process."""

    source: Source
    kind: str
    """lines | items | rows | batch: what `content` holds."""
    first: int
    """The line, item or row of the first."""
    row: int
    """How many entries stand before it; counted only where the data is matched by row."""
    content: Any
    task: str | None = None
    """lmms-eval's."""

    def entries(self) -> Iterator[Entry]:
        """Each entry as the file has it, with its place."""
        return ENTRIES[self.kind](self.content, str(self.source.path), self.first)

    def predictions(self) -> list[Prediction]:
        """Each entry as a prediction that can be judged; InputError: file, place, key.

        An item without an id has the sample_id of its question; `UniqueIds` tells equal ones apart.
        """
        if self.source.lookup is None:
            return [prediction for _, prediction in self.parsed(whole=True)]
        return list(self._matched(self.source.lookup))

    def parsed(self, *, whole: bool) -> Iterator[tuple[str, Prediction]]:
        """Each entry as a prediction and its place; not `whole` where data will complete it."""
        own = self.kind not in ("rows", "batch")
        columns = self.source.columns if own else {}  # a table's header is in our names already
        for where, entry in self.entries():
            if lmms.is_sample_log(entry):
                entry = lmms.item_of(entry, where, self.task)
            yield where, read_entry(entry, where, columns, whole=whole, own=own)

    def _matched(self, lookup: Lookup) -> Iterator[Prediction]:
        """The predictions with what the data knows of their samples."""
        by_row = self.source.by_row
        for row, (where, prediction) in enumerate(self.parsed(whole=False), start=self.row):
            place = lookup.find(prediction.sample, row if by_row else None)
            if place is None:
                raise _unmatched(self.source, lookup, where, prediction)
            prediction = lookup.fill(prediction, place, where)
            require_gold(prediction, where)
            yield prediction


def _unmatched(source: Source, lookup: Lookup, where: str, first: Prediction) -> InputError:
    """The error about the first item that is not in the data, with how many are not."""
    missing = total = 0
    for chunk in source.open()[1]:
        for row, (_, prediction) in enumerate(chunk.parsed(whole=False), start=chunk.row):
            missing += lookup.find(prediction.sample, row if source.by_row else None) is None
            total += 1
    sample = first.sample
    named = {"id": sample.id, "image": "".join(sample.images[:1]), "question": sample.question}
    said = ", ".join(f"{name} {value[:80]!r}" for name, value in named.items() if value)
    return InputError(
        f"{where}: {missing} of {total} items are not, or not just once, among the "
        f"{len(lookup.samples)} of {lookup.name}; this is the first ({said or 'without a name'}). "
        "Give the data that was asked, or give both the same ids."
    )


# --- each format ------------------------------------------------------------------------------


def _document(path: Path) -> tuple[dict[str, Any], list[Any]]:
    """(meta, entries) of a JSON file."""
    document = parse_json(read_text(path), str(path))
    if isinstance(document, list):
        return {}, document
    key = "logs" if isinstance(document, dict) and "results" not in document else "results"
    if not isinstance(document, dict) or not isinstance(document.get(key), list):
        hint = ""
        if isinstance(document, dict):
            hint = f" It is an object with the keys: {', '.join(document)[:200] or 'none'}."
            if "n-samples" in document:
                hint += " It looks like lmms-eval's summary; its --log_samples writes the answers."
        raise InputError(f"{path} holds no list of results.{hint} Read are: {FORMATS}.")
    schema = document.get("schema", RESULTS_SCHEMA)
    if schema != RESULTS_SCHEMA:
        raise InputError(
            f"{path}: the schema {str(schema)[:80]!r} is not known; {RESULTS_SCHEMA!r} is. "
            "Use the version of medr1 that wrote the file."
        )
    rest = {name: value for name, value in document.items() if name not in (key, "schema")}
    meta = rest.get("meta") if "schema" in document else rest
    return meta if isinstance(meta, dict) else {}, document[key]


def _lines(source: Source) -> Iterator[Chunk]:
    """Blocks of whole lines, as bytes."""
    task = lmms.task_of(source.path, {})
    number, row, rest = 1, 0, b""
    with open_file(source.path) as file:
        if file.read(3) != b"\xef\xbb\xbf":
            file.seek(0)
        while block := file.read(CHUNK_BYTES):
            whole, end, rest = (rest + block).rpartition(b"\n")
            if len(rest) > MAX_LINE:
                raise InputError(
                    f"{source.path}, line {number + whole.count(10) + len(end)}: longer than "
                    f"{MAX_LINE >> 20} MB. Write one item a line."
                )
            if whole and not whole.isspace():
                yield Chunk(source, "lines", number, row, whole, task)
            number += whole.count(b"\n") + len(end)
            if source.by_row:
                row += sum(1 for line in whole.split(b"\n") if line.strip())
    if rest and not rest.isspace():
        yield Chunk(source, "lines", number, row, rest, task)


def _rows(source: Source, delimiter: str) -> Iterator[Chunk]:
    """Rows of a table of text, each with the line it starts in."""
    held: list[Row] = []
    count = 0
    with io.TextIOWrapper(open_file(source.path), encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            names = table_names(header, source.columns, str(source.path))
            line = reader.line_num + 1
            for cells in reader:
                if any(map(str.strip, cells)):
                    held.append((line, cells))
                line = reader.line_num + 1
                if len(held) == CHUNK_ITEMS:
                    yield Chunk(source, "rows", held[0][0], count, (names, held))
                    count, held = count + len(held), []
        except csv.Error as error:
            raise InputError(
                f"{source.path}, line {reader.line_num}: {error}. Correct it there."
            ) from None
        except UnicodeDecodeError as error:
            raise InputError(
                f"{source.path}, after line {reader.line_num}: not UTF-8 text ({error.reason}). "
                "Save it as UTF-8."
            ) from None
    if held:
        yield Chunk(source, "rows", held[0][0], count, (names, held))


def _batches(source: Source) -> Iterator[Chunk]:
    """Parts of a Parquet file; columns of pictures stay where they are."""
    import pyarrow.parquet

    row = 0
    with open_file(source.path) as file:
        try:
            parquet = pyarrow.parquet.ParquetFile(file)
            schema = parquet.schema_arrow
            kept = [f.name for f in schema if not f.name.startswith("__index_level_")]
            names = dict(
                zip(kept, table_names(kept, source.columns, str(source.path)), strict=True)
            )
            kept = [n for n in kept if names[n] and "binary" not in str(schema.field(n).type)]
            for batch in parquet.iter_batches(batch_size=CHUNK_ITEMS, columns=kept):
                named = batch.rename_columns([names[name] for name in batch.schema.names])
                yield Chunk(source, "batch", row + 1, row, named)
                row += batch.num_rows
        except InputError:
            raise
        except faults_of_tables() as error:
            said = " ".join(str(error).split())[:150]
            raise InputError(
                f"{source.path} cannot be read as Parquet ({said}). Save it again."
            ) from None
