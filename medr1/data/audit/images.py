"""Hashes of the images that a file names: SHA-256 of the bytes, and two perceptual hashes.

Equal bytes mean that two files are the same image; perceptual hashes with few differing bits show
that two images look the same (`near`). Images are decoded by `data.images` in several processes.
With --image-hashes FILE the hashes are cached: an image with the same path, size and modification
time as in an earlier audit is not opened again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from medr1.data.roots import ImageRoot, resolve_image
from medr1.data.scans.location import ImageLocation
from medr1.data.scans.private_names import is_alias
from medr1.data.scans.view import split_view
from medr1.errors import InputError, ItemError, OutputError
from medr1.files import sha256_of
from medr1.processes import num_cores, process_pool

if TYPE_CHECKING:
    from PIL import Image

_log = logging.getLogger("medr1")
_CHUNK = 16
"""Images handed to a worker process at a time."""
_SECONDS_BETWEEN_LINES = 10.0
"""Of the progress in the log."""
_HEADER = '{"schema": "medr1.image-hashes/1"}'
_SIDE = 1024
"""An image is scaled down to this many pixels on its longer side before it is hashed."""


@dataclass(frozen=True)
class HashedImage:
    """The hashes of one image file, or why it cannot be used; all None if it was not opened."""

    sha256: str | None = None
    """Of the file's bytes, in hex; None where it could not be read."""
    phash: int | None = None
    """Discrete-cosine hash of 64 bits; None for an image without content (all one grey)."""
    dhash: int | None = None
    """Gradient hash of 64 bits; None for an image without content."""
    error: tuple[str, str] | None = None
    """Why it cannot be used: a code such as image_missing, and a sentence."""


def any_image_below(names: Iterable[str], root: ImageRoot) -> bool:
    """Whether at least one of these image files exists.

    Args:
        names: Image paths, relative to `root` or absolute.
        root: The image root of the file that names them.
    """
    # Folders first: a missing folder rules out all its images with one look at the disk.
    by_folder: dict[str, list[str]] = {}
    for name in names:
        if "\0" not in name:
            by_folder.setdefault(os.path.dirname(name), []).append(name)
    for folder, members in by_folder.items():
        try:
            folder_exists = os.path.isdir(os.path.join(root, folder))
        except ValueError:  # text that cannot be the name of a folder
            continue
        if folder_exists and any(_exists(name, root) for name in members):
            return True
    return False


def _exists(name: str, root: ImageRoot) -> bool:
    """Whether the file of an image exists."""
    if os.path.isfile(os.path.join(root, name)):
        return True
    try:
        return any(map(os.path.isfile, resolve_image(name, root).files))
    except ItemError:
        return False


def hash_images(
    names: Iterable[str],
    root: ImageRoot,
    *,
    cache: Path | None = None,
    processes: int | None = None,
) -> dict[str, HashedImage]:
    """Hash images in several processes, with progress in the log.

    Nothing outside the root is opened. An absolute path outside a root that is not closed is no
    error, but its image stays without hashes.

    Args:
        names: Image paths, relative to `root` or absolute.
        root: The image root of the file that names them.
        cache: File of hashes of earlier audits; new hashes are added to it. None: no cache.
        processes: Number of worker processes; None: as many as there are cores.

    Returns:
        Path -> hashes, in the order of `names`.

    Raises:
        InputError: `cache` is another kind of file.
        OutputError: `cache` cannot be written.
    """
    names = list(dict.fromkeys(names))
    cached = _read_cache(cache) if cache else {}
    keys = {name: _cache_key(name, root) for name in names}
    images = {name: cached[key] for name in names if (key := keys[name]) and key in cached}
    todo = [name for name in names if name not in images]
    if len(todo) < len(names):
        _log.info("%d of %d images were hashed before.", len(names) - len(todo), len(names))
    started = last_line = time.monotonic()
    with _open_cache(cache) as file:
        for count, (name, image) in enumerate(_hash_in_order(todo, root, processes), start=1):
            images[name] = image
            # Each image at once: a killed audit keeps the hashes it has computed.
            if file and keys[name]:
                file.write(json.dumps({"key": keys[name], **asdict(image)}) + "\n")
            now = time.monotonic()
            if now - last_line >= _SECONDS_BETWEEN_LINES or (
                count == len(todo) and now - started >= _SECONDS_BETWEEN_LINES
            ):
                last_line = now
                rate = count / (now - started)
                _log.info(
                    "Hashed %d of %d images, %.0f a second, %.0f s to go.",
                    *(count, len(todo), rate, (len(todo) - count) / rate),
                )
    return {name: images[name] for name in names}


