"""Read files from an archive (zip, tar, tar.gz) or a folder, one at a time.

An archive is never unpacked to disk, so no name in it can lead out of a folder: the content of a
member only goes to memory. All members are checked before any content is read, and an archive with
one bad member is refused as a whole. The unpacked size has three limits: of one member, of all
members, and as a multiple of the packed size.
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
from medr1.data.scans.location import ImageLocation
from medr1.errors import InputError, ItemError
from medr1.files import open_file

MAX_ENTRIES = 2_000_000
"""Most members of an archive."""
MAX_TOTAL = 512 * 1024**3
"""Most bytes of all members together, unpacked; OmniMedVQA has 11 GB."""
MAX_MEMBER = 256 * 1024**2
"""Most bytes of one member, unpacked."""
MAX_RATIO = 200
"""Most unpacked bytes per packed byte: deflate can reach 1,032, images and JSON stay below 30."""
MAX_HEAD = 1024**2
"""Most bytes of one member's name and attributes in a tar, which are read into memory."""
RATIO_FROM = 8 * 1024**2
"""Bytes up to which a member, or all members together, may have any ratio: so little is safe."""

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
"""What the standard library raises if an archive is damaged, encrypted or of an unknown method."""


@dataclass(frozen=True)
class Folder:
    """The files below a folder; a name is a path relative to the folder."""

    path: Path
    closed: bool = True
    """Whether a file with an absolute name also has to be below the folder."""

    def names(self) -> list[str]:
        """The names of all files, with forward slashes, sorted."""
        names = []
        for folder, _, files in os.walk(self.path):
            inside = os.path.relpath(folder, self.path)
            names += [os.path.normpath(os.path.join(inside, name)) for name in files]
        return sorted(name.replace(os.sep, "/") for name in names)

    def read(self, names: Collection[str]) -> Iterator[tuple[str, ImageLocation | ItemError]]:
        """(name, place) of each of the files; an ItemError in place of a forbidden path."""
        for name in names:
            try:
                yield name, resolve_image(name, ImageRoot(self.path, self.closed))
            except ItemError as error:
                yield name, error


@dataclass(frozen=True)
class Archive:
    """A zip, tar or tar.gz whose members have passed all checks (`open_source`)."""

    path: Path
    members: Mapping[str, int]
    """Name of each regular file -> its unpacked size in bytes."""

    def names(self) -> list[str]:
        """The names of all files, sorted."""
        return sorted(self.members)

    def read(self, names: Collection[str]) -> Iterator[tuple[str, bytes | ItemError]]:
        """(name, content) of each of the files, in the order of the archive.

        Only one content is in memory at a time. A file that is missing or damaged has an ItemError
        in place of its content; the missing ones come first.

        Raises:
            InputError: The archive itself is damaged.
        """
        for name in names:
            if name not in self.members:
                yield name, ItemError("image_missing", f"{name!r} is not in {self.path.name}.")
        present = {name for name in names if name in self.members}
        try:
            read = _read_zip if _is_zip(self.path) else _read_tar
            yield from read(self.path, present)
        except _DAMAGED as error:
            raise _damaged(self.path, error) from None


def open_source(path: Path) -> Folder | Archive:
    """Open a folder or an archive, and check all members of an archive.

    Raises:
        InputError: The archive cannot be read, is damaged, or has a member that may do harm.
    """
    if path.is_dir():
        return Folder(path)
    open_file(path).close()
    try:
        members = _list_zip(path) if _is_zip(path) else _list_tar(path)
    except InputError:
        raise
    except _DAMAGED as error:
        raise _damaged(path, error) from None
    _refuse_below_files(path, members)
    return Archive(path, members)


def is_archive(path: Path) -> bool:
    """Whether the name of a file ends like that of an archive."""
    return path.name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz"))


def _is_zip(path: Path) -> bool:
    with open_file(path) as file:
        return file.read(2) == b"PK"


def _damaged(path: Path, error: BaseException) -> InputError:
    detail = " ".join(str(error).split())[:120] or type(error).__name__
    return InputError(f"{path} cannot be read as an archive ({detail!r}). Download it again.")


def _refused(path: Path, name: str, why: str) -> InputError:
    return InputError(f"{path}: the member {name[:100]!r} {why}. Nothing was unpacked.")


