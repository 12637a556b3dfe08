"""Prepares a data set for training: resized images, JSON files of the splits, data sets on disk.

    read all items, and record why some cannot be used
    assign a split to each other item, and a file to its image
    with the journal open and locked:
        write the images that are missing, with one line of the journal for each
        write train.json, test.json, train/ and test/
        write manifest.json: the source, the options, the counts, and the hash of every file
    remove the journal

A run that is killed loses only the images that it was working on. The same command resumes it, with
any number of processes, and the files are the same byte for byte.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from msgspec import UNSET, ValidationError, convert

import medr1
from medr1.data.burned_in import burned_in_reason
from medr1.data.layout import PlacedImage, domain_folders, place_images, write_split
from medr1.data.resizing import ResizeJob, resize_images
from medr1.data.scans.options import ScanOptions
from medr1.data.sources import QuestionSource, open_questions
from medr1.data.spellings import sample_to_item
from medr1.data.splits import SPLITS, count_table, published_splits, random_split
from medr1.documents.prepared import PreparedCounts, PreparedError, PreparedManifest
from medr1.errors import InputError, ItemError, StateError
from medr1.files import (
    clear_temporaries,
    needs_overwrite,
    parse_json,
    prepare_folder,
    read_text,
    sha256_of,
    to_json,
    write_atomic,
)
from medr1.journal import Journal, differences, require_unlocked
from medr1.records import Failure, Sample

logger = logging.getLogger("medr1")

SECONDS_BETWEEN_LINES = 10
"""Shortest time between two lines of the log about the progress."""
_JOURNAL = "prepare.journal.jsonl"


@dataclass(frozen=True)
class PreparationOptions:
    """The source of a prepared data set, and the options of `medr1 data prepare`."""

    source: Path
    """What `sources.open_questions` reads."""
    image_root: Path | None = None
    """Folder or archive with the images, if they are not beside the questions."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Key of medr1 -> key or column of the source (--map)."""
    restricted: bool = False
    """Whether to read OmniMedVQA's Restricted-access items too."""
    split: str | None = None
    """"published" or "random"; None: published if there are split files."""
    splits: Path | None = None
    """The folder of published split files, if the source is not such a folder itself."""
    group_by: str = "image"
    """What a random split keeps together: one of `splits.GROUPS`."""
    test_share: float = 0.2
    """Share of items in the test split of a random split."""
    modality: tuple[str, ...] = ()
    """The modalities to use; () for all."""
    question_type: tuple[str, ...] = ()
    """The question types to use; () for all."""
    by: str | None = None
    """"modality" or "question_type", to write one folder for each value."""
    size: int = 384
    """Longest side of the images, in pixels; 0 keeps their size."""
    square: bool = False
    """Whether images become squares, without keeping their aspect ratio."""
    scans: ScanOptions = field(default_factory=ScanOptions)
    """How scans are shown."""
    seed: int = 0
    """Seed of a random split."""


@dataclass(frozen=True)
class PreparedItem:
    """A usable sample with its split."""

    index: int
    """The index of the sample in the source."""
    sample: Sample
    split: str
    domain: str
    """The folder of its modality or question type; "" if there is one folder for all items."""


@dataclass(frozen=True)
class _ImageEntry:
    """The journal's entry on one image, as `resizing.resize_image` makes it."""

    sha256: str | None
    """Hash of the file; None if it could not be written."""
    notes: tuple[str, ...]
    """What was changed when the image was decoded."""
    error: Failure | None
    """Why it could not be written."""


def _image_entry(entry: Mapping[str, object]) -> _ImageEntry:
    """Read an entry of the journal."""
    sha256, notes, error = (entry.get(key) for key in ("sha256", "notes", "error"))
    return _ImageEntry(
        str(sha256) if sha256 is not None else None,
        tuple(map(str, notes)) if isinstance(notes, list) else (),
        Failure(str(error["code"]), str(error["message"])) if isinstance(error, dict) else None,
    )


