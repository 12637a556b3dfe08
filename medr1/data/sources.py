"""What `medr1 data prepare` starts from: OmniMedVQA as it is published, split files, any file.

OmniMedVQA, an archive or a folder: QA_information/Open-access/*.json and Images/, at its top or one
folder below. Split files: a folder of ..train.json and ..test.json. Images of those lie beside them
or in --image-root, which may be an archive too.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medr1.data.archives import Archive, Folder, is_archive, open_source
from medr1.data.readers import Items, read_items, samples_of
from medr1.data.splits import split_files
from medr1.errors import InputError, ItemError
from medr1.files import parse_json, sha256_of
from medr1.records import Failure, Sample

logger = logging.getLogger("medr1")

_RECORDS = re.compile(r"(?P<top>(?:[^/]+/)?)QA_information/(?P<access>[^/]+)/(?P<name>[^/]+\.json)")


@dataclass(frozen=True)
class Source:
    """Items, where their images are, and what both were read from."""

    samples: list[Sample]
    splits: list[str | None]
    """Of each sample the split that its file's name says."""
    failures: dict[int, Failure]
    files: Folder | Archive
    top: str
    """What stands before an item's image name in the name of its file."""
    hashes: dict[str, str]
    """SHA-256 of each file that was read; the images' are not among them."""
    places: list[tuple[int, str, Items]]
    """Of each file: the index of its first sample, its name, and the lines of its items."""

    def place(self, index: int) -> str:
        """Where a sample stands: "my.csv, line 3"."""
        number = bisect_right(self.places, index, key=lambda place: place[0]) - 1
        start, name, items = self.places[number]
        return f"{name}, {items.place(index - start)}"


@dataclass(frozen=True)
class _Part:
    """What one file gave."""

    name: str
    items: Items
    """Without their values."""
    samples: list[Sample]
    failures: dict[int, Failure]


def _part(items: Items, where: str) -> _Part:
    samples, failures = samples_of(items, where)
    return _Part(os.path.basename(where), replace(items, values=[]), samples, failures)


def open_questions(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    image_root: Path | None = None,
    restricted: bool = False,
) -> Source:
    """Read all items of a source; InputError where it is none, or one of its files is faulty."""
    if path.is_dir() or is_archive(path):
        files = open_source(path)
        records = _records(files, restricted)
        if records:
            if columns:
                raise InputError(f"--map is for files of your own; {path} holds OmniMedVQA's.")
            return _omnimedvqa(path, files, records, image_root)
    if path.is_dir():
        parts: dict[Path, str | None] = {**split_files(path)}
        if not parts:
            raise InputError(
                f"{path} holds neither QA_information/ nor files that end in train or test, such "
                "as CT_train.json. Name the folder that does, or a file."
            )
    elif is_archive(path):
        raise InputError(
            f"{path} holds no QA_information/Open-access/*.json. Name the file of questions, and "
            "give the archive as --image-root."
        )
    else:
        parts = {path: None}
    return _tables(path, parts, columns or {}, image_root)


def _records(files: Folder | Archive, restricted: bool) -> list[re.Match[str]]:
    """The files of raw records."""
    found = [match for name in files.names() if (match := _RECORDS.fullmatch(name))]
    wanted = ("open-access", "restricted-access") if restricted else ("open-access",)
    return [match for match in found if match["access"].casefold() in wanted]


def _omnimedvqa(
    path: Path, files: Folder | Archive, records: list[re.Match[str]], image_root: Path | None
) -> Source:
    tops = sorted({match["top"] for match in records})
    if len(tops) > 1:
        raise InputError(f"{path} holds QA_information in {' and '.join(tops[:2])}. Name one.")
    hashes = _hash(path)
    read: dict[str, _Part] = {}
    for name, content in files.read([match[0] for match in records]):
        if isinstance(content, ItemError):
            raise InputError(f"{path}: {name} cannot be read ({content})")
        data = content.read_bytes() if isinstance(content, Path) else content
        hashes[name] = hashlib.sha256(data).hexdigest()
        where = f"{path}: {name}" if path.is_file() else str(path / name)
        read[name] = _part(_list(data, where), where)
    samples, failures, places = _joined([read[match[0]] for match in records])
    top = tops[0]
    if image_root is not None:
        files, top = _images(image_root, samples)
        hashes |= _hash(image_root)
    return Source(samples, [None] * len(samples), failures, files, top, hashes, places)


def _list(data: bytes, where: str) -> Items:
    try:
        document = parse_json(data.decode("utf-8-sig"), where)
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 text (byte {error.start}).") from None
    if not isinstance(document, list):
        raise InputError(f"{where}: is not a list of records. Download it again.")
    ids = Counter(_own_id(record) for record in document)
    for record in document:  # an id that two records share names neither
        if ids[_own_id(record)] > 1 and isinstance(record, dict):
            record.pop("question_id", None)
    return Items(document)


def _own_id(record: Any) -> str:
    return str(record.get("question_id")) if isinstance(record, dict) else ""


def _tables(
    path: Path, parts: Mapping[Path, str | None], columns: Mapping[str, str], root: Path | None
) -> Source:
    """The items of files, each with its split where its name says one."""
    read = [_part(read_items(part, columns=columns), str(part)) for part in parts]
    given = zip(parts.values(), read, strict=True)
    splits = [split for split, part in given for _ in part.samples]
    samples, failures, places = _joined(read)
    beside = path if path.is_dir() and None not in parts.values() else path.parent
    files, top = _images(root, samples) if root else (Folder(beside, closed=False), "")
    hashes = {part.name: sha256_of(part) for part in parts} | (_hash(root) if root else {})
    return Source(samples, splits, failures, files, top, hashes, places)


def _joined(
    parts: list[_Part],
) -> tuple[list[Sample], dict[int, Failure], list[tuple[int, str, Items]]]:
    """The samples of several files as one list; ids that files share are given up for all.

    `samples_of` numbers equal hashes within a file, and so they may repeat over several.
    """
    samples: list[Sample] = []
    failures: dict[int, Failure] = {}
    places = []
    for part in parts:
        places.append((len(samples), part.name, part.items))
        failures |= {len(samples) + index: failure for index, failure in part.failures.items()}
        samples += part.samples
    first: dict[str, int] = {}
    repeated = {s.id for i, s in enumerate(samples) if first.setdefault(s.id, i) != i}
    if repeated:
        logger.info("%d ids stand in several files: those items go by a hash.", len(repeated))
    samples = [replace(s, id="") if s.id in repeated else s for s in samples]
    return samples, failures, places


def _hash(path: Path) -> dict[str, str]:
    """The SHA-256 of an archive; a folder's files are hashed as they are read."""
    return {path.name: sha256_of(path)} if path.is_file() else {}


def _images(root: Path, samples: list[Sample]) -> tuple[Folder | Archive, str]:
    """The files of an image root, and what stands before the images' names there."""
    if not root.is_dir() and not is_archive(root):
        raise InputError(f"the image root {root} is neither a folder nor an archive (zip, tar).")
    files = open_source(root)
    if isinstance(files, Folder):
        return files, ""
    names = set(files.names())
    wanted = {name for sample in samples[:1000] for name in sample.images}
    if wanted & names:
        return files, ""
    tops = sorted({name.partition("/")[0] + "/" for name in names if "/" in name})
    return files, next((top for top in tops if any(top + name in names for name in wanted)), "")
