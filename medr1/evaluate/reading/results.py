"""Read result files into predictions: medr1's own, the original project's, and other tools'.

A file is read completely or refused; the InputError names the file, the place and the key. The
formats are in the folder `reading`; this module is how the rest of medr1 reads them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from medr1.data.readers import Questions
from medr1.data.spreadsheets import file_and_sheet
from medr1.documents.results import RUN_RECORD
from medr1.errors import InputError
from medr1.evaluate.reading.entries import FIELD_ALIASES, require_known_columns
from medr1.evaluate.reading.formats import ENDINGS, FORMATS, Chunk, Source
from medr1.evaluate.reading.matching import Lookup
from medr1.evaluate.reading.recognition import match_entries, match_header
from medr1.files import is_blank
from medr1.records import Prediction

logger = logging.getLogger("medr1")

__all__ = [
    "FIELD_ALIASES",
    "Chunk",
    "ResultFile",
    "Results",
    "UniqueIds",
    "open_results",
    "read_results",
    "result_files",
]

_NO_RESULTS = re.compile(
    r"summary\.(json|csv)|confusion\.csv|items\.jsonl|\..*"
    r"|(audit|board|card|medr1|reproduction|robustness)\.json"
    rf"|.*{re.escape(RUN_RECORD)}|.*\.journal(\.\d+)?\.jsonl|.*\.bak(\.\d+)?|~\$.*"
)
"""Names of files that medr1 writes beside results, and of Excel's locks: they hold none."""
_LMMS_SUMMARY = re.compile(r"(\d{8}_\d{6})_results\.json")
"""The summary that lmms-eval writes beside its sample logs, <time>_samples_<task>.jsonl."""
_HASH_ID = re.compile(r"[0-9a-f]{16}")
"""An id that medr1 made from an item's content, because the file gave none."""


@dataclass(frozen=True)
class ResultFile:
    """An open result file: what it says about its run, and its items as a stream of chunks."""

    path: Path
    meta: dict[str, object]
    """The file's `meta` where medr1 wrote it, else its other keys beside the results."""
    chunks: Iterable[Chunk]
    """The items in order; they can be read once. `UniqueIds` makes ids unique across chunks."""
    notes: tuple[str, ...] = ()
    """Sentences about how the file was read that a reader of the numbers has to know."""
    columns_line: str = ""
    """Which columns were recognised by their usual names; "" if none were."""

    def log_reading(self) -> None:
        """Log how the file is read; a file that is opened several times is logged once."""
        for line in filter(None, (self.columns_line, *self.notes)):
            logger.info("%s", line)


@dataclass(frozen=True)
class Results:
    """A result file that was read completely."""

    meta: dict[str, object]
    """What the file says about its run."""
    predictions: list[Prediction]
    notes: tuple[str, ...] = ()
    """Sentences about how the file was read that a reader of the numbers has to know."""


class UniqueIds:
    """Makes the ids of a file unique, in order: a second id that is a hash gets "-2", and so on.

    Equal hashes come from equal items without an id of their own. An id that the file gave stays
    as it is, even if it repeats. A million ids take about 100 MB.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._times: dict[int, int] = {}
        """Hash -> how many items have it so far, for hashes that repeat."""

    def __call__(self, item_id: str) -> str:
        """The id of the next item: unchanged, or with the number that makes it unique."""
        if not _HASH_ID.fullmatch(item_id):
            return item_id
        number = int(item_id, 16)  # takes about half the memory of the text
        if number not in self._seen:
            self._seen.add(number)
            return item_id
        times = self._times[number] = self._times.get(number, 1) + 1
        return f"{item_id}-{times}"

    def apply(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """The next predictions of the file, with unique ids."""
        for prediction in predictions:
            item_id = self(prediction.sample.id)
            if item_id != prediction.sample.id:
                sample = replace(prediction.sample, id=item_id)
                prediction = replace(prediction, sample=sample)
            yield prediction


def result_files(paths: Sequence[str | Path]) -> list[Path]:
    """The result files that paths name: a file itself, a folder all result files in it by name.

    Subfolders are not read, and files that medr1 writes beside results are left out. InputError
    for a folder without result files.
    """
    files = []
    for path in map(Path, paths):
        if not path.is_dir():
            files.append(path)
            continue
        inside = [file for file in sorted(path.iterdir()) if _may_hold_results(file)]
        if not inside:
            raise InputError(
                f"{path} holds no result files ({', '.join(ENDINGS)}). Name a file, or a folder "
                "with some; its subfolders are not searched."
            )
        files += inside
    return files


def _may_hold_results(path: Path) -> bool:
    """Whether a file's name is that of results."""
    if path.suffix.lower() not in ENDINGS or _NO_RESULTS.fullmatch(path.name):
        return False
    # lmms-eval's <time>_results.json is read only where its sample logs are not there to be read
    summary = _LMMS_SUMMARY.fullmatch(path.name)
    if summary and any(path.parent.glob(f"{summary[1]}_samples_*")):
        return False
    return path.is_file()


