"""The crash-safe half of a long run: a finished item is a line that survives whatever comes next.

    {"schema": "medr1.journal/1", "meta": {...}, "n": 100000, "crc32": "..."}     what is being run
    {"index": 0, "entry": {...}, "crc32": "..."}                                  one finished item

Lines are appended and never changed. A kill may leave half a line at the end: it is cut off, and
its item is done again. A line that is wrong anywhere else was not left by us, and is an error.
"""

from __future__ import annotations

import fcntl
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

from medr1.errors import InputError, OutputError, StateError
from medr1.files import lock

logger = logging.getLogger("medr1")

SCHEMA = "medr1.journal/1"
SYNC_SECONDS = 1.0
"""How much a loss of power may cost; a killed process loses nothing that was appended."""


class Journal:
    """The items of one run that are finished, on disk and locked against a second writer.

    Raises LockedError where another process has it open, StateError where it is damaged, InputError
    where it belongs to another run, OutputError where it cannot be written.
    """

    def __init__(self, path: Path, meta: Mapping[str, Any], n: int) -> None:
        self.path = path
        self._synced = time.monotonic()
        header = _header(meta, n)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise self._unwritable(error) from None
        with ExitStack() as on_failure:
            on_failure.callback(os.close, self._file)
            lock(self._file, path)
            self._places, self._end = _scan(self._file, path, header)
            os.ftruncate(self._file, self._end)
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
        os.close(self._file)
        if kind is not None:
            logger.warning(
                "%d items are finished and kept in %s; the same command goes on from there "
                "(without --overwrite).",
                len(self),
                self.path,
            )

    def __iter__(self) -> Iterator[int]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def append(self, entries: Mapping[int, Mapping[str, Any]]) -> None:
        """Put finished items, by index, at the end in one piece."""
        lines = {index: _line({"index": index, "entry": e}) for index, e in entries.items()}
        start = self._end
        self._append(lines.values())
        for index, line in lines.items():
            self._places[index] = (start, len(line))
            start += len(line)

    def items(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(index, entry) of the finished items, in order."""
        for index in sorted(self._places):
            offset, length = self._places[index]
            yield index, json.loads(os.pread(self._file, length, offset))["entry"]

    def _append(self, lines: Iterable[bytes]) -> None:
        data = b"".join(lines)
        try:
            for start in range(0, len(data), 1 << 20):
                self._write(data[start : start + (1 << 20)])
            if time.monotonic() - self._synced > SYNC_SECONDS:
                os.fsync(self._file)
                self._synced = time.monotonic()
        except OSError as error:
            raise self._unwritable(error) from None

    def _write(self, data: bytes) -> None:
        while data:
            written = os.pwrite(self._file, data, self._end)
            self._end += written
            data = data[written:]

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(
            f"cannot write {self.path}: {error.strerror}. What is finished stays; make room or "
            "choose another place, and run the same command again."
        )


def require_unlocked(path: Path) -> None:
    """Raise LockedError where another process has this journal open."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}.") from None
    try:
        # shared, so that the processes of one run may look at the same time
        lock(handle, path, fcntl.LOCK_SH)
    finally:
        os.close(handle)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """A block with this file made and locked; LockedError where another process has it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}.") from None
    try:
        lock(handle, path)
        yield
    finally:
        os.close(handle)


def finished_items(path: Path, meta: Mapping[str, Any], n: int) -> set[int]:
    """The indices in a journal that another process of the same run may have open."""
    handle = os.open(path, os.O_RDONLY)
    try:
        places, _ = _scan(handle, path, _header(meta, n))
    finally:
        os.close(handle)
    return set(places)


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
                        f"{path}, line {number}: damaged, and not by a kill. "
                        "Restore it from a copy, or begin again with --overwrite."
                    )
                break
            if number == 1:
                _require_same(path, record, header)
            else:
                places[record["index"]] = (offset, len(line))
            offset += len(line)
    return places, offset


def _require_same(path: Path, there: Mapping[str, Any], header: Mapping[str, Any]) -> None:
    """InputError that names what this run would do otherwise than the one that was begun."""
    old = there.get("meta") if there.get("schema") == SCHEMA else None
    if not isinstance(old, dict):
        raise StateError(f"{path} is no journal of medr1. Choose another output.")
    new = header["meta"]
    changed = [key for key in {**new, **old} if old.get(key) != new.get(key)]
    if there.get("n") != header["n"]:
        changed.append("number of items")
    if changed:
        raise InputError(
            f"{path} belongs to another run ({', '.join(changed)} differ). Choose another "
            "output, or --overwrite, which keeps the old as .bak."
        )


_MARK = b', "crc32": "'


def _line(record: Mapping[str, Any]) -> bytes:
    """A record as JSON with the checksum of the rest at its end."""
    body = json.dumps(record, ensure_ascii=False, allow_nan=False).encode(
        "utf-8", "backslashreplace"
    )
    return body[:-1] + _MARK + b'%08x"}\n' % zlib.crc32(body)


def _record(line: bytes) -> dict[str, Any] | None:
    """What a line holds; None where it is not whole."""
    body, mark, checksum = line.rpartition(_MARK)
    body += b"}"
    if not mark or checksum != b'%08x"}\n' % zlib.crc32(body):
        return None
    return json.loads(body)
