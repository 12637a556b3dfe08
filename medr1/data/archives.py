"""Files out of an archive or a folder, one after the other: nothing is ever unpacked.

A zip, tar or tar.gz is judged whole by its list of members before any content is read, and a
member's content goes to memory only. So no name in it can lead anywhere, and what it unpacks to is
bounded three times: by member, in all, and by ratio.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from medr1.data.roots import ImageRoot, resolve_image
from medr1.errors import InputError, ItemError
from medr1.files import open_file

MAX_ENTRIES = 2_000_000
MAX_TOTAL = 512 * 1024**3
"""Bytes of all members; OmniMedVQA has 11 GB."""
MAX_MEMBER = 256 * 1024**2
MAX_RATIO = 200
"""Unpacked bytes for a packed one; deflate reaches 1,032, pictures and JSON below 30."""
MAX_HEAD = 1024**2
"""Bytes that a tar may spend on one member's name and attributes, which are read into memory."""
RATIO_FROM = 8 * 1024**2
"""A member, or all of them, below this size may have any ratio: they can do no harm."""

_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    struct.error,
)
"""What the standard library raises on archives that are damaged, encrypted or of a new method."""


@dataclass(frozen=True)
class Folder:
    """Files below a folder, by their names relative to it."""

    path: Path
    closed: bool = True
    """Whether a name that is absolute has to lie below it too."""

    def names(self) -> list[str]:
        """Every regular file's name with forward slashes, sorted."""
        found = []
        for folder, _, files in os.walk(self.path):
            inside = os.path.relpath(folder, self.path)
            found += [os.path.normpath(os.path.join(inside, name)) for name in files]
        return sorted(name.replace(os.sep, "/") for name in found)

    def read(self, wanted: Collection[str]) -> Iterator[tuple[str, Path | ItemError]]:
        """(name, where it lies) of each wanted file; why not, where it may not be read."""
        for name in wanted:
            try:
                yield name, resolve_image(name, ImageRoot(self.path, self.closed))
            except ItemError as error:
                yield name, error


@dataclass(frozen=True)
class Archive:
    """A zip, tar or tar.gz whose list of members was found harmless."""

    path: Path
    members: Mapping[str, int]
    """Name -> bytes, of the regular files."""

    def names(self) -> list[str]:
        """Every file's name, sorted."""
        return sorted(self.members)

    def read(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes | ItemError]]:
        """(name, content) of each wanted member, in the archive's order, one in memory at a time.

        What is not there comes first, as an ItemError; a member that is damaged is one too.
        """
        for name in wanted:
            if name not in self.members:
                yield name, ItemError("image_missing", f"{name!r} is not in {self.path.name}.")
        present = {name for name in wanted if name in self.members}
        try:
            read = _read_zip if _is_zip(self.path) else _read_tar
            yield from read(self.path, present)
        except _DAMAGED as error:
            raise _damaged(self.path, error) from None


def open_source(path: Path) -> Folder | Archive:
    """The files of a folder or an archive; InputError for an archive that is not to be trusted."""
    if path.is_dir():
        return Folder(path)
    open_file(path).close()
    try:
        listed = _list_zip(path) if _is_zip(path) else _list_tar(path)
    except InputError:
        raise
    except _DAMAGED as error:
        raise _damaged(path, error) from None
    _refuse_below_files(path, listed)
    return Archive(path, listed)


def is_archive(path: Path) -> bool:
    """Whether a file is meant as an archive, by its name."""
    return path.name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz"))


def _is_zip(path: Path) -> bool:
    with open_file(path) as file:
        return file.read(2) == b"PK"


def _damaged(path: Path, error: BaseException) -> InputError:
    said = " ".join(str(error).split())[:120] or type(error).__name__
    return InputError(f"{path} cannot be read as an archive ({said!r}). Download it again.")


def _refused(path: Path, name: str, why: str) -> InputError:
    return InputError(f"{path}: the member {name[:100]!r} {why}. Nothing was unpacked.")


