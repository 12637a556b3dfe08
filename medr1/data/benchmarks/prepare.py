"""Writes a benchmark as files that `medr1 infer` reads: SPLIT.json, images/ and manifest.json.

An image is written as it was published, under the hash of its content: questions about one image
have the same path, and so are one cluster of the confidence intervals.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import medr1
from medr1.data.benchmarks.benchmark import Benchmark, ImageRef
from medr1.data.benchmarks.names import BENCHMARKS
from medr1.data.benchmarks.source import BenchmarkSource
from medr1.data.images import is_picture
from medr1.data.items import ANSWER_CLASS, read_item
from medr1.data.spellings import sample_to_item
from medr1.data.splits import count_table
from medr1.documents.prepared import PreparedCounts, PreparedError, PreparedManifest
from medr1.errors import InputError, ItemError
from medr1.files import (
    needs_overwrite,
    parse_json,
    prepare_folder,
    read_text,
    to_json,
    write_atomic,
)
from medr1.records import Failure, Sample

logger = logging.getLogger("medr1")

_SUFFIXES = (
    (b"\x89PNG", ".png"),
    (b"\xff\xd8", ".jpg"),
    (b"II", ".tif"),
    (b"MM", ".tif"),
    (b"BM", ".bmp"),
    (b"RIFF", ".webp"),
)

_FOLDERS = re.compile(r"^\(\?:(?:\[\^/\]\+|\.\*)/\)\?")
"""The part of a benchmark's pattern for the folders above a file."""
_VARIABLE = re.compile(r"(?:\(\?:[^()]*\)\??|\[[^\]]*\][*+]?|\.\*)+")
"""A part of such a pattern that stands for different texts."""


@dataclass
class _Item:
    """One record of the benchmark."""

    split: str
    place: str
    sample: Sample
    images: list[str | tuple[int, str]]
    """For each image its path in the output, or where its file is in the source."""
    failure: Failure | None


@dataclass
class _Images:
    """The images that were written."""

    folder: Path
    hashes: dict[str, str] = field(default_factory=dict)
    """Path below the folder -> SHA-256."""

    def write(self, content: bytes) -> str:
        """Write an image, unless it was written before; its path below the folder."""
        if not is_picture(content[:16]):
            raise ItemError("image_unreadable", "the image is no PNG, JPEG, TIFF, BMP or WebP.")
        suffix = next(suffix for head, suffix in _SUFFIXES if content.startswith(head))
        digest = hashlib.sha256(content).hexdigest()
        path = f"images/{digest[:2]}/{digest[:32]}{suffix}"
        if path not in self.hashes:
            write_atomic(self.folder / path, content)
            self.hashes[path] = digest
        return path


def prepare_benchmark(
    name: str, source: Path, output: Path, *, strict_counts: bool = False, overwrite: bool = False
) -> PreparedManifest:
    """Write a benchmark's questions and images.

    Args:
        name: A key of BENCHMARKS.
        source: The folder or archive as its authors publish it.
        output: The folder to write.
        strict_counts: Whether counts that differ from the published ones are an error.
        overwrite: Whether another data set in `output` is renamed to .bak.

    Returns:
        The content of manifest.json.

    Raises:
        InputError: The source has none of the benchmark's files, a file cannot be read, the output
            has another data set, or counts differ and `strict_counts` is set.
        OutputError: A file cannot be written.
    """
    benchmark = BENCHMARKS[name]
    files = BenchmarkSource(source)
    tables = _tables(name, benchmark, files)
    meta: dict[str, object] = {
        "benchmark": name,
        "source": source.name,
        "sha256": {table: files.sha256(table) for table in tables},
        "defects": list(benchmark.defects),
        "versions": {"medr1": medr1.__version__},
    }
    if (finished := _finished(output, meta, overwrite)) is not None:
        return finished
    counts = _counts(benchmark, files, tables)
    differences = count_differences(benchmark, counts)
    for sentence in [*missing_splits(benchmark, counts), *differences]:
        logger.warning("%s", sentence)
    if differences and strict_counts:
        raise InputError(f"--strict-counts: {' '.join(differences)}")
    prepare_folder(output, overwrite=overwrite)
    images = _Images(output)
    items = list(_read(benchmark, files, tables, images))
    _write_named(items, files, images)
    manifest = _write(items, images, meta, differences, output)
    write_atomic(output / "manifest.json", to_json(manifest))
    return manifest


