"""The replies of the judge in a file, so that no answer is sent twice.

    {"judge_reply": "<SHA-256 of what was asked>", "id": "q1", "verdict": "correct", "reply": "..."}

A line is appended for each reply. A killed process may leave a part of a line at the end; it is
removed, and its answer is sent again. The reply is read anew in each run: `verdict` is for people.
"""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from medr1.errors import InputError, OutputError
from medr1.files import BINARY, lock
from medr1.judge.prompt import read_verdict

logger = logging.getLogger("medr1")

_START = b'{"judge_reply": "'


class Replies:
    """The replies so far: key of what was asked -> reply. Made by `open_replies`."""

    def __init__(self, file: io.FileIO | None, path: Path | None) -> None:
        self._file, self._path = file, path
        self._replies: dict[str, str] = {}
        if file is not None and path is not None:
            self._replies, end = _read(file, path)
            file.truncate(end)
            file.seek(end)

    def __len__(self) -> int:
        return len(self._replies)

    def get(self, key: str) -> str | None:
        """The reply for a key; None if there is none."""
        return self._replies.get(key)

    def add(self, key: str, item_id: str, reply: str) -> None:
        """Note a reply, in the file too.

        Args:
            key: The key of what was asked.
            item_id: The item, for people who read the file.
            reply: The reply.

        Raises:
            OutputError: The file cannot be written.
        """
        self._replies[key] = reply
        if self._file is None:
            return
        line = {"judge_reply": key, "id": item_id, "verdict": read_verdict(reply), "reply": reply}
        try:
            self._write(json.dumps(line).encode() + b"\n")
        except OSError as error:
            raise OutputError(
                f"cannot write {self._path}: {error.strerror}. Free some space, or choose another "
                "file for the replies."
            ) from None

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        while data:
            data = data[self._file.write(data) :]


@contextmanager
def open_replies(path: Path | None) -> Iterator[Replies]:
    """Open a file with replies for one run, and lock it; None keeps them in memory only.

    Raises:
        InputError: The file holds something else.
        LockedError: Another run writes it.
        OutputError: It cannot be written.
    """
    if path is None:
        yield Replies(None, None)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = io.FileIO(os.open(path, os.O_RDWR | os.O_CREAT | BINARY, 0o666), "r+")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}. Choose another place.") from None
    with file:
        lock(file.fileno(), path)
        replies = Replies(file, path)
        with ExitStack() as on_failure:
            on_failure.callback(_log_saved, replies, path)
            yield replies
            on_failure.pop_all()


def _log_saved(replies: Replies, path: Path) -> None:
    logger.warning(
        "%d replies of the judge are saved in %s. To resume, run the same command again.",
        len(replies),
        path,
    )


def _read(file: io.FileIO, path: Path) -> tuple[dict[str, str], int]:
    """The replies in a file, and where the next line goes."""
    replies: dict[str, str] = {}
    end = 0
    with open(file.fileno(), "rb", closefd=False) as stream:
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n") and _is_start(line):
                break
            entry = _entry(line)
            if entry is None:
                raise InputError(
                    f"{path}, line {number}: not a reply of a judge. Remove the line, or choose "
                    "another file for the replies."
                )
            replies[str(entry["judge_reply"])] = str(entry["reply"])
            end += len(line)
    return replies, end


def _is_start(line: bytes) -> bool:
    """Whether an incomplete line begins like those that are written here."""
    return line.startswith(_START) or _START.startswith(line)


def _entry(line: bytes) -> Mapping[str, object] | None:
    """The content of a line; None if it is none of those that are written here."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and {"judge_reply", "reply"} <= entry.keys() else None