class _MemberChecks:
    """Checks the members of an archive one after the other, and adds up their sizes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.members: dict[str, int] = {}
        self.entries = self.total = 0

    def count_entry(self) -> None:
        """Count a member of any kind, also a folder."""
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise InputError(f"{self.path} has more than {MAX_ENTRIES:,} members. Split it.")

    def add_file(self, name: str, size: int, packed: int | None) -> None:
        """Add a regular file, or refuse the archive because of it.

        `size` and `packed` are in bytes; None if the archive does not have the packed size.
        """
        name = self.plain_name(name)
        if name in self.members:
            raise _refused(self.path, name, "is in it twice")
        if not 0 <= size <= MAX_MEMBER:
            raise _refused(self.path, name, f"has more than {MAX_MEMBER >> 20} MB")
        if packed is not None and size > RATIO_FROM and size > MAX_RATIO * max(packed, 1):
            raise _refused(self.path, name, f"unpacks to over {MAX_RATIO} times its size")
        self.total += size
        if self.total > MAX_TOTAL:
            raise InputError(f"{self.path} unpacks to more than {MAX_TOTAL >> 30} GB. Split it.")
        if self.total > RATIO_FROM and self.total > MAX_RATIO * self.size:
            raise _refused(
                self.path, name, f"makes the archive unpack to over {MAX_RATIO} times its size"
            )
        self.members[name] = size

    def plain_name(self, name: str) -> str:
        """The name without a leading "./"; refused if it leads out of a folder or is not text."""
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
            raise _refused(self.path, name, "has an empty or '.' part in its path")
        return name


def _list_zip(path: Path) -> dict[str, int]:
    checks = _MemberChecks(path)
    with zipfile.ZipFile(path) as file:
        for info in file.infolist():
            checks.count_entry()
            name = _zip_name(info)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind and not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                raise _refused(path, name, "is a link or a device, not a file")
            if info.flag_bits & 1:
                raise _refused(path, name, "is encrypted")
            if name.endswith("/"):
                checks.plain_name(name)
            else:
                checks.add_file(name, info.file_size, info.compress_size)
    return checks.members


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The name of a member; some programs write UTF-8 without the flag that says so."""
    name = info.orig_filename  # `filename` is cut off at a NUL character
    if info.flag_bits & 0x800 or name.isascii():
        return name
    return name.encode("cp437").decode("utf-8", "surrogateescape")


class _LimitedReads(io.RawIOBase):
    """The bytes of a tar, of which at most `max_bytes` can be read at once.

    tarfile would read a name of any length that the tar states, such as gigabytes.
    """

    def __init__(self, file: gzip.GzipFile | io.BufferedReader, max_bytes: int) -> None:
        self.file = file
        self.max_bytes = max_bytes

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self.max_bytes:
            raise tarfile.ReadError(f"a member's name or attributes of {size:,} bytes")
        return self.file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()


def _tar_members(path: Path, max_bytes: int) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """(the tar, a member) for each member, in little memory; `max_bytes` is the limit of a read."""
    with open_file(path) as packed:
        is_gzip = packed.read(2) == b"\x1f\x8b"
        packed.seek(0)
        stream = _LimitedReads(gzip.GzipFile(fileobj=packed) if is_gzip else packed, max_bytes)
        # "surrogateescape" also stops tarfile from guessing the encoding of names not in UTF-8.
        with tarfile.TarFile(fileobj=stream, encoding="utf-8", errors="surrogateescape") as file:
            while (info := file.next()) is not None:
                yield file, info
                file.members = []  # type: ignore[attr-defined]  # else it collects them all


def _list_tar(path: Path) -> dict[str, int]:
    checks = _MemberChecks(path)
    for _, info in _tar_members(path, MAX_HEAD):
        checks.count_entry()
        if info.isdir():
            checks.plain_name("" if info.name == "." else info.name)
            continue
        if not info.isreg() or info.issparse():
            raise _refused(path, info.name, "is a link or a device, not a file")
        checks.add_file(info.name, info.size, None)
        tarfile.data_filter(info, str(path.parent))  # the standard library's own checks
    return checks.members


def _refuse_below_files(path: Path, members: Mapping[str, int]) -> None:
    """Refuse a file whose path treats another file as a folder: "a.png" and "a.png/b.png"."""
    for name in members:
        parent = name
        while "/" in parent:
            parent = parent.rpartition("/")[0]
            if parent in members:
                raise _refused(path, name, "is below another file, which is no folder")


def _read_zip(path: Path, names: Collection[str]) -> Iterator[tuple[str, bytes | ItemError]]:
    with zipfile.ZipFile(path) as file:
        for info in sorted(file.infolist(), key=lambda info: info.header_offset):
            name = _zip_name(info).removeprefix("./")
            if name in names:
                try:
                    with file.open(info) as stream:
                        content: bytes | ItemError = stream.read(info.file_size + 1)
                except _DAMAGED as error:
                    content = _damaged_member(name, path, error)
                yield name, content


def _read_tar(path: Path, names: Collection[str]) -> Iterator[tuple[str, bytes | ItemError]]:
    for file, info in _tar_members(path, MAX_MEMBER):
        name = info.name.removeprefix("./")
        if info.isreg() and name in names:
            stream = file.extractfile(info)
            yield name, stream.read() if stream else b""


def _damaged_member(name: str, path: Path, error: BaseException) -> ItemError:
    detail = " ".join(str(error).split())[:80] or type(error).__name__
    return ItemError("image_unreadable", f"{name!r} in {path.name} is damaged ({detail!r}).")
