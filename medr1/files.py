"""Reading and writing files: strict JSON, atomic writes, locks, hashes, backups."""

from __future__ import annotations

import codecs
import hashlib
import io
import json
import logging
import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from difflib import get_close_matches
from itertools import count, islice
from pathlib import Path
from typing import Any, cast

from medr1.errors import InputError, LockedError, OutputError

logger = logging.getLogger("medr1")

TEMPORARY = "-medr1-tmp"
"""Suffix of a file or folder that is still being written. No other program uses it."""
BINARY = getattr(os, "O_BINARY", 0)
"""Flag of os.open that keeps Windows from changing line ends."""
_MOVES_OPEN_FILES = os.name != "nt"
"""Whether a file can be renamed or removed while it is open. On Windows it cannot."""


def read_text(path: Path) -> str:
    """The file as text, without a byte order mark: UTF-8, or UTF-16 if its mark says so.

    Raises:
        InputError: The file cannot be read, or is not UTF-8.
    """
    with open_file(path) as file:
        content = file.read()
    try:
        return io.TextIOWrapper(io.BytesIO(content), encoding=encoding_of(content)).read()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        encoding = "UTF-8" if error.encoding.startswith("utf-8") else "UTF-16"
        raise InputError(
            f"{path}, line {line}: not {encoding} text (byte {error.start}). Save it as UTF-8."
        ) from None


def encoding_of(start: bytes) -> str:
    """The encoding of a file by its first bytes: utf-16 with a byte order mark, else utf-8-sig."""
    return "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


@contextmanager
def utf8_stream(binary: io.BufferedReader, path: Path) -> Iterator[io.BufferedReader]:
    """The file, which is open at its start, as a stream of UTF-8 bytes; UTF-16 is converted.

    Args:
        binary: The open file.
        path: Its path, for errors.

    Raises:
        InputError: What the block reads is not the UTF-16 that the byte order mark promises.
    """
    start = binary.read(3)
    binary.seek(3 if start == b"\xef\xbb\xbf" else 0)
    if encoding_of(start) != "utf-16":
        yield binary
        return
    try:
        yield cast(io.BufferedReader, codecs.EncodedFile(binary, "utf-8", "utf-16"))
    except UnicodeError as error:
        reason = getattr(error, "reason", "damaged")
        raise InputError(f"{path}: not UTF-16 text ({reason}). Save it as UTF-8.") from None


def is_blank(path: Path) -> bool:
    """Whether a file has nothing but a byte order mark and white space.

    Raises:
        InputError: The file cannot be read.
    """
    with open_file(path) as file:
        while block := file.read(1 << 16):
            if block.strip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n"):
                return False
    return True


def similar_file(path: Path, otherwise: str = "Check the path.") -> str:
    """The end of a message about a missing file: the most similar file of its folder, if any.

    Args:
        path: The missing file. Of its folder, at most 1000 names are compared.
        otherwise: The text if no name is similar.
    """
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in islice(entries, 1000)]
    except (OSError, ValueError):
        return otherwise
    similar = get_close_matches(path.name, names, n=1, cutoff=0.75)
    return f"Did you mean {similar[0]}?" if similar else otherwise


def open_file(path: Path) -> io.BufferedReader:
    """Open a file to read bytes.

    Raises:
        InputError: The file cannot be opened.
    """
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise InputError(f"file not found: {path}. {similar_file(path)}") from None
    except IsADirectoryError:
        raise InputError(
            f"{path} is a folder where a file is expected. Name a file inside it."
        ) from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}.") from None


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]|-?[A-Za-z0-9.+-]+')
_COLON = re.compile(r"\s*:")
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|u(?P<lone>[dD][89a-fA-F]..)|.)", re.DOTALL
)
_MAX_DEPTH = 500
_MAX_DIGITS = 4300


def parse_json(text: str, where: str, *, first_line: int = 1) -> Any:
    """Parse strict JSON: no NaN, no number beyond float64, no repeated key, no lone surrogate.

    Args:
        text: One JSON value.
        where: Name of the source, for the error.
        first_line: Number of the text's first line in the source.

    Raises:
        InputError: The text is not strict JSON; the message has line and column.
    """
    try:
        value = _DECODER.decode(text)
        if "\\u" not in text or _lone_surrogate(text) is None:
            return value
        place, problem = _offence(text)
    except json.JSONDecodeError as error:
        place, problem = error.pos, error.msg
        if text.startswith("\ufeff"):
            problem = "a byte order mark (BOM) that is not at the start of the file"
        elif problem == "Extra data":
            problem = "there is text after the first value; name a file of JSON lines .jsonl"
    except (ValueError, RecursionError):
        place, problem = _offence(text)
    line = first_line + text.count("\n", 0, place)
    column = place - text.rfind("\n", 0, place)
    raise InputError(
        f"{where}, line {line}, column {column}: not valid JSON ({problem}). Correct it there."
    )


def _refuse(token: str) -> None:
    raise ValueError(token)


