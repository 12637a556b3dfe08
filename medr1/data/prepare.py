"""A source to a data set that can be trained on: resized images, split JSON, a data set on disk.

    read all items; leave out those that cannot be used, and say so
    give each item that is left its split, and its image a place
    with a journal open, and locked:
        make the images that are not made yet, a line of the journal for each
        write train.json, test.json, train/, test/ from them
        write manifest.json, which says what was made of what, with the hash of every file
    remove the journal

A kill costs the images that were being made. The same command goes on from there, with any number
of processes, and ends with the same bytes.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import medr1
from medr1.data.burned_in import suspected
from medr1.data.layout import Picture, domain_folders, place_pictures, write_split
from medr1.data.pictures import Job, make_pictures
from medr1.data.sources import Source, open_questions
from medr1.data.spellings import spelled
from medr1.data.splits import SPLITS, count_table, published_splits, random_split
from medr1.errors import InputError, ItemError
from medr1.files import (
    clear_temporaries,
    parse_json,
    prepare_folder,
    read_text,
    sha256_of,
    to_json,
    write_atomic,
)
from medr1.journal import Journal, require_unlocked
from medr1.records import Failure, Sample

logger = logging.getLogger("medr1")

PREPARED_SCHEMA = "medr1.prepared/1"
SECONDS_BETWEEN_LINES = 10
_JOURNAL = "prepare.journal.jsonl"


@dataclass(frozen=True)
class Preparation:
    """What is to be made of a source."""

    source: Path
    image_root: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    restricted: bool = False
    split: str | None = None
    """published or random; None: published where there are split files."""
    splits: Path | None = None
    """The folder of published split files, where the source itself is none."""
    group_by: str = "image"
    test_share: float = 0.2
    modality: tuple[str, ...] = ()
    question_type: tuple[str, ...] = ()
    by: str | None = None
    """modality or question_type: a folder for each."""
    size: int = 384
    square: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Item:
    """A usable sample, its split, and the folder of its domain ("" where there is one for all)."""

    index: int
    sample: Sample
    split: str
    domain: str


def prepare(
    plan: Preparation, output: Path, *, workers: int = 1, overwrite: bool = False
) -> dict[str, Any]:
    """Make the data set in `output`; what manifest.json says of it.

    Raises InputError for a source, options or an output that cannot be used, LockedError where
    another process is at work there, OutputError where it cannot be written.
    """
    source = open_questions(
        plan.source,
        columns=plan.columns,
        image_root=plan.image_root,
        restricted=plan.restricted,
    )
    problems = _unusable(source)
    items, meta = _assigned(plan, source, problems)
    pictures, names = place_pictures([(item.domain, item.sample.images[0]) for item in items])
    meta = {**meta, "items": len(items)}
    if (done := _begin(output, meta, overwrite)) is not None:
        return done
    with Journal(output / _JOURNAL, meta, len(pictures)) as journal:
        _make(plan, source, pictures, output, journal, workers)
        made = dict(journal.items())
        kept = _kept(items, names, made, pictures, problems)
        written = _write(kept, made, pictures, output)
        errors = [
            {"image": next(iter(source.samples[index].images), None), **vars(problems[index])}
            for index in sorted(problems)
        ]
        manifest = {"schema": PREPARED_SCHEMA, "meta": meta, **_counts(kept, made, pictures)}
        manifest |= {"errors": errors, "files": dict(sorted(written.items()))}
        write_atomic(output / "manifest.json", to_json(manifest))
    (output / _JOURNAL).unlink()
    return manifest


def _begin(output: Path, meta: Mapping[str, Any], overwrite: bool) -> dict[str, Any] | None:
    """Have an output folder to go on in; its manifest where it is complete already."""
    require_unlocked(output / _JOURNAL)
    if overwrite or not (output / _JOURNAL).exists():
        manifest = output / "manifest.json"
        if not overwrite and manifest.is_file():
            there = parse_json(read_text(manifest), str(manifest))
            known = there.get("meta") if isinstance(there, dict) else None
            if known == meta:
                logger.info("%s is complete already. To make it anew: --overwrite.", output)
                return there
            changed = ", ".join(
                key for key in meta if not isinstance(known, dict) or known.get(key) != meta[key]
            )
            raise InputError(
                f"{output} holds another preparation ({changed} differ). Choose another "
                "--output-dir, or --overwrite, which keeps the old as .bak."
            )
        prepare_folder(output, overwrite=overwrite)
    clear_temporaries(output)
    return None


# --- items ------------------------------------------------------------------------------------


def _unusable(source: Source) -> dict[int, Failure]:
    """Index of a sample that cannot be in a training set -> why."""
    found = dict(source.failures)
    for index, sample in enumerate(source.samples):
        if index in found:
            continue
        where = source.place(index)
        if sample.ground_truth is None:
            found[index] = Failure("no_ground_truth", f"{where}: has no ground_truth; add it.")
        elif len(sample.images) > 1:
            text = f"{where}: has {len(sample.images)} images; the published format holds one."
            found[index] = Failure("several_images", text)
        else:
            try:
                spelled(sample, "published")
            except ItemError as error:
                found[index] = Failure(error.code, f"{where}: {error}")
    return found


def _assigned(
    plan: Preparation, source: Source, problems: dict[int, Failure]
) -> tuple[list[Item], dict[str, Any]]:
    """The items with their splits, and what decides the outcome: the manifest's `meta`.

    `problems` keeps those of the items that are asked for.
    """
    wanted = [i for i, sample in enumerate(source.samples) if _is_wanted(sample, plan)]
    if not wanted:
        raise _nothing_wanted(plan, source.samples)
    for index in set(problems).difference(wanted):
        del problems[index]
    usable = [index for index in wanted if index not in problems]
    if not usable:
        raise InputError(f"no item of {plan.source} can be used. {_first(problems)}")
    samples = [source.samples[index] for index in usable]
    meta: dict[str, Any] = {
        "source": plan.source.name,
        "image_root": plan.image_root.name if plan.image_root else None,
        "sha256": source.hashes,
        "options": {
            "map": dict(plan.columns),
            "restricted": plan.restricted,
            "modality": list(plan.modality),
            "question_type": list(plan.question_type),
            "by": plan.by,
            "size": plan.size,
            "square": plan.square,
        },
        "versions": {"medr1": medr1.__version__}
        | {name: version(name) for name in ("pillow", "pyarrow")},
    }
    there = [source.splits[index] for index in usable]
    published = plan.split == "published" or (plan.split is None and (plan.splits or any(there)))
    if published:
        splits = _published(plan, samples, there)
        digest = sha256_of(plan.splits) if plan.splits else None
        meta["split"] = {"kind": "published", "sha256": digest}
    else:
        drawn = {"group_by": plan.group_by, "test_share": plan.test_share, "seed": plan.seed}
        splits = list(random_split(samples, **drawn))  # type: ignore[arg-type]
        meta["split"] = {"kind": "random", **drawn}
    domains = domain_folders(samples, plan.by)
    items = [
        Item(index, sample, split, domain)
        for index, sample, split, domain in zip(usable, samples, splits, domains, strict=True)
        if split is not None
    ]
    return items, meta


def _published(
    plan: Preparation, samples: Sequence[Sample], there: Sequence[str | None]
) -> list[str | None]:
    """The published split of each sample, of its file or of the files in --splits."""
    if plan.splits is None:
        if not any(there):
            raise InputError("--split published needs the published split files: --splits DIR.")
        return list(there)
    published = published_splits(plan.splits)
    found = [published.split_of(sample) for sample in samples]
    n = sum(split is not None for split in found)
    if not n:
        raise InputError(
            f"none of the {len(samples)} items stands in {plan.splits} with its image and question "
            f"(an image here: {samples[0].images[0]!r}). Check --splits."
        )
    if n < published.num_items:
        logger.warning(
            "%d of %d items of %s were not found", published.num_items - n, published.n, plan.splits
        )
    if n < len(found):
        logger.info(
            "%d of %d items are in no published split, and left out", len(found) - n, len(found)
        )
    return found


def _is_wanted(sample: Sample, plan: Preparation) -> bool:
    return _names(sample.modality, plan.modality) and _names(
        sample.question_type, plan.question_type
    )


def _names(value: str | None, wanted: Sequence[str]) -> bool:
    """Whether a domain is among those asked for; "CT" also means "CT(Computed Tomography)"."""
    spelled_out = (value or "unknown").casefold()
    short = spelled_out.partition("(")[0].strip()
    return not wanted or bool({spelled_out, short} & {name.strip().casefold() for name in wanted})


def _nothing_wanted(plan: Preparation, samples: Sequence[Sample]) -> InputError:
    parts = []
    for name, wanted in (("modality", plan.modality), ("question_type", plan.question_type)):
        if wanted:
            there = sorted({getattr(sample, name) or "unknown" for sample in samples})
            option = name.replace("_", "-")
            parts.append(f"--{option} {','.join(wanted)}: there are {', '.join(there)[:300]}.")
    return InputError(f"no item of {plan.source} is asked for. {' '.join(parts)}")


def _first(problems: Mapping[int, Failure]) -> str:
    return f"The first: {problems[min(problems)].message}" if problems else ""


# --- images and files -------------------------------------------------------------------------


def _make(
    plan: Preparation,
    source: Source,
    pictures: Sequence[Picture],
    output: Path,
    journal: Journal,
    workers: int,
) -> None:
    """Make the images that the journal does not have; an error in it is tried again."""
    done = {index for index, entry in journal.items() if "sha256" in entry}
    if done:
        logger.info("going on: %d of %d images are made already", len(done), len(pictures))
    jobs = _jobs(plan, source, pictures, output, done)
    said, count = time.monotonic(), len(done)
    for job, made in make_pictures(jobs, workers):
        journal.append({job.index: made})
        count += 1
        if time.monotonic() - said > SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            logger.info("%d of %d images", count, len(pictures))


def _jobs(
    plan: Preparation, source: Source, pictures: Sequence[Picture], output: Path, done: set[int]
) -> Iterator[Job]:
    """What is left to do, in the order in which the source has it."""
    wanted: dict[str, list[int]] = {}
    for index, picture in enumerate(pictures):
        if index not in done:
            top = "" if os.path.isabs(picture.name) else source.top
            wanted.setdefault(top + picture.name, []).append(index)
    for name, read in source.files.read(wanted):
        content = Failure(read.code, str(read)) if isinstance(read, ItemError) else read
        for index in wanted[name]:
            picture = pictures[index]
            yield Job(index, picture.name, content, output / picture.target, plan.size, plan.square)


def _kept(
    items: Sequence[Item],
    places: Sequence[int],
    made: Mapping[int, Mapping[str, Any]],
    pictures: Sequence[Picture],
    problems: dict[int, Failure],
) -> list[tuple[Item, Picture]]:
    """The items whose picture was made; the others go to `problems`."""
    kept = []
    for item, place in zip(items, places, strict=True):
        if error := made[place].get("error"):
            problems[item.index] = Failure(error["code"], error["message"])
        else:
            kept.append((item, pictures[place]))
    if not kept:
        raise InputError(f"no item has an image that can be read. {_first(problems)}")
    return kept


def _write(
    kept: Sequence[tuple[Item, Picture]],
    made: Mapping[int, Mapping[str, Any]],
    pictures: Sequence[Picture],
    output: Path,
) -> dict[str, str]:
    """Write the split files and data sets of all domains; every file with its SHA-256."""
    files = {pictures[i].target: entry["sha256"] for i, entry in made.items() if "sha256" in entry}
    for domain in sorted({item.domain for item, _ in kept}):
        here = [(item, picture) for item, picture in kept if item.domain == domain]
        splits = [split for split in SPLITS if any(item.split == split for item, _ in here)]
        for split in splits:
            rows = [(item.sample, picture) for item, picture in here if item.split == split]
            files |= write_split(output, domain, split, rows, files)
        name = os.path.join(domain, "dataset_dict.json")
        write_atomic(output / name, to_json({"splits": splits}))
        files[name] = sha256_of(output / name)
    return files


def _counts(
    kept: Sequence[tuple[Item, Picture]],
    made: Mapping[int, Mapping[str, Any]],
    pictures: Sequence[Picture],
) -> dict[str, Any]:
    """The manifest's figures; `burned_in`: of how many items pictures may have text in them."""
    splits = Counter(item.split for item, _ in kept)
    notes = Counter(note.split()[0] for entry in made.values() for note in entry.get("notes", ()))
    counts: dict[str, Any] = {"items": len(kept)}
    counts["images"] = sum("sha256" in entry for entry in made.values())
    counts |= {split: splits[split] for split in SPLITS if splits[split]}
    counts["by"] = count_table((item.sample, item.split) for item, _ in kept)
    notes_of = {pictures[index].target: entry.get("notes", ()) for index, entry in made.items()}
    suspects = Counter(suspected(item.sample, notes_of[to.target]) for item, to in kept)
    suspects.pop(None, None)
    found = {"image_notes": notes, "burned_in": suspects}
    return {"counts": counts, **{name: dict(sorted(n.items())) for name, n in found.items()}}
