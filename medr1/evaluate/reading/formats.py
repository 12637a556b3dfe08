"""A result file as a stream of chunks, each of a few thousand entries.

JSONL, CSV and Parquet files are streamed; JSON files are read as a whole. Cutting a file into
chunks does as little work as possible. The expensive part, `Chunk.predictions`, can run in other
processes, so that one process that reads feeds several that parse.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from medr1.data.tables import table_errors
from medr1.errors import InputError
from medr1.evaluate.reading import lmms
from medr1.evaluate.reading.entries import read_entry, require_ground_truth, table_names
from medr1.evaluate.reading.matching import Lookup
from medr1.evaluate.reading.places import Entry, Row, entries_of
from medr1.files import open_file, parse_json, read_text
from medr1.records import RESULTS_SCHEMA, Prediction

if TYPE_CHECKING:
    from medr1.evaluate.reading.places import Content

CHUNK_BYTES = 2 << 20
"""Bytes of a block of JSONL."""
CHUNK_ITEMS = 4000
"""Entries of a chunk of any other format."""
MAX_LINE = 64 << 20
"""Most bytes of a line of JSONL."""
FORMATS = (
    'medr1\'s results.json, {"results": [...]} as the original and its inference.py write it, '
    "a list of such items, one item a line in .jsonl, lmms-eval's sample logs, and .csv, .tsv and "
    ".parquet with named columns"
)
"""What can be read, for error messages."""


@dataclass(frozen=True)
class Source:
    """A result file and how it is read."""

    path: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    """The --map options: field of medr1 -> key or column of the file."""
    lookup: Lookup | None = None
    """The data set that completes the entries; None where they are complete."""
    by_row: bool = False
    """Whether entry n belongs to question n of the data set, because entries name no question."""

    def open(self) -> tuple[dict[str, object], Iterator[Chunk]]:
        """(what the file says about its run, its chunks in order); the chunks can be read once.

        InputError for a format that is not read.
        """
        suffix = self.path.suffix.lower()
        if suffix == ".xlsx":
            raise InputError(f"{self.path}: results in .xlsx are not read. Save it as .csv.")
        if suffix in (".jsonl", ".ndjson"):
            return {}, _lines(self)
        if suffix == ".parquet":
            return {}, _batches(self)
        if suffix in (".csv", ".tsv"):
            return {}, _rows(self, "\t" if suffix == ".tsv" else ",")
        meta, entries = _document(self.path)
        task = lmms.task_of(self.path, meta)
        starts = range(0, len(entries), CHUNK_ITEMS)
        return meta, (Chunk(self, i + 1, i, entries[i : i + CHUNK_ITEMS], task) for i in starts)


@dataclass(frozen=True)
class Chunk:
    """Some consecutive entries of a file, not parsed yet; it can be sent to another process."""

    source: Source
    first_position: int
    """The number of the first line, item or row, from 1, for error messages."""
    entries_before: int
    """How many entries of the file precede the chunk; in JSONL counted only if `by_row`."""
    content: Content
    task: str | None = None
    """The task of a sample log of lmms-eval."""

    def entries(self) -> Iterator[Entry]:
        """Each entry as the file has it, with its place for error messages."""
        return entries_of(self.content, str(self.source.path), self.first_position)

    def predictions(self) -> list[Prediction]:
        """Each entry as a prediction that can be judged.

        InputError, with file, place and key, for one that cannot. An entry without an id gets the
        `sample_id` of its question; `results.UniqueIds` tells equal ones apart.
        """
        if self.source.lookup is None:
            return [prediction for _, prediction in self.parse(complete=True)]
        return list(self._matched(self.source.lookup))

    def parse(self, *, complete: bool) -> Iterator[tuple[str, Prediction]]:
        """Each entry as (place, prediction); not `complete` where a data set will complete it."""
        may_be_own = isinstance(self.content, bytes | list)  # not a table
        # the header of a table is renamed already, by `table_names`
        columns = self.source.columns if may_be_own else {}
        for where, entry in self.entries():
            if lmms.is_sample_log(entry):
                entry = lmms.item_of(entry, where, self.task)
            yield (
                where,
                read_entry(entry, where, columns, complete=complete, may_be_own=may_be_own),
            )

    def _matched(self, lookup: Lookup) -> Iterator[Prediction]:
        """The predictions, completed from the data set; InputError for one that is not in it."""
        by_row = self.source.by_row
        for row, (where, prediction) in enumerate(
            self.parse(complete=False), start=self.entries_before
        ):
            index = lookup.find(prediction.sample, row if by_row else None)
            if index is None:
                raise _unmatched(self.source, lookup, where, prediction)
            prediction = lookup.fill(prediction, index, where)
            require_ground_truth(prediction, where)
            yield prediction


def _unmatched(source: Source, lookup: Lookup, where: str, first: Prediction) -> InputError:
    """The error about the first entry that is not in the data set, with the number of all such."""
    missing = total = 0
    for chunk in source.open()[1]:
        for row, (_, prediction) in enumerate(
            chunk.parse(complete=False), start=chunk.entries_before
        ):
            missing += lookup.find(prediction.sample, row if source.by_row else None) is None
            total += 1
    sample = first.sample
    names = {"id": sample.id, "image": "".join(sample.images[:1]), "question": sample.question}
    description = ", ".join(f"{name} {value[:80]!r}" for name, value in names.items() if value)
    return InputError(
        f"{where}: {missing} of {total} items do not match exactly one of the "
        f"{len(lookup.samples)} questions of {lookup.name}; this is the first "
        f"({description or 'without id, image or question'}). "
        "Give the data that the model was asked about, or give both files the same ids."
    )


# --- each format ------------------------------------------------------------------------------


def _document(path: Path) -> tuple[dict[str, object], list[object]]:
    """(what it says about its run, entries) of a JSON file; InputError for another structure."""
    document = parse_json(read_text(path), str(path))
    if isinstance(document, list):
        return {}, document
    # "logs" is the key of lmms-eval before version 0.2.2
    key = "logs" if isinstance(document, dict) and "results" not in document else "results"
    if not isinstance(document, dict) or not isinstance(document.get(key), list):
        hint = ""
        if isinstance(document, dict):
            hint = f" It is an object with the keys: {', '.join(document)[:200] or 'none'}."
            if "n-samples" in document:
                hint += " It looks like lmms-eval's summary; its --log_samples writes the answers."
        raise InputError(f"{path} holds no list of results.{hint} medr1 reads: {FORMATS}.")
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
    """Blocks of whole lines of JSONL, as bytes."""
    task = lmms.task_of(source.path, {})
    line, entries_before, rest = 1, 0, b""
    with open_file(source.path) as file:
        if file.read(3) != b"\xef\xbb\xbf":  # a byte order mark, which Windows programs write
            file.seek(0)
        while block := file.read(CHUNK_BYTES):
            # `rest` is the start of a line whose end has not been read yet
            whole, end, rest = (rest + block).rpartition(b"\n")
            if len(rest) > MAX_LINE:
                raise InputError(
                    f"{source.path}, line {line + whole.count(10) + len(end)}: longer than "
                    f"{MAX_LINE >> 20} MB. Write one item a line."
                )
            if whole and not whole.isspace():
                yield Chunk(source, line, entries_before, whole, task)
            line += whole.count(b"\n") + len(end)
            if source.by_row:
                entries_before += sum(1 for text in whole.split(b"\n") if text.strip())
    if rest and not rest.isspace():
        yield Chunk(source, line, entries_before, rest, task)


def _rows(source: Source, delimiter: str) -> Iterator[Chunk]:
    """Rows of a CSV or TSV file, each with the line it starts in (a cell can span lines)."""
    pending: list[Row] = []
    count = 0
    with io.TextIOWrapper(open_file(source.path), encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            names = table_names(header, source.columns, str(source.path))
            line = reader.line_num + 1
            for cells in reader:
                if any(map(str.strip, cells)):
                    pending.append((line, cells))
                line = reader.line_num + 1
                if len(pending) == CHUNK_ITEMS:
                    yield Chunk(source, pending[0][0], count, (names, pending))
                    count, pending = count + len(pending), []
        except csv.Error as error:
            raise InputError(
                f"{source.path}, line {reader.line_num}: {error}. Correct it there."
            ) from None
        except UnicodeDecodeError as error:
            raise InputError(
                f"{source.path}, after line {reader.line_num}: not UTF-8 text ({error.reason}). "
                "Save it as UTF-8."
            ) from None
    if pending:
        yield Chunk(source, pending[0][0], count, (names, pending))


def _batches(source: Source) -> Iterator[Chunk]:
    """Record batches of a Parquet file; columns of binary data, such as images, are not read."""
    import pyarrow.parquet

    row = 0
    with open_file(source.path) as file:
        try:
            parquet = pyarrow.parquet.ParquetFile(file)
            schema = parquet.schema_arrow
            # pandas stores its row index as a column of this name
            columns = [f.name for f in schema if not f.name.startswith("__index_level_")]
            names = dict(
                zip(columns, table_names(columns, source.columns, str(source.path)), strict=True)
            )
            columns = [n for n in columns if names[n] and "binary" not in str(schema.field(n).type)]
            for batch in parquet.iter_batches(batch_size=CHUNK_ITEMS, columns=columns):
                renamed = batch.rename_columns([names[name] for name in batch.schema.names])
                yield Chunk(source, row + 1, row, renamed)
                row += batch.num_rows
        except InputError:
            raise
        except table_errors() as error:
            reason = " ".join(str(error).split())[:150]
            raise InputError(
                f"{source.path} cannot be read as Parquet ({reason}). Save it again."
            ) from None
