"""A result file as a stream of chunks, each of a few thousand entries.

JSONL, CSV and Parquet files are streamed; JSON files are read as a whole. Cutting a file into
chunks does as little work as possible. The expensive part, `Chunk.predictions`, can run in other
processes, so that one process that reads feeds several that parse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from medr1.data.delimited import rows_with_header, table_header
from medr1.data.json_layouts import (
    READ_START,
    begins_as_json,
    has_json_lines,
    has_one_document,
    items_of,
)
from medr1.data.spreadsheets import Row, is_spreadsheet
from medr1.data.tables import table_errors
from medr1.errors import InputError
from medr1.evaluate.reading.entries import read_entry, require_ground_truth, table_names
from medr1.evaluate.reading.matching import Lookup
from medr1.evaluate.reading.places import Entry, entries_of
from medr1.evaluate.reading.tools import easyr1, inspect_log, lmms
from medr1.evaluate.reading.tools.tool_entries import converted
from medr1.files import open_file, parse_json, read_text, utf8_stream
from medr1.records import RESULTS_SCHEMA, Prediction

if TYPE_CHECKING:
    import pyarrow.parquet

    from medr1.evaluate.reading.places import Content

ENDINGS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".xlsx", ".parquet", ".eval")
"""The extensions of result files. A file with another one is read if it begins as JSON."""
CHUNK_BYTES = 2 << 20
"""Bytes of a block of JSONL."""
CHUNK_ITEMS = 4000
"""Entries of a chunk of any other format."""
MAX_LINE = 64 << 20
"""Most bytes of a line of JSONL."""
FORMATS = (
    'medr1\'s results.json, {"results": [...]} as the original and its inference.py write it, '
    "a list of such items, {id: item}, the layouts of pandas' to_json, one item a line in .jsonl, "
    "lmms-eval's sample logs, inspect_ai's logs, ms-swift's results and completions.jsonl, "
    "EasyR1's generations.log, and .csv, .tsv, .xlsx and .parquet with named columns"
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
    matched: Mapping[str, str] = field(default_factory=dict)
    """Field -> key or column of the file, from the table of usual names."""
    first_number: int | None = None
    """The id of the first question, if the ids of the entries are numbers of questions."""

    def header(self) -> list[str] | None:
        """The names of the columns of a table; None for JSON, whose items may differ.

        InputError if the file cannot be read.
        """
        if self.is_table:
            return table_header(self.path, self.columns.values())
        if self.path.suffix.lower() == ".parquet":
            with open_file(self.path) as file:
                return _parquet_columns(self.path, file)[1]
        return None

    @property
    def is_table(self) -> bool:
        """Whether the file is CSV, TSV or a sheet of an .xlsx file."""
        return self.path.suffix.lower() in (".csv", ".tsv") or is_spreadsheet(self.path)

    def open(self) -> tuple[dict[str, object], Iterator[Chunk]]:
        """(what the file says about its run, its chunks in order); the chunks can be read once.

        InputError for a format that is not read.
        """
        suffix = self.path.suffix.lower()
        if self.is_table:
            return {}, _rows(self)
        if suffix == ".parquet":
            return {}, _batches(self)
        if inspect_log.is_eval_file(self.path):
            meta, entries = inspect_log.items_of(inspect_log.read_eval_file(self.path), self.path)
            return meta, _items(self, entries)
        if easyr1.is_generations_log(self.path):
            return {}, _items(self, easyr1.items_of(read_text(self.path), self.path))
        with open_file(self.path) as file:
            start = file.read(READ_START)
        if suffix not in ENDINGS and not begins_as_json(start):
            raise InputError(
                f"{self.path}: the extension {suffix!r} is not known, and the file does not begin "
                f"as JSON. Use {', '.join(ENDINGS)}."
            )
        is_line_file = suffix in (".jsonl", ".ndjson")
        if is_line_file and not has_one_document(start):
            return {}, _lines(self)
        text = read_text(self.path)
        if not is_line_file and has_json_lines(text):
            return {}, _lines(self)
        meta, entries = _document(self.path, text, self.columns)
        return meta, _items(self, entries, lmms.task_of(self.path, meta))

    def find(
        self, lookup: Lookup, prediction: Prediction, row: int
    ) -> tuple[Prediction, int | None]:
        """The prediction, and the index of its question in the data set; None if there is none.

        Args:
            lookup: The data set.
            prediction: What the file says. An id that is a number of a question is removed.
            row: The position of the entry in the file, from 0.
        """
        if self.first_number is not None:
            row = int(prediction.sample.id) - self.first_number
            prediction = replace(prediction, sample=replace(prediction.sample, id=""))
        by_row = self.by_row or self.first_number is not None
        return prediction, lookup.find(prediction.sample, row if by_row else None)


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

    def items(self) -> Iterator[Entry]:
        """Each item with its place: an entry, or what an entry of another tool is turned into."""
        for where, entry in self.entries():
            for item in converted(entry, where, self.task):
                yield where, item

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
        matched = self.source.matched if may_be_own else {}
        for where, entry in self.items():
            yield (
                where,
                read_entry(
                    entry, where, columns, matched, complete=complete, may_be_own=may_be_own
                ),
            )

    def _matched(self, lookup: Lookup) -> Iterator[Prediction]:
        """The predictions, completed from the data set; InputError for one that is not in it."""
        for row, (where, prediction) in enumerate(
            self.parse(complete=False), start=self.entries_before
        ):
            prediction, index = self.source.find(lookup, prediction, row)
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
            missing += source.find(lookup, prediction, row)[1] is None
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


def _items(source: Source, entries: list[object], task: str | None = None) -> Iterator[Chunk]:
    """Chunks of a list that was read as a whole."""
    for start in range(0, len(entries), CHUNK_ITEMS):
        yield Chunk(source, start + 1, start, entries[start : start + CHUNK_ITEMS], task)


def _document(
    path: Path, text: str, columns: Mapping[str, str]
) -> tuple[dict[str, object], list[object]]:
    """(what it says about its run, entries) of a JSON file; InputError for another structure."""
    if not text.strip():
        raise InputError(f"{path} is empty. Check that its run was finished.")
    document = parse_json(text, str(path))
    if isinstance(document, list):
        return {}, items_of(document, path) or []
    if inspect_log.is_log(document):
        return inspect_log.items_of(document, path)
    # "logs" is the key of lmms-eval before version 0.2.2
    key = "logs" if isinstance(document, dict) and "results" not in document else "results"
    if not isinstance(document, dict) or not isinstance(document.get(key), list):
        items = items_of(document, path, columns.values())
        if items is not None:
            return {}, items
        hint = ""
        if isinstance(document, dict):
            hint = f" It is an object with the keys: {_keys_text(document)}."
            if str(document.get("schema")).startswith("medr1.card/"):
                hint = " It is a card; name the results file that the card is about."
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


def _keys_text(document: Mapping[str, object]) -> str:
    """The first keys of an object, for a message."""
    keys = [str(key)[:40] for key in list(document)[:10]]
    return ", ".join([*keys, "..."] if len(document) > 10 else keys) or "none"


def _lines(source: Source) -> Iterator[Chunk]:
    """Blocks of whole lines of JSONL, as bytes."""
    task = lmms.task_of(source.path, {})
    line, entries_before, rest = 1, 0, b""
    with open_file(source.path) as binary, utf8_stream(binary, source.path) as file:
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


def _rows(source: Source) -> Iterator[Chunk]:
    """Rows of a CSV, TSV or .xlsx file, each with the line it starts in (a cell can span lines)."""
    pending: list[Row] = []
    count = 0
    rows = rows_with_header(source.path, source.columns.values())
    header = [name.strip() for name in next(rows, (0, []))[1]]
    names = table_names(header, source.columns, source.matched, str(source.path))
    for row in rows:
        pending.append(row)
        if len(pending) == CHUNK_ITEMS:
            yield Chunk(source, pending[0][0], count, (names, pending))
            count, pending = count + len(pending), []
    if pending:
        yield Chunk(source, pending[0][0], count, (names, pending))


def _parquet_columns(path: Path, file: BinaryIO) -> tuple[pyarrow.parquet.ParquetFile, list[str]]:
    """The open Parquet file and its columns, without the index that pandas stores as a column."""
    import pyarrow.parquet

    try:
        parquet = pyarrow.parquet.ParquetFile(file)
        names = [f.name for f in parquet.schema_arrow if not f.name.startswith("__index_level_")]
    except table_errors() as error:
        raise _not_parquet(path, error) from None
    return parquet, names


def _not_parquet(path: Path, error: Exception) -> InputError:
    """The error about a file that cannot be read as Parquet."""
    reason = " ".join(str(error).split())[:150]
    return InputError(f"{path} cannot be read as Parquet ({reason}). Save it again.")


def _batches(source: Source) -> Iterator[Chunk]:
    """Record batches of a Parquet file; columns of binary data, such as images, are not read."""
    row = 0
    with open_file(source.path) as file:
        parquet, header = _parquet_columns(source.path, file)
        names = table_names(header, source.columns, source.matched, str(source.path))
        keys = dict(zip(header, names, strict=True))
        schema = parquet.schema_arrow
        columns = [n for n in header if keys[n] and "binary" not in str(schema.field(n).type)]
        try:
            for batch in parquet.iter_batches(batch_size=CHUNK_ITEMS, columns=columns):
                renamed = batch.rename_columns([keys[name] for name in batch.schema.names])
                yield Chunk(source, row + 1, row, renamed)
                row += batch.num_rows
        except table_errors() as error:
            raise _not_parquet(source.path, error) from None