def _hash_in_order(
    names: list[str], root: ImageRoot, processes: int | None
) -> Iterator[tuple[str, HashedImage]]:
    """Each name with its hashes, in order; a few images are not worth starting processes."""
    num_processes = processes or num_cores()
    if num_processes < 2 or len(names) < 4 * _CHUNK:
        yield from zip(names, (hash_image(name, root) for name in names), strict=True)
        return
    with process_pool(num_processes) as pool:
        roots = [root] * len(names)
        try:
            yield from zip(names, pool.map(hash_image, names, roots, chunksize=_CHUNK), strict=True)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def hash_image(name: str, root: ImageRoot) -> HashedImage:
    """Hash one image; an image that cannot be read has an error instead."""
    from medr1.data.images import load_image

    sha256 = None
    try:
        # closed: a path that leads out of the root is refused, not read.
        location = resolve_image(name, replace(root, closed=True))
        decoded = load_image(location, side=_SIDE).image
        sha256 = image_sha256(location)
    except ItemError as error:
        if error.code == "image_outside_root" and os.path.isabs(name) and not root.closed:
            return HashedImage()
        return HashedImage(sha256, error=(error.code, str(error)))
    return HashedImage(sha256, *perceptual_hashes(decoded))


def image_sha256(location: ImageLocation) -> str:
    """SHA-256 of the file; of a part of a scan, that of its files and of the view together."""
    digests = [sha256_of(path) for path in location.files]
    if len(digests) == 1 and not str(location.view):
        return digests[0]
    return hashlib.sha256("\n".join((*digests, str(location.view))).encode()).hexdigest()


def perceptual_hashes(image: Image.Image) -> tuple[int | None, int | None]:
    """The discrete-cosine hash and the gradient hash of a PIL image, as 64-bit integers.

    (None, None) for an image of one grey value: its hashes would match those of any other such.
    """
    import imagehash

    image = image.convert("L")
    image.thumbnail((_SIDE, _SIDE), reducing_gap=3.0)
    darkest, lightest = image.getextrema()
    if darkest == lightest:
        return None, None
    return int(str(imagehash.phash(image)), 16), int(str(imagehash.dhash(image)), 16)


def _cache_key(name: str, root: ImageRoot) -> str:
    """Path, size and modification time of the file; "" where there is none below the root.

    The name of a DICOM file, which stands for its path, is the name of its alias.
    """
    try:
        location = resolve_image(name, replace(root, closed=True))
        statuses = [os.stat(path) for path in location.files]
    except (OSError, ValueError, ItemError):
        return ""
    size, changed = sum(s.st_size for s in statuses), max(s.st_mtime_ns for s in statuses)
    is_private = is_alias(split_view(name)[0])
    place = os.path.join(root, name) if is_private else f"{location.path}{location.view}"
    return f"{place}|{size}|{changed}"


def _read_cache(path: Path) -> dict[str, HashedImage]:
    """Cache key -> hashes; a line that a killed run left incomplete is skipped."""
    if not path.exists() or path.stat().st_size == 0:
        return {}
    first, *lines = path.read_bytes().splitlines()
    if first != _HEADER.encode():
        raise InputError(
            f"{path} is not a cache of image hashes. Give --image-hashes another file name."
        )
    cached: dict[str, HashedImage] = {}
    for line in lines:
        try:
            entry = json.loads(line)
            error = entry["error"]
            hashes = (entry["sha256"], entry["phash"], entry["dhash"])
            cached[entry["key"]] = HashedImage(*hashes, error=tuple(error) if error else None)
        except (ValueError, KeyError, TypeError):
            continue
    return cached


def _open_cache(path: Path | None) -> AbstractContextManager[IO[str] | None]:
    """The cache, open for appending; None without one.

    A new file gets its header, an old one a line end, because its last line may be incomplete.
    """
    if path is None:
        return nullcontext()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a", encoding="utf-8", buffering=1)
        file.write("\n" if path.stat().st_size else f"{_HEADER}\n")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}. Choose another place.") from None
    return file
