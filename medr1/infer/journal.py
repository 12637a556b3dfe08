"""The crash-safe half of a batch: every finished item is a line that survives whatever comes next.

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
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from medr1.errors import InputError, LockedError, OutputError, StateError

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
        self._places: dict[int, tuple[int, int]] = {}
        """Index of a finished item -> (offset, length) of its line."""
        self._synced = time.monotonic()
        header = {"schema": SCHEMA, "meta": meta, "n": n}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise self._unwritable(error) from None
        with ExitStack() as on_failure:
            on_failure.callback(os.close, self._file)
            self._lock()
            self._end = self._read(header)
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
                "%d items are finished and kept in %s; the same command goes on from there.",
                len(self),
                self.path,
            )

    def __contains__(self, index: object) -> bool:
        return index in self._places

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

    def entries(self) -> Iterator[dict[str, Any]]:
        """The finished items in order of their index."""
        for index in sorted(self._places):
            offset, length = self._places[index]
            yield json.loads(os.pread(self._file, length, offset))["entry"]

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(
                f"{self.path} is being written by another run. Wait for it, or choose another "
                "output."
            ) from None

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

    def _read(self, header: dict[str, Any]) -> int:
        """Find what is there; returns where the next line goes."""
        offset = 0
        with open(self._file, "rb", closefd=False) as file:
            for number, line in enumerate(file, 1):
                record = _record(line)
                if record is None:
                    if file.read(1):
                        raise StateError(
                            f"{self.path}, line {number}: damaged, and not by a kill. "
                            "Restore it from a copy, or begin again with --overwrite."
                        )
                    break
                if number == 1:
                    self._require_same(record, header)
                else:
                    self._places[record["index"]] = (offset, len(line))
                offset += len(line)
        return offset

    def _require_same(self, there: dict[str, Any], header: dict[str, Any]) -> None:
        """InputError that names what this run would do otherwise than the one that was begun."""
        old = there.get("meta") if there.get("schema") == SCHEMA else None
        if not isinstance(old, dict):
            raise StateError(f"{self.path} is no journal of medr1. Choose another output.")
        new = header["meta"]
        changed = [key for key in {**new, **old} if old.get(key) != new.get(key)]
        if there.get("n") != header["n"]:
            changed.append("number of items")
        if changed:
            raise InputError(
                f"{self.path} belongs to another run ({', '.join(changed)} differ). Choose another "
                "--output-file, or --overwrite, which keeps the old as .bak."
            )

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(
            f"cannot write {self.path}: {error.strerror}. What is finished stays; make room or "
            "choose another place, and run the same command again."
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