def prepare(
    options: PreparationOptions, output: Path, *, workers: int = 1, overwrite: bool = False
) -> PreparedManifest:
    """Prepare a data set for training.

    Args:
        options: The source and the options.
        output: The folder to write.
        workers: Number of processes that resize images.
        overwrite: Whether a complete or different data set in `output` is renamed to .bak.

    Returns:
        The content of manifest.json.

    Raises:
        InputError: If the source, an option or the output folder cannot be used.
        LockedError: If another process is writing to the folder.
        OutputError: If a file cannot be written.
    """
    source = open_questions(
        options.source,
        columns=options.columns,
        image_root=options.image_root,
        restricted=options.restricted,
        scans=options.scans,
    )
    problems = _unusable(source)
    items, meta = _assign_splits(options, source, problems)
    images, image_indices = place_images([(item.domain, item.sample.images[0]) for item in items])
    meta = {**meta, "items": len(items)}
    if (finished_manifest := _begin(output, meta, overwrite)) is not None:
        return finished_manifest
    with Journal(output / _JOURNAL, meta, len(images)) as journal:
        _write_images(options, source, images, output, journal, workers)
        entries = {index: _image_entry(entry) for index, entry in journal.items()}
        complete_items = _with_images(items, image_indices, entries, images, problems)
        file_hashes = _write_splits(complete_items, entries, images, output)
        manifest = PreparedManifest(
            meta=meta,
            counts=_counts(complete_items, entries),
            image_notes=_image_notes(entries),
            burned_in=_burned_in(complete_items, entries, images),
            errors=[_error(source.samples[index], problems[index]) for index in sorted(problems)],
            files=dict(sorted(file_hashes.items())),
        )
        write_atomic(output / "manifest.json", to_json(manifest))
    (output / _JOURNAL).unlink()
    return manifest


def _begin(output: Path, meta: Mapping[str, object], overwrite: bool) -> PreparedManifest | None:
    """Prepare the output folder for this run; its manifest if the data set is complete already."""
    require_unlocked(output / _JOURNAL)
    if overwrite or not (output / _JOURNAL).exists():
        manifest = output / "manifest.json"
        if not overwrite and manifest.is_file():
            document = parse_json(read_text(manifest), str(manifest))
            old_meta = document.get("meta") if isinstance(document, dict) else None
            if old_meta == meta:
                logger.info("%s is complete already. To write it again, use --overwrite.", output)
                return _read_manifest(manifest, document)
            changed = differences(old_meta, meta)
            raise needs_overwrite(output, f"has another data set (different: {changed})")
        prepare_folder(output, overwrite=overwrite)
    clear_temporaries(output)
    return None


def _read_manifest(path: Path, document: object) -> PreparedManifest:
    """The content of a manifest.json; StateError where it is damaged."""
    try:
        return convert(document, PreparedManifest)
    except ValidationError as error:
        raise StateError(
            f"{path} is damaged: {error}. Write the data set again with --overwrite."
        ) from None


# --- items ------------------------------------------------------------------------------------


def _unusable(source: QuestionSource) -> dict[int, Failure]:
    """Index of each sample that cannot be in a training set -> why."""
    problems = dict(source.failures)
    for index, sample in enumerate(source.samples):
        if index in problems:
            continue
        place = source.place(index)
        if sample.ground_truth is None:
            problems[index] = Failure("no_ground_truth", f"{place}: has no ground_truth; add it.")
        elif len(sample.images) > 1:
            message = f"{place}: has {len(sample.images)} images; the published format has one."
            problems[index] = Failure("several_images", message)
        else:
            try:
                sample_to_item(sample, "published")
            except ItemError as error:
                problems[index] = Failure(error.code, f"{place}: {error}")
    return problems


