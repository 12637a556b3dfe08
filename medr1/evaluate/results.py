"""Result files to predictions: medr1's own, the original's, others', in every form that is read.

A file is read completely or refused: an InputError names the file, the place and the key. What
each form looks like stands in `reading`; here is how the rest of medr1 asks for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from medr1.data.readers import Questions
from medr1.errors import InputError
from medr1.evaluate.reading.entries import FIELD_ALIASES, require_known_columns
from medr1.evaluate.reading.formats import FORMATS, Chunk, Source
from medr1.evaluate.reading.matching import Lookup
from medr1.records import Prediction

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

_ENDINGS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
_NO_RESULTS = re.compile(
    r"summary\.(json|csv)|confusion\.csv|items\.jsonl|(audit|medr1|robustness)\.json|\..*"
    r"|.*\.run\.json|.*\.journal(\.\d+)?\.jsonl|.*\.bak(\.\d+)?"
)
"""Files of medr1's that stand beside results."""
_LMMS_SUMMARY = re.compile(r"(\d{8}_\d{6})_results\.json")
_HASH = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class ResultFile:
    """A result file that is open: what it says, and what it holds, chunk by chunk."""

    path: Path
    meta: dict[str, Any]
    """What it says about its run: medr1's `meta`, else whatever stands beside its results."""
    chunks: Iterable[Chunk]
    """In order, one pass; ids are made unique over all of them by `UniqueIds`."""
    notes: tuple[str, ...] = ()
    """What a reader of the numbers has to know of how it was read, a sentence each."""


@dataclass(frozen=True)
class Results:
    """What a result file holds."""

    meta: dict[str, Any]
    predictions: list[Prediction]
    notes: tuple[str, ...] = ()


class UniqueIds:
    """Ids of a whole file, unique where they are hashes: the second of equal ones gets "-2".

    An id that a file brought stays as it is. A million ids take about 100 MB.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._times: dict[int, int] = {}

    def __call__(self, name: str) -> str:
        """The name itself, or with the number that makes it unique."""
        if not _HASH.fullmatch(name):
            return name
        number = int(name, 16)
        if number not in self._seen:
            self._seen.add(number)
            return name
        times = self._times[number] = self._times.get(number, 1) + 1
        return f"{name}-{times}"

    def of(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """The predictions with such ids."""
        for prediction in predictions:
            name = self(prediction.sample.id)
            if name != prediction.sample.id:
                sample = replace(prediction.sample, id=name)
                prediction = replace(prediction, sample=sample)
            yield prediction


def result_files(paths: Sequence[str | Path]) -> list[Path]:
    """The result files that are meant, in order: a file is itself, a folder those that lie in it.

    Of a folder, in name order; what medr1 writes beside results is left out.
    """
    found = []
    for path in map(Path, paths):
        if not path.is_dir():
            found.append(path)
            continue
        inside = [file for file in sorted(path.iterdir()) if _may_hold_results(file)]
        if not inside:
            raise InputError(
                f"{path} holds no result files ({', '.join(_ENDINGS)}). Name a file, or a folder "
                "with some; folders in it are not looked into."
            )
        found += inside
    return found


def _may_hold_results(path: Path) -> bool:
    if path.suffix.lower() not in _ENDINGS or _NO_RESULTS.fullmatch(path.name):
        return False
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
    """Open a result file in any known form; `columns`: our name (FIELD_ALIASES) -> column or key.

    `questions` has what the file lacks: matched by id, else by images and question, or by order
    where its items bring neither. JSONL, CSV and Parquet are streamed while the chunks are asked
    for; what is wrong further on in the file is said then.
    """
    columns = dict(columns or {})
    require_known_columns(columns)
    notes: tuple[str, ...] = ()
    lookup = Lookup(questions) if questions else None
    source = Source(Path(path), columns, lookup)
    meta, chunks = source.open()
    first = next(chunks, None)
    if first is None:
        raise InputError(f"{path} holds no results. Check that its run was finished. ({FORMATS})")
    if lookup is not None and _has_no_names(first):
        source = replace(source, by_row=True)
        notes = (_require_equal_counts(source, lookup),)
        meta, chunks = source.open()
        first = next(chunks)
    return ResultFile(source.path, meta, chain([first], chunks), notes)


def _has_no_names(chunk: Chunk) -> bool:
    """Whether nothing tells which question its first item is about."""
    _, prediction = next(chunk.parse(complete=False))
    return not prediction.sample.id and not prediction.sample.question


def _require_equal_counts(source: Source, lookup: Lookup) -> str:
    """What is to be said of a file that is matched by order; InputError where it cannot be."""
    count = sum(1 for chunk in source.open()[1] for _ in chunk.entries())
    if count != len(lookup.samples):
        raise InputError(
            f"{source.path}: its items have neither an id nor a question, and there are {count} of "
            f"them for the {len(lookup.samples)} of {lookup.name}. Add the ids of the data."
        )
    return (
        f"{source.path.name} says of no item which question it answers: matched with {lookup.name} "
        "by their order."
    )


def read_results(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    questions: Questions | None = None,
) -> Results:
    """Read a whole result file, as `open_results` does; every item has its ground truth."""
    file = open_results(path, columns=columns, questions=questions)
    unique = UniqueIds()
    predictions = [p for part in file.chunks for p in unique.of(part.predictions())]
    if not predictions:
        raise InputError(f"{path} holds no results. Check that its run was finished.")
    return Results(file.meta, predictions, file.notes)