class _Caps:
    """What the members seen so far come to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.members: dict[str, int] = {}
        self.entries = self.total = 0

    def entry(self) -> None:
        """Count a member of any kind."""
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise InputError(f"{self.path} holds more than {MAX_ENTRIES:,} members. Split it.")

    def file(self, name: str, size: int, packed: int | None) -> None:
        """Take a regular file in, or refuse the archive for it."""
        name = self.name(name)
        if name in self.members:
            raise _refused(self.path, name, "stands in it twice")
        if not 0 <= size <= MAX_MEMBER:
            raise _refused(self.path, name, f"has more than {MAX_MEMBER >> 20} MB")
        if packed is not None and size > RATIO_FROM and size > MAX_RATIO * max(packed, 1):
            raise _refused(self.path, name, f"unpacks to over {MAX_RATIO} times its size")
        self.total += size
        if self.total > MAX_TOTAL:
            raise InputError(f"{self.path} unpacks to more than {MAX_TOTAL >> 30} GB. Split it.")
        if self.total > RATIO_FROM and self.total > MAX_RATIO * self.size:
            raise _refused(self.path, name, f"makes it unpack to over {MAX_RATIO} times its size")
        self.members[name] = size

    def name(self, name: str) -> str:
        """The name without a leading "./"; refused where it leads elsewhere or is not text."""
        try:
            name.encode()
        except UnicodeEncodeError:
            raise _refused(self.path, name, "has a name that is not UTF-8") from None
        if "\ufffd" in name or any(ord(letter) < 32 for letter in name):
            raise _refused(self.path, name, "has a name that is not plain text")
        name = name.removeprefix("./")
        parts = name.rstrip("/").split("/")
        if name.startswith(("/", "\\")) or "\\" in name or name[1:2] == ":":
            raise _refused(self.path, name, "has an absolute path or a backslash")
        if ".." in parts:
            raise _refused(self.path, name, "leads out of the archive")
        if name and ("" in parts or "." in parts):
            raise _refused(self.path, name, "has a name that is no plain path")
        return name


def _list_zip(path: Path) -> dict[str, int]:
    caps = _Caps(path)
    with zipfile.ZipFile(path) as file:
        for info in file.infolist():
            caps.entry()
            name = _zip_name(info)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind and not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                raise _refused(path, name, "is a link or a device, not a file")
            if info.flag_bits & 1:
                raise _refused(path, name, "is encrypted")
            if name.endswith("/"):
                caps.name(name)
            else:
                caps.file(name, info.file_size, info.compress_size)
    return caps.members


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The name as it was written; some programs write UTF-8 and do not say so."""
    name = info.orig_filename  # `filename` is cut at a NUL
    if info.flag_bits & 0x800 or name.isascii():
        return name
    return name.encode("cp437").decode("utf-8", "surrogateescape")


class _Bounded(io.RawIOBase):
    """A tar's bytes, of which not more than `most` are read at once.

    tarfile reads a name as long as the tar says it is.
    """

    def __init__(self, file: gzip.GzipFile | io.BufferedReader, most: int) -> None:
        self.file = file
        self.most = most

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self.most:
            raise tarfile.ReadError(f"a member's name or attributes of {size:,} bytes")
        return self.file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()


def _tar_members(path: Path, most: int) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """(the tar, a member) one after the other, in bounded memory."""
    with open_file(path) as packed:
        zipped = packed.read(2) == b"\x1f\x8b"
        packed.seek(0)
        stream = _Bounded(gzip.GzipFile(fileobj=packed) if zipped else packed, most)
        # "surrogateescape" also stops tarfile from guessing at names that are not UTF-8
        with tarfile.TarFile(fileobj=stream, encoding="utf-8", errors="surrogateescape") as file:
            while (info := file.next()) is not None:
                yield file, info
                file.members = []  # type: ignore[attr-defined]  # it would keep a million


def _list_tar(path: Path) -> dict[str, int]:
    caps = _Caps(path)
    for _, info in _tar_members(path, MAX_HEAD):
        caps.entry()
        if info.isdir():
            caps.name("" if info.name == "." else info.name)
            continue
        if not info.isreg() or info.issparse():
            raise _refused(path, info.name, "is a link or a device, not a file")
        caps.file(info.name, info.size, None)
        tarfile.data_filter(info, str(path.parent))  # the standard library's own judgement
    return caps.members


def _refuse_below_files(path: Path, members: Mapping[str, int]) -> None:
    """Refuse a file that lies below another file."""
    for name in members:
        above = name
        while "/" in above:
            above = above.rpartition("/")[0]
            if above in members:
                raise _refused(path, name, "lies below another file")


def _read_zip(path: Path, wanted: Collection[str]) -> Iterator[tuple[str, bytes | ItemError]]:
    with zipfile.ZipFile(path) as file:
        for info in sorted(file.infolist(), key=lambda info: info.header_offset):
            name = _zip_name(info).removeprefix("./")
            if name in wanted:
                try:
                    with file.open(info) as stream:
                        content: bytes | ItemError = stream.read(info.file_size + 1)
                except _DAMAGED as error:
                    content = _damaged_member(name, path, error)
                yield name, content


def _read_tar(path: Path, wanted: Collection[str]) -> Iterator[tuple[str, bytes | ItemError]]:
    for file, info in _tar_members(path, MAX_MEMBER):
        name = info.name.removeprefix("./")
        if info.isreg() and name in wanted:
            stream = file.extractfile(info)
            yield name, stream.read() if stream else b""


def _damaged_member(name: str, path: Path, error: BaseException) -> ItemError:
    said = " ".join(str(error).split())[:80] or type(error).__name__
    return ItemError("image_unreadable", f"{name!r} in {path.name} is damaged ({said!r}).")