def _finite_float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(digits)
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("repeated key")
    return values


_DECODER = json.JSONDecoder(
    parse_constant=_refuse, parse_float=_finite_float, object_pairs_hook=_unique_keys
)
"""Shared by all calls: making one takes longer than parsing a line of JSONL."""


def _lone_surrogate(text: str) -> int | None:
    """Position of an escape such as \\ud800 that is half of a surrogate pair, or None."""
    return next((m.start() for m in _ESCAPE.finditer(text) if m["lone"]), None)


def _offence(text: str) -> tuple[int, str]:
    """Position and description of what `parse_json` refuses in text that is valid for json."""
    keys: list[set[str] | None] = []
    for token in _TOKEN.finditer(text):
        first, place = token[0][0], token.start()
        if first in "{[":
            keys.append(set() if first == "{" else None)
            if len(keys) > _MAX_DEPTH:
                return place, f"nested more than {_MAX_DEPTH} deep"
        elif first in "}]":
            keys.pop()
        elif first == '"':
            if "\\u" in token[0] and (half := _lone_surrogate(token[0])) is not None:
                return place + half, "an escape that is half of a surrogate pair"
            object_keys = keys[-1] if keys else None
            if object_keys is not None and _COLON.match(text, token.end()):
                key = json.loads(token[0])
                if key in object_keys:
                    return place, f"the key {key[:40]!r} is twice in one object"
                object_keys.add(key)
        elif first.isalpha() or token[0] == "-Infinity":
            if token[0] not in ("true", "false", "null"):
                return place, f"{token[0]} is not a number in JSON; use null"
        elif len(token[0]) > _MAX_DIGITS or math.isinf(float(token[0])):
            return place, "a number too large"
    return 0, "refused"


def in_gb(size: int) -> str:
    """A number of bytes as text: in GB, or in MB if it is below 0.1 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def write_atomic(path: Path, data: str | bytes | Iterable[str]) -> None:
    """Write a file under a temporary name, then rename it: a reader never sees a part of it.

    The temporary name depends on `path` only, so that the next write replaces what a killed process
    left there.

    Args:
        path: File to write. Its folder is made if it does not exist.
        data: The content, or pieces of it. Text is written as UTF-8.

    Raises:
        LockedError: Another process is writing this file.
        OutputError: The file cannot be written.
    """
    pieces = [data] if isinstance(data, str | bytes) else data
    beside = temporary(path)
    try:
        if path.exists() and not path.is_file():
            raise OutputError(f"cannot write {path}: it is not a regular file. Choose another.")
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(beside, os.O_CREAT) as locked, ExitStack() as on_failure:
            on_failure.callback(remove_locked, locked, beside)
            locked.truncate(0)
            with open(locked.fileno(), "wb", closefd=False) as file:
                for piece in pieces:
                    file.write(piece.encode("utf-8") if isinstance(piece, str) else piece)
            os.fsync(locked.fileno())
            os.chmod(beside, 0o666 & ~_umask())
            _close_before_moving(locked)
            os.replace(beside, path)
            on_failure.pop_all()  # from here on another process may use the temporary name
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"cannot write {path}: {error.strerror}. Choose another place or free space."
        ) from None


def temporary(path: Path) -> Path:
    """The temporary name under which a file or folder is written."""
    return path.with_name(f".{path.name}{TEMPORARY}")


@contextmanager
def unfinished_folder(folder: Path) -> Iterator[Path]:
    """An empty temporary folder to fill, and to rename to `folder`; removed if the block fails.

    What a killed process left there is removed first.

    Raises:
        LockedError: Another process is filling it.
        OutputError: The temporary name is a link, which is not followed.
    """
    beside = temporary(folder.absolute())
    if beside.is_symlink():
        raise OutputError(f"cannot write {folder}: {beside} is a link. Remove it.")
    beside.mkdir(parents=True, exist_ok=True)
    in_use = temporary(folder.absolute().with_name(f"{folder.name}.lock"))
    with _locked(in_use, os.O_CREAT) as locked, ExitStack() as at_end, ExitStack() as on_failure:
        at_end.callback(remove_locked, locked, in_use)
        on_failure.callback(shutil.rmtree, beside, ignore_errors=True)
        for left in beside.iterdir():
            remove(left)
        yield beside
        on_failure.pop_all()


@contextmanager
def _locked(path: Path, flags: int = 0) -> Iterator[io.FileIO]:
    """A temporary file of medr1 that is open and locked.

    On a file system without locks it is not protected from a second run.
    """
    flags |= os.O_RDWR | BINARY | getattr(os, "O_NOFOLLOW", 0)
    while True:
        with io.FileIO(os.open(path, flags, 0o666), "r+") as file:
            with suppress(OutputError):
                lock(file.fileno(), path)
            if _is_at(file.fileno(), path):  # else another process has just renamed it
                yield file
                return


def _close_before_moving(locked: io.FileIO) -> None:
    """On Windows, close a file that is renamed or removed next. Elsewhere its lock is kept.

    On Windows another run may open the file before it is renamed. The renaming then fails, and the
    error says so; a part of a file is never renamed.
    """
    if not _MOVES_OPEN_FILES:
        locked.close()


def remove_locked(locked: io.FileIO, path: Path) -> None:
    """Remove a file that is open and locked.

    Args:
        locked: The open file.
        path: Its path.
    """
    _close_before_moving(locked)
    path.unlink(missing_ok=True)


def lock(handle: int, path: Path) -> None:
    """Lock an open file for this process alone, without waiting.

    The operating system frees the lock when the process ends, also after `kill -9`. On Windows no
    other process can read the first byte of a locked file.

    Args:
        handle: File descriptor.
        path: The file's path, for errors.

    Raises:
        LockedError: Another process has locked it.
        OutputError: The file system has no locks.
    """
    from filelock import lock_descriptor

    try:
        is_locked = lock_descriptor(handle, blocking=False)
    except OSError as error:
        raise OutputError(
            f"cannot lock {path}: {error.strerror}. Choose an output on another file system."
        ) from None
    if not is_locked:
        raise LockedError(
            f"{path} is being written by another run. Wait for it, or choose another output."
        )


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False


def clear_temporaries(folder: Path) -> None:
    """Remove the temporary files that a killed process left below a folder of medr1."""
    for left in folder.rglob(f".*{TEMPORARY}"):
        remove_unused(left)


def remove_unused(left: Path) -> None:
    """Remove a temporary file of medr1 if it exists and no other process uses it."""
    if left.is_file() and not left.is_symlink():
        with suppress(OSError, LockedError), _locked(left) as locked:
            remove_locked(locked, left)


def remove(path: Path) -> None:
    """Remove a file or a folder of medr1 if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def to_json(document: object) -> str:
    """A document as medr1 writes all JSON files: two spaces, UTF-8, no NaN, a final newline.

    Args:
        document: One of the types in `medr1.documents`, or a value that `json` can write.
    """
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False, default=_to_builtins)
    return text + "\n"


