"""Names of DICOM files in results: keyed hashes, which a private file beside the data maps back.

Names of DICOM files and folders often have a patient's name or number in them. In place of the name
an item has `dicom-` and a hash of it (HMAC-SHA-256 under a key of the data set), the same in every
run, so that results of several runs pair. The key is MEDR1_ID_KEY; without it, a random one in
`.medr1-private-names.json`, in the folder of the images, which also maps the hashes to files. It
belongs to the data and must not be passed on with results.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import threading
from pathlib import Path
from typing import Any

from medr1.errors import InputError
from medr1.files import BINARY

logger = logging.getLogger("medr1")

FILE_NAME = ".medr1-private-names.json"
KEY_VARIABLE = "MEDR1_ID_KEY"
_SCHEMA = "medr1.private-names/1"
_DIGITS = 16
_ALIAS = re.compile(rf"dicom-[0-9a-f]{{{_DIGITS}}}")
_MIN_KEY = 8
"""Fewest characters of MEDR1_ID_KEY."""

Slices = tuple[tuple[str, int], ...]
"""(path relative to the folder, frame from 1) of each slice; frame 0 for a file as a whole."""


def is_alias(name: str) -> bool:
    """Whether an image name is one of those that stand for a DICOM file or series.

    Args:
        name: The name, without a view.
    """
    return _ALIAS.fullmatch(os.path.basename(name)) is not None


class PrivateNames:
    """The key and the names of the DICOM files below one folder.

    Attributes:
        folder: The folder.
        key: The key of the hashes.
    """

    def __init__(self, folder: Path, *, is_temporary: bool = False) -> None:
        """Read the key and the names; choose a key if there is none.

        Args:
            folder: The folder of the images.
            is_temporary: Whether nothing is written: a new key is for this process only.

        Raises:
            InputError: The private file is damaged, or MEDR1_ID_KEY is too short.
        """
        self.folder = folder
        self.is_temporary = is_temporary
        self._file = folder / FILE_NAME
        self._slices: dict[str, Slices] = {}
        stored_key = self._read()
        own_key = os.environ.get(KEY_VARIABLE, "")
        if own_key and len(own_key) < _MIN_KEY:
            raise InputError(
                f"{KEY_VARIABLE} has fewer than {_MIN_KEY} characters. Choose a longer key."
            )
        self._has_own_key = bool(own_key)
        self.key = own_key.encode() if own_key else stored_key or secrets.token_bytes(32)
        self._has_stored_key = stored_key is not None
        self._is_writable = True

    def _read(self) -> bytes | None:
        """Read the names of the private file; its key, if it has one."""
        try:
            content = self._file.read_bytes()
        except OSError:
            return None
        try:
            document: dict[str, Any] = json.loads(content)
            self._slices |= {
                alias: tuple((str(path), int(frame)) for path, frame in slices)
                for alias, slices in document["images"].items()
            }
            key = document.get("key")
            return bytes.fromhex(key) if key else None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(
                f"{self._file} is damaged. If no results need its names any more, delete it."
            ) from None

    def hash_of(self, kind: str, identifier: str) -> str:
        """The keyed hash of an identifier, 16 hexadecimal digits.

        Args:
            kind: What it identifies, such as "patient".
            identifier: The identifier.
        """
        text = f"{kind}\0{identifier}".encode("utf-8", "surrogatepass")
        return hmac.new(self.key, text, hashlib.sha256).hexdigest()[:_DIGITS]

    def add(self, name: str, slices: Slices) -> str:
        """The alias of a file or series, which `save` writes into the private file.

        Args:
            name: What the alias is a hash of: the path relative to the folder, and for one of
                several series its number.
            slices: The file, or the slices of the series in their order. Empty if they are not
                known, which leaves those of an earlier call.
        """
        alias = _alias(self.hash_of("image", name))
        self._slices[alias] = slices or self._slices.get(alias, ())
        return alias

    def known_alias(self, name: str) -> str | None:
        """The alias of a file or series; None if it was not added yet.

        Args:
            name: As in `add`.
        """
        alias = _alias(self.hash_of("image", name))
        return alias if alias in self._slices else None

    def slices(self, alias: str) -> Slices | None:
        """The file or the slices of an alias; None if it is not known.

        Args:
            alias: The alias.
        """
        if alias not in self._slices and not self.is_temporary:
            self._read()
        return self._slices.get(alias)

    def make_key(self) -> None:
        """Write a new key if there is none, before the first hash.

        So that processes which look into the same new data at the same time have one key.
        """
        if not (self.is_temporary or self._has_own_key or self._has_stored_key):
            self._write()

    def save(self) -> None:
        """Write the key and the names, if one of them is new. Without permission, only warn."""
        if self._slices and not self.is_temporary:
            self._write()

    def _write(self) -> None:
        """Write the private file, with what other processes wrote into it."""
        from filelock import FileLock, Timeout

        if not self._is_writable:
            return
        try:
            with FileLock(f"{self._file}.lock", timeout=60):
                before = self._file.read_bytes() if self._file.exists() else b""
                own = dict(self._slices)
                stored_key = self._read()
                self._slices |= {a: s for a, s in own.items() if s or a not in self._slices}
                if not self._has_own_key:
                    self.key = stored_key or self.key
                document = {
                    "schema": _SCHEMA,
                    "note": "Private: maps names in results to DICOM files. Do not pass it on.",
                    "key": None if self._has_own_key else self.key.hex(),
                    "images": {alias: self._slices[alias] for alias in sorted(self._slices)},
                }
                content = json.dumps(document, indent=1).encode()
                if content != before:
                    _write_private(self._file, content)
                self._has_stored_key = True
        except (OSError, Timeout) as error:
            self._is_writable = False
            logger.warning(
                "Cannot write %s beside the images (%s): names of DICOM files in results cannot be "
                "mapped back, and reports show no images. Set %s to give images the same names in "
                "every run.",
                *(FILE_NAME, type(error).__name__, KEY_VARIABLE),
            )


def _write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, also while it is written."""
    beside = path.with_name(f"{path.name}.part")
    beside.unlink(missing_ok=True)  # of a run that was killed
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, 0o600)
    with open(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(handle)
    os.replace(beside, path)


def _alias(digest: str) -> str:
    return f"dicom-{digest}"


_OF_FOLDER: dict[str, PrivateNames] = {}
_LOCK = threading.Lock()


def names_of(folder: Path, *, is_temporary: bool = False) -> PrivateNames:
    """The private names of a folder; read once in a process.

    Args:
        folder: The folder of the images.
        is_temporary: Whether nothing is written, if the folder has no private file yet.

    Raises:
        InputError: As `PrivateNames`.
    """
    place = os.path.realpath(folder)
    with _LOCK:
        if place not in _OF_FOLDER:
            _OF_FOLDER[place] = PrivateNames(Path(place), is_temporary=is_temporary)
        names = _OF_FOLDER[place]
        names.is_temporary = names.is_temporary and is_temporary
        return names
