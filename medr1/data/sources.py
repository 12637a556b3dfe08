"""Reads the source of `medr1 data prepare`: OmniMedVQA, a folder of split files, or one file.

OmniMedVQA is the published archive, or its folder: QA_information/Open-access/*.json and Images/,
at the top or one folder below. Split files are a folder with files such as CT_train.json and
CT_test.json. The images of split files and of a single file are in the same folder, or in
--image-root, which may also be an archive.
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

from medr1.data.archives import Archive, Folder, is_archive, open_source
from medr1.data.readers import RawItems, read_items, samples_of
from medr1.data.roots import ImageRoot
from medr1.data.scans.items import show_scans
from medr1.data.scans.options import ScanOptions
from medr1.data.splits import split_files
from medr1.errors import InputError, ItemError
from medr1.files import parse_json, sha256_of
from medr1.records import Failure, Sample

logger = logging.getLogger("medr1")

_RECORDS = re.compile(r"(?P<top>(?:[^/]+/)?)QA_information/(?P<access>[^/]+)/(?P<name>[^/]+\.json)")


@dataclass(frozen=True)
class QuestionSource:
    """The items of a source, and the files of their images."""

    samples: list[Sample]
    """All items; one that cannot be used has what could be read."""
    splits: list[str | None]
    """The split of each sample, by the name of its file; None if the name has none."""
    failures: dict[int, Failure]
    """Index of a sample -> why it cannot be used."""
    files: Folder | Archive
    """The folder or archive of the images."""
    image_prefix: str
    """What to put before an item's image path to get the name of its file in `files`."""
    hashes: dict[str, str]
    """SHA-256 of each file that was read, but not of the images."""
    places: list[tuple[int, str, RawItems]]
    """For each file: the index of its first sample, its name, and its items without values."""

    def place(self, index: int) -> str:
        """Where a sample is in the source: "my.csv, line 3"."""
        number = bisect_right(self.places, index, key=lambda place: place[0]) - 1
        start, name, items = self.places[number]
        return f"{name}, {items.place(index - start)}"


@dataclass(frozen=True)
class _FileSamples:
    """The samples of one file."""

    name: str
    items: RawItems
    """The lines of its items, without their values."""
    samples: list[Sample]
    failures: dict[int, Failure]


def _file_samples(items: RawItems, path: str) -> _FileSamples:
    """Read the items of one file into samples."""
    samples, failures = samples_of(items, path)
    return _FileSamples(os.path.basename(path), replace(items, values=[]), samples, failures)


def open_questions(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    image_root: Path | None = None,
    restricted: bool = False,
    scans: ScanOptions | None = None,
) -> QuestionSource:
    """Read all items of a source.

    Args:
        path: An archive or a folder of OmniMedVQA, a folder of split files, or a file of questions.
        columns: Key of medr1 -> key or column of the file that has its value. Not for OmniMedVQA.
        image_root: The folder or archive with the images, if they are not beside the questions.
        restricted: Whether to read OmniMedVQA's Restricted-access items too.
        scans: How scans in a folder are shown; None: they are no images. Scans in an archive
            cannot be read.

    Raises:
        InputError: If the path is none of these, or one of its files cannot be read.
    """
    if path.is_dir() or is_archive(path):
        files = open_source(path)
        records = _records(files, restricted)
        if records:
            if columns:
                raise InputError(f"{path} is OmniMedVQA, whose keys are known. Leave --map out.")
            return _omnimedvqa(path, files, records, image_root)
    if path.is_dir():
        split_of_file: dict[Path, str | None] = {**split_files(path)}
        if not split_of_file:
            raise InputError(
                f"{path} has neither QA_information/ nor files whose names end in train or test, "
                "such as CT_train.json. Name the folder that has them, or a file."
            )
    elif is_archive(path):
        raise InputError(
            f"{path} has no QA_information/Open-access/*.json. Name the file of questions, and "
            "give the archive as --image-root."
        )
    else:
        split_of_file = {path: None}
    return _read_files(path, split_of_file, columns or {}, image_root, scans)


def _records(files: Folder | Archive, restricted: bool) -> list[re.Match[str]]:
    """The files of OmniMedVQA's records, as matches of _RECORDS."""
    matches = [match for name in files.names() if (match := _RECORDS.fullmatch(name))]
    folders = ("open-access", "restricted-access") if restricted else ("open-access",)
    return [match for match in matches if match["access"].casefold() in folders]


