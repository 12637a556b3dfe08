"""A journal of finished items, so that an interrupted run can be resumed.

    {"schema": "medr1.journal/1", "meta": {...}, "n": 100000, "crc32": "..."}     what is being run
    {"index": 0, "entry": {...}, "crc32": "..."}                                  one finished item

Lines are appended and never changed. A killed process may leave a part of a line at the end; it is
removed, and its item is processed again. A damaged line in any other place is an error.
"""

from __future__ import annotations

import io
import json
import logging
import os
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from medr1.errors import OutputError, StateError
from medr1.files import BINARY, lock, needs_overwrite, remove_locked

logger = logging.getLogger("medr1")

SCHEMA = "medr1.journal/1"
SYNC_SECONDS = 1.0
"""Seconds between syncs to disk: what a power failure can lose. A kill loses nothing appended."""


class Journal:
    """The finished items of one run, in a file that is locked against other writers.

    Args:
        path: File of the journal; an existing one is continued.
        meta: What makes this run the same run: settings and hashes, as JSON values.
        n: Number of items of the run.

    Raises:
        LockedError: Another process has the journal open.
        StateError: The journal is damaged.
        InputError: The journal belongs to another run.
        OutputError: The journal cannot be written.
    """

    def __init__(self, path: Path, meta: Mapping[str, Any], n: int) -> None:
        self.path = path
        self._synced = time.monotonic()
        header = _header(meta, n)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = io.FileIO(os.open(path, os.O_RDWR | os.O_CREAT | BINARY, 0o666), "r+")
        except OSError as error:
            raise self._unwritable(error) from None
        with ExitStack() as on_failure:
            on_failure.callback(self._file.close)
            lock(self._file.fileno(), path)
            self._places, self._end = _scan(self._file.fileno(), path, header)
            self._file.truncate(self._end)
            if not self._end:
                self._append([_line(header)])
            on_failure.pop_all()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        if kind is not None:
            logger.warning(
                "%d finished items are saved in %s. To resume, run the same command again, "
                "without --overwrite.",
                len(self),
                self.path,
            )

    def __iter__(self) -> Iterator[int]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def append(self, entries: Mapping[int, Mapping[str, Any]]) -> None:
        """Append finished items (index -> entry) in one write."""
        lines = {index: _line({"index": index, "entry": e}) for index, e in entries.items()}
        start = self._end
        self._append(lines.values())
        for index, line in lines.items():
            self._places[index] = (start, len(line))
            start += len(line)

    def items(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Iterate over (index, entry) of the finished items, in order of the index."""
        for index in sorted(self._places):
            offset, length = self._places[index]
            yield index, json.loads(self._read(offset, length))["entry"]

    def remove(self) -> None:
        """Remove the file; call it at the end of the `with` block, after which nothing is left."""
        remove_locked(self._file, self.path)

    def _read(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(length)

    def _append(self, lines: Iterable[bytes]) -> None:
        data = b"".join(lines)
        try:
            for start in range(0, len(data), 1 << 20):
                self._write(data[start : start + (1 << 20)])
            if time.monotonic() - self._synced > SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise self._unwritable(error) from None

    def _write(self, data: bytes) -> None:
        self._file.seek(self._end)
        while data:
            written = self._file.write(data)
            self._end += written
            data = data[written:]

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(
            f"cannot write {self.path}: {error.strerror}. The finished items are saved. Free some "
            "space or choose another place, and run the same command again."
        )


def require_unlocked(path: Path) -> None:
    """Raise LockedError if another process has this file locked; a missing file is not locked.

    The file is locked for the moment of the check: of several processes of a run, only the first
    may call this.
    """
    try:
        handle = os.open(path, os.O_RDWR | BINARY)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}.") from None
    try:
        lock(handle, path)
    finally:
        os.close(handle)


@contextmanager
def locked_file(path: Path) -> Iterator[None]:
    """Make a file and hold a lock on it during the block.

    Raises:
        LockedError: Another process holds the lock.
        OutputError: The file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | BINARY, 0o666)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}.") from None
    try:
        lock(handle, path)
        yield
    finally:
        os.close(handle)