def _tables(name: str, benchmark: Benchmark, files: BenchmarkSource) -> dict[str, str | None]:
    """The files with records -> their split."""
    tables = {
        path: split
        for path in files.names
        for pattern, split in benchmark.files.items()
        if pattern.fullmatch(path)
    }
    if not tables:
        raise _no_tables(name, benchmark, files)
    return tables


def _no_tables(name: str, benchmark: Benchmark, files: BenchmarkSource) -> InputError:
    """What to do about a source without files of records."""
    for archive, names in files.archives():
        if any(pattern.fullmatch(path) for pattern in benchmark.files for path in names):
            return InputError(
                f"the records of {name} are inside {archive}. Name the archive itself: "
                f"medr1 data prepare {shlex.quote(str(archive))} --benchmark {name}"
            )
    examples = ", ".join(_example(pattern.pattern) for pattern in benchmark.files)
    return InputError(
        f"{files.path} has no file of {name}. Its records are in files with these names "
        f"(* is any text): {examples}"
    )


def _example(pattern: str) -> str:
    """The pattern of a file's path, shown as people write it, such as "test-*.parquet"."""
    return _VARIABLE.sub("*", _FOLDERS.sub("", pattern)).replace("\\", "")


def _finished(output: Path, meta: dict[str, object], overwrite: bool) -> PreparedManifest | None:
    from msgspec import convert

    path = output / "manifest.json"
    if overwrite or not path.is_file():
        return None
    document = parse_json(read_text(path), str(path))
    if not isinstance(document, dict) or document.get("meta") != meta:
        raise needs_overwrite(output, "has another data set")
    logger.info("%s is complete already. To write it again, use --overwrite.", output)
    return convert(document, PreparedManifest)


# --- counts -----------------------------------------------------------------------------------


def _counts(
    benchmark: Benchmark, files: BenchmarkSource, tables: dict[str, str | None]
) -> Counter[str]:
    """The number of records by split, and by split with class and with language."""
    counts: Counter[str] = Counter()
    for path, file_split in tables.items():
        for record in files.records(path, images=False):
            if (read := benchmark.item_of(record, path)) is None:
                continue
            split = read.split or file_split or "test"
            answer_class = str(read.item.get("answer_type", "")).casefold()
            language = read.item.get("language")
            counts.update([split, f"{split} {answer_class}", f"{split} {language}"])
    return counts


def count_differences(benchmark: Benchmark, counts: Counter[str]) -> list[str]:
    """A sentence for each published count that is not that of the source.

    Args:
        benchmark: What is known of the benchmark.
        counts: Split, or split and class or language -> number of records. Splits that the source
            does not have are not compared.
    """
    differences = []
    for key, published in benchmark.published.items():
        numbers = (published,) if isinstance(published, int) else published
        if counts[key.split()[0]] and counts[key] not in numbers:
            stated = " or ".join(f"{number:,}" for number in numbers)
            differences.append(
                f"{benchmark.title} {key}: {counts[key]:,} items here, {stated} published."
            )
    return differences


def missing_splits(benchmark: Benchmark, counts: Counter[str]) -> list[str]:
    """A sentence for each published split that the source does not have.

    Args:
        benchmark: What is known of the benchmark.
        counts: Split -> number of records; other keys are not used.
    """
    splits = dict.fromkeys(key.split()[0] for key in benchmark.published)
    return [
        f"{benchmark.title} {split}: there is no file of this split here, so it is not written."
        for split in splits
        if not counts[split]
    ]


# --- items ------------------------------------------------------------------------------------