def _assign_splits(
    options: PreparationOptions, source: QuestionSource, problems: dict[int, Failure]
) -> tuple[list[PreparedItem], dict[str, object]]:
    """The usable items with their splits, and the `meta` of the manifest.

    Two runs with the same `meta` write the same files. Items without the modality or question type
    of the options are removed from `problems`.
    """
    selected = [i for i, sample in enumerate(source.samples) if _is_selected(sample, options)]
    if not selected:
        raise _nothing_selected(options, source.samples)
    for index in set(problems).difference(selected):
        del problems[index]
    usable = [index for index in selected if index not in problems]
    if not usable:
        raise InputError(f"no item of {options.source} can be used. {_first_problem(problems)}")
    samples = [source.samples[index] for index in usable]
    meta: dict[str, object] = {
        "source": options.source.name,
        "image_root": options.image_root.name if options.image_root else None,
        "sha256": source.hashes,
        "options": {
            "map": dict(options.columns),
            "restricted": options.restricted,
            "modality": list(options.modality),
            "question_type": list(options.question_type),
            "by": options.by,
            "size": options.size,
            "square": options.square,
        },
        **({"scans": asdict(options.scans)} if options.scans != ScanOptions() else {}),
        "versions": {"medr1": medr1.__version__}
        | {name: version(name) for name in ("pillow", "pyarrow")},
    }
    own_splits = [source.splits[index] for index in usable]
    has_published = options.splits or any(own_splits)
    if options.split == "published" or (options.split is None and has_published):
        splits = _published(options, samples, own_splits)
        digest = sha256_of(options.splits) if options.splits else None
        meta["split"] = {"kind": "published", "sha256": digest}
    else:
        random_options = {
            "group_by": options.group_by,
            "test_share": options.test_share,
            "seed": options.seed,
        }
        splits = list(random_split(samples, **random_options))  # type: ignore[arg-type]
        meta["split"] = {"kind": "random", **random_options}
    domains = domain_folders(samples, options.by)
    items = [
        PreparedItem(index, sample, split, domain)
        for index, sample, split, domain in zip(usable, samples, splits, domains, strict=True)
        if split is not None
    ]
    return items, meta


def _published(
    options: PreparationOptions, samples: Sequence[Sample], own_splits: Sequence[str | None]
) -> list[str | None]:
    """The published split of each sample: that of its own file, or that in the files of --splits.

    None for a sample that is in no published split.
    """
    if options.splits is None:
        if not any(own_splits):
            raise InputError("--split published needs the published split files: --splits DIR.")
        return list(own_splits)
    published = published_splits(options.splits)
    splits = [published.split_of(sample) for sample in samples]
    num_matched = sum(split is not None for split in splits)
    if not num_matched:
        raise InputError(
            f"none of the {len(samples)} items is in {options.splits} with its image and question "
            f"(an image here: {samples[0].images[0]!r}). Check --splits."
        )
    total = published.num_items
    if num_matched < total:
        logger.warning(
            "%d of %d items of %s were not found", total - num_matched, total, options.splits
        )
    if num_matched < len(splits):
        logger.info(
            "%d of %d items are in no published split, and left out",
            len(splits) - num_matched,
            len(splits),
        )
    return splits


def _is_selected(sample: Sample, options: PreparationOptions) -> bool:
    """Whether the sample has a modality and a question type of the options."""
    return _matches(sample.modality, options.modality) and _matches(
        sample.question_type, options.question_type
    )


def _matches(value: str | None, names: Sequence[str]) -> bool:
    """Whether a value is one of the names. "CT" also means "CT(Computed Tomography)".

    Without names, each value matches.
    """
    full_name = (value or "unknown").casefold()
    short_name = full_name.partition("(")[0].strip()
    return not names or bool({full_name, short_name} & {name.strip().casefold() for name in names})


def _nothing_selected(options: PreparationOptions, samples: Sequence[Sample]) -> InputError:
    """The error for a source without items of the chosen modality and question type."""
    parts = []
    for field_name, names in (
        ("modality", options.modality),
        ("question_type", options.question_type),
    ):
        if names:
            values = sorted({getattr(sample, field_name) or "unknown" for sample in samples})
            option = field_name.replace("_", "-")
            parts.append(f"--{option} {','.join(names)}: there are {', '.join(values)[:300]}.")
    return InputError(f"no item of {options.source} is selected. {' '.join(parts)}")


def _first_problem(problems: Mapping[int, Failure]) -> str:
    """The first problem as a sentence; "" if there is none."""
    return f"The first: {problems[min(problems)].message}" if problems else ""


# --- images and files -------------------------------------------------------------------------


def _write_images(
    options: PreparationOptions,
    source: QuestionSource,
    images: Sequence[PlacedImage],
    output: Path,
    journal: Journal,
    workers: int,
) -> None:
    """Write the images that the journal does not have, and retry those with an error in it."""
    done = {index for index, entry in journal.items() if "sha256" in entry}
    if done:
        logger.info("resuming: %d of %d images exist already", len(done), len(images))
    jobs = _jobs(options, source, images, output, done)
    last_line, count = time.monotonic(), len(done)
    for job, entry in resize_images(jobs, workers):
        journal.append({job.index: entry})
        count += 1
        if time.monotonic() - last_line > SECONDS_BETWEEN_LINES:
            last_line = time.monotonic()
            logger.info("%d of %d images", count, len(images))


