"""The pictures that a file names: which are there, their bytes' hash, and two perceptual hashes.

Pictures are decoded by `data.images` in several processes. A hash of a picture that was seen before
(same path, size and time of change) is taken from the file of hashes, where there is one.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from medr1.data.roots import ImageRoot, resolve_image
from medr1.errors import InputError, ItemError, OutputError
from medr1.files import sha256_of

if TYPE_CHECKING:
    from PIL import Image

_log = logging.getLogger("medr1")
_CHUNK = 16
_SAY_EVERY = 10.0
_HEADER = '{"schema": "medr1.image-hashes/1"}'
_SIDE = 1024
"""Pixels of the longer side that a picture is made smaller to before its hashes are taken."""


@dataclass(frozen=True)
class Picture:
    """What is known of one image file."""

    sha256: str | None = None
    """Of the file's bytes, in hex; None where it could not be read."""
    phash: int | None = None
    dhash: int | None = None
    """Perceptual hashes of 64 bits; None for a picture without content (all one grey)."""
    error: tuple[str, str] | None = None
    """Why it cannot be used: a code such as image_missing, and a sentence."""


def pictures_below(names: Iterable[str], root: ImageRoot) -> bool:
    """Whether any of these images lies below `root` (or at its absolute path).

    Folders are looked at first, so that a file without its images is known in no time.
    """
    by_folder: dict[str, list[str]] = {}
    for name in names:
        if "\0" not in name:
            by_folder.setdefault(os.path.dirname(name), []).append(name)
    for folder, members in by_folder.items():
        try:
            there = os.path.isdir(os.path.join(root, folder))
        except ValueError:  # what is no name of a folder at all
            continue
        if there and any(os.path.isfile(os.path.join(root, name)) for name in members):
            return True
    return False


def look_at(
    names: Iterable[str],
    root: ImageRoot,
    *,
    cache: Path | None = None,
    processes: int | None = None,
) -> dict[str, Picture]:
    """Name -> what is known of that image; progress goes to the log.

    Nothing outside the root is opened. An absolute name that leads there is no fault of its item
    unless the root is closed: nothing is known of it.
    """
    names = list(dict.fromkeys(names))
    known = _read_cache(cache) if cache else {}
    keys = {name: _cache_key(name, root) for name in names}
    found = {name: known[key] for name in names if (key := keys[name]) and key in known}
    todo = [name for name in names if name not in found]
    if len(todo) < len(names):
        _log.info("%d of %d images were hashed before.", len(names) - len(todo), len(names))
    started = said = time.monotonic()
    with _opened_cache(cache) as file:
        for done, (name, picture) in enumerate(_looked(todo, root, processes), start=1):
            found[name] = picture
            if file and keys[name]:
                file.write(json.dumps({"key": keys[name], **asdict(picture)}) + "\n")
            now = time.monotonic()
            if now - said >= _SAY_EVERY or (done == len(todo) and now - started >= _SAY_EVERY):
                said = now
                rate = done / (now - started)
                _log.info(
                    "Hashed %d of %d images, %.0f a second, %.0f s to go.",
                    *(done, len(todo), rate, (len(todo) - done) / rate),
                )
    return {name: found[name] for name in names}


def _looked(
    names: list[str], root: ImageRoot, processes: int | None
) -> Iterator[tuple[str, Picture]]:
    """Each name with its picture, in order; a handful is not worth other processes."""
    count = processes or os.cpu_count() or 1
    if count < 2 or len(names) < 4 * _CHUNK:
        yield from zip(names, (look(name, root) for name in names), strict=True)
        return
    import multiprocessing

    context = multiprocessing.get_context("spawn")  # a fork of threads that hold locks may hang
    with ProcessPoolExecutor(count, mp_context=context) as pool:
        roots = [root] * len(names)
        try:
            yield from zip(names, pool.map(look, names, roots, chunksize=_CHUNK), strict=True)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def look(name: str, root: ImageRoot) -> Picture:
    """What is known of one image."""
    from medr1.data.images import load_image

    sha256 = None
    try:
        path = resolve_image(name, replace(root, closed=True))
        picture = load_image(path, side=_SIDE).image
        sha256 = sha256_of(path)
    except ItemError as error:
        if error.code == "image_outside_root" and os.path.isabs(name) and not root.closed:
            return Picture()
        return Picture(sha256, error=(error.code, str(error)))
    return Picture(sha256, *perceptual_hashes(picture))


def perceptual_hashes(picture: Image.Image) -> tuple[int | None, int | None]:
    """The discrete-cosine and the gradient hash of a PIL picture, as numbers of 64 bits."""
    import imagehash

    picture = picture.convert("L")
    picture.thumbnail((_SIDE, _SIDE), reducing_gap=3.0)
    low, high = picture.getextrema()
    if low == high:
        return None, None
    return int(str(imagehash.phash(picture)), 16), int(str(imagehash.dhash(picture)), 16)


def _cache_key(name: str, root: ImageRoot) -> str:
    """The file as it is now, "" where there is none below the root."""
    try:
        path = resolve_image(name, replace(root, closed=True))
        status = os.stat(path)
    except (OSError, ValueError, ItemError):
        return ""
    return f"{path}|{status.st_size}|{status.st_mtime_ns}"


def _read_cache(path: Path) -> dict[str, Picture]:
    """Key -> picture; a line that a killed run left half written is passed over."""
    if not path.exists() or path.stat().st_size == 0:
        return {}
    first, *lines = path.read_bytes().splitlines()
    if first != _HEADER.encode():
        raise InputError(f"{path} is not a file of image hashes. Choose another name for one.")
    found: dict[str, Picture] = {}
    for line in lines:
        try:
            entry = json.loads(line)
            error = entry["error"]
            hashes = (entry["sha256"], entry["phash"], entry["dhash"])
            found[entry["key"]] = Picture(*hashes, error=tuple(error) if error else None)
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _opened_cache(path: Path | None) -> AbstractContextManager[IO[str] | None]:
    """The file of hashes, to add to; a new one gets its header, a half line its end."""
    if path is None:
        return nullcontext()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a", encoding="utf-8", buffering=1)
        file.write("\n" if path.stat().st_size else f"{_HEADER}\n")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}. Choose another place.") from None
    return file