def open_results(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    questions: Questions | None = None,
) -> ResultFile:
    """Open a result file in any known format, and check that its first items can be read.

    JSONL, CSV and Parquet are streamed: an error further on in the file is raised only when its
    chunk is reached.

    Args:
        path: The file.
        columns: A name of FIELD_ALIASES -> the file's column or key of that meaning.
        questions: The questions that were answered, for ground truths and whatever else the file
            lacks. Items are matched by id, else by images and question, or by order where the
            file gives neither.

    Raises:
        InputError: The file is in no known format, holds no results, or does not fit `questions`.
    """
    columns = dict(columns or {})
    require_known_columns(columns)
    notes: tuple[str, ...] = ()
    lookup = Lookup(questions) if questions else None
    source = Source(Path(path), columns, lookup)
    if is_blank(file_and_sheet(source.path)[0]):
        raise InputError(f"{path} is empty. Check that its run was finished.")
    header, match = source.header(), None
    if header is not None:
        match = match_header(header, source.path, columns, has_data=lookup is not None)
        source = replace(source, matched=match.columns)
    meta, chunks = source.open()
    first = next(chunks, None)  # reads the start of the file, so that errors there come now
    if first is None:
        raise InputError(f"{path} holds no results. Check that its run was finished. ({FORMATS})")
    if match is None:
        entries = first.entries()
        match = match_entries(entries, source.path, columns, has_data=lookup is not None)
        if match.columns:
            source = replace(source, matched=match.columns)
            first = replace(first, source=source)
            chunks = (replace(chunk, source=source) for chunk in chunks)
    if lookup is not None:
        paired = _paired_by_number(source, first, lookup)
        if paired is not None:  # the file is opened again, since `first` was read without that
            source, note = paired
            notes = (note,)
            meta, chunks = source.open()
            first = next(chunks)
    columns_line = match.sentence(source.path)
    return ResultFile(source.path, meta, chain([first], chunks), notes, columns_line)


def _paired_by_number(source: Source, first: Chunk, lookup: Lookup) -> tuple[Source, str] | None:
    """The source that pairs by order or by the numbers of questions, and a note about it.

    None where the items have ids of the data, or questions. InputError where neither is clear.
    """
    _, prediction = next(first.parse(complete=False))
    sample = prediction.sample
    if sample.question:
        return None
    if not sample.id:
        source = replace(source, by_row=True)
        return source, _require_equal_counts(source, lookup)
    if lookup.find(sample, None) is not None or not sample.id.isdecimal():
        return None
    ids = [item.sample.id for chunk in source.open()[1] for _, item in chunk.parse(complete=False)]
    if not all(text.isdecimal() and len(text) < 12 for text in ids):
        return None
    numbers = list(map(int, ids))
    size = len(lookup.samples)
    start = 0 if min(numbers) == 0 else 1
    if max(numbers) != size - 1 + start and (start == 1 or max(numbers) >= size):
        start = -1
    if start < 0 or len(set(numbers)) < len(numbers):
        raise InputError(
            f"{source.path}: its ids ({', '.join(ids[:3])} ...) are not those of {lookup.name}, "
            f"and not clearly the numbers of its {size} questions, from 0 or from 1. Add the ids "
            "of the data."
        )
    note = (
        f"{source.path.name} has no questions: its ids were taken as the numbers of the questions "
        f"of {lookup.name}, from {start}."
    )
    return replace(source, first_number=start), note


def _require_equal_counts(source: Source, lookup: Lookup) -> str:
    """A note for the reader that the items were matched by their order.

    InputError where the file and the questions differ in number, so that order means nothing.
    """
    count = sum(1 for chunk in source.open()[1] for _ in chunk.items())
    if count != len(lookup.samples):
        raise InputError(
            f"{source.path}: its items have neither an id nor a question, and there are {count} of "
            f"them for the {len(lookup.samples)} of {lookup.name}. Add the ids of the data."
        )
    return (
        f"{source.path.name} has neither ids nor questions: its items were matched with "
        f"{lookup.name} by their order."
    )


def read_results(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    questions: Questions | None = None,
) -> Results:
    """Read a whole result file at once; every item has its ground truth and a unique id.

    Args:
        path: The file.
        columns: A name of FIELD_ALIASES -> the file's column or key of that meaning.
        questions: The questions that were answered, for what the file lacks; see `open_results`.

    Raises:
        InputError: The file holds no results, an item cannot be read or lacks its ground truth, or
            does not fit `questions`.
    """
    file = open_results(path, columns=columns, questions=questions)
    file.log_reading()
    unique_ids = UniqueIds()
    predictions = [
        prediction for chunk in file.chunks for prediction in unique_ids.apply(chunk.predictions())
    ]
    if not predictions:
        raise InputError(f"{path} holds no results. Check that its run was finished.")
    return Results(file.meta, predictions, file.notes)