def _to_builtins(document: object) -> object:
    """One of the types in `medr1.documents` as dictionaries and lists."""
    from msgspec import to_builtins

    return to_builtins(document)


def sha256_of(path: Path) -> str:
    """SHA-256, in hex, of a file, or of the sorted names and contents of a folder's files."""
    digest = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def prepare_folder(folder: Path, *, overwrite: bool) -> None:
    """Make an empty output folder.

    Args:
        folder: Folder to make, if it does not exist.
        overwrite: Rename a folder that has files to .bak.

    Raises:
        InputError: The folder has files, and `overwrite` is False.
        OutputError: The folder cannot be made.
    """
    try:
        if folder.is_dir():
            clear_temporaries(folder)
            if any(folder.iterdir()):
                if not overwrite:
                    raise needs_overwrite(folder, "is not empty")
                set_aside(folder)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot make the folder {folder}: {error.strerror}.") from None


def needs_overwrite(path: Path, reason: str) -> InputError:
    """The error for an output that exists, is not continued, and is kept unless the user says so.

    Args:
        path: The output.
        reason: Why it is not continued, such as "exists" or "belongs to another run".
    """
    return InputError(
        f"{path} {reason}. Choose another output, or --overwrite, which keeps the old one as .bak."
    )


def require_apart(path: Path, inputs: Iterable[Path]) -> None:
    """Check that renaming an output to .bak would not move an input.

    Args:
        path: File or folder that will be renamed.
        inputs: Files and folders that the command reads.

    Raises:
        InputError: `path` is an input, or contains one.
    """
    for source in inputs:
        if source.exists() and source.resolve().is_relative_to(path.resolve()):
            reason = (
                "is an input too" if source.resolve() == path.resolve() else f"has {source} in it"
            )
            reason = "contains the current folder" if source == Path() else reason
            raise InputError(f"{path} {reason}, so it cannot be renamed to .bak. Choose another.")


def set_aside(path: Path) -> None:
    """Rename a file or folder to NAME.bak, or NAME.bak.2 and so on if there is one already.

    Commands call `require_apart` on their inputs before they start.

    Raises:
        InputError: The folder contains the current folder.
        OutputError: It cannot be renamed.
    """
    require_apart(path, [Path()])
    names = (f"{path.name}.bak{f'.{number}' if number > 1 else ''}" for number in count(1))
    backup = next(b for b in map(path.with_name, names) if not os.path.lexists(b))
    try:
        os.replace(path, backup)
    except OSError as error:
        raise OutputError(f"cannot move {path} to {backup}: {error.strerror}.") from None
    logger.info("%s: the old one is now %s", path, backup)


def printable(name: str) -> str:
    """A name from the file system or the command line as valid UTF-8 text.

    Bytes of a file name that are no UTF-8 become the replacement character.
    """
    return os.fsencode(name).decode("utf-8", "replace")