def _jobs(
    options: PreparationOptions,
    source: QuestionSource,
    images: Sequence[PlacedImage],
    output: Path,
    done: set[int],
) -> Iterator[ResizeJob]:
    """The images that are still to be written, in the order of the source's files."""
    indices_of: dict[str, list[int]] = {}
    for index, image in enumerate(images):
        if index not in done:
            prefix = "" if os.path.isabs(image.name) else source.image_prefix
            indices_of.setdefault(prefix + image.name, []).append(index)
    for name, read in source.files.read(indices_of):
        content = Failure(read.code, str(read)) if isinstance(read, ItemError) else read
        for index in indices_of[name]:
            image = images[index]
            target = output / image.target
            yield ResizeJob(index, image.name, content, target, options.size, options.square)


def _with_images(
    items: Sequence[PreparedItem],
    image_indices: Sequence[int],
    entries: Mapping[int, _ImageEntry],
    images: Sequence[PlacedImage],
    problems: dict[int, Failure],
) -> list[tuple[PreparedItem, PlacedImage]]:
    """The items whose image could be written, with it; the others are added to `problems`."""
    complete_items = []
    for item, image_index in zip(items, image_indices, strict=True):
        if error := entries[image_index].error:
            problems[item.index] = error
        else:
            complete_items.append((item, images[image_index]))
    if not complete_items:
        raise InputError(f"no item has an image that can be read. {_first_problem(problems)}")
    return complete_items


def _write_splits(
    items: Sequence[tuple[PreparedItem, PlacedImage]],
    entries: Mapping[int, _ImageEntry],
    images: Sequence[PlacedImage],
    output: Path,
) -> dict[str, str]:
    """Write the JSON files and data sets of all splits; each file, also each image -> SHA-256."""
    hashes = {
        images[i].target: entry.sha256 for i, entry in entries.items() if entry.sha256 is not None
    }
    for domain in sorted({item.domain for item, _ in items}):
        in_domain = [(item, image) for item, image in items if item.domain == domain]
        splits = [split for split in SPLITS if any(item.split == split for item, _ in in_domain)]
        for split in splits:
            rows = [(item.sample, image) for item, image in in_domain if item.split == split]
            hashes |= write_split(output, domain, split, rows, hashes)
        name = os.path.join(domain, "dataset_dict.json")
        write_atomic(output / name, to_json({"splits": splits}))
        hashes[name] = sha256_of(output / name)
    return hashes


def _counts(
    items: Sequence[tuple[PreparedItem, PlacedImage]], entries: Mapping[int, _ImageEntry]
) -> PreparedCounts:
    """The counts of the manifest."""
    splits = Counter(item.split for item, _ in items)
    return PreparedCounts(
        items=len(items),
        images=sum(entry.sha256 is not None for entry in entries.values()),
        train=splits["train"] or UNSET,
        validation=splits["validation"] or UNSET,
        test=splits["test"] or UNSET,
        by=count_table((item.sample, item.split) for item, _ in items),
    )


def _image_notes(entries: Mapping[int, _ImageEntry]) -> dict[str, int]:
    """What was changed when images were decoded -> number of images."""
    notes = Counter(note.split()[0] for entry in entries.values() for note in entry.notes)
    return dict(sorted(notes.items()))


def _burned_in(
    items: Sequence[tuple[PreparedItem, PlacedImage]],
    entries: Mapping[int, _ImageEntry],
    images: Sequence[PlacedImage],
) -> dict[str, int]:
    """Why an image is suspected to contain text -> number of items."""
    notes_of = {images[index].target: entry.notes for index, entry in entries.items()}
    reasons = (burned_in_reason(item.sample, notes_of[image.target]) for item, image in items)
    suspects = Counter(reason for reason in reasons if reason is not None)
    return dict(sorted(suspects.items()))


def _error(sample: Sample, problem: Failure) -> PreparedError:
    """An item that was left out, as the manifest has it."""
    image = next(iter(sample.images), None)
    return PreparedError(image=image, code=problem.code, message=problem.message)