def finished_items(path: Path, meta: Mapping[str, Any], n: int) -> set[int]:
    """Read the indices of the finished items without locking the journal.

    So the other processes of a run can read while the first process writes.

    Args:
        path: The journal.
        meta: What makes this run the same run, as it was given to `Journal`.
        n: Number of items of the run.

    Raises:
        InputError: The journal belongs to another run.
        StateError: The journal is damaged.
    """
    handle = os.open(path, os.O_RDONLY | BINARY)
    try:
        places, _ = _scan(handle, path, _header(meta, n))
    finally:
        os.close(handle)
    return set(places)


_SETTINGS = {
    "model_sha256": "content of the model",
    "data_sha256": "content of the data",
    "sha256": "content of the source",
    "n": "number of items",
    "n_items": "number of items",
    "items": "number of items",
    "prompt_sha256": "text of the prompt",
    "decoding": "decoding options",
    "edited_reasoning": "edited reasoning",
    "image_root": "image root",
    "dtype": "data type",
    "versions": "versions of libraries",
}
"""Key of the metadata of a run -> what a message calls it, if that is not the key itself."""


def differences(old: object, new: Mapping[str, Any]) -> str:
    """The settings in which two runs differ, as text for a message; "" if there are none.

    Args:
        old: The metadata of the earlier run, as read from its file.
        new: The metadata of this run.
    """
    before = old if isinstance(old, dict) else {}
    keys = [key for key in {**new, **before} if before.get(key) != new.get(key)]
    return ", ".join(dict.fromkeys(_SETTINGS.get(key, key) for key in keys))


def _header(meta: Mapping[str, Any], n: int) -> dict[str, Any]:
    return {"schema": SCHEMA, "meta": meta, "n": n}


def _scan(
    handle: int, path: Path, header: Mapping[str, Any]
) -> tuple[dict[int, tuple[int, int]], int]:
    """Index of each finished item -> (offset, length) of its line; and where the next line goes."""
    places: dict[int, tuple[int, int]] = {}
    offset = 0
    with open(handle, "rb", closefd=False) as file:
        for number, line in enumerate(file, 1):
            record = _record(line)
            if record is None:
                if file.read(1):
                    raise StateError(
                        f"{path}, line {number}: damaged. "
                        "Restore it from a copy, or start again with --overwrite."
                    )
                break
            if number == 1:
                _require_same(path, record, header)
            else:
                places[record["index"]] = (offset, len(line))
            offset += len(line)
    return places, offset


def _require_same(path: Path, first_record: Mapping[str, Any], header: Mapping[str, Any]) -> None:
    """Raise InputError that names the settings in which this run differs from the journal's."""
    old = first_record.get("meta") if first_record.get("schema") == SCHEMA else None
    if not isinstance(old, dict):
        raise StateError(f"{path} is not a journal of medr1. Choose another output.")
    new = header["meta"]
    changed = differences(
        {**old, "n_items": first_record.get("n")}, {**new, "n_items": header["n"]}
    )
    if changed:
        raise needs_overwrite(path, f"belongs to another run (different: {changed})")


_MARK = b', "crc32": "'


def _line(record: Mapping[str, Any]) -> bytes:
    """A record as a line of JSON whose last field is the checksum of the others."""
    body = json.dumps(record, ensure_ascii=False, allow_nan=False).encode(
        "utf-8", "backslashreplace"
    )
    return body[:-1] + _MARK + b'%08x"}\n' % zlib.crc32(body)


def _record(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None if the line is incomplete or damaged."""
    body, mark, checksum = line.rpartition(_MARK)
    body += b"}"
    if not mark or checksum != b'%08x"}\n' % zlib.crc32(body):
        return None
    record: dict[str, Any] = json.loads(body)
    return record