def _omnimedvqa(
    path: Path, files: Folder | Archive, records: list[re.Match[str]], image_root: Path | None
) -> QuestionSource:
    """The items of OmniMedVQA."""
    tops = sorted({match["top"] for match in records})
    if len(tops) > 1:
        raise InputError(
            f"{path} has QA_information in {' and '.join(tops[:2])}. Name one of them."
        )
    hashes = _archive_hash(path)
    by_name: dict[str, _FileSamples] = {}
    for name, content in files.read([match[0] for match in records]):
        if isinstance(content, ItemError):
            raise InputError(f"{path}: {name} cannot be read ({content})")
        data = content if isinstance(content, bytes) else content.path.read_bytes()
        hashes[name] = hashlib.sha256(data).hexdigest()
        file_path = f"{path}: {name}" if path.is_file() else str(path / name)
        by_name[name] = _file_samples(_read_records(data, file_path), file_path)
    samples, failures, places = _join([by_name[match[0]] for match in records])
    prefix = tops[0]
    if image_root is not None:
        files, prefix = _image_files(image_root, samples)
        hashes |= _archive_hash(image_root)
    return QuestionSource(samples, [None] * len(samples), failures, files, prefix, hashes, places)


def _read_records(data: bytes, file_path: str) -> RawItems:
    """The records of one file of OmniMedVQA."""
    try:
        document = parse_json(data.decode("utf-8-sig"), file_path)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file_path}: not UTF-8 text (byte {error.start}). Download it again."
        ) from None
    if not isinstance(document, list):
        raise InputError(f"{file_path}: is not a list of records. Download it again.")
    ids = Counter(_own_id(record) for record in document)
    # Records that share an id lose it: they get a hash as their id.
    for record in document:
        if ids[_own_id(record)] > 1 and isinstance(record, dict):
            record.pop("question_id", None)
    return RawItems(document)


def _own_id(record: object) -> str:
    """The question_id of a record as text."""
    return str(record.get("question_id")) if isinstance(record, dict) else ""


def _read_files(
    path: Path,
    split_of_file: Mapping[Path, str | None],
    columns: Mapping[str, str],
    root: Path | None,
    scans: ScanOptions | None,
) -> QuestionSource:
    """The items of files of questions, each with the split of its file."""
    parts = [_file_samples(read_items(file, columns=columns), str(file)) for file in split_of_file]
    pairs = zip(split_of_file.values(), parts, strict=True)
    splits = [split for split, part in pairs for _ in part.samples]
    samples, failures, places = _join(parts)
    folder = path if path.is_dir() and None not in split_of_file.values() else path.parent
    files, prefix = _image_files(root, samples) if root else (Folder(folder, closed=False), "")
    if isinstance(files, Folder) and scans is not None:
        image_root = ImageRoot(files.path, files.closed)
        samples, scan_failures = show_scans(samples, image_root, scans)
        failures = {**scan_failures, **failures}
    hashes = {file.name: sha256_of(file) for file in split_of_file} | (
        _archive_hash(root) if root else {}
    )
    return QuestionSource(samples, splits, failures, files, prefix, hashes, places)


def _join(
    parts: list[_FileSamples],
) -> tuple[list[Sample], dict[int, Failure], list[tuple[int, str, RawItems]]]:
    """The samples of several files as one list, their failures, and their places.

    Samples in different files that share an id lose it. `samples_of` makes ids unique only within
    one file.
    """
    samples: list[Sample] = []
    failures: dict[int, Failure] = {}
    places = []
    for part in parts:
        places.append((len(samples), part.name, part.items))
        failures |= {len(samples) + index: failure for index, failure in part.failures.items()}
        samples += part.samples
    index_of_id: dict[str, int] = {}
    repeated = {s.id for i, s in enumerate(samples) if index_of_id.setdefault(s.id, i) != i}
    if repeated:
        logger.info("%d ids are in several files: their items get a hash as id.", len(repeated))
    samples = [replace(s, id="") if s.id in repeated else s for s in samples]
    return samples, failures, places


def _archive_hash(path: Path) -> dict[str, str]:
    """The SHA-256 of an archive; {} for a folder, whose files are hashed when they are read."""
    return {path.name: sha256_of(path)} if path.is_file() else {}


def _image_files(root: Path, samples: list[Sample]) -> tuple[Folder | Archive, str]:
    """The files of an image root, and the prefix of the image paths there."""
    if not root.is_dir() and not is_archive(root):
        raise InputError(f"the image root {root} is neither a folder nor an archive (zip, tar).")
    files = open_source(root)
    if isinstance(files, Folder):
        return files, ""
    names = set(files.names())
    # The first items suffice to find the prefix.
    image_names = {name for sample in samples[:1000] for name in sample.images}
    if image_names & names:
        return files, ""
    tops = sorted({name.partition("/")[0] + "/" for name in names if "/" in name})
    prefixes = (top for top in tops if any(top + name in names for name in image_names))
    return files, next(prefixes, "")