def _read(
    benchmark: Benchmark, files: BenchmarkSource, tables: dict[str, str | None], images: _Images
) -> Iterator[_Item]:
    for path, file_split in tables.items():
        for number, record in enumerate(files.records(path), 1):
            if (read := benchmark.item_of(record, path)) is None:
                continue
            place = f"{path}, record {number}"
            item = {"dataset": benchmark.title, **read.item}
            sample, failure = read_item(item, place, required=("question",))
            locations: list[str | tuple[int, str]] = []
            try:
                if failure is None:
                    if sample.ground_truth is None:
                        raise ItemError("no_ground_truth", "has no answer.")
                    locations = [_location(image, files, images) for image in read.images]
                    if not locations:
                        raise ItemError("no_image", "has no image.")
            except ItemError as error:
                failure = Failure(error.code, f"{place}: {error}")
            yield _Item(read.split or file_split or "test", place, sample, locations, failure)


def _location(image: ImageRef, files: BenchmarkSource, images: _Images) -> str | tuple[int, str]:
    if isinstance(image, bytes):
        return images.write(image)
    place = files.find(image)
    if place is None:
        raise ItemError("image_missing", f"{image[0]!r} is not in the source.")
    return place


def _write_named(items: list[_Item], files: BenchmarkSource, images: _Images) -> None:
    """Write the images that have a file in the source, and put their paths into the items."""
    names_by_part: dict[int, dict[str, None]] = {}
    for item in items:
        for location in item.images:
            if isinstance(location, tuple) and item.failure is None:
                names_by_part.setdefault(location[0], {})[location[1]] = None
    results: dict[tuple[int, str], str | ItemError] = {}
    for part, names in names_by_part.items():
        for name, content in files.contents(part, names):
            try:
                if isinstance(content, ItemError):
                    raise content
                results[part, name] = images.write(content)
            except ItemError as error:
                results[part, name] = error
    for item in items:
        for place, location in enumerate(item.images):
            if not isinstance(location, tuple) or item.failure is not None:
                continue
            result = results[location]
            if isinstance(result, ItemError):
                item.failure = Failure(result.code, f"{item.place}: {result}")
            else:
                item.images[place] = result


def _write(
    items: list[_Item],
    images: _Images,
    meta: dict[str, object],
    differences: list[str],
    output: Path,
) -> PreparedManifest:
    documents: dict[str, list[dict[str, object]]] = {}
    pairs: list[tuple[Sample, str]] = []
    errors: list[PreparedError] = []
    for item in items:
        sample = replace(item.sample, images=tuple(map(str, item.images)))
        failure = item.failure
        if failure is None:
            try:
                documents.setdefault(item.split, []).append(sample_to_item(sample, "medr1"))
                pairs.append((sample, item.split))
            except ItemError as error:
                failure = Failure(error.code, f"{item.place}: {error}")
        if failure is not None:
            errors.append(PreparedError(image=None, code=failure.code, message=failure.message))
    if not pairs:
        first = f" The first: {errors[0].message}" if errors else ""
        raise InputError(f"no item of the benchmark can be used.{first}")
    hashes = dict(images.hashes)
    for split, content in documents.items():
        text = to_json(content)
        write_atomic(output / f"{split}.json", text)
        hashes[f"{split}.json"] = hashlib.sha256(text.encode()).hexdigest()
    sizes = {split: len(content) for split, content in documents.items()}
    return PreparedManifest(
        meta=meta,
        counts=PreparedCounts(
            items=len(pairs), images=len(images.hashes), splits=sizes, by=_by(pairs)
        ),
        image_notes={},
        burned_in={},
        count_differences=differences,
        errors=errors,
        files=dict(sorted(hashes.items())),
    )


def _by(pairs: list[tuple[Sample, str]]) -> dict[str, dict[str, dict[str, int]]]:
    tables = count_table(pairs)
    for key in (ANSWER_CLASS, "language"):
        counts: dict[str, Counter[str]] = {}
        for sample, split in pairs:
            if value := sample.metadata.get(key):
                counts.setdefault(str(value), Counter())[split] += 1
        if counts:
            tables[key] = {name: dict(count) for name, count in sorted(counts.items())}
    return tables
